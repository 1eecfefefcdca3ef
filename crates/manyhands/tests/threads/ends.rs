//! Shutting down, killing and dropping, under load and from within.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use manyhands::thread::{Error, Handle, ThreadPool, is_cancelled};

use super::{Gate, pool, threads_named};

#[test]
fn a_shutdown_waits_for_every_task_and_every_thread() {
    for name in ["down-a", "down-b", "down-c"] {
        let pool = ThreadPool::builder()
            .workers(3)
            .concurrency(10)
            .name(name)
            .build();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..1_000 {
            let both = [count.clone(), count.clone()];
            let [one, other] = both;
            drop(pool.spawn(move || one.fetch_add(1, Ordering::Relaxed)));
            drop(pool.spawn_async(async move {
                tokio::time::sleep(Duration::from_micros(10)).await;
                other.fetch_add(1, Ordering::Relaxed)
            }));
        }
        pool.shutdown();
        assert_eq!(count.load(Ordering::Relaxed), 2_000);
        assert_eq!(threads_named(name).len(), 0);
        assert_eq!(Arc::strong_count(&count), 1, "nothing is left of the tasks");
    }
}

/// Each handle gives its value, or that it was cancelled; gives how many there were of each.
fn outcomes(handles: Vec<Handle<usize>>) -> (usize, usize) {
    let (mut values, mut cancelled) = (0, 0);
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.wait() {
            Ok(value) => {
                assert_eq!(value, n);
                values += 1;
            }
            Err(Error::Cancelled) => cancelled += 1,
            Err(other) => panic!("{other}"),
        }
    }
    (values, cancelled)
}

#[test]
fn a_pool_killed_under_load_ends_every_task() {
    for round in 0..20 {
        let pool = pool(2);
        let handles: Vec<_> = (0..2_000)
            .map(|n| pool.spawn(move || (0..round).fold(n, |n, _| std::hint::black_box(n))))
            .collect();
        pool.kill();
        let (values, cancelled) = outcomes(handles);
        assert_eq!(values + cancelled, 2_000);
        let refused = pool.spawn(|| 1).wait();
        assert!(matches!(refused, Err(Error::ShutDown)));
        let refused = pool.spawn_async(async { 1 }).wait();
        assert!(matches!(refused, Err(Error::ShutDown)));
    }
}

#[test]
fn a_pool_dropped_under_load_ends_every_task() {
    for _ in 0..20 {
        let pool = pool(2);
        let handles: Vec<_> = (0..2_000).map(|n| pool.spawn(move || n)).collect();
        drop(pool);
        let (values, cancelled) = outcomes(handles);
        assert_eq!(values + cancelled, 2_000);
    }
}

#[test]
fn who_runs_is_told_when_the_pool_is_dropped_and_nobody_waits_for_it() {
    let pool = ThreadPool::builder().workers(2).name("told").build();
    let (sender, receiver) = channel();
    let gate = Gate::default();
    let running = pool.spawn({
        let (gate, sender) = (gate.clone(), sender.clone());
        move || {
            gate.pass();
            sender.send(is_cancelled()).unwrap();
        }
    });
    let future = pool.spawn_async(std::future::pending::<()>());
    gate.wait_for(1);
    drop(pool);
    assert!(matches!(running.wait(), Err(Error::Cancelled)));
    assert!(matches!(future.wait(), Err(Error::Cancelled)));
    gate.open();
    assert!(receiver.recv().unwrap());
    // Its threads end by themselves.
    while !threads_named("told-").is_empty() {
        thread::yield_now();
    }
}

#[test]
fn submitters_race_with_the_end() {
    for round in 0..30 {
        let pool = pool(2);
        let ran = Arc::new(AtomicUsize::new(0));
        let accepted = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let ran = ran.clone();
                        let handle = pool.spawn(move || ran.fetch_add(1, Ordering::Relaxed));
                        match handle.wait() {
                            Ok(_) => accepted.fetch_add(1, Ordering::Relaxed),
                            Err(Error::ShutDown | Error::Cancelled) => break,
                            Err(other) => panic!("{other}"),
                        };
                    }
                });
            }
            for _ in 0..round * 10 {
                thread::yield_now();
            }
            pool.kill();
        });
        assert!(ran.load(Ordering::Relaxed) >= accepted.load(Ordering::Relaxed));
    }
}

#[test]
fn a_task_may_kill_drop_or_shut_down_its_own_pool() {
    let act: [fn(ThreadPool); 3] = [
        |pool| pool.kill(),
        |pool| drop(pool),
        |pool| pool.shutdown(),
    ];
    for is_async in [false, true] {
        for act in act {
            let pool = pool(1);
            let count = Arc::new(AtomicUsize::new(0));
            let place = Arc::new(Mutex::new(None::<ThreadPool>));
            let (sender, receiver) = channel();
            let run = {
                let place = place.clone();
                move || {
                    act(place.lock().unwrap().take().unwrap());
                    sender.send(()).unwrap();
                }
            };
            let mut locked = place.lock().unwrap();
            let first = if is_async {
                pool.spawn_async(async move { run() })
            } else {
                pool.spawn(run)
            };
            let later: Vec<_> = (0..10)
                .map(|_| {
                    let count = count.clone();
                    pool.spawn(move || count.fetch_add(1, Ordering::Relaxed))
                })
                .collect();
            *locked = Some(pool);
            drop(locked);
            receiver.recv().unwrap();
            // It ends one way or the other.
            let _ = first.wait();
            let ended = later.into_iter().filter_map(|handle| handle.wait().ok());
            assert_eq!(ended.count(), count.load(Ordering::Relaxed));
        }
    }
}

#[test]
fn a_shutdown_from_within_still_runs_everything() {
    let pool = pool(1);
    let place = Arc::new(Mutex::new(None::<ThreadPool>));
    let inside = place.clone();
    let gate = Gate::default();
    let first = pool.spawn({
        let gate = gate.clone();
        move || {
            gate.pass();
            inside.lock().unwrap().take().unwrap().shutdown();
        }
    });
    let later: Vec<_> = (0..100).map(|n| pool.spawn(move || n)).collect();
    let future = pool.spawn_async(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        5
    });
    *place.lock().unwrap() = Some(pool);
    gate.open();
    first.wait().unwrap();
    assert_eq!(outcomes(later), (100, 0));
    assert_eq!(future.wait().unwrap(), 5);
}

#[test]
fn results_that_nobody_waits_for_are_dropped_at_once() {
    let pool = pool(1);
    let value = Arc::new(());
    for _ in 0..100 {
        let value = value.clone();
        drop(pool.spawn(move || value));
    }
    pool.spawn(|| ()).wait().unwrap();
    assert_eq!(Arc::strong_count(&value), 1);
    let kept = pool.spawn({
        let value = value.clone();
        move || value
    });
    let taken = kept.wait().unwrap();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(taken);
    let unread = pool.spawn({
        let value = value.clone();
        move || value
    });
    pool.spawn(|| ()).wait().unwrap();
    assert!(unread.is_done());
    drop(unread);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn an_idle_pool_can_be_shut_down_dropped_or_killed() {
    pool(4).shutdown();
    drop(pool(4));
    pool(4).kill();
    let used = pool(4);
    used.spawn(|| ()).wait().unwrap();
    used.shutdown();
}
