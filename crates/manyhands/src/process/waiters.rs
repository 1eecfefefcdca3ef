//! Who waits for tasks in the parent, and how each is woken: threads and event loops.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sys::event::{Event, Woken};
use crate::sys::parker;
use crate::task::Waiter;

/// How a thread's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// What it waited for is there.
    Done,
    /// The time is over.
    TimedOut,
    /// A signal was handled; the caller may want to look at it, and wait again.
    Interrupted,
}

const IDLE: u32 = 0;
const NOTIFIED: u32 = 1;
const POLLING: u32 = 2;

/// A thread inside a wait: asleep on its own word, or, as the drainer, on the threads' doorbell.
pub(super) struct ThreadWaiter {
    word: AtomicU32,
    doorbell: Arc<Event>,
    /// What a thread sleeps on that can be interrupted by a descriptor, which futex(2) can not.
    bell: Option<Event>,
}

impl ThreadWaiter {
    pub(super) fn new(doorbell: Arc<Event>, bell: Option<Event>) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(IDLE),
            doorbell,
            bell,
        })
    }

    /// Has the thread, as the drainer, look again.
    pub(super) fn ring(&self) {
        self.doorbell.set();
    }

    /// About to sleep on the word. What it waits for must be looked at afterwards.
    pub(super) fn prepare_park(&self) {
        self.word.store(IDLE, Ordering::SeqCst);
    }

    /// Sleeps on the word.
    pub(super) fn park(
        &self,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> std::io::Result<Woken> {
        match (&self.bell, interrupt) {
            (Some(bell), Some(interrupt)) => {
                let woken = bell.wait_or(timeout, interrupt);
                bell.clear();
                woken
            }
            _ => parker::park(&self.word, IDLE, timeout),
        }
    }

    /// Sleeps on the doorbell.
    pub(super) fn poll(
        &self,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> std::io::Result<Woken> {
        let woken = match interrupt {
            Some(interrupt) => self.doorbell.wait_or(timeout, interrupt),
            None => self.doorbell.wait(timeout),
        };
        self.doorbell.clear();
        self.end_poll();
        woken
    }

    /// About to sleep on the doorbell. What it waits for must be looked at afterwards.
    pub(super) fn prepare_poll(&self) {
        self.word.store(POLLING, Ordering::SeqCst);
    }

    /// No longer asleep on the doorbell.
    pub(super) fn end_poll(&self) {
        self.word.store(IDLE, Ordering::SeqCst);
    }
}

impl Waiter for ThreadWaiter {
    fn wake(&self) {
        match self.word.swap(NOTIFIED, Ordering::SeqCst) {
            POLLING => self.doorbell.set(),
            _ => match &self.bell {
                Some(bell) => bell.set(),
                None => parker::unpark(&self.word),
            },
        }
    }
}

/// An event loop's door to the pool: a descriptor that it watches, and what has ended for it.
pub struct LoopDoor {
    /// Its doorbell on the board, if there was one left.
    pub(super) doorbell: Option<usize>,
    event: Arc<Event>,
    ended: Mutex<Vec<u64>>,
    /// The loop reads completions at this moment, and looks at `ended` afterwards.
    pub(super) reading: AtomicBool,
    /// Tasks that the loop waits for.
    pub(super) waits: AtomicUsize,
}

impl LoopDoor {
    pub(super) fn new(doorbell: Option<usize>, event: Arc<Event>) -> Arc<Self> {
        Arc::new(Self {
            doorbell,
            event,
            ended: Mutex::default(),
            reading: AtomicBool::new(false),
            waits: AtomicUsize::new(0),
        })
    }

    /// Has the loop look again.
    pub fn ring(&self) {
        self.event.set();
    }

    pub(super) fn clear(&self) {
        self.event.clear();
    }

    /// The keys of what has ended since the last call.
    pub(super) fn take_ended(&self) -> Vec<u64> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, key: u64) {
        let first = {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.push(key);
            ended.len() == 1
        };
        if first && !self.reading.load(Ordering::SeqCst) {
            self.event.set();
        }
    }
}

impl AsFd for LoopDoor {
    /// The descriptor to watch for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// One wait of an event loop for a task, under a key of the loop's own.
pub struct LoopWaiter {
    door: Arc<LoopDoor>,
    key: u64,
}

impl LoopWaiter {
    /// Wakes the loop behind `door`, which will find `key` among what has ended.
    #[must_use]
    pub fn new(door: Arc<LoopDoor>, key: u64) -> Arc<Self> {
        Arc::new(Self { door, key })
    }
}

impl Waiter for LoopWaiter {
    fn wake(&self) {
        self.door.push(self.key);
    }
}
