//! How a thread waits for something of a thread pool: asleep, detached, and open to signals.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use manyhands::sys::event::{Event, Woken};
use manyhands::sys::signals;
use manyhands::task::Waiter;
use pyo3::prelude::*;

use crate::interrupts::Interrupts;
use crate::outcome::os_error;

/// Something that ends, and tells those who watch it.
pub(crate) trait Ending: Send + Sync {
    /// Has it ended?
    fn is_done(&self) -> bool;

    /// Has `waiter` woken at the end; false, and nothing is kept, if that has come.
    fn watch(&self, waiter: Arc<dyn Waiter>) -> bool;

    /// Takes it back.
    fn unwatch(&self, waiter: &Arc<dyn Waiter>);
}

/// Where the main thread sleeps; one for a pool, made with it: who has become short of descriptors
/// since can wait nevertheless.
#[derive(Default)]
pub(crate) struct MainBed(Mutex<Option<Bedding>>);

/// What ends the main thread's sleep: what it waits for, and signals.
type Bedding = (Arc<MainEvent>, Arc<Interrupts>);

impl MainBed {
    pub(crate) fn new(py: Python<'_>) -> Self {
        let bed = Self::default();
        // Where there is no descriptor now there may be one when it is needed: the first wait in
        // the main thread tries again, and says so.
        let _later = bed.event(py);
        bed
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bedding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, py: Python<'_>) -> std::io::Result<Bedding> {
        let mut bedding = self.lock();
        if let Some(bedding) = &*bedding {
            return Ok(bedding.clone());
        }
        let fresh = (Arc::new(MainEvent(Event::new()?)), Interrupts::shared(py)?);
        *bedding = Some(fresh.clone());
        Ok(fresh)
    }

    /// Nobody need wait any more: its descriptor is closed.
    pub(crate) fn clear(&self) {
        let bedding = self.lock().take();
        drop(bedding);
    }
}

/// Wakes the main thread, which then looks at what it waits for: one event serves waits within
/// waits (by a signal handler) as well.
pub(crate) struct MainEvent(Event);

impl Waiter for MainEvent {
    fn wake(&self) {
        self.0.set();
    }
}

/// Wakes one thread once.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Waiter for Parker {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

impl Parker {
    /// False when the time is over.
    fn sleep(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken {
            woken = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                None => self
                    .changed
                    .wait(woken)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(woken, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

/// Waits with the interpreter detached; in the main thread, Python's signal handlers run in
/// between. False when the time is over.
pub(crate) fn wait(
    py: Python<'_>,
    what: &dyn Ending,
    main: &MainBed,
    timeout: Option<Duration>,
) -> PyResult<bool> {
    if what.is_done() {
        return Ok(true);
    }
    if timeout.is_some_and(|time| time.is_zero()) {
        return Ok(false);
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if signals::is_main_thread() {
        return wait_in_main(py, what, main, deadline);
    }
    let parker = Arc::<Parker>::default();
    let waiter: Arc<dyn Waiter> = parker.clone();
    if !what.watch(waiter.clone()) {
        return Ok(true);
    }
    if py.detach(|| parker.sleep(deadline)) {
        return Ok(true);
    }
    what.unwatch(&waiter);
    Ok(what.is_done())
}

fn wait_in_main(
    py: Python<'_>,
    what: &dyn Ending,
    main: &MainBed,
    deadline: Option<Instant>,
) -> PyResult<bool> {
    let (event, interrupts) = main.event(py).map_err(os_error)?;
    let waiter: Arc<dyn Waiter> = event.clone();
    if !what.watch(waiter.clone()) {
        return Ok(true);
    }
    let ended = sleep_in_main(py, what, &event, &interrupts, deadline);
    if !matches!(ended, Ok(true)) {
        what.unwatch(&waiter);
    }
    ended
}

fn sleep_in_main(
    py: Python<'_>,
    what: &dyn Ending,
    event: &MainEvent,
    interrupts: &Interrupts,
    deadline: Option<Instant>,
) -> PyResult<bool> {
    loop {
        // Handlers run in here. They may wait by the same event, so that what it said must be looked
        // at after them.
        let listening = interrupts.listen(py)?;
        if what.is_done() {
            return Ok(true);
        }
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let interrupt = listening.as_ref().map(AsFd::as_fd);
        let woken = py.detach(|| match interrupt {
            Some(interrupt) => event.0.wait_or(left, interrupt),
            None => event.0.wait(left),
        });
        if let Some(listening) = listening {
            listening.end(!matches!(woken, Ok(Woken::Ready)));
        }
        if woken.map_err(os_error)? == Woken::Ready {
            event.0.clear();
        }
    }
}
