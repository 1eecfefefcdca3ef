//! Cancelling, and timeouts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use manyhands::thread::{Error, ThreadPool, is_cancelled};

use super::{Gate, pool};

#[test]
fn a_task_that_has_not_begun_is_withdrawn_and_dropped_at_once() {
    let pool = pool(1);
    let gate = Gate::default();
    let first = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    gate.wait_for(1);
    let captured = Arc::new(());
    let weak = Arc::downgrade(&captured);
    let second = pool.spawn(move || drop(captured));
    second.cancel();
    assert_eq!(weak.strong_count(), 0, "what it captured is gone");
    assert!(second.is_done());
    assert!(matches!(second.wait(), Err(Error::Cancelled)));
    gate.open();
    first.wait().unwrap();
}

#[test]
fn a_running_task_is_told_and_who_waits_does_not_wait_for_it() {
    let pool = pool(1);
    let (sender, receiver) = channel();
    let gate = Gate::default();
    let handle = pool.spawn({
        let gate = gate.clone();
        move || {
            assert!(!is_cancelled());
            gate.pass();
            sender.send(is_cancelled()).unwrap();
        }
    });
    gate.wait_for(1);
    assert!(handle.is_running());
    handle.cancel();
    assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    gate.open();
    assert!(receiver.recv().unwrap());
    let next = pool.spawn(is_cancelled);
    assert!(!next.wait().unwrap(), "the next task is another one");
    assert!(!is_cancelled(), "no task at all");
}

#[test]
fn a_task_that_has_ended_keeps_its_result() {
    let pool = pool(1);
    let handle = pool.spawn(|| 9);
    while !handle.is_done() {
        thread::yield_now();
    }
    handle.cancel();
    assert_eq!(handle.wait().unwrap(), 9);
}

#[test]
fn tasks_cancelled_at_any_moment_end_once_and_leave_nothing() {
    let pool = pool(2);
    let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    const TASKS: usize = 20_000;
    let (mut values, mut cancelled) = (0, 0);
    for n in 0..TASKS {
        let (ran, counted) = (ran.clone(), Counted(dropped.clone()));
        let handle = pool.spawn(move || {
            ran.fetch_add(1, Ordering::Relaxed);
            counted
        });
        for _ in 0..n % 64 {
            std::hint::spin_loop();
        }
        handle.cancel();
        match handle.wait() {
            Ok(_) => values += 1,
            Err(Error::Cancelled) => cancelled += 1,
            Err(other) => panic!("{other}"),
        }
    }
    pool.shutdown();
    assert_eq!(values + cancelled, TASKS);
    assert_eq!(dropped.load(Ordering::Relaxed), TASKS);
    assert!(ran.load(Ordering::Relaxed) >= values);
}

#[test]
fn a_timeout_counts_from_the_start_of_the_task() {
    let pool = pool(1);
    let gate = Gate::default();
    let blocker = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    gate.wait_for(1);
    let limit = Duration::from_millis(30);
    let mut late = pool.spawn(|| 3).timeout(limit);
    assert!(
        late.wait_timeout(4 * limit).is_none(),
        "it has not begun, so nothing is over"
    );
    let slow = pool.spawn(|| while !is_cancelled() {}).timeout(limit);
    gate.open();
    assert_eq!(late.wait().unwrap(), 3);
    match slow.wait() {
        Err(Error::TimedOut { ran }) => assert!(ran >= limit),
        other => panic!("{other:?}"),
    }
    blocker.wait().unwrap();
    assert_eq!(pool.spawn(|| 4).wait().unwrap(), 4, "the thread came back");
}

#[test]
fn a_timeout_of_a_task_that_ran_already_counts_what_it_ran() {
    let pool = pool(1);
    let gate = Gate::default();
    let handle = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    gate.wait_for(1);
    thread::sleep(Duration::from_millis(20));
    let handle = handle.timeout(Duration::from_millis(10));
    assert!(handle.is_done());
    assert!(matches!(handle.wait(), Err(Error::TimedOut { .. })));
    gate.open();
}

#[test]
fn a_task_within_its_time_gives_its_result() {
    let pool = pool(2);
    for n in 0..2_000 {
        let handle = pool.spawn(move || n).timeout(Duration::from_secs(3600));
        assert_eq!(handle.wait().unwrap(), n);
    }
}

#[test]
fn who_waits_for_some_time_only_can_wait_again() {
    let pool = pool(1);
    let (sender, receiver) = channel();
    let mut handle = pool.spawn(move || receiver.recv().unwrap());
    let begun = Instant::now();
    assert!(handle.wait_timeout(Duration::from_millis(10)).is_none());
    assert!(begun.elapsed() >= Duration::from_millis(10));
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    sender.send(6).unwrap();
    assert_eq!(handle.wait_timeout(Duration::MAX).unwrap().unwrap(), 6);
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        handle.wait_timeout(Duration::ZERO)
    }));
    assert!(again.is_err(), "a result is given once");
}

#[test]
fn a_future_is_dropped_at_its_next_await() {
    let pool = ThreadPool::builder().workers(1).concurrency(2).build();
    let (sender, receiver) = channel();
    struct Tell(std::sync::mpsc::Sender<bool>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.send(is_cancelled()).unwrap();
        }
    }
    let handle = pool.spawn_async(async move {
        let _tell = Tell(sender.clone());
        sender.send(is_cancelled()).unwrap();
        std::future::pending::<()>().await;
    });
    assert!(!receiver.recv().unwrap(), "it has begun");
    handle.cancel();
    assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    receiver.recv().unwrap();
    let slow = pool.spawn_async(std::future::pending::<()>());
    let slow = slow.timeout(Duration::from_millis(10));
    assert!(matches!(slow.wait(), Err(Error::TimedOut { .. })));
    pool.shutdown();
}

#[test]
fn a_future_that_waits_its_turn_can_be_withdrawn() {
    let pool = ThreadPool::builder().workers(1).concurrency(1).build();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let first = pool.spawn_async(async move { receiver.await.is_ok() });
    let captured = Arc::new(());
    let weak = Arc::downgrade(&captured);
    let second = pool.spawn_async(async move { drop(captured) });
    let third = pool.spawn_async(async { 3 });
    second.cancel();
    assert!(matches!(second.wait(), Err(Error::Cancelled)));
    assert_eq!(weak.strong_count(), 0);
    assert!(!third.is_done());
    sender.send(()).unwrap();
    assert!(first.wait().unwrap());
    assert_eq!(third.wait().unwrap(), 3);
}

#[test]
fn a_timeout_that_nobody_waits_for_is_enforced_by_the_next_who_does() {
    let pool = pool(1);
    let (gate, told) = (Gate::default(), Gate::default());
    let handle = pool.spawn({
        let (gate, told) = (gate.clone(), told.clone());
        move || {
            gate.pass();
            let before = is_cancelled();
            told.pass();
            (before, is_cancelled())
        }
    });
    let mut handle = handle.timeout(Duration::from_millis(10));
    gate.wait_for(1);
    thread::sleep(Duration::from_millis(20));
    gate.open();
    told.wait_for(1);
    assert!(handle.is_done(), "its time is over");
    let ended = handle.wait_timeout(Duration::ZERO);
    assert!(
        matches!(ended, Some(Err(Error::TimedOut { .. }))),
        "{ended:?}"
    );
    told.open();
}
