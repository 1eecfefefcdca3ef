//! The threads that run a pool's futures, each with a tokio runtime of its own.
//!
//! Guarantees: futures are begun in the order in which they were submitted, at most as many at once
//! in each thread as agreed; a thread is started only for a future beside which as many are under
//! way as there are threads, never more than the limit; no future waits while a thread could begin
//! it. No lock is held while a thread is started, or while anything of a future's is run or dropped.
//!
//! A runtime with several threads, tokio's own, panics or waits for ever where the system gives too
//! few of them. Here a thread that cannot be started is an error, or the others go on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::{io, mem, thread};

use tokio::runtime::{Builder, Runtime};

use super::crew::{Crew, Initializer};
use super::current::{Here, Running, enter};
use super::error::Error;
use super::executor::Shared;
use crate::panic::{catch, drop_quietly};
use crate::sys::naming::without_nul;

/// A future that waits for its turn.
pub(super) trait Turn: Running {
    /// Called in a thread's runtime; whoever has the place runs until it is dropped.
    fn begin(self: Arc<Self>, place: Place);
}

/// How the threads are to be.
pub(super) struct Plan {
    pub(super) most: usize,
    /// Futures that run at once in each.
    pub(super) concurrency: usize,
    pub(super) name: String,
    pub(super) initializer: Option<Initializer>,
}

/// See the module's documentation.
pub(super) struct Lanes {
    plan: Plan,
    /// What the pool is told apart by; and what runs its closures, which breaks if an initializer
    /// fails here.
    pool: OnceLock<(usize, Weak<Shared<Crew>>)>,
    state: Mutex<State>,
    /// A thread has ended, or its start has.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<dyn Turn>>,
    running: HashMap<u64, Arc<dyn Running>>,
    /// Futures that were ever begun.
    begun: u64,
    /// Threads that live or are being started, in the order of their start.
    lanes: BTreeMap<usize, Lane>,
    /// Threads that were ever asked for.
    asked: usize,
    /// Starts that have not come back.
    starting: usize,
    handles: Vec<thread::JoinHandle<()>>,
    /// Why no more futures are taken.
    closed: Option<Error>,
}

/// One thread.
#[derive(Default)]
struct Lane {
    running: usize,
    /// There while the thread has nothing to begin; tokio's, so that nothing of a stranger's is run
    /// where it is cloned or dropped.
    waker: Option<Waker>,
}

impl State {
    /// Whom to wake for a future that was just added: one that runs nothing, since it comes at once;
    /// otherwise all that have room, as any of them may be in the middle of something long.
    fn for_one_more(&mut self, concurrency: usize) -> Vec<Waker> {
        let mut lanes = self.lanes.values_mut();
        if let Some(idle) = lanes.find(|lane| lane.running == 0 && lane.waker.is_some()) {
            return idle.waker.take().into_iter().collect();
        }
        let lanes = self.lanes.values_mut();
        let with_room = lanes.filter(|lane| lane.running < concurrency);
        with_room.filter_map(|lane| lane.waker.take()).collect()
    }

