//! The pool of processes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::Builder;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::map::Map;
use crate::options::Options;
use crate::task::Limits;
use crate::tasks::Task;
use crate::threads::ThreadBuilder;

/// How long the end of killed workers may take before a pool that is dropped leaves them to
/// the system (one may hang in a system call that no signal reaches).
const END: Duration = Duration::from_secs(5);

/// Worker processes that run tasks.
///
/// A task that crashes, exits or is killed costs only itself: it ends with
/// [`Error::WorkerDied`](crate::Error::WorkerDied), and a new worker takes the place of the old.
/// Each worker runs one plain function at a time, and beside it many `async fn` tasks.
///
/// That holds where the pool itself ends a worker, too. A plain function can only be stopped
/// ([`Options::timeout`], [`Handle::cancel`]) with its process, and with it end the `async` tasks
/// that ran beside it: as [`Error::WorkerDied`](crate::Error::WorkerDied) with `stopped`, which
/// says so. Let them be tried again ([`Options::retries`]), or keep functions that may be stopped
/// in a pool of their own.
///
/// A program that a task starts is not the worker: it goes on when the worker is killed, unless it
/// is told to end with its parent (prctl(2), PR_SET_PDEATHSIG) or notices (its pipes close). It
/// inherits the signal mask of the thread that built the pool.
///
/// A task may have a pool of processes of its own; those end with the worker, however that ends:
///
/// ```standalone_crate
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// #[task]
/// fn sum_of_squares(most: u64) -> Result<u64, String> {
///     let pool = Pool::builder().workers(2).build().map_err(|error| error.to_string())?;
///     let squares: Result<Vec<_>, _> = pool.map(square, 0..=most).collect();
///     Ok(squares.map_err(|error| error.to_string())?.iter().sum())
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///     assert_eq!(pool.submit(sum_of_squares, 3).wait()?, Ok(14));
///     Ok(())
/// }
/// ```
///
/// All methods take `&self`: a pool can be shared by reference, or in an `Arc`.
///
/// When it is dropped, tasks that have not begun are cancelled and workers are killed, whatever
/// they run; [`Pool::shutdown`] lets all of it end.
///
/// ```standalone_crate
/// use manyhands::{Error, Pool, task};
///
/// #[task]
/// fn fragile(n: u32) -> u32 {
///     if n == 3 {
///         std::process::abort(); // as bad as a crash
///     }
///     n * n
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(2).build()?;
///     let (mut squares, mut deaths) = (0, 0);
///     for result in pool.map(fragile, 0..10) {
///         match result {
///             Ok(square) => squares += square,
///             Err(Error::WorkerDied { .. }) => deaths += 1,
///             Err(other) => return Err(other),
///         }
///     }
///     assert_eq!((squares, deaths), (285 - 9, 1));
///     pool.shutdown()
/// }
/// ```
pub struct Pool {
    core: Arc<Core>,
}

impl Pool {
    /// Settings for a pool, to be finished by [`Builder::build`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Settings for a pool of threads with the same methods, to be finished by
    /// [`ThreadBuilder::build`]; needs no [`init`](crate::init()).
    ///
    /// ```
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    ///
    /// let pool = Pool::threads().workers(2).build();
    /// assert_eq!(pool.submit(square, 5).wait()?, 25);
    /// let offset = 7; // closures, too
    /// assert_eq!(pool.spawn(move || square(3) + offset).wait()?, 16);
    /// # Ok::<(), manyhands::Error>(())
    /// ```
    pub fn threads() -> ThreadBuilder {
        ThreadBuilder::default()
    }

