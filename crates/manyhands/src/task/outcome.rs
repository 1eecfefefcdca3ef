//! How tasks, workers and pools end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::arena::SpanGuard;

/// Bytes that a worker sent: copied out of the slot, or still in the worker's arena, whose span
/// is given back when this is dropped.
#[derive(Debug)]
pub enum Payload {
    /// In private memory.
    Bytes(Box<[u8]>),
    /// In the arena of the process that wrote it.
    Span(SpanGuard),
}

impl Payload {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Span(span) => span.len(),
        }
    }

    /// Has it no bytes at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes from `offset` on.
    ///
    /// # Panics
    /// The range does not lie in the payload.
    pub fn copy(&self, offset: usize, to: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => to.copy_from_slice(&bytes[offset..offset + to.len()]),
            Self::Span(span) => {
                span.copy_out(offset, to)
                    .unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// All of it, in private memory.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Span(span) => span.to_vec().into_boxed_slice(),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else took the exit status.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by {name} (signal {signal})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Unknown => write!(f, "ended; its exit status was taken by somebody else"),
        }
    }
}

/// The names of the signals that end processes, see signal(7).
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// A worker died while it ran a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The process.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
    /// How long the task had run.
    pub ran: Duration,
    /// Its pool killed it, to stop another task that ran in the same worker.
    pub stopped: bool,
}

/// Why a pool can run nothing more.
#[derive(Debug)]
pub enum Broken {
    /// The initializer failed; the runner's own error.
    Initializer(Box<[u8]>),
    /// Workers end before they are ready.
    Start(String),
    /// The board's invariants do not hold any more.
    Board(String),
    /// A worker died, in a pool that is not to outlive that.
    Died {
        /// The process.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
    /// The embedder could not read an outcome, and broke the pool for it; its own account.
    Unreadable(Box<[u8]>),
    /// The pool was ended by force.
    Killed,
}

/// How a task ended.
#[derive(Debug)]
pub enum Outcome {
    /// The runner ended it; `code` is the runner's own (value, exception, …).
    Ended {
        /// The runner's code.
        code: u8,
        /// The runner's bytes.
        payload: Payload,
    },
    /// The items of a batch, in order, and how long the batch ran.
    Batch {
        /// One outcome an item.
        items: Vec<Outcome>,
        /// Wall time in the worker, for all items together.
        elapsed: Duration,
    },
    /// Withdrawn before it began, or stopped.
    Cancelled,
    /// It was stopped because it ran for longer than its limit.
    TimedOut {
        /// How long its last attempt had run.
        ran: Duration,
    },
    /// The worker died.
    Died(Death),
    /// The board was found overwritten while it ran, so nobody can say how it ended; says what
    /// was found. The pool goes on.
    Lost(Arc<str>),
    /// The pool broke.
    Broken(Arc<Broken>),
}
