//! Claims of slots by competing lanes, some of which stop between two steps.

use loom::sync::Arc;
use loom::thread;

use super::super::ring::{Full, take};
use super::*;

/// Claims until nothing is left.
fn claim_all(table: &Table, lane: usize) -> Vec<Ticket> {
    let mut claimed = Vec::new();
    while let Some(ticket) = table.claim(lane) {
        assert_eq!(
            table.state(ticket.slot),
            SlotState::ready(ticket.generation).owned(Phase::Claimed, owner(lane))
        );
        assert_eq!(table.inputs[ticket.slot as usize].read(), 7);
        claimed.push(ticket);
    }
    claimed
}

fn submit(table: &Table, slot: u32) {
    table.inputs[slot as usize].write(7);
    table.publish(slot, 0).unwrap();
}

fn slots(mut claimed: Vec<Ticket>) -> Vec<u32> {
    claimed.sort_by_key(|ticket| ticket.slot);
    claimed.into_iter().map(|ticket| ticket.slot).collect()
}

#[test]
fn loom_each_ready_slot_is_claimed_once() {
    check(3, || {
        let table = Arc::new(Table::new(2, 4, 3));
        let lanes: Vec<_> = (0..2)
            .map(|lane| {
                let table = table.clone();
                thread::spawn(move || claim_all(&table, lane))
            })
            .collect();
        submit(&table, 0);
        submit(&table, 1);
        let mut claimed: Vec<_> = lanes
            .into_iter()
            .flat_map(|lane| lane.join().unwrap())
            .collect();
        claimed.extend(claim_all(&table, 2));
        assert_eq!(slots(claimed), [0, 1]);
    });
}

/// The steps that a lane takes before it stops for ever.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Looked,
    Took,
    Passed,
}

fn claim_and_stop(table: &Table, lane: usize, stop: Stop) -> Option<Ticket> {
    let (head, ticket) = table.ring().first()?;
    if let Stop::Looked = stop {
        return None;
    }
    let taken = take(&table.states[ticket.slot as usize], ticket, owner(lane));
    if let Stop::Passed = stop {
        table.ring().pass(head);
    }
    taken.then_some(ticket)
}

#[test]
fn loom_a_lane_that_stops_in_a_claim_hides_nothing() {
    for stop in [Stop::Looked, Stop::Took, Stop::Passed] {
        check(3, move || {
            let table = Arc::new(Table::new(2, 4, 3));
            submit(&table, 0);
            let stopping = {
                let table = table.clone();
                thread::spawn(move || claim_and_stop(&table, 0, stop))
            };
            let healthy = {
                let table = table.clone();
                thread::spawn(move || claim_all(&table, 1))
            };
            submit(&table, 1);
            let mut claimed: Vec<_> = stopping.join().unwrap().into_iter().collect();
            claimed.extend(healthy.join().unwrap());
            claimed.extend(claim_all(&table, 2));
            assert_eq!(slots(claimed), [0, 1], "{stop:?}");
        });
    }
}

#[test]
fn loom_a_stale_lane_takes_no_task_twice_when_the_ring_wraps() {
    check(3, || {
        let table = Arc::new(Table::new(1, 2, 2));
        table.inputs[0].write(0);
        table.publish(0, 0).unwrap();
        let stale = {
            let table = table.clone();
            thread::spawn(move || {
                let (head, ticket) = table.ring().first()?;
                // The cell may have been overwritten, then the ticket is of a newer task.
                let taken = take(&table.states[0], ticket, owner(1));
                if taken {
                    assert_eq!(table.inputs[0].read(), ticket.generation.into());
                }
                table.ring().pass(head);
                taken.then_some(ticket.generation)
            })
        };
        // One slot, used three times, in a ring of two cells.
        let mut claimed = Vec::new();
        let mut published = 1;
        while let Some(ticket) = table.claim(0) {
            claimed.push(ticket.generation);
            assert_eq!(ticket.generation + 1, published);
            if published == 3 {
                break;
            }
            table.inputs[0].write(published.into());
            table.publish(0, published).unwrap();
            published += 1;
        }
        // What the loop did not claim, the stale lane did.
        claimed.extend(stale.join().unwrap());
        claimed.sort_unstable();
        assert_eq!(claimed, (0..published).collect::<Vec<_>>());
        assert!(table.claim(0).is_none());
    });
}

#[test]
fn loom_a_publisher_helps_past_taken_cells_and_never_past_ready_ones() {
    check(3, || {
        let table = Arc::new(Table::new(3, 2, 3));
        submit(&table, 0);
        submit(&table, 1);
        let stopping = {
            let table = table.clone();
            thread::spawn(move || claim_and_stop(&table, 0, Stop::Took))
        };
        let healthy = {
            let table = table.clone();
            thread::spawn(move || {
                let ticket = table.claim(1)?;
                assert_eq!(table.inputs[ticket.slot as usize].read(), 7);
                Some(ticket)
            })
        };
        table.inputs[2].write(7);
        let early = table.publish(2, 0);
        let mut claimed: Vec<_> = stopping.join().unwrap().into_iter().collect();
        claimed.extend(healthy.join().unwrap());
        if early == Err(Full) {
            // At least one of the two cells was taken since, and it was the first.
            table.publish(2, 0).unwrap();
        }
        claimed.extend(claim_all(&table, 2));
        assert_eq!(slots(claimed), [0, 1, 2]);
    });
}
