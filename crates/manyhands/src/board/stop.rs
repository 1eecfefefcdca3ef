//! The words by which the parent stops what runs: one asks a task, the other tells a worker that
//! it is about to be killed.
//!
//! Guarantees: what asks a task is never heard by the slot's next one; what a worker had not begun
//! when its end was decided has not run when the worker is dead. The argument is in `README.md`.

use crate::sync::{AtomicU64, Ordering, fence};

/// Marks a word that says anything at all: generations and epochs begin at zero.
const SAID: u64 = 1 << 32;

/// A slot's word: the generation that is asked to stop. Written by the parent under its lock.
pub(crate) struct Ask<'a>(pub(crate) &'a AtomicU64);

impl Ask<'_> {
    /// Asks the task of this generation. The caller rings its lane afterwards.
    pub(crate) fn ask(&self, generation: u32) {
        self.0
            .store(SAID | u64::from(generation), Ordering::Release);
    }

    /// Nobody is asked any more: the generation has ended.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The owner: is this generation asked to stop? To be looked at once after the task's start,
    /// and after each time that the lane was rung.
    pub(crate) fn is_asked(&self, generation: u32) -> bool {
        self.0.load(Ordering::Acquire) == SAID | u64::from(generation)
    }
}

/// A worker's word: the epoch that is about to be killed. Written by the parent under its lock.
pub(crate) struct Doom<'a>(pub(crate) &'a AtomicU64);

impl Doom<'_> {
    /// The process of this epoch will be killed. The caller looks afterwards at what it has begun.
    pub(crate) fn tell(&self, epoch: u16) {
        self.0.store(SAID | u64::from(epoch), Ordering::Relaxed);
        // Pairs with the fence of `is_told`.
        fence(Ordering::SeqCst);
    }

    /// There is, or will be, another process.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// A lane of that process, between saying that it begins something and doing it: is it to do
    /// nothing more?
    pub(crate) fn is_told(&self, epoch: u16) -> bool {
        // Pairs with the fence of `tell`.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) == SAID | u64::from(epoch)
    }
}
