//! Looking for jobs for a moment before going to sleep: a sleep and a wake-up across cores cost
//! more than most small jobs.
//!
//! One thread of an executor does so at a time, where there is a core for it beside the one that
//! submits, and as long as it pays: a thread that looks in vain loses its patience, and gets it
//! back when its sleeps turn out to have been short.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{hint, thread};

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
        if let Some(slept_at) = self.looked_until.take()
            && slept_at.elapsed() < SHORT
        {
            self.left = MOST.min(self.left + 2);
        }
        if self.left > 0 && queue.crew().searching() == 1 && usable_cores() > 1 {
            let found = || queue.has_jobs() || queue.is_closed();
            // Most often it is found in the first moment, without a look at the clock.
            if spin(found) || spin_until(found, Instant::now() + LOOK) {
                self.left = MOST.min(self.left + 1);
                return;
            }
            self.left -= 1;
        }
        self.looked_until = Some(Instant::now());
    }
}

/// Pauses between two looks, at the most.
const PAUSES: u32 = 16;

/// Looks for as long as falling asleep would take; tells whether it was found.
fn spin(found: impl Fn() -> bool) -> bool {
    let mut pauses = 1;
    while pauses <= PAUSES {
        if found() {
            return true;
        }
        for _ in 0..pauses {
            hint::spin_loop();
        }
        pauses *= 2;
    }
    found()
}

fn spin_until(found: impl Fn() -> bool, end: Instant) -> bool {
    while !found() {
        if Instant::now() >= end {
            return false;
        }
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
        // Whoever was woken may have been put onto this very core.
        thread::yield_now();
    }
    true
}

/// Before a thread sleeps until something is done: waits for it for a moment without sleeping;
/// tells whether it is done.
pub(super) fn wait(done: impl Fn() -> bool) -> bool {
    if done() {
        return true;
    }
    if usable_cores() < 2 {
        return false;
    }
    // The thread that does it may be ready to run, on this very core.
    spin(&done)
        || (0..YIELDS).any(|_| {
            thread::yield_now();
            done()
        })
}

const YIELDS: u32 = 2;

/// Not a `OnceLock`: a fork while another thread initializes would leave the child waiting.
fn usable_cores() -> usize {
    /// 0 is not known yet.
    static CORES: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: the number guards no other memory, and whoever comes first finds the same.
    match CORES.load(Ordering::Relaxed) {
        0 => {
            let found = cores::usable();
            CORES.store(found, Ordering::Relaxed);
            found
        }
        known => known,
    }
}
