//! The places for workers: making a process for one, hearing what it says, and, after its end,
//! recovering what it had and filling the place again.
//!
//! Guarantee: every process that was made is reaped, and recovered exactly once, after its exit
//! status is known.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SendError;
use std::time::{Duration, Instant};

use super::failures::Use;
use super::launch::{Child, Request};
use super::notes::{Effects, Life};
use super::shortage::{Shortage, is_shortage};
use super::supervisor::Supervisor;
use super::welcome::{self, Answer, Place};
use crate::arena::{ArenaConfig, ArenaView, create_memfd};
use crate::board::{Kind, WorkerPhase};
use crate::sys::channel::Channel;
use crate::sys::pidfd::Process;
use crate::task::{Broken, Exit};

/// A worker that dies sooner than this after its start, with nothing done, counts towards
/// giving up.
const SOON: Duration = Duration::from_secs(1);

pub(super) enum Worker {
    /// No process, and none is being made.
    Vacant,
    /// The launcher is asked for one.
    Launching,
    /// A process, or a zombie.
    Alive {
        pid: u32,
        process: Process,
        child: Box<dyn Child>,
    },
    /// Exited; the launcher is asked for its status.
    Reaping { pid: u32 },
}

pub(super) struct Seat {
    pub(super) worker: Worker,
    /// Of a process that is known.
    pub(super) control: Option<Channel>,
    pub(super) answered: bool,
    /// It was ended at once, for want of a descriptor to watch it by.
    pub(super) unwatched: bool,
    pub(super) since: Instant,
}

impl Supervisor {
    pub(super) fn request(&mut self, request: Request) {
        // The launcher lives until the sender is dropped, unless it panicked: then no worker
        // can be made or reaped any more.
        if let Err(SendError(request)) = self.requests.send(request) {
            let (Request::Launch { worker, .. } | Request::Reap { worker, .. }) = request;
            self.seats[worker].worker = Worker::Vacant;
            self.give_up(Broken::Start(
                "the thread that starts workers has died".into(),
            ));
        }
    }

    /// Prepares a place and asks for a process.
    pub(super) fn launch(&mut self, worker: usize) -> io::Result<()> {
        let shared = &*self.shared;
        let (control, theirs) = Channel::pair()?;
        let outputs = create_memfd(&ArenaConfig::default())?;
        let view = ArenaView::open(outputs.try_clone()?)?;
        let entry = shared.board.worker(worker);
        let epoch = {
            let mut desk = shared.lock();
            desk.views[worker] = Some(Arc::new(view));
            desk.epochs[worker] = desk.epochs[worker].wrapping_add(1);
            desk.epochs[worker]
        };
        shared.board.doomed(worker).clear();
        entry.epoch.store(u32::from(epoch), Ordering::Relaxed);
        entry.pid.store(0, Ordering::Relaxed);
        entry
            .phase
            .store(WorkerPhase::Starting as u32, Ordering::Release);
        let fixed = [
            shared.board.as_fd(),
            shared.arena.fd(),
            outputs.as_fd(),
            shared.owner.as_fd(),
        ];
        let place = Place {
            worker,
            epoch,
            lanes: shared.lanes.len(),
        };
        welcome::send(&control, place, &fixed, &shared.doorbells, &shared.lanes)?;
        self.seats[worker] = Seat {
            worker: Worker::Launching,
            control: None,
            answered: false,
            unwatched: false,
            since: Instant::now(),
        };
        self.request(Request::Launch {
            worker,
            control,
            theirs: theirs.into(),
        });
        Ok(())
    }

