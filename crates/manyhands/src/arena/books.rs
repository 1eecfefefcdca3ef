//! The writer's bookkeeping, behind the arena's lock: where spans are placed, when released
//! ones are collected, and when pages go back to the system.

use std::io;

use super::SpanRef;
use super::entry::{Phase, unpack};
use super::error::ArenaError;
use super::free::{BlockId, Effort, FreeSpace, GRANULE, Temperature};
use super::ground::Ground;
use super::layout::Layout;
use super::ledger::{Closed, Ledger, Size};
use Temperature::{Cold, Warm};

/// How many waiting spans each payload looks at to find released ones. Two, so that garbage
/// shrinks as long as less than half of the spans looked at are still held.
const LOOKS: u64 = 2;

/// Before `n` bytes of cold memory are taken, this many spans are looked at, and one more for
/// each [`BYTES_PER_LOOK`]: the looks cost a fraction of what fresh pages do.
const LOOKS_BEFORE_COLD: u64 = 16;
const BYTES_PER_LOOK: u64 = 256;

/// How much cold memory is made warm at once for small spans.
const CHUNK: u64 = 256 << 10;

/// How much of the span table is allocated at once.
const TABLE_STEP: u32 = 2048;

/// How much is given back to the system under one hold of the lock (about a millisecond).
const RETURN_STEP: u64 = 8 << 20;

/// A span with a place, whose bytes are not there yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) span: SpanRef,
    /// Its pages are holes: they must be allocated or written by system calls, which fail with
    /// an error where a store would be SIGBUS.
    pub(super) fresh: bool,
}

/// The private bookkeeping of an arena's writer.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) space: FreeSpace,
    pub(super) ledger: Ledger,
    /// How many entries of the span table have their pages.
    table_ready: u32,
    /// More than this stays warm only until the next operation.
    keep_warm: u64,
}

impl Books {
    pub(super) fn new(layout: &Layout, keep_warm: u64) -> Books {
        Books {
            space: FreeSpace::new(layout.capacity, layout.page),
            ledger: Ledger::new(layout.entries),
            table_ready: 0,
            keep_warm,
        }
    }

    /// Finds a place for `len` bytes: among warm memory, then fresh, then by collecting and
    /// returning everything that can be.
    pub(super) fn place(&mut self, ground: &Ground, len: u64) -> Result<Placed, ArenaError> {
        let exhausted = |books: &Books| ArenaError::Exhausted {
            requested: len,
            capacity: ground.layout.capacity,
            live: books.live_bytes(ground),
        };
        let size = Size::of(len);
        self.sweep(ground, size, LOOKS);
        if len > ground.layout.capacity {
            return Err(exhausted(self));
        }
        self.prepare_entry(ground, len)?;
        let (block, fresh) = match size {
            Size::Small => (self.block_for_small(ground, len)?, false),
            Size::Large => self.block_for_large(ground, len),
        };
        let block = block.ok_or_else(|| exhausted(self))?;
        Ok(Placed {
            span: self.open(ground, block, len),
            fresh,
        })
    }

    /// Ends a span whose release the caller has won. False if it has ended before.
    pub(super) fn close(
        &mut self,
        ground: &Ground,
        index: u32,
        generation: u64,
        left: Temperature,
    ) -> bool {
        let Some(Closed { block, len }) = self.ledger.close(index, generation) else {
            return false;
        };
        self.space.give_back(block, left);
        if Size::of(len) == Size::Large && self.ledger.waiting(Size::Large) == 0 {
            ground.table.reset_uncollected();
        }
        true
    }

