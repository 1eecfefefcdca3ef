//! One task for each of many inputs.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_core::Stream as _;
use manyhands::Error;

use crate::Folder;
use crate::backend::Backend;
use crate::tasks::{double, fails_for_odd, spin, until_allowed, until_told};

pub fn results_come_in_the_order_of_the_inputs<B: Backend>() {
    let pool = B::start(2);
    let results = pool.map(spin, (0..2000).map(|n| (2000 - n) % 100));
    for (n, result) in results.enumerate() {
        assert_eq!(result.unwrap(), (2000 - n as u64) % 100);
    }
}

pub fn results_come_as_they_are_ready<B: Backend>() {
    let (pool, folder) = (B::start(2), Folder::new());
    std::fs::write(folder.file("yes"), "").unwrap();
    let inputs = ["no", "yes"].map(|allowed| (folder.file("started"), folder.file(allowed)));
    let mut results = pool.map(until_allowed, inputs).unordered();
    // The second is ready while the first waits for what only its result brings about.
    assert_eq!(results.next().unwrap().unwrap(), 7);
    std::fs::write(folder.file("no"), "").unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 7);
    assert!(results.next().is_none());

    let mut all: Vec<u64> = pool
        .map(double, 0..3000)
        .unordered()
        .map(Result::unwrap)
        .collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..3000).map(|n| 2 * n)));
}

/// Tasks that end at the very moment at which the next input is read.
pub fn results_that_come_while_inputs_are_read_are_not_lost<B: Backend>() {
    let pool = B::start(2);
    for round in 0..20 {
        let inputs = (0..300).map(|n| (n * 7 + round) % 40);
        let mut all: Vec<u64> = pool
            .map(spin, inputs.clone())
            .unordered()
            .map(Result::unwrap)
            .collect();
        let mut expected: Vec<u64> = inputs.collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }
}

pub fn inputs_are_read_as_results_are_taken<B: Backend>() {
    let pool = B::start(2);
    for unordered in [false, true] {
        let read = Cell::new(0);
        let inputs = (0..).inspect(|_| read.set(read.get() + 1));
        let mut results = pool.map(double, inputs).buffer(5);
        if unordered {
            results = results.unordered();
        }
        assert_eq!(read.get(), 0, "before anybody asks");
        for taken in 1..200 {
            results.next().unwrap().unwrap();
            assert!(read.get() < taken + 5, "{} read for {taken}", read.get());
        }
    }
}

pub fn slow_inputs_do_not_hold_up_results<B: Backend>() {
    let pool = B::start(1);
    for unordered in [false, true] {
        let read = Cell::new(0);
        let inputs = (0..).inspect(|_| {
            read.set(read.get() + 1);
            std::thread::sleep(Duration::from_millis(20));
        });
        let mut results = pool.map(double, inputs).buffer(1000);
        if unordered {
            results = results.unordered();
        }
        for taken in 1..5 {
            results.next().unwrap().unwrap();
            // It is there long before the buffer is full.
            assert!(read.get() < taken + 100, "{} read", read.get());
        }
    }
}

pub fn a_failure_is_an_item_and_the_others_go_on<B: Backend>() {
    let pool = B::start(2);
    for (n, result) in pool.map(fails_for_odd, 0..100).enumerate() {
        match result {
            Ok(value) => assert!(value == n as u64 && n % 2 == 0),
            Err(Error::Panicked(panic)) => assert_eq!(panic.message(), format!("{n} is odd")),
            Err(other) => panic!("{other:?}"),
        }
    }
    let all = pool.map(fails_for_odd, 0..100).unordered();
    assert_eq!(all.filter(Result::is_err).count(), 50);
}

pub fn no_inputs_give_no_results<B: Backend>() {
    let pool = B::start(1);
    assert!(pool.map(double, []).next().is_none());
    let mut results = pool.map(double, [1]).unordered();
    assert_eq!(results.next().unwrap().unwrap(), 2);
    assert!(results.next().is_none() && results.next().is_none());
}

pub fn a_dropped_map_cancels_what_is_under_way<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    for unordered in [false, true] {
        let inputs = ["0", "1", "2"].map(|name| folder.file(name));
        let mut results = pool.map(until_told, inputs);
        if unordered {
            results = results.unordered();
        }
        let mut results = results.stream();
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut results).poll_next(&mut context).is_pending());
        folder.await_file("0");
        drop(results);
        // The worker is free again, and nothing waits in front of this.
        assert_eq!(pool.submit(double, 4).wait().unwrap(), 8);
        std::fs::remove_file(folder.file("0")).unwrap();
        assert!(!std::path::Path::new(&folder.file("1")).exists());
    }
}

pub fn a_map_of_a_killed_pool_ends_with_the_refusal<B: Backend>() {
    let pool = B::start(1);
    pool.kill();
    let results: Vec<_> = pool.map(double, 0..).collect();
    assert!(matches!(results[..], [Err(Error::ShutDown)]));
}
