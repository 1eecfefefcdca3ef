//! Tasks that are stopped although they run, and attempts that are made again.
//!
//! Guarantees: a task that is over its time, or that its caller stops, ends soon, whatever it
//! does; no other task is charged for the end of a worker that had not begun it when that end was
//! decided; a task has exactly one outcome, that of its last attempt. The protocol, and the argument
//! why it holds, is in the board's README, "Stopping what runs".

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::deadlines::{Entry, GRAIN, NEVER};
use super::desk::Desk;
use super::notes::{Effects, Scribbled};
use crate::board::state::{Phase, Range, SlotState};
use crate::board::{Board, Kind, Slot};
use crate::sys::clock;
use crate::task::{Limits, Outcome, RETRY, Task};

/// How long a lane that has ended a task may take to say so, before its worker counts as stopped.
const REPORT: u64 = 10_000_000;

/// Why a task that has begun is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is over its time.
    Timeout,
    /// Nobody wants it any more.
    Cancel,
}

impl Wish {
    /// How a task ends that was stopped for it, having run so long.
    pub(super) fn outcome(self, ran: Duration) -> Outcome {
        match self {
            Self::Timeout => Outcome::TimedOut { ran },
            Self::Cancel => Outcome::Cancelled,
        }
    }
}

/// What a worker that is about to be killed had begun when that was decided: slots in ascending
/// order, and for batches the first item that had not begun.
#[derive(Debug)]
pub(super) struct Doomed(Vec<(u32, u32)>);

