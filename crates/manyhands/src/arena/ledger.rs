//! The writer's own record of its live spans, in private memory: nothing that another process
//! scribbles into the span table can make the writer reuse bytes twice.
//!
//! Live spans wait in two queues, large and small, in the order they were made. Collecting
//! looks at the front of a queue; what is still held goes to the back. So every span is looked
//! at in turn, and each payload pays for a constant number of looks.

use super::bins::NONE;
use super::entry::{next_generation, ticket};
use super::free::BlockId;

/// From this length on a span occupies whole pages of its own, and its reader may return them.
pub(super) const LARGE: u64 = 64 << 10;

/// A live span's size class, which is also its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    pub(super) fn of(len: u64) -> Size {
        if len < LARGE {
            Size::Small
        } else {
            Size::Large
        }
    }
}

#[derive(Debug)]
struct Record {
    generation: u64,
    /// The bytes the span occupies; `None` if the entry is vacant.
    block: Option<BlockId>,
    len: u64,
    before: u32,
    after: u32,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    front: u32,
    back: u32,
    len: u32,
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) block: BlockId,
    pub(super) len: u64,
}

/// The live spans of one arena.
#[derive(Debug)]
pub(super) struct Ledger {
    records: Vec<Record>,
    vacant: Vec<u32>,
    queues: [Queue; 2],
    limit: u32,
}

impl Ledger {
    /// A ledger for a table of `limit` entries.
    pub(super) fn new(limit: u32) -> Ledger {
        let empty = Queue {
            front: NONE,
            back: NONE,
            len: 0,
        };
        Ledger {
            records: Vec::new(),
            vacant: Vec::new(),
            queues: [empty; 2],
            limit,
        }
    }

    /// The spans that are live, or released and not yet collected.
    pub(super) fn len(&self) -> u32 {
        self.queues.iter().map(|queue| queue.len).sum()
    }

    /// The index that the next span will get, if the table has an entry left.
    pub(super) fn next_index(&self) -> Option<u32> {
        let unused = self.records.len() as u32;
        self.vacant
            .last()
            .copied()
            .or((unused < self.limit).then_some(unused))
    }

    /// Records a new span of `len` bytes; its ticket. There must be a [`Ledger::next_index`].
    pub(super) fn open(&mut self, block: BlockId, len: u64) -> u64 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            let vacant = Record {
                generation: 0,
                block: None,
                len: 0,
                before: NONE,
                after: NONE,
            };
            self.records.push(vacant);
            (self.records.len() - 1) as u32
        });
        debug_assert!(index < self.limit);
        let record = &mut self.records[index as usize];
        record.generation = next_generation(record.generation);
        record.block = Some(block);
        record.len = len;
        let generation = record.generation;
        self.push_back(Size::of(len), index);
        ticket(index, generation)
    }

    /// Ends a span: its bytes. `None` if that use of the entry has ended before.
    pub(super) fn close(&mut self, index: u32, generation: u64) -> Option<Closed> {
        let record = self.records.get_mut(index as usize)?;
        if record.generation != generation {
            return None;
        }
        let block = record.block.take()?;
        let len = record.len;
        self.unlink(Size::of(len), index);
        self.vacant.push(index);
        Some(Closed { block, len })
    }

    /// The span whose turn it is to be looked at, index and generation; it goes to the back.
    pub(super) fn turn(&mut self, size: Size) -> Option<(u32, u64)> {
        let index = self.queues[size as usize].front;
        let generation = self.records.get(index as usize)?.generation;
        if self.queues[size as usize].len > 1 {
            self.unlink(size, index);
            self.push_back(size, index);
        }
        Some((index, generation))
    }

    /// How many spans wait in a queue.
    pub(super) fn waiting(&self, size: Size) -> u32 {
        self.queues[size as usize].len
    }

    fn push_back(&mut self, size: Size, index: u32) {
        let queue = &mut self.queues[size as usize];
        let back = queue.back;
        queue.back = index;
        queue.len += 1;
        if back == NONE {
            queue.front = index;
        } else {
            self.records[back as usize].after = index;
        }
        let record = &mut self.records[index as usize];
        (record.before, record.after) = (back, NONE);
    }

    fn unlink(&mut self, size: Size, index: u32) {
        let Record { before, after, .. } = self.records[index as usize];
        let queue = &mut self.queues[size as usize];
        queue.len -= 1;
        match self.records.get_mut(before as usize) {
            Some(record) => record.after = after,
            None => queue.front = after,
        }
        match self.records.get_mut(after as usize) {
            Some(record) => record.before = before,
            None => queue.back = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::unpack;
    use super::super::free::{Effort, FreeSpace, Temperature};
    use super::*;

    fn blocks(n: usize) -> Vec<BlockId> {
        let mut space = FreeSpace::new(1 << 20, 4096);
        (0..n)
            .map(|_| {
                space
                    .take(Temperature::Cold, 4096, 4096, Effort::Quick)
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn an_entry_is_used_again_under_a_new_generation() {
        let mut ledger = Ledger::new(1);
        let mut blocks = blocks(2);
        let first = ledger.open(blocks.pop().unwrap(), 10);
        assert_eq!(ledger.next_index(), None);
        let (index, generation) = unpack(first);
        assert!(ledger.close(index, generation).is_some());
        assert!(ledger.close(index, generation).is_none());
        let second = ledger.open(blocks.pop().unwrap(), 10);
        assert_ne!(first, second);
        assert!(ledger.close(index, generation).is_none());
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn spans_take_turns_and_only_in_their_own_queue() {
        let mut ledger = Ledger::new(10);
        let mut blocks = blocks(4);
        let small: Vec<u64> = (0..3)
            .map(|_| ledger.open(blocks.pop().unwrap(), LARGE - 1))
            .collect();
        let large = ledger.open(blocks.pop().unwrap(), LARGE);
        let turn =
            |ledger: &mut Ledger, size| ledger.turn(size).map(|(i, g)| ticket(i, g)).unwrap();
        for expected in small.iter().chain(&small) {
            assert_eq!(turn(&mut ledger, Size::Small), *expected);
        }
        assert_eq!(turn(&mut ledger, Size::Large), large);
        let (index, generation) = unpack(small[1]);
        ledger.close(index, generation).unwrap();
        assert_eq!(turn(&mut ledger, Size::Small), small[0]);
        assert_eq!(turn(&mut ledger, Size::Small), small[2]);
        assert_eq!(ledger.waiting(Size::Small), 2);
    }
}
