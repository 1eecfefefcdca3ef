//! A pipe, see pipe(2): what a signal handler can write to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Both ends of a pipe; neither blocks, and both are closed on exec.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    /// A new, empty one.
    ///
    /// # Errors
    /// The process or the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    /// Where to write.
    #[must_use]
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Takes out what was written.
    pub fn drain(&self) -> Vec<u8> {
        let (mut all, mut some) = (Vec::new(), [0; 64]);
        loop {
            match rustix::io::read(&self.reader, &mut some) {
                Ok(count) => all.extend(&some[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return all,
                Err(error) => unreachable!("read from a pipe that this process owns: {error}"),
            }
        }
    }
}

impl AsFd for Pipe {
    /// The end to read from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::event::{Event, Woken};

    #[test]
    fn a_wait_for_an_event_is_interrupted_as_long_as_something_is_in_the_pipe() {
        let (event, pipe) = (Event::new().unwrap(), Pipe::new().unwrap());
        let wait = || event.wait_or(Some(Duration::ZERO), pipe.as_fd()).unwrap();
        assert_eq!(wait(), Woken::TimedOut);
        assert_eq!(rustix::io::write(pipe.writer(), &[2, 15]).unwrap(), 2);
        assert_eq!((wait(), wait()), (Woken::Interrupted, Woken::Interrupted));
        event.set();
        assert_eq!(wait(), Woken::Ready);
        event.clear();
        assert_eq!(pipe.drain(), [2, 15]);
        assert_eq!(wait(), Woken::TimedOut);
    }
}
