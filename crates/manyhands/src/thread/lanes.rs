//! The threads that run a pool's futures, each with a tokio runtime of its own.
//!
//! Guarantees: no lock is held while anything of a future's is run or dropped; a thread that an
//! initializer fails in breaks the pool. Who begins what, and when a thread is started, is in
//! `turns.rs`.
//!
//! A runtime with several threads, tokio's own, panics or waits for ever where the system gives too
//! few of them. Here a thread that cannot be started is an error, or the others go on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock, Weak};
use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

use super::crew::{Crew, Initializer};
use super::current::{Here, Running, enter};
use super::error::Error;
use super::executor::Shared;
use super::turns::{Threads, Turns};
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
    turns: Turns<Arc<dyn Turn>, Starter>,
}

/// Starts threads for these lanes.
struct Starter(Arc<Lanes>);

impl Threads<Arc<dyn Turn>> for Starter {
    type Error = Error;
    type Handle = thread::JoinHandle<()>;

    fn start(&self, lane: usize) -> Result<thread::JoinHandle<()>, Error> {
        Ok(self.0.try_start(lane)?)
    }

    fn lose(&self, futures: VecDeque<Arc<dyn Turn>>, why: &Error) {
        for future in futures {
            drop_quietly(catch(move || future.stop_running(why.clone())));
        }
    }
}

impl Lanes {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            turns: Turns::new(plan.most, plan.concurrency),
            plan,
            pool: OnceLock::new(),
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

    fn starter(self: &Arc<Self>) -> Starter {
        Starter(self.clone())
    }

    /// Has the future begun when its turn comes.
    ///
    /// # Errors
    /// No more are taken, or there is no thread and none can be started.
    pub(super) fn submit(self: &Arc<Self>, task: Arc<dyn Turn>) -> Result<(), Error> {
        self.turns.submit(task, &self.starter())
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
        self.turns.end(lane, &Error::ShutDown, &self.starter());
    }

    async fn serve(self: &Arc<Self>, lane: usize) {
        // The waker is tokio's.
        let next = || poll_fn(|context| self.turns.poll_next(lane, context.waker()));
        while let Some((task, number)) = next().await {
            let lanes = self.clone();
            task.begin(Place {
                lanes,
                lane,
                number,
            });
            // It has its turn first: what computes without a pause is not piled up here while
            // other threads could begin it.
            tokio::task::yield_now().await;
        }
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.turns.close(Error::ShutDown);
    }

    /// Takes no more, and ends those that have not begun.
    pub(super) fn fail(self: &Arc<Self>, why: &Error) {
        self.turns.fail(why, &self.starter());
    }

    /// Takes no more, and stops those that there are.
    pub(super) fn kill(self: &Arc<Self>) {
        self.close();
        self.fail(&Error::Cancelled);
        for task in self.turns.running() {
            drop_quietly(catch(move || task.stop_running(Error::Cancelled)));
        }
    }

    /// Waits until all have ended, and for the threads.
    pub(super) fn join(&self) {
        for handle in self.turns.wait() {
            // What it could panic with has been caught inside of it.
            drop_quietly(handle.join());
        }
    }

    /// How many have not ended.
    pub(super) fn alive(&self) -> usize {
        self.turns.alive()
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
        let (task, waker) = self.lanes.turns.ended(self.lane, self.number);
        // It may be the last that knows the future's result.
        drop_quietly(task);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
