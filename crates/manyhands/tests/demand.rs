//! Workers that are started when there is work for them, and pools that break at a death.

mod common;

use std::time::Duration;

use common::{START, Tester, number, proc};
use manyhands::Kind;
use manyhands::process::{Config, OnDeath, SubmitError, Waited};
use manyhands::task::{Broken, Exit, Outcome};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

fn on_demand(workers: usize) -> Tester {
    start(workers, OnDeath::Replace, &[])
}

fn start(workers: usize, on_death: OnDeath, environment: &[(&'static str, &str)]) -> Tester {
    let config = Config {
        workers,
        slots: 64,
        on_demand: true,
        on_death,
        ..Config::default()
    };
    Tester::start(config, environment)
}

/// The workers there are, once those that were called for have been started.
fn staff(tester: &Tester) -> Vec<u32> {
    let settled = tester.pool.settled();
    assert_eq!(tester.pool.wait(&settled, None).unwrap(), Waited::Done);
    tester.pids()
}

fn milliseconds(time: u64) -> [u8; 8] {
    time.to_le_bytes()
}

#[test]
fn a_pool_that_was_given_nothing_to_do_has_no_worker() {
    let tester = on_demand(4);
    assert_eq!(staff(&tester), []);
    tester.finish();
}

#[test]
fn tasks_one_after_the_other_need_one_worker() {
    let tester = on_demand(4);
    for round in 0..200u64 {
        let task = tester.submit("double", &round.to_le_bytes());
        assert_eq!(tester.number(&task), round * 2);
    }
    assert_eq!(staff(&tester).len(), 1);
    tester.finish();
}

#[test]
fn tasks_at_once_have_a_worker_each_while_there_are_places() {
    let tester = on_demand(3);
    let mut naps = Vec::new();
    for busy in 1..=3 {
        let nap = tester.submit("sleep", &milliseconds(60_000));
        tester.begun(&nap);
        naps.push(nap);
        assert_eq!(staff(&tester).len(), busy);
    }
    let waits = tester.submit("double", &[0; 8]);
    assert_eq!(staff(&tester).len(), 3);
    assert!(!tester.pool.is_running(&waits));
    tester.pool.kill();
    tester.gone();
}

#[test]
fn a_burst_takes_all_places() {
    let tester = on_demand(4);
    let tasks: Vec<_> = (0..4)
        .map(|_| tester.submit("sleep", &milliseconds(60_000)))
        .collect();
    // Each runs, although nothing else happens.
    tasks.iter().for_each(|task| tester.begun(task));
    assert_eq!(staff(&tester).len(), 4);
    tester.pool.kill();
    tester.gone();
}

#[test]
fn coroutines_and_functions_share_a_worker() {
    let tester = on_demand(4);
    for round in 0..50u64 {
        let function = tester.submit("double", &round.to_le_bytes());
        assert_eq!(tester.number(&function), round * 2);
        let coroutine = tester.submit_as(Kind::Coroutine, "double", &round.to_le_bytes());
        assert_eq!(tester.number(&coroutine), round * 2);
    }
    assert_eq!(staff(&tester).len(), 1);
    tester.finish();
}

#[test]
fn a_worker_that_dies_idle_is_missed_by_nobody_until_there_is_work() {
    let tester = on_demand(2);
    assert_eq!(tester.number(&tester.submit("double", &[0; 8])), 0);
    let pids = staff(&tester);
    proc::signal(pids[0], libc::SIGKILL);
    while proc::state(pids[0]).is_some() {
        std::thread::yield_now();
    }
    while !tester.pids().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(staff(&tester), []);
    assert_eq!(tester.number(&tester.submit("double", &milliseconds(4))), 8);
    assert_eq!(staff(&tester).len(), 1);
    tester.finish();
}

#[test]
fn work_that_outlives_every_worker_is_done_by_others() {
    let tester = on_demand(2);
    let die = tester.submit("exit", &milliseconds(3));
    let also = tester.submit("exit", &milliseconds(3));
    let tasks: Vec<_> = (0..100u64)
        .map(|id| tester.submit("double", &id.to_le_bytes()))
        .collect();
    for task in [die, also] {
        assert!(matches!(tester.outcome(&task), Outcome::Died(_)));
    }
    for (id, task) in tasks.iter().enumerate() {
        assert_eq!(tester.number(task), id as u64 * 2);
    }
    tester.finish();
}

#[test]
fn a_worker_that_is_killed_while_it_starts_is_replaced_for_what_waits() {
    for _ in 0..10 {
        let tester = on_demand(1);
        let task = tester.submit("double", &milliseconds(5));
        if let [pid] = staff(&tester)[..] {
            proc::signal(pid, libc::SIGKILL);
        }
        match tester.outcome(&task) {
            Outcome::Died(death) => assert_eq!(death.exit, Exit::Signal(libc::SIGKILL)),
            outcome => assert_eq!(number(outcome), 10),
        }
        tester.finish();
    }
}

#[test]
fn a_stopped_worker_does_not_keep_others_from_being_started() {
    let tester = on_demand(2);
    assert_eq!(tester.number(&tester.submit("double", &[0; 8])), 0);
    let pids = staff(&tester);
    proc::stop(pids[0]);
    assert_eq!(tester.number(&tester.submit("double", &milliseconds(4))), 8);
    assert_eq!(staff(&tester).len(), 2);
    proc::signal(pids[0], libc::SIGCONT);
    tester.finish();
}

#[test]
fn a_burst_of_short_tasks_is_never_left_lying() {
    for round in 0..20u64 {
        let tester = on_demand(1 + round as usize % 4);
        let tasks: Vec<_> = (0..300u64)
            .map(|id| tester.submit("spin", &(id % 50).to_le_bytes()))
            .collect();
        tester.pool.shutdown(false);
        tester.gone();
        for (id, task) in tasks.iter().enumerate() {
            assert_eq!(number(task.take_outcome().unwrap()), id as u64 % 50);
        }
    }
}

#[test]
fn workers_that_cannot_start_end_the_pool_with_what_ended_them() {
    let tester = start(2, OnDeath::Replace, &[(START, "exit")]);
    match tester.outcome(&tester.submit("double", &[0; 8])) {
        Outcome::Broken(why) => match &*why {
            Broken::Start(text) => assert!(text.contains("exited with status 7"), "{text}"),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    tester.gone();
}

#[test]
fn a_death_breaks_a_pool_that_is_to_break() {
    let tester = start(2, OnDeath::Break, &[]);
    let sleeps = tester.submit("sleep", &milliseconds(60_000));
    tester.begun(&sleeps);
    let done = tester.submit("double", &milliseconds(2));
    assert_eq!(tester.number(&done), 4);
    let dies = tester.submit("exit", &milliseconds(5));
    let submit = || {
        let double = tester.function("double");
        tester.pool.submit(Kind::Function, double, None, &[&[0; 8]])
    };
    // The pool may be broken before the last of them comes.
    let waits: Vec<_> = (0..100).map_while(|_| submit().ok()).collect();
    for task in [&sleeps, &dies].into_iter().chain(&waits) {
        match tester.outcome(task) {
            Outcome::Broken(why) => match &*why {
                Broken::Died { exit, .. } => assert_eq!(*exit, Exit::Code(5)),
                other => panic!("{other:?}"),
            },
            // Those that came to the other worker first.
            outcome => assert_eq!(number(outcome), 0),
        }
    }
    tester.gone();
    assert!(matches!(submit(), Err(SubmitError::Broken(_))));
}

#[test]
fn a_death_breaks_a_pool_that_is_shutting_down() {
    let tester = start(1, OnDeath::Break, &[]);
    let naps = tester.submit("sleep", &milliseconds(100));
    let dies = tester.submit("exit", &milliseconds(5));
    let waits = tester.submit("double", &[0; 8]);
    tester.pool.shutdown(false);
    tester.gone();
    assert!(matches!(naps.take_outcome(), Some(Outcome::Ended { .. })));
    for task in [dies, waits] {
        assert!(matches!(task.take_outcome(), Some(Outcome::Broken(_))));
    }
}

#[test]
fn an_initializer_that_fails_once_breaks_a_pool_that_is_to_break() {
    let tester = start(2, OnDeath::Break, &[(START, "fail")]);
    match tester.outcome(&tester.submit("double", &[0; 8])) {
        Outcome::Broken(why) => match &*why {
            Broken::Initializer(error) => assert_eq!(**error, *b"no luck"),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    tester.gone();
}

#[test]
fn an_idle_pool_whose_workers_were_started_on_demand_makes_no_thread_run() {
    if !common::alone("an_idle_pool_whose_workers_were_started_on_demand_makes_no_thread_run") {
        return;
    }
    let tester = on_demand(4);
    assert_eq!(tester.number(&tester.submit("double", &[0; 8])), 0);
    tester.is_idle_for(Duration::from_secs(1), 3 + 3);
    tester.finish();
}
