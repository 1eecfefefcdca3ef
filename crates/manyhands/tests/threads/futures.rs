//! Threads that run futures: how many, in which order, and what happens where there are none.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use manyhands::thread::{Error, ThreadPool};

use super::{assert_no_threads_named, pool, threads_named};

#[test]
fn futures_begin_in_the_order_of_their_submission() {
    let pool = Arc::new(ThreadPool::builder().workers(1).concurrency(1).build());
    for within in [false, true] {
        for _ in 0..50 {
            let log = Arc::new(Mutex::new(Vec::new()));
            let (logs, spawns) = (log.clone(), pool.clone());
            let spawn = move || -> Vec<_> {
                let one = |n| {
                    let log = logs.clone();
                    spawns.spawn_async(async move {
                        log.lock().unwrap().push(n);
                        tokio::task::yield_now().await;
                    })
                };
                (0..50).map(one).collect()
            };
            let handles = if within {
                pool.spawn_async(async move { spawn() }).wait().unwrap()
            } else {
                spawn()
            };
            for handle in handles {
                handle.wait().unwrap();
            }
            let log = log.lock().unwrap();
            assert!(log.is_sorted() && log.len() == 50, "{log:?}");
        }
    }
}

#[test]
fn one_future_at_a_time_starts_one_thread() {
    let pool = ThreadPool::builder().workers(100).name("few").build();
    for n in 0..100 {
        assert_eq!(pool.spawn_async(async move { n }).wait().unwrap(), n);
        // What is left of it after its outcome would be beside the next one.
        while format!("{pool:?}").contains("futures: 1") {
            std::thread::yield_now();
        }
    }
    assert_eq!(threads_named("few-async").len(), 1);
}

#[test]
fn futures_that_keep_their_threads_get_one_each() {
    let pool = ThreadPool::builder().workers(3).concurrency(50).build();
    let barrier = Arc::new(std::sync::Barrier::new(3));
    let handles: Vec<_> = (0..3)
        .map(|_| {
            let barrier = barrier.clone();
            pool.spawn_async(async move { barrier.wait().is_leader() })
        })
        .collect();
    let leaders = handles.into_iter().map(|handle| handle.wait().unwrap());
    assert_eq!(leaders.filter(|is_leader| *is_leader).count(), 1);
}

#[test]
fn a_future_goes_to_a_thread_that_is_not_kept_by_another() {
    let pool = ThreadPool::builder().workers(2).concurrency(50).build();
    // Each thread has one future that waits for ever.
    let waiting: Vec<_> = (0..2)
        .map(|_| pool.spawn_async(std::future::pending::<()>()))
        .collect();
    for _ in 0..100 {
        let (open, gate) = channel::<()>();
        let (say, said) = channel();
        let keeps = pool.spawn_async(async move {
            say.send(()).unwrap();
            gate.recv().unwrap();
        });
        said.recv().unwrap();
        assert_eq!(pool.spawn_async(async { 1 }).wait().unwrap(), 1);
        open.send(()).unwrap();
        keeps.wait().unwrap();
    }
    waiting.iter().for_each(|handle| handle.cancel());
    pool.shutdown();
}

