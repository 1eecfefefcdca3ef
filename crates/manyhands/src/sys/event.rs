//! Wake-ups through eventfd(2): a counter that a poller sees as readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::signals::Blocked;

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

    /// As [`Event::wait`], where signals are blocked: they come in while it sleeps.
    ///
    /// # Errors
    /// As ppoll(2), except that an interrupt is [`Woken::Interrupted`].
    pub fn wait_unblocked(
        &self,
        timeout: Option<Duration>,
        blocked: &Blocked,
    ) -> io::Result<Woken> {
        let mut fd = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one valid pollfd, a timeout that is null or valid, and a valid signal set; all
        // live through the call.
        match unsafe { libc::ppoll(&raw mut fd, 1, timeout, blocked.before()) } {
            0 => Ok(Woken::TimedOut),
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(Woken::Interrupted),
                error => Err(error),
            },
            _ => Ok(Woken::Ready),
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
