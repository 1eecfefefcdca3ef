//! One thread's life in an executor, for whoever makes the thread to run.
//!
//! Guarantees: a life is run at most once; one that is dropped without having been run is a thread
//! that was not started, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{fmt, io, thread};

use super::executor::Shared;
use super::worker::Worker;
use crate::panic::catch;
use crate::sys::naming::without_nul;

/// Nothing is decided.
const MADE: u8 = 0;
/// It is run, or was.
const RUN: u8 = 1;
/// It will not be run: it was dropped, or its start has failed.
const LOST: u8 = 2;
/// Its thread is on its way, as whoever started it says.
const STARTED: u8 = 3;

/// What a new thread of an executor is to do: [`run`](Self::run) it there.
///
/// Dropping it instead counts as a thread that could not be started.
#[must_use = "the executor counts on the thread"]
pub struct Life<W: Worker> {
    shared: Arc<Shared<W>>,
    name: String,
    fate: Arc<AtomicU8>,
}

impl<W: Worker> Life<W> {
    /// The name that the thread is to have. (To the system a name cannot have NUL characters;
    /// [`spawn`](Self::spawn) leaves them out.)
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of stack that the thread is to have, if the executor was told.
    #[must_use]
    pub fn stack_size(&self) -> Option<usize> {
        self.shared.stack
    }

    /// What the executor's threads do.
    #[must_use]
    pub fn worker(&self) -> &W {
        self.shared.worker()
    }

    /// Runs jobs until the executor has no more for this thread. To be called by that thread.
    pub fn run(self) {
        let may_run = |fate| (fate != LOST).then_some(RUN);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if self.fate.fetch_update(set, fetch, may_run).is_ok() {
            self.shared.work();
        }
    }

    /// Starts a thread of the standard library's that runs it.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(self) -> io::Result<thread::JoinHandle<()>> {
        let mut builder = thread::Builder::new().name(without_nul(&self.name));
        if let Some(bytes) = self.stack_size() {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(move || self.run())
    }

    /// Has the worker start a thread that runs a new life.
    pub(super) fn start(shared: &Arc<Shared<W>>, name: String) -> io::Result<()> {
        shared.one_more();
        let fate = Arc::new(AtomicU8::new(MADE));
        let life = Self {
            shared: shared.clone(),
            name,
            fate: fate.clone(),
        };
        // A panic of the embedder's has dropped the life. The job it was meant for wants its end all
        // the same, so it is a thread that could not be started.
        let started = catch(|| shared.worker().start(life));
        match started.unwrap_or_else(|panic| Err(io::Error::other(format!("its maker {panic}")))) {
            Ok(handle) => {
                let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
                match fate.compare_exchange(MADE, STARTED, set, fetch) {
                    Err(LOST) => return Err(dropped()),
                    Ok(_) | Err(_) => shared.keep(handle),
                }
                Ok(())
            }
            Err(error) => {
                let unless_run = |fate| (fate != RUN).then_some(LOST);
                let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
                match fate.fetch_update(set, fetch, unless_run) {
                    Ok(_) => Err(error),
                    // A life that runs is a thread, whatever its maker says.
                    Err(_) => Ok(()),
                }
            }
        }
    }
}

fn dropped() -> io::Error {
    io::Error::other("a thread ended before it began its work")
}

impl<W: Worker> Drop for Life<W> {
    fn drop(&mut self) {
        // While MADE, its starter will find it LOST, and say so.
        let unless_run = |fate| (fate != RUN).then_some(LOST);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if self.fate.fetch_update(set, fetch, unless_run) == Ok(STARTED) {
            self.shared.lost(dropped());
        }
        self.shared.one_less();
    }
}

impl<W: Worker> fmt::Debug for Life<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
