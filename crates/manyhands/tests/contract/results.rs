//! Tasks that end, and what they give.

use std::time::Duration;

use manyhands::Error;

use crate::Folder;
use crate::backend::Backend;
use crate::tasks::{
    add_later, count, double, echo, half, join, nothing, panics, panics_later, spin, until_allowed,
};

pub fn a_task_gives_its_result<B: Backend>() {
    let pool = B::start(2);
    assert_eq!(pool.submit(double, 21).wait().unwrap(), 42);
    pool.submit(nothing, ()).wait().unwrap();
    let joined = pool.submit(join, ("ab".into(), 2, Some(true)));
    assert_eq!(joined.wait().unwrap(), "ababSome(true)");
}

pub fn an_err_is_a_value<B: Backend>() {
    let pool = B::start(1);
    assert_eq!(pool.submit(half, 8).wait().unwrap(), Ok(4));
    let odd = pool.limited(None, 5, half, 7).wait().unwrap();
    assert_eq!(odd, Err("7 is odd".into()));
}

pub fn bytes_of_any_length_come_back<B: Backend>() {
    let pool = B::start(1);
    for len in [0, 1, 100, 191, 192, 193, 5000, 1 << 20, 9 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at: u32| (at % 251) as u8).collect();
        let back = pool.submit(echo, bytes.clone()).wait().unwrap();
        assert!(back == bytes, "{len} bytes");
    }
}

pub fn thousands_of_tasks_give_each_its_own_result<B: Backend>() {
    let pool = B::start(2);
    // More than there are places for tasks; waited for in another order.
    let handles: Vec<_> = (0..10_000).map(|n| pool.submit(double, n)).collect();
    for (n, handle) in handles.into_iter().enumerate().rev() {
        assert_eq!(handle.wait().unwrap(), 2 * n as u64);
    }
}

pub fn one_worker_begins_functions_in_the_order_of_submission<B: Backend>() {
    let pool = B::start(1);
    let first = pool.submit(count, ()).wait().unwrap();
    let handles: Vec<_> = (0..1000).map(|_| pool.submit(count, ())).collect();
    let counts = handles.into_iter().map(|handle| handle.wait().unwrap());
    // Other pools of this process may count meanwhile.
    let counts: Vec<_> = counts.collect();
    assert!(counts.is_sorted() && counts[0] > first, "{counts:?}");
}

pub fn a_panic_is_an_error_that_says_where_and_the_pool_goes_on<B: Backend>() {
    let pool = B::start(1);
    match pool.submit(panics, "spinach".into()).wait() {
        Err(Error::Panicked(panic)) => {
            assert_eq!(panic.message(), "spinach is not to my taste");
            let location = panic.location().unwrap();
            assert!(location.contains("contract/tasks.rs:"), "{location}");
            assert!(panic.backtrace().contains("tasks"), "{}", panic.backtrace());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.submit(double, 4).wait().unwrap(), 8);
}

pub fn a_coroutine_gives_its_result_or_panics<B: Backend>() {
    let pool = B::start(1);
    let handles: Vec<_> = (0..500).map(|n| pool.submit(add_later, (n, 1))).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), n as u64 + 1);
    }
    match pool.submit(panics_later, "tofu".into()).wait() {
        Err(Error::Panicked(panic)) => {
            assert_eq!(panic.message(), "tofu is not to my taste either");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.submit(add_later, (2, 3)).wait().unwrap(), 5);
}

pub fn many_threads_share_a_pool<B: Backend>() {
    let pool = B::start(2);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    let n = thread * 1000 + n;
                    assert_eq!(pool.submit(double, n).wait().unwrap(), 2 * n);
                }
            });
        }
    });
}

pub fn waiting_for_a_time_gives_the_handle_back<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let files = (folder.file("started"), folder.file("allowed"));
    let mut handle = pool.submit(until_allowed, files);
    folder.await_file("started");
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    assert!(handle.wait_timeout(Duration::from_millis(20)).is_none());
    assert!(!handle.is_done());
    std::fs::write(folder.file("allowed"), "").unwrap();
    let result = handle.wait_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(result.unwrap(), 7);
    assert!(handle.is_done());
}

pub fn a_dropped_handle_lets_its_task_go_on<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    std::fs::write(folder.file("allowed"), "").unwrap();
    let files = (folder.file("started"), folder.file("allowed"));
    drop(pool.submit(until_allowed, files));
    folder.await_file("started");
}

pub fn handles_and_pools_say_what_they_are_doing<B: Backend>() {
    let pool = B::start(1);
    let handle = pool.submit(spin, 100);
    assert!(format!("{handle:?}").starts_with("Handle { task: "));
    handle.wait().unwrap();
    assert!(format!("{pool:?}").contains("manyhands"), "{pool:?}");
}
