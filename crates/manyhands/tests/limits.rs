//! Timeouts, stops and retries: what runs for too long or is wanted no more ends, at the cost of no
//! other task; what failed is tried again.

mod common;

use std::thread;
use std::time::Duration;

use common::marks::{MARKS_FILE, Marks};
use common::worker::{DIE, DOUBLE, FAIL, OVERRUN, PANICKED, PERISH, SLEEP, attempt};
use common::{Tester, number, proc, value};
use manyhands::Kind;
use manyhands::process::{Config, SubmitError};
use manyhands::task::{Broken, Exit, Limits, Outcome, RETRY, Task};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

const FOR_EVER: u64 = 1 << 40;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn timed_out(outcome: Outcome) -> Duration {
    match outcome {
        Outcome::TimedOut { ran } => ran,
        other => panic!("{other:?}"),
    }
}

fn with_marks(workers: usize) -> (Tester, Marks) {
    let marks = Marks::create(64);
    let tester = Tester::with(workers, 64, &[(MARKS_FILE, marks.path())]);
    (tester, marks)
}

/// Waits for a task's end without reading completions.
fn ends_by_itself(task: &Task) {
    while !task.is_done() {
        thread::sleep(ms(1));
    }
}

#[test]
fn a_function_that_never_ends_is_ended_and_the_others_go_on() {
    let tester = Tester::new(2);
    let spin = FOR_EVER.to_le_bytes();
    let runaway = tester.submit_with(Kind::Function, "spin", &spin, Some(ms(50)), 0);
    let others: Vec<_> = (0..2000u64)
        .map(|id| {
            let input = id.to_le_bytes();
            tester.submit_with(Kind::Function, "double", &input, Some(ms(60_000)), 0)
        })
        .collect();
    assert!(timed_out(tester.outcome(&runaway)) >= ms(50));
    for (id, task) in others.iter().enumerate() {
        assert_eq!(tester.number(task), id as u64 * 2);
    }
    tester.finish();
}

#[test]
fn a_timeout_ends_a_task_that_nobody_waits_for() {
    let tester = Tester::new(1);
    let spin = FOR_EVER.to_le_bytes();
    ends_by_itself(&tester.submit_with(Kind::Function, "spin", &spin, Some(ms(20)), 0));
    tester.finish();
}

#[test]
fn a_timeout_counts_from_the_start_of_the_task() {
    let tester = Tester::with(1, 8, &[]);
    let input = 20u64.to_le_bytes();
    // Some wait on the board, some for a slot, all for longer than they may run.
    let tasks: Vec<_> = (0..30)
        .map(|_| tester.submit_with(Kind::Function, "sleep", &input, Some(ms(400)), 0))
        .collect();
    for task in &tasks {
        assert!(value(tester.outcome(task)).is_empty());
    }
    tester.finish();
}

#[test]
fn a_coroutine_over_its_time_is_asked_and_its_worker_goes_on() {
    let tester = Tester::new(1);
    tester.ready();
    let pids = tester.pids();
    let nap = |length: u64, timeout| {
        tester.submit_with(Kind::Coroutine, "nap", &length.to_le_bytes(), timeout, 0)
    };
    let neighbours: Vec<_> = (0..50).map(|_| nap(200_000, None)).collect();
    let long = nap(FOR_EVER, Some(ms(30)));
    assert!(timed_out(tester.outcome(&long)) >= ms(30));
    for task in &neighbours {
        assert!(value(tester.outcome(task)).is_empty());
    }
    assert_eq!(tester.pids(), pids);
    tester.finish();
}

#[test]
fn a_function_that_listens_is_given_the_grace_of_the_pool() {
    let config = Config {
        workers: 1,
        stop_grace: [ms(60_000); 2],
        ..Config::default()
    };
    let tester = Tester::start(config, &[]);
    tester.ready();
    let pids = tester.pids();
    let listens = tester.submit_with(Kind::Function, "listen", b"", Some(ms(20)), 0);
    assert!(timed_out(tester.outcome(&listens)) >= ms(20));
    let listens = tester.submit("listen", b"");
    tester.begun(&listens);
    tester.pool.stop(&listens);
    assert!(matches!(tester.outcome(&listens), Outcome::Cancelled));
    assert_eq!(tester.pids(), pids);
    tester.finish();
}

