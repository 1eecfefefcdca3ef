//! Which task the calling thread runs, and what each thread of a pool runs.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Error;

/// A task that runs, to those who do not care what it gives.
pub(super) trait Running: Send + Sync {
    /// Was it asked to stop?
    fn is_told(&self) -> bool;

    /// Asks it to stop; it ends so for whoever waits.
    fn stop_running(&self, why: Error);
}

/// A thread of a pool, and the task that it runs.
#[derive(Default)]
pub(super) struct Seat {
    task: Mutex<Option<Arc<dyn Running>>>,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Running>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread runs this task from now on.
    pub(super) fn set(&self, task: Arc<dyn Running>) {
        let before = self.lock().replace(task);
        debug_assert!(before.is_none(), "a thread runs one task at a time");
    }

    /// It runs nothing any more. To be called before the task ends for others: then its counts
    /// are in this processor's cache, and later in another's.
    pub(super) fn clear(&self) {
        let task = self.lock().take();
        drop(task);
    }

    pub(super) fn task(&self) -> Option<Arc<dyn Running>> {
        self.lock().clone()
    }
}

/// What the calling thread is in the middle of.
#[derive(Clone)]
pub(super) enum Here {
    /// It belongs to the pool with this address.
    Seat(usize, Arc<Seat>),
    /// It runs futures of the pool with this address, and polls none at the moment.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for futures"))]
    Lane(usize),
    /// It polls a task.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for futures"))]
    Task(usize, Arc<dyn Running>),
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Says what the calling thread does now, until the guard is dropped.
pub(super) fn enter(here: Here) -> Inside {
    Inside(HERE.replace(Some(here)))
}

pub(super) struct Inside(Option<Here>);

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.replace(self.0.take());
    }
}

/// Is the calling thread in the middle of something of the pool with this address?
pub(super) fn is_inside(pool: usize) -> bool {
    HERE.with_borrow(|here| match here {
        Some(Here::Seat(of, _) | Here::Lane(of) | Here::Task(of, _)) => *of == pool,
        None => false,
    })
}

/// The task that the calling thread runs.
pub(super) fn task() -> Option<Arc<dyn Running>> {
    HERE.try_with(|here| match &*here.borrow() {
        Some(Here::Seat(_, seat)) => seat.task(),
        Some(Here::Task(_, task)) => Some(task.clone()),
        Some(Here::Lane(_)) | None => None,
    })
    .ok()
    .flatten()
}

/// Was the task that the calling thread runs asked to stop? `false` where no task of a pool of
/// threads runs.
///
/// It was if it was cancelled, took longer than its timeout, or its pool was killed or dropped.
/// Whoever waits has been told so by then, so that the task should tidy up and return; what it
/// returns is dropped. A task of a [scope](super::ThreadPool::scope) was if the one that opened the
/// scope was.
///
/// ```
/// use manyhands::thread::{ThreadPool, is_cancelled};
///
/// let pool = ThreadPool::builder().build();
/// let search = pool.spawn(|| {
///     (0..u64::MAX).take_while(|_| !is_cancelled()).find(|n| n * n == 1_764)
/// });
/// assert_eq!(search.wait()?, Some(42));
/// # Ok::<(), manyhands::thread::Error>(())
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    task().is_some_and(|task| task.is_told())
}
