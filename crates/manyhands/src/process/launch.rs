//! Starting and reaping worker processes: a trait, and the thread that it runs on.
//!
//! How a process is made is the language's affair (an interpreter has its own start methods), so
//! it may need locks that user code holds. Nothing else waits for this thread: watching and
//! killing go on without it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::shared::Shared;
use super::supervisor::Event;
use crate::sys::pidfd::{self, Process};
use crate::sys::signals::spawn_without_signals;
use crate::task::Exit;

/// Makes worker processes. All calls come from one thread that lives as long as the pool.
pub trait Launcher: Send {
    /// Starts the process for place `worker`. In it, `control` is given to [`Seat::join`].
    ///
    /// # Errors
    /// The process could not be started; the text tells the user why.
    ///
    /// [`Seat::join`]: super::Seat::join
    fn launch(&mut self, worker: usize, control: OwnedFd) -> Result<Launched, String>;

    /// No process will be asked for any more, and all have been reaped.
    fn close(&mut self) {}
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
        control: OwnedFd,
    },
    Reap {
        worker: usize,
        child: Box<dyn Child>,
    },
}

/// Holds a process that was just started; `None` where it has gone already. One that cannot be
/// held, for want of a descriptor, cannot be watched: it is ended.
fn watch(pid: u32) -> Option<Process> {
    match Process::open(pid) {
        Ok(process) => Some(process),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            if error.raw_os_error() != Some(libc::ESRCH) {
                pidfd::kill_by_number(pid);
            }
            None
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
                Request::Launch { worker, control } => match launcher.launch(worker, control) {
                    Ok(Launched { pid, child }) => {
                        let process = watch(pid);
                        Event::Started {
                            worker,
                            pid,
                            process,
                            child,
                        }
                    }
                    Err(text) => Event::NotStarted { worker, text },
                },
                Request::Reap { worker, mut child } => Event::Reaped {
                    worker,
                    exit: child.reap(),
                },
            };
            shared.tell_supervisor(event);
        }
        launcher.close();
    })?;
    Ok((sender, thread))
}
