//! The threads of a pool that have not come to their end, and those of all pools.
//!
//! The interpreter kills, or leaves hanging, a thread that asks for its lock while it finalizes
//! (PEP 788). So before it does, all pools are closed and their threads waited for, as the
//! standard library's executor does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use manyhands::sys::forked::ProcessMark;
use manyhands::task::Waiter;
use pyo3::prelude::*;

use super::shared::Threads;
use super::waiting::{self, Ending, MainBed};

/// The interpreter is ending.
static INTERPRETER_ENDS: AtomicBool = AtomicBool::new(false);

/// Those of all pools.
static ALL: Mutex<Vec<(Weak<Threads>, Weak<Alive>)>> = Mutex::new(Vec::new());

#[derive(Default)]
struct State {
    count: usize,
    closed: bool,
    waiters: Vec<Arc<dyn Waiter>>,
}

/// Counts a pool's threads, from before their start until they have nothing more to do.
pub(crate) struct Alive {
    state: Mutex<State>,
    mark: ProcessMark,
}

impl Alive {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            mark: ProcessMark::current(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the calling process have these threads? A forked child has none of them.
    pub(crate) fn is_ours(&self) -> bool {
        self.mark.is_current()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    /// One more; to be given to the thread.
    pub(crate) fn one_more(self: &Arc<Self>) -> OneMore {
        self.lock().count += 1;
        OneMore(self.clone())
    }

    /// The pool takes no more tasks: once no thread is left, none will ever be.
    pub(crate) fn close(&self) {
        let waiters = {
            let mut state = self.lock();
            state.closed = true;
            state.ended()
        };
        wake(waiters);
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.closed && self.count == 0
    }

    fn ended(&mut self) -> Vec<Arc<dyn Waiter>> {
        match self.is_done() {
            true => std::mem::take(&mut self.waiters),
            false => Vec::new(),
        }
    }
}

fn wake(waiters: Vec<Arc<dyn Waiter>>) {
    for waiter in waiters {
        waiter.wake();
    }
}

impl Ending for Alive {
    fn is_done(&self) -> bool {
        self.lock().is_done()
    }

    fn watch(&self, waiter: Arc<dyn Waiter>) -> bool {
        let mut state = self.lock();
        if !state.is_done() {
            state.waiters.push(waiter);
            return true;
        }
        false
    }

    fn unwatch(&self, waiter: &Arc<dyn Waiter>) {
        let mut state = self.lock();
        if let Some(at) = position(&state.waiters, waiter) {
            state.waiters.swap_remove(at);
        }
    }
}

/// Where a waiter is among others. By its address: the same one may be there twice, for two waits,
/// and either place will do.
pub(crate) fn position(waiters: &[Arc<dyn Waiter>], waiter: &Arc<dyn Waiter>) -> Option<usize> {
    let wanted = Arc::as_ptr(waiter).cast::<()>();
    let at = |known: &Arc<dyn Waiter>| Arc::as_ptr(known).cast::<()>() == wanted;
    waiters.iter().position(at)
}

/// A thread that is counted. To be dropped with the interpreter attached.
pub(crate) struct OneMore(Arc<Alive>);

impl OneMore {
    pub(crate) fn another(&self) -> Self {
        self.0.one_more()
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        let waiters = {
            let mut state = self.0.lock();
            state.count -= 1;
            state.ended()
        };
        wake(waiters);
    }
}

/// Remembers a pool until it has gone.
pub(crate) fn remember(threads: &Arc<Threads>, alive: &Arc<Alive>) {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, alive)| alive.strong_count() > 0);
    all.push((Arc::downgrade(threads), Arc::downgrade(alive)));
}

/// Has [`end_all`] been called?
pub(crate) fn interpreter_ends() -> bool {
    INTERPRETER_ENDS.load(Ordering::Acquire)
}

/// The interpreter is ending: no pool takes tasks any more. Waits until all threads have done what
/// they have to do.
pub(crate) fn end_all(py: Python<'_>) -> PyResult<()> {
    INTERPRETER_ENDS.store(true, Ordering::Release);
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    for threads in all.iter().filter_map(|(threads, _)| threads.upgrade()) {
        if threads.is_ours() {
            threads.close();
        }
    }
    let spare = MainBed::default();
    for (threads, alive) in &all {
        let Some(alive) = alive.upgrade().filter(|alive| alive.is_ours()) else {
            continue;
        };
        // The pool's own, as long as there is one: it needs no descriptor.
        let threads = threads.upgrade();
        let main = threads.as_ref().map_or(&spare, |threads| &threads.main);
        waiting::wait(py, &*alive, main, None)?;
    }
    Ok(())
}