    /// Reads what a worker says.
    pub(super) fn listen(&mut self, worker: usize) {
        let seat = &mut self.seats[worker];
        while let Some(control) = &seat.control {
            match control.receive(false) {
                Ok(Some((message, _))) => match Answer::parse(&message) {
                    Some(Answer::Ready) => {
                        seat.answered = true;
                        seat.since = Instant::now();
                        self.proven = true;
                        self.failures.ready();
                        self.initializer_error = None;
                    }
                    Some(Answer::InitializerFailed(error)) => self.initializer_error = Some(error),
                    None => seat.control = None,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => seat.control = None,
            }
        }
    }

    /// Its process has exited: asks how.
    pub(super) fn reap(&mut self, worker: usize) {
        let seat = &mut self.seats[worker];
        match std::mem::replace(&mut seat.worker, Worker::Vacant) {
            Worker::Alive { pid, child, .. } => {
                seat.worker = Worker::Reaping { pid };
                self.request(Request::Reap { worker, child });
            }
            other => seat.worker = other,
        }
    }

    /// A worker's process has exited and how is known: recovers its tasks, replaces it.
    pub(super) fn bury(&mut self, worker: usize, exit: Exit) {
        let seat = &mut self.seats[worker];
        let Worker::Reaping { pid } = std::mem::replace(&mut seat.worker, Worker::Vacant) else {
            return;
        };
        let (answered, soon) = (seat.answered, seat.since.elapsed() < SOON);
        let unwatched = std::mem::take(&mut seat.unwatched);
        seat.control = None;
        let shared = self.shared.clone();
        let retired = shared.board.phase(worker) == WorkerPhase::Retiring;
        shared.board.worker(worker).pid.store(0, Ordering::Relaxed);
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        let before = desk.outstanding;
        let doomed = desk.is_doomed(worker);
        let fatal = shared.breaks.load(Ordering::SeqCst)
            && desk.life < Life::Stopping
            && desk.scribbled.is_none()
            && !retired
            && !doomed;
        if fatal {
            // What others have ended, and it itself, has its own outcome.
            shared.drain(&mut desk, &mut effects);
            let why = match self.initializer_error.take() {
                Some(error) if !answered => Broken::Initializer(error),
                _ => Broken::Died { pid, exit },
            };
            shared.break_pool(&mut desk, why, &mut effects);
        }
        if desk.life < Life::Stopped
            && desk.scribbled.is_none()
            && !fatal
            && let Err(found) = desk.recover(&shared.board, worker, pid, exit, &mut effects)
        {
            shared.scribbled(&mut desk, found, &mut effects);
        }
        let cost = desk.outstanding < before;
        desk.views[worker] = None;
        // It may have been about to ring the drainer.
        shared.settle_again(&mut desk);
        shared.finish(desk, effects);
        for kind in Kind::ALL {
            if shared.board.submission(kind).len() > 0 {
                self.ring_idle(kind);
            }
        }
        if !self.may_launch() {
            return;
        }
        // Only where it has done its work before is there reason to try it again.
        if !answered
            && !self.proven
            && let Some(error) = self.initializer_error.take()
        {
            return self.give_up(Broken::Initializer(error));
        }
        let progress = self.tasks_ended();
        let useful = cost || doomed || unwatched || progress != self.progress || !soon || retired;
        self.progress = progress;
        let useful = match useful {
            _ if !answered && !doomed && !unwatched => Use::None,
            true => Use::Some,
            false => Use::Ready,
        };
        if let Some(count) = self.failures.ended(useful, exit, Instant::now()) {
            let error = self.initializer_error.take();
            return self.give_up(match error {
                Some(error) => Broken::Initializer(error),
                None => Broken::Start(format!(
                    "{count} workers in a row ended before they were of use; the last one {exit}"
                )),
            });
        }
        if unwatched {
            return self.postpone(worker, "it could not be watched: no descriptor is left");
        }
        if let Some(shortage) = &mut self.shortage {
            // It has left its descriptors, and its memory.
            shortage.look_now();
        }
        if !shared.config.on_demand {
            self.replace(worker);
        }
    }

    pub(super) fn replace(&mut self, worker: usize) {
        if self
            .shortage
            .as_ref()
            .is_some_and(|shortage| !shortage.is_due())
        {
            return self.postponed.push(worker);
        }
        match self.launch(worker) {
            Ok(()) => {}
            // Descriptors on their way are limited, see unix(7). Those of others will arrive.
            Err(error)
                if error.raw_os_error() == Some(libc::ETOOMANYREFS) && self.any_arriving() =>
            {
                self.postponed.push(worker);
            }
            Err(error) => {
                let text = format!("no worker could be started: {error}");
                match error.raw_os_error().is_some_and(is_shortage) && self.proven {
                    true => self.postpone(worker, &text),
                    false => self.give_up(Broken::Start(text)),
                }
            }
        }
    }

    /// The system is short of what a worker needs: the place stays empty for a while. Others go
    /// on; where there is none, and that lasts, callers get an answer.
    pub(super) fn postpone(&mut self, worker: usize, why: &str) {
        let alone = self.all_vacant();
        let shortage = self.shortage.get_or_insert_with(Shortage::new);
        if shortage.goes_on(alone) {
            return self.give_up(Broken::Start(why.to_owned()));
        }
        self.postponed.push(worker);
    }

    /// Is there a worker that has not taken up its descriptors, as far as one knows?
    fn any_arriving(&self) -> bool {
        let arriving = |seat: &Seat| !matches!(seat.worker, Worker::Vacant) && !seat.answered;
        self.seats.iter().any(arriving)
    }

    pub(super) fn launch_postponed(&mut self) {
        let waits = self
            .shortage
            .as_ref()
            .is_some_and(|shortage| !shortage.is_due());
        if !self.postponed.is_empty() && !waits && self.may_launch() {
            for worker in std::mem::take(&mut self.postponed) {
                self.replace(worker);
            }
        }
    }

    /// Tasks that the workers ended so far, as far as the board can be believed.
    fn tasks_ended(&self) -> u64 {
        let board = &self.shared.board;
        let lanes = (0..self.seats.len()).flat_map(|worker| &board.worker(worker).ended);
        lanes.fold(0, |sum, lane| {
            sum.wrapping_add(lane.load(Ordering::Relaxed))
        })
    }

    /// Kills a worker, if its process is known and has not exited.
    pub(super) fn kill_worker(&self, worker: usize) {
        if let Worker::Alive { process, .. } = &self.seats[worker].worker
            && let Err(error) = process.kill()
        {
            unreachable!("SIGKILL to a worker of one's own: {error}");
        }
    }

    pub(super) fn kill_workers(&self) {
        (0..self.seats.len()).for_each(|worker| self.kill_worker(worker));
    }

    pub(super) fn all_vacant(&self) -> bool {
        self.seats
            .iter()
            .all(|seat| matches!(seat.worker, Worker::Vacant))
    }
}
