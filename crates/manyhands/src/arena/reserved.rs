//! A span under construction, filled piece by piece.

use std::io;
use std::ptr::NonNull;

use super::SpanRef;
use super::error::{ArenaError, BadSpan};
use super::writer::Arena;

/// A span that its writer is filling; released when dropped, unless committed.
///
/// Bytes already written may be read by others while later ones are still being written, as
/// in a log: publish how far they may read (by a store with Release, read with Acquire,
/// elsewhere), and never touch those bytes again. What was not written holds arbitrary bytes
/// of earlier payloads.
#[derive(Debug)]
pub struct Reserved<'a> {
    arena: &'a Arena,
    span: SpanRef,
    appended: u64,
    committed: bool,
}

// SAFETY obligations of the raw pointer do not arise: the type holds none. `as_mut_ptr` takes
// `&mut self`, so safe code cannot write the same bytes from two threads.
impl<'a> Reserved<'a> {
    pub(super) fn new(arena: &'a Arena, span: SpanRef) -> Reserved<'a> {
        Reserved {
            arena,
            span,
            appended: 0,
            committed: false,
        }
    }

    /// Where the span lies. Readers may be told before it is committed; it must then not be
    /// dropped uncommitted while they may hold it.
    #[must_use]
    pub fn span(&self) -> SpanRef {
        self.span
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.span.len
    }

    /// Whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.is_empty()
    }

    /// The first byte, valid for stores to [`Reserved::len`] bytes for as long as the span is
    /// held. Dangling, but not null, if the span is empty.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        let address = self.arena.address(self.span.offset, self.span.len);
        address
            .filter(|_| !self.is_empty())
            .unwrap_or(NonNull::<u64>::dangling().as_ptr().cast())
    }

    /// Writes bytes at an offset within the span.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if they would not all lie within; nothing is written.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ArenaError> {
        match offset.checked_add(bytes.len() as u64) {
            Some(end) if end <= self.span.len => {
                self.arena.copy_in(self.span.offset + offset, bytes);
                Ok(())
            }
            _ => Err(ArenaError::BadSpan {
                span: self.span,
                reason: BadSpan::OutOfRange,
            }),
        }
    }

    /// Writes bytes after those appended before.
    ///
    /// # Errors
    /// [`ArenaError::BadSpan`] if the rest of the span is too short; nothing is written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ArenaError> {
        self.write_at(self.appended, bytes)?;
        self.appended += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes were appended so far.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Keeps the span: from now on it lives until it is released.
    #[must_use = "the span lives until it is released"]
    pub fn commit(mut self) -> SpanRef {
        self.committed = true;
        self.span
    }
}

/// Appends; writes less than asked for at the span's end, as a slice does.
impl io::Write for Reserved<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rest = self.span.len - self.appended;
        let n = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
        self.append(&bytes[..n]).map_err(io::Error::other)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Arena {
    /// Takes up a span again that was committed before and that only the caller writes; to be
    /// committed again, or it is released.
    pub(crate) fn resume(&self, span: SpanRef) -> Reserved<'_> {
        Reserved::new(self, span)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.arena.release(self.span);
        }
    }
}
