//! One thread sleeps, another wakes it, through futex(2); unlike `std::thread::park` the
//! sleeper also wakes for a signal, so that an interpreter can handle Ctrl-C.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec, wait, wake};

use super::event::Woken;

/// Sleeps while `word` holds `expected`.
///
/// # Errors
/// As futex(2), except for the ends that [`Woken`] names.
pub fn park(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> io::Result<Woken> {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    if word.load(Ordering::Acquire) != expected {
        return Ok(Woken::Ready);
    }
    match wait(word, Flags::PRIVATE, expected, timeout.as_ref()) {
        Ok(()) | Err(Errno::AGAIN) => Ok(Woken::Ready),
        Err(Errno::TIMEDOUT) => Ok(Woken::TimedOut),
        Err(Errno::INTR) => Ok(Woken::Interrupted),
        Err(error) => Err(error.into()),
    }
}

/// Wakes the thread that sleeps on `word`. The caller has changed `word` before.
pub fn unpark(word: &AtomicU32) {
    let _ = wake(word, Flags::PRIVATE, 1);
}
