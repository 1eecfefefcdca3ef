//! The supervisor: one thread of the parent that watches the workers, replaces the dead, drains
//! completions when nobody else does, and ends the pool.
//!
//! Guarantees: it never takes a lock that user code can hold; it sleeps until something
//! happens; every worker that exits is recovered exactly once, after its exit status is known.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::SUPERVISOR_DOORBELL;
use super::desk::Desk;
use super::failures::Failures;
use super::launch::{self, Child, Launcher, NotLaunched, Request, Watched};
use super::notes::{Drainer, Effects, Life};
use super::seats::{Seat, Worker};
use super::shared::{Shared, WATCH};
use super::shortage::Shortage;
use crate::board::{Kind, watch};
use crate::sys::channel::Channel;
use crate::sys::clock;
use crate::sys::event::wait_any;
use crate::sys::signals::spawn_without_signals;
use crate::task::{Broken, Exit};

/// What others tell the supervisor.
pub(super) enum Event {
    Started {
        worker: usize,
        pid: u32,
        process: Watched,
        control: Channel,
        child: Box<dyn Child>,
    },
    NotStarted {
        worker: usize,
        why: NotLaunched,
    },
    Reaped {
        worker: usize,
        exit: Exit,
    },
}

pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) seats: Vec<Seat>,
    pub(super) requests: Sender<Request>,
    pub(super) launcher: Option<JoinHandle<()>>,
    pub(super) failures: Failures,
    /// Tasks ended when the last worker died.
    pub(super) progress: u64,
    pub(super) initializer_error: Option<Box<[u8]>>,
    /// When those that have not ended will be killed.
    pub(super) deadline: Option<Instant>,
    pub(super) killing: bool,
    /// The workers were told to end.
    pub(super) closing: bool,
    /// Places whose worker waits for others to take up their descriptors, or for a shortage to end.
    pub(super) postponed: Vec<usize>,
    /// Some worker of this pool has been ready: what keeps others from starting may pass.
    pub(super) proven: bool,
    pub(super) shortage: Option<Shortage>,
    /// Where each submission ring ended when the watch last looked.
    pub(super) seen: [u64; 2],
}

/// Starts the supervisor and, through it, the workers.
pub(super) fn start(shared: Arc<Shared>, launcher: Box<dyn Launcher>) -> io::Result<()> {
    let (requests, thread) = launch::start(launcher, shared.clone())?;
    let vacant = || Seat {
        worker: Worker::Vacant,
        control: None,
        answered: false,
        unwatched: false,
        since: Instant::now(),
    };
    let mut supervisor = Supervisor {
        seats: (0..shared.config.workers).map(|_| vacant()).collect(),
        requests,
        launcher: Some(thread),
        failures: Failures::new(shared.config.workers),
        progress: 0,
        initializer_error: None,
        deadline: None,
        killing: false,
        closing: false,
        postponed: Vec::new(),
        proven: false,
        shortage: None,
        seen: [0; 2],
        shared,
    };
    // The first tells whether any can be started; what goes wrong with others breaks the pool,
    // and those that were started already are ended and reaped.
    let on_demand = supervisor.shared.config.on_demand;
    let launched = match on_demand {
        true => Ok(()),
        false => supervisor.launch(0),
    };
    match &launched {
        Ok(()) if on_demand => {}
        Ok(()) => (1..supervisor.seats.len()).for_each(|worker| supervisor.replace(worker)),
        Err(error) => supervisor.give_up(Broken::Start(error.to_string())),
    }
    let shared = supervisor.shared.clone();
    spawn_without_signals("manyhands-super".into(), move || {
        let ran = catch_unwind(AssertUnwindSafe(|| supervisor.run()));
        if ran.is_err() {
            // The panic was printed. Nobody watches the workers any more: all that is left is to
            // give every caller an answer.
            let mut effects = Effects::default();
            let mut desk = shared.lock();
            let why = Broken::Start("the supervisor has died, which is a bug".into());
            shared.break_pool(&mut desk, why, &mut effects);
            shared.finish(desk, effects);
            shared.end();
        }
    })?;
    launched
}

