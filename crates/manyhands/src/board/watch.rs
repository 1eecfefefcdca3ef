//! The watch: a one-shot timer that covers lanes which were woken and then stopped or killed.
//!
//! Guarantee: a task that lies untouched beside an idle lane has every idle lane rung after two
//! periods at the most; no timer runs in an idle pool.

use super::idle::IdleSet;
use super::ring::SubmissionRing;
use crate::sync::{AtomicU64, Ordering};

/// Is the timer running?
pub(crate) struct Watch {
    armed: AtomicU64,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            armed: AtomicU64::new(0),
        }
    }

    /// True when the caller is to start the timer. To be called after publishing.
    pub(crate) fn arm(&self) -> bool {
        self.armed.swap(1, Ordering::SeqCst) == 0
    }

    /// The timer fired. A swap, so that the looks that follow see what was published by those
    /// who found it armed.
    pub(crate) fn fired(&self) {
        self.armed.swap(0, Ordering::SeqCst);
    }
}

/// One look of the watch at one kind of lanes: true if it should look again. `seen` is the
/// ring's tail at the look before; `ring_bell` writes a lane's eventfd.
pub(crate) fn look(
    seen: &mut u64,
    ring: SubmissionRing<'_>,
    idle: IdleSet<'_>,
    ring_bell: impl FnMut(usize),
) -> bool {
    let (head, tail) = (ring.head(), ring.tail());
    // Has the first task been there for a period?
    let stale = head < std::mem::replace(seen, tail);
    head < tail && idle.any_idle() && (!stale || idle.ring_all(ring_bell))
}
