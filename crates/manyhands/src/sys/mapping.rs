//! A shared mapping of a memfd, from its first byte on, unmapped when dropped.
//!
//! What may be relied on: the mapping stays where it is for as long as the value lives, is
//! left out of core files, and reserves no swap. Nothing here reads or writes the bytes, and
//! no reference to them is ever formed: other processes change them at any time.
//!
//! Sources: mmap(2), madvise(2).

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// What a mapping allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only; a store would be SIGSEGV.
    ReadOnly,
    /// Loads and stores.
    ReadWrite,
}

/// An owned `MAP_SHARED` mapping.
///
/// ```
/// use manyhands::sys::{mapping::{Access, Mapping}, memfd::Memfd};
///
/// let memfd = Memfd::create("example", 8192)?;
/// let mapping = Mapping::new(&memfd, 8192, Access::ReadWrite)?;
/// assert!(mapping.ptr(8000, 192).is_some());
/// assert!(mapping.ptr(8000, 193).is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the value owns an address range of the process, which is the same for all its
// threads; munmap may be called on any of them.
unsafe impl Send for Mapping {}
// SAFETY: the methods taking `&self` only compute addresses. Whoever dereferences one
// answers for data races, among threads as among processes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd`.
    ///
    /// The caller sees to it that the file is at least that long and stays so, as
    /// [`Memfd`](super::memfd::Memfd) guarantees; beyond its end an access is SIGBUS.
    ///
    /// # Errors
    /// What mmap(2) reports: `ENOMEM` if the address space (RLIMIT_AS) does not suffice.
    pub fn new(fd: impl AsFd, len: usize, access: Access) -> io::Result<Mapping> {
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks a range that nothing
        // else uses, so no existing memory is touched.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, fd, 0)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Mapping { base, len };
        // SAFETY: the range was mapped just now and belongs to us; the advice changes nothing
        // but what core files hold.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump)? };
        Ok(mapping)
    }

    /// The address of the first byte.
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "mmap refuses an empty mapping")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`, or `None` if they do not all lie within.
    ///
    /// The pointer is valid for as long as the mapping lives, for loads, and for stores if it
    /// was made [`Access::ReadWrite`].
    #[must_use]
    pub fn ptr(&self, offset: u64, len: u64) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        if end > self.len as u64 {
            return None;
        }
        // SAFETY: offset <= end <= self.len, so the result lies in the mapping or one past
        // its end; a mapping never exceeds isize::MAX bytes, which is what `add` asks for.
        Some(unsafe { self.base.as_ptr().add(offset as usize) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours since `new`, was never unmapped (only this drop does it),
        // and pointers from `ptr` are documented to be valid only for as long as `self` lives.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap of an own mapping: {result:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memfd::Memfd;

    #[test]
    fn two_mappings_show_the_same_bytes() {
        let memfd = Memfd::create("test", 8192).unwrap();
        let writer = Mapping::new(&memfd, 8192, Access::ReadWrite).unwrap();
        let reader = Mapping::new(&memfd, 8192, Access::ReadOnly).unwrap();
        // SAFETY: both addresses lie in live mappings, and no other thread uses them.
        let seen = unsafe {
            writer.ptr(5000, 1).unwrap().write_volatile(7);
            reader.ptr(5000, 1).unwrap().read_volatile()
        };
        assert_eq!(seen, 7);
    }

    #[test]
    fn addresses_outside_are_not_given_out() {
        let memfd = Memfd::create("test", 4096).unwrap();
        let mapping = Mapping::new(&memfd, 4096, Access::ReadWrite).unwrap();
        assert!(mapping.ptr(0, 4096).is_some());
        assert!(mapping.ptr(4096, 0).is_some());
        assert!(mapping.ptr(1, 4096).is_none());
        assert!(mapping.ptr(u64::MAX, 2).is_none());
    }

    #[test]
    fn an_empty_mapping_is_refused() {
        let memfd = Memfd::create("test", 4096).unwrap();
        assert!(Mapping::new(&memfd, 0, Access::ReadOnly).is_err());
    }
}
