//! How lanes find out whether, and where, the parent waits for completions.

use crate::sync::{AtomicU64, Ordering, fence};

/// When a lane rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// After each completion.
    Eager,
    /// When it finds nothing more to claim.
    Lazy,
}

const DOORBELL_BITS: u32 = 7;
const LAZY: u64 = 1 << DOORBELL_BITS;
const EPISODE_SHIFT: u32 = DOORBELL_BITS + 1;

/// The parent's side: `episode`, mode and doorbell, zero when nobody waits. Written under the
/// parent's lock.
pub(crate) struct Waiting<'a>(pub(crate) &'a AtomicU64);

impl Waiting<'_> {
    /// Asks the lanes to ring `doorbell`. The caller looks at every ring afterwards.
    pub(crate) fn arm(&self, doorbell: usize, mode: Mode) {
        let episode = (self.0.load(Ordering::Relaxed) >> EPISODE_SHIFT) + 1;
        let lazy = if mode == Mode::Lazy { LAZY } else { 0 };
        self.0.store(
            (episode << EPISODE_SHIFT) | lazy | (doorbell as u64 + 1),
            Ordering::Relaxed,
        );
        fence(Ordering::SeqCst);
    }

    /// Nobody waits.
    pub(crate) fn disarm(&self) {
        let word = self.0.load(Ordering::Relaxed);
        self.0
            .store(word >> EPISODE_SHIFT << EPISODE_SHIFT, Ordering::Relaxed);
    }
}

/// A lane's side: the word that it last rang for, in its private memory. It never clears the
/// shared word, so a lane stopped here silences no other.
#[derive(Default)]
pub(crate) struct Ringer {
    rung: u64,
}

impl Ringer {
    /// The doorbell to write after a completion (`idle` false) or with nothing left to claim.
    pub(crate) fn due(&mut self, waiting: &AtomicU64, idle: bool) -> Option<usize> {
        fence(Ordering::SeqCst);
        let word = waiting.load(Ordering::Relaxed);
        let doorbell = word & (LAZY - 1);
        if doorbell == 0 || word == self.rung || (word & LAZY != 0 && !idle) {
            return None;
        }
        self.rung = word;
        Some(doorbell as usize - 1)
    }
}
