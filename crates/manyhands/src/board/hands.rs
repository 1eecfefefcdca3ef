//! Who could help beside the lanes that are there, in a pool whose workers are made on demand: how
//! many workers are being started, and how many places are left to start one for.
//!
//! Guarantee: no published task is left while every lane is busy, nobody is being started, and a
//! place is vacant. The argument is in `README.md`.

use crate::sync::{AtomicU64, Ordering, fence};

/// Starting and vacant, in one word; zero where all workers are made when the pool starts, and
/// where no more may be made. Written by the supervisor.
#[derive(Clone, Copy)]
pub(crate) struct Hands<'a>(pub(crate) &'a AtomicU64);

const VACANT_SHIFT: u32 = 32;

impl Hands<'_> {
    /// The supervisor says how many there are. It looks at every ring afterwards.
    pub(crate) fn tell(&self, starting: usize, vacant: usize) {
        let word = (vacant as u64) << VACANT_SHIFT | starting as u64;
        if self.0.load(Ordering::Relaxed) != word {
            self.0.store(word, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Do both say the same?
    pub(crate) fn are_as(&self, other: Self) -> bool {
        self.0.load(Ordering::Relaxed) == other.0.load(Ordering::Relaxed)
    }

    /// Could a worker be made?
    pub(crate) fn any_vacant(&self) -> bool {
        self.0.load(Ordering::Relaxed) >> VACANT_SHIFT > 0
    }

    /// Should one be made, where nobody sleeps who could be woken for so much `work`? To be asked
    /// after a fence that follows the publication, or the claim.
    pub(crate) fn are_wanted(&self, work: u64, searching: u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let starting = word & ((1 << VACANT_SHIFT) - 1);
        word >> VACANT_SHIFT > 0 && work > searching.saturating_add(starting)
    }
}
