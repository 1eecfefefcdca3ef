//! Waiting for tasks: threads that come and go, event loops, and all of them at once.

mod common;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Tester, number};
use manyhands::process::{LoopWaiter, Waited};
use manyhands::task::{Task, Waiter};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

/// An event loop that only watches a pool: keeps tasks in flight until it has seen `count`.
fn play_event_loop(tester: &Tester, count: u64, in_flight: usize) {
    let door = tester.pool.open_door().unwrap();
    let mut waiting: HashMap<u64, Arc<Task>> = HashMap::new();
    let (mut next, mut seen) = (0, 0);
    while seen < count {
        while waiting.len() < in_flight && next < count {
            let task = tester.submit("double", &next.to_le_bytes());
            let waiter: Arc<dyn Waiter> = LoopWaiter::new(door.clone(), next);
            if task.watch(waiter) {
                tester.pool.count_wait(&door, true);
                waiting.insert(next, task);
            } else {
                assert_eq!(number(task.take_outcome().unwrap()), next * 2);
                seen += 1;
            }
            next += 1;
        }
        if waiting.is_empty() {
            continue;
        }
        let mut poll = libc::pollfd {
            fd: door.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, -1) };
        assert_eq!(ready, 1);
        for key in tester.pool.read_door(&door) {
            let task = waiting.remove(&key).expect("told once");
            assert_eq!(number(task.take_outcome().unwrap()), key * 2);
            tester.pool.count_wait(&door, false);
            seen += 1;
        }
    }
    tester.pool.close_door(&door);
}

/// A thread that waits for one task after another, now and then with a limit.
fn play_thread(tester: &Tester, count: u64) {
    for id in 0..count {
        let task = tester.submit("double", &id.to_le_bytes());
        let limit = (id % 3 == 0).then(|| Duration::from_micros(id % 100));
        while tester.pool.wait(&task, limit).unwrap() != Waited::Done {}
        assert_eq!(number(task.take_outcome().unwrap()), id * 2);
    }
}

#[test]
fn one_loop_alone_loses_no_wake_up() {
    let tester = Tester::new(2);
    play_event_loop(&tester, 5_000, 1);
    play_event_loop(&tester, 20_000, 100);
    tester.finish();
}

#[test]
fn two_loops_and_a_thread_at_once_lose_no_wake_up() {
    let tester = Tester::new(2);
    thread::scope(|scope| {
        scope.spawn(|| play_event_loop(&tester, 40_000, 50));
        scope.spawn(|| play_event_loop(&tester, 40_000, 3));
        scope.spawn(|| play_thread(&tester, 20_000));
    });
    tester.finish();
}

#[test]
fn more_loops_than_doorbells_work_as_well() {
    let tester = Tester::new(2);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| play_event_loop(&tester, 1_000, 5));
        }
    });
    tester.finish();
}

#[test]
fn the_drainers_role_goes_on_however_a_thread_leaves() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    // SAFETY: a handler that does nothing, without SA_RESTART, so that waits end by it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let tester = Tester::new(2);
    let (left, interrupted) = (AtomicUsize::new(4), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (sender, threads) = std::sync::mpsc::channel();
        for thread in 0..4u64 {
            let (tester, left, interrupted, done) = (&tester, &left, &interrupted, &done);
            let sender = sender.clone();
            scope.spawn(move || {
                // SAFETY: asks for the calling thread's own name.
                sender.send(unsafe { libc::pthread_self() }).unwrap();
                for id in 0..3_000u64 {
                    let input = (id % 50 * (thread + 1)).to_le_bytes();
                    let task = tester.submit("spin", &input);
                    let limit = (id % 2 == thread % 2).then(|| Duration::from_micros(id % 300));
                    loop {
                        match tester.pool.wait(&task, limit).unwrap() {
                            Waited::Done => break,
                            Waited::TimedOut => assert!(limit.is_some()),
                            Waited::Interrupted => {
                                interrupted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    assert!(task.take_outcome().is_some());
                }
                left.fetch_sub(1, Ordering::Relaxed);
                // The thread stays for as long as it may be sent a signal.
                while !done.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let threads: Vec<_> = threads.iter().take(4).collect();
        while left.load(Ordering::Relaxed) > 0 {
            for thread in &threads {
                // SAFETY: the thread runs until `done` is set below.
                unsafe { libc::pthread_kill(*thread, libc::SIGUSR1) };
            }
            thread::sleep(Duration::from_micros(700));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(interrupted.into_inner() > 0);
    tester.finish();
}