impl Doomed {
    /// Had it begun the slot's task? Gives the first item that it had not begun.
    pub(super) fn begun(&self, slot: u32) -> Option<u32> {
        let at = self.0.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        Some(self.0[at].1)
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How long the slot's task has run.
pub(super) fn ran(slot: &Slot) -> Duration {
    let started = slot.started.load(Ordering::Relaxed);
    Duration::from_nanos(clock::now().saturating_sub(started))
}

impl Desk {
    /// The slot is no longer written down for a look.
    pub(super) fn forget_deadline(&mut self, index: u32) {
        let entry = std::mem::take(&mut self.shadow[index as usize].entry);
        self.deadlines.forget(index, entry);
    }

    fn look_at(&mut self, index: u32, time: u64) {
        self.forget_deadline(index);
        self.shadow[index as usize].entry = self.deadlines.at(index, time);
    }

    /// The slot has been published at this place of its ring.
    pub(super) fn await_start(&mut self, index: u32, kind: Kind, position: u64) {
        let shadow = &mut self.shadow[index as usize];
        shadow.position = position;
        let Some(timeout) = shadow.task.as_ref().and_then(|task| task.timeout()) else {
            return;
        };
        shadow.entry = self
            .deadlines
            .wait(kind, position, index, timeout, clock::now);
    }

    /// Gives a task other limits, from now on.
    pub(super) fn set_limits(&mut self, board: &Board, task: &Task, limits: Limits) {
        if task.is_done() || task.is_batch() {
            return;
        }
        self.retryable -= usize::from(task.retries() > 0);
        task.set_limits(limits);
        self.retryable += usize::from(task.retries() > 0);
        let Some(ticket) = task.place() else { return };
        let (Some(slot), None) = (
            board.slot(ticket.slot),
            self.shadow[ticket.slot as usize].wish,
        ) else {
            return;
        };
        self.forget_deadline(ticket.slot);
        let Some(timeout) = task.timeout() else {
            return;
        };
        let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
        match state.phase() {
            Some(Phase::Ready) => {
                // What waits for a cell in its ring comes here again when it gets one.
                let position = self.shadow[ticket.slot as usize].position;
                if !self.unpublished.contains(&(task.kind(), ticket)) {
                    self.await_start(ticket.slot, task.kind(), position);
                }
            }
            Some(Phase::Running) => self.look_at(ticket.slot, end_of(slot, timeout)),
            _ => self.look_at(ticket.slot, clock::now().saturating_add(timeout)),
        }
    }

    /// Withdraws a task, or stops it although it runs; no attempt follows.
    pub(super) fn stop(&mut self, board: &Board, task: &Arc<Task>, effects: &mut Effects) {
        self.cancel(board, task, effects);
        if !task.is_done()
            && let Some(ticket) = task.place()
        {
            self.ask(board, ticket.slot, Wish::Cancel, clock::now(), effects);
        }
    }

    /// Asks the task of a slot that is claimed to stop; when its grace is over, it is looked at
    /// again.
    fn ask(&mut self, board: &Board, index: u32, wish: Wish, now: u64, effects: &mut Effects) {
        let shadow = &mut self.shadow[index as usize];
        let asked = shadow.wish.is_some();
        if shadow.wish != Some(Wish::Cancel) {
            shadow.wish = Some(wish);
        }
        let (Some(task), Some(slot), Some(word)) =
            (&shadow.task, board.slot(index), board.asked(index))
        else {
            return;
        };
        if asked || self.scribbled.is_some() {
            return;
        }
        let kind = task.kind();
        word.ask(shadow.generation);
        let grace = self.stop_grace[kind as usize];
        if grace > 0 {
            let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
            let worker = usize::from(state.owner().lane) / 2;
            effects.asked.push((kind, worker));
        }
        self.look_at(index, now.saturating_add(grace));
    }

    /// Is anything to be looked at now?
    pub(super) fn is_overdue(&self) -> bool {
        self.scribbled.is_none() && self.deadlines.next() <= clock::now()
    }

    /// When the supervisor must look at the latest.
    pub(super) fn sleep_until(&mut self) -> Option<u64> {
        let alarm = self.deadlines.sleep();
        // Those who run are being killed.
        alarm.filter(|_| self.scribbled.is_none())
    }

    /// Looks at what is due: asks what is over its time to stop, and gives the workers that are to
    /// be killed for what did not. All completions have just been read.
    pub(super) fn expire(
        &mut self,
        board: &Board,
        effects: &mut Effects,
    ) -> Result<Vec<usize>, Scribbled> {
        let now = clock::now();
        for kind in Kind::ALL {
            while let Some(index) = self.deadlines.first(kind, now) {
                if !self.look_at_first(board, index, now)? {
                    self.deadlines.looked(kind, now);
                }
            }
        }
        let mut killed = Vec::new();
        while let Some(index) = self.deadlines.pop(now) {
            self.shadow[index as usize].entry = Entry::Nowhere;
            killed.extend(self.look(board, index, now, effects)?);
        }
        Ok(killed)
    }

    /// The state of a slot that has a task.
    fn state_of<'a>(
        &self,
        board: &'a Board,
        index: u32,
    ) -> Result<(&'a Slot, SlotState), Scribbled> {
        let slot = board.slot(index).expect("as many slots as shadows");
        let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
        let due = self.shadow[index as usize].generation;
        match state.generation() == due {
            true => Ok((slot, state)),
            false => Err(Scribbled(format!("{state:?} where {due} was due"))),
        }
    }

    /// Takes the first of a line out of it, if it has begun.
    fn look_at_first(&mut self, board: &Board, index: u32, now: u64) -> Result<bool, Scribbled> {
        let (slot, state) = self.state_of(board, index)?;
        let task = self.shadow[index as usize].task.as_ref();
        let timeout = task.and_then(|task| task.timeout());
        let timeout = timeout.unwrap_or(NEVER);
        match state.phase() {
            Some(Phase::Ready) => return Ok(false),
            Some(Phase::Running) => self.look_at(index, end_of(slot, timeout)),
            _ => self.look_at(index, now.saturating_add(timeout.max(GRAIN))),
        }
        Ok(true)
    }

    /// Looks at a slot whose time has come; gives the worker that is to be killed for it.
    fn look(
        &mut self,
        board: &Board,
        index: u32,
        now: u64,
        effects: &mut Effects,
    ) -> Result<Option<usize>, Scribbled> {
        let (slot, state) = self.state_of(board, index)?;
        let shadow = &self.shadow[index as usize];
        let Some(task) = shadow.task.clone() else {
            return Ok(None);
        };
        let (owner, timeout) = (state.owner(), task.timeout());
        let worker = usize::from(owner.lane) / 2;
        let known = usize::from(owner.lane) % 2 == task.kind() as usize
            && self.epochs.get(worker) == Some(&owner.epoch);
        match (state.phase(), shadow.wish, timeout) {
            (Some(Phase::Claimed | Phase::Running | Phase::Done), ..) if !known => {
                return Err(Scribbled(format!("{state:?} is nobody's")));
            }
            // Its lane is about to say so, or was stopped.
            (Some(Phase::Done), ..) if !self.shadow[index as usize].unreported => {
                self.shadow[index as usize].unreported = true;
                self.look_at(index, now.saturating_add(REPORT));
            }
            (Some(Phase::Claimed | Phase::Running), Some(_), _) | (Some(Phase::Done), ..) => {
                self.doom(board, worker);
                return Ok(Some(worker));
            }
            (Some(Phase::Running), None, Some(timeout)) => {
                let end = end_of(slot, timeout);
                if end > now {
                    self.look_at(index, end);
                } else {
                    self.ask(board, index, Wish::Timeout, now, effects);
                }
            }
            (Some(Phase::Claimed), None, Some(timeout)) => {
                self.look_at(index, now.saturating_add(timeout.max(GRAIN)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Notes what a worker has begun that is to be killed. The caller kills it.
    fn doom(&mut self, board: &Board, worker: usize) {
        if self.doomed[worker].is_some() {
            return;
        }
        let epoch = self.epochs[worker];
        board.doomed(worker).tell(epoch);
        let mut begun = Vec::new();
        for (index, shadow) in (0..).zip(&self.shadow) {
            let (Some(_), Some(slot)) = (&shadow.task, board.slot(index)) else {
                continue;
            };
            let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
            let owner = state.owner();
            if state.phase() == Some(Phase::Running)
                && usize::from(owner.lane) / 2 == worker
                && owner.epoch == epoch
            {
                let range = Range::from_bits(slot.range.load(Ordering::Acquire));
                begun.push((index, range.next));
            }
        }
        self.doomed[worker] = Some(Doomed(begun));
    }

    /// Whether a process that has just become known is to be killed.
    pub(super) fn is_doomed(&self, worker: usize) -> bool {
        self.doomed[worker].is_some()
    }

    /// A slot's attempt has come to its end: the task ends so, or is tried again.
    pub(super) fn conclude(
        &mut self,
        board: &Board,
        slot: &Slot,
        index: u32,
        outcome: Outcome,
        effects: &mut Effects,
    ) {
        let shadow = &self.shadow[index as usize];
        let (Some(task), wish) = (shadow.task.clone(), shadow.wish) else {
            return;
        };
        let failed = match &outcome {
            Outcome::Died(_) | Outcome::TimedOut { .. } => true,
            Outcome::Ended { code, .. } => code & RETRY != 0,
            _ => false,
        };
        let wanted = wish != Some(Wish::Cancel) && !task.is_done() && !task.is_batch();
        if failed && wanted && self.use_retry(&task) {
            self.again(board, slot, index, effects);
            return;
        }
        self.free(board, slot, index);
        self.end(task, outcome, effects);
    }

    /// A slot was claimed but nobody's code has run: others get it, unless it is stopped.
    pub(super) fn not_begun(
        &mut self,
        board: &Board,
        slot: &Slot,
        index: u32,
        effects: &mut Effects,
    ) {
        let shadow = &self.shadow[index as usize];
        let (Some(task), Some(Wish::Cancel)) = (shadow.task.clone(), shadow.wish) else {
            return self.again(board, slot, index, effects);
        };
        let outcome = match task.has_items() {
            true => task.with_the_rest_cancelled(Duration::ZERO),
            false => Outcome::Cancelled,
        };
        self.free(board, slot, index);
        self.end(task, outcome, effects);
    }

    fn use_retry(&mut self, task: &Task) -> bool {
        let left = task.retries();
        if left > 0 {
            task.use_retry(left);
            self.retryable -= usize::from(left == 1);
        }
        left > 0
    }

    /// What runs now is the last attempt.
    pub(super) fn forbid_retries(&mut self, task: &Task) {
        self.retryable -= usize::from(task.retries() > 0);
        task.set_retries(0);
    }
}

/// When a task that runs is over its time.
fn end_of(slot: &Slot, timeout: u64) -> u64 {
    // What a scribbler left there must not put it off.
    let started = slot.started.load(Ordering::Relaxed).min(clock::now());
    started.saturating_add(timeout)
}
