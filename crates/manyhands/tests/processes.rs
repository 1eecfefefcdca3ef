//! Tasks and batches through worker processes, from their submitter's side. Each test's name is a
//! claim.

mod common;

use std::thread;

use common::worker::{BYTES, DIE, DOUBLE, PANICKED, SLEEP};
use common::{Tester, number, text, value};
use manyhands::Kind;
use manyhands::task::{Exit, Outcome};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

#[test]
fn bytes_of_any_size_come_back_as_they_went() {
    let tester = Tester::new(2);
    for size in [0, 1, 192, 193, 64 << 10, 64 << 20] {
        let input: Vec<u8> = (0..size).map(|at: usize| ((at * 31) >> 3) as u8).collect();
        assert!(tester.call("echo", &input) == input, "{size} bytes");
    }
    tester.finish();
}

#[test]
fn one_worker_begins_tasks_in_the_order_of_their_submission() {
    let tester = Tester::with(1, 64, &[]);
    let tasks: Vec<_> = (0..2000).map(|_| tester.submit("count", b"")).collect();
    for (place, task) in tasks.iter().enumerate() {
        assert_eq!(tester.number(task), place as u64);
    }
    tester.finish();
}

#[test]
fn each_of_many_submitting_threads_gets_its_own_outcomes() {
    let tester = Tester::new(3);
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let tester = &tester;
            scope.spawn(move || {
                for round in 0..20 {
                    let ids = (0..100).map(|id| thread << 32 | round << 16 | id);
                    let tasks: Vec<_> = ids
                        .map(|id| {
                            let kind = Kind::ALL[(id % 2) as usize];
                            (id, tester.submit_as(kind, "double", &id.to_le_bytes()))
                        })
                        .collect();
                    for (id, task) in tasks.iter().rev() {
                        assert_eq!(tester.number(task), id * 2);
                    }
                }
            });
        }
    });
    tester.finish();
}

#[test]
fn a_backlog_far_beyond_the_slots_flows_through() {
    let tester = Tester::new(2);
    let tasks: Vec<_> = (0..50_000u64)
        .map(|id| tester.submit("double", &id.to_le_bytes()))
        .collect();
    // What nobody waits for flows as well: the last one is looked at without draining.
    while !tasks[49_999].is_done() && tester.pool.status().backlog > 0 {
        thread::yield_now();
    }
    for (id, task) in tasks.iter().enumerate() {
        assert_eq!(tester.number(task), id as u64 * 2);
    }
    tester.finish();
}

