//! How a thread waits for a task: it sleeps, and a waker wakes it.
//!
//! Not `std::thread::park`, whose one token the program may want for itself.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

/// A thread that is about to wait. Made once a thread, and used again.
pub(super) struct Sleeper {
    parker: Arc<Parker>,
    pub(super) waker: Waker,
}

thread_local! {
    static SLEEPER: std::cell::Cell<Option<Sleeper>> = const { std::cell::Cell::new(None) };
}

impl Sleeper {
    /// Of the calling thread.
    pub(super) fn with<T>(wait: impl FnOnce(&Self) -> T) -> T {
        // While one is in use, a wait within the wait (by a waker's code) makes its own.
        let kept = SLEEPER.try_with(std::cell::Cell::take).ok().flatten();
        let sleeper = kept.unwrap_or_else(|| {
            let parker = Arc::<Parker>::default();
            Self {
                waker: Waker::from(parker.clone()),
                parker,
            }
        });
        let result = wait(&sleeper);
        // A thread that is at its end keeps nothing.
        let _ = SLEEPER.try_with(|kept| kept.set(Some(sleeper)));
        result
    }

    /// Sleeps until the waker was used, which may have been before, or the deadline has come:
    /// false.
    pub(super) fn sleep(&self, deadline: Option<Instant>) -> bool {
        let Parker { woken, changed } = &*self.parker;
        let mut woken = woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken {
            woken = match deadline {
                None => changed.wait(woken).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = changed.wait_timeout(woken, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *woken = false;
        true
    }
}