    /// Ends a fresh span whose pages could not be had; what was allocated of it goes back.
    pub(super) fn abandon(&mut self, ground: &Ground, span: SpanRef) {
        let (index, generation) = unpack(span.ticket);
        let len = span.len.next_multiple_of(ground.layout.page);
        let returned = ground.memfd.punch_hole(span.offset, len);
        if let Some(entry) = ground.table.entry(index) {
            entry.release(generation, Phase::Released);
        }
        // Should punching fail, some pages stay; the others would be allocated by the fault of
        // a plain store. Treating all as cold is safe: cold pages are never stored to.
        drop(returned);
        self.close(ground, index, generation, Cold);
    }

    /// Collects every released span.
    pub(super) fn collect(&mut self, ground: &Ground) {
        self.sweep(ground, Size::Large, u64::MAX);
        self.sweep(ground, Size::Small, u64::MAX);
    }

    /// Collects everything, and returns all that is warm and free to the system.
    pub(super) fn return_everything(&mut self, ground: &Ground) {
        self.collect(ground);
        while self.return_pages(ground, u64::MAX, Effort::Exhaustive) {}
    }

    /// Returns one step of what is above the cap. False when there is nothing left to do.
    ///
    /// `trimming` remembers between steps that the cap was exceeded: then an eighth more goes,
    /// so that the next payloads do not each return a page or two.
    pub(super) fn trim_step(&mut self, ground: &Ground, trimming: &mut bool) -> bool {
        let warm = self.space.bytes(Warm);
        *trimming |= warm > self.keep_warm;
        let target = self.keep_warm - self.keep_warm / 8;
        *trimming
            && warm > target
            && self.return_pages(ground, (warm - target).min(RETURN_STEP), Effort::Quick)
    }

    /// The bytes occupied by spans, rounding included.
    pub(super) fn live_bytes(&self, ground: &Ground) -> u64 {
        ground.layout.capacity - self.space.bytes(Warm) - self.space.bytes(Cold)
    }

    fn open(&mut self, ground: &Ground, block: BlockId, len: u64) -> SpanRef {
        let (offset, _) = self.space.extent(&block);
        let offset = ground.layout.payload_at() + offset;
        let ticket = self.ledger.open(block, len);
        let (index, generation) = unpack(ticket);
        if let Some(entry) = ground.table.entry(index) {
            entry.open(generation, offset, len);
        }
        SpanRef {
            offset,
            len,
            ticket,
        }
    }

    /// Sees to it that the next span has an entry, with its page allocated.
    fn prepare_entry(&mut self, ground: &Ground, requested: u64) -> Result<(), ArenaError> {
        if self.ledger.next_index().is_none() {
            self.collect(ground);
        }
        let limit = ground.layout.entries;
        let index = self
            .ledger
            .next_index()
            .ok_or(ArenaError::TooManySpans { limit })?;
        if index >= self.table_ready {
            let ready = limit.min(self.table_ready + TABLE_STEP);
            let (from, to) = (
                ground.layout.entry_at(self.table_ready),
                ground.layout.entry_at(ready),
            );
            ground
                .memfd
                .allocate(from, to - from)
                .map_err(|e| refused(requested, e))?;
            self.table_ready = ready;
        }
        Ok(())
    }

    /// A block for a large span, and whether it is fresh.
    fn block_for_large(&mut self, ground: &Ground, len: u64) -> (Option<BlockId>, bool) {
        let page = ground.layout.page;
        let len = len.next_multiple_of(page);
        if let Some(block) = self.warm(ground, len, page) {
            return (Some(block), false);
        }
        if let Some(block) = self.space.take(Cold, len, page, Effort::Quick) {
            return (Some(block), true);
        }
        self.collect(ground);
        if let Some(block) = self.space.take(Warm, len, page, Effort::Exhaustive) {
            return (Some(block), false);
        }
        self.return_everything(ground);
        (self.space.take(Cold, len, page, Effort::Exhaustive), true)
    }

