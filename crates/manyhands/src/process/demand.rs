//! Workers on demand: how many are to be started, and who is told when that is settled.
//!
//! Guarantee: no task is left while every lane is busy, nobody is being started and a place is
//! vacant; and no more workers are started than there is work for. The argument is in the board's
//! `README.md`, "Workers on demand".

use super::notes::Effects;
use super::seats::{Seat, Worker};
use super::supervisor::Supervisor;
use crate::board::Kind;
use crate::task::Outcome;

impl Supervisor {
    /// Starts as many workers as are wanted, and says who could help. To be called after anything
    /// that has changed a place, and whenever somebody asks.
    pub(super) fn staff(&mut self) {
        if self.shared.config.on_demand {
            loop {
                self.tell_hands();
                let wanted = self.wanted();
                let seats = 0..self.seats.len();
                let vacant: Vec<_> = seats.filter(|worker| self.is_vacant(*worker)).collect();
                let started = wanted.min(vacant.len());
                if started == 0 || !self.may_launch() {
                    break;
                }
                vacant[..started]
                    .iter()
                    .for_each(|worker| self.replace(*worker));
            }
        }
        self.tell_settled();
    }

    /// No process, none is being made, and none is waiting to be.
    fn is_vacant(&self, worker: usize) -> bool {
        matches!(self.seats[worker].worker, Worker::Vacant) && !self.postponed.contains(&worker)
    }

    /// Workers that do not take tasks yet, but will.
    fn starting(&self) -> usize {
        let starting = |seat: &&Seat| match seat.worker {
            Worker::Launching => true,
            Worker::Alive { .. } => !seat.answered,
            Worker::Vacant | Worker::Reaping { .. } => false,
        };
        self.seats.iter().filter(starting).count() + self.postponed.len()
    }

    fn tell_hands(&self) {
        let starting = self.starting();
        let seats = 0..self.seats.len();
        let vacant = seats.filter(|worker| self.is_vacant(*worker)).count();
        let may_launch = self.may_launch();
        // Under the lock, so that whoever checks the board finds both words alike.
        let _desk = self.shared.lock();
        let vacant = if may_launch { vacant } else { 0 };
        self.shared.hands().tell(starting, vacant);
        self.shared.board.hands().tell(starting, vacant);
    }

    /// How many workers should be started beside those that are. A lane that sleeps counts as
    /// help: whoever published what lies there wakes it.
    fn wanted(&self) -> usize {
        let board = &self.shared.board;
        let wanted = |kind: Kind| {
            let work = board.submission(kind).len();
            work.saturating_sub(board.idle(kind).idle())
        };
        let most = Kind::ALL.into_iter().map(wanted).max().unwrap_or(0);
        // The ring was read from the board: it may say anything.
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        most.saturating_sub(self.starting())
    }

    /// No process is being made: whoever waits for that is told.
    fn tell_settled(&self) {
        let launching = |seat: &Seat| matches!(seat.worker, Worker::Launching);
        // Nobody is to wait for a shortage to end.
        let postponed = !self.postponed.is_empty() && self.shortage.is_none();
        if self.seats.iter().any(launching) || postponed {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = self.shared.lock();
        if desk.settling.is_empty() {
            return;
        }
        for marker in std::mem::take(&mut desk.settling) {
            effects.end(marker, Outcome::Cancelled);
        }
        self.shared.finish(desk, effects);
    }
}
