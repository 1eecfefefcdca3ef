//! Looking for jobs for a moment before going to sleep: a sleep and a wake-up across cores cost
//! more than most small jobs.
//!
//! One thread of an executor does so at a time, where there is a core for it beside the one that
//! submits, and as long as it pays: a thread that looks in vain loses its patience, and gets it
//! back when its sleeps turn out to have been short.

use std::hint;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::queue::Queue;
use crate::sys::cores;

/// How long to look: some more than a wake-up across cores takes.
const LOOK: Duration = Duration::from_micros(50);

/// A sleep shorter than this need not have been.
const SHORT: Duration = Duration::from_micros(150);

const MOST: u8 = 8;

/// Does looking pay?
pub(super) struct Patience {
    left: u8,
    looked_until: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            left: MOST / 2,
            looked_until: None,
        }
    }
}

impl Patience {
    /// Looks for a job until there is one, or it is time to sleep.
    pub(super) fn look<J>(&mut self, queue: &Queue<J>) {
        let begun = Instant::now();
        if let Some(slept_at) = self.looked_until.take()
            && begun.duration_since(slept_at) < SHORT
        {
            self.left = MOST.min(self.left + 2);
        }
        if self.left == 0 || queue.crew().searching() > 1 || usable_cores() < 2 {
            self.looked_until = Some(begun);
            return;
        }
        let mut pause = 1;
        loop {
            for _ in 0..pause {
                hint::spin_loop();
            }
            pause = 64.min(pause * 2);
            if queue.has_jobs() || queue.is_closed() {
                self.left = MOST.min(self.left + 1);
                return;
            }
            let now = Instant::now();
            if now.duration_since(begun) > LOOK {
                self.left -= 1;
                self.looked_until = Some(now);
                return;
            }
        }
    }
}

/// Before a thread sleeps until something is done: waits for it without sleeping, about as long as
/// falling asleep takes.
pub(super) fn wait(mut done: impl FnMut() -> bool) {
    if usable_cores() < 2 {
        return;
    }
    let mut pause = 1;
    while pause <= 64 && !done() {
        for _ in 0..pause {
            hint::spin_loop();
        }
        pause *= 2;
    }
}

fn usable_cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(cores::usable)
}
