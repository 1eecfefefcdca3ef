//! The pool of threads with the methods of the pool of processes: tasks, maps, limits. What moves
//! jobs to threads is in [`crate::thread`].

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::board::Kind;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::map::Map;
use crate::options::Options;
use crate::panic::{catch_payload, drop_quietly};
use crate::task::Limits;
use crate::tasks::{Called, Encoder, Failure, Source, Task};
use crate::thread::{self, Scope};

/// Settings for a [`ThreadPool`], from [`Pool::threads`](crate::Pool::threads).
#[derive(Debug)]
#[must_use = "settings do nothing until `build` makes a pool of them"]
pub struct ThreadBuilder {
    inner: thread::ThreadPoolBuilder,
    name: String,
}

impl Default for ThreadBuilder {
    fn default() -> Self {
        Self {
            inner: thread::ThreadPoolBuilder::default().concurrency(100),
            name: "manyhands".into(),
        }
    }
}

impl ThreadBuilder {
    /// How many threads run closures and plain functions; by default one for each core that this
    /// process may use. For what blocks, take more. `async` tasks have threads of their own.
    pub fn workers(mut self, workers: usize) -> Self {
        self.inner = self.inner.workers(workers);
        self
    }

    /// How many `async` tasks run at once for each worker; by default 100.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.inner = self.inner.concurrency(concurrency);
        self
    }

    /// What the pool's threads are called; by default `manyhands-0`, `manyhands-1`, …
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Called in each thread before its first task. If it panics, the pool's tasks end with
    /// [`Error::Initializer`].
    pub fn initializer(mut self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.inner = self.inner.initializer(initializer);
        self
    }

    /// Makes the pool. No thread is started before there is a task for it.
    #[must_use]
    pub fn build(self) -> ThreadPool {
        let pool = self.inner.name(self.name.as_str()).build();
        ThreadPool {
            pool: Some(Arc::new(pool)),
            name: self.name,
        }
    }
}

/// Threads that run tasks and closures: the same methods as [`Pool`](crate::Pool) has, without
/// processes around them. What a task takes and gives is moved, not copied; a task that crashes
/// takes the program along, and a function that does not end can only be told to
/// ([`is_cancelled`](crate::is_cancelled)).
///
/// Tasks begin in the order in which they were submitted. When the pool is dropped, tasks that have
/// not begun are cancelled, and running ones are told and left to themselves;
/// [`ThreadPool::shutdown`] lets all of it end.
///
/// ```
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn word_count(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// let pool = Pool::threads().workers(2).build();
/// let texts = ["to be", "or", "not to be"].map(String::from);
/// let counts: Result<Vec<_>, _> = pool.map(word_count, texts).collect();
/// assert_eq!(counts?, [2, 1, 3]);
/// pool.shutdown();
/// # Ok::<(), manyhands::Error>(())
/// ```
pub struct ThreadPool {
    /// `None` while it is shut down.
    pool: Option<Arc<thread::ThreadPool>>,
    name: String,
}

impl ThreadPool {
    fn pool(&self) -> &Arc<thread::ThreadPool> {
        self.pool.as_ref().expect("`shutdown` takes the pool away")
    }

    /// As [`Pool::submit`](crate::Pool::submit); nothing is serialized.
    pub fn submit<F: Task>(&self, _task: F, input: F::Input) -> Handle<F::Output> {
        submit::<F>(self.pool(), input, Limits::default()).named(F::NAME)
    }

    /// As [`Pool::map`](crate::Pool::map).
    pub fn map<F, I>(&self, task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>,
    {
        self.options().map(task, inputs)
    }

    /// A view of this pool whose tasks have a timeout, or are tried again. (For another attempt a
    /// task's input is copied by way of serde.)
    #[must_use]
    pub fn options(&self) -> Options<'_> {
        Options::of_threads(self.pool())
    }

    /// Has a thread run a closure.
    ///
    /// ```
    /// let pool = manyhands::Pool::threads().build();
    /// let word = String::from("seven");
    /// assert_eq!(pool.spawn(move || word.len()).wait()?, 5);
    /// # Ok::<(), manyhands::Error>(())
    /// ```
    pub fn spawn<T, F>(&self, work: F) -> Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Handle::of_thread(self.pool().spawn(work))
    }

    /// Runs a future on a tokio runtime of the pool.
    ///
    /// ```
    /// let pool = manyhands::Pool::threads().build();
    /// let handle = pool.spawn_async(async { 6 * 7 });
    /// assert_eq!(handle.wait()?, 42);
    /// # Ok::<(), manyhands::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn spawn_async<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Handle::of_thread(self.pool().spawn_async(future))
    }

    /// Calls the closure with a [`Scope`], on which it can spawn closures that borrow; returns when
    /// all of them have ended.
    ///
    /// ```
    /// let pool = manyhands::Pool::threads().workers(2).build();
    /// let mut numbers = [3, 1, 2, 9, 7, 8];
    /// let (left, right) = numbers.split_at_mut(3);
    /// pool.scope(|scope| {
    ///     scope.spawn(|| left.sort());
    ///     scope.spawn(|| right.sort());
    /// })?;
    /// assert_eq!(numbers, [1, 2, 3, 7, 8, 9]);
    /// # Ok::<(), manyhands::Error>(())
    /// ```
    ///
    /// # Errors
    /// A closure could not be run, because the pool was killed or broken. The others have ended all
    /// the same.
    ///
    /// # Panics
    /// The closure panicked, or one that was spawned and not joined; the panic goes on when all
    /// have ended.
    pub fn scope<'env, R>(
        &'env self,
        callback: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R> {
        self.pool().scope(callback).map_err(Error::from)
    }

    /// Takes no more tasks, and waits until all have ended and the threads are gone. In a task of
    /// the same pool it does not wait.
    pub fn shutdown(mut self) {
        if let Some(pool) = self.pool.take() {
            pool.shutdown_shared();
        }
    }

    /// Takes no more tasks, cancels those that have not begun, and tells those that run to stop.
    /// All of them end with [`Error::Cancelled`] at once.
    pub fn kill(&self) {
        self.pool().kill();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // Maps may hold it for longer.
        if let Some(pool) = &self.pool {
            pool.kill();
        }
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.name)
            .field("pool", &self.pool)
            .finish()
    }
}

