//! A lane: one thread of a worker that claims tasks of one kind. When it looks for them, sleeps
//! and rings; what it does with a claimed one is in `job.rs`.
//!
//! Guarantees: a [`Job`] is this lane's alone; a lane that goes to sleep has looked at its ring
//! after saying so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SUPERVISOR_DOORBELL;
use super::job::Job;
use super::linger::{Linger, Patience};
use super::seat::Seat;
use crate::board::waiting::Ringer;
use crate::board::{Kind, WorkerEntry};
use crate::sys::event::{Event, Woken};
use crate::sys::pidfd;

/// What a lane is to do next.
#[derive(Debug)]
pub enum Next {
    /// Run this.
    Job(Job),
    /// End: the pool is done.
    Closing,
    /// A signal was handled; call again.
    Interrupted,
}

/// See the module's documentation.
pub struct Lane {
    pub(super) seat: Arc<Seat>,
    pub(super) kind: Kind,
    ringer: Ringer,
    /// The idle bits may be set.
    idle: bool,
    patience: Patience,
}

impl Lane {
    pub(super) fn new(seat: Arc<Seat>, kind: Kind) -> Self {
        Self {
            seat,
            kind,
            ringer: Ringer::default(),
            // Whoever held the lane before (the guard) may have left bits there.
            idle: true,
            patience: Patience::default(),
        }
    }

    pub(super) fn worker(&self) -> usize {
        self.seat.worker()
    }

    pub(super) fn entry(&self) -> &WorkerEntry {
        self.seat.board.worker(self.worker())
    }

    /// Becomes readable when the lane should look for work.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.seat.lanes[self.kind.lane(self.worker())]
    }

    /// Tasks ready for lanes of this kind, about.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.seat.board.submission(self.kind).len() as usize
    }

    /// Lanes of this kind that could take a task, about; at least one.
    #[must_use]
    pub fn rivals(&self) -> usize {
        self.seat.board.geometry().workers
    }

    /// Writes down how many tasks the lane has in hand.
    pub fn set_load(&self, load: usize) {
        self.entry().load[self.kind as usize].store(load as u32, Ordering::Relaxed);
    }

    /// A child that a task forked, and that comes back into the worker's loop, must not take part
    /// in the pool, nor go on as if it were the program. Called before whatever writes to the
    /// board: such a child holds the same job as its parent.
    pub(super) fn end_forked_child(&self) {
        if !self.seat.mark.is_current() {
            pidfd::kill_self();
        }
    }

    /// Takes the next task if there is one.
    pub fn claim(&mut self) -> Option<Job> {
        self.end_forked_child();
        let board = &self.seat.board;
        let ring = board.submission(self.kind);
        let state_of = |slot| board.slot(slot).map(|slot| &slot.state);
        let ticket = ring.claim(self.seat.owner(self.kind), state_of)?;
        let slot = board.slot(ticket.slot)?;
        let job = Job::new(ticket, slot);
        self.busy();
        Some(job)
    }

    /// The lane has work, or takes none: if more lies there than others look for, one is woken.
    pub fn busy(&mut self) {
        self.end_forked_child();
        if !std::mem::take(&mut self.idle) {
            return;
        }
        let board = &self.seat.board;
        let (idle, ring) = (board.idle(self.kind), board.submission(self.kind));
        let load = |worker: usize| board.load(self.kind, worker);
        // Another lane's bits were read from the board: there may be no such lane.
        let set = |worker: usize| {
            if let Some(event) = self.seat.lanes.get(self.kind.lane(worker)) {
                event.set();
            }
        };
        if let Some((work, searching)) = idle.pass_on(self.worker(), ring, load, set)
            && board.hands().are_wanted(work, searching)
            && let Some(supervisor) = self.seat.doorbells.get(SUPERVISOR_DOORBELL)
        {
            supervisor.set();
        }
    }

    /// Nothing was left to claim: says so, and whether the lane may sleep until its event is
    /// set; false when work came or the pool closes.
    pub fn rest(&mut self) -> bool {
        self.end_forked_child();
        self.ring(true);
        let board = &self.seat.board;
        self.idle = true;
        let ring = board.submission(self.kind);
        let closing = || self.seat.is_closing();
        self.patience.sleeps();
        board.idle(self.kind).rest(self.worker(), ring, closing)
    }

    /// After a sleep: the event is taken note of.
    pub fn woke(&mut self) {
        self.event().clear();
        self.patience.woke();
        self.idle = true;
        self.seat.board.idle(self.kind).set_searching(self.worker());
    }

    /// What is to do next, if that can be said at once.
    pub fn try_next(&mut self) -> Option<Next> {
        if self.seat.is_closing() {
            return Some(Next::Closing);
        }
        self.claim().map(Next::Job)
    }

    /// Blocks until there is a task.
    ///
    /// # Errors
    /// As poll(2); does not happen on a sound system.
    pub fn wait_next(&mut self) -> io::Result<Next> {
        loop {
            if let Some(next) = self.try_next() {
                return Ok(next);
            }
            if let Some(leave) = self.linger() {
                let found = leave.look();
                self.lingered(found);
                if found {
                    continue;
                }
            }
            if !self.rest() {
                continue;
            }
            let woken = self.event().wait(None);
            self.woke();
            if woken? == Woken::Interrupted {
                return Ok(Next::Interrupted);
            }
        }
    }

    /// Leave to look for work a while before sleeping, where that takes no core from anybody and
    /// has paid of late. What came of it is to be told to [`Lane::lingered`].
    pub fn linger(&mut self) -> Option<Linger> {
        self.ring(true);
        if !self.patience.is_left() {
            return None;
        }
        let leave = Linger::leave(&self.seat, self.kind)?;
        self.idle = true;
        self.seat.board.idle(self.kind).set_searching(self.worker());
        Some(leave)
    }

    /// Whether looking has found work.
    pub fn lingered(&mut self, found: bool) {
        self.patience.looked(found);
    }

    /// Where workers are made on demand: whoever reads the outcome that is about to be published and
    /// then submits the next task is to find this lane searching, and no place to be filled.
    pub(super) fn search_on(&mut self) {
        let board = &self.seat.board;
        if self.kind == Kind::Function
            && board.hands().any_vacant()
            && board.submission(self.kind).len() == 0
            && !self.seat.is_closing()
        {
            self.idle = true;
            board.idle(self.kind).set_searching(self.worker());
        }
    }

    pub(super) fn ring(&mut self, idle: bool) {
        if let Some(doorbell) = self.ringer.due(self.seat.board.waiting(), idle)
            && let Some(event) = self.seat.doorbells.get(doorbell)
        {
            event.set();
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("worker", &self.worker())
            .field("kind", &self.kind)
            .finish()
    }
}
