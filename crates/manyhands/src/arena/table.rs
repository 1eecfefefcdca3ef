//! The head of an arena as its writer and its readers map it: three hints and the span table.

use std::io;

use super::entry::{ENTRY_SIZE, Entry};
use super::layout::{Layout, UNCOLLECTED_AT, WARM_FREE_AT, WRITER_AT};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::mapping::{Access, Mapping};
use crate::sys::memfd::Memfd;

/// The head of an arena's memfd, mapped for loads and stores: header words and span table.
#[derive(Debug)]
pub(super) struct SharedTable {
    mapping: Mapping,
    layout: Layout,
}

impl SharedTable {
    /// Maps the head of the memfd. `layout` must have been loaded from, or stored to, it.
    pub(super) fn map(memfd: &Memfd, layout: Layout) -> io::Result<SharedTable> {
        let len = usize::try_from(layout.payload_at()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(SharedTable {
            mapping: Mapping::new(memfd, len, Access::ReadWrite)?,
            layout,
        })
    }

    /// The entry of that index, if the table is that long.
    pub(super) fn entry(&self, index: u32) -> Option<&Entry> {
        if index >= self.layout.entries {
            return None;
        }
        let pointer = self
            .mapping
            .ptr(self.layout.entry_at(index), ENTRY_SIZE)?
            .cast::<Entry>();
        // SAFETY: in bounds of a read-write mapping that lives as long as `self` (`ptr` checks),
        // aligned (table_at is a multiple of the page, ENTRY_SIZE of the alignment), any bytes
        // are valid atomics, and all processes access them as atomics only.
        Some(unsafe { &*pointer })
    }

    /// Claims the arena for a writer. False if it has one.
    pub(super) fn claim(&self, pid: u64) -> bool {
        self.word(WRITER_AT)
            .compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The writer's warm free bytes. Relaxed, as below: a hint that guards no memory.
    pub(super) fn publish_warm_free(&self, bytes: u64) {
        self.word(WARM_FREE_AT).store(bytes, Ordering::Relaxed);
    }

    /// A reader is about to release `len` bytes: whether they would be surplus, to be returned
    /// at once. (The writer may be asleep, and would not do it before its next payload.)
    pub(super) fn would_be_surplus(&self, len: u64) -> bool {
        let uncollected = self.word(UNCOLLECTED_AT).load(Ordering::Relaxed);
        let warm = self.word(WARM_FREE_AT).load(Ordering::Relaxed);
        warm.saturating_add(uncollected).saturating_add(len) > self.layout.keep_warm
    }

    /// A large span of `len` bytes is about to be released warm, for the writer to collect.
    pub(super) fn add_uncollected(&self, len: u64) {
        self.word(UNCOLLECTED_AT).fetch_add(len, Ordering::Relaxed);
    }

    /// A large span that was released warm has been collected.
    pub(super) fn subtract_uncollected(&self, len: u64) {
        let word = self.word(UNCOLLECTED_AT);
        // A stray value, should a buggy process have written one, heals as it is subtracted from.
        let now = word.load(Ordering::Relaxed);
        if now >= len {
            word.fetch_sub(len, Ordering::Relaxed);
        } else {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// No large span is live, so nothing can be uncollected: what a dead reader left behind.
    pub(super) fn reset_uncollected(&self) {
        self.word(UNCOLLECTED_AT).store(0, Ordering::Relaxed);
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let pointer = self
            .mapping
            .base()
            .wrapping_add(at as usize)
            .cast::<AtomicU64>();
        // SAFETY: `at` is one of the header's constants, below 256, and the mapping is longer
        // than a page; aligned to 64; any bytes are a valid atomic, and all processes access
        // them as atomics only; the mapping lives as long as `self`.
        unsafe { &*pointer }
    }
}