    pub(crate) fn new(core: Core) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    /// Submits a task; it begins as soon as a worker is free, whether anybody waits or not. What
    /// goes wrong in submitting shows in the handle.
    ///
    /// The input is `()` for a function without arguments, the argument for one, and a tuple for
    /// several.
    ///
    /// ```standalone_crate
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// fn repeat(text: String, times: usize) -> String {
    ///     text.repeat(times)
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let handle = pool.submit(repeat, ("ab".to_owned(), 3));
    ///     assert_eq!(handle.wait()?, "ababab");
    ///     Ok(())
    /// }
    /// ```
    #[allow(
        clippy::needless_pass_by_value,
        reason = "what is sent away is no longer here"
    )]
    pub fn submit<F: Task>(&self, _task: F, input: F::Input) -> Handle<F::Output> {
        self.core.submit::<F>(&input, Limits::default())
    }

    /// Runs a task for each input, and gives the results as they are asked for: an `Iterator`, or
    /// by [`Map::stream`] a `Stream`.
    ///
    /// ```standalone_crate
    /// use manyhands::{Pool, task};
    ///
    /// #[task]
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(2).build()?;
    ///     // Inputs may be endless: they are read as results are taken.
    ///     let squares: Result<Vec<_>, _> = pool.map(square, 1..).take(4).collect();
    ///     assert_eq!(squares?, [1, 4, 9, 16]);
    ///     Ok(())
    /// }
    /// ```
    pub fn map<F, I>(&self, task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>,
    {
        self.options().map(task, inputs)
    }

    /// A view of this pool whose tasks have a timeout, or are tried again.
    ///
    /// ```standalone_crate
    /// use std::time::Duration;
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
    ///     let limited = pool.options().timeout(Duration::from_millis(50));
    ///     let ended = limited.submit(forever, ()).wait();
    ///     assert!(matches!(ended, Err(Error::TimedOut { .. })));
    ///     Ok(())
    /// }
    /// ```
    pub fn options(&self) -> Options<'_> {
        Options::of_processes(&self.core)
    }

    /// Takes no more tasks, waits until all have ended, and until the workers have. After
    /// [`Pool::kill`] that is soon.
    ///
    /// # Errors
    /// The pool broke: what went wrong is what its tasks ended with.
    pub fn shutdown(self) -> Result<()> {
        self.core.engine().shutdown(false);
        self.core.wait_gone(None)?;
        match self.core.broken() {
            // As its owner asked for.
            None | Some(Error::Cancelled) => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Kills the workers, whatever they run. Tasks that have not ended are
    /// [`Cancelled`](crate::Error::Cancelled); what is submitted from now on is refused.
    ///
    /// ```standalone_crate
    /// use manyhands::{Error, Pool, task};
    ///
    /// #[task]
    /// fn sleep() {
    ///     std::thread::park();
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).build()?;
    ///     let handle = pool.submit(sleep, ());
    ///     pool.kill();
    ///     assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    ///     assert!(matches!(pool.submit(sleep, ()).wait(), Err(Error::ShutDown)));
    ///     Ok(())
    /// }
    /// ```
    pub fn kill(&self) {
        self.core.engine().shutdown(true);
        self.core.engine().kill();
    }

    /// The numbers of the worker processes that there are at the moment, as far as the pool has
    /// taken note of them; fewer than there are workers while some are being started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let workers = self.core.engine().status().workers;
        let pids = workers.into_iter().map(|(pid, _)| pid);
        pids.filter(|pid| *pid != 0).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.core.engine().is_ours() || self.core.engine().gone().is_done() {
            return;
        }
        self.kill();
        // Where the wait fails or ends early, the workers are killed all the same.
        let ended = self.core.wait_gone(Some(END));
        debug_assert!(ended.is_ok(), "{ended:?}");
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.core.engine().status();
        let living = status.workers.into_iter().filter(|(pid, _)| *pid != 0);
        f.debug_struct("Pool")
            .field("name", &self.core.name)
            .field("workers", &self.core.workers)
            .field("processes", &living.collect::<Vec<_>>())
            .field("concurrency", &self.core.concurrency)
            .field("outstanding", &status.outstanding)
            .field("closed", &status.closed)
            .finish()
    }
}
