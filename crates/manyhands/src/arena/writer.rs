//! The writer's side of an arena: the one process that decides where payloads lie.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::{PoisonError, TryLockError};

use super::SpanRef;
use super::books::{Books, Placed, refused};
use super::config::ArenaConfig;
use super::entry::{Phase, unpack};
use super::error::ArenaError;
use super::free::Temperature;
use super::ground::Ground;
use super::layout::Layout;
use super::ledger::Size;
use super::reserved::Reserved;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::forked::ProcessMark;
use crate::sys::mapping::{Access, Mapping};
use crate::sys::memfd::Memfd;

/// How often the default capacity is halved when address space is short, at most.
const HALVINGS: u32 = 12;

/// The writer's side of an arena. Many threads of the writing process may use it at once; bytes
/// are copied outside of its lock.
///
/// A forked child that inherited the value gets [`ArenaError::Forked`] from it, and its
/// releases are ignored.
#[derive(Debug)]
pub struct Arena {
    ground: Ground,
    mapping: Mapping,
    books: Mutex<Books>,
    mark: ProcessMark,
}

/// What an arena's memory is used for, in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Spans that are live, or released and not yet collected (a count).
    pub spans: u32,
    /// Occupied by those spans, rounded up to cache lines, or pages from 64 KiB on.
    pub live_bytes: u64,
    /// Allocated and free: the next payloads go here.
    pub warm_free_bytes: u64,
    /// Free without memory behind it.
    pub cold_bytes: u64,
    /// All payloads together, at most.
    pub capacity: u64,
}

