//! The pool of threads: closures in, handles out.

use std::sync::Arc;
use std::{fmt, mem, thread};

use super::crew::{Crew, Initializer, withdraw_all};
use super::current;
use super::error::Error;
use super::executor::Executor;
#[cfg(feature = "tokio")]
use super::futures;
use super::handle::{Handle, Pending, Result};
use super::job::{ClosureTask, EndedTask, Job};
#[cfg(feature = "tokio")]
use super::lanes::{Lanes, Plan};
use super::scope::{self, Scope};
use crate::sys::cores;

/// How a pool of threads is to be.
#[must_use = "nothing is made before `build`"]
pub struct ThreadPoolBuilder {
    threads: usize,
    concurrency: usize,
    name: String,
    initializer: Option<Initializer>,
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        Self {
            threads: cores::usable(),
            concurrency: 1,
            name: "manyhands".to_owned(),
            initializer: None,
        }
    }
}

impl ThreadPoolBuilder {
    /// At most so many threads run closures at once; as many again run futures, if there are any.
    /// By default as many as there are usable cores. For closures that block, take more.
    pub fn workers(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The same as [`workers`](Self::workers).
    pub fn threads(self, threads: usize) -> Self {
        self.workers(threads)
    }

    /// So many futures run at once for each worker; by default one.
    pub fn concurrency(mut self, futures: usize) -> Self {
        self.concurrency = futures.max(1);
        self
    }

    /// Threads are named `name-0`, `name-1`, …, those for futures `name-async-0`, …; by default by
    /// `manyhands`. NUL characters, which the system does not allow, are left out.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Called in each thread before its first task. If it panics, the pool is broken: every task
    /// that has not begun, and every later one, ends with [`Error::Initializer`]; what runs goes on.
    pub fn initializer(mut self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.initializer = Some(Arc::new(initializer));
        self
    }

    /// Makes the pool. No thread is started before there is a task for it.
    #[must_use]
    pub fn build(self) -> ThreadPool {
        #[cfg(feature = "tokio")]
        let lanes = Lanes::new(Plan {
            most: self.threads,
            concurrency: self.concurrency,
            name: self.name.clone(),
            initializer: self.initializer.clone(),
        });
        let crew = Crew::new(
            self.initializer,
            #[cfg(feature = "tokio")]
            &lanes,
        );
        let executor = Executor::builder(crew)
            .threads(self.threads)
            .name_prefix(format!("{}-", self.name))
            .build();
        #[cfg(feature = "tokio")]
        lanes.link(
            executor.worker().address(),
            Arc::downgrade(executor.shared()),
        );
        ThreadPool {
            #[cfg(feature = "tokio")]
            lanes,
            executor,
            concurrency: self.concurrency,
        }
    }
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("workers", &self.threads)
            .field("concurrency", &self.concurrency)
            .field("name", &self.name)
            .field("initializer", &self.initializer.is_some())
            .finish()
    }
}

/// Threads that run closures.
///
/// Tasks begin in the order in which they were submitted. Threads are started when there is work
/// for them, and sleep when there is none.
///
/// When it is dropped, tasks that have not begun are cancelled, running ones are told
/// ([`is_cancelled`](super::is_cancelled())) and left to themselves; to wait for all of them, use
/// [`ThreadPool::shutdown`].
///
/// ```
/// use manyhands::thread::ThreadPool;
///
/// let pool = ThreadPool::builder().workers(2).name("squares").build();
/// let squares: Vec<_> = (0..10u64).map(|n| pool.spawn(move || n * n)).collect();
/// let mut sum = 0;
/// for square in squares {
///     sum += square.wait()?;
/// }
/// assert_eq!(sum, 285);
/// pool.shutdown();
/// # Ok::<(), manyhands::thread::Error>(())
/// ```
pub struct ThreadPool {
    executor: Executor<Crew>,
    #[cfg(feature = "tokio")]
    lanes: Arc<Lanes>,
    concurrency: usize,
}

impl ThreadPool {
    /// Says how it is to be.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }

    /// Has a thread run the closure. If it cannot be run, the handle says why.
    pub fn spawn<F, T>(&self, work: F) -> Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let task = ClosureTask::new(work);
        let job: Arc<dyn Job> = task.clone();
        match self.executor.execute(job) {
            Ok(()) => Handle::new(task),
            Err(rejected) => Handle::new(refused(rejected.why.into())),
        }
    }

    /// Runs the future on a thread of the pool that has a tokio runtime of its own
    /// ([`current_thread`](tokio::runtime::Builder::new_current_thread)). At most `workers` ×
    /// `concurrency` run at once; the others wait their turn, and begin in the order in which they
    /// were submitted. If it cannot be run, the handle says why.
    ///
    /// A future stays on the thread that began it. One that computes or blocks for long keeps the
    /// others of that thread from going on; better [`spawn`](Self::spawn) a closure for it.
    ///
    /// To [cancel](Handle::cancel) one that runs drops it at its next await.
    ///
    /// ```
    /// use std::time::Duration;
    /// use manyhands::thread::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(2).concurrency(50).build();
    /// let naps: Vec<_> = (0..100u64)
    ///     .map(|n| {
    ///         pool.spawn_async(async move {
    ///             tokio::time::sleep(Duration::from_millis(n % 7)).await;
    ///             n
    ///         })
    ///     })
    ///     .collect();
    /// let sum: Result<u64, _> = naps.into_iter().map(|nap| nap.wait()).sum();
    /// assert_eq!(sum?, 4950);
    /// # Ok::<(), manyhands::thread::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn spawn_async<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match futures::spawn(&self.lanes, future) {
            Ok(task) => Handle::new(task),
            Err(why) => Handle::new(refused(why)),
        }
    }

    /// Calls the closure with a [`Scope`], on which it can spawn tasks that borrow; returns when
    /// all of them have ended.
    ///
    /// Scopes may be nested, and used inside of tasks of the same pool: a thread of the pool that
    /// waits for a scope runs the tasks of that scope itself. (For scopes of several pools inside of
    /// one another that does not hold: they need a free thread each.)
    ///
    /// ```
    /// use manyhands::thread::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(2).build();
    /// let mut numbers = [3, 1, 2, 9, 7, 8];
    /// let (left, right) = numbers.split_at_mut(3);
    /// let largest = pool.scope(|scope| {
    ///     let left = scope.spawn(|| {
    ///         left.sort();
    ///         left[2]
    ///     });
    ///     scope.spawn(|| right.sort());
    ///     left.join()
    /// })??;
    /// assert_eq!(largest, 3);
    /// assert_eq!(numbers, [1, 2, 3, 7, 8, 9]);
    /// # Ok::<(), manyhands::thread::Error>(())
    /// ```
    ///
    /// # Errors
    /// A task could not be run, because the pool was shut down, killed or broken. The others have
    /// ended all the same.
    ///
    /// # Panics
    /// The closure panicked, or a task did that was not joined; the panic goes on when all tasks
    /// have ended.
    pub fn scope<'env, R>(
        &'env self,
        callback: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R> {
        scope::scope(&self.executor, callback)
    }

    /// Takes no more tasks, and waits until all have ended and the threads are gone.
    ///
    /// In a task of the same pool it does not wait, since it would wait for itself.
    pub fn shutdown(self) {
        Arc::new(self).shutdown_shared();
    }

    /// As [`shutdown`](Self::shutdown), where others may hold the pool as well.
    pub(crate) fn shutdown_shared(self: Arc<Self>) {
        self.close();
        if self.is_inside() {
            let waits = self.clone();
            let waiter = thread::Builder::new().name("manyhands-shutdown".to_owned());
            if waiter.spawn(move || waits.join()).is_err() {
                // Without a thread that waits for the tasks it stays for ever, which is better
                // than to drop it, and with it the tasks.
                mem::forget(self);
            }
        } else {
            self.join();
        }
    }

    /// In a thread that is none of its own.
    fn join(&self) {
        // The one error would be to be inside.
        let _ = self.executor.join();
        #[cfg(feature = "tokio")]
        self.lanes.join();
    }

    fn close(&self) {
        self.executor.close();
        #[cfg(feature = "tokio")]
        self.lanes.close();
    }

    fn is_inside(&self) -> bool {
        current::is_inside(self.executor.worker().address())
    }

    /// Takes no more tasks, cancels those that have not begun, and tells those that run to stop.
    /// All of them end with [`Error::Cancelled`] at once. Does not wait for the threads.
    pub fn kill(&self) {
        self.close();
        self.executor.worker().kill();
        withdraw_all(self.executor.take(), &Error::Cancelled);
        #[cfg(feature = "tokio")]
        self.lanes.kill();
    }

    /// Tasks that run at once at the most: closures, and futures.
    #[must_use]
    pub fn capacity(&self) -> (usize, usize) {
        let threads = self.executor.most_threads();
        (threads, threads.saturating_mul(self.concurrency))
    }
}

fn refused<T: Send + 'static>(why: Error) -> Arc<dyn Pending<T>> {
    EndedTask::new(why)
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("ThreadPool");
        text.field("executor", &self.executor)
            .field("concurrency", &self.concurrency);
        #[cfg(feature = "tokio")]
        text.field("futures", &self.lanes.alive());
        text.finish()
    }
}
