//! Reading outcomes from the board, and from the arenas of those who wrote them. What is read is
//! copied first and checked then.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::desk::Desk;
use super::limits::{self, Wish};
use super::log;
use super::notes::{Effects, Scribbled};
use crate::arena::{SpanGuard, SpanRef};
use crate::board::state::{Phase, Range, SlotState};
use crate::board::{Board, INLINE_BYTES, Place, Slot};
use crate::task::{Outcome, Payload, STOPPED};

impl Desk {
    /// Reads the outcome of a slot that is DONE, and frees it, or publishes it again.
    pub(super) fn take(
        &mut self,
        board: &Board,
        slot: &Slot,
        index: u32,
        worker: usize,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        let task = self.shadow[index as usize].task.clone();
        let task = task.ok_or_else(|| Scribbled(format!("slot {index} is nobody's")))?;
        let wish = self.shadow[index as usize].wish;
        // A batch without a log never began: its outcome is that of all.
        let outcome = if task.is_batch() && slot.log().0.len > 0 {
            let items = self.read_log(slot, worker, wish)?;
            task.add_items(items);
            let next = Range::from_bits(slot.range.load(Ordering::Relaxed)).next;
            let silent = task.missing_items().into_iter().filter(|item| *item < next);
            let lost: Arc<str> = "the worker had no memory to report how it ended".into();
            task.add_items(
                silent
                    .map(|item| (item, Outcome::Lost(lost.clone())))
                    .collect(),
            );
            let elapsed = Duration::from_nanos(slot.elapsed.load(Ordering::Relaxed));
            // What has no record was withdrawn by the parent before it began.
            task.with_the_rest_cancelled(elapsed)
        } else {
            let (code, place) = slot
                .output()
                .ok_or_else(|| Scribbled(format!("slot {index}: output in no known place")))?;
            let payload = self.payload(slot, worker, place)?;
            match wish {
                Some(wish) if code == STOPPED => wish.outcome(limits::ran(slot)),
                _ => Outcome::Ended { code, payload },
            }
        };
        // What scribbles now may have been at it while it was read: whoever wrote over the value
        // from in front has written over the state before.
        fence(Ordering::Acquire);
        let state = SlotState::from_bits(slot.state.load(Ordering::Relaxed));
        let generation = self.shadow[index as usize].generation;
        if state.phase() != Some(Phase::Done) || state.generation() != generation {
            return Err(Scribbled(format!("{state:?} after slot {index} was read")));
        }
        self.conclude(board, slot, index, outcome, effects);
        Ok(())
    }

    fn payload(&self, slot: &Slot, worker: usize, place: Place) -> Result<Payload, Scribbled> {
        match place {
            Place::Inline(len) => {
                let mut bytes = [0; INLINE_BYTES];
                slot.copy_output(&mut bytes[..len]);
                Ok(Payload::Bytes(bytes[..len].into()))
            }
            Place::Span(span) => self.span(worker, span).map(Payload::Span),
        }
    }

    fn span(&self, worker: usize, span: SpanRef) -> Result<SpanGuard, Scribbled> {
        let view = self.views[worker].as_ref();
        let view = view.ok_or_else(|| Scribbled(format!("worker {worker} has no arena")))?;
        view.span(span)
            .map_err(|error| Scribbled(error.to_string()))
    }

    pub(super) fn read_log(
        &self,
        slot: &Slot,
        worker: usize,
        wish: Option<Wish>,
    ) -> Result<Vec<(u32, Outcome)>, Scribbled> {
        let (span, records) = slot.log();
        if records == 0 && span.len == 0 {
            return Ok(Vec::new());
        }
        let mut items = log::read(span, records, |span| self.span(worker, span))?;
        if wish.is_some() {
            for (_, outcome) in &mut items {
                if matches!(outcome, Outcome::Ended { code: STOPPED, .. }) {
                    *outcome = Outcome::Cancelled;
                }
            }
        }
        Ok(items)
    }
}
