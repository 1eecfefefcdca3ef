//! A worker process of a pool of Rust tasks: takes its seat, runs the initializer, and serves both
//! lanes until the pool is done.
//!
//! Guarantees: every task that was begun is reported, whatever becomes of it; a worker that ends
//! has ended what it began.

mod code;
#[cfg(feature = "tokio")]
mod coroutines;
#[cfg(not(feature = "tokio"))]
#[path = "no_coroutines.rs"]
mod coroutines;
mod current;
mod functions;
mod report;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::arena::SpanRef;
use crate::process::Seat;
use crate::sys::naming::name_thread;
use crate::sys::signals::{SignalMask, leave_interrupts_to_the_parent};
use crate::tasks::{Source, registry};

pub(crate) use code::{of_initializer, outcome};
pub use current::is_cancelled;
pub(crate) use report::Report;

/// What each worker of a pool is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) name: String,
    pub(crate) concurrency: usize,
    pub(crate) max_tasks: Option<u64>,
    /// What the thread that made the pool blocks, as a [`SignalMask`].
    pub(crate) signals: u64,
    pub(crate) initializer: Option<Initializer>,
}

/// A task to be run before all others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) key: String,
    pub(crate) input: Vec<u8>,
    /// It gives a `Result`.
    pub(crate) fallible: bool,
}

/// What both lanes share.
struct Worker {
    seat: Arc<Seat>,
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "for coroutines"))]
    concurrency: usize,
    /// Tasks that it may still begin.
    left: AtomicU64,
    coroutines: Mutex<Coroutines>,
    coroutines_ended: Condvar,
}

/// What has become of the thread for coroutines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coroutines {
    NotBegun,
    Running,
    Ended,
}

impl Worker {
    /// One task is begun; after the last allowed one the worker retires.
    fn count(&self) {
        if self.left.load(Ordering::Relaxed) == u64::MAX {
            return;
        }
        let took = |left: u64| Some(left.saturating_sub(1));
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, took);
        if before == Ok(1) {
            self.seat.retire();
        }
    }

    fn coroutines(&self) -> MutexGuard<'_, Coroutines> {
        self.coroutines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread for coroutines: from the first one to the last.
    fn run_coroutines(self: Arc<Self>) {
        {
            let mut state = self.coroutines();
            if *state == Coroutines::Ended {
                return;
            }
            *state = Coroutines::Running;
        }
        if let Err(error) = coroutines::serve(&self) {
            // Coroutines that this worker took would wait for ever: better a worker that died.
            eprintln!("manyhands: a worker cannot run coroutines: {error}");
            std::process::abort();
        }
        *self.coroutines() = Coroutines::Ended;
        self.coroutines_ended.notify_all();
    }

    /// Waits until no coroutine runs; none will begin.
    fn end_coroutines(&self) {
        let mut state = self.coroutines();
        while *state == Coroutines::Running {
            state = self
                .coroutines_ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *state = Coroutines::Ended;
    }
}

/// The life of a worker process.
pub(crate) fn serve(control: OwnedFd, instructions: Option<SpanRef>) -> ! {
    let status = match run(control, instructions) {
        Ok(()) => 0,
        // The parent is gone, and nobody is left to be told.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 1,
        Err(error) => {
            eprintln!("manyhands: a worker cannot start: {error}");
            1
        }
    };
    std::process::exit(status)
}

fn run(control: OwnedFd, instructions: Option<SpanRef>) -> io::Result<()> {
    leave_interrupts_to_the_parent();
    let seat = Seat::join(control)?;
    let no_instructions = || io::Error::other("its instructions are not where they should be");
    let span = instructions.ok_or_else(no_instructions)?;
    let bytes = seat.look_up(span).map_err(io::Error::other)?.to_vec();
    let instructions: Instructions = postcard::from_bytes(&bytes).map_err(|_| no_instructions())?;
    // The thread that starts workers blocks all signals. A program that a task starts inherits what
    // is blocked here, and shall hear of Ctrl-C and of SIGTERM.
    SignalMask::from_bits(instructions.signals).apply();
    name_thread(&format!("{}-{}", instructions.name, seat.worker()));
    if let Some(initializer) = &instructions.initializer
        && let Err(failed) = initialize(initializer)
    {
        failed.send(|code, parts| {
            let account = [&[code], &parts.concat()[..]].concat();
            seat.initializer_failed(&account)
        })?;
        std::process::exit(1);
    }
    let worker = Arc::new(Worker {
        seat: seat.clone(),
        concurrency: instructions.concurrency,
        left: AtomicU64::new(instructions.max_tasks.unwrap_or(u64::MAX)),
        coroutines: Mutex::new(Coroutines::NotBegun),
        coroutines_ended: Condvar::new(),
    });
    let coroutines = worker.clone();
    seat.guard(move || coroutines.run_coroutines())?;
    seat.ready()?;
    functions::serve(&worker)?;
    worker.end_coroutines();
    Ok(())
}

/// Runs the initializer; gives its report where it failed.
fn initialize(initializer: &Initializer) -> Result<(), Report> {
    let task = registry().find(&initializer.key);
    let report = functions::run(task, &initializer.key, &Source::Bytes(&initializer.input));
    match report {
        // The output is a `Result<(), E>` as postcard writes it: which of the two comes first.
        Report::Value(output) if initializer.fallible => {
            let is_error = output.send(|parts| parts.concat().first() == Some(&1));
            if is_error {
                Err(Report::Value(output))
            } else {
                Ok(())
            }
        }
        Report::Value(_) => Ok(()),
        failed => Err(failed),
    }
}
