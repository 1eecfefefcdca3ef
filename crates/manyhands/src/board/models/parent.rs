//! Sleep and wake of the parent's drainer: `Waiting` against `Ringer`.

use loom::sync::Arc;
use loom::thread;

use super::super::waiting::{Mode, Waiting};
use super::*;

/// Reads completions until `enough`, sleeping in between as a drainer does.
fn drain(table: &Table, mode: Mode, enough: impl Fn(&[Ticket]) -> bool) {
    let mut heads = vec![0; table.completions.len()];
    let mut read = Vec::new();
    loop {
        for (lane, head) in heads.iter_mut().enumerate() {
            while let Some(ticket) = table.completion(lane).pop(head) {
                assert_eq!(table.state(ticket.slot).phase(), Some(Phase::Done));
                assert_eq!(table.outputs[ticket.slot as usize].read(), 8);
                read.push(ticket);
            }
        }
        if enough(&read) {
            return;
        }
        Waiting(&table.waiting).arm(0, mode);
        let more = |(lane, head): (usize, &u64)| table.completion(lane).has_more(*head);
        if !heads.iter().enumerate().any(more) {
            table.doorbell.wait();
        }
    }
}

fn task(slot: u32) -> Ticket {
    Ticket {
        slot,
        generation: 0,
    }
}

/// A lane that completes these slots and then finds nothing more to claim.
fn completing(table: &Arc<Table>, lane: usize, slots: &[u32]) -> thread::JoinHandle<()> {
    let (table, slots) = (table.clone(), slots.to_vec());
    thread::spawn(move || {
        let mut lane = Lane::new(&table, lane);
        for slot in slots {
            table.outputs[slot as usize].write(8);
            lane.done(task(slot));
        }
        lane.ring(true);
    })
}

#[test]
fn loom_an_eager_drainer_learns_of_every_completion() {
    check(3, || {
        let table = Arc::new(Table::new(2, 4, 2));
        let lanes = [completing(&table, 0, &[0]), completing(&table, 1, &[1])];
        drain(&table, Mode::Eager, |read| read.len() == 2);
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}

#[test]
fn loom_a_lazy_drainer_learns_of_what_idle_lanes_have_done() {
    check(2, || {
        let table = Arc::new(Table::new(4, 8, 2));
        let lanes = [completing(&table, 0, &[0, 1]), completing(&table, 1, &[2])];
        drain(&table, Mode::Lazy, |read| read.len() == 3);
        for lane in lanes {
            lane.join().unwrap();
        }
    });
}

/// A lane that completes slot 0, finds that it should ring, and is stopped before it does.
fn stopping(table: &Arc<Table>) -> thread::JoinHandle<()> {
    let table = table.clone();
    thread::spawn(move || {
        table.outputs[0].write(8);
        table.set_phase(task(0), Phase::Done, 0);
        table.completion(0).push(task(0));
        let _silent = Ringer::default().due(&table.waiting, true);
    })
}

#[test]
fn loom_a_lane_that_stops_before_it_rings_silences_no_other() {
    for mode in [Mode::Eager, Mode::Lazy] {
        check(3, move || {
            let table = Arc::new(Table::new(2, 4, 2));
            let lanes = [stopping(&table), completing(&table, 1, &[1])];
            drain(&table, mode, |read| read.contains(&task(1)));
            for lane in lanes {
                lane.join().unwrap();
            }
        });
    }
}

#[test]
fn loom_recovery_reads_what_a_dead_lane_did_not_announce() {
    check(3, || {
        let table = Arc::new(Table::new(2, 4, 2));
        let lane = stopping(&table);
        let drainer = {
            let table = table.clone();
            thread::spawn(move || drain(&table, Mode::Eager, |read| read.contains(&task(0))))
        };
        lane.join().unwrap();
        // As `Shared::settle_again`.
        table.doorbell.set();
        drainer.join().unwrap();
    });
}
