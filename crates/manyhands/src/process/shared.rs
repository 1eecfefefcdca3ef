//! What the threads of the parent share of a pool, and what is due when its desk is unlocked.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::config::Config;
use super::desk::Desk;
use super::notes::{Effects, Life, Scribbled};
use super::supervisor::Event as SupervisorEvent;
use crate::arena::Arena;
use crate::board::hands::Hands;
use crate::board::watch::Watch;
use crate::board::{Board, Kind};
use crate::sys::event::Event;
use crate::sys::forked::ProcessMark;
use crate::sys::pidfd;
use crate::sys::timer::Timer;
use crate::task::{Broken, Outcome, Task};

/// How long work may lie untouched beside an idle lane before others are woken for it.
pub(super) const WATCH: Duration = Duration::from_millis(10);

/// Boards that a pool makes anew before it gives up: one that is scribbled over so often will be
/// again.
const MOST_REBUILDS: u32 = 8;

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) board: Board,
    pub(super) arena: Arc<Arena>,
    pub(super) desk: Mutex<Desk>,
    pub(super) doorbells: Vec<Arc<Event>>,
    /// An eventfd for each lane.
    pub(super) lanes: Vec<Event>,
    pub(super) owner: pidfd::Process,
    pub(super) broken: OnceLock<Arc<Broken>>,
    pub(super) watch: Watch,
    pub(super) watch_timer: Timer,
    pub(super) kick: Event,
    /// See [`Hands`]: what workers may write over is not believed.
    pub(super) hands: AtomicU64,
    pub(super) events: Mutex<Vec<SupervisorEvent>>,
    pub(super) functions: AtomicU64,
    /// See [`OnDeath`](super::OnDeath).
    pub(super) breaks: AtomicBool,
    /// Ends when no worker is left.
    pub(super) gone: Arc<Task>,
    pub(super) mark: ProcessMark,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the desk and does what is due outside: waiters, lanes, the watch.
    pub(super) fn finish(&self, mut desk: MutexGuard<'_, Desk>, effects: Effects) {
        let ended = desk.life == Life::Draining && desk.outstanding == 0;
        let nearer = desk.deadlines.is_nearer();
        drop(desk);
        if ended || nearer {
            self.kick.set();
        }
        for (kind, worker) in &effects.asked {
            self.ring_lane(*kind, *worker);
        }
        for waiter in &effects.woken {
            waiter.wake();
        }
        for kind in Kind::ALL {
            if effects.published[kind as usize] > 0 {
                self.wake_lanes(kind, effects.published[kind as usize]);
            }
        }
    }

    /// As the supervisor tells the parent's threads; the board's word is for the lanes.
    pub(super) fn hands(&self) -> Hands<'_> {
        Hands(&self.hands)
    }

    fn wake_lanes(&self, kind: Kind, published: usize) {
        let idle = self.board.idle(kind);
        let ring = self.board.submission(kind);
        let load = |worker| self.board.load(kind, worker);
        let set = |worker| self.ring_lane(kind, worker);
        let short = idle.wake(|| ring.len(), published, load, set);
        if let Some((work, searching)) = short
            && self.hands().are_wanted(work, searching)
        {
            self.kick.set();
        }
        if idle.any_idle() {
            self.arm_watch(WATCH);
        }
    }

    /// Writes a lane's eventfd. The worker's number was read from the board: there may be none.
    pub(super) fn ring_lane(&self, kind: Kind, worker: usize) {
        if let Some(event) = self.lanes.get(kind.lane(worker)) {
            event.set();
        }
    }

    pub(super) fn arm_watch(&self, after: Duration) {
        if self.watch.arm()
            && let Err(error) = self.watch_timer.arm(after)
        {
            unreachable!("timerfd_settime with valid times: {error}");
        }
    }

    pub(super) fn tell_supervisor(&self, event: SupervisorEvent) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        self.kick.set();
    }

    pub(super) fn take_events(&self) -> Vec<SupervisorEvent> {
        self.kick.clear();
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn kick(&self) -> &Event {
        &self.kick
    }

    /// The pool can run nothing more: every task ends so, and the workers end.
    pub(super) fn break_pool(&self, desk: &mut Desk, why: Broken, effects: &mut Effects) {
        let why = self.broken.get_or_init(|| Arc::new(why)).clone();
        desk.end_all(|| Outcome::Broken(why.clone()), effects);
        if desk.life < Life::Stopping {
            desk.life = Life::Stopping;
        }
        self.kick.set();
    }

    /// The board can not be trusted: the supervisor will end the workers and make it anew, or
    /// break the pool where that does not help.
    pub(super) fn scribbled(&self, desk: &mut Desk, found: Scribbled, effects: &mut Effects) {
        if desk.rebuilt >= MOST_REBUILDS || desk.life >= Life::Stopping {
            // Nobody reads it any more, however much seems to lie there.
            desk.scribbled.get_or_insert_with(|| found.0.clone());
            self.break_pool(desk, Broken::Board(found.0), effects);
        } else if desk.scribbled.is_none() {
            desk.scribbled = Some(found.0);
            self.kick.set();
        }
    }

    /// The last worker is gone.
    pub(super) fn end(&self) {
        let mut desk = self.lock();
        desk.life = Life::Stopped;
        desk.release_inputs();
        // Views of the dead workers' arenas live on in the payloads that are still to be read.
        let views = std::mem::take(&mut desk.views);
        let mut effects = Effects::default();
        for marker in std::mem::take(&mut desk.settling) {
            effects.end(marker, Outcome::Cancelled);
        }
        effects.end(self.gone.clone(), Outcome::Cancelled);
        self.finish(desk, effects);
        drop(views);
    }
}