#[test]
fn a_coroutine_that_does_not_listen_goes_with_its_worker_after_the_grace() {
    let config = Config {
        workers: 1,
        stop_grace: [Duration::ZERO, ms(80)],
        ..Config::default()
    };
    let tester = Tester::start(config, &[]);
    let snore = FOR_EVER.to_le_bytes();
    let snores: Vec<_> = (0..4)
        .map(|id| {
            let timeout = (id == 0).then_some(ms(20));
            let retries = u32::from(id == 1);
            tester.submit_with(Kind::Coroutine, "snore", &snore, timeout, retries)
        })
        .collect();
    for task in &snores {
        tester.begun(task);
    }
    tester.pool.stop(&snores[3]);
    let ran = timed_out(tester.outcome(&snores[0]));
    assert!(ran >= ms(80), "{ran:?}");
    // One of the others has nobody's leave to run again, one is stopped, and one tries again.
    match tester.outcome(&snores[2]) {
        Outcome::Died(death) => assert_eq!(death.exit, Exit::Signal(libc::SIGKILL)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(tester.outcome(&snores[3]), Outcome::Cancelled));
    assert!(!snores[1].is_done());
    tester.begun(&snores[1]);
    tester.pool.stop(&snores[1]);
    assert!(matches!(tester.outcome(&snores[1]), Outcome::Cancelled));
    tester.finish();
}

#[test]
fn a_stop_ends_a_task_wherever_it_is() {
    let tester = Tester::with(1, 8, &[]);
    tester.ready();
    let ended = tester.submit("double", &4u64.to_le_bytes());
    while !tester.pool.look(&ended, None) {
        thread::yield_now();
    }
    let runs = tester.submit("spin", &FOR_EVER.to_le_bytes());
    tester.begun(&runs);
    let queued: Vec<_> = (0..20u64)
        .map(|id| tester.submit("double", &id.to_le_bytes()))
        .collect();
    for task in queued.iter().step_by(2) {
        tester.pool.stop(task);
        assert!(matches!(tester.outcome(task), Outcome::Cancelled));
    }
    assert!(!queued[1].is_done());
    tester.pool.stop(&runs);
    tester.pool.stop(&runs);
    assert!(matches!(tester.outcome(&runs), Outcome::Cancelled));
    for (id, task) in queued.iter().enumerate().skip(1).step_by(2) {
        assert_eq!(tester.number(task), id as u64 * 2);
    }
    tester.pool.stop(&ended);
    assert_eq!(tester.number(&ended), 8);
    tester.pool.stop(&runs);
    tester.finish();
}

#[test]
fn a_stopped_coroutine_hears_of_it_and_costs_no_worker() {
    let tester = Tester::new(2);
    tester.ready();
    let pids = tester.pids();
    let naps: Vec<_> = (0..200)
        .map(|_| tester.submit_as(Kind::Coroutine, "nap", &FOR_EVER.to_le_bytes()))
        .collect();
    for (id, task) in naps.iter().enumerate() {
        if id % 2 == 0 {
            tester.begun(task);
        }
        tester.pool.stop(task);
    }
    for task in &naps {
        assert!(matches!(tester.outcome(task), Outcome::Cancelled));
    }
    assert_eq!(tester.pids(), pids);
    tester.finish();
}

#[test]
fn a_stopped_batch_keeps_what_its_items_gave_and_loses_the_rest() {
    let tester = Tester::with(1, 64, &[]);
    let batch = [(DOUBLE, 4), (SLEEP, 1_000_000), (DOUBLE, 5), (DIE, 0)];
    let task = tester.submit_batch(&batch);
    tester.begun(&task);
    thread::sleep(ms(20));
    tester.pool.stop(&task);
    match tester.outcome(&task) {
        Outcome::Batch { items, .. } => {
            assert!(matches!(
                items[..],
                [
                    Outcome::Ended { code: 0, .. },
                    Outcome::Cancelled,
                    Outcome::Cancelled,
                    Outcome::Cancelled
                ]
            ));
        }
        // It had not read its items yet.
        other => assert!(matches!(other, Outcome::Cancelled), "{other:?}"),
    }
    tester.finish();
}

#[test]
fn limits_are_for_single_tasks() {
    let tester = Tester::with(1, 64, &[]);
    let limits = Limits {
        retries: 1,
        ..Limits::default()
    };
    let function = tester.function("items");
    let refused = tester
        .pool
        .submit_with(Kind::Function, function, Some(0), &[], limits);
    assert!(matches!(refused, Err(SubmitError::BatchLimits)));
    tester.finish();
}

#[test]
fn what_fails_is_tried_again_as_often_as_it_may() {
    let (tester, marks) = with_marks(2);
    let mut id = 0;
    for kind in Kind::ALL {
        for way in [FAIL, PERISH, OVERRUN] {
            for (bad, retries) in [(0, 2), (2, 2), (2, 5), (3, 2), (1, 0)] {
                let timeout = (way == OVERRUN).then_some(ms(30));
                let input = attempt(id, way, bad);
                let task = tester.submit_with(kind, "attempt", &input, timeout, retries);
                let outcome = tester.outcome(&task);
                let attempts = bad.min(u64::from(retries)) + 1;
                assert_eq!(u64::from(marks.begun(id)), attempts);
                match (outcome, way) {
                    (outcome, _) if bad < attempts => assert_eq!(number(outcome), id * 2),
                    (Outcome::Ended { code, .. }, FAIL) => assert_eq!(code, RETRY | PANICKED),
                    (Outcome::Died(_), PERISH) => {}
                    (Outcome::TimedOut { .. }, OVERRUN) => {}
                    (other, _) => panic!("{kind:?} {way} {bad} {retries}: {other:?}"),
                }
                id += 1;
            }
        }
    }
    tester.finish();
}

#[test]
fn large_inputs_survive_to_the_next_attempt() {
    let (tester, marks) = with_marks(1);
    let mut input = attempt(1, PERISH, 2);
    input.resize(1 << 20, 7);
    let task = tester.submit_with(Kind::Function, "attempt", &input, None, 2);
    assert_eq!(tester.number(&task), 2);
    assert_eq!(marks.begun(1), 3);
    tester.finish();
}

#[test]
fn what_fails_is_tried_again_though_nobody_waits() {
    let (tester, marks) = with_marks(2);
    for id in 0..10 {
        let input = attempt(id, FAIL, 3);
        let task = tester.submit_with(Kind::Function, "attempt", &input, None, 3);
        while marks.begun(id) < 4 {
            thread::sleep(ms(1));
        }
        assert_eq!(tester.number(&task), id * 2);
        assert_eq!(marks.begun(id), 4);
    }
    tester.finish();
}

#[test]
fn nothing_is_tried_again_that_nobody_wants() {
    let (tester, marks) = with_marks(1);
    let never = attempt(1, OVERRUN, 99);
    let task = tester.submit_with(Kind::Function, "attempt", &never, None, 99);
    tester.begun(&task);
    tester.pool.stop(&task);
    assert!(matches!(tester.outcome(&task), Outcome::Cancelled));
    let asleep = tester.submit("sleep", &30u64.to_le_bytes());
    tester.begun(&asleep);
    let queued = tester.submit_with(
        Kind::Function,
        "attempt",
        &attempt(2, FAIL, 99),
        Some(ms(1)),
        99,
    );
    tester.pool.stop(&queued);
    assert!(matches!(tester.outcome(&queued), Outcome::Cancelled));
    // A withdrawal lets what runs go on, for the last time.
    let task = tester.submit_with(
        Kind::Function,
        "attempt",
        &attempt(3, OVERRUN, 99),
        None,
        99,
    );
    tester.begun(&task);
    assert!(!tester.pool.cancel(&task));
    while marks.begun(3) == 0 {
        thread::yield_now();
    }
    proc::signal(tester.pids()[0], libc::SIGKILL);
    assert!(matches!(tester.outcome(&task), Outcome::Died(_)));
    assert_eq!((marks.begun(2), marks.begun(3)), (0, 1));
    tester.finish();
}

#[test]
fn limits_can_be_set_while_a_task_waits_or_runs() {
    let tester = Tester::with(1, 8, &[]);
    let spin = FOR_EVER.to_le_bytes();
    let limits = |timeout| Limits {
        timeout,
        retries: 0,
    };
    // The first runs, some wait on the board, some for a slot.
    let tasks: Vec<_> = (0..12).map(|_| tester.submit("spin", &spin)).collect();
    tester.begun(&tasks[0]);
    for task in tasks.iter().rev() {
        tester.pool.set_limits(task, limits(Some(ms(60_000))));
        tester.pool.set_limits(task, limits(Some(ms(10))));
    }
    for task in &tasks {
        assert!(timed_out(tester.outcome(task)) >= ms(10));
    }
    // And taken back.
    let nap = 100_000u64.to_le_bytes();
    let task = tester.submit_with(Kind::Coroutine, "nap", &nap, Some(ms(20)), 0);
    tester.pool.set_limits(&task, limits(None));
    assert!(value(tester.outcome(&task)).is_empty());
    tester.pool.set_limits(&task, limits(Some(ms(1))));
    tester.finish();
}

#[test]
fn a_stopped_worker_past_its_deadline_is_replaced() {
    let config = Config {
        workers: 2,
        stop_grace: [Duration::ZERO, ms(30)],
        ..Config::default()
    };
    let tester = Tester::start(config, &[]);
    for kind in Kind::ALL {
        tester.ready();
        let sleep = 1000u64.to_le_bytes();
        let tasks: Vec<_> = (0..2)
            .map(|_| tester.submit_with(kind, "sleep", &sleep, Some(ms(1050)), 3))
            .collect();
        for task in &tasks {
            tester.begun(task);
        }
        for pid in tester.pids() {
            proc::stop(pid);
        }
        // With new workers they end well.
        for task in &tasks {
            assert!(value(tester.outcome(task)).is_empty());
        }
        assert_eq!(tester.call("echo", b"on"), b"on");
    }
    tester.finish();
}

#[test]
fn kills_for_timeouts_never_make_a_pool_give_up() {
    let tester = Tester::with(1, 8, &[]);
    let spin = FOR_EVER.to_le_bytes();
    for _ in 0..300 {
        let task = tester.submit_with(Kind::Function, "spin", &spin, Some(ms(1)), 0);
        timed_out(tester.outcome(&task));
    }
    assert_eq!(tester.call("echo", b"on"), b"on");
    tester.finish();
}

#[test]
fn a_shutdown_waits_for_limited_tasks_and_their_retries() {
    let (tester, marks) = with_marks(2);
    let tasks: Vec<_> = (0..10)
        .map(|id| {
            let way = [FAIL, PERISH, OVERRUN][id as usize % 3];
            let input = attempt(id, way, 2);
            tester.submit_with(Kind::Function, "attempt", &input, Some(ms(30)), 3)
        })
        .collect();
    tester.pool.shutdown(false);
    tester.gone();
    for (id, task) in (0..).zip(&tasks) {
        assert_eq!(number(task.take_outcome().unwrap()), id * 2);
        assert_eq!(marks.begun(id), 3);
    }
}

#[test]
fn a_kill_ends_what_is_being_stopped() {
    let config = Config {
        workers: 2,
        stop_grace: [ms(60_000); 2],
        ..Config::default()
    };
    let tester = Tester::start(config, &[]);
    let forever = FOR_EVER.to_le_bytes();
    let tasks: Vec<_> = (0..100)
        .map(|id| {
            let (kind, name) = [(Kind::Function, "spin"), (Kind::Coroutine, "snore")][id % 2];
            tester.submit_with(kind, name, &forever, Some(ms(5)), 9)
        })
        .collect();
    tester.begun(&tasks[0]);
    tester.begun(&tasks[1]);
    for task in tasks.iter().step_by(3) {
        tester.pool.stop(task);
    }
    thread::sleep(ms(20));
    tester.pool.kill();
    for task in &tasks {
        match tester.outcome(task) {
            Outcome::Broken(why) => assert!(matches!(*why, Broken::Killed)),
            other => assert!(matches!(other, Outcome::Cancelled), "{other:?}"),
        }
    }
    tester.gone();
}

#[test]
fn a_board_made_anew_keeps_the_limits_of_what_had_not_begun() {
    let (tester, marks) = with_marks(2);
    tester.ready();
    let input = [0x5a_u64.to_le_bytes(), 97u64.to_le_bytes()].concat();
    let culprit = tester.submit("scribble", &input);
    let tasks: Vec<_> = (0..40)
        .map(|id| {
            let input = attempt(id, OVERRUN, 1);
            tester.submit_with(Kind::Function, "attempt", &input, Some(ms(20)), 1)
        })
        .collect();
    let mut lost = 0;
    for (id, task) in (0..).zip(&tasks) {
        match tester.outcome(task) {
            Outcome::Lost(_) => lost += 1,
            outcome => {
                assert_eq!(number(outcome), id * 2);
                assert!(marks.begun(id) >= 2);
            }
        }
    }
    let _whatever = tester.outcome(&culprit);
    println!("{lost} lost");
    tester.finish();
}

#[test]
fn a_pool_whose_limited_tasks_have_ended_does_not_wake_up() {
    if !common::alone("a_pool_whose_limited_tasks_have_ended_does_not_wake_up") {
        return;
    }
    let tester = Tester::new(2);
    for kind in Kind::ALL {
        let tasks: Vec<_> = (0..100u64)
            .map(|id| tester.submit_with(kind, "double", &id.to_le_bytes(), Some(ms(50)), 2))
            .collect();
        for task in &tasks {
            tester.outcome(task);
        }
    }
    let long = 1_000_000_000u64.to_le_bytes();
    let nap = tester.submit_with(Kind::Coroutine, "nap", &long, Some(ms(600_000)), 0);
    tester.begun(&nap);
    tester.is_idle_for(Duration::from_secs(1), 2 * 3 + 3);
    tester.pool.stop(&nap);
    assert!(matches!(tester.outcome(&nap), Outcome::Cancelled));
    tester.finish();
}
