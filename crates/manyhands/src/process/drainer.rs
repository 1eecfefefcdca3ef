//! Who reads completions: one drainer at a time, and how the role goes from one to another.
//!
//! Guarantees, at every moment at which the desk is unlocked: if anybody needs completions, a
//! drainer is armed for them on the board, and a drainer that slept through an arming has been
//! rung. A drainer that leaves, for whatever reason, hands over before it unlocks.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};
use std::{hint, io, thread};

use super::desk::Desk;
use super::notes::{Drainer, Effects, Life, Scribbled};
use super::shared::{Shared, WATCH};
use super::waiters::{LoopDoor, ThreadWaiter, Waited};
use super::{FIRST_LOOP_DOORBELL, SUPERVISOR_DOORBELL, THREADS_DOORBELL};
use crate::board::waiting::{Mode, Waiting};
use crate::sys::event::{Event, Woken};
use crate::task::{Task, Waiter};

/// How long a thread looks for a completion before it sleeps, where cores allow it: about what a
/// sleep and a wake-up cost across cores.
const SPIN: Duration = Duration::from_micros(50);

impl Shared {
    /// Asks the lanes to ring `doorbell`; true when nothing lies in the rings, so that one may
    /// sleep.
    fn arm(&self, desk: &Desk, doorbell: usize, mode: Mode) -> bool {
        Waiting(self.board.waiting()).arm(doorbell, mode);
        !desk.has_completions(&self.board)
    }

    /// Gives the role to whoever should have it, unless a thread does. To be called, under the
    /// lock, after anything that the choice depends on has changed.
    pub(super) fn settle(&self, desk: &mut Desk) {
        if let Drainer::Thread(_) = desk.drainer {
            return;
        }
        let mut waiting = desk
            .loops
            .iter()
            .filter(|door| door.waits.load(Ordering::Relaxed) > 0);
        let (first, more) = (waiting.next().cloned(), waiting.next().is_some());
        let (next, doorbell, mode) = match first {
            _ if desk.watchers > 0 => (Drainer::Supervisor, SUPERVISOR_DOORBELL, Mode::Eager),
            Some(door) if !more && door.doorbell.is_some() => {
                let doorbell = door.doorbell.unwrap_or(SUPERVISOR_DOORBELL);
                (Drainer::Loop(door), doorbell, Mode::Eager)
            }
            Some(_) => (Drainer::Supervisor, SUPERVISOR_DOORBELL, Mode::Eager),
            None if desk.backlog() > 0 || desk.retryable > 0 || desk.life >= Life::Draining => {
                (Drainer::Supervisor, SUPERVISOR_DOORBELL, Mode::Lazy)
            }
            None => {
                if !matches!(desk.drainer, Drainer::Nobody) {
                    desk.drainer = Drainer::Nobody;
                    Waiting(self.board.waiting()).disarm();
                }
                return;
            }
        };
        if matches!(next, Drainer::Loop(_)) && desk.backlog() > 0 {
            // The loop may be held up by its own program; what waits must not wait for that.
            self.arm_watch(WATCH);
        }
        let same = match (&desk.drainer, &next) {
            (Drainer::Loop(now), Drainer::Loop(next)) => Arc::ptr_eq(now, next),
            (Drainer::Supervisor, Drainer::Supervisor) => desk.mode == mode,
            _ => false,
        };
        if same {
            return;
        }
        desk.drainer = next;
        desk.mode = mode;
        if !self.arm(desk, doorbell, mode) {
            self.doorbells[doorbell].set();
        }
    }

    /// Rings the drainer, whoever it is: a wake-up meant for it may have died with a worker.
    pub(super) fn settle_again(&self, desk: &mut Desk) {
        match &desk.drainer {
            Drainer::Nobody => {}
            Drainer::Thread(thread) => thread.ring(),
            Drainer::Loop(door) => door.ring(),
            Drainer::Supervisor => self.doorbells[SUPERVISOR_DOORBELL].set(),
        }
        self.settle(desk);
    }

