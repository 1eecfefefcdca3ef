//! Sleep and wake of lanes, with wakers and sleepers that stop.

use loom::sync::Arc;
use loom::thread;

use super::super::watch::{self, Watch};
use super::*;

/// A lane that takes `count` tasks, and runs the last of them for ever.
fn lane(table: &Arc<Table>, lane: usize, count: usize) -> thread::JoinHandle<()> {
    let table = table.clone();
    thread::spawn(move || {
        let mut lane = Lane::new(&table, lane);
        for _ in 0..count {
            assert!(lane.next().is_some());
        }
    })
}

/// As [`lane`], but asleep already: its bits say so, or somebody has woken it since.
fn sleeping_lane(table: &Arc<Table>, lane: usize) -> thread::JoinHandle<()> {
    let table = table.clone();
    thread::spawn(move || {
        table.bells[lane].wait();
        table.idle().set_searching(lane);
        assert!(Lane::new(&table, lane).next().is_some());
    })
}

/// Two lanes asleep, the first of which has been woken for a task.
fn one_woken_one_asleep() -> Arc<Table> {
    let table = Arc::new(Table::new(2, 4, 2));
    table.idle().set_sleeping(0);
    table.idle().set_sleeping(1);
    table.publish(0, 0).unwrap();
    table.wake_lanes(1);
    table
}

#[test]
fn loom_no_task_is_left_while_a_lane_sleeps() {
    check(3, || {
        let table = Arc::new(Table::new(2, 4, 1));
        let lane = lane(&table, 0, 2);
        for slot in 0..2 {
            table.publish(slot, 0).unwrap();
            table.wake_lanes(1);
        }
        lane.join().unwrap();
    });
}

#[test]
fn loom_a_lane_that_gets_busy_passes_on_what_else_is_there() {
    check(2, || {
        let table = one_woken_one_asleep();
        // Each takes one task and is busy then, so each must learn of one.
        let lanes = [sleeping_lane(&table, 0), sleeping_lane(&table, 1)];
        table.publish(1, 0).unwrap();
        table.wake_lanes(1);
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}

#[test]
fn loom_a_lane_that_sleeps_is_found_by_the_close() {
    check(3, || {
        let table = Arc::new(Table::new(1, 2, 1));
        let lane = {
            let table = table.clone();
            thread::spawn(move || Lane::new(&table, 0).next().is_none())
        };
        // As `Supervisor::stop_if_due`.
        table.closing.swap(1, Ordering::SeqCst);
        table.bells[0].set();
        assert!(lane.join().unwrap());
    });
}

/// What a lane had written into its idle bits when it was stopped for ever.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    Asleep,
    Searching,
}

/// The parent publishes as `Shared::finish` does, and the watch runs as in the supervisor; the
/// timer may fire at any moment after it was armed.
#[test]
fn loom_the_watch_finds_another_lane_when_the_woken_one_is_stopped() {
    for stopped in [Stopped::Asleep, Stopped::Searching] {
        check(1, move || {
            let table = Arc::new(Table::new(2, 4, 2));
            match stopped {
                Stopped::Asleep => table.idle().set_sleeping(0),
                Stopped::Searching => table.idle().set_searching(0),
            }
            let healthy = lane(&table, 1, 1);
            let state = Arc::new((Watch::new(), Bell::default(), AtomicU64::new(0)));
            let watch = {
                let (table, state) = (table.clone(), state.clone());
                thread::spawn(move || {
                    let (watch, timer, end) = &*state;
                    let mut seen = 0;
                    loop {
                        timer.wait();
                        if end.load(Ordering::Acquire) != 0 {
                            return;
                        }
                        watch.fired();
                        let set = |lane: usize| table.bells[lane].set();
                        let again = watch::look(&mut seen, table.ring(), table.idle(), set);
                        if again && watch.arm() {
                            timer.set();
                        }
                    }
                })
            };
            let (timer_state, timer, end) = &*state;
            table.publish(0, 0).unwrap();
            table.wake_lanes(1);
            if table.idle().any_idle() && timer_state.arm() {
                timer.set();
            }
            healthy.join().unwrap();
            end.store(1, Ordering::Release);
            timer.set();
            watch.join().unwrap();
        });
    }
}

#[test]
fn loom_a_publisher_that_finds_the_watch_armed_is_seen_by_it() {
    check(3, || {
        let table = Arc::new(Table::new(1, 2, 1));
        table.idle().set_searching(0);
        let state = Arc::new((Watch::new(), table.clone()));
        assert!(state.0.arm());
        let watch = {
            let state = state.clone();
            thread::spawn(move || {
                state.0.fired();
                watch::look(&mut 0, state.1.ring(), state.1.idle(), |_| {})
            })
        };
        table.publish(0, 0).unwrap();
        table.wake_lanes(1);
        assert!(table.idle().any_idle());
        let armed_again = state.0.arm();
        let looks_again = watch.join().unwrap();
        assert!(armed_again || looks_again);
    });
}

#[test]
fn loom_a_waker_that_dies_before_it_rings_is_made_good_by_recovery() {
    check(2, || {
        let table = one_woken_one_asleep();
        let sleeper = sleeping_lane(&table, 1);
        let dying = {
            let table = table.clone();
            thread::spawn(move || {
                // Claims one task, wants to wake the other lane for the other, and dies.
                if table.claim(0).is_some() {
                    let _short = table.idle().pass_on(0, table.ring(), |_| 0, |_| {});
                }
            })
        };
        table.publish(1, 0).unwrap();
        table.wake_lanes(1);
        // Its exit is known. As `Desk::recover` and `Supervisor::bury`.
        dying.join().unwrap();
        table.idle().set_busy(0);
        if table.ring().len() > 0 {
            table.idle().ring_all(|lane| table.bells[lane].set());
        }
        sleeper.join().unwrap();
    });
}
