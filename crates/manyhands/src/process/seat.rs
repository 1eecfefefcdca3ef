//! A worker's seat: what a process needs to take part in a pool, and the thread that ends it
//! when the pool's owner is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags};

use super::lane::Lane;
use super::welcome::{self, Answer, Place};
use crate::arena::{Arena, ArenaConfig, ArenaError, ArenaView, SpanGuard, SpanRef};
use crate::board::state::Owner;
use crate::board::{Board, Kind, WorkerPhase};
use crate::sys::channel::Channel;
use crate::sys::event::{Event, Woken, wait_any};
use crate::sys::forked::ProcessMark;
use crate::sys::pidfd::{self, Process};
use crate::sys::signals::{SignalMask, spawn_without_signals};

/// The worker's side of a pool.
pub struct Seat {
    pub(super) board: Board,
    /// The parent's arena, to read.
    pub(super) inputs: Arc<ArenaView>,
    /// This worker's arena, to write.
    pub(super) outputs: Arena,
    pub(super) doorbells: Vec<Event>,
    pub(super) lanes: Vec<Event>,
    pub(super) mark: ProcessMark,
    control: Channel,
    parent: Process,
    place: Place,
    retiring: AtomicBool,
}

impl Seat {
    /// Takes the seat that the parent offers through `control`, and has the kernel end this
    /// process with the one that started it. Waits until the launcher has told the parent of this
    /// process.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`]: the parent is gone, or does without this process, as the
    /// launcher has reported an error. Anything else: what the parent sent can not be opened.
    pub fn join(control: OwnedFd) -> io::Result<Arc<Self>> {
        let control = Channel::from(control);
        let welcome = welcome::receive(&control)?;
        pidfd::die_with_parent()?;
        let parent = Process::from(welcome.parent);
        welcome::await_admission(&control, &parent)?;
        let config = ArenaConfig::default();
        Ok(Arc::new(Self {
            board: Board::open(welcome.board)?,
            inputs: Arc::new(ArenaView::open(welcome.inputs).map_err(io::Error::other)?),
            outputs: Arena::open_writer(welcome.outputs, config).map_err(io::Error::other)?,
            doorbells: welcome.doorbells.into_iter().map(Event::from).collect(),
            lanes: welcome.lanes.into_iter().map(Event::from).collect(),
            mark: ProcessMark::current(),
            control,
            parent,
            place: welcome.place,
            retiring: AtomicBool::new(false),
        }))
    }

    /// Which place of the worker table this is.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.place.worker
    }

    /// What lies in the parent's arena, to be read in place.
    ///
    /// # Errors
    /// There is no such payload.
    pub fn look_up(&self, span: SpanRef) -> Result<SpanGuard, ArenaError> {
        self.inputs.peek(span)
    }

    pub(super) fn owner(&self, kind: Kind) -> Owner {
        Owner {
            lane: kind.lane(self.place.worker) as u16,
            epoch: self.place.epoch,
        }
    }

    /// The lane for one kind of task; one thread at a time may hold it.
    #[must_use]
    pub fn lane(self: &Arc<Self>, kind: Kind) -> Lane {
        Lane::new(self.clone(), kind)
    }

    /// Tells the parent that this worker takes tasks.
    ///
    /// # Errors
    /// The parent is gone.
    pub fn ready(&self) -> io::Result<()> {
        // It must not look as if nobody came while it is no more counted as starting. The
        // coroutines' lane is the guard's already.
        self.board.idle(Kind::Function).set_searching(self.worker());
        self.set_phase(WorkerPhase::Ready);
        Answer::Ready.send(&self.control)
    }

    /// Tells the parent that the initializer failed, with the runner's own account of it, cut
    /// off at 64 KiB. The process should exit then.
    ///
    /// # Errors
    /// The parent is gone.
    pub fn initializer_failed(&self, error: &[u8]) -> io::Result<()> {
        Answer::InitializerFailed(error.into()).send(&self.control)
    }

    /// This worker takes no more tasks and will exit: no accident.
    pub fn retire(&self) {
        self.set_phase(WorkerPhase::Retiring);
        self.retiring.store(true, Ordering::SeqCst);
        for kind in Kind::ALL {
            self.lanes[kind.lane(self.place.worker)].set();
        }
    }

    fn set_phase(&self, phase: WorkerPhase) {
        self.board
            .worker(self.place.worker)
            .phase
            .store(phase as u32, Ordering::Release);
    }

    /// Is this worker to end?
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.board.closing().load(Ordering::SeqCst) != 0 || self.retiring.load(Ordering::SeqCst)
    }

    /// Starts the guard: a thread that no lock of the program can hold up. It kills this process
    /// when the pool's owner is gone, however that ended; and it calls `first_coroutine` once,
    /// when there is one to run, so that a worker starts its event loop only when it needs one.
    ///
    /// # Errors
    /// No thread is left.
    pub fn guard(
        self: &Arc<Self>,
        first_coroutine: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let seat = self.clone();
        // What a coroutine starts must hear of signals, although the guard does not.
        let signals = SignalMask::current();
        let mut lane = self.lane(Kind::Coroutine);
        // As in `ready`.
        self.board
            .idle(Kind::Coroutine)
            .set_searching(self.worker());
        spawn_without_signals("manyhands-guard".into(), move || {
            if seat.watch_parent(Some(&mut lane)) {
                if seat.is_closing() {
                    // Nobody waits for this lane: an event loop that starts only to end would
                    // keep the process for as long as that takes.
                    lane.busy();
                    drop(lane);
                    seat.watch_parent(None);
                    return;
                }
                drop(lane);
                // It may wait for what the program holds, which this thread must not. Without a
                // thread for it the coroutines would wait for ever: better a worker that died.
                let name = String::from("manyhands-first");
                if thread::Builder::new()
                    .name(name)
                    .spawn(move || {
                        signals.apply();
                        first_coroutine();
                    })
                    .is_err()
                {
                    pidfd::kill_self();
                }
                seat.watch_parent(None);
            }
        })?;
        Ok(())
    }

    /// Sleeps until the parent is gone, or, given the coroutines' lane, until that has work.
    fn watch_parent(&self, mut lane: Option<&mut Lane>) -> bool {
        loop {
            if let Some(lane) = &mut lane
                && !lane.rest()
            {
                return true;
            }
            let mut fds = vec![PollFd::new(&self.parent, PollFlags::IN)];
            fds.extend(
                lane.iter()
                    .map(|lane| PollFd::new(lane.event(), PollFlags::IN)),
            );
            match wait_any(&mut fds, None) {
                Ok(Woken::Ready) if !fds[0].revents().is_empty() => pidfd::kill_self(),
                Ok(_) => {}
                // Without the watch this process could outlive its owner.
                Err(_) => pidfd::kill_self(),
            }
            if let Some(lane) = &mut lane {
                lane.woke();
            }
        }
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
