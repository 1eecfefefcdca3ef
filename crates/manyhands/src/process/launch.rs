//! Starting and reaping worker processes: a trait, and the thread that it runs on.
//!
//! How a process is made is the language's affair (an interpreter has its own start methods), so
//! it may need locks that user code holds. Nothing else waits for this thread: watching and
//! killing go on without it.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::shared::Shared;
use super::shortage::is_shortage;
use super::supervisor::Event;
use super::welcome;
use crate::sys::channel::Channel;
use crate::sys::pidfd::{self, Process};
use crate::sys::signals::spawn_without_signals;
use crate::task::Exit;

/// Makes worker processes. All calls come from one thread that lives as long as the pool.
pub trait Launcher: Send {
    /// Starts the process for place `worker`. In it, `control` is given to [`Seat::join`], which
    /// returns after this has: so this must not wait for what the process does after it.
    ///
    /// # Errors
    /// The process could not be started, or not be held on to; says why, and whether that may pass.
    /// A process that runs nevertheless will find no seat. A panic counts as an error.
    ///
    /// [`Seat::join`]: super::Seat::join
    fn launch(&mut self, worker: usize, control: OwnedFd) -> Result<Launched, NotLaunched>;

    /// No process will be asked for any more, and all have been reaped.
    fn close(&mut self) {}
}

/// Why a process could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLaunched {
    /// For the user.
    pub text: String,
    /// The system is short of something (descriptors, memory, processes): a pool that has had
    /// workers tries again later.
    pub short: bool,
}

impl NotLaunched {
    /// With the system's number of the error, if it has one; see errno(3).
    #[must_use]
    pub fn new(text: String, errno: Option<i32>) -> Self {
        let short = errno.is_some_and(is_shortage);
        Self { text, short }
    }

    /// The system refused it; `doing` says what.
    #[must_use]
    pub fn refused(doing: &str, error: &io::Error) -> Self {
        Self::new(format!("{doing}: {error}"), error.raw_os_error())
    }
}

impl From<String> for NotLaunched {
    /// For a reason that will not pass.
    fn from(text: String) -> Self {
        Self { text, short: false }
    }
}

impl From<&str> for NotLaunched {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// A process just started.
pub struct Launched {
    /// Its number.
    pub pid: u32,
    /// How to learn of its end.
    pub child: Box<dyn Child>,
}

/// A process that a [`Launcher`] made.
pub trait Child: Send {
    /// The exit status of the process, which has exited. Called once.
    fn reap(&mut self) -> Exit;
}

pub(super) enum Request {
    Launch {
        worker: usize,
        /// The parent's end, until the process is known.
        control: Channel,
        theirs: OwnedFd,
    },
    Reap {
        worker: usize,
        child: Box<dyn Child>,
    },
}

/// A process that was just started, as the supervisor can watch it.
pub(super) enum Watched {
    Held(Process),
    Gone,
    /// For want of a descriptor it could not be held, and was ended.
    Ended,
}

fn watch(pid: u32) -> Watched {
    match Process::open(pid) {
        Ok(process) => Watched::Held(process),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Watched::Gone,
        // The second, if it is being reaped at this very moment.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
            Watched::Gone
        }
        Err(_) => {
            pidfd::kill_by_number(pid);
            Watched::Ended
        }
    }
}

/// Starts the launcher's thread; it ends when the sender is dropped.
pub(super) fn start(
    mut launcher: Box<dyn Launcher>,
    shared: Arc<Shared>,
) -> io::Result<(Sender<Request>, std::thread::JoinHandle<()>)> {
    let (sender, requests): (_, Receiver<Request>) = channel();
    let thread = spawn_without_signals("manyhands-launch".into(), move || {
        for request in requests {
            let event = match request {
                Request::Launch {
                    worker,
                    control,
                    theirs,
                } => launch(&mut *launcher, worker, control, theirs),
                Request::Reap { worker, mut child } => Event::Reaped {
                    worker,
                    exit: attempt(|| child.reap()).unwrap_or(Exit::Unknown),
                },
            };
            shared.tell_supervisor(event);
        }
        launcher.close();
    })?;
    Ok((sender, thread))
}

fn launch(launcher: &mut dyn Launcher, worker: usize, control: Channel, theirs: OwnedFd) -> Event {
    let launched = attempt(|| launcher.launch(worker, theirs))
        .unwrap_or_else(|| Err("the launcher panicked".into()));
    match launched {
        Ok(Launched { pid, child }) => {
            let process = watch(pid);
            match &process {
                Watched::Held(process) => admit(process, &control),
                // Should its number be wrong, and it live: it is nobody's.
                Watched::Gone | Watched::Ended => revoke(&control),
            }
            Event::Started {
                worker,
                pid,
                process,
                control,
                child,
            }
        }
        Err(why) => {
            // It may have begun to run nevertheless.
            revoke(&control);
            Event::NotStarted { worker, why }
        }
    }
}

/// Lets the process take its seat.
fn admit(process: &Process, control: &Channel) {
    match welcome::admit(control).map_err(|error| error.kind()) {
        Ok(()) => {}
        // Nobody holds the other end of the socket any more: it ends, and its exit status says why.
        Err(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        // It would wait for ever.
        Err(_) => process.kill().expect("SIGKILL to a worker of one's own"),
    }
}

/// A process that has not taken its seat will not.
fn revoke(control: &Channel) {
    // An error says that nobody holds the other end.
    let _nobody = control.end();
}

/// What the launcher's code gives; `None` where it panicked. The supervisor waits for an answer to
/// each of its requests.
fn attempt<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).ok()
}
