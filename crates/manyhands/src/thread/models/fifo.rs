//! What stands for the lock-free queue in models.
//!
//! It orders no more than the real one does: a `pop` sees what was written before the `push` of
//! what it takes, and that is all; `len` and `is_empty` order nothing.

use std::collections::VecDeque;

use crate::sync::{AtomicU64, Mutex, Ordering};

pub(crate) struct Fifo<T> {
    head: AtomicU64,
    tail: AtomicU64,
    /// The values, each moved in before `tail` names it. `std`'s lock, since it is never waited
    /// for (no model switches threads while it is held) and must order nothing.
    cells: std::sync::Mutex<VecDeque<(u64, T)>>,
    pushing: Mutex<()>,
}

impl<T> Fifo<T> {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            cells: std::sync::Mutex::default(),
            pushing: Mutex::new(()),
        }
    }

    pub(crate) fn push(&self, value: T) {
        let _pushing = self.pushing.lock().unwrap();
        let tail = self.tail.load(Ordering::Relaxed);
        self.cells.lock().unwrap().push_back((tail, value));
        self.tail.store(tail + 1, Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        loop {
            let head = self.head.load(Ordering::Relaxed);
            if self.tail.load(Ordering::Acquire) <= head {
                return None;
            }
            let next =
                self.head
                    .compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Relaxed);
            if next.is_ok() {
                let mut cells = self.cells.lock().unwrap();
                let at = cells.iter().position(|(place, _)| *place == head);
                return at.and_then(|at| cells.remove(at)).map(|(_, value)| value);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).saturating_sub(head) as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
