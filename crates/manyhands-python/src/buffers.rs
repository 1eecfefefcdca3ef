//! Copies between Python's buffers and the engine's payloads, each byte once.
#![allow(unsafe_code)]

use manyhands::arena::SpanGuard;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

/// Objects from this size on are worth a system call for huge pages.
const HUGE: usize = 4 << 20;

/// Bytes that can be read from any offset: in private memory or in an arena.
pub(crate) enum Source<'a> {
    /// Private memory.
    Slice(&'a [u8]),
    /// A span that another process wrote and no longer touches.
    Span(&'a SpanGuard),
}

impl Source<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Slice(slice) => slice.len(),
            Self::Span(span) => span.len(),
        }
    }

    fn check(&self, offset: usize, len: usize) -> PyResult<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(PyValueError::new_err("a payload is shorter than it says")),
        }
    }

    /// Copies some bytes into private memory.
    pub(crate) fn copy(&self, offset: usize, to: &mut [u8]) -> PyResult<()> {
        self.check(offset, to.len())?;
        match self {
            Self::Slice(slice) => to.copy_from_slice(&slice[offset..offset + to.len()]),
            Self::Span(span) => span
                .copy_out(offset, to)
                .map_err(|error| PyValueError::new_err(error.to_string()))?,
        }
        Ok(())
    }

    /// A `bytes` of its own.
    pub(crate) fn bytes<'py>(
        &self,
        py: Python<'py>,
        offset: usize,
        len: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check(offset, len)?;
        match self {
            Self::Slice(slice) => Ok(PyBytes::new(py, &slice[offset..offset + len])),
            Self::Span(span) => {
                // SAFETY: without a source, this makes a `bytes` of `len` bytes, to be filled
                // before anybody else sees it; the new reference is ours, or null with an error.
                let bytes = unsafe {
                    let bytes = ffi::PyBytes_FromStringAndSize(std::ptr::null(), len.cast_signed());
                    Bound::from_owned_ptr_or_err(py, bytes)?.cast_into_unchecked::<PyBytes>()
                };
                // SAFETY: the target was just made with `len` bytes and nobody else knows it. The
                // source range lies in the span (checked above), which stays mapped and unwritten
                // while the guard lives. A private object and a mapping do not overlap.
                unsafe {
                    let to = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
                    use_huge_pages(to, len);
                    std::ptr::copy_nonoverlapping(span.as_ptr().add(offset), to, len);
                }
                Ok(bytes)
            }
        }
    }

    /// A `bytearray` of its own.
    pub(crate) fn bytearray<'py>(
        &self,
        py: Python<'py>,
        offset: usize,
        len: usize,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        self.check(offset, len)?;
        PyByteArray::new_with(py, len, |to| self.copy(offset, to))
    }
}

/// Asks for huge pages under a large new object: making 64 MB of small pages takes several times
/// as long as copying into them.
fn use_huge_pages(start: *mut u8, len: usize) {
    if len >= HUGE {
        manyhands::sys::heap::use_huge_pages(start, len);
    }
}

/// The bytes of a contiguous buffer, valid while it is held and the interpreter is attached: no
/// Python code may run before the last use, or another thread could write to them.
pub(crate) fn slice<'a>(_py: Python<'_>, buffer: &'a PyBuffer<u8>) -> &'a [u8] {
    if buffer.len_bytes() == 0 {
        return &[];
    }
    // SAFETY: the exporter keeps `len_bytes` bytes alive and in place while the view is held,
    // and the view is contiguous, as `bytes` and pickle's raw buffers are. That nobody writes
    // meanwhile is the caller's part, said above.
    unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) }
}

/// A descriptor that was handed to this process for the engine to own.
pub(crate) fn own_descriptor(fd: i32) -> std::os::fd::OwnedFd {
    // SAFETY: the caller received the descriptor for this purpose alone: nobody else in the
    // process knows or closes it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}
