//! The threads of a pool: set up by its initializer, then one job after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::current::{Here, Seat, enter};
use super::error::Error;
use super::job::Job;
#[cfg(feature = "tokio")]
use super::lanes::Lanes;
use super::source::Source;
use super::worker::{Unavailable, Worker};
use crate::panic::{Panic, catch, drop_quietly};

pub(super) type Initializer = Arc<dyn Fn() + Send + Sync>;

/// What the threads of a pool have in common.
pub(super) struct Crew {
    initializer: Option<Initializer>,
    /// What runs the pool's futures, which breaks if the initializer fails here.
    #[cfg(feature = "tokio")]
    lanes: std::sync::Weak<Lanes>,
    killed: AtomicBool,
    seats: Mutex<Vec<Arc<Seat>>>,
}

impl Crew {
    pub(super) fn new(
        initializer: Option<Initializer>,
        #[cfg(feature = "tokio")] lanes: &Arc<Lanes>,
    ) -> Self {
        Self {
            initializer,
            #[cfg(feature = "tokio")]
            lanes: Arc::downgrade(lanes),
            killed: AtomicBool::new(false),
            seats: Mutex::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What pools are told apart by.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn is_killed(&self) -> bool {
        // Pairs with `kill`; for the threads themselves the lock of their seat orders more.
        self.killed.load(Ordering::Acquire)
    }

    /// Tells every task that runs to stop. Those that begin afterwards are withdrawn.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        let seats: Vec<_> = self.seats().clone();
        for seat in seats {
            // A thread that sets its seat after this look sees `killed` by the seat's lock.
            if let Some(task) = seat.task() {
                // If the task ends just now, this drops the last of it, its result too.
                drop_quietly(catch(move || task.stop_running(Error::Cancelled)));
            }
        }
    }

    fn initialize(&self) -> Result<(), Panic> {
        let Some(initializer) = &self.initializer else {
            return Ok(());
        };
        let initialized = catch(|| initializer());
        #[cfg(feature = "tokio")]
        if let Err(panic) = &initialized
            && let Some(lanes) = self.lanes.upgrade()
        {
            lanes.fail(&Error::Initializer(panic.clone()));
        }
        initialized
    }
}

impl Worker for Crew {
    type Job = Arc<dyn Job>;
    type Failure = Panic;

    fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Panic> {
        let seat = Arc::new(Seat::default());
        let _inside = enter(Here::Seat(self.address(), seat.clone()));
        self.initialize()?;
        self.seats().push(seat.clone());
        while let Some(job) = source.wait_next() {
            let mut next = Some(job);
            while let Some(job) = next {
                job.run(source, &seat);
                next = source.try_next();
            }
        }
        self.seats().retain(|known| !Arc::ptr_eq(known, &seat));
        Ok(())
    }

    fn abandon(&self, job: Arc<dyn Job>, why: &Unavailable<Panic>) {
        job.withdraw(why.clone().into());
    }
}

/// Withdraws jobs whose captured values may panic when they are dropped.
pub(super) fn withdraw_all(jobs: impl Iterator<Item = Arc<dyn Job>>, why: &Error) {
    for job in jobs {
        drop_quietly(catch(|| job.withdraw(why.clone())));
    }
}
