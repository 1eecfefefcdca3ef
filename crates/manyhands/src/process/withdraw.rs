//! Withdrawing what has not begun.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::desk::Desk;
use super::notes::Effects;
use crate::board::Board;
use crate::board::state::{Range, SlotState};
use crate::task::{Outcome, Task};

impl Desk {
    /// Withdraws a task, or the items of a batch, that have not begun; what runs is the last
    /// attempt. True when no item of it has run.
    pub(super) fn cancel(
        &mut self,
        board: &Board,
        task: &Arc<Task>,
        effects: &mut Effects,
    ) -> bool {
        if task.is_done() {
            return false;
        }
        let Some(ticket) = task.place() else {
            // In the backlog, which passes over tasks that have ended.
            self.end(task.clone(), Outcome::Cancelled, effects);
            return true;
        };
        self.forbid_retries(task);
        if self.scribbled.is_some() {
            // Whether it has begun, nobody can say.
            return false;
        }
        let slot = board.slot(ticket.slot).expect("placed by the parent");
        let ready = SlotState::ready(ticket.generation).to_bits();
        let mine = SlotState::free(ticket.generation.wrapping_add(1)).to_bits();
        if slot
            .state
            .compare_exchange(ready, mine, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.free(board, slot, ticket.slot);
            let untouched = !task.has_items();
            let outcome = match untouched {
                true => Outcome::Cancelled,
                // A worker died in the middle of the batch; what others had ended stays.
                false => task.with_the_rest_cancelled(Duration::ZERO),
            };
            self.end(task.clone(), outcome, effects);
            self.refill(board, effects);
            return untouched;
        }
        if task.is_batch() {
            let withdraw = |bits| {
                let range = Range::from_bits(bits);
                Some(
                    Range {
                        end: range.next.min(range.end),
                        ..range
                    }
                    .to_bits(),
                )
            };
            let _withdrawn = slot
                .range
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, withdraw);
        }
        false
    }
}
