//! Wake-ups through eventfd(2): a counter that a poller sees as readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// A non-blocking eventfd; descriptors of one event can be held by several processes.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// A new event, not set.
    ///
    /// # Errors
    /// The process or the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Makes every poller of the event wake. Never blocks: a counter that is full is set already.
    pub fn set(&self) {
        loop {
            match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => return,
                Err(error) => unreachable!("write to an eventfd that this process owns: {error}"),
            }
        }
    }

    /// Takes the event back; tells whether it was set.
    pub fn clear(&self) -> bool {
        let mut count = [0; 8];
        loop {
            match rustix::io::read(&self.0, &mut count) {
                Err(Errno::INTR) => {}
                read => return read.is_ok(),
            }
        }
    }

    /// Sleeps until the event is set, `timeout` has passed, or a signal came.
    ///
    /// # Errors
    /// As poll(2), except that an interrupt is [`Woken::Interrupted`].
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        wait_any(&mut fds, timeout)
    }

    /// As [`Event::wait`], and interrupted as well while `interrupt` is readable.
    ///
    /// # Errors
    /// As [`Event::wait`].
    pub fn wait_or(
        &self,
        timeout: Option<Duration>,
        interrupt: BorrowedFd<'_>,
    ) -> io::Result<Woken> {
        let mut fds = [
            PollFd::new(&self.0, PollFlags::IN),
            PollFd::from_borrowed_fd(interrupt, PollFlags::IN),
        ];
        match wait_any(&mut fds, timeout)? {
            Woken::Ready if fds[0].revents().is_empty() => Ok(Woken::Interrupted),
            woken => Ok(woken),
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Event {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// At least one descriptor is ready.
    Ready,
    /// The time is over.
    TimedOut,
    /// A signal was handled.
    Interrupted,
}

/// poll(2) with its three ends told apart.
///
/// # Errors
/// As poll(2), except that an interrupt is [`Woken::Interrupted`].
pub fn wait_any(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<Woken> {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(0) => Ok(Woken::TimedOut),
        Ok(_) => Ok(Woken::Ready),
        Err(Errno::INTR) => Ok(Woken::Interrupted),
        Err(error) => Err(error.into()),
    }
}
