//! A process held by descriptor, see pidfd_open(2): it names the process and no other, also
//! after its number is used again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process; the descriptor becomes readable when it has exited.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process that has the number `pid` now.
    ///
    /// # Errors
    /// There is none (`ESRCH`), or no descriptor is left.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(rustix::io::Errno::SRCH))?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// The calling process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn current() -> io::Result<Self> {
        Self::open(std::process::id())
    }

    /// Ends the process at once (SIGKILL); one that has exited is no error.
    ///
    /// # Errors
    /// As pidfd_send_signal(2).
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Process {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Ends a process that this one has just started, by its number (SIGKILL).
pub fn kill_by_number(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that is gone needs no killing.
        let _gone = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Has the kernel kill this process when the thread that started it ends. It is the second line:
/// it also reaches a process that is stopped, which no watcher inside it can.
///
/// # Errors
/// As prctl(2) with `PR_SET_PDEATHSIG`.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Ends the calling process at once, running nothing more of it (`SIGKILL` to itself).
pub fn kill_self() -> ! {
    loop {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    }
}