#[test]
fn a_panic_is_an_outcome_and_an_exit_is_a_death() {
    let tester = Tester::new(2);
    match tester.outcome(&tester.submit("panic", b"this")) {
        Outcome::Ended { code, payload } => {
            assert_eq!(code, PANICKED);
            assert_eq!(text(payload), "this is not to my taste");
        }
        other => panic!("{other:?}"),
    }
    for (name, exit) in [
        ("abort", Exit::Signal(libc::SIGABRT)),
        ("exit", Exit::Code(42)),
    ] {
        let pids = {
            tester.ready();
            tester.pids()
        };
        match tester.outcome(&tester.submit(name, &42u64.to_le_bytes())) {
            Outcome::Died(death) => {
                assert_eq!(death.exit, exit);
                assert!(pids.contains(&death.pid));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        tester.number(&tester.submit("double", &4u64.to_le_bytes())),
        8
    );
    tester.finish();
}

#[test]
fn a_batch_gives_the_outcome_of_each_item() {
    let tester = Tester::new(2);
    let items: Vec<_> = (0..5000).map(|id| (DOUBLE, id)).collect();
    match tester.outcome(&tester.submit_batch(&items)) {
        Outcome::Batch { items, .. } => {
            assert_eq!(items.len(), 5000);
            for (id, outcome) in items.into_iter().enumerate() {
                assert_eq!(number(outcome), id as u64 * 2);
            }
        }
        other => panic!("{other:?}"),
    }
    // Outcomes that lie in the log, that just do not fit there, and that fill segments of it.
    let sizes: Vec<u64> = (0..200).map(|at| at * 97 % 3000).collect();
    let items: Vec<_> = sizes.iter().map(|size| (BYTES, *size)).collect();
    match tester.outcome(&tester.submit_batch(&items)) {
        Outcome::Batch { items, .. } => {
            for (size, outcome) in sizes.into_iter().zip(items) {
                assert_eq!(value(outcome), vec![size as u8; size as usize]);
            }
        }
        other => panic!("{other:?}"),
    }
    match tester.outcome(&tester.submit_batch(&[])) {
        Outcome::Batch { items, .. } => assert!(items.is_empty()),
        other => panic!("{other:?}"),
    }
    tester.finish();
}

#[test]
fn a_death_in_a_batch_costs_only_the_item_that_ran() {
    let tester = Tester::new(2);
    let items: Vec<_> = (0..500)
        .map(|id| {
            if id % 100 == 50 {
                (DIE, id)
            } else {
                (DOUBLE, id)
            }
        })
        .collect();
    match tester.outcome(&tester.submit_batch(&items)) {
        Outcome::Batch { items, .. } => {
            assert_eq!(items.len(), 500);
            for (id, outcome) in items.into_iter().enumerate() {
                match outcome {
                    Outcome::Died(death) if id % 100 == 50 => {
                        assert_eq!(death.exit, Exit::Signal(libc::SIGKILL));
                    }
                    outcome => assert_eq!(number(outcome), id as u64 * 2),
                }
            }
        }
        other => panic!("{other:?}"),
    }
    tester.finish();
}

#[test]
fn a_cancel_withdraws_what_has_not_begun_and_nothing_else() {
    let tester = Tester::with(1, 64, &[]);
    let running = tester.submit("sleep", &100u64.to_le_bytes());
    while !tester.pool.is_running(&running) {
        thread::yield_now();
    }
    // Some are on the board, the rest waits for a slot.
    let waiting: Vec<_> = (0..200u64)
        .map(|id| tester.submit("double", &id.to_le_bytes()))
        .collect();
    assert!(!tester.pool.cancel(&running));
    for task in waiting.iter().step_by(2) {
        assert!(tester.pool.cancel(task));
        assert!(!tester.pool.cancel(task), "only once");
    }
    assert!(value(tester.outcome(&running)).is_empty());
    for (id, task) in waiting.iter().enumerate() {
        match tester.outcome(task) {
            Outcome::Cancelled => assert_eq!(id % 2, 0),
            outcome => {
                assert_eq!(number(outcome), id as u64 * 2);
                assert_eq!(id % 2, 1);
            }
        }
    }
    tester.finish();
}

#[test]
fn a_cancel_withdraws_the_items_of_a_batch_that_have_not_begun() {
    let tester = Tester::with(1, 64, &[]);
    let running = tester.submit_batch(&[(SLEEP, 100), (DOUBLE, 1), (DOUBLE, 2)]);
    let pending = tester.submit_batch(&[(DOUBLE, 1), (DOUBLE, 2)]);
    while !tester.pool.is_running(&running) {
        thread::yield_now();
    }
    thread::sleep(std::time::Duration::from_millis(20));
    assert!(!tester.pool.cancel(&running));
    assert!(tester.pool.cancel(&pending));
    assert!(matches!(tester.outcome(&pending), Outcome::Cancelled));
    match tester.outcome(&running) {
        Outcome::Batch { items, .. } => assert!(
            matches!(
                items[..],
                [
                    Outcome::Ended { .. },
                    Outcome::Cancelled,
                    Outcome::Cancelled
                ]
            ),
            "{items:?}"
        ),
        other => panic!("{other:?}"),
    }
    tester.finish();
}

#[test]
fn cancelled_tasks_that_fill_a_ring_with_stale_cells_hold_up_nobody() {
    let tester = Tester::with(1, 8, &[]);
    let running = tester.submit("sleep", &50u64.to_le_bytes());
    let first = tester.submit("double", &1u64.to_le_bytes());
    for id in 0..100u64 {
        let task = tester.submit("double", &id.to_le_bytes());
        assert!(tester.pool.cancel(&task));
    }
    let last = tester.submit("double", &3u64.to_le_bytes());
    assert_eq!(tester.number(&last), 6);
    assert_eq!(tester.number(&first), 2);
    assert!(running.is_done());
    tester.finish();
}