    /// The drainer that was rung looks, and arms itself again; `doorbell` is its own.
    fn drain_and_rearm(&self, desk: &mut Desk, doorbell: usize, effects: &mut Effects) {
        // A few rounds, while others wait for the desk; where completions keep coming, it is rung
        // again at once.
        for _ in 0..4 {
            self.drain(desk, effects);
            if self.arm(desk, doorbell, desk.mode) {
                return;
            }
        }
        self.doorbells[doorbell].set();
    }

    /// Reads what is there; a scribbled board breaks the pool.
    pub(super) fn drain(&self, desk: &mut Desk, effects: &mut Effects) {
        if let Err(scribbled) = desk.drain(&self.board, effects) {
            self.scribbled(desk, scribbled, effects);
        }
    }

    /// Looks whether the board is still as the rules have it.
    pub(super) fn check_board(&self) {
        let mut effects = Effects::default();
        let mut desk = self.lock();
        self.check(&mut desk, &mut effects);
        self.finish(desk, effects);
    }

    fn check(&self, desk: &mut Desk, effects: &mut Effects) {
        let found = desk.check(&self.board).and_then(|()| {
            let alike = desk.scribbled.is_some() || self.board.hands().are_as(self.hands());
            let text = || Scribbled("who could help is not as the parent wrote it".into());
            alike.then_some(()).ok_or_else(text)
        });
        if let Err(found) = found {
            self.scribbled(desk, found, effects);
        }
    }

    /// The supervisor was rung, or has other reason to look.
    pub(super) fn drain_as_supervisor(&self) {
        let mut effects = Effects::default();
        let mut desk = self.lock();
        if matches!(desk.drainer, Drainer::Supervisor) {
            self.drain_and_rearm(&mut desk, SUPERVISOR_DOORBELL, &mut effects);
        } else {
            self.drain(&mut desk, &mut effects);
        }
        self.settle(&mut desk);
        self.finish(desk, effects);
    }

    /// Blocks the calling thread until `task` has ended.
    pub(super) fn wait(
        self: &Arc<Self>,
        task: &Arc<Task>,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<Waited> {
        if task.is_done() || (interrupt.is_none() && self.spin(task, timeout)) {
            return Ok(Waited::Done);
        }
        let bell = interrupt.map(|_| Event::new()).transpose()?;
        let me = ThreadWaiter::new(self.doorbells[THREADS_DOORBELL].clone(), bell);
        let as_waiter: Arc<dyn Waiter> = me.clone();
        if !task.watch(as_waiter.clone()) {
            return Ok(Waited::Done);
        }
        let end = self.wait_as(&me, timeout, interrupt, |_| task.is_done());
        if !matches!(end, Ok(Waited::Done)) {
            task.unwatch(&as_waiter);
        }
        end
    }

    /// Looks for the task's completion for a while, without sleeping.
    pub(super) fn spin(&self, task: &Task, timeout: Option<Duration>) -> bool {
        let mut effects = Effects::default();
        let mut desk = self.lock();
        self.drain(&mut desk, &mut effects);
        self.finish(desk, effects);
        if task.is_done() {
            return true;
        }
        if self.board.cores() < 2 || timeout.is_some_and(|timeout| timeout < SPIN) {
            return false;
        }
        let end = Instant::now() + SPIN;
        loop {
            for _ in 0..32 {
                hint::spin_loop();
            }
            // The heads are the desk's; a fresh look costs a lock, so it is taken only when no
            // other thread holds it.
            if let Ok(mut desk) = self.desk.try_lock()
                && desk.has_completions(&self.board)
            {
                let mut effects = Effects::default();
                self.drain(&mut desk, &mut effects);
                self.finish(desk, effects);
            }
            if task.is_done() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::yield_now();
        }
    }

    /// Blocks until `done`, draining if nobody better does. Whoever makes `done` true wakes `me`.
    pub(super) fn wait_as(
        &self,
        me: &Arc<ThreadWaiter>,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
        done: impl Fn(&Desk) -> bool,
    ) -> io::Result<Waited> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut desk = self.lock();
        let mut woken = Ok(Woken::Ready);
        let end = loop {
            let mut effects = Effects::default();
            self.drain(&mut desk, &mut effects);
            self.check(&mut desk, &mut effects);
            desk = self.refresh(desk, effects);
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            match woken {
                _ if done(&desk) => break Ok(Waited::Done),
                Err(error) => break Err(error),
                Ok(Woken::Interrupted) => break Ok(Waited::Interrupted),
                Ok(_) if left == Some(Duration::ZERO) => break Ok(Waited::TimedOut),
                Ok(_) => {}
            }
            let elsewhere =
                matches!(&desk.drainer, Drainer::Thread(other) if !Arc::ptr_eq(other, me));
            if elsewhere {
                me.prepare_park();
                if done(&desk) {
                    continue;
                }
                desk.parked.push_back(me.clone());
                drop(desk);
                woken = me.park(left, interrupt);
                desk = self.lock();
                desk.parked.retain(|parked| !Arc::ptr_eq(parked, me));
            } else {
                desk.drainer = Drainer::Thread(me.clone());
                desk.mode = Mode::Eager;
                me.prepare_poll();
                if done(&desk) || !self.arm(&desk, THREADS_DOORBELL, Mode::Eager) {
                    me.end_poll();
                    continue;
                }
                drop(desk);
                woken = me.poll(left, interrupt);
                desk = self.lock();
            }
        };
        self.leave(&mut desk, me);
        drop(desk);
        end
    }

