//! Anonymous shared memory: a memfd whose size is fixed for good when it is made.
//!
//! What may be relied on:
//! - The size is set once and sealed, so that no process can shrink the file under
//!   another's mapping and turn its next access into SIGBUS.
//! - Pages come into being by [`Memfd::allocate`] or [`Memfd::write_at`] only on request, and
//!   a memory limit that is reached is an error there, not a signal.
//!
//! Sources: memfd_create(2), fcntl(2) "File Sealing", fallocate(2).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The seals of every memfd made here: nobody changes the size, nobody changes the seals.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// How many parts one gathering write hands to the kernel (it takes 1,024 at most).
const PARTS_PER_CALL: usize = 64;

/// An owned memfd of fixed size.
///
/// ```
/// use manyhands::sys::memfd::Memfd;
///
/// let memfd = Memfd::create("example", 1 << 30)?; // costs no memory yet
/// memfd.write_at(b"hello", 4096)?;
/// assert_eq!(memfd.len(), 1 << 30);
/// assert!(memfd.allocated_bytes()? < 1 << 20);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Memfd {
    fd: OwnedFd,
    len: u64,
}

impl Memfd {
    /// Makes a memfd of `len` bytes, all of them holes, close-on-exec and sealed against any
    /// change of its size. `name` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) or fcntl(2) report; `FileTooLarge` if `len` is above
    /// RLIMIT_FSIZE (the kernel would send SIGXFSZ, so it is not even asked).
    pub fn create(name: &str, len: u64) -> io::Result<Memfd> {
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|limit| len > limit)
        {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "{len} bytes of shared memory exceed the file size limit (ulimit -f); raise it"
                ),
            ));
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Where the system demands non-executable memfds it refuses without this flag, and
        // kernels before 6.3 refuse with it.
        let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
            other => other?,
        };
        rustix::fs::ftruncate(&fd, len)?;
        rustix::fs::fcntl_add_seals(&fd, SEALS)?;
        Ok(Memfd { fd, len })
    }

    /// Takes over a memfd that another process made with [`Memfd::create`].
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is not a memfd sealed against shrinking: mapping it
    /// would put this process at the mercy of whoever holds it.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Memfd> {
        let sealed =
            rustix::fs::fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not a memfd sealed against shrinking; pass one made by Memfd::create",
            ));
        }
        let len = rustix::fs::fstat(&fd)?.st_size;
        let len = u64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Memfd { fd, len })
    }

    /// The size in bytes, holes included.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a file of fixed size, not a collection"
    )]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes of memory the file occupies now.
    ///
    /// # Errors
    /// What fstat(2) reports.
    pub fn allocated_bytes(&self) -> io::Result<u64> {
        // fstat(2): st_blocks counts units of 512 bytes whatever the page size.
        Ok(u64::try_from(rustix::fs::fstat(&self.fd)?.st_blocks).unwrap_or(0) * 512)
    }

    /// Allocates the pages of a range, zeroed where they were holes, so that no later access
    /// can fail.
    ///
    /// # Errors
    /// `ENOSPC` or `ENOMEM` when memory is short (what was allocated until then stays);
    /// `InvalidInput` outside of the file.
    pub fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        retry(|| rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len))
    }

    /// Gives the whole pages of a range back to the system and zeroes the rest of it.
    ///
    /// # Errors
    /// What fallocate(2) reports; `InvalidInput` outside of the file.
    pub fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry(|| rustix::fs::fallocate(&self.fd, flags, offset, len))
    }

    /// Writes all of `bytes` at `offset`, allocating pages as it goes: allocation and copy in
    /// one pass, of any length.
    ///
    /// # Errors
    /// `ENOSPC` or `ENOMEM` when memory is short (a part may have been written by then);
    /// `InvalidInput` outside of the file.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_parts_at(&[bytes], offset)
    }

    /// Writes the parts one after the other from `offset` on, like [`Memfd::write_at`].
    ///
    /// # Errors
    /// As [`Memfd::write_at`].
    pub fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let total = parts.iter().map(|part| part.len() as u64).sum();
        self.check(offset, total)?;
        let mut position = offset;
        let mut part = 0; // the first part that is not wholly written
        let mut skip = 0; // how much of it is
        while part < parts.len() {
            if parts[part].len() == skip {
                (part, skip) = (part + 1, 0);
                continue;
            }
            let mut slices = [IoSlice::new(&[]); PARTS_PER_CALL];
            let group = &parts[part..parts.len().min(part + PARTS_PER_CALL)];
            slices[0] = IoSlice::new(&group[0][skip..]);
            for (slice, bytes) in slices.iter_mut().zip(group).skip(1) {
                *slice = IoSlice::new(bytes);
            }
            // A call moves 2 GiB at most, and less when a signal comes: go on from there.
            let written =
                retry(|| rustix::io::pwritev(&self.fd, &slices[..group.len()], position))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            position += written as u64;
            skip += written;
            while part < parts.len() && skip >= parts[part].len() {
                skip -= parts[part].len();
                part += 1;
            }
        }
        Ok(())
    }

    /// The descriptor itself, to hand over to another process.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{len} bytes at {offset} do not lie in a memfd of {} bytes",
                    self.len
                ),
            )),
        }
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Calls again for as long as signals interrupt.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(memfd: &Memfd, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert_eq!(rustix::io::pread(memfd, &mut bytes, offset).unwrap(), len);
        bytes
    }

    #[test]
    fn holes_cost_nothing_and_punched_pages_are_returned() {
        let memfd = Memfd::create("test", 1 << 34).unwrap();
        assert_eq!(memfd.allocated_bytes().unwrap(), 0);
        memfd.allocate(0, 1 << 20).unwrap();
        assert_eq!(memfd.allocated_bytes().unwrap(), 1 << 20);
        memfd.punch_hole(0, 1 << 20).unwrap();
        assert_eq!(memfd.allocated_bytes().unwrap(), 0);
    }

    #[test]
    fn nobody_can_change_the_size() {
        let memfd = Memfd::create("test", 8192).unwrap();
        assert_eq!(rustix::fs::ftruncate(&memfd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memfd, 1 << 20), Err(Errno::PERM));
        let again = Memfd::from_fd(memfd.into_fd()).unwrap();
        assert_eq!(again.len(), 8192);
    }

    #[test]
    fn a_descriptor_that_could_shrink_is_refused() {
        let fd = rustix::fs::memfd_create("bare", MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(
            Memfd::from_fd(fd).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn parts_are_written_in_order_however_many_there_are() {
        let memfd = Memfd::create("test", 1 << 20).unwrap();
        let owned: Vec<Vec<u8>> = (0..300u32)
            .map(|i| vec![i as u8; (i % 7) as usize])
            .collect();
        let parts: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        memfd.write_parts_at(&parts, 5).unwrap();
        let expected = owned.concat();
        assert_eq!(read(&memfd, 5, expected.len()), expected);
    }

    #[test]
    fn what_lies_outside_is_an_error() {
        let memfd = Memfd::create("test", 4096).unwrap();
        for result in [
            memfd.write_at(b"ab", 4095),
            memfd.allocate(4096, 1),
            memfd.punch_hole(u64::MAX, 2),
        ] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
