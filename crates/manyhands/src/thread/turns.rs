//! Futures that wait for their turn, and which threads begin them.
//!
//! Guarantees: futures are begun in the order in which they were submitted, at most as many at once
//! in each thread as agreed; a thread is started only for a future beside which as many are under
//! way as there are threads, never more than the limit; no future waits while a thread could begin
//! it. The argument is in `README.md`, "Futures". No lock is held while a thread is started, or while
//! a future is ended. What a future is, and what a thread, is the caller's.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// What the caller knows of threads and futures.
pub(super) trait Threads<T> {
    /// Why futures end that are not begun.
    type Error: Clone;
    /// A thread, to be joined.
    type Handle;

    /// Starts the thread of this number, which begins what [`Turns::poll_next`] gives, and ends with
    /// [`Turns::end`].
    ///
    /// # Errors
    /// Nothing was started.
    fn start(&self, lane: usize) -> Result<Self::Handle, Self::Error>;

    /// Ends futures that will not be begun.
    fn lose(&self, futures: VecDeque<T>, why: &Self::Error);
}

/// See the module's documentation.
pub(super) struct Turns<T, S: Threads<T>> {
    most: usize,
    concurrency: usize,
    state: Mutex<State<T, S>>,
    /// A thread has ended, or its start has.
    changed: Condvar,
}

struct State<T, S: Threads<T>> {
    waiting: VecDeque<T>,
    running: HashMap<u64, T>,
    /// Futures that were ever begun.
    begun: u64,
    /// Threads that live or are being started, in the order of their start.
    lanes: BTreeMap<usize, Lane>,
    /// Threads that were ever asked for.
    asked: usize,
    /// Starts that have not come back.
    starting: usize,
    handles: Vec<S::Handle>,
    /// Why no more futures are taken.
    closed: Option<S::Error>,
}

/// One thread.
#[derive(Default)]
struct Lane {
    running: usize,
    /// There while the thread has nothing to begin. Its own, so that nothing of a stranger's is run
    /// where it is cloned or dropped.
    waker: Option<Waker>,
}

impl<T, S: Threads<T>> State<T, S> {
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

    fn one_more(&mut self) -> usize {
        let lane = self.asked;
        self.asked += 1;
        self.starting += 1;
        self.lanes.insert(lane, Lane::default());
        lane
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl<T: Clone, S: Threads<T>> Turns<T, S> {
    /// For at most so many threads, each of which runs so many futures at once.
    pub(super) fn new(most: usize, concurrency: usize) -> Self {
        Self {
            most,
            concurrency,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                running: HashMap::new(),
                begun: 0,
                lanes: BTreeMap::new(),
                asked: 0,
                starting: 0,
                handles: Vec::new(),
                closed: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the future begun when its turn comes.
    ///
    /// # Errors
    /// No more are taken, or there is no thread and none can be started.
    pub(super) fn submit(&self, future: T, threads: &S) -> Result<(), S::Error> {
        let mut state = self.lock();
        while state.closed.is_none() && state.lanes.is_empty() {
            // The first thread has to be there first, so that its error is this future's.
            let lane = state.one_more();
            drop(state);
            self.start(lane, threads)?;
            state = self.lock();
        }
        if let Some(why) = &state.closed {
            let why = why.clone();
            drop(state);
            return Err(why);
        }
        state.waiting.push_back(future);
        let wakers = state.for_one_more(self.concurrency);
        let count = state.lanes.len();
        let grows = count < self.most && state.waiting.len() + state.running.len() > count;
        let lane = grows.then(|| state.one_more());
        drop(state);
        wake_all(wakers);
        if let Some(lane) = lane {
            // Without it, the others go on with all of them.
            drop(self.start(lane, threads));
        }
        Ok(())
    }

    /// Starts the thread of a lane that is counted already.
    fn start(&self, lane: usize, threads: &S) -> Result<(), S::Error> {
        let started = threads.start(lane);
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
                self.end(lane, &error, threads);
                Err(error)
            }
        };
        self.changed.notify_all();
        started
    }

    /// The next future for a thread to begin, and its number, which goes back by
    /// [`ended`](Self::ended); `None` when the thread is to end. While there is nothing, `waker` is
    /// kept.
    pub(super) fn poll_next(&self, lane: usize, waker: &Waker) -> Poll<Option<(T, u64)>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(me) = state.lanes.get_mut(&lane) else {
            return Poll::Ready(None);
        };
        if me.running < self.concurrency
            && let Some(future) = state.waiting.pop_front()
        {
            me.running += 1;
            let number = state.begun;
            state.begun += 1;
            state.running.insert(number, future.clone());
            return Poll::Ready(Some((future, number)));
        }
        if state.closed.is_some() && state.waiting.is_empty() && me.running == 0 {
            return Poll::Ready(None);
        }
        // Under the lock: whoever adds a future afterwards finds it.
        me.waker = Some(waker.clone());
        Poll::Pending
    }

    /// A future that was begun has ended; gives it back, unlocked.
    pub(super) fn ended(&self, lane: usize, number: u64) -> (Option<T>, Option<Waker>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let future = state.running.remove(&number);
        let wanted = !state.waiting.is_empty() || state.closed.is_some();
        let waker = state.lanes.get_mut(&lane).and_then(|lane| {
            lane.running -= 1;
            lane.waker.take_if(|_| wanted)
        });
        (future, waker)
    }

    /// A thread is no more, or was not started. What counted on it alone ends with `why`.
    pub(super) fn end(&self, lane: usize, why: &S::Error, threads: &S) {
        let mut state = self.lock();
        state.lanes.remove(&lane);
        let lost = if state.lanes.is_empty() {
            mem::take(&mut state.waiting)
        } else {
            VecDeque::new()
        };
        drop(state);
        threads.lose(lost, why);
        self.changed.notify_all();
    }

    /// Takes no more, for this reason unless there is one.
    pub(super) fn close(&self, why: S::Error) {
        let mut state = self.lock();
        state.closed.get_or_insert(why);
        let wakers = state.all();
        drop(state);
        wake_all(wakers);
    }

    /// Takes no more, and ends those that have not begun.
    pub(super) fn fail(&self, why: &S::Error, threads: &S) {
        let mut state = self.lock();
        state.closed.get_or_insert(why.clone());
        let lost = mem::take(&mut state.waiting);
        let wakers = state.all();
        drop(state);
        threads.lose(lost, why);
        wake_all(wakers);
    }

    /// Those that have begun.
    pub(super) fn running(&self) -> Vec<T> {
        self.lock().running.values().cloned().collect()
    }

    /// Waits until no thread is left, or is being started; gives them to be joined.
    pub(super) fn wait(&self) -> Vec<S::Handle> {
        let mut state = self.lock();
        while !state.lanes.is_empty() || state.starting > 0 {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        mem::take(&mut state.handles)
    }

    /// How many have not ended.
    pub(super) fn alive(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.running.len()
    }
}
