//! The reader's side of an arena: payloads read in place, let go by one atomic operation.

use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::SpanRef;
use super::entry::{Entry, Phase, unpack};
use super::error::{ArenaError, BadSpan};
use super::ground::Ground;
use super::ledger::Size;
use crate::sys::forked::ProcessMark;
use crate::sys::heap;
use crate::sys::mapping::{Access, Mapping};

/// From this size on, making the pages of a new vector takes longer than copying into them.
const LARGE: usize = 4 << 20;

/// The reader's side of an arena: payloads mapped for loads only, the span table for stores too.
///
/// The mapping lives until the last [`SpanGuard`] is gone, whatever becomes of the writer.
#[derive(Debug)]
pub struct ArenaView {
    ground: Ground,
    payloads: Mapping,
    mark: ProcessMark,
}

impl ArenaView {
    /// Maps an arena's memfd, before or after it has a writer.
    ///
    /// # Errors
    /// [`ArenaError::NotAnArena`] if the descriptor is something else; [`ArenaError::System`]
    /// if it cannot be mapped (RLIMIT_AS).
    pub fn open(fd: OwnedFd) -> Result<ArenaView, ArenaError> {
        let ground = Ground::open(fd)?;
        let payloads = ground.map(Access::ReadOnly)?;
        Ok(ArenaView {
            ground,
            payloads,
            mark: ProcessMark::current(),
        })
    }

    /// Takes over a span: it is released when the guard is dropped. Of all guards and
    /// references to one span, one releases it; give the others out by [`ArenaView::peek`].
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if the reference does not agree with the span table.
    pub fn span(self: &Arc<Self>, span: SpanRef) -> Result<SpanGuard, ArenaError> {
        self.guard(span, true)
    }

    /// Looks at a span that someone else releases, such as an argument, which its writer frees
    /// once the task is over. The caller sees to it that this happens after the guard is gone.
    ///
    /// # Errors
    /// As [`ArenaView::span`].
    pub fn peek(self: &Arc<Self>, span: SpanRef) -> Result<SpanGuard, ArenaError> {
        self.guard(span, false)
    }

    /// Lets go of a span without having read it. One that was let go before, or that this
    /// arena never had, is left alone; in a forked child nothing happens.
    ///
    /// One atomic operation that never waits; for a large span (64 KiB or more) that would
    /// only be surplus, also the system call that returns its pages.
    pub fn release(&self, span: SpanRef) {
        if span.is_empty() || !self.mark.is_current() {
            return;
        }
        let (index, generation) = unpack(span.ticket);
        let table = &self.ground.table;
        let Some(entry) = table.entry(index) else {
            return;
        };
        if Size::of(span.len) == Size::Small {
            entry.release(generation, Phase::Released);
        } else if table.would_be_surplus(span.len) {
            if entry.release(generation, Phase::Returning) {
                let cold = self.return_pages(entry);
                entry.returned(
                    generation,
                    if cold {
                        Phase::ReleasedCold
                    } else {
                        Phase::Released
                    },
                );
            }
        } else {
            table.add_uncollected(span.len);
            if !entry.release(generation, Phase::Released) {
                table.subtract_uncollected(span.len);
            }
        }
    }

    /// Returns the pages of a span that is in phase Returning through this reader. False if
    /// they stay.
    fn return_pages(&self, entry: &Entry) -> bool {
        let (offset, len) = entry.place();
        let layout = &self.ground.layout;
        // The writer never makes such an entry; one that a buggy process made must not cost
        // other spans their bytes.
        let plausible = offset >= layout.payload_at()
            && offset.is_multiple_of(layout.page)
            && Size::of(len) == Size::Large
            && len <= layout.capacity;
        plausible
            && self
                .ground
                .memfd
                .punch_hole(offset, len.next_multiple_of(layout.page))
                .is_ok()
    }

    fn guard(self: &Arc<Self>, span: SpanRef, releases: bool) -> Result<SpanGuard, ArenaError> {
        // `span` is the caller's private copy; what is validated here is what is used later.
        let bad = |reason| ArenaError::BadSpan { span, reason };
        let mut bytes = NonNull::<u64>::dangling().cast::<u8>();
        if !span.is_empty() {
            if span.offset < self.ground.layout.payload_at() {
                return Err(bad(BadSpan::Mismatch));
            }
            let pointer = self
                .payloads
                .ptr(span.offset, span.len)
                .and_then(NonNull::new);
            bytes = pointer.ok_or_else(|| bad(BadSpan::Mismatch))?;
            let (index, _) = unpack(span.ticket);
            let entry = self
                .ground
                .table
                .entry(index)
                .ok_or_else(|| bad(BadSpan::Mismatch))?;
            entry.check(span).map_err(bad)?;
        }
        Ok(SpanGuard {
            bytes,
            span,
            releases,
            view: Arc::clone(self),
        })
    }
}

