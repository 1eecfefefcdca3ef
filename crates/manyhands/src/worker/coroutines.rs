//! The lane for coroutines: a thread with a tokio runtime that runs many at once.
//!
//! Guarantees: at most `concurrency` coroutines are under way; a full lane takes none; a coroutine
//! that is asked to stop is dropped when it next waits; the lane never sleeps while there is
//! something that it could begin.
//!
//! One task of the runtime, [`serve`], owns the lane's comings and goings. It sleeps on the lane's
//! event (new work, or somebody is to stop) and on [`Shared::changed`] (a coroutine has ended).
//! All of it is on one thread, so between two awaits nothing comes in between.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::LocalSet;

use super::Worker;
use super::current;
use super::functions::Known;
use super::report::{Report, no_room};
use crate::board::Kind;
use crate::panic::catch;
use crate::process::{Input, Job, Lane, StopFlag};
use crate::sys::readable::Readable;
use crate::tasks::{Run, Running, Source};

/// Coroutines begun before the others get a turn, at the least.
const BURST: usize = 16;

/// Something that one waits for and another brings about.
#[derive(Default)]
struct Signal {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    fn set(&self) {
        self.set.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Is it set? If not, whoever asks will be woken when it is.
    fn poll(&self, context: &Context<'_>) -> bool {
        if self.set.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        false
    }
}

/// A coroutine under way.
struct UnderWay {
    job: Rc<Job>,
    stop: Rc<Signal>,
}

struct Shared {
    lane: RefCell<Lane>,
    known: RefCell<Known>,
    under_way: RefCell<HashMap<u64, UnderWay>>,
    next_key: Cell<u64>,
    changed: Signal,
}

/// What is to be done after a round of beginning.
enum Next {
    /// Let others run, then go on.
    Turn,
    /// Sleep until something happens.
    Sleep,
    /// Nothing will ever come any more.
    End,
}

/// Runs coroutines until the pool closes or this worker has run its share.
pub(super) fn serve(worker: &Worker) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = LocalSet::new().block_on(&runtime, serve_lane(worker));
    // What tasks left to the runtime's own threads is nobody's affair any more.
    runtime.shutdown_background();
    ended
}

async fn serve_lane(worker: &Worker) -> io::Result<()> {
    let lane = worker.seat.lane(Kind::Coroutine);
    let event = lane.event().as_fd().try_clone_to_owned()?;
    let event = Readable::new(event)?;
    let shared = Rc::new(Shared {
        lane: RefCell::new(lane),
        known: RefCell::default(),
        under_way: RefCell::default(),
        next_key: Cell::new(0),
        changed: Signal::default(),
    });
    loop {
        match shared.fill(worker) {
            Next::Turn => tokio::task::yield_now().await,
            Next::End => return Ok(()),
            Next::Sleep => {
                let rung = poll_fn(|context| {
                    if let Poll::Ready(ready) = event.poll(context) {
                        return Poll::Ready(ready.map(|()| true));
                    }
                    if shared.changed.poll(context) {
                        return Poll::Ready(Ok(false));
                    }
                    Poll::Pending
                });
                if rung.await? {
                    shared.lane.borrow_mut().woke();
                    shared.look_who_is_to_stop();
                }
            }
        }
        shared.changed.set.set(false);
    }
}

impl Shared {
    /// Begins coroutines while there are any and the lane is not full.
    fn fill(self: &Rc<Self>, worker: &Worker) -> Next {
        let share = {
            let lane = self.lane.borrow();
            lane.queued().div_ceil(lane.rivals()).max(BURST)
        };
        for _ in 0..share {
            let under_way = self.under_way.borrow().len();
            let mut lane = self.lane.borrow_mut();
            if under_way >= worker.concurrency {
                // What ends will have this called again; until then nobody need wake this lane.
                lane.busy();
                return Next::Sleep;
            }
            if worker.seat.is_closing() {
                return if under_way == 0 {
                    Next::End
                } else {
                    Next::Sleep
                };
            }
            if let Some(job) = lane.claim() {
                drop(lane);
                self.begin(worker, job);
                continue;
            }
            if under_way == 0
                && let Some(leave) = lane.linger()
            {
                let found = leave.look();
                lane.lingered(found);
                if found {
                    continue;
                }
            }
            if lane.rest() {
                return Next::Sleep;
            }
        }
        Next::Turn
    }