/// Makes the memfd of an arena that another process is going to write: hand it to
/// [`Arena::open_writer`] there, and to [`ArenaView::open`](super::ArenaView::open) here.
///
/// Where address space does not suffice for `config.capacity`, the capacity is halved until
/// it does.
///
/// # Errors
/// [`ArenaError::System`] if there is no memfd or no address space to be had.
///
/// ```
/// use std::sync::Arc;
/// use manyhands::arena::{Arena, ArenaConfig, ArenaView, create_memfd};
///
/// let config = ArenaConfig::default();
/// let fd = create_memfd(&config)?;
/// let view = Arc::new(ArenaView::open(fd.try_clone()?)?); // the parent's
/// let arena = Arena::open_writer(fd, config)?; // the worker's, in its own process
/// let span = arena.write(&[b"done"])?;
/// assert_eq!(view.span(span)?.to_vec(), b"done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn create_memfd(config: &ArenaConfig) -> Result<OwnedFd, ArenaError> {
    let mut config = config.clone();
    for halving in 0.. {
        let layout = Layout::new(&config);
        let memfd = Memfd::create("manyhands-arena", layout.file_len())?;
        let fits = usize::try_from(layout.file_len())
            .map_err(|_| io::ErrorKind::OutOfMemory.into())
            .and_then(|len| Mapping::new(&memfd, len, Access::ReadOnly));
        match fits {
            Ok(_) => {
                layout.store(&memfd)?;
                return Ok(memfd.into_fd());
            }
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && halving < HALVINGS => {
                config.capacity /= 2;
                config.spans = (config.spans / 2).max(4096).min(config.spans);
            }
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last halving returns")
}

impl Arena {
    /// Makes an arena of which the calling process is the writer.
    ///
    /// # Errors
    /// As [`create_memfd`].
    pub fn create(config: ArenaConfig) -> Result<Arena, ArenaError> {
        Arena::open_writer(create_memfd(&config)?, config)
    }

    /// Becomes the writer of an arena whose memfd another process made with [`create_memfd`].
    /// Of `config` only `keep_warm` matters, for the writer; the rest was settled then.
    ///
    /// # Errors
    /// [`ArenaError::NotAnArena`] if the descriptor is something else, or the arena has (or
    /// had) a writer; [`ArenaError::System`] if it cannot be mapped.
    pub fn open_writer(fd: OwnedFd, config: ArenaConfig) -> Result<Arena, ArenaError> {
        let ground = Ground::open(fd)?;
        let mapping = ground.map(Access::ReadWrite)?;
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        if !ground.table.claim(pid.unsigned_abs().into()) {
            return Err(ArenaError::NotAnArena("it has a writer already"));
        }
        Ok(Arena {
            books: Mutex::new(Books::new(&ground.layout, config.keep_warm)),
            ground,
            mapping,
            mark: ProcessMark::current(),
        })
    }

    /// The memfd, to hand over to readers.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ground.memfd.as_fd()
    }

    /// Writes the parts, one after the other, into a new span.
    ///
    /// An empty payload gives the default [`SpanRef`] and occupies nothing.
    ///
    /// # Errors
    /// [`ArenaError::Exhausted`] or [`ArenaError::TooManySpans`] if too much is held,
    /// [`ArenaError::OutOfMemory`] if the system gives no more, [`ArenaError::Forked`] in a
    /// forked child. Nothing is kept in any of these cases.
    ///
    /// ```
    /// use manyhands::arena::{Arena, ArenaConfig};
    ///
    /// let arena = Arena::create(ArenaConfig::default())?;
    /// let span = arena.write(&[b"head", b"body"])?;
    /// assert_eq!(span.len, 8);
    /// arena.release(span);
    /// assert_eq!(arena.usage().spans, 0);
    /// # Ok::<(), manyhands::arena::ArenaError>(())
    /// ```
    pub fn write(&self, parts: &[&[u8]]) -> Result<SpanRef, ArenaError> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let placed = self.place(len, |memfd, offset| memfd.write_parts_at(parts, offset))?;
        if !placed.fresh {
            let mut at = placed.span.offset;
            for part in parts {
                self.copy_in(at, part);
                at += part.len() as u64;
            }
        }
        Ok(placed.span)
    }

    /// Makes a span of `len` bytes to be filled piece by piece; its pages are allocated, its
    /// bytes arbitrary.
    ///
    /// # Errors
    /// As [`Arena::write`].
    ///
    /// ```
    /// use manyhands::arena::{Arena, ArenaConfig};
    ///
    /// let arena = Arena::create(ArenaConfig::default())?;
    /// let mut reserved = arena.reserve(10)?;
    /// reserved.append(b"hello")?;
    /// reserved.append(b"world")?;
    /// let span = reserved.commit();
    /// assert_eq!(span.len, 10);
    /// # Ok::<(), manyhands::arena::ArenaError>(())
    /// ```
    pub fn reserve(&self, len: u64) -> Result<Reserved<'_>, ArenaError> {
        let placed = self.place(len, |memfd, offset| memfd.allocate(offset, len))?;
        Ok(Reserved::new(self, placed.span))
    }

    /// The writer itself lets go of a span. One that was let go before is left alone.
    ///
    /// Never waits for a lock, so it may be called from destructors.
    pub fn release(&self, span: SpanRef) {
        if span.is_empty() || !self.mark.is_current() {
            return;
        }
        let (index, generation) = unpack(span.ticket);
        let Some(entry) = self.ground.table.entry(index) else {
            return;
        };
        let large = Size::of(span.len) == Size::Large;
        if large {
            self.ground.table.add_uncollected(span.len);
        }
        let won = entry.release(generation, Phase::Released);
        // Where another thread is at the books, it is left to the next payload to collect.
        let books = self.try_lock();
        if large && (!won || books.is_some()) {
            self.ground.table.subtract_uncollected(span.len);
        }
        if let (true, Some(mut books)) = (won, books) {
            books.close(&self.ground, index, generation, Temperature::Warm);
            self.settle(books);
        }
    }

    /// Collects every span that readers have released, and gives back what is more than
    /// [`ArenaConfig::keep_warm`]. Payloads do this by and by; a writer that goes idle may
    /// call it, at a cost proportional to the live spans.
    pub fn collect(&self) {
        if self.mark.is_current() {
            let mut books = self.lock();
            books.collect(&self.ground);
            self.settle(books);
        }
    }

    /// What the memory is used for at this moment. Spans that readers have released count as
    /// live until they are collected.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let books = self.lock();
        Usage {
            spans: books.ledger.len(),
            live_bytes: books.live_bytes(&self.ground),
            warm_free_bytes: books.space.bytes(Temperature::Warm),
            cold_bytes: books.space.bytes(Temperature::Cold),
            capacity: self.ground.layout.capacity,
        }
    }

    /// Places a span, and makes its pages by `fill` where they are fresh.
    fn place(
        &self,
        len: u64,
        fill: impl Fn(&Memfd, u64) -> io::Result<()>,
    ) -> Result<Placed, ArenaError> {
        if len == 0 {
            return Ok(Placed {
                span: SpanRef::default(),
                fresh: false,
            });
        }
        if !self.mark.is_current() {
            return Err(ArenaError::Forked);
        }
        let mut first = true;
        loop {
            let mut books = self.lock();
            let placed = books.place(&self.ground, len)?;
            self.settle(books);
            if !placed.fresh {
                return Ok(placed);
            }
            let Err(error) = fill(&self.ground.memfd, placed.span.offset) else {
                return Ok(placed);
            };
            let mut books = self.lock();
            books.abandon(&self.ground, placed.span);
            if !first {
                return Err(refused(len, error));
            }
            // Once more, with everything given back that can be.
            first = false;
            books.return_everything(&self.ground);
        }
    }

    /// Gives surplus back step by step, letting other threads in between, and tells readers
    /// how much is warm. Does not wait: a thread that comes between goes on with it.
    fn settle<'a>(&'a self, mut books: MutexGuard<'a, Books>) {
        let mut trimming = false;
        while books.trim_step(&self.ground, &mut trimming) {
            drop(books);
            books = match self.try_lock() {
                Some(books) => books,
                None => return,
            };
        }
        let warm = books.space.bytes(Temperature::Warm);
        self.ground.table.publish_warm_free(warm);
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Books>> {
        match self.books.try_lock() {
            Ok(books) => Some(books),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // A panic under the lock would be a bug in this module; its state is sound after every
        // step, so going on beats failing every payload from then on.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a span's byte, bounds-checked against the mapping.
    pub(super) fn address(&self, offset: u64, len: u64) -> Option<*mut u8> {
        self.mapping.ptr(offset, len)
    }

    /// Copies bytes into a range that belongs to the caller's own span, whose pages exist.
    pub(super) fn copy_in(&self, offset: u64, bytes: &[u8]) {
        let Some(to) = self.address(offset, bytes.len() as u64) else {
            debug_assert!(false, "a span lies in the mapping");
            return;
        };
        // SAFETY: `to` is valid for stores of this length (`address` checked the read-write
        // mapping, which lives as long as `self`; the pages are allocated, so no SIGBUS), and
        // `bytes` for loads. They do not overlap: a Rust slice never lies in the mapping, as
        // nothing forms references to it. No one else stores to these bytes: they are in a
        // span that only its maker, the caller, writes (placing is under the lock, and spans
        // are disjoint); readers look only at what was published after this copy.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }
}
