//! After deaths: what a dead worker ran has ended, what it had not begun goes to others; and a board
//! that cannot be trusted is made anew.
//!
//! Guarantee: every task has exactly one outcome, whatever was killed when.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::deadlines::Entry;
use super::desk::Desk;
use super::limits::{self, Doomed, Wish};
use super::notes::{Effects, Input, Scribbled, Staged};
use crate::board::state::{Phase, Range, SlotState, Ticket};
use crate::board::{Board, Kind, Slot};
use crate::sys::cores;
use crate::task::{Death, Exit, Outcome};

/// So many workers in a row may die while they read a batch; then its items end.
const FRUITLESS: u8 = 2;

impl Desk {
    /// After a worker's process has exited: ends what it was running, submits again what it
    /// had not begun.
    pub(super) fn recover(
        &mut self,
        board: &Board,
        worker: usize,
        pid: u32,
        exit: Exit,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        self.drain(board, effects)?;
        for kind in Kind::ALL {
            board.idle(kind).set_busy(worker);
            board.worker(worker).load[kind as usize].store(0, Ordering::Relaxed);
        }
        let epoch = self.epochs[worker];
        let doomed = self.doomed[worker].take();
        let stopped = doomed.is_some() && exit == Exit::Signal(libc::SIGKILL);
        for index in 0..self.shadow.len() as u32 {
            let Some(task) = self.shadow[index as usize].task.clone() else {
                continue;
            };
            let slot = board.slot(index).expect("as many slots as shadows");
            let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
            let owner = state.owner();
            if !self.is_possible(index, state) {
                return Err(Scribbled(format!("{state:?} in slot {index}")));
            }
            if usize::from(owner.lane) / 2 != worker || owner.epoch != epoch {
                continue;
            }
            let ran = limits::ran(slot);
            let death = Death {
                pid,
                exit,
                ran,
                stopped,
            };
            // What it had not begun when its end was decided, it did not begin any more.
            let begun = |doomed: &Doomed| doomed.begun(index).is_some();
            match state.phase() {
                Some(Phase::Done) => self.take(board, slot, index, worker, effects)?,
                Some(Phase::Claimed) => self.not_begun(board, slot, index, effects),
                Some(Phase::Running) if !doomed.as_ref().is_none_or(begun) => {
                    self.not_begun(board, slot, index, effects);
                }
                Some(Phase::Running) if task.is_batch() => {
                    let first = doomed.as_ref().and_then(|doomed| doomed.begun(index));
                    self.recover_batch(board, slot, index, worker, death, first, effects)?;
                }
                Some(Phase::Running) => {
                    let outcome = match self.shadow[index as usize].wish {
                        Some(wish) => wish.outcome(ran),
                        None => Outcome::Died(death),
                    };
                    self.conclude(board, slot, index, outcome, effects);
                }
                _ => {}
            }
        }
        self.refill(board, effects);
        Ok(())
    }

    /// May the slot of a task that has not ended be in this state?
    fn is_possible(&self, index: u32, state: SlotState) -> bool {
        let owner = state.owner();
        let epoch = self.epochs.get(usize::from(owner.lane) / 2);
        state.generation() == self.shadow[index as usize].generation
            && match state.phase() {
                Some(Phase::Ready) => true,
                Some(Phase::Claimed | Phase::Running | Phase::Done) => epoch == Some(&owner.epoch),
                Some(Phase::Free) | None => false,
            }
    }

    /// `doomed` is the first item that a worker had not begun whose end was decided.
    #[expect(clippy::too_many_arguments, reason = "all that is known of the death")]
    fn recover_batch(
        &mut self,
        board: &Board,
        slot: &Slot,
        index: u32,
        worker: usize,
        death: Death,
        doomed: Option<u32>,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        let Some(task) = self.shadow[index as usize].task.clone() else {
            return Ok(());
        };
        let wish = self.shadow[index as usize].wish;
        let mut range = Range::from_bits(slot.range.load(Ordering::Acquire));
        range.next = range.next.min(doomed.unwrap_or(u32::MAX)).min(task.items());
        if wish == Some(Wish::Cancel) {
            range.end = range.next;
        }
        slot.range.store(range.to_bits(), Ordering::Relaxed);
        let next = range.next;
        let logged = self.read_log(slot, worker, wish)?;
        let finished = logged.len();
        task.add_items(logged);
        let begun = |item: &u32| *item < next;
        let dead = task.missing_items().into_iter().filter(begun);
        let lost = || match wish {
            Some(wish) => wish.outcome(death.ran),
            None => Outcome::Died(death),
        };
        let mut ended: Vec<_> = dead.map(|item| (item, lost())).collect();
        let shadow = &mut self.shadow[index as usize];
        let blameless = doomed.is_some() || death.exit == Exit::Code(0);
        if finished > 0 || !ended.is_empty() || blameless {
            shadow.fruitless = 0;
        } else {
            // It died while it read the batch: of something in it, or by chance. One more try.
            shadow.fruitless += 1;
            if shadow.fruitless >= FRUITLESS {
                let left = next..range.end.min(task.items());
                ended.extend(left.map(|item| (item, lost())));
            }
        }
        // Items past `end` were withdrawn by the parent.
        ended.extend((range.end.max(next)..task.items()).map(|item| (item, Outcome::Cancelled)));
        task.add_items(ended);
        match task.take_items() {
            Some(items) => {
                let elapsed = death.ran;
                let outcome = Outcome::Batch { items, elapsed };
                self.conclude(board, slot, index, outcome, effects);
            }
            None => self.again(board, slot, index, effects),
        }
        Ok(())
    }

