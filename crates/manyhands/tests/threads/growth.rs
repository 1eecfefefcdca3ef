//! Which thread runs what, and how many there are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use manyhands::thread::ThreadPool;

use super::{Gate, pool, settle, switches, threads_named};

#[test]
fn one_thread_runs_tasks_in_the_order_of_their_submission() {
    let pool = pool(1);
    let log = Arc::new(Mutex::new(Vec::new()));
    let handles: Vec<_> = (0..10_000)
        .map(|n| {
            let log = log.clone();
            pool.spawn(move || log.lock().unwrap().push(n))
        })
        .collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(*log.lock().unwrap(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn many_submitters_lose_nothing() {
    let pool = pool(3);
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for submitter in 0..8 {
            let (pool, sum) = (&pool, &sum);
            scope.spawn(move || {
                for round in 0..50 {
                    let handles: Vec<_> = (0..100)
                        .map(|n| pool.spawn(move || submitter * 5_000 + round * 100 + n))
                        .collect();
                    for handle in handles {
                        sum.fetch_add(handle.wait().unwrap(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), (0..40_000).sum::<usize>());
}

#[test]
fn a_task_for_which_an_idle_thread_is_there_starts_none() {
    let pool = ThreadPool::builder().workers(8).name("lazy").build();
    assert_eq!(
        threads_named("lazy-").len(),
        0,
        "none before the first task"
    );
    for n in 0..1_000 {
        assert_eq!(pool.spawn(move || n).wait().unwrap(), n);
    }
    assert_eq!(threads_named("lazy-").len(), 1);
}

#[test]
fn tasks_that_block_get_a_thread_each_up_to_the_limit() {
    let pool = ThreadPool::builder().workers(4).name("blocks").build();
    let gate = Gate::default();
    let handles: Vec<_> = (0..10)
        .map(|_| {
            let gate = gate.clone();
            pool.spawn(move || gate.pass())
        })
        .collect();
    gate.wait_for(4);
    assert_eq!(threads_named("blocks-").len(), 4);
    gate.open();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(threads_named("blocks-").len(), 4);
}

#[test]
fn tasks_that_need_one_another_run_at_once() {
    let pool = pool(4);
    for _ in 0..2_000 {
        let barrier = Arc::new(Barrier::new(4));
        let handles = [(); 4].map(|()| {
            let barrier = barrier.clone();
            pool.spawn(move || {
                barrier.wait();
            })
        });
        for handle in handles {
            handle.wait().unwrap();
        }
    }
}

#[test]
fn tasks_that_tasks_submit_are_run() {
    let pool = Arc::new(pool(2));
    let (sender, receiver) = std::sync::mpsc::channel();
    fn split(pool: &Arc<ThreadPool>, depth: u32, sender: std::sync::mpsc::Sender<u32>) {
        if depth == 0 {
            sender.send(1).unwrap();
            return;
        }
        for _ in 0..2 {
            let (inner, sender) = (Arc::downgrade(pool), sender.clone());
            drop(pool.spawn(move || {
                if let Some(pool) = inner.upgrade() {
                    split(&pool, depth - 1, sender);
                }
            }));
        }
    }
    split(&pool, 10, sender);
    assert_eq!(receiver.iter().take(1_024).sum::<u32>(), 1_024);
}

#[test]
fn idle_threads_sleep_until_there_is_work() {
    let pool = ThreadPool::builder().workers(3).name("sleepy").build();
    let barrier = Arc::new(Barrier::new(3));
    let handles = [(); 3].map(|()| {
        let barrier = barrier.clone();
        pool.spawn(move || {
            barrier.wait();
        })
    });
    for handle in handles {
        handle.wait().unwrap();
    }
    let threads = threads_named("sleepy-");
    assert_eq!(threads.len(), 3);
    threads.iter().copied().for_each(settle);
    // Whatever they still do about going to sleep they do now.
    thread::sleep(Duration::from_millis(50));
    let count = || threads.iter().copied().map(switches).sum::<u64>();
    let before = count();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), before, "nobody wakes without work");
    assert_eq!(pool.spawn(|| 5).wait().unwrap(), 5);
}

#[test]
fn threads_have_names_and_an_initializer_each() {
    let names = Arc::new(Mutex::new(HashSet::new()));
    let initialized = names.clone();
    let pool = ThreadPool::builder()
        .workers(3)
        .name("crew")
        .initializer(move || {
            let name = thread::current().name().unwrap().to_owned();
            assert!(initialized.lock().unwrap().insert(name), "once a thread");
        })
        .build();
    let barrier = Arc::new(Barrier::new(3));
    let handles = [(); 3].map(|()| {
        let barrier = barrier.clone();
        pool.spawn(move || {
            barrier.wait();
            thread::current().name().unwrap().to_owned()
        })
    });
    let ran: HashSet<_> = handles.map(|handle| handle.wait().unwrap()).into();
    assert_eq!(ran, ["crew-0", "crew-1", "crew-2"].map(String::from).into());
    assert_eq!(*names.lock().unwrap(), ran);
}