    /// A warm block for a small span; cold memory is made warm if there is no other.
    fn block_for_small(
        &mut self,
        ground: &Ground,
        len: u64,
    ) -> Result<Option<BlockId>, ArenaError> {
        let len = len.next_multiple_of(GRANULE);
        if let Some(block) = self.warm(ground, len, GRANULE) {
            return Ok(Some(block));
        }
        // An error here is not the last word: what others hold warm may be returned first.
        let _ = self.warm_up(ground, len, CHUNK, Effort::Quick);
        if let Some(block) = self.space.take(Warm, len, GRANULE, Effort::Quick) {
            return Ok(Some(block));
        }
        self.collect(ground);
        if let Some(block) = self.space.take(Warm, len, GRANULE, Effort::Exhaustive) {
            return Ok(Some(block));
        }
        self.return_everything(ground);
        self.warm_up(ground, len, 0, Effort::Exhaustive)
            .map_err(|e| refused(len, e))?;
        Ok(self.space.take(Warm, len, GRANULE, Effort::Exhaustive))
    }

    /// A warm block, looking at a number of waiting spans first that is small beside the cost
    /// of fresh memory.
    fn warm(&mut self, ground: &Ground, len: u64, align: u64) -> Option<BlockId> {
        if let Some(block) = self.space.take(Warm, len, align, Effort::Quick) {
            return Some(block);
        }
        let looks = LOOKS_BEFORE_COLD + len.max(CHUNK) / BYTES_PER_LOOK;
        self.sweep(ground, Size::Large, looks);
        self.sweep(ground, Size::Small, looks);
        self.space.take(Warm, len, align, Effort::Quick)
    }

    /// Turns cold memory, `want` bytes of it or less but enough for `len`, into warm.
    fn warm_up(&mut self, ground: &Ground, len: u64, want: u64, effort: Effort) -> io::Result<()> {
        let page = ground.layout.page;
        let least = len.next_multiple_of(page);
        let mut want = want.next_multiple_of(page).max(least);
        let block = loop {
            if let Some(block) = self.space.take(Cold, want, page, effort) {
                break block;
            }
            if want == least {
                return Ok(()); // No room is for the caller to notice.
            }
            want = (want / 2).next_multiple_of(page).max(least);
        };
        let (offset, len) = self.space.extent(&block);
        let at = ground.layout.payload_at() + offset;
        let result = ground.memfd.allocate(at, len);
        if result.is_err() {
            let _ = ground.memfd.punch_hole(at, len);
        }
        self.space
            .give_back(block, if result.is_ok() { Warm } else { Cold });
        result
    }

    /// Looks at so many spans of a size, and collects those that were released.
    fn sweep(&mut self, ground: &Ground, size: Size, looks: u64) {
        for _ in 0..looks.min(u64::from(self.ledger.waiting(size))) {
            let Some((index, generation)) = self.ledger.turn(size) else {
                return;
            };
            let Some(entry) = ground.table.entry(index) else {
                return;
            };
            if entry.is(generation, Phase::Released) {
                if size == Size::Large {
                    let (_, len) = entry.place();
                    ground.table.subtract_uncollected(len);
                }
                self.close(ground, index, generation, Warm);
            } else if entry.is(generation, Phase::ReleasedCold) {
                self.close(ground, index, generation, Cold);
            }
        }
    }

    /// Returns some pages of one of the largest free blocks. False if there are none.
    fn return_pages(&mut self, ground: &Ground, most: u64, effort: Effort) -> bool {
        let Some(block) = self.space.take_surplus(most, effort) else {
            return false;
        };
        let (offset, len) = self.space.extent(&block);
        let returned = ground
            .memfd
            .punch_hole(ground.layout.payload_at() + offset, len)
            .is_ok();
        self.space
            .give_back(block, if returned { Cold } else { Warm });
        returned
    }
}

/// What a refusal to allocate pages means to the caller.
pub(super) fn refused(requested: u64, source: io::Error) -> ArenaError {
    match source.kind() {
        io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ArenaError::OutOfMemory { requested, source }
        }
        _ => ArenaError::System(source),
    }
}