    /// Publishes a slot once more, in a new generation; a batch goes on at its range.
    pub(super) fn again(&mut self, board: &Board, slot: &Slot, index: u32, effects: &mut Effects) {
        self.forget_attempt(board, index);
        let shadow = &mut self.shadow[index as usize];
        shadow.generation = shadow.generation.wrapping_add(1);
        let ticket = Ticket {
            slot: index,
            generation: shadow.generation,
        };
        let Some(task) = &shadow.task else { return };
        let kind = task.kind();
        task.set_place(Some(ticket));
        slot.clear_log();
        slot.state.store(
            SlotState::ready(ticket.generation).to_bits(),
            Ordering::Release,
        );
        self.publish(board, kind, ticket, effects);
    }

    /// Ends every task that has not ended: the pool is broken, or was ended by force.
    pub(super) fn end_all(&mut self, outcome: impl Fn() -> Outcome, effects: &mut Effects) {
        for shadow in &mut self.shadow {
            if let Some(task) = shadow.task.take() {
                self.used[task.kind() as usize] -= 1;
                effects.end(task, outcome());
            }
        }
        for backlog in &mut self.backlog {
            for staged in backlog.drain(..) {
                if let Input::Span(span) = staged.input {
                    self.arena.release(span);
                }
                effects.end(staged.task, outcome());
            }
        }
        self.unpublished.clear();
        self.outstanding = 0;
        self.retryable = 0;
        self.forget_deadlines();
    }

    /// No slot has a task any more.
    fn forget_deadlines(&mut self) {
        self.deadlines.clear();
        for shadow in &mut self.shadow {
            shadow.entry = Entry::Nowhere;
            shadow.wish = None;
        }
        self.doomed.fill_with(|| None);
    }

    /// Lets go of the inputs that no worker can read any more.
    pub(super) fn release_inputs(&mut self) {
        for shadow in &mut self.shadow {
            if let Some(Input::Span(span)) = shadow.input.take() {
                self.arena.release(span);
            }
        }
    }

    /// Makes a board anew that was found scribbled over. No worker is left that could write to it.
    ///
    /// What had not begun waits in the backlog again, before all else. Of what had, nobody can
    /// say how it ended, so it ends as [`Outcome::Lost`].
    pub(super) fn rebuild(&mut self, board: &Board, effects: &mut Effects) {
        let Some(found) = self.scribbled.take() else {
            return;
        };
        let found: Arc<str> = found.into();
        self.rebuilt += 1;
        let slots = self.shadow.len() as u32;
        for index in (0..slots).rev() {
            let shadow = &mut self.shadow[index as usize];
            let state = board
                .slot(index)
                .map(|slot| slot.state.load(Ordering::Acquire));
            let ready = SlotState::ready(shadow.generation);
            let untouched = state.map(SlotState::from_bits).is_some_and(|state| {
                state == ready
                    || (state.phase() == Some(Phase::Claimed)
                        && state.generation() == shadow.generation)
            });
            shadow.generation = shadow.generation.wrapping_add(1);
            let (Some(task), Some(input)) = (shadow.task.take(), shadow.input.take()) else {
                continue;
            };
            task.set_place(None);
            let stopped = shadow.wish == Some(Wish::Cancel);
            let untouched = untouched && !task.has_items();
            if untouched && !stopped && !task.is_done() {
                self.backlog[task.kind() as usize].push_front(Staged { task, input });
                continue;
            }
            if let Input::Span(span) = input {
                self.arena.release(span);
            }
            let outcome = match stopped && (untouched || !task.is_batch()) {
                true => Outcome::Cancelled,
                false => Outcome::Lost(found.clone()),
            };
            self.end(task, outcome, effects);
        }
        self.forget_deadlines();
        board.reset(cores::usable());
        for (index, shadow) in (0..slots).zip(&self.shadow) {
            if let Some(slot) = board.slot(index) {
                let free = SlotState::free(shadow.generation);
                slot.state.store(free.to_bits(), Ordering::Release);
            }
        }
        self.free = (0..slots).rev().collect();
        self.used = [0; 2];
        self.unpublished.clear();
        self.heads.fill(0);
        self.tails = [0; 2];
        self.refill(board, effects);
    }
}
