//! The board as mapped memory: makes it, opens it, and gives each part as atomics.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::hands::Hands;
use super::idle::IdleSet;
use super::layout::{Geometry, Header, IDLE_WORDS, MAGIC, Slot, WorkerEntry};
use super::ring::{CompletionRing, RingEnds, SubmissionRing};
use super::stop::{Ask, Doom};
use super::{Kind, WorkerPhase};
use crate::sys::mapping::{Access, Mapping};
use crate::sys::memfd::Memfd;

/// The shared memory of one pool.
pub struct Board {
    memory: Mapping,
    file: Memfd,
    geometry: Geometry,
}

impl Board {
    /// A new, empty board, all of whose memory has been given by the system.
    ///
    /// # Errors
    /// The geometry is out of bounds, or the system has no memory or descriptor left.
    pub fn create(geometry: Geometry, cores: usize) -> io::Result<Self> {
        let geometry = geometry
            .check()
            .map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let file = Memfd::create("manyhands-board", geometry.bytes() as u64)?;
        file.allocate(0, geometry.bytes() as u64)?;
        let memory = Mapping::new(&file, geometry.bytes(), Access::ReadWrite)?;
        let board = Self {
            memory,
            file,
            geometry,
        };
        board.write_header(cores);
        Ok(board)
    }

    /// The board of another process, received as a descriptor.
    ///
    /// # Errors
    /// It is no board of this version, or it can not be mapped.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let file = Memfd::from_fd(fd)?;
        let bytes = usize::try_from(file.len()).map_err(io::Error::other)?;
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "not a board of this version");
        if bytes < size_of::<Header>() {
            return Err(foreign());
        }
        let memory = Mapping::new(&file, bytes, Access::ReadWrite)?;
        let mut board = Self {
            memory,
            file,
            geometry: Geometry {
                slots: 8,
                workers: 1,
            },
        };
        let header = board.header();
        let geometry = Geometry {
            slots: header.slots.load(Ordering::Relaxed) as usize,
            workers: header.workers.load(Ordering::Relaxed) as usize,
        };
        let known = header.magic.load(Ordering::Acquire) == MAGIC;
        if !known || geometry.check().is_err() || geometry.bytes() != bytes {
            return Err(foreign());
        }
        board.geometry = geometry;
        Ok(board)
    }

    /// Are the words that never change as they were written?
    pub(crate) fn check(&self) -> Result<(), String> {
        let header = self.header();
        let magic = header.magic.load(Ordering::Relaxed);
        let slots = header.slots.load(Ordering::Relaxed);
        match magic == MAGIC && slots == self.geometry.slots as u64 {
            true => Ok(()),
            false => Err(format!("the header says {magic:#x} and {slots} slots")),
        }
    }

    /// Makes it as new. No other process has it mapped any more.
    pub(crate) fn reset(&self, cores: usize) {
        let from = self.geometry.submissions_at();
        let rest: &[AtomicU64] = self.array(from, (self.geometry.bytes() - from) / 8);
        rest.iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        for kind in Kind::ALL {
            let words = &self.header().idle[kind as usize].0;
            words
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.closing().store(0, Ordering::Relaxed);
        self.waiting().store(0, Ordering::Relaxed);
        self.hands().tell(0, 0);
        self.write_header(cores);
    }

    fn write_header(&self, cores: usize) {
        let header = self.header();
        header
            .slots
            .store(self.geometry.slots as u64, Ordering::Relaxed);
        header
            .workers
            .store(self.geometry.workers as u64, Ordering::Relaxed);
        header.cores.store(cores as u64, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
    }

    /// How large it is.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// `count` values of `T` at `offset`.
    fn array<T>(&self, offset: usize, count: usize) -> &[T] {
        let pointer = self
            .memory
            .ptr(offset as u64, (count * size_of::<T>()) as u64)
            .expect("the geometry was checked against the size of the mapping");
        assert!(pointer.cast::<T>().is_aligned());
        // SAFETY: the range lies in the mapping (checked by `ptr`), which lives as long as self;
        // it is aligned (checked above; the mapping starts on a page). Every `T` used here
        // consists of atomics and `UnsafeCell` bytes, so any bit pattern is valid and writes by
        // other processes are what interior mutability allows.
        unsafe { std::slice::from_raw_parts(pointer.cast::<T>(), count) }
    }

    fn one<T>(&self, offset: usize) -> &T {
        &self.array::<T>(offset, 1)[0]
    }

    fn header(&self) -> &Header {
        self.one(0)
    }

    /// Cores that the pool may use.
    pub(crate) fn cores(&self) -> u64 {
        self.header().cores.load(Ordering::Relaxed)
    }

    pub(crate) fn closing(&self) -> &AtomicU32 {
        &self.header().closing.0
    }

    pub(crate) fn waiting(&self) -> &AtomicU64 {
        &self.header().waiting.0
    }

    pub(crate) fn hands(&self) -> Hands<'_> {
        Hands(&self.header().hands.0)
    }

    pub(crate) fn idle(&self, kind: Kind) -> IdleSet<'_> {
        let words: &[AtomicU64; IDLE_WORDS] = &self.header().idle[kind as usize].0;
        let used = self.geometry.workers.div_ceil(super::idle::LANES_PER_WORD);
        IdleSet::new(&words[..used])
    }

    pub(crate) fn submission(&self, kind: Kind) -> SubmissionRing<'_> {
        let at = self.geometry.submissions_at() + kind as usize * self.geometry.submission_bytes();
        let cells = self.array(at + size_of::<RingEnds>(), self.geometry.submission_cells());
        SubmissionRing::new(self.one(at), cells)
    }

    pub(crate) fn completion(&self, lane: usize) -> CompletionRing<'_> {
        assert!(lane < self.geometry.lanes());
        let at = self.geometry.completions_at() + lane * self.geometry.completion_bytes();
        let cells = self.array(at + size_of::<RingEnds>(), self.geometry.slots);
        CompletionRing::new(self.one(at), cells)
    }

    /// Tasks that a worker's lane has in hand; idle bits may name a worker that there is none of,
    /// where somebody has scribbled over them.
    pub(crate) fn load(&self, kind: Kind, worker: usize) -> u32 {
        let entries: &[WorkerEntry] = self.array(self.geometry.workers_at(), self.geometry.workers);
        let load = |entry: &WorkerEntry| entry.load[kind as usize].load(Ordering::Relaxed);
        entries.get(worker).map_or(u32::MAX, load)
    }

    pub(crate) fn worker(&self, worker: usize) -> &WorkerEntry {
        &self.array(self.geometry.workers_at(), self.geometry.workers)[worker]
    }

    /// A slot by its number; `None` for one that no board of this size has.
    pub(crate) fn slot(&self, index: u32) -> Option<&Slot> {
        self.array(self.geometry.slots_at(), self.geometry.slots)
            .get(index as usize)
    }

    /// Whether the task of a slot is asked to stop; `None` as for [`Board::slot`].
    pub(crate) fn asked(&self, index: u32) -> Option<Ask<'_>> {
        self.array(self.geometry.asked_at(), self.geometry.slots)
            .get(index as usize)
            .map(Ask)
    }

    /// Whether a worker is about to be killed.
    pub(crate) fn doomed(&self, worker: usize) -> Doom<'_> {
        Doom(&self.worker(worker).doomed)
    }

    pub(crate) fn phase(&self, worker: usize) -> WorkerPhase {
        match self.worker(worker).phase.load(Ordering::Acquire) {
            1 => WorkerPhase::Ready,
            2 => WorkerPhase::Retiring,
            _ => WorkerPhase::Starting,
        }
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}