    /// Unlocks to run what draining called for, and locks again.
    fn refresh<'a>(&'a self, desk: MutexGuard<'a, Desk>, effects: Effects) -> MutexGuard<'a, Desk> {
        if effects.is_empty() {
            return desk;
        }
        self.finish(desk, effects);
        self.lock()
    }

    /// Hands the role over, if `me` has it.
    fn leave(&self, desk: &mut Desk, me: &Arc<ThreadWaiter>) {
        if !matches!(&desk.drainer, Drainer::Thread(holder) if Arc::ptr_eq(holder, me)) {
            return;
        }
        desk.drainer = Drainer::Nobody;
        Waiting(self.board.waiting()).disarm();
        if let Some(next) = desk.parked.pop_front() {
            desk.drainer = Drainer::Thread(next.clone());
            next.wake();
        } else {
            self.settle(desk);
        }
    }

    /// A door for an event loop; its descriptor is a doorbell of the board while one is left.
    pub(super) fn open_door(&self) -> io::Result<Arc<LoopDoor>> {
        let mut desk = self.lock();
        let taken = |doorbell| {
            desk.loops
                .iter()
                .any(|door| door.doorbell == Some(doorbell))
        };
        let doorbell = (FIRST_LOOP_DOORBELL..self.doorbells.len()).find(|bell| !taken(*bell));
        let event = match doorbell {
            Some(doorbell) => self.doorbells[doorbell].clone(),
            None => Arc::new(Event::new()?),
        };
        event.clear();
        let door = LoopDoor::new(doorbell, event);
        desk.loops.push(door.clone());
        Ok(door)
    }

    /// The loop is gone.
    pub(super) fn close_door(&self, door: &Arc<LoopDoor>) {
        let mut desk = self.lock();
        desk.loops.retain(|known| !Arc::ptr_eq(known, door));
        door.waits.store(0, Ordering::Relaxed);
        self.settle(&mut desk);
    }

    /// The loop waits for one task more, or one fewer.
    pub(super) fn count_wait(&self, door: &LoopDoor, more: bool) {
        let before = match more {
            true => door.waits.fetch_add(1, Ordering::Relaxed),
            false => door.waits.fetch_sub(1, Ordering::Relaxed),
        };
        if before == usize::from(!more) {
            self.settle(&mut self.lock());
        }
    }

    /// The loop's descriptor was readable: the keys of what has ended for it.
    pub(super) fn read_door(&self, door: &Arc<LoopDoor>) -> Vec<u64> {
        door.clear();
        door.reading.store(true, Ordering::SeqCst);
        let mut effects = Effects::default();
        let mut desk = self.lock();
        match (&desk.drainer, door.doorbell) {
            (Drainer::Loop(holder), Some(doorbell)) if Arc::ptr_eq(holder, door) => {
                self.drain_and_rearm(&mut desk, doorbell, &mut effects);
            }
            _ => self.drain(&mut desk, &mut effects),
        }
        self.finish(desk, effects);
        door.reading.store(false, Ordering::SeqCst);
        door.take_ended()
    }
}
