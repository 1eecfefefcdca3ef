//! Tasks that are ended from outside, and pools that end.

use std::time::Duration;

use manyhands::Error;

use crate::Folder;
use crate::backend::Backend;
use crate::tasks::{add_later, attempt, double, spin, until_allowed, until_told};

pub fn a_task_that_has_not_begun_is_withdrawn<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let files = (folder.file("started"), folder.file("allowed"));
    let running = pool.submit(until_allowed, files);
    folder.await_file("started");
    let waiting = pool.submit(until_told, folder.file("never"));
    waiting.cancel();
    assert!(matches!(waiting.wait(), Err(Error::Cancelled)));
    std::fs::write(folder.file("allowed"), "").unwrap();
    assert_eq!(running.wait().unwrap(), 7);
    assert!(!std::path::Path::new(&folder.file("never")).exists());
}

pub fn a_task_that_runs_is_stopped<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let running = pool.submit(until_told, folder.file("started"));
    folder.await_file("started");
    running.cancel();
    assert!(matches!(running.wait(), Err(Error::Cancelled)));
    assert_eq!(pool.submit(double, 4).wait().unwrap(), 8);
}

pub fn an_ended_task_cannot_be_cancelled<B: Backend>() {
    let pool = B::start(1);
    let handle = pool.submit(double, 4);
    while !handle.is_done() {
        std::thread::yield_now();
    }
    handle.cancel();
    assert_eq!(handle.wait().unwrap(), 8);
}

pub fn a_task_that_takes_too_long_is_stopped<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let limit = Duration::from_millis(50);
    let handle = pool.limited(Some(limit), 0, until_told, folder.file("started"));
    match handle.wait() {
        Err(Error::TimedOut { ran, .. }) => assert!(ran >= limit, "{ran:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.submit(double, 4).wait().unwrap(), 8);
}

pub fn a_timeout_may_come_while_the_task_runs<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let handle = pool.submit(until_told, folder.file("started"));
    folder.await_file("started");
    let handle = handle.timeout(Duration::from_millis(20));
    assert!(matches!(handle.wait(), Err(Error::TimedOut { .. })));
}

pub fn a_timeout_leaves_alone_what_ends_in_time<B: Backend>() {
    let pool = B::start(2);
    let limit = Some(Duration::from_secs(60));
    let handles: Vec<_> = (0..500)
        .map(|n| pool.limited(limit, 3, double, n))
        .collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), 2 * n as u64);
    }
    let coroutine = pool.limited(limit, 3, add_later, (1, 2));
    assert_eq!(coroutine.wait().unwrap(), 3);
}

pub fn failures_are_tried_again_as_often_as_allowed<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let enough = pool.limited(None, 2, attempt, (folder.file("enough"), 3));
    assert_eq!(enough.wait().unwrap(), 3);
    let too_few = pool.limited(None, 1, attempt, (folder.file("too few"), 3));
    match too_few.wait() {
        Err(Error::Panicked(panic)) => assert_eq!(panic.message(), "attempt 2 fails"),
        other => panic!("{other:?}"),
    }
    // A task that is too slow as well; it runs `retries + 1` times.
    let limit = Some(Duration::from_millis(20));
    let slow = pool.limited(limit, 2, until_told, folder.file("started"));
    assert!(matches!(slow.wait(), Err(Error::TimedOut { .. })));
}

pub fn shutdown_lets_everything_end<B: Backend>() {
    let pool = B::start(2);
    let functions: Vec<_> = (0..3000).map(|n| pool.submit(spin, n % 50)).collect();
    let coroutines: Vec<_> = (0..100).map(|n| pool.submit(add_later, (n, n))).collect();
    pool.shutdown().unwrap();
    for (n, handle) in functions.into_iter().enumerate() {
        assert!(handle.is_done());
        assert_eq!(handle.wait().unwrap(), n as u64 % 50);
    }
    for (n, handle) in coroutines.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), 2 * n as u64);
    }
}

pub fn a_pool_dropped_in_the_middle_cancels_what_it_has<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let ended = pool.submit(double, 3);
    let running = pool.submit(until_told, folder.file("started"));
    folder.await_file("started");
    let waiting: Vec<_> = (0..5000).map(|n| pool.submit(double, n)).collect();
    drop(pool);
    assert_eq!(ended.wait().unwrap(), 6);
    assert!(matches!(running.wait(), Err(Error::Cancelled)));
    for handle in waiting {
        assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    }
}

pub fn a_killed_pool_takes_nothing_more<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let running = pool.submit(until_told, folder.file("started"));
    folder.await_file("started");
    let waiting = pool.submit(double, 4);
    pool.kill();
    assert!(matches!(running.wait(), Err(Error::Cancelled)));
    assert!(matches!(waiting.wait(), Err(Error::Cancelled)));
    let refused = pool.submit(double, 4);
    assert!(refused.is_done());
    assert!(matches!(refused.wait(), Err(Error::ShutDown)));
    pool.kill();
}
