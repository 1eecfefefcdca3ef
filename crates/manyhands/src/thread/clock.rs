//! Deadlines of tasks that are awaited: one thread in the process wakes their wakers.
//!
//! It is started with the first deadline, and sleeps until the earliest one, or until an earlier
//! one is set. Nothing ticks: without deadlines it sleeps without end.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;
use std::{io, thread};

#[derive(Default)]
struct Deadlines {
    /// By time; the number tells those of the same moment apart.
    wakers: BTreeMap<(Instant, u64), Waker>,
    numbers: u64,
    is_running: bool,
}

static DEADLINES: Mutex<Option<Deadlines>> = Mutex::new(None);
static EARLIER: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Option<Deadlines>> {
    DEADLINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A deadline that is set; dropping it takes it back.
#[derive(Debug)]
pub(super) struct Alarm {
    key: (Instant, u64),
}

impl Alarm {
    /// Has the waker woken at that time, if this lives then.
    ///
    /// # Errors
    /// The thread that does so cannot be started.
    pub(super) fn set(at: Instant, waker: Waker) -> io::Result<Self> {
        let mut deadlines = lock();
        let known = deadlines.get_or_insert_default();
        if !known.is_running {
            let builder = thread::Builder::new().name("manyhands-clock".to_owned());
            builder.spawn(run)?;
            known.is_running = true;
        }
        known.numbers += 1;
        let key = (at, known.numbers);
        known.wakers.insert(key, waker);
        let is_first = known.wakers.first_key_value().map(|(first, _)| *first) == Some(key);
        drop(deadlines);
        if is_first {
            EARLIER.notify_one();
        }
        Ok(Self { key })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = lock()
            .as_mut()
            .and_then(|known| known.wakers.remove(&self.key));
        // Not under the lock: it may be a stranger's code.
        drop(waker);
    }
}

fn run() {
    let mut deadlines = lock();
    loop {
        let first = deadlines
            .as_mut()
            .and_then(|known| known.wakers.first_entry());
        deadlines = match first {
            None => EARLIER
                .wait(deadlines)
                .unwrap_or_else(PoisonError::into_inner),
            Some(entry) => {
                let left = entry.key().0.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let waker = entry.remove();
                    drop(deadlines);
                    // A waker that panics has been told of by the panic hook; the other deadlines
                    // still count.
                    crate::panic::drop_quietly(crate::panic::catch(|| waker.wake()));
                    lock()
                } else {
                    let waited = EARLIER.wait_timeout(deadlines, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            }
        };
    }
}
