//! Where everything lies in the board's memory.
//!
//! Every shared word is an atomic; the payload areas are bytes that only raw pointers touch. All
//! types are valid when zeroed, since fresh pages of a memfd are zero.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::ring::RingEnds;

/// Bytes of input, and of output, that travel in the slot itself.
pub const INLINE_BYTES: usize = 192;

/// Workers of one pool at the most.
pub const MAX_WORKERS: usize = 256;

/// Words of idle bits for each kind of lane.
pub(super) const IDLE_WORDS: usize = MAX_WORKERS / super::idle::LANES_PER_WORD;

/// Marks a board, and the version of this layout.
pub(super) const MAGIC: u64 = 0x6d68_626f_6172_6403;

/// How large a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Tasks (or batches) on the board at once; a power of two.
    pub slots: usize,
    /// Places for workers, from 1 to [`MAX_WORKERS`].
    pub workers: usize,
}

impl Geometry {
    /// Functions and coroutines: two lanes a worker.
    pub(crate) const fn lanes(self) -> usize {
        self.workers * 2
    }

    /// Cells of a submission ring: stale ones have room beside the live ones.
    pub(super) const fn submission_cells(self) -> usize {
        self.slots * 2
    }

    pub(super) const fn submissions_at(self) -> usize {
        size_of::<Header>()
    }

    pub(super) const fn submission_bytes(self) -> usize {
        size_of::<RingEnds>() + self.submission_cells() * 8
    }

    pub(super) const fn completions_at(self) -> usize {
        self.submissions_at() + 2 * self.submission_bytes()
    }

    pub(super) const fn completion_bytes(self) -> usize {
        size_of::<RingEnds>() + self.slots * 8
    }

    pub(super) const fn workers_at(self) -> usize {
        self.completions_at() + self.lanes() * self.completion_bytes()
    }

    pub(super) const fn slots_at(self) -> usize {
        (self.workers_at() + self.workers * size_of::<WorkerEntry>()).next_multiple_of(4096)
    }

    pub(super) const fn asked_at(self) -> usize {
        self.slots_at() + self.slots * size_of::<Slot>()
    }

    /// Bytes of the whole board.
    pub(super) const fn bytes(self) -> usize {
        self.asked_at() + self.slots * size_of::<AtomicU64>()
    }

    pub(super) fn check(self) -> Result<Self, String> {
        if !self.slots.is_power_of_two() || !(8..=1 << 20).contains(&self.slots) {
            return Err(format!(
                "slots must be a power of two from 8 to 2^20, not {}",
                self.slots
            ));
        }
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            return Err(format!(
                "workers must be from 1 to {MAX_WORKERS}, not {}",
                self.workers
            ));
        }
        Ok(self)
    }
}

/// A word on a cache line of its own.
#[repr(C, align(64))]
pub(super) struct Apart<T>(pub(super) T);

/// The start of the board.
#[repr(C, align(4096))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) slots: AtomicU64,
    pub(super) workers: AtomicU64,
    /// Cores that the pool may use; tells lanes whether spinning can pay.
    pub(super) cores: AtomicU64,
    /// Not zero once the workers are to end.
    pub(super) closing: Apart<AtomicU32>,
    pub(super) waiting: Apart<AtomicU64>,
    /// See [`super::hands`].
    pub(super) hands: Apart<AtomicU64>,
    pub(super) idle: [Apart<[AtomicU64; IDLE_WORDS]>; 2],
}

/// What a worker is doing; a dashboard can read it without disturbing anyone.
#[repr(C, align(128))]
pub(crate) struct WorkerEntry {
    /// The process, zero while there is none.
    pub(crate) pid: AtomicU32,
    /// Counts the processes that have held this place.
    pub(crate) epoch: AtomicU32,
    /// A [`super::WorkerPhase`].
    pub(crate) phase: AtomicU32,
    /// Tasks that each lane has in hand.
    pub(crate) load: [AtomicU32; 2],
    /// Tasks that each lane has ended, since the pool began.
    pub(crate) ended: [AtomicU64; 2],
    /// See [`super::stop::Doom`].
    pub(super) doomed: AtomicU64,
}

/// The home of one task, or of a batch, from READY until its outcome has been read.
#[repr(C, align(64))]
pub(crate) struct Slot {
    // Written by the parent before READY.
    pub(crate) state: AtomicU64,
    pub(crate) range: AtomicU64,
    pub(crate) function: AtomicU64,
    pub(crate) function_at: AtomicU64,
    pub(crate) function_len: AtomicU64,
    pub(crate) function_ticket: AtomicU64,
    /// `length << 8 | batch << 7 | place`.
    pub(crate) input: AtomicU64,
    pub(crate) input_at: AtomicU64,
    // Written by the owner before DONE.
    /// `length << 16 | code << 8 | place`.
    pub(crate) output: AtomicU64,
    pub(crate) output_at: AtomicU64,
    pub(crate) output_ticket: AtomicU64,
    /// Nanoseconds of the monotonic clock.
    pub(crate) started: AtomicU64,
    /// Nanoseconds that a batch took.
    pub(crate) elapsed: AtomicU64,
    /// Records in a batch's log.
    pub(crate) logged: AtomicU64,
    pub(crate) log_len: AtomicU64,
    /// Written by the parent, like the rest of the input.
    pub(crate) input_ticket: AtomicU64,
    pub(super) input_bytes: UnsafeCell<[u8; INLINE_BYTES]>,
    pub(super) output_bytes: UnsafeCell<[u8; INLINE_BYTES]>,
}

const _: () = assert!(size_of::<Slot>() == 512);