impl Supervisor {
    fn run(mut self) {
        loop {
            for event in self.shared.take_events() {
                self.handle(event);
            }
            self.expire();
            self.rebuild_if_due();
            self.launch_postponed();
            if self.stop_if_due() {
                break;
            }
            self.staff();
            self.sleep();
        }
        let Self {
            shared,
            requests,
            launcher,
            ..
        } = self;
        drop(requests);
        if let Some(launcher) = launcher {
            let panicked = launcher.join().is_err();
            debug_assert!(!panicked, "the launcher panicked");
        }
        shared.end();
    }

    /// Waits for the next thing to happen, and does what it calls for.
    fn sleep(&mut self) {
        let shared = self.shared.clone();
        let doorbell = &shared.doorbells[SUPERVISOR_DOORBELL];
        let mut fds = vec![
            PollFd::new(&**doorbell, PollFlags::IN),
            PollFd::new(shared.kick(), PollFlags::IN),
            PollFd::new(&shared.watch_timer, PollFlags::IN),
        ];
        let fixed = fds.len();
        let mut owners = Vec::new();
        for (worker, seat) in self.seats.iter().enumerate() {
            if let Worker::Alive { process, .. } = &seat.worker {
                fds.push(PollFd::new(process, PollFlags::IN));
                owners.push((worker, true));
                if let Some(control) = &seat.control {
                    fds.push(PollFd::new(control, PollFlags::IN));
                    owners.push((worker, false));
                }
            }
        }
        let left = self
            .deadline
            .map(|end| end.saturating_duration_since(Instant::now()));
        let expires = shared.lock().sleep_until();
        let expires = expires.map(|end| Duration::from_nanos(end.saturating_sub(clock::now())));
        // Nothing is tried while the pool ends: then a time that is over must not end the sleep.
        let waits = !self.postponed.is_empty() && self.may_launch();
        let retry = self.shortage.as_ref().filter(|_| waits).map(Shortage::left);
        let left = left.into_iter().chain(expires).chain(retry).min();
        if let Err(error) = wait_any(&mut fds, left) {
            unreachable!("poll on descriptors that are open: {error}");
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        for ((worker, exited), _) in owners
            .iter()
            .zip(&ready[fixed..])
            .filter(|(_, ready)| **ready)
        {
            self.listen(*worker);
            if *exited {
                self.reap(*worker);
            }
        }
        if ready[0] {
            doorbell.clear();
            shared.drain_as_supervisor();
        }
        if ready[2] {
            shared.watch_timer.clear();
            self.watch();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Started {
                worker,
                pid,
                process,
                control,
                child,
            } => {
                self.seats[worker].control = Some(control);
                self.shared
                    .board
                    .worker(worker)
                    .pid
                    .store(pid, Ordering::Relaxed);
                match process {
                    Watched::Held(process) => {
                        self.shortage = None;
                        self.seats[worker].worker = Worker::Alive {
                            pid,
                            process,
                            child,
                        };
                        if self.shared.lock().is_doomed(worker) {
                            self.kill_worker(worker);
                        }
                    }
                    // It has gone already, and its parent has taken note of that.
                    Watched::Gone | Watched::Ended => {
                        let seat = &mut self.seats[worker];
                        seat.worker = Worker::Reaping { pid };
                        seat.unwatched = matches!(process, Watched::Ended);
                        self.request(Request::Reap { worker, child });
                    }
                }
            }
            Event::NotStarted { worker, why } => {
                self.seats[worker].worker = Worker::Vacant;
                if why.short && self.proven {
                    self.postpone(worker, &why.text);
                } else if self.failures.not_started() {
                    self.give_up(Broken::Start(why.text));
                } else if self.may_launch() && !self.shared.config.on_demand {
                    self.replace(worker);
                }
            }
            Event::Reaped { worker, exit } => self.bury(worker, exit),
        }
    }

    pub(super) fn give_up(&self, why: Broken) {
        let mut effects = Effects::default();
        let mut desk = self.shared.lock();
        self.shared.break_pool(&mut desk, why, &mut effects);
        self.shared.finish(desk, effects);
    }

    pub(super) fn ring_idle(&self, kind: Kind) {
        let shared = &self.shared;
        let _roused = shared
            .board
            .idle(kind)
            .ring_all(|worker| shared.ring_lane(kind, worker));
    }

    /// Not while the pool ends, nor while its board cannot be trusted.
    pub(super) fn may_launch(&self) -> bool {
        let desk = self.shared.lock();
        desk.life < Life::Stopping && desk.scribbled.is_none()
    }

    /// A board that was scribbled over is made anew once the workers, who could do it again, are
    /// dead.
    fn rebuild_if_due(&mut self) {
        let shared = self.shared.clone();
        let due = |desk: &Desk| desk.scribbled.is_some() && desk.life < Life::Stopping;
        if !due(&shared.lock()) {
            return;
        }
        self.kill_workers();
        if !self.all_vacant() {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        if due(&desk) {
            shared.hands().tell(0, 0);
            desk.rebuild(&shared.board, &mut effects);
        }
        self.seen = [0; 2];
        shared.settle_again(&mut desk);
        shared.finish(desk, effects);
        if !shared.config.on_demand {
            (0..self.seats.len()).for_each(|worker| self.replace(worker));
        }
    }

    /// Looks at the tasks whose time has come, and kills the workers of those that do not stop.
    fn expire(&mut self) {
        let shared = self.shared.clone();
        let mut desk = shared.lock();
        if !desk.is_overdue() {
            return;
        }
        let mut effects = Effects::default();
        shared.drain(&mut desk, &mut effects);
        let killed = match desk.scribbled {
            None => desk.expire(&shared.board, &mut effects),
            Some(_) => Ok(Vec::new()),
        };
        let killed = killed.unwrap_or_else(|found| {
            shared.scribbled(&mut desk, found, &mut effects);
            Vec::new()
        });
        shared.settle(&mut desk);
        shared.finish(desk, effects);
        for worker in killed {
            self.kill_worker(worker);
        }
    }

    /// The watch fired: does work lie beside idle lanes?
    fn watch(&mut self) {
        let shared = self.shared.clone();
        shared.watch.fired();
        shared.check_board();
        let mut again = false;
        for kind in Kind::ALL {
            let (ring, idle) = (shared.board.submission(kind), shared.board.idle(kind));
            let set = |worker| shared.ring_lane(kind, worker);
            again |= watch::look(&mut self.seen[kind as usize], ring, idle, set);
        }
        // A loop that reads completions may be held up by its own program; the backlog must not
        // wait for it.
        let held_up = {
            let desk = shared.lock();
            matches!(desk.drainer, Drainer::Loop(_)) && desk.backlog() > 0
        };
        if held_up {
            shared.drain_as_supervisor();
        }
        if again || held_up {
            shared.arm_watch(WATCH);
        }
    }

    /// Ends the workers once every task has ended; true when none is left.
    fn stop_if_due(&mut self) -> bool {
        let shared = self.shared.clone();
        {
            let mut desk = shared.lock();
            if desk.life == Life::Draining && desk.outstanding == 0 {
                desk.life = Life::Stopping;
            }
            if desk.life < Life::Stopping {
                return false;
            }
        }
        if !std::mem::replace(&mut self.closing, true) {
            shared.board.closing().store(1, Ordering::SeqCst);
            self.deadline = Instant::now().checked_add(shared.config.grace);
            for lane in &shared.lanes {
                lane.set();
            }
        }
        self.killing |=
            shared.broken.get().is_some() || self.deadline.is_some_and(|end| Instant::now() >= end);
        if self.killing {
            self.deadline = None;
            self.kill_workers();
        }
        self.all_vacant()
    }
}
