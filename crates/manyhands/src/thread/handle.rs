//! A task on threads, as its submitter holds it: to wait for, to await, to cancel.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::clock::Alarm;
use super::error::Error;
use super::linger;
use super::outcome::{Seen, Since, Waiter};
use super::parker::Sleeper;
use crate::sys::clock;

/// How a task on threads ended.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// A task, whatever its work is.
pub(super) trait Pending<T>: Send + Sync {
    /// As `Cell::look`.
    fn look(&self, waiter: &mut dyn FnMut() -> Option<Waiter>) -> Seen<Result<T>>;

    /// Nobody waits for it any more.
    fn forget(&self);

    /// As `Cell::glance`.
    fn glance(&self) -> Seen<Result<T>>;

    /// As `Cell::is_done`.
    fn is_done(&self) -> bool;

    /// Withdraws it, or tells it; it ends with this error, unless it has ended.
    fn stop(&self, why: Error);

    /// Did the pool not take it, and will it take none?
    fn is_refused(&self) -> bool {
        false
    }
}

/// A submitted task: blocks a thread until it has ended ([`Handle::wait`]), or is awaited, on any
/// runtime.
///
/// Dropping it lets the task go on; its result is dropped as soon as it is there.
///
/// ```
/// use manyhands::thread::ThreadPool;
///
/// let pool = ThreadPool::builder().build();
/// let word = String::from("seven");
/// let handle = pool.spawn(move || word.len());
/// assert_eq!(handle.wait()?, 5);
/// # Ok::<(), manyhands::thread::Error>(())
/// ```
#[must_use = "a handle is the only way to the result; to let the task run unwatched, `drop` it"]
pub struct Handle<T> {
    task: Arc<dyn Pending<T>>,
    /// Most handles have none, and a program may hold many.
    limit: Option<Box<Limit>>,
    /// It may have left a waker with the task.
    was_polled: bool,
}

/// The time that a task may take.
struct Limit {
    timeout: Duration,
    /// Set while somebody awaits the task and it runs.
    alarm: Option<Alarm>,
}

const TAKEN: &str = "the handle has given its result already; wait for it, or poll it, only once";

impl<T> Handle<T> {
    pub(super) fn new(task: Arc<dyn Pending<T>>) -> Self {
        Self {
            task,
            limit: None,
            was_polled: false,
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.task.is_refused()
    }

    fn timeout_given(&self) -> Option<Duration> {
        self.limit.as_ref().map(|limit| limit.timeout)
    }

    /// Blocks the calling thread until the task has ended, and gives its result.
    ///
    /// A task that waits for another one of the same pool keeps its thread meanwhile; if all
    /// threads do so, they wait for ever. Use [`ThreadPool::scope`](super::ThreadPool::scope)
    /// there.
    ///
    /// # Errors
    /// The task panicked, was cancelled or took too long, or could not be run; see [`Error`].
    ///
    /// # Panics
    /// The result has been given already, by [`Handle::wait_timeout`].
    pub fn wait(mut self) -> Result<T> {
        loop {
            if let Some(result) = self.block(None) {
                return result;
            }
        }
    }

    /// As [`Handle::wait`], at most for some time: `None` when that is over first; the task goes
    /// on.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    /// use manyhands::thread::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().build();
    /// let (sender, receiver) = channel();
    /// let mut handle = pool.spawn(move || receiver.recv());
    /// assert!(handle.wait_timeout(Duration::from_millis(5)).is_none());
    /// sender.send(8).unwrap();
    /// assert_eq!(handle.wait()?, Ok(8));
    /// # Ok::<(), manyhands::thread::Error>(())
    /// ```
    ///
    /// # Panics
    /// It has given the result already.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<T>> {
        self.block(Instant::now().checked_add(timeout))
    }