    fn begin(self: &Rc<Self>, worker: &Worker, mut job: Job) {
        worker.count();
        let mut lane = self.lane.borrow_mut();
        let begun = lane
            .start(&mut job)
            .map_err(|error| no_room(&error))
            .and_then(|()| self.coroutine(&lane, &job));
        let running = match begun {
            Ok(running) => running,
            Err(report) => return report.complete(&mut lane, &job),
        };
        let key = self.next_key.replace(self.next_key.get() + 1);
        let (job, stop) = (Rc::new(job), Rc::new(Signal::default()));
        // To be looked at once after the start: it may have been asked before this lane knew it.
        if lane.asked(&job) {
            stop.set();
        }
        let flag = Rc::new(lane.stop_flag(&job));
        let mut under_way = self.under_way.borrow_mut();
        under_way.insert(
            key,
            UnderWay {
                job,
                stop: stop.clone(),
            },
        );
        lane.set_load(under_way.len());
        tokio::task::spawn_local(drive(self.clone(), key, running, stop, flag));
    }

    /// Decodes the input, and makes the coroutine.
    fn coroutine(&self, lane: &Lane, job: &Job) -> Result<Running, Report> {
        let task = self.known.borrow_mut().find(lane, job)?;
        let Run::Coroutine(run) = task.run() else {
            let text = format!("`{}` is no `async fn`", task.name());
            return Err(Report::Unsupported(text));
        };
        let input = lane.input(job).map_err(|error| no_room(&error))?;
        let source = match &input {
            Input::Inline(bytes, len) => Source::Bytes(&bytes[..*len]),
            Input::Span(span) => Source::Span(span),
        };
        match catch(|| run(&source)) {
            Ok(Ok(running)) => Ok(running),
            Ok(Err(failure)) => Err(Report::Failed(failure)),
            Err(panic) => Err(Report::Panicked(panic)),
        }
    }

    /// The lane's event was set: somebody may be asked to stop.
    fn look_who_is_to_stop(&self) {
        let lane = self.lane.borrow();
        for under_way in self.under_way.borrow().values() {
            if lane.asked(&under_way.job) {
                under_way.stop.set();
            }
        }
    }

    /// A coroutine has ended.
    fn end(&self, key: u64, report: &Report) {
        let mut under_way = self.under_way.borrow_mut();
        let mut lane = self.lane.borrow_mut();
        if let Some(ended) = under_way.remove(&key) {
            report.complete(&mut lane, &ended.job);
        }
        lane.set_load(under_way.len());
        self.changed.set();
    }
}

/// Drives one coroutine to its end, or until it is to stop.
async fn drive(
    shared: Rc<Shared>,
    key: u64,
    mut running: Running,
    stop: Rc<Signal>,
    flag: Rc<StopFlag>,
) {
    let ended = poll_fn(|context| {
        if stop.poll(context) {
            return Poll::Ready(Report::Stopped);
        }
        let _running = current::Running::enter(flag.clone());
        match catch(|| running.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(ended)) => Poll::Ready(Report::new(Ok(ended))),
            Err(panic) => Poll::Ready(Report::Panicked(panic)),
        }
    })
    .await;
    // What it holds goes before it counts as ended; a panic of that is the task's own.
    let _running = current::Running::enter(flag);
    let ended = match catch(|| drop(running)) {
        Ok(()) => ended,
        Err(panic) => Report::Panicked(panic),
    };
    shared.end(key, &ended);
}
