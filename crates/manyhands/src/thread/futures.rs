//! Futures as tasks, on a tokio runtime of the pool, which is started with the first of them.
//!
//! Guarantees: at most as many as agreed run at once, in the order in which they were submitted;
//! the others wait and can be withdrawn. One that is stopped is dropped at its next await.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle as RuntimeHandle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::crew::Initializer;
use super::current::{Here, Running, enter};
use super::error::Error;
use super::handle::{Pending, Result};
use super::job::{finish, wake};
use super::outcome::{Cell, Seen, Waiter};
use crate::panic::{catch, drop_quietly};
use crate::sys::clock;

/// The part of a pool that runs futures.
pub(super) struct Futures {
    threads: usize,
    name: String,
    initializer: Option<Initializer>,
    /// What the pool is told apart by.
    pool: usize,
    permits: Arc<Semaphore>,
    runtime: Mutex<Option<Runtime>>,
    tasks: Arc<Tasks>,
}

/// Futures that have not ended.
#[derive(Default)]
struct Tasks {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    alive: HashMap<u64, Arc<dyn Running>>,
    number: u64,
    /// Why no more are taken.
    closed: Option<Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    fn close(&self, why: Error) {
        lock(&self.state).closed.get_or_insert(why);
    }

    fn stop(&self, why: &Error) {
        let alive: Vec<_> = lock(&self.state).alive.values().cloned().collect();
        for task in alive {
            drop_quietly(catch(|| task.stop_running(why.clone())));
        }
    }
}

impl Futures {
    pub(super) fn new(
        threads: usize,
        concurrency: usize,
        name: &str,
        initializer: Option<Initializer>,
        pool: usize,
    ) -> Self {
        let at_once = threads.saturating_mul(concurrency);
        Self {
            threads,
            name: format!("{name}-async"),
            initializer,
            pool,
            permits: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            runtime: Mutex::default(),
            tasks: Arc::default(),
        }
    }

    pub(super) fn spawn<F>(&self, future: F) -> Result<Arc<dyn Pending<F::Output>>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let runtime = self.runtime()?;
        let task = Arc::new(FutureTask {
            cell: Cell::new(Box::pin(future)),
            abort: OnceLock::new(),
        });
        let alive = self.register(&task)?;
        let permits = self.permits.clone();
        let pool = self.pool;
        let abort = runtime.spawn({
            let task = task.clone();
            async move {
                let _alive = alive;
                let _end = End(task.clone());
                // It is never closed.
                let Ok(_permit) = permits.acquire_owned().await else {
                    return;
                };
                let Some((future, waiter)) = task.cell.begin(clock::coarse()) else {
                    return;
                };
                if let Some(waiter) = waiter {
                    wake(waiter);
                }
                let running = task.clone();
                let result = Polled {
                    future,
                    running,
                    pool,
                };
                let result = result.await;
                finish(task.cell.end(result));
            }
        });
        if task.abort.set(abort.abort_handle()).is_ok() && task.cell.is_done() {
            // Whoever ended it had no way to abort it yet.
            abort.abort();
        }
        Ok(task)
    }

    /// The runtime, made when it is first wanted.
    fn runtime(&self) -> Result<RuntimeHandle> {
        let mut runtime = lock(&self.runtime);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let tasks = self.tasks.clone();
        let initializer = self.initializer.clone();
        let made = Builder::new_multi_thread()
            .worker_threads(self.threads)
            .thread_name(&self.name)
            .on_thread_start(move || {
                if let Some(initializer) = &initializer
                    && let Err(panic) = catch(|| initializer())
                {
                    let why = Error::Initializer(panic);
                    tasks.close(why.clone());
                    tasks.stop(&why);
                }
            })
            .enable_all()
            .build()?;
        Ok(runtime.insert(made).handle().clone())
    }

    fn register<F, T>(&self, task: &Arc<FutureTask<F, T>>) -> Result<Alive>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let mut state = lock(&self.tasks.state);
        if let Some(why) = &state.closed {
            return Err(why.clone());
        }
        state.number += 1;
        let number = state.number;
        state.alive.insert(number, task.clone());
        Ok(Alive {
            tasks: self.tasks.clone(),
            number,
        })
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.tasks.close(Error::ShutDown);
    }

    /// Takes no more, and stops those that there are.
    pub(super) fn kill(&self) {
        self.close();
        self.tasks.stop(&Error::Cancelled);
    }

    /// Waits until all have ended, and for the threads.
    pub(super) fn join(&self) {
        let tasks = &self.tasks;
        let mut state = lock(&tasks.state);
        while !state.alive.is_empty() {
            let waited = tasks.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let runtime = lock(&self.runtime).take();
        // A thread of some runtime may not wait for another runtime's.
        if RuntimeHandle::try_current().is_err() {
            drop(runtime);
        } else if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// How many have not ended.
    pub(super) fn alive(&self) -> usize {
        lock(&self.tasks.state).alive.len()
    }
}

impl Drop for Futures {
    fn drop(&mut self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

/// A future that counts as not ended.
struct Alive {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = lock(&self.tasks.state);
        let task = state.alive.remove(&self.number);
        let none = state.alive.is_empty();
        drop(state);
        drop(task);
        if none {
            self.tasks.changed.notify_all();
        }
    }
}

type Work<F> = Pin<Box<F>>;

/// A task whose work is a future.
struct FutureTask<F, T> {
    cell: Cell<Work<F>, Result<T>>,
    abort: OnceLock<AbortHandle>,
}

impl<F, T> FutureTask<F, T> {
    fn stopped(&self, why: Error) {
        let ended = self.cell.stop(Err(why));
        if ended.late.is_none()
            && let Some(abort) = self.abort.get()
        {
            abort.abort();
        }
        finish(ended);
    }
}

/// Ends a task whose future was dropped, by its runtime or because its destructor panicked.
struct End<F, T>(Arc<FutureTask<F, T>>);

impl<F, T> Drop for End<F, T> {
    fn drop(&mut self) {
        finish(self.0.cell.stop(Err(Error::Cancelled)));
    }
}

impl<F: Send, T: Send> Running for FutureTask<F, T> {
    fn is_told(&self) -> bool {
        self.cell.is_told()
    }

    fn stop_running(&self, why: Error) {
        self.stopped(why);
    }
}

impl<F: Send, T: Send> Pending<T> for FutureTask<F, T> {
    fn look(&self, waiter: &mut dyn FnMut() -> Option<Waiter>) -> Seen<Result<T>> {
        self.cell.look(waiter)
    }

    fn glance(&self) -> Seen<Result<T>> {
        self.cell.glance()
    }

    fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    fn stop(&self, why: Error) {
        self.stopped(why);
    }
}

/// Polls the future, with panics as results.
struct Polled<F> {
    future: Work<F>,
    running: Arc<dyn Running>,
    pool: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _inside = enter(Here::Task(self.pool, self.running.clone()));
        match catch(|| self.future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(Error::Panicked(panic))),
        }
    }
}
