//! Starting workers: this executable again, with the control socket as its standard input.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::init::{self, Start};
use crate::process::{Child, Function, Launched, Launcher, NotLaunched};
use crate::task::Exit;

/// This executable, also where it was replaced or removed meanwhile; see proc(5).
const EXECUTABLE: &str = "/proc/self/exe";

pub(crate) struct Reexec {
    start: Start,
    /// What the workers are told, once it lies in the pool's arena.
    instructions: Instructions,
}

enum Instructions {
    Awaited(Receiver<Arc<Function>>),
    Known(Arc<Function>),
}

impl Reexec {
    pub(crate) fn new(start: Start, instructions: Receiver<Arc<Function>>) -> Self {
        let instructions = Instructions::Awaited(instructions);
        Self {
            start,
            instructions,
        }
    }

    fn instructions(&mut self) -> Result<Arc<Function>, String> {
        if let Instructions::Awaited(receiver) = &self.instructions {
            let known = receiver
                .recv()
                .map_err(|_| "the pool's settings found no memory")?;
            self.instructions = Instructions::Known(known);
        }
        match &self.instructions {
            Instructions::Known(known) => Ok(known.clone()),
            Instructions::Awaited(_) => unreachable!("they have just been received"),
        }
    }
}

impl Launcher for Reexec {
    fn launch(&mut self, _worker: usize, control: OwnedFd) -> Result<Launched, NotLaunched> {
        let instructions = self.instructions()?;
        let mut command = Command::new(EXECUTABLE);
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        if let Start::Test(test) = self.start {
            command
                .args([test, "--exact", "--nocapture", "--test-threads=1"])
                .stdout(Stdio::null());
        }
        let child = command
            .env(init::VARIABLE, init::offer(instructions.span()))
            .stdin(Stdio::from(control))
            .spawn()
            .map_err(|error| NotLaunched::refused("starting this program again", &error))?;
        Ok(Launched {
            pid: child.id(),
            child: Box::new(Process(child)),
        })
    }
}

struct Process(std::process::Child);

impl Child for Process {
    fn reap(&mut self) -> Exit {
        match self.0.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            // The program waits for any child of its own, and was quicker.
            Err(error) => {
                debug_assert_ne!(error.kind(), io::ErrorKind::InvalidInput);
                Exit::Unknown
            }
        }
    }
}
