//! How a pool ends: when all is done, at once, or broken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::notes::{Effects, Life};
use super::pool::Pool;
use crate::task::{Broken, Outcome, Task};

impl Pool {
    /// Takes no more tasks; with `cancel`, withdraws what has not begun. The workers end when
    /// the rest has. Returns at once.
    pub fn shutdown(&self, cancel: bool) {
        let shared = &*self.shared;
        if !self.is_ours() {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        if desk.life == Life::Open {
            desk.life = Life::Draining;
        }
        if cancel {
            for task in desk.live_tasks() {
                desk.cancel(&shared.board, &task, &mut effects);
            }
        }
        shared.drain(&mut desk, &mut effects);
        shared.settle(&mut desk);
        shared.finish(desk, effects);
    }

    /// Ends the workers at once, whatever they run; tasks that have not ended end as
    /// [`Outcome::Broken`] with [`Broken::Killed`].
    pub fn kill(&self) {
        let shared = &*self.shared;
        if !self.is_ours() {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        if desk.life < Life::Stopped {
            shared.drain(&mut desk, &mut effects);
            shared.break_pool(&mut desk, Broken::Killed, &mut effects);
        }
        shared.finish(desk, effects);
    }

    /// The pool is of no use any more, as its owner finds: everything outstanding ends as
    /// [`Outcome::Broken`], and the workers are killed. Gives why it is broken: it may have been
    /// before.
    pub fn break_off(&self, why: Broken) -> Arc<Broken> {
        let shared = &*self.shared;
        if !self.is_ours() {
            return Arc::new(why);
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        shared.drain(&mut desk, &mut effects);
        shared.break_pool(&mut desk, why, &mut effects);
        shared.finish(desk, effects);
        shared.broken.get().cloned().expect("it was just broken")
    }

    /// From now on, as if it had been started with [`OnDeath::Break`](super::OnDeath::Break).
    pub fn break_at_death(&self) {
        self.shared.breaks.store(true, Ordering::SeqCst);
    }

    /// What ends (as [`Outcome::Cancelled`]) when no worker is left after a shutdown.
    #[must_use]
    pub fn gone(&self) -> &Arc<Task> {
        &self.shared.gone
    }

    /// What ends (as [`Outcome::Cancelled`]) when no process is being made for this pool: when the
    /// workers that were called for up to now have been started, or could not be. They may not take
    /// tasks yet.
    #[must_use]
    pub fn settled(&self) -> Arc<Task> {
        let marker = Task::marker();
        if !self.is_ours() {
            let _nobody_waits = marker.end(Outcome::Cancelled);
            return marker;
        }
        let mut effects = Effects::default();
        let mut desk = self.shared.lock();
        match desk.life {
            Life::Stopped => effects.end(marker.clone(), Outcome::Cancelled),
            _ => desk.settling.push(marker.clone()),
        }
        self.shared.finish(desk, effects);
        self.shared.kick().set();
        marker
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shutdown(false);
    }
}
