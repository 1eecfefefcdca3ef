//! A task that was submitted, as its submitter holds it: to wait for, to await, to cancel.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::process::Waited;
use crate::task::{Limits, Task, Waiter};
use crate::tasks::{Failure, Source};
use crate::thread;
use crate::worker::outcome;

/// A submitted task: blocks a thread until it has ended ([`Handle::wait`]), or is awaited, on any
/// runtime.
///
/// Dropping it lets the task go on; its result is dropped, too.
///
/// ```standalone_crate
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn triple(n: u64) -> u64 {
///     3 * n
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///
///     let handle = pool.submit(triple, 5);
///     assert_eq!(handle.wait()?, 15);
///
///     let runtime = tokio::runtime::Builder::new_current_thread().build()?;
///     let sum = runtime.block_on(async {
///         let (one, two) = (pool.submit(triple, 1), pool.submit(triple, 2));
///         Ok::<_, manyhands::Error>(one.await? + two.await?)
///     })?;
///     assert_eq!(sum, 9);
///     Ok(())
/// }
/// ```
#[must_use = "a handle is the only way to the result; to let the task run unwatched, `drop` it"]
pub struct Handle<T> {
    inner: Inner<T>,
    /// What it runs, if that has a name.
    name: Option<&'static str>,
}

enum Inner<T> {
    Process(Submitted<T>),
    Thread(thread::Handle<T>),
    /// It was not even submitted; `None` once that was told.
    Failed(Option<Error>),
}

type Decode<T> = fn(&Source<'_>) -> Result<T, Failure>;

/// A task of a pool of processes.
struct Submitted<T> {
    core: Arc<Core>,
    task: Arc<Task>,
    decode: Decode<T>,
    limits: Limits,
    /// Whoever polled last, while the pool counts this handle as a watcher.
    watching: Option<Arc<Watching>>,
}

const TAKEN: &str = "the handle has given its result already; wait for it, or poll it, only once";

impl<T> Handle<T> {
    pub(crate) fn of_process(
        core: Arc<Core>,
        task: Arc<Task>,
        decode: Decode<T>,
        limits: Limits,
    ) -> Self {
        Self::new(Inner::Process(Submitted {
            core,
            task,
            decode,
            limits,
            watching: None,
        }))
    }

    fn new(inner: Inner<T>) -> Self {
        Self { inner, name: None }
    }

    /// Its errors name the task.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    pub(crate) fn of_thread(handle: thread::Handle<T>) -> Self {
        Self::new(Inner::Thread(handle))
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self::new(Inner::Failed(Some(error)))
    }

    /// The pool took no task, and will take none.
    pub(crate) fn is_refused(&self) -> bool {
        match &self.inner {
            Inner::Process(_) => false,
            Inner::Thread(handle) => handle.is_refused(),
            Inner::Failed(error) => !matches!(
                error,
                Some(Error::Encode { .. } | Error::Decode { .. } | Error::Unsupported(_)) | None
            ),
        }
    }

    /// Blocks the calling thread until the task has ended, and gives its result.
    ///
    /// # Errors
    /// Any of [`Error`] but those of making a pool: it panicked, its worker died, it was cancelled
    /// or stopped, its values could not be sent. An `Err` that the task returns is not among
    /// them: it arrives inside of an `Ok`.
    ///
    /// # Panics
    /// The result has been given already, by [`Handle::wait_timeout`].
    #[track_caller]
    pub fn wait(self) -> Result<T> {
        let ended = match self.inner {
            Inner::Process(mut submitted) => match submitted.block(None) {
                Ok(_) => submitted.take(),
                Err(error) => Err(error),
            },
            Inner::Thread(handle) => handle.wait().map_err(Error::from),
            Inner::Failed(error) => Err(error.expect(TAKEN)),
        };
        ended.map_err(|error| error.of_task(self.name))
    }

    /// As [`Handle::wait`], at most for some time: `None` when that is over first; the task goes
    /// on.
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// fn slow() -> u8 {
    ///     std::thread::sleep(Duration::from_millis(200));
    ///     9
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let mut handle = pool.submit(slow, ());
    ///     let result = loop {
    ///         match handle.wait_timeout(Duration::from_millis(10)) {
    ///             Some(result) => break result?,
    ///             None => eprintln!("still waiting"),
    ///         }
    ///     };
    ///     assert_eq!(result, 9);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Panics
    /// It has given the result already.
    #[track_caller]
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<T>> {
        let name = self.name;
        let ended = match &mut self.inner {
            Inner::Process(submitted) => match submitted.block(Some(timeout)) {
                Ok(true) => Some(submitted.take()),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            },
            Inner::Thread(handle) => {
                let ended = handle.wait_timeout(timeout)?;
                Some(ended.map_err(Error::from))
            }
            Inner::Failed(error) => Some(Err(error.take().expect(TAKEN))),
        };
        ended.map(|result| result.map_err(|error| error.of_task(name)))
    }

    /// Has the task ended?
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.inner {
            Inner::Process(submitted) => submitted.is_done(),
            Inner::Thread(handle) => handle.is_done(),
            Inner::Failed(_) => true,
        }
    }

    /// Withdraws the task if it has not begun, and stops it if it runs: an `async fn` is dropped
    /// when it next waits; a plain function's worker process is killed (and replaced), and with it
    /// the `async` tasks that run there: they end with [`Error::WorkerDied`]. On a pool of
    /// threads a function is told, see [`is_cancelled`](crate::is_cancelled). It ends with
    /// [`Error::Cancelled`], unless it ended just before. Returns at once.
    ///
    /// ```standalone_crate
    /// use manyhands::{Error, Pool, task};
    ///
    /// #[task]
    /// fn forever() {
    ///     loop {
    ///         std::hint::spin_loop();
    ///     }
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let handle = pool.submit(forever, ());
    ///     handle.cancel();
    ///     assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    ///     Ok(())
    /// }
    /// ```
    pub fn cancel(&self) {
        match &self.inner {
            Inner::Process(submitted) => submitted.core.engine().stop(&submitted.task),
            Inner::Thread(handle) => handle.cancel(),
            Inner::Failed(_) => {}
        }
    }

    /// Limits the time that the task may run, from its start on. If it has begun already, that
    /// counts; if it has ended, nothing changes.
    ///
    /// To try it again after that, give [`Options::retries`](crate::Options::retries) before it is
    /// submitted.
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
    /// use manyhands::{Error, Pool, task};
    ///
    /// #[task]
    /// async fn forever() {
    ///     std::future::pending().await
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let handle = pool.submit(forever, ()).timeout(Duration::from_millis(20));
    ///     assert!(matches!(handle.wait(), Err(Error::TimedOut { .. })));
    ///     Ok(())
    /// }
    /// ```
    pub fn timeout(self, timeout: Duration) -> Self {
        let inner = match self.inner {
            Inner::Process(mut submitted) => {
                submitted.limits.timeout = Some(timeout);
                let engine = submitted.core.engine();
                engine.set_limits(&submitted.task, submitted.limits);
                Inner::Process(submitted)
            }
            Inner::Thread(handle) => Inner::Thread(handle.timeout(timeout)),
            failed @ Inner::Failed(_) => failed,
        };
        Self { inner, ..self }
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let polled = match &mut self.inner {
            Inner::Process(submitted) => submitted.poll(context),
            Inner::Thread(handle) => Pin::new(handle).poll(context).map_err(Error::from),
            Inner::Failed(error) => Poll::Ready(Err(error.take().expect(TAKEN))),
        };
        polled.map_err(|error| error.of_task(self.name))
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.inner {
            Inner::Process(submitted) if submitted.task.is_done() => "ended",
            Inner::Process(submitted) if submitted.core.engine().is_running(&submitted.task) => {
                "running"
            }
            Inner::Process(_) => "waiting",
            Inner::Thread(handle) if handle.is_running() => "running",
            Inner::Thread(handle) if handle.is_done() => "ended",
            Inner::Thread(_) => "waiting",
            Inner::Failed(_) => "not submitted",
        };
        let mut shown = f.debug_struct("Handle");
        if let Some(name) = self.name {
            shown.field("task", &format_args!("{name}"));
        }
        shown.field("state", &format_args!("{state}")).finish()
    }
}

