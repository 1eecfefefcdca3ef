//! The life of pools and workers: initializers, replacements, nesting, and what is left behind.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use manyhands::{Error, Exit, Pool, task};

use super::{double, nap, pid_later, proc, sleep, watchdog};

static LOADED: OnceLock<(String, Vec<u8>)> = OnceLock::new();

#[task]
fn load(text: String, model: Vec<u8>) -> Result<(), String> {
    if model.is_empty() {
        return Err(format!("{text} is no model"));
    }
    LOADED.set((text, model)).map_err(|_| "twice".into())
}

#[task]
fn loaded() -> Option<(String, usize)> {
    let (text, model) = LOADED.get()?;
    Some((text.clone(), model.len()))
}

#[task]
async fn loaded_later() -> bool {
    LOADED.get().is_some()
}

#[test]
fn each_worker_is_initialized_before_its_first_task() {
    let _watchdog = watchdog();
    let pool = Pool::builder()
        .workers(2)
        .max_tasks(3)
        .initializer(load, ("large".into(), vec![7; 3 << 20]))
        .build()
        .unwrap();
    for _ in 0..20 {
        let here = pool.submit(loaded, ()).wait().unwrap();
        assert_eq!(here, Some(("large".into(), 3 << 20)));
        assert!(pool.submit(loaded_later, ()).wait().unwrap());
    }
}

#[test]
fn an_initializer_that_fails_says_why() {
    let _watchdog = watchdog();
    #[task]
    fn panics(text: String) {
        panic!("{text}");
    }
    let text_of = |error: manyhands::Result<u64>| match error {
        Err(Error::Initializer(text)) => text,
        other => panic!("{other:?}"),
    };
    let pool = Pool::builder()
        .workers(1)
        .initializer(load, ("air".into(), Vec::new()))
        .build()
        .unwrap();
    let text = text_of(pool.submit(double, 1).wait());
    assert_eq!(text, "air is no model");
    // What is submitted when it has broken says so, too.
    assert_eq!(text_of(pool.submit(double, 1).wait()), text);
    assert!(matches!(pool.shutdown(), Err(Error::Initializer(_))));

    let pool = Pool::builder()
        .workers(1)
        .initializer(panics, "no luck".into())
        .build()
        .unwrap();
    let text = text_of(pool.submit(double, 1).wait());
    assert!(
        text.contains("panicked at") && text.ends_with("no luck"),
        "{text}"
    );
}

#[test]
fn an_initializer_that_is_async_is_refused() {
    #[task]
    async fn later() {}
    let built = Pool::builder().initializer(later, ()).build();
    assert!(matches!(built, Err(Error::Unsupported(_))));
}

#[test]
fn workers_are_replaced_after_their_share_and_no_task_is_lost() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(2).max_tasks(10).build().unwrap();
    let functions: Vec<_> = (0..200).map(|_| pool.submit(super::pid, ())).collect();
    let mut counts = std::collections::HashMap::new();
    for handle in functions {
        *counts.entry(handle.wait().unwrap()).or_insert(0) += 1;
    }
    assert!(
        counts.len() >= 20 && counts.values().all(|count| *count <= 10),
        "{counts:?}"
    );
    let coroutines: Vec<_> = (0..200).map(|_| pool.submit(pid_later, ())).collect();
    let pids: HashSet<_> = coroutines
        .into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect();
    assert!(pids.len() >= 20, "{pids:?}");
    pool.shutdown().unwrap();
}

