//! A task as its submitter sees it: pending, then ended with an outcome, which wakes whoever
//! waits.
//!
//! Guarantees: an outcome is set exactly once; every waiter registered before is woken exactly
//! once after it; no waiter is woken under a lock of this module.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::arena::SpanGuard;
use crate::board::Kind;
use crate::board::state::Ticket;
use crate::process::Function;

/// Bit of a runner's code: a failure that is tried again where the task's [`Limits`] allow. It stays
/// in the code of the last attempt.
pub const RETRY: u8 = 0x80;

/// A runner's code for a task that it left off because it was asked to: the task ends as
/// [`Outcome::TimedOut`] or [`Outcome::Cancelled`], whichever it was asked for. From a runner that
/// was not asked it is a code like any other.
pub const STOPPED: u8 = 0x7f;

/// How long one task may run, and how often it is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time for each attempt, from the moment at which it begins, kept to about a millisecond. One
    /// that takes longer is stopped: it is asked to, and after the pool's `stop_grace` its worker
    /// is killed.
    pub timeout: Option<Duration>,
    /// How often it is tried again: after its worker's death, after a timeout, and after a code
    /// with the [`RETRY`] bit.
    pub retries: u32,
}

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

/// Somebody who wants to know when a task has ended.
pub trait Waiter: Send + Sync {
    /// The task has ended. Called once, on whichever thread read the completion, so it must not
    /// block nor call back into the pool.
    fn wake(&self);
}

#[derive(Default)]
struct Inner {
    outcome: Option<Outcome>,
    waiters: Vec<Arc<dyn Waiter>>,
    /// What a batch has so far, when a worker died in the middle of it.
    partial: Option<Vec<Option<Outcome>>>,
}

/// One task, or a batch of small ones.
pub struct Task {
    kind: Kind,
    items: u32,
    batch: bool,
    function: Option<Arc<Function>>,
    ended: AtomicBool,
    /// The slot it is in, `u64::MAX` while it is in none.
    place: AtomicU64,
    /// Nanoseconds, [`UNLIMITED`] where it may run for ever. Written under the desk's lock.
    timeout: AtomicU64,
    /// Attempts that may follow. Written under the desk's lock.
    retries: AtomicU32,
    /// Attempts that were made again. Written under the desk's lock.
    repeated: AtomicU32,
    inner: Mutex<Inner>,
}

const NOWHERE: u64 = u64::MAX;
const UNLIMITED: u64 = u64::MAX;

impl Task {
    pub(crate) fn new(
        kind: Kind,
        function: Arc<Function>,
        items: Option<u32>,
        limits: Limits,
    ) -> Arc<Self> {
        let task = Self {
            kind,
            items: items.unwrap_or(1),
            batch: items.is_some(),
            function: Some(function),
            ended: AtomicBool::new(false),
            place: AtomicU64::new(NOWHERE),
            timeout: AtomicU64::new(UNLIMITED),
            retries: AtomicU32::new(0),
            repeated: AtomicU32::new(0),
            inner: Mutex::default(),
        };
        task.set_limits(limits);
        Arc::new(task)
    }

    /// Something to wait for that no worker runs.
    pub(crate) fn marker() -> Arc<Self> {
        Arc::new(Self {
            kind: Kind::Function,
            items: 1,
            batch: false,
            function: None,
            ended: AtomicBool::new(false),
            place: AtomicU64::new(NOWHERE),
            timeout: AtomicU64::new(UNLIMITED),
            retries: AtomicU32::new(0),
            repeated: AtomicU32::new(0),
            inner: Mutex::default(),
        })
    }