    fn all(&mut self) -> Vec<Waker> {
        let lanes = self.lanes.values_mut();
        lanes.filter_map(|lane| lane.waker.take()).collect()
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// Ends futures that will not be begun.
fn lose(tasks: VecDeque<Arc<dyn Turn>>, why: &Error) {
    for task in tasks {
        drop_quietly(catch(move || task.stop_running(why.clone())));
    }
}

impl Lanes {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            plan,
            pool: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Says whose threads they are, before there is one.
    pub(super) fn link(&self, pool: usize, closures: Weak<Shared<Crew>>) {
        let known = self.pool.set((pool, closures));
        debug_assert!(known.is_ok(), "a pool is made once");
    }

    /// What the pool is told apart by.
    fn pool(&self) -> usize {
        self.pool.get().map_or(0, |(pool, _)| *pool)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the future begun when its turn comes.
    ///
    /// # Errors
    /// No more are taken, or there is no thread and none can be started.
    pub(super) fn submit(self: &Arc<Self>, task: Arc<dyn Turn>) -> Result<(), Error> {
        let mut state = self.lock();
        while state.closed.is_none() && state.lanes.is_empty() {
            // The first thread has to be there first, so that its error is this future's.
            let lane = self.one_more(&mut state);
            drop(state);
            self.start(lane)?;
            state = self.lock();
        }
        if let Some(why) = &state.closed {
            let why = why.clone();
            drop(state);
            return Err(why);
        }
        state.waiting.push_back(task);
        let wakers = state.for_one_more(self.plan.concurrency);
        let threads = state.lanes.len();
        let grows = threads < self.plan.most && state.waiting.len() + state.running.len() > threads;
        let lane = grows.then(|| self.one_more(&mut state));
        drop(state);
        wake_all(wakers);
        if let Some(lane) = lane {
            // Without it, the others go on with all of them.
            drop(self.start(lane));
        }
        Ok(())
    }

    fn one_more(&self, state: &mut State) -> usize {
        let lane = state.asked;
        state.asked += 1;
        state.starting += 1;
        state.lanes.insert(lane, Lane::default());
        lane
    }

    /// Starts the thread of a lane that is counted already.
    fn start(self: &Arc<Self>, lane: usize) -> Result<(), Error> {
        let started = self.try_start(lane);
        let mut state = self.lock();
        state.starting -= 1;
        let started = match started {
            Ok(handle) => {
                state.handles.push(handle);
                drop(state);
                Ok(())
            }
            Err(error) => {
                drop(state);
                let error = Error::from(error);
                self.end(lane, &error);
                Err(error)
            }
        };
        self.changed.notify_all();
        started
    }

    fn try_start(self: &Arc<Self>, lane: usize) -> io::Result<thread::JoinHandle<()>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let name = format!("{}-async-{lane}", without_nul(&self.plan.name));
        let lanes = self.clone();
        thread::Builder::new()
            .name(name)
            .spawn(move || lanes.run(lane, runtime))
    }

    /// The life of a thread.
    fn run(self: Arc<Self>, lane: usize, runtime: Runtime) {
        let _inside = enter(Here::Lane(self.pool()));
        let lived = catch(|| {
            if let Some(initializer) = &self.plan.initializer {
                initializer();
            }
            // Panics of futures are caught where they are polled.
            runtime.block_on(self.serve(lane));
        });
        if let Err(panic) = lived {
            self.fail(&Error::Initializer(panic.clone()));
            if let Some(closures) = self.pool.get().and_then(|(_, it)| it.upgrade()) {
                closures.fail(panic);
            }
        }
        // What futures have left to the runtime ends here, before the thread counts as gone.
        drop_quietly(runtime);
        self.end(lane, &Error::ShutDown);
    }

    async fn serve(self: &Arc<Self>, lane: usize) {
        while let Some((task, place)) = poll_fn(|context| self.poll_next(lane, context)).await {
            task.begin(place);
            // It has its turn first: what computes without a pause is not piled up here while
            // other threads could begin it.
            tokio::task::yield_now().await;
        }
    }

    /// The next future to begin; `None` when the thread is to end.
    fn poll_next(
        self: &Arc<Self>,
        lane: usize,
        context: &Context<'_>,
    ) -> Poll<Option<(Arc<dyn Turn>, Place)>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(me) = state.lanes.get_mut(&lane) else {
            return Poll::Ready(None);
        };
        if me.running < self.plan.concurrency
            && let Some(task) = state.waiting.pop_front()
        {
            me.running += 1;
            let number = state.begun;
            state.begun += 1;
            state.running.insert(number, task.clone());
            drop(guard);
            let place = Place {
                lanes: self.clone(),
                lane,
                number,
            };
            return Poll::Ready(Some((task, place)));
        }
        if state.closed.is_some() && state.waiting.is_empty() && me.running == 0 {
            return Poll::Ready(None);
        }
        // Under the lock: whoever adds a future afterwards finds it.
        me.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// A thread is no more, or was not started. What counted on it alone ends with `why`.
    fn end(&self, lane: usize, why: &Error) {
        let mut state = self.lock();
        state.lanes.remove(&lane);
        let lost = if state.lanes.is_empty() {
            mem::take(&mut state.waiting)
        } else {
            VecDeque::new()
        };
        drop(state);
        lose(lost, why);
        self.changed.notify_all();
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed.get_or_insert(Error::ShutDown);
        let wakers = state.all();
        drop(state);
        wake_all(wakers);
    }

    /// Takes no more, and ends those that have not begun.
    pub(super) fn fail(&self, why: &Error) {
        let mut state = self.lock();
        state.closed.get_or_insert(why.clone());
        let lost = mem::take(&mut state.waiting);
        let wakers = state.all();
        drop(state);
        lose(lost, why);
        wake_all(wakers);
    }

    /// Takes no more, and stops those that there are.
    pub(super) fn kill(&self) {
        self.close();
        self.fail(&Error::Cancelled);
        let running: Vec<_> = self.lock().running.values().cloned().collect();
        for task in running {
            drop_quietly(catch(move || task.stop_running(Error::Cancelled)));
        }
    }

    /// Waits until all have ended, and for the threads.
    pub(super) fn join(&self) {
        let mut state = self.lock();
        while !state.lanes.is_empty() || state.starting > 0 {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let handles = mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // What it could panic with has been caught inside of it.
            drop_quietly(handle.join());
        }
    }

    /// How many have not ended.
    pub(super) fn alive(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.running.len()
    }
}

/// Counts a future as running, in some thread.
pub(super) struct Place {
    lanes: Arc<Lanes>,
    lane: usize,
    number: u64,
}

impl Place {
    /// What the pool is told apart by.
    pub(super) fn pool(&self) -> usize {
        self.lanes.pool()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guard = self.lanes.lock();
        let state = &mut *guard;
        let task = state.running.remove(&self.number);
        let wanted = !state.waiting.is_empty() || state.closed.is_some();
        let waker = state.lanes.get_mut(&self.lane).and_then(|lane| {
            lane.running -= 1;
            lane.waker.take_if(|_| wanted)
        });
        drop(guard);
        // It may be the last that knows the future's result.
        drop_quietly(task);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
