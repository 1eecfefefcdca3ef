//! Asking a task to stop, and killing a worker for one of its tasks.

use loom::sync::Arc;
use loom::thread;

use super::super::ring::take;
use super::super::stop::{Ask, Doom};
use super::super::waiting::{Mode, Waiting};
use super::*;

/// What a lane that was asked writes in place of a result.
const STOPPED: u64 = 99;

/// Runs a claimed task that ends only if it is asked to: as a coroutine that waits.
fn run_until_asked(lane: &mut Lane<'_>, asked: &AtomicU64, ticket: Ticket) {
    lane.table.set_phase(ticket, Phase::Running, lane.lane);
    while !Ask(asked).is_asked(ticket.generation) {
        lane.table.bells[lane.lane].wait();
    }
    lane.table.outputs[0].write(STOPPED);
    lane.done(ticket);
}

/// The parent: withdraws the task of slot 0, or asks it to stop; true when it was withdrawn. As
/// `Desk::stop`.
fn stop(table: &Table, asked: &AtomicU64, generation: u32) -> bool {
    let (ready, free) = (
        SlotState::ready(generation).to_bits(),
        SlotState::free(generation + 1).to_bits(),
    );
    let withdrawn = table.states[0]
        .compare_exchange(ready, free, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok();
    if !withdrawn {
        Ask(asked).ask(generation);
        table.bells[0].set();
    }
    withdrawn
}

#[test]
fn loom_a_stop_reaches_its_task_wherever_it_is() {
    check(3, || {
        let board = Arc::new((Table::new(1, 2, 1), AtomicU64::new(0)));
        let lane = {
            let board = board.clone();
            thread::spawn(move || {
                let (table, asked) = &*board;
                let mut lane = Lane::new(table, 0);
                if let Some(ticket) = lane.next() {
                    run_until_asked(&mut lane, asked, ticket);
                }
            })
        };
        let (table, asked) = &*board;
        table.publish(0, 0).unwrap();
        table.wake_lanes(1);
        let withdrawn = stop(table, asked, 0);
        table.closing.store(1, Ordering::SeqCst);
        table.bells[0].set();
        lane.join().unwrap();
        let mut head = 0;
        let completed = table.completion(0).pop(&mut head);
        assert_eq!(completed.is_none(), withdrawn);
        if !withdrawn {
            assert_eq!(table.outputs[0].read(), STOPPED);
        }
    });
}

#[test]
fn loom_an_ask_is_not_heard_by_the_slots_next_task() {
    check(3, || {
        let board = Arc::new((Table::new(1, 2, 1), AtomicU64::new(0)));
        let lane = {
            let board = board.clone();
            thread::spawn(move || {
                let (table, asked) = &*board;
                let mut lane = Lane::new(table, 0);
                // It may or may not hear of it, and ends by itself.
                let first = lane.next().unwrap();
                table.set_phase(first, Phase::Running, 0);
                let heard = Ask(asked).is_asked(first.generation);
                table.outputs[0].write(if heard { STOPPED } else { 1 });
                lane.done(first);
                let second = lane.next().unwrap();
                table.set_phase(second, Phase::Running, 0);
                assert!(!Ask(asked).is_asked(second.generation));
                table.outputs[0].write(2);
                lane.done(second);
            })
        };
        let (table, asked) = &*board;
        table.publish(0, 0).unwrap();
        table.wake_lanes(1);
        // As soon as it is claimed; the lane may be rung at any time.
        let mut head = 0;
        let wait = |head: &mut u64| {
            while table.completion(0).pop(head).is_none() {
                Waiting(&table.waiting).arm(0, Mode::Eager);
                if !table.completion(0).has_more(*head) {
                    table.doorbell.wait();
                }
            }
        };
        let state = SlotState::ready(0);
        if table.state(0) != state {
            Ask(asked).ask(0);
            table.bells[0].set();
        }
        wait(&mut head);
        let first = table.outputs[0].read();
        assert!(first == 1 || first == STOPPED);
        // The slot is freed and used again, with and without forgetting.
        table.publish(0, 1).unwrap();
        table.wake_lanes(1);
        Ask(asked).clear();
        wait(&mut head);
        assert_eq!(table.outputs[0].read(), 2);
        lane.join().unwrap();
    });
}

/// The last step of a worker that is killed while it ends one task and begins the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Last {
    Nothing,
    Done,
    Take,
    Running,
    Look,
    Run,
    NextDone,
}

/// Ends the task of slot 0, and claims and runs that of slot 1, up to the last step; true if the
/// second one's own code has run.
fn go_on(table: &Table, doomed: &AtomicU64, last: Last) -> bool {
    let first = Ticket {
        slot: 0,
        generation: 0,
    };
    if last < Last::Done {
        return false;
    }
    table.set_phase(first, Phase::Done, 0);
    table.completion(0).push(first);
    let Some((head, second)) = table.ring().first() else {
        return false;
    };
    if last < Last::Take || !take(&table.states[1], second, owner(0)) {
        return false;
    }
    table.ring().pass(head);
    if last < Last::Running {
        return false;
    }
    // As `Lane::start`.
    table.set_phase(second, Phase::Running, 0);
    if last < Last::Look {
        return false;
    }
    if Doom(doomed).is_told(1) {
        table.set_phase(second, Phase::Claimed, 0);
        return false;
    }
    if last < Last::Run {
        return false;
    }
    if last >= Last::NextDone {
        table.set_phase(second, Phase::Done, 0);
        table.completion(0).push(second);
    }
    true
}

#[test]
fn loom_a_kill_charges_only_what_ran_when_it_was_decided() {
    for last in [
        Last::Nothing,
        Last::Done,
        Last::Take,
        Last::Running,
        Last::Look,
        Last::Run,
        Last::NextDone,
    ] {
        check(3, move || {
            let board = Arc::new((Table::new(2, 4, 1), AtomicU64::new(0)));
            let (table, doomed) = &*board;
            let running = SlotState::ready(0).owned(Phase::Running, owner(0));
            table.set_state(0, running);
            table.publish(1, 0).unwrap();
            let lane = {
                let board = board.clone();
                thread::spawn(move || go_on(&board.0, &board.1, last))
            };
            // The first is over its time. As `Desk::look` and `Desk::doom`.
            if table.state(0) != running {
                lane.join().unwrap();
                return;
            }
            Doom(doomed).tell(1);
            let begun = [0, 1].map(|slot| table.state(slot) == running);
            let ran = lane.join().unwrap();
            // It has exited. As `Desk::recover`.
            match table.state(0).phase() {
                Some(Phase::Done) => assert!(last >= Last::Done),
                Some(Phase::Running) => assert!(begun[0], "it is the one that is over its time"),
                other => panic!("{other:?}"),
            }
            match table.state(1).phase() {
                Some(Phase::Running) if begun[1] => {}
                Some(Phase::Done) => assert!(ran),
                // Published again: it must not have run.
                _ => assert!(!ran, "{last:?}"),
            }
            // The next process in its place begins what it claims.
            assert!(!Doom(doomed).is_told(2));
            Doom(doomed).clear();
            assert!(!Doom(doomed).is_told(1));
        });
    }
}
