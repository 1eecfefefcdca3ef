//! A task as its submitter sees it: pending, then ended with an outcome, which wakes whoever
//! waits.
//!
//! Guarantees: an outcome is set exactly once; every waiter registered before is woken exactly
//! once after it; no waiter is woken under a lock of this module.

mod outcome;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::outcome::{Broken, Death, Exit, Outcome, Payload};
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