    /// Has the task ended, or used up its time?
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self.task.glance() {
            Seen::Queued => false,
            Seen::Running(since) => self
                .timeout_given()
                .is_some_and(|limit| ran(since) >= limit),
            Seen::Done(_) | Seen::Taken => true,
        }
    }

    /// Is the task being run at the moment?
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.task.glance(), Seen::Running(_))
    }

    /// Withdraws the task if it has not begun, and drops what it would have run. If it runs, it
    /// is told ([`is_cancelled`](super::is_cancelled())), or, if it is a future, dropped at its
    /// next await. In each case it ends with [`Error::Cancelled`] at once, unless it has ended
    /// before; a closure that runs goes on until it returns, and its result is dropped.
    ///
    /// ```
    /// use manyhands::thread::{Error, ThreadPool, is_cancelled};
    ///
    /// let pool = ThreadPool::builder().build();
    /// let handle = pool.spawn(|| {
    ///     while !is_cancelled() {
    ///         std::thread::yield_now();
    ///     }
    /// });
    /// handle.cancel();
    /// assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    /// ```
    pub fn cancel(&self) {
        self.task.stop(Error::Cancelled);
    }

    /// Limits the time that the task may run, from its start on. If it has begun already, that
    /// counts.
    ///
    /// When the time is over, whoever waits gets [`Error::TimedOut`], and the task is told as by
    /// [`Handle::cancel`]. That is done by whoever waits for the handle or awaits it; as long as
    /// nobody does, the task goes on, and with a dropped handle to its end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use manyhands::thread::{Error, ThreadPool, is_cancelled};
    ///
    /// let pool = ThreadPool::builder().build();
    /// let handle = pool.spawn(|| while !is_cancelled() {});
    /// let result = handle.timeout(Duration::from_millis(5)).wait();
    /// assert!(matches!(result, Err(Error::TimedOut { .. })));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Some(Box::new(Limit {
            timeout,
            alarm: None,
        }));
        self
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<T>> {
        if linger::wait(|| self.task.is_done())
            && let Seen::Done(result) = self.task.look(&mut || None)
        {
            return Some(result);
        }
        Sleeper::with(|sleeper| {
            loop {
                let until = match self.look(&sleeper.waker, true) {
                    Ok(result) => return Some(result),
                    Err(until) => until,
                };
                let first = [until, deadline].into_iter().flatten().min();
                if !sleeper.sleep(first) && first == deadline {
                    // Nobody waits any more. It may have ended just now.
                    return match self.task.look(&mut || None) {
                        Seen::Done(result) => Some(result),
                        _ => None,
                    };
                }
            }
        })
    }

    /// The result, or else when the task's time will be over.
    fn look(&self, waker: &Waker, ours: bool) -> std::result::Result<Result<T>, Option<Instant>> {
        loop {
            let seen = self.task.look(&mut || {
                Some(Waiter {
                    waker: waker.clone(),
                    at_start: self.limit.is_some(),
                    ours,
                })
            });
            match seen {
                Seen::Done(result) => return Ok(result),
                Seen::Taken => panic!("{TAKEN}"),
                Seen::Queued => return Err(None),
                Seen::Running(since) => {
                    let Some(limit) = self.timeout_given() else {
                        return Err(None);
                    };
                    let ran = ran(since);
                    if ran < limit {
                        return Err(Instant::now().checked_add(limit - ran));
                    }
                    // It may have ended just before; the next look tells.
                    self.task.stop(Error::TimedOut { ran });
                }
            }
        }
    }
}

/// How long a task has run.
fn ran(since: Since) -> Duration {
    Duration::from_nanos(clock::now().saturating_sub(since))
}

impl<T> Future for Handle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.was_polled = true;
        let seen = self.look(context.waker(), false);
        if let Some(limit) = &mut self.limit {
            // Set anew each time, as the waker may be another.
            limit.alarm = None;
            if let Err(Some(until)) = seen {
                match Alarm::set(until, context.waker().clone()) {
                    Ok(alarm) => limit.alarm = Some(alarm),
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        }
        seen.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.was_polled {
            // The waker may hold a whole task of some runtime's, and this one may take long.
            self.task.forget();
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.task.glance() {
            Seen::Queued => "waiting",
            Seen::Running(_) => "running",
            Seen::Done(_) | Seen::Taken => "ended",
        };
        f.debug_struct("Handle")
            .field("state", &state)
            .field("timeout", &self.timeout_given())
            .finish_non_exhaustive()
    }
}
