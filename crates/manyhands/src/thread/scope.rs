//! Tasks that borrow: a scope on a pool's threads, which ends after all of its tasks.
//!
//! What makes that sound is in `sys/scoped.rs`. Here is what makes it live: each task is in its
//! scope's own queue, and the pool's executor has a voucher for one of them. A thread of the pool
//! that joins a task which has not begun runs that task itself, and no other; one that comes to the
//! end of the scope runs whatever the scope has left.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::crew::Crew;
use super::current::{self, Running, Seat};
use super::error::Error;
use super::executor::Executor;
use super::handle::Result;
use super::job::Job;
use super::source::Source;
use crate::panic::{Caught, catch, catch_payload, drop_quietly};
use crate::sys::scoped::{Lender, Lent, Tickets, scoped};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs tasks that may borrow what lives for `'scope`; see
/// [`ThreadPool::scope`](super::ThreadPool::scope).
///
/// What lives inside of the callback only cannot be borrowed, since tasks may go on after it:
///
/// ```compile_fail,E0373
/// let pool = manyhands::thread::ThreadPool::builder().build();
/// pool.scope(|scope| {
///     let local = String::from("gone too early");
///     scope.spawn(|| println!("{local}"));
/// })
/// .unwrap();
/// ```
///
/// Nor can the scope be taken out of the callback:
///
/// ```compile_fail,E0521
/// let pool = manyhands::thread::ThreadPool::builder().build();
/// let mut out = None;
/// pool.scope(|scope| out = Some(scope)).unwrap();
/// ```
pub type Scope<'scope, 'env> = Lender<'scope, 'env, Context<'env>>;

/// What belongs to a scope besides its borrows.
pub struct Context<'env> {
    executor: &'env Executor<Crew>,
    waiting: Arc<Waiting>,
}

/// The place of one task until somebody runs or drops it: in the scope's queue, and with its handle.
#[derive(Default)]
struct Place(Mutex<Option<Lent>>);

impl Place {
    fn take(&self) -> Option<Lent> {
        lock(&self.0).take()
    }

    fn is_empty(&self) -> bool {
        lock(&self.0).is_none()
    }
}

/// The tasks of a scope, and how those ended that nobody joined.
struct Waiting {
    /// Places that were emptied by a join stay until a voucher, which each of them has, comes by.
    tasks: Mutex<VecDeque<Arc<Place>>>,
    told: AtomicBool,
    /// The task that opened the scope. It lives at least as long as the scope; a voucher that is
    /// left over must not keep its result.
    outer: Option<Weak<dyn Running>>,
    first_panic: Mutex<Option<Box<dyn Any + Send>>>,
    lost: Mutex<Option<Error>>,
}

impl Waiting {
    fn next(&self) -> Option<Lent> {
        let mut tasks = lock(&self.tasks);
        loop {
            if let Some(task) = tasks.pop_front()?.take() {
                return Some(task);
            }
        }
    }

    fn has_tasks(&self) -> bool {
        let mut tasks = lock(&self.tasks);
        while tasks.front().is_some_and(|place| place.is_empty()) {
            tasks.pop_front();
        }
        !tasks.is_empty()
    }

    /// Drops a task that nobody will run.
    fn lose(&self, task: Option<Lent>, why: Error) {
        if task.is_some() {
            lock(&self.lost).get_or_insert(why);
        }
        // What it captured is a stranger's.
        drop_quietly(task);
    }
}

/// The voucher.
impl Job for Waiting {
    fn run(self: Arc<Self>, source: &mut Source<'_, Crew>, seat: &Seat) {
        if let Some(task) = self.next() {
            seat.set(self.clone());
            if source.worker().is_killed() {
                self.stop_running(Error::Cancelled);
            }
            // Its own panics it has caught.
            drop_quietly(catch(task));
            seat.clear();
        }
    }

    fn withdraw(self: Arc<Self>, why: Error) {
        self.lose(self.next(), why);
    }
}

impl Running for Waiting {
    fn is_told(&self) -> bool {
        let outer = || self.outer.as_ref().and_then(Weak::upgrade);
        self.told.load(Ordering::Acquire) || outer().is_some_and(|task| task.is_told())
    }

    /// The scope waits for its tasks all the same.
    fn stop_running(&self, _why: Error) {
        self.told.store(true, Ordering::Release);
    }
}

