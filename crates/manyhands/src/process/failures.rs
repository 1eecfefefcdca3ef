//! When a pool gives up making workers.
//!
//! An initializer that fails with an error of its own in the first worker will do so in each: the
//! pool ends at once. Where a worker has been ready before, or where one crashes as soon as it
//! starts, it may go better the next time; but without a limit the pool would make workers for ever,
//! and its callers would wait for ever. A worker that
//! was killed with SIGKILL tells less: somebody else did that, and may have had reasons that pass
//! (a shortage of memory, a careless script). So such ends are borne for a while, however many.
//!
//! Guarantee: in a pool whose workers all fail, every caller gets an answer.

use std::time::{Duration, Instant};

use crate::task::Exit;

/// How a worker ends that somebody else has killed.
const KILLED: Exit = Exit::Signal(libc::SIGKILL);

/// How long workers may do nothing but be killed.
const KILLINGS: Duration = Duration::from_secs(30);

/// Workers that get ready, and then end soon with nothing done, may be so many more than those that
/// do not even get ready: what ends them may be a task of somebody's that cannot be read.
const READY_AT_LEAST: usize = 10;

/// What a worker was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It did something, or lived long, or the pool itself has killed it.
    Some,
    /// It was ready, and ended soon with nothing done.
    Ready,
    /// It never got ready.
    None,
}

/// Counts failures in a row.
pub(super) struct Failures {
    most: usize,
    /// Workers that ended before they were ready.
    unready: usize,
    /// Workers that ended soon with nothing done.
    barren: usize,
    /// When the row began.
    since: Option<Instant>,
}

impl Failures {
    /// Every worker of the pool may fail once, and three in any case.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            most: workers.max(3),
            unready: 0,
            barren: 0,
            since: None,
        }
    }

    /// A worker takes tasks.
    pub(super) fn ready(&mut self) {
        self.unready = 0;
    }

    /// No process could be made; true when it is time to give up.
    pub(super) fn not_started(&mut self) -> bool {
        self.unready += 1;
        self.unready >= self.most
    }

    /// A worker has ended; gives how many have failed in a row when it is time to give up.
    pub(super) fn ended(&mut self, useful: Use, exit: Exit, now: Instant) -> Option<usize> {
        match useful {
            Use::Some => self.barren = 0,
            Use::Ready => self.barren += 1,
            Use::None => {
                self.barren += 1;
                self.unready += 1;
            }
        }
        if self.barren == 0 {
            self.since = None;
            return None;
        }
        let began = *self.since.get_or_insert(now);
        let borne = exit == KILLED && now.duration_since(began) < KILLINGS;
        let many = self.unready >= self.most || self.barren >= self.most + READY_AT_LEAST;
        (many && !borne).then(|| self.unready.max(self.barren))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXITED: Exit = Exit::Code(1);

    #[test]
    fn workers_that_never_get_ready_are_given_up_after_as_many_as_there_are() {
        for (workers, most) in [(1, 3), (3, 3), (8, 8)] {
            let mut failures = Failures::new(workers);
            for _ in 1..most {
                assert_eq!(failures.ended(Use::None, EXITED, Instant::now()), None);
            }
            assert_eq!(
                failures.ended(Use::None, EXITED, Instant::now()),
                Some(most)
            );
        }
    }

    #[test]
    fn one_that_gets_ready_or_does_something_ends_the_row() {
        let mut failures = Failures::new(1);
        for _ in 0..100 {
            assert!(!failures.not_started());
            failures.ready();
            for _ in 0..12 {
                assert_eq!(failures.ended(Use::Ready, EXITED, Instant::now()), None);
            }
            assert_eq!(failures.ended(Use::Some, EXITED, Instant::now()), None);
        }
    }

    #[test]
    fn those_that_get_ready_and_do_nothing_are_given_up_too() {
        let mut failures = Failures::new(1);
        let ends = (0..).map(|_| failures.ended(Use::Ready, EXITED, Instant::now()));
        assert_eq!(ends.take_while(Option::is_none).count(), 12);
    }

    #[test]
    fn kills_are_borne_for_a_while_however_many() {
        let mut failures = Failures::new(1);
        let began = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(failures.ended(Use::None, KILLED, began), None);
        }
        let later = began + KILLINGS;
        assert_eq!(failures.ended(Use::None, KILLED, later), Some(10_001));
        // Something of use starts the count of time anew.
        failures.ready();
        assert_eq!(failures.ended(Use::Some, KILLED, later), None);
        for _ in 0..100 {
            assert_eq!(failures.ended(Use::None, KILLED, later), None);
        }
    }
}
