//! Workers on demand: whoever finds nobody to wake, and a place vacant, tells the supervisor.

use loom::sync::Arc;
use loom::thread;

use super::super::hands::Hands;
use super::super::idle::Short;
use super::*;

/// A board, and the word that says who could help. The doorbell is the supervisor's.
struct Place {
    table: Table,
    hands: AtomicU64,
}

impl Place {
    fn hands(&self) -> Hands<'_> {
        Hands(&self.hands)
    }

    /// As `Shared::wake_lanes` and `Lane::busy`.
    fn ask(&self, short: Short) {
        if let Some((work, searching)) = short
            && self.hands().are_wanted(work, searching)
        {
            self.table.doorbell.set();
        }
    }

    fn publish(&self, slot: u32) {
        self.table.publish(slot, 0).unwrap();
        let ring = self.table.ring();
        let set = |lane: usize| self.table.bells[lane].set();
        self.ask(self.table.idle().wake(|| ring.len(), 1, |_| 0, set));
    }

    /// A lane that takes one task, and runs it for ever.
    fn take_one(&self, lane: usize) {
        loop {
            let claimed = self.table.claim(lane);
            if claimed.is_some() {
                let set = |lane: usize| self.table.bells[lane].set();
                let ring = self.table.ring();
                self.ask(self.table.idle().pass_on(lane, ring, |_| 0, set));
                return;
            }
            if self.table.idle().rest(lane, self.table.ring(), || false) {
                self.table.bells[lane].wait();
                self.table.idle().set_searching(lane);
            }
        }
    }

    /// As `Supervisor::staff`: says who could help, and whether a worker is to be started.
    fn is_wanted(&self, starting: usize, vacant: usize) -> bool {
        self.hands().tell(starting, vacant);
        let work = self.table.ring().len();
        vacant > 0 && work > self.table.idle().idle() + starting as u64
    }
}

fn place(lanes: usize) -> Arc<Place> {
    let place = Place {
        table: Table::new(2, 4, lanes),
        hands: AtomicU64::new(0),
    };
    Arc::new(place)
}

/// The supervisor starts the worker of this lane when it is called for, and ends with that.
fn supervise(place: &Arc<Place>, lane: usize) -> thread::JoinHandle<()> {
    let place = place.clone();
    thread::spawn(move || {
        while !place.is_wanted(0, 1) {
            place.table.doorbell.wait();
        }
        place.hands().tell(1, 0);
        // The worker, which is searching before it counts as started.
        place.table.idle().set_searching(lane);
        place.hands().tell(0, 0);
        place.take_one(lane);
    })
}

#[test]
fn loom_a_worker_is_started_for_the_first_task() {
    check(3, || {
        let place = place(1);
        let supervisor = supervise(&place, 0);
        place.publish(0);
        supervisor.join().unwrap();
    });
}

#[test]
fn loom_a_worker_is_started_for_what_the_others_do_not_take() {
    check(2, || {
        let place = place(2);
        // One that was woken already: each publisher may count on it, but it takes one task only.
        place.table.idle().set_searching(0);
        let lane = {
            let place = place.clone();
            thread::spawn(move || place.take_one(0))
        };
        let supervisor = supervise(&place, 1);
        place.publish(0);
        place.publish(1);
        lane.join().unwrap();
        supervisor.join().unwrap();
    });
}

#[test]
fn loom_a_dead_workers_place_is_filled_for_what_was_published_meanwhile() {
    check(3, || {
        let place = place(1);
        // It died so; until its exit is known no place is vacant.
        place.table.idle().set_searching(0);
        let supervisor = {
            let place = place.clone();
            thread::spawn(move || {
                place.table.idle().set_busy(0);
                while !place.is_wanted(0, 1) {
                    place.table.doorbell.wait();
                }
            })
        };
        place.publish(0);
        supervisor.join().unwrap();
    });
}
