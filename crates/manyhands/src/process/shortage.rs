//! When the system is short of what a worker needs (descriptors, memory, processes): how long to
//! wait before the next attempt.
//!
//! Guarantees: a shortage that passes costs a pool nothing but time; where it lasts and no worker is
//! left, callers get an answer. A timer runs only meanwhile.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a pool may be without any worker before it gives up.
const WITHOUT_WORKERS: Duration = Duration::from_secs(30);

/// Does this error say that something is short at the moment? See open(2), fork(2).
pub(super) fn is_shortage(errno: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM].contains(&errno)
}

/// A shortage that goes on.
pub(super) struct Shortage {
    pause: Duration,
    /// When to try again.
    next: Instant,
    /// Since when there has been no worker.
    alone: Option<Instant>,
}

impl Shortage {
    pub(super) fn new() -> Self {
        Self {
            pause: FIRST_PAUSE,
            next: Instant::now(),
            alone: None,
        }
    }

    /// An attempt has failed for it; true when it is time to give up. `alone`: no worker is left.
    pub(super) fn goes_on(&mut self, alone: bool) -> bool {
        self.goes_on_at(alone, Instant::now())
    }

    fn goes_on_at(&mut self, alone: bool, now: Instant) -> bool {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if !alone {
            self.alone = None;
            return false;
        }
        let since = *self.alone.get_or_insert(now);
        now.duration_since(since) >= WITHOUT_WORKERS
    }

    /// Something may have become free.
    pub(super) fn look_now(&mut self) {
        self.next = Instant::now();
    }

    pub(super) fn is_due(&self) -> bool {
        self.left() == Duration::ZERO
    }

    /// How long until the next attempt.
    pub(super) fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_pool_without_workers_gives_up_in_the_end() {
        let mut shortage = Shortage::new();
        let (mut now, mut pauses) = (shortage.next, Vec::new());
        let began = now;
        while !shortage.goes_on_at(true, now) {
            pauses.push(shortage.next - now);
            now = shortage.next;
        }
        assert!(pauses.is_sorted());
        assert_eq!(
            (pauses[0], pauses[pauses.len() - 1]),
            (FIRST_PAUSE, LONGEST_PAUSE)
        );
        assert!(now - began >= WITHOUT_WORKERS);
    }

    #[test]
    fn a_worker_that_is_left_keeps_the_pool_going_however_long_it_lasts() {
        let mut shortage = Shortage::new();
        let began = shortage.next;
        for second in 0..1000 {
            let now = began + Duration::from_secs(second);
            // Now and then the last one dies, and is back after 20 seconds.
            assert!(!shortage.goes_on_at(second % 60 < 20, now));
        }
    }
}