/// As `ThreadPool::scope`.
pub(super) fn scope<'env, R>(
    executor: &'env Executor<Crew>,
    callback: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
) -> Result<R> {
    let waiting = Arc::new(Waiting {
        tasks: Mutex::default(),
        told: AtomicBool::new(false),
        outer: current::task().map(|task| Arc::downgrade(&task)),
        first_panic: Mutex::default(),
        lost: Mutex::default(),
    });
    let context = Context {
        executor,
        waiting: waiting.clone(),
    };
    let help = |context: &Context<'env>, tickets: &Tickets| context.help(tickets);
    let result = catch_unwind(AssertUnwindSafe(|| scoped(context, callback, help)));
    let panic = lock(&waiting.first_panic).take();
    let result = match (result, panic) {
        (Ok(result), None) => result,
        (Ok(result), Some(payload)) => {
            // Not while the panic unwinds: a second one from its destructor would abort.
            drop_quietly(result);
            resume_unwind(payload)
        }
        (Err(payload), other) => {
            drop_quietly(other);
            resume_unwind(payload)
        }
    };
    let lost = lock(&waiting.lost).take();
    match lost {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

impl Context<'_> {
    /// At the end of the scope: waits until there are no more tasks; a thread of the pool runs them
    /// meanwhile. It would wait for each of them anyway, so that none of them can keep it longer,
    /// and one of them runs on its stack at a time.
    fn help(&self, tickets: &Tickets) {
        let inside = self.executor.is_inside();
        let waiting = &self.waiting;
        while !tickets.wait(|| inside && waiting.has_tasks()) {
            if let Some(task) = waiting.next() {
                drop_quietly(catch(task));
            }
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Has a thread of the pool run the closure, which may borrow what lives as long as the
    /// scope.
    ///
    /// Dropping the handle lets the task go on. If it panics then, the scope goes on panicking
    /// when all its tasks have ended; if it cannot be run, the scope says why.
    pub fn spawn<F, T>(&'scope self, work: F) -> ScopedHandle<'scope, 'env, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let waiting = &self.context.waiting;
        let cell = Arc::new(ScopedCell {
            state: Mutex::new(State::Running),
        });
        let lent = {
            let end = End {
                cell: cell.clone(),
                waiting: waiting.clone(),
                tickets: self.tickets().clone(),
            };
            self.lend(move || {
                let result = catch_payload(work);
                end.set(result);
            })
        };
        let place = Arc::new(Place(Mutex::new(Some(lent))));
        lock(&waiting.tasks).push_back(place.clone());
        self.tickets().changed();
        let voucher: Arc<dyn Job> = waiting.clone();
        if let Err(rejected) = self.context.executor.execute(voucher) {
            // If another voucher has come for this task, then there is one that has none.
            let task = place.take().or_else(|| waiting.next());
            waiting.lose(task, rejected.why.into());
        }
        ScopedHandle {
            scope: self,
            place,
            cell,
            result: PhantomData,
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("executor", self.context.executor)
            .finish_non_exhaustive()
    }
}

enum State<T> {
    Running,
    Done(T),
    Panicked(Caught),
    /// It was dropped instead of run; the scope knows why.
    Lost,
    /// The handle has the outcome, or is gone: from here on it is the scope's.
    Left,
}

struct ScopedCell<T> {
    state: Mutex<State<T>>,
}

impl<T> ScopedCell<T> {
    fn replace(&self, state: State<T>) -> State<T> {
        std::mem::replace(&mut *lock(&self.state), state)
    }
}

/// Held by a task of a scope until its end.
struct End<T> {
    cell: Arc<ScopedCell<T>>,
    waiting: Arc<Waiting>,
    tickets: Arc<Tickets>,
}

impl<T> End<T> {
    fn set(&self, result: std::result::Result<T, Caught>) {
        let ended = match result {
            Ok(value) => State::Done(value),
            Err(caught) => State::Panicked(caught),
        };
        if let Some(State::Panicked(caught)) = self.put(ended) {
            self.waiting.keep(caught);
        }
    }

    /// Gives the state back if the handle is gone.
    fn put(&self, ended: State<T>) -> Option<State<T>> {
        let mut state = lock(&self.cell.state);
        match &*state {
            State::Running => *state = ended,
            State::Left => return Some(ended),
            // It has ended.
            State::Done(_) | State::Panicked(_) | State::Lost => return None,
        }
        drop(state);
        self.tickets.changed();
        None
    }
}

impl<T> Drop for End<T> {
    /// Of a task that was not run; one that was run has ended.
    fn drop(&mut self) {
        self.put(State::Lost);
    }
}

impl Waiting {
    fn keep(&self, caught: Caught) {
        let mut first = lock(&self.first_panic);
        let spare = match &*first {
            None => {
                *first = Some(caught.payload);
                None
            }
            Some(_) => Some(caught.payload),
        };
        drop(first);
        drop_quietly(spare);
    }
}

/// A task of a scope.
pub struct ScopedHandle<'scope, 'env, T> {
    scope: &'scope Scope<'scope, 'env>,
    place: Arc<Place>,
    cell: Arc<ScopedCell<T>>,
    result: PhantomData<T>,
}

impl<T> ScopedHandle<'_, '_, T> {
    /// Has the task ended?
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(*lock(&self.cell.state), State::Running)
    }

    /// Waits until the task has ended, and gives its result. If the task has not begun, a thread of
    /// the pool that joins it runs it itself; it runs no other task meanwhile.
    ///
    /// # Errors
    /// The task panicked, which then is no matter of the scope's any more; or it could not be run.
    pub fn join(self) -> Result<T> {
        let scope = self.scope;
        if scope.context.executor.is_inside()
            && let Some(task) = self.place.take()
        {
            // Its own panics it has caught.
            drop_quietly(catch(task));
        }
        scope.tickets().wait(|| self.is_done());
        match self.cell.replace(State::Left) {
            State::Done(value) => Ok(value),
            State::Panicked(caught) => {
                drop_quietly(caught.payload);
                Err(Error::Panicked(caught.panic))
            }
            // All tickets are back, so a task that has not ended was lost.
            State::Lost | State::Running | State::Left => {
                let lost = lock(&scope.context.waiting.lost).clone();
                Err(lost.unwrap_or(Error::Cancelled))
            }
        }
    }
}

impl<T> Drop for ScopedHandle<'_, '_, T> {
    fn drop(&mut self) {
        if let State::Panicked(caught) = self.cell.replace(State::Left) {
            self.scope.context.waiting.keep(caught);
        }
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedHandle")
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}