pub(crate) fn submit<F: Task>(
    pool: &thread::ThreadPool,
    input: F::Input,
    limits: Limits,
) -> Handle<F::Output> {
    let submitted = match (F::KIND, limits.retries) {
        (Kind::Function, 0) => Ok(pool.spawn(move || call::<F>(input))),
        (Kind::Function, retries) => Attempts::<F>::new(&input, retries)
            .map(|attempts| pool.spawn(move || attempts.run(input))),
        (Kind::Coroutine, retries) => submit_coroutine::<F>(pool, input, retries),
    };
    match submitted {
        Ok(handle) => Handle::of_thread(match limits.timeout {
            Some(timeout) => handle.timeout(timeout),
            None => handle,
        }),
        Err(error) => Handle::failed(error),
    }
}

fn call<F: Task>(input: F::Input) -> F::Output {
    match F::call(input) {
        Called::Value(value) => value,
        Called::Future(_) => unreachable!("a plain function"),
    }
}

#[cfg(feature = "tokio")]
fn submit_coroutine<F: Task>(
    pool: &thread::ThreadPool,
    input: F::Input,
    retries: u32,
) -> Result<thread::Handle<F::Output>> {
    let begin = |input| match F::call(input) {
        Called::Future(future) => future,
        Called::Value(_) => unreachable!("an `async fn`"),
    };
    if retries == 0 {
        return Ok(pool.spawn_async(begin(input)));
    }
    let mut attempts = Attempts::<F>::new(&input, retries)?;
    let mut future = begin(input);
    Ok(pool.spawn_async(std::future::poll_fn(move |context| {
        loop {
            match catch_payload(|| future.as_mut().poll(context)) {
                Ok(polled) => return polled,
                Err(caught) => match attempts.next() {
                    Some(again) => {
                        drop_quietly(caught.payload);
                        future = begin(again);
                    }
                    None => resume_unwind(caught.payload),
                },
            }
        }
    })))
}

#[cfg(not(feature = "tokio"))]
fn submit_coroutine<F: Task>(
    _pool: &thread::ThreadPool,
    _input: F::Input,
    _retries: u32,
) -> Result<thread::Handle<F::Output>> {
    Err(Error::Unsupported(format!(
        "`{}` is an `async fn`, for which the feature `tokio` of manyhands must be on",
        F::NAME
    )))
}

/// The attempts that a task has left, and its input for them.
struct Attempts<F: Task> {
    input: Vec<u8>,
    left: u32,
    task: std::marker::PhantomData<F>,
}

impl<F: Task> Attempts<F> {
    fn new(input: &F::Input, left: u32) -> Result<Self> {
        let failed = |failure: Failure| Error::of_failure("the task's input", failure);
        let mut encoder = Encoder::default();
        F::encode(input, &mut encoder);
        let input = encoder.send(|parts| parts.concat()).map_err(failed)?;
        // If it can be read once, it always can.
        drop(F::decode_input(&Source::Bytes(&input)).map_err(failed)?);
        Ok(Self {
            input,
            left,
            task: std::marker::PhantomData,
        })
    }

    /// The input of the next attempt, if there is to be one.
    fn next(&mut self) -> Option<F::Input> {
        if self.left == 0 || thread::is_cancelled() {
            return None;
        }
        self.left -= 1;
        F::decode_input(&Source::Bytes(&self.input)).ok()
    }

    fn run(mut self, first: F::Input) -> F::Output {
        let mut input = first;
        loop {
            match catch_payload(|| call::<F>(input)) {
                Ok(output) => return output,
                Err(caught) => match self.next() {
                    Some(again) => {
                        drop_quietly(caught.payload);
                        input = again;
                    }
                    None => resume_unwind(caught.payload),
                },
            }
        }
    }
}