/// A span held for reading. Keeps the mapping alive; see [`ArenaView::span`].
#[derive(Debug)]
pub struct SpanGuard {
    bytes: NonNull<u8>,
    span: SpanRef,
    releases: bool,
    view: Arc<ArenaView>,
}

// SAFETY: the pointer leads into the view's mapping, which is the process's, not a thread's,
// and is kept by the `Arc`; releasing is an atomic operation that any thread may do.
unsafe impl Send for SpanGuard {}
// SAFETY: `&self` gives out an address and copies from it; nothing in this process stores
// through a view's mapping (it is read-only), so concurrent loads do not race.
unsafe impl Sync for SpanGuard {}

impl SpanGuard {
    /// The first byte, valid for loads of [`SpanGuard::len`] bytes while the guard lives.
    /// Dangling, but not null, if the span is empty.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// The length in bytes.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the span lies in this process's mapping"
    )]
    #[must_use]
    pub fn len(&self) -> usize {
        self.span.len as usize
    }

    /// Whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.is_empty()
    }

    /// The reference that the guard was made from.
    #[must_use]
    pub fn span(&self) -> SpanRef {
        self.span
    }

    /// Copies the whole payload.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if `to` has another length.
    pub fn copy_to(&self, to: &mut [u8]) -> Result<(), ArenaError> {
        if to.len() != self.len() {
            return Err(ArenaError::BadSpan {
                span: self.span,
                reason: BadSpan::OutOfRange,
            });
        }
        self.copy_out(0, to)
    }

    /// Copies the bytes from `offset` on that fill `to`.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if they do not all lie within the span.
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) -> Result<(), ArenaError> {
        match offset.checked_add(to.len()) {
            Some(end) if end <= self.len() => {
                // SAFETY: the caller's slice is valid for its length.
                unsafe { self.copy(offset, to.as_mut_ptr(), to.len()) };
                Ok(())
            }
            _ => Err(ArenaError::BadSpan {
                span: self.span,
                reason: BadSpan::OutOfRange,
            }),
        }
    }

    /// The payload in a vector of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        // SAFETY: the range is the whole span.
        unsafe { self.vec(0, self.len()) }
    }

    /// `len` bytes from `offset` on, in a vector of their own.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if they do not all lie within the span.
    pub fn part_to_vec(&self, offset: usize, len: usize) -> Result<Vec<u8>, ArenaError> {
        match offset.checked_add(len) {
            // SAFETY: the range was just checked.
            Some(end) if end <= self.len() => Ok(unsafe { self.vec(offset, len) }),
            _ => Err(ArenaError::BadSpan {
                span: self.span,
                reason: BadSpan::OutOfRange,
            }),
        }
    }

    /// # Safety
    /// `offset + len` is at most the span's length.
    unsafe fn vec(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        if len >= LARGE {
            heap::use_huge_pages(bytes.as_mut_ptr(), len);
        }
        // SAFETY: the range is the caller's promise; the vector has room for `len` bytes, and
        // all of them are set before its length says so.
        unsafe {
            self.copy(offset, bytes.as_mut_ptr(), len);
            bytes.set_len(len);
        }
        bytes
    }

    /// # Safety
    /// `offset + len` is at most the span's length; `to` is valid for stores of `len` bytes.
    unsafe fn copy(&self, offset: usize, to: *mut u8, len: usize) {
        // SAFETY: the source lies in the view's mapping (checked when the guard was made),
        // which the guard keeps; its pages exist, so no SIGBUS. The target is the caller's
        // promise, and no part of the mapping, which no reference or vector lies in. The writer
        // leaves published bytes alone until the span is released, which waits for this guard.
        unsafe { ptr::copy_nonoverlapping(self.bytes.as_ptr().add(offset), to, len) };
    }
}

impl Drop for SpanGuard {
    fn drop(&mut self) {
        if self.releases {
            self.view.release(self.span);
        }
    }
}