#[test]
fn coroutines_run_many_at_once_and_no_more_than_allowed() {
    let _watchdog = watchdog();
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    #[task]
    async fn together() {
        let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        NOW.fetch_sub(1, Ordering::SeqCst);
    }
    #[task]
    async fn most() -> usize {
        MOST.load(Ordering::SeqCst)
    }
    let pool = Pool::builder().workers(1).concurrency(30).build().unwrap();
    let handles: Vec<_> = (0..200).map(|_| pool.submit(together, ())).collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(pool.submit(most, ()).wait().unwrap(), 30);

    // All of them wait for one another.
    #[task]
    async fn meet(guests: usize) {
        static PARTY: OnceLock<tokio::sync::Barrier> = OnceLock::new();
        PARTY
            .get_or_init(|| tokio::sync::Barrier::new(guests))
            .wait()
            .await;
    }
    let pool = Pool::builder().workers(1).concurrency(500).build().unwrap();
    let guests: Vec<_> = (0..500).map(|_| pool.submit(meet, 500)).collect();
    for guest in guests {
        guest.wait().unwrap();
    }
}

/// Many results come at the moment at which the next input is read.
#[test]
fn bursts_of_results_while_inputs_are_read_are_not_lost() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(2).concurrency(50).build().unwrap();
    for _ in 0..5 {
        let naps = pool.map(nap, std::iter::repeat_n(5, 1000)).unordered();
        assert_eq!(naps.map(Result::unwrap).sum::<u64>(), 5000);
    }
}

#[test]
fn a_function_does_not_hold_up_coroutines_nor_they_it() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let function = pool.submit(sleep, 1_000_000);
    assert_eq!(pool.submit(nap, 1).wait().unwrap(), 1);
    function.cancel();
    let coroutine = pool.submit(nap, 1_000_000);
    assert_eq!(pool.submit(double, 1).wait().unwrap(), 2);
    drop(coroutine);
}

/// The workers of a pool of two, once both are there.
fn both(pool: &Pool) -> [u32; 2] {
    loop {
        if let Ok(pids) = pool.pids().try_into() {
            return pids;
        }
        thread::yield_now();
    }
}

#[task]
fn has_a_pool_of_its_own(numbers: Vec<u64>) -> u64 {
    let pool = Pool::builder().workers(2).build().unwrap();
    let doubled = pool.map(double, numbers);
    let sum = doubled.map(Result::unwrap).sum();
    pool.shutdown().unwrap();
    sum
}

#[task]
fn keeps_a_pool(file: String) {
    let pool = Pool::builder().workers(2).build().unwrap();
    pool.submit(double, 1).wait().unwrap();
    let pids = both(&pool).map(|pid| pid.to_string());
    std::fs::write(file.clone() + ".new", pids.join(" ")).unwrap();
    std::fs::rename(file.clone() + ".new", file).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn a_task_may_have_a_pool_which_ends_with_its_worker() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let sum = pool.submit(has_a_pool_of_its_own, vec![1, 2, 3]).wait();
    assert_eq!(sum.unwrap(), 12);

    let file = std::env::temp_dir().join(format!("manyhands-nested-{}", std::process::id()));
    let handle = pool.submit(keeps_a_pool, file.to_str().unwrap().into());
    while !file.exists() {
        thread::sleep(Duration::from_millis(1));
    }
    let pids = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    handle.cancel();
    assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    while pids.iter().any(|pid| proc::state(*pid).is_some()) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pool_that_was_killed_shuts_down_well() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let handle = pool.submit(sleep, 1_000_000);
    pool.kill();
    assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    pool.shutdown().unwrap();
}

#[test]
fn a_pool_that_is_dropped_has_left_no_process() {
    let _watchdog = watchdog();
    for _ in 0..5 {
        let pool = Pool::builder().workers(2).build().unwrap();
        pool.submit(double, 1).wait().unwrap();
        let pids = both(&pool);
        let running = pool.submit(sleep, 1_000_000);
        drop(pool);
        assert!(pids.iter().all(|pid| proc::state(*pid).is_none()));
        assert!(matches!(running.wait(), Err(Error::Cancelled)));
    }
    // Nor does one that is dropped before its workers are there.
    for _ in 0..20 {
        let pool = Pool::builder().workers(2).build().unwrap();
        let handle = pool.submit(double, 1);
        drop(pool);
        match handle.wait() {
            Ok(2) | Err(Error::Cancelled) => {}
            Err(Error::WorkerDied {
                exit: Exit::Signal(libc::SIGKILL),
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}