impl<T> Submitted<T> {
    fn is_done(&self) -> bool {
        if !self.task.is_done() {
            self.core.engine().poll();
        }
        self.task.is_done()
    }

    /// Blocks until the task has ended; false when the time is over first.
    fn block(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            match self.core.engine().wait(&self.task, left) {
                Ok(Waited::Done) => return Ok(true),
                Ok(Waited::TimedOut) => return Ok(false),
                // A handler of the program's has run; there is nothing to do about it here.
                Ok(Waited::Interrupted) => {}
                Err(_) if !self.core.engine().is_ours() => return Err(Error::OtherProcess),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The result of the task, which has ended.
    #[track_caller]
    fn take(&mut self) -> Result<T> {
        self.stop_watching();
        let ended = self.task.take_outcome().expect(TAKEN);
        let attempts = self.task.attempts();
        let result = outcome(ended, self.decode, self.core.describe());
        result.map_err(|error| error.after(attempts))
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<T>> {
        let engine = self.core.engine();
        if !engine.is_ours() && !self.task.is_done() {
            return Poll::Ready(Err(Error::OtherProcess));
        }
        if let Some(watching) = &self.watching {
            // In this order: whoever ends the task afterwards wakes this waker.
            watching.set(context.waker());
        } else if !self.is_done() {
            let watching = Arc::new(Watching(Mutex::new(Some(context.waker().clone()))));
            if self.task.watch(watching.clone()) {
                // Nobody in this process need block for the task: the supervisor is to read its
                // completion.
                engine.watch_unseen(true);
                self.watching = Some(watching);
            }
        }
        if self.task.is_done() {
            return Poll::Ready(self.take());
        }
        Poll::Pending
    }

    fn stop_watching(&mut self) {
        if let Some(watching) = self.watching.take() {
            let waiter: Arc<dyn Waiter> = watching;
            self.task.unwatch(&waiter);
            self.core.engine().watch_unseen(false);
        }
    }
}

impl<T> Drop for Submitted<T> {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

/// The waker of whoever awaits a task.
struct Watching(Mutex<Option<Waker>>);

impl Watching {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, waker: &Waker) {
        let is_known = |known: &Waker| known.will_wake(waker);
        if !self.lock().as_ref().is_some_and(is_known) {
            // To clone or drop it may run the executor's code, so neither is done under the lock.
            let waker = waker.clone();
            let before = self.lock().replace(waker);
            drop(before);
        }
    }
}

impl Waiter for Watching {
    fn wake(&self) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