#[test]
fn no_thread_is_started_for_a_pool_that_was_killed() {
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = begun.clone();
    let pool = ThreadPool::builder()
        .name("dead")
        .initializer(move || {
            begins.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    pool.kill();
    let refused = pool.spawn_async(async { 1 }).wait();
    assert!(matches!(refused, Err(Error::ShutDown)));
    assert_eq!(threads_named("dead").len(), 0);
    assert_eq!(begun.load(Ordering::Relaxed), 0);
}

#[test]
fn a_shutdown_inside_of_another_runtime_waits_for_the_threads_as_well() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for _ in 0..20 {
        runtime.block_on(async {
            let pool = ThreadPool::builder().workers(3).name("inside").build();
            assert_eq!(pool.spawn_async(async { 1 }).await.unwrap(), 1);
            pool.shutdown();
            assert_no_threads_named("inside");
        });
    }
}

#[test]
fn an_initializer_that_fails_in_one_half_of_the_pool_breaks_the_other() {
    for fails_for_futures in [false, true] {
        let pool = ThreadPool::builder()
            .workers(1)
            .initializer(move || {
                let current = std::thread::current();
                let is_for_futures = current.name().unwrap().contains("async");
                assert!(is_for_futures != fails_for_futures, "no licence");
            })
            .build();
        let is_broken = |result: Result<u8, Error>| match result {
            Err(Error::Initializer(panic)) => panic.message() == "no licence",
            _ => false,
        };
        // What runs already goes on.
        let (sender, receiver) = channel::<()>();
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let (say, said) = channel();
        let running = if fails_for_futures {
            pool.spawn(move || {
                say.send(()).unwrap();
                receiver.recv().unwrap();
            })
        } else {
            pool.spawn_async(async move {
                say.send(()).unwrap();
                opened.await.unwrap();
            })
        };
        said.recv().unwrap();
        let failed = if fails_for_futures {
            pool.spawn_async(async { 1 }).wait()
        } else {
            pool.spawn(|| 1).wait()
        };
        assert!(is_broken(failed));
        // The thread says so to the other half a moment before or after that.
        let mut later = [pool.spawn(|| 1), pool.spawn_async(async { 1 })];
        if fails_for_futures {
            while !is_broken(pool.spawn_async(async { 1 }).wait()) {}
            while !format!("{pool:?}").contains("broken: true") {
                std::thread::yield_now();
            }
            later[0] = pool.spawn(|| 1);
        }
        for later in later {
            assert!(is_broken(later.wait()));
        }
        if fails_for_futures {
            sender.send(()).unwrap();
        } else {
            open.send(()).unwrap();
        }
        running.wait().unwrap();
        pool.shutdown();
    }
}

#[test]
fn spawning_a_future_from_a_future_s_destructor_or_ending_the_pool_there_does_not_hang() {
    struct Ends(Arc<Mutex<Option<ThreadPool>>>);
    impl Drop for Ends {
        fn drop(&mut self) {
            let pool = self.0.lock().unwrap().take().unwrap();
            drop(pool.spawn_async(async {}));
            pool.shutdown();
        }
    }
    let place = Arc::new(Mutex::new(Some(pool(1))));
    let ends = Ends(place.clone());
    let (say, said) = channel();
    let handle = place
        .lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .spawn_async(async move {
            let _ends = ends;
            say.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    said.recv().unwrap();
    handle.cancel();
    assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    while Arc::strong_count(&place) > 1 {
        std::thread::yield_now();
    }
}

/// So much address space, in KiB.
const LITTLE_MEMORY: &str = "-v 700000";

/// Runs the test of this name again, in a process with a limit.
fn with_limit(limit: &str, test: &str, run: impl FnOnce()) {
    const INSIDE: &str = "MANYHANDS_TEST_LIMITED";
    if std::env::var_os(INSIDE).is_some() {
        return run();
    }
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit {limit} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success());
}

/// Leaves no room for a thread.
fn eat() -> Vec<Vec<u8>> {
    let mut eaten: Vec<Vec<u8>> = Vec::with_capacity(4_096);
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            return eaten;
        }
        eaten.push(block);
    }
}

#[manyhands::task]
fn same(n: u64) -> u64 {
    n
}

#[test]
fn a_map_goes_on_after_a_thread_could_not_be_started() {
    let name = "futures::a_map_goes_on_after_a_thread_could_not_be_started";
    with_limit(LITTLE_MEMORY, name, || {
        let pool = manyhands::Pool::threads().workers(2).build();
        let mut results = pool.map(same, 0..5).buffer(1);
        let eaten = eat();
        let first = results.next();
        drop(eaten);
        assert!(matches!(first, Some(Err(_))), "{first:?}");
        let others: Result<Vec<_>, _> = results.collect();
        assert_eq!(others.unwrap(), [1, 2, 3, 4]);
    });
}

#[test]
fn without_any_thread_a_future_ends_with_that_error_and_with_one_the_next_runs() {
    let name =
        "futures::without_any_thread_a_future_ends_with_that_error_and_with_one_the_next_runs";
    with_limit(LITTLE_MEMORY, name, || {
        let pool = ThreadPool::builder().workers(4).build();
        let eaten = eat();
        for _ in 0..2 {
            let ended = pool.spawn_async(async { 1 }).wait();
            assert!(matches!(ended, Err(Error::Start(_))), "{ended:?}");
            let ended = pool.spawn(|| 1).wait();
            assert!(matches!(ended, Err(Error::Start(_))), "{ended:?}");
        }
        drop(eaten);
        assert_eq!(pool.spawn_async(async { 1 }).wait().unwrap(), 1);
        assert_eq!(pool.spawn(|| 1).wait().unwrap(), 1);
        pool.shutdown();
    });
}

#[test]
fn with_too_few_threads_the_others_run_all_futures() {
    let name = "futures::with_too_few_threads_the_others_run_all_futures";
    // A runtime needs some descriptors of its own.
    with_limit("-n 60", name, || {
        let spare = std::fs::File::open("/proc/self").unwrap();
        let another = spare.try_clone().unwrap();
        let pool = ThreadPool::builder().workers(2_000).name("too").build();
        let handles: Vec<_> = (0..2_000)
            .map(|n| {
                pool.spawn_async(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    n
                })
            })
            .collect();
        drop((spare, another));
        let started = threads_named("too-async").len();
        assert!((1..60).contains(&started), "{started} threads");
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap(), n);
        }
        pool.shutdown();
        assert_no_threads_named("too-async");
    });
}
