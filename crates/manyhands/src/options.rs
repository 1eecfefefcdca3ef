//! Limits for the tasks that are submitted through a view of a pool.

use std::sync::Arc;
use std::time::Duration;

use crate::board::Kind;
use crate::core::Core;
use crate::handle::Handle;
use crate::map::Map;
use crate::task::Limits;
use crate::tasks::Task;
use crate::{thread, threads};

/// A pool with limits, from [`Pool::options`](crate::Pool::options): what is submitted here has
/// them.
///
/// ```standalone_crate
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn flaky(marker: String) -> u32 {
///     if std::fs::create_dir(&marker).is_ok() {
///         panic!("the first attempt always fails");
///     }
///     std::fs::remove_dir(&marker).unwrap();
///     7
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///     let careful = pool.options().timeout(Duration::from_secs(60)).retries(2);
///     let marker = std::env::temp_dir().join(format!("flaky-{}", std::process::id()));
///     let marker = marker.to_string_lossy().into_owned();
///     assert_eq!(careful.submit(flaky, marker).wait()?, 7);
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Options<'a> {
    on: On<'a>,
    limits: Limits,
}

#[derive(Clone, Copy)]
enum On<'a> {
    Processes(&'a Arc<Core>),
    Threads(&'a Arc<thread::ThreadPool>),
}

impl<'a> Options<'a> {
    pub(crate) fn of_processes(core: &'a Arc<Core>) -> Self {
        Self {
            on: On::Processes(core),
            limits: Limits::default(),
        }
    }

    pub(crate) fn of_threads(pool: &'a Arc<thread::ThreadPool>) -> Self {
        Self {
            on: On::Threads(pool),
            limits: Limits::default(),
        }
    }

    /// How long each attempt may take, from the moment at which it begins. One that takes longer
    /// is stopped: an `async fn` is dropped when it next waits, a plain function's worker process
    /// is killed. With [`Builder::stop_grace`](crate::Builder::stop_grace) the function is told
    /// first, and may end by itself.
    ///
    /// With that process end the `async` tasks that run in it: as
    /// [`Error::WorkerDied`](crate::Error::WorkerDied) with `stopped`. Give those retries, or a
    /// pool of their own.
    ///
    /// On a pool of threads a plain function can only be told, see
    /// [`is_cancelled`](crate::is_cancelled); whoever waits gets
    /// [`Error::TimedOut`](crate::Error::TimedOut) all the same. The timeout is there for all
    /// attempts together. It is enforced by whoever waits for the handle, or awaits it; while nobody
    /// does, the task goes on.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = Some(timeout);
        self
    }

    /// How often a task is tried again after it panicked, after its worker died, and after its
    /// timeout. An `Err` that it returns is a result, and is not tried again.
    /// Its worker's death counts whoever brought it about, so that nothing runs more often than is
    /// said here.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.limits.retries = retries;
        self
    }

    /// As [`Pool::submit`](crate::Pool::submit), with these limits.
    pub fn submit<F: Task>(&self, _task: F, input: F::Input) -> Handle<F::Output> {
        match self.on {
            On::Processes(core) => core.submit::<F>(&input, self.limits),
            On::Threads(pool) => threads::submit::<F>(pool, input, self.limits).named(F::NAME),
        }
    }

    /// As [`Pool::map`](crate::Pool::map), with these limits for each of its tasks.
    pub fn map<F, I>(&self, _task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>,
    {
        let (inputs, limits) = (inputs.into_iter(), self.limits);
        match self.on {
            On::Processes(core) => {
                let core = core.clone();
                let concurrency = match F::KIND {
                    Kind::Function => 1,
                    Kind::Coroutine => core.concurrency,
                };
                let at_once = core.workers.saturating_mul(concurrency);
                let submit = move |input: F::Input| core.submit::<F>(&input, limits);
                Map::new(inputs, Box::new(submit), at_once)
            }
            On::Threads(pool) => {
                let pool = pool.clone();
                let (functions, coroutines) = pool.capacity();
                let at_once = match F::KIND {
                    Kind::Function => functions,
                    Kind::Coroutine => coroutines,
                };
                let submit = move |input| threads::submit::<F>(&pool, input, limits);
                Map::new(inputs, Box::new(submit), at_once)
            }
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.limits.timeout)
            .field("retries", &self.limits.retries)
            .finish()
    }
}
