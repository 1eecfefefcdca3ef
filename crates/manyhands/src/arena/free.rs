//! Which bytes of an arena are free, and whether their pages are allocated ("warm") or holes
//! ("cold"). A pure data structure: it names ranges and touches no memory but its own.
//!
//! What may be relied on:
//! - Blocks tile the arena without gap or overlap; each is taken, warm or cold.
//! - Two free neighbours of the same temperature are one block.
//! - A cold block consists of whole pages.
//! - Every operation takes constant time, unless told to look at everything ([`Effort`]).

use super::bins::{Bin, Bins, NONE};

/// Spans begin and end at multiples of this: a cache line.
pub(super) const GRANULE: u64 = 64;

/// How many blocks of a bin are looked at for one that fits.
const LOOK: usize = 8;

/// Whether a free range's pages are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temperature {
    Warm,
    Cold,
}
use Temperature::{Cold, Warm};

/// How hard to look for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// In constant time; a block that fits may be missed if it is barely large enough.
    Quick,
    /// Find one if there is one.
    Exhaustive,
}

/// A taken block. Not `Copy`: giving it back consumes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BlockId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The record is not in use.
    Vacant,
    Taken,
    Free(Temperature),
}

/// A range of the arena. Neighbours in address order are linked, so merging needs no search.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: u64,
    len: u64,
    before: u32,
    after: u32,
    /// Neighbours in the bin of a free block; `bin_next` also chains vacant records.
    bin_before: u32,
    bin_next: u32,
    state: State,
}

/// The free space of one arena. Offsets count from the first payload byte.
#[derive(Debug)]
pub(super) struct FreeSpace {
    blocks: Vec<Block>,
    vacant: u32,
    bins: [Bins; 2],
    bytes: [u64; 2],
    page: u64,
}

impl FreeSpace {
    /// An arena of `capacity` bytes, all cold. `capacity` is a multiple of `page`, and `page`
    /// of [`GRANULE`].
    pub(super) fn new(capacity: u64, page: u64) -> FreeSpace {
        debug_assert!(
            capacity > 0 && capacity.is_multiple_of(page) && page.is_multiple_of(GRANULE)
        );
        let mut space = FreeSpace {
            blocks: Vec::new(),
            vacant: NONE,
            bins: [Bins::new(), Bins::new()],
            bytes: [0; 2],
            page,
        };
        let whole = space.record(0, capacity, NONE, NONE);
        space.insert(whole, Cold);
        space
    }

    /// The free bytes of a temperature.
    pub(super) fn bytes(&self, temperature: Temperature) -> u64 {
        self.bytes[temperature as usize]
    }

    /// Offset and length of a taken block.
    pub(super) fn extent(&self, block: &BlockId) -> (u64, u64) {
        let block = &self.blocks[block.0 as usize];
        (block.start, block.len)
    }

    /// Takes `len` bytes at a multiple of `align`, from the smallest block that fits (up to a
    /// sixteenth). Cold space is taken in whole pages only.
    pub(super) fn take(
        &mut self,
        temperature: Temperature,
        len: u64,
        align: u64,
        effort: Effort,
    ) -> Option<BlockId> {
        debug_assert!(len > 0 && len.is_multiple_of(GRANULE) && align.is_multiple_of(GRANULE));
        debug_assert!(temperature == Warm || len.is_multiple_of(self.page));
        let look = if effort == Effort::Quick {
            LOOK
        } else {
            usize::MAX
        };
        let mut bin = Bin::of(len / GRANULE);
        loop {
            let mut candidate = self.bins[temperature as usize].head(bin);
            for _ in 0..look {
                let Some(block) = self.blocks.get(candidate as usize) else {
                    break;
                };
                let start = block.start.next_multiple_of(align);
                if start + len <= block.start + block.len {
                    return Some(self.cut(candidate, start, len));
                }
                candidate = block.bin_next;
            }
            bin = self.bins[temperature as usize].above(bin)?;
        }
    }

    /// Takes the whole pages of one of the largest warm blocks, at most `most` bytes rounded up
    /// to a page, for the caller to return to the system and give back cold. `None` if no warm
    /// block holds a whole page (found within the effort).
    pub(super) fn take_surplus(&mut self, most: u64, effort: Effort) -> Option<BlockId> {
        let look = if effort == Effort::Quick {
            LOOK
        } else {
            usize::MAX
        };
        let mut bin = self.bins[Warm as usize].largest()?;
        while bin >= Bin::of(self.page / GRANULE) {
            let mut candidate = self.bins[Warm as usize].head(bin);
            for _ in 0..look {
                let Some(block) = self.blocks.get(candidate as usize) else {
                    break;
                };
                let first = block.start.next_multiple_of(self.page);
                let end = (block.start + block.len) / self.page * self.page;
                if first < end {
                    // From the end, so that what stays warm lies low.
                    let len = most.clamp(1, end - first).next_multiple_of(self.page);
                    return Some(self.cut(candidate, end - len, len));
                }
                candidate = block.bin_next;
            }
            bin = self.bins[Warm as usize].below(bin)?;
        }
        None
    }

