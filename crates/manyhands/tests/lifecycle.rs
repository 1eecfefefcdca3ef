//! How pools and their workers begin and end, and what they leave behind: nothing.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{START, Tester, number, proc, this_binary};
use manyhands::process::{SubmitError, Waited};
use manyhands::task::{Broken, Exit, Outcome};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

fn why(tester: &Tester) -> Arc<Broken> {
    match tester.outcome(&tester.submit("double", &[0; 8])) {
        Outcome::Broken(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_initializer_that_always_fails_ends_the_pool_with_its_own_error() {
    let tester = Tester::with(2, 64, &[(START, "fail")]);
    match &*why(&tester) {
        Broken::Initializer(error) => assert_eq!(**error, *b"no luck"),
        other => panic!("{other:?}"),
    }
    tester.gone();
    let refused = tester.pool.submit(
        manyhands::Kind::Function,
        tester.function("echo"),
        None,
        &[],
    );
    assert!(matches!(refused, Err(SubmitError::Broken(_))));
}

#[test]
fn workers_that_exit_at_once_end_the_pool_with_their_status() {
    let tester = Tester::with(2, 64, &[(START, "exit")]);
    match &*why(&tester) {
        Broken::Start(text) => assert!(text.contains("exited with status 7"), "{text}"),
        other => panic!("{other:?}"),
    }
    tester.gone();
}

#[test]
fn workers_that_may_open_too_few_files_end_the_pool() {
    let tester = Tester::with(2, 64, &[(START, "starve")]);
    match &*why(&tester) {
        Broken::Start(text) => assert!(text.contains("exited with status 101"), "{text}"),
        other => panic!("{other:?}"),
    }
    tester.gone();
}

#[test]
fn a_shutdown_waits_for_what_was_submitted() {
    let tester = Tester::with(2, 64, &[]);
    let tasks: Vec<_> = (0..500u64)
        .map(|id| tester.submit("spin", &(id % 300).to_le_bytes()))
        .collect();
    tester.pool.shutdown(false);
    let refused = tester.pool.submit(
        manyhands::Kind::Function,
        tester.function("echo"),
        None,
        &[],
    );
    assert!(matches!(refused, Err(SubmitError::ShutDown)));
    tester.gone();
    for (id, task) in tasks.iter().enumerate() {
        assert_eq!(number(task.take_outcome().unwrap()), id as u64 % 300);
    }
}

#[test]
fn a_shutdown_that_cancels_ends_what_runs_and_nothing_else() {
    let tester = Tester::with(1, 64, &[]);
    let running = tester.submit("sleep", &100u64.to_le_bytes());
    while !tester.pool.is_running(&running) {
        thread::yield_now();
    }
    let rest: Vec<_> = (0..200).map(|_| tester.submit("double", &[0; 8])).collect();
    tester.pool.shutdown(true);
    tester.gone();
    assert!(matches!(
        running.take_outcome(),
        Some(Outcome::Ended { .. })
    ));
    for task in rest {
        assert!(matches!(task.take_outcome(), Some(Outcome::Cancelled)));
    }
}

#[test]
fn a_kill_ends_everything_at_once() {
    let tester = Tester::with(2, 64, &[]);
    tester.ready();
    let pids = tester.pids();
    let tasks: Vec<_> = (0..200)
        .map(|_| tester.submit("sleep", &1_000_000u64.to_le_bytes()))
        .collect();
    proc::signal(pids[0], libc::SIGSTOP);
    tester.pool.kill();
    for task in &tasks {
        match tester.outcome(task) {
            Outcome::Broken(why) => assert!(matches!(*why, Broken::Killed)),
            other => panic!("{other:?}"),
        }
    }
    tester.gone();
    assert!(pids.iter().all(|pid| proc::state(*pid).is_none()));
}

#[test]
fn a_dropped_pool_ends_what_it_has_and_then_its_workers() {
    let tester = Tester::with(2, 64, &[]);
    tester.ready();
    let pids = tester.pids();
    let task = tester.submit("sleep", &50u64.to_le_bytes());
    let gone = tester.pool.gone().clone();
    drop(tester);
    while !gone.is_done() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(task.take_outcome(), Some(Outcome::Ended { .. })));
    assert!(pids.iter().all(|pid| proc::state(*pid).is_none()));
}

#[test]
fn a_worker_that_does_not_end_is_killed_after_the_grace() {
    let tester = Tester::with(2, 64, &[]);
    tester.ready();
    let pids = tester.pids();
    proc::signal(pids[1], libc::SIGSTOP);
    tester.finish();
    assert!(pids.iter().all(|pid| proc::state(*pid).is_none()));
}

#[test]
fn a_task_that_forks_and_lets_the_child_return_harms_nobody() {
    let tester = Tester::with(1, 64, &[]);
    assert_eq!(tester.call("fork", b""), b"Some(9)");
    assert_eq!(
        tester.number(&tester.submit("double", &4u64.to_le_bytes())),
        8
    );
    tester.finish();
}

#[test]
fn a_forked_child_that_lives_on_does_not_hide_its_workers_death() {
    let tester = Tester::with(1, 64, &[]);
    let child = tester.number(&tester.submit("leak", &2_000u64.to_le_bytes()));
    match tester.outcome(&tester.submit("exit", &5u64.to_le_bytes())) {
        Outcome::Died(death) => assert_eq!(death.exit, Exit::Code(5)),
        other => panic!("{other:?}"),
    }
    assert!(proc::state(child as u32).is_some());
    assert_eq!(
        tester.number(&tester.submit("double", &4u64.to_le_bytes())),
        8
    );
    proc::signal(child as u32, libc::SIGKILL);
    tester.finish();
}

/// The owner of a pool that is going to be killed: tells the workers' numbers, and waits.
#[test]
fn owner_entry() {
    if std::env::var_os("MANYHANDS_TEST_OWNER").is_none() {
        return;
    }
    let tester = Tester::with(3, 64, &[]);
    tester.ready();
    println!("\nworkers {:?}", tester.pids());
    let busy = tester.submit("sleep", &1_000_000u64.to_le_bytes());
    tester.outcome(&busy);
}

#[test]
fn the_owners_death_ends_its_workers_also_stopped_ones() {
    let _watchdog = proc::Watchdog::new(Duration::from_secs(60), None);
    let mut owner = this_binary("owner_entry")
        .env("MANYHANDS_TEST_OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("workers ").map(str::to_owned))
        .unwrap();
    let pids: Vec<u32> = line
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 3);
    let files = proc::memfds(owner.id());
    assert!(!files.is_empty());
    proc::signal(pids[1], libc::SIGSTOP);
    owner.kill().unwrap();
    owner.wait().unwrap();
    while pids.iter().any(|pid| proc::state(*pid).is_some()) {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(proc::holders(&files), Vec::<u32>::new());
}

#[test]
fn an_idle_pool_makes_no_thread_run() {
    if !common::alone("an_idle_pool_makes_no_thread_run") {
        return;
    }
    let tester = Tester::new(2);
    for kind in manyhands::Kind::ALL {
        let tasks: Vec<_> = (0..100u64)
            .map(|id| tester.submit_as(kind, "double", &id.to_le_bytes()))
            .collect();
        for task in &tasks {
            tester.outcome(task);
        }
    }
    tester.is_idle_for(Duration::from_secs(2), 2 * 3 + 3);
    tester.finish();
}

#[test]
fn fifty_pools_leave_no_descriptor_and_no_thread_behind() {
    if !common::alone("fifty_pools_leave_no_descriptor_and_no_thread_behind") {
        return;
    }
    let round = || {
        let tester = Tester::with(2, 64, &[]);
        assert_eq!(
            tester.number(&tester.submit("double", &[1, 0, 0, 0, 0, 0, 0, 0])),
            2
        );
        tester.finish();
    };
    // The supervisor lets go of its last descriptors just after it has said that all is over.
    let settled = |expected: Option<(usize, usize)>| loop {
        let now = (proc::descriptors(), proc::threads());
        if expected.is_none_or(|expected| now <= expected) {
            return now;
        }
        thread::sleep(Duration::from_millis(1));
    };
    round();
    thread::sleep(Duration::from_millis(100));
    let before = settled(None);
    for _ in 0..50 {
        round();
    }
    settled(Some(before));
}

#[test]
fn waiting_in_a_forked_child_is_an_error_and_no_hang() {
    if !common::alone("waiting_in_a_forked_child_is_an_error_and_no_hang") {
        return;
    }
    let tester = Tester::with(1, 64, &[]);
    let task = tester.submit("sleep", &100u64.to_le_bytes());
    // SAFETY: the child runs code that takes no lock another thread may have held, and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = tester.pool.wait(&task, None).is_err()
            && tester.pool.open_door().is_err()
            && !tester.pool.cancel(&task);
        tester.pool.shutdown(true);
        tester.pool.kill();
        tester.pool.poll();
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for one's own child, and stores into a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(tester.pool.wait(&task, None).unwrap(), Waited::Done);
    tester.finish();
}