    /// Which lanes may run it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Items of a batch; 1 for a single task.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.batch
    }

    /// What it runs.
    pub(crate) fn function(&self) -> Option<&Arc<Function>> {
        self.function.as_ref()
    }

    /// Has it ended?
    #[must_use]
    pub fn is_done(&self) -> bool {
        // Pairs with the Release in `end`.
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn place(&self) -> Option<Ticket> {
        match self.place.load(Ordering::Acquire) {
            NOWHERE => None,
            bits => Some(Ticket::from_bits(bits)),
        }
    }

    pub(crate) fn set_place(&self, ticket: Option<Ticket>) {
        self.place
            .store(ticket.map_or(NOWHERE, Ticket::to_bits), Ordering::Release);
    }

    /// What an attempt may take, in nanoseconds.
    pub(crate) fn timeout(&self) -> Option<u64> {
        let timeout = self.timeout.load(Ordering::Relaxed);
        (timeout != UNLIMITED).then_some(timeout)
    }

    /// Attempts that may follow the present one.
    pub(crate) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(crate) fn set_retries(&self, retries: u32) {
        self.retries.store(retries, Ordering::Relaxed);
    }

    /// Another attempt follows, one less may.
    pub(crate) fn use_retry(&self, left: u32) {
        self.set_retries(left - 1);
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was begun, as far as it ended.
    pub(crate) fn attempts(&self) -> u32 {
        self.repeated.load(Ordering::Relaxed) + 1
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        let nanoseconds = |timeout: Duration| u64::try_from(timeout.as_nanos()).ok();
        let timeout = limits.timeout.and_then(nanoseconds).unwrap_or(UNLIMITED);
        self.timeout.store(timeout, Ordering::Relaxed);
        self.set_retries(limits.retries);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome, for the one who takes it first; `None` while it runs and after it was taken.
    #[must_use]
    pub fn take_outcome(&self) -> Option<Outcome> {
        if !self.is_done() {
            return None;
        }
        self.lock().outcome.take()
    }

    /// Registers a waiter; false when the task has ended already, and the waiter is not called.
    #[must_use]
    pub fn watch(&self, waiter: Arc<dyn Waiter>) -> bool {
        let mut inner = self.lock();
        if self.is_done() {
            return false;
        }
        inner.waiters.push(waiter);
        true
    }

    /// Forgets a waiter that has not been woken.
    pub fn unwatch(&self, waiter: &Arc<dyn Waiter>) {
        let removed = {
            let mut inner = self.lock();
            let at = inner
                .waiters
                .iter()
                .position(|known| Arc::ptr_eq(known, waiter));
            at.map(|at| inner.waiters.swap_remove(at))
        };
        drop(removed);
    }

    /// Sets the outcome, once; gives the waiters, to be woken when no lock is held.
    pub(crate) fn end(&self, outcome: Outcome) -> Vec<Arc<dyn Waiter>> {
        let mut inner = self.lock();
        if self.is_done() {
            return Vec::new();
        }
        inner.outcome = Some(outcome);
        inner.partial = None;
        self.ended.store(true, Ordering::Release);
        std::mem::take(&mut inner.waiters)
    }

    /// Adds outcomes of single items to what a batch has so far.
    pub(crate) fn add_items(&self, outcomes: Vec<(u32, Outcome)>) {
        let mut inner = self.lock();
        let items = self.items as usize;
        let known = inner
            .partial
            .get_or_insert_with(|| (0..items).map(|_| None).collect());
        for (item, outcome) in outcomes {
            if let Some(place @ None) = known.get_mut(item as usize) {
                *place = Some(outcome);
            }
        }
    }

    /// The outcomes of all items, once each has one.
    pub(crate) fn take_items(&self) -> Option<Vec<Outcome>> {
        let mut inner = self.lock();
        if inner.partial.as_ref()?.iter().any(Option::is_none) {
            return None;
        }
        let known = inner.partial.take()?;
        Some(known.into_iter().flatten().collect())
    }

    /// Has any item of the batch an outcome of its own?
    pub(crate) fn has_items(&self) -> bool {
        let inner = self.lock();
        let mut known = inner.partial.iter().flatten();
        known.any(Option::is_some)
    }

    /// The batch's outcome, where items without one of their own were withdrawn.
    pub(crate) fn with_the_rest_cancelled(&self, elapsed: Duration) -> Outcome {
        let known = self.lock().partial.take().unwrap_or_default();
        let mut items: Vec<_> = known
            .into_iter()
            .map(|item| item.unwrap_or(Outcome::Cancelled))
            .collect();
        items.resize_with(self.items as usize, || Outcome::Cancelled);
        Outcome::Batch { items, elapsed }
    }

    /// Items that have no outcome yet.
    pub(crate) fn missing_items(&self) -> Vec<u32> {
        match &self.lock().partial {
            Some(known) => (0..self.items)
                .filter(|item| known[*item as usize].is_none())
                .collect(),
            None => (0..self.items).collect(),
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("kind", &self.kind)
            .field("items", &self.items)
            .field("ended", &self.is_done())
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}