    /// Gives a block back, merging it with free neighbours. Only whole pages may be cold.
    pub(super) fn give_back(&mut self, block: BlockId, temperature: Temperature) {
        let mut index = block.0;
        let Block {
            start,
            len,
            before,
            after,
            state,
            ..
        } = self.blocks[index as usize];
        debug_assert_eq!(state, State::Taken);
        debug_assert!(
            temperature == Warm
                || (start.is_multiple_of(self.page) && len.is_multiple_of(self.page))
        );
        if self.is_free(after, temperature) {
            self.remove(after);
            self.swallow_next(index);
        }
        if self.is_free(before, temperature) {
            self.remove(before);
            self.swallow_next(before);
            index = before;
        }
        self.insert(index, temperature);
    }

    fn is_free(&self, index: u32, temperature: Temperature) -> bool {
        let block = self.blocks.get(index as usize);
        block.is_some_and(|block| block.state == State::Free(temperature))
    }

    /// Turns a part of a free block into a taken one; what is left on either side stays free.
    fn cut(&mut self, index: u32, start: u64, len: u64) -> BlockId {
        let State::Free(temperature) = self.blocks[index as usize].state else {
            unreachable!("only free blocks are in bins");
        };
        self.remove(index);
        let whole = self.blocks[index as usize];
        let (head, end) = (start - whole.start, whole.start + whole.len);
        if head > 0 {
            let left = self.record(whole.start, head, whole.before, index);
            self.insert(left, temperature);
        }
        if end > start + len {
            let tail = end - (start + len);
            let right = self.record(start + len, tail, index, whole.after);
            self.insert(right, temperature);
        }
        let block = &mut self.blocks[index as usize];
        (block.start, block.len) = (start, len);
        BlockId(index)
    }

    /// A new block between two others, taken for now.
    fn record(&mut self, start: u64, len: u64, before: u32, after: u32) -> u32 {
        let block = Block {
            start,
            len,
            before,
            after,
            bin_before: NONE,
            bin_next: NONE,
            state: State::Taken,
        };
        let index = self.vacant;
        let index = if index == NONE {
            self.blocks.push(block);
            (self.blocks.len() - 1) as u32
        } else {
            self.vacant = self.blocks[index as usize].bin_next;
            self.blocks[index as usize] = block;
            index
        };
        if let Some(block) = self.blocks.get_mut(before as usize) {
            block.after = index;
        }
        if let Some(block) = self.blocks.get_mut(after as usize) {
            block.before = index;
        }
        index
    }

    /// Appends the next block, which is in no bin, to this one.
    fn swallow_next(&mut self, index: u32) {
        let next = self.blocks[index as usize].after;
        let Block { len, after, .. } = self.blocks[next as usize];
        self.blocks[index as usize].len += len;
        self.blocks[index as usize].after = after;
        if let Some(block) = self.blocks.get_mut(after as usize) {
            block.before = index;
        }
        self.blocks[next as usize].state = State::Vacant;
        self.blocks[next as usize].bin_next = self.vacant;
        self.vacant = next;
    }

    /// Puts a block first into its bin: what was freed last is likeliest to be in a cache.
    fn insert(&mut self, index: u32, temperature: Temperature) {
        let len = self.blocks[index as usize].len;
        let bins = &mut self.bins[temperature as usize];
        let bin = Bin::of(len / GRANULE);
        let head = bins.head(bin);
        bins.set_head(bin, index);
        let block = &mut self.blocks[index as usize];
        block.state = State::Free(temperature);
        (block.bin_before, block.bin_next) = (NONE, head);
        if let Some(block) = self.blocks.get_mut(head as usize) {
            block.bin_before = index;
        }
        self.bytes[temperature as usize] += len;
    }

    /// Takes a free block out of its bin.
    fn remove(&mut self, index: u32) {
        let Block {
            len,
            bin_before,
            bin_next,
            state,
            ..
        } = self.blocks[index as usize];
        let State::Free(temperature) = state else {
            unreachable!("only free blocks are in bins")
        };
        match self.blocks.get_mut(bin_before as usize) {
            Some(block) => block.bin_next = bin_next,
            None => self.bins[temperature as usize].set_head(Bin::of(len / GRANULE), bin_next),
        }
        if let Some(block) = self.blocks.get_mut(bin_next as usize) {
            block.bin_before = bin_before;
        }
        self.blocks[index as usize].state = State::Taken;
        self.bytes[temperature as usize] -= len;
    }
}

#[cfg(test)]
#[path = "free_tests.rs"]
mod tests;
