//! A shortage of descriptors while a dead worker is replaced costs a pool nothing but time.
//!
//! Alone in its binary, since it changes a limit of the whole process.
#![allow(unreachable_pub, reason = "modules of a test binary")]

use std::fs::File;
use std::time::Duration;

use manyhands::{Error, Pool, task};

#[path = "common/proc.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod proc;

manyhands::testing::worker!();

#[task]
fn double(n: u64) -> u64 {
    n * 2
}

#[task]
fn nap(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[task]
fn abort() {
    std::process::abort();
}

/// So many descriptors this process may have, and each of its workers.
const MOST: u64 = 150;

#[allow(unsafe_code)]
fn limit_descriptors() {
    let limit = libc::rlimit {
        rlim_cur: MOST,
        rlim_max: MOST,
    };
    // SAFETY: reads the struct that lives here.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
}

/// Takes all descriptors that there are, but for some; a worker does not inherit them.
fn hoard(left: usize) -> Vec<File> {
    let mut hoard: Vec<_> = (0..).map_while(|_| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() > left);
    hoard.truncate(hoard.len() - left);
    hoard
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_worker_that_cannot_be_replaced_at_once_is_replaced_later() {
    let _watchdog = proc::Watchdog::new(Duration::from_secs(120), None);
    limit_descriptors();
    for workers in [2, 1] {
        // How many descriptors are left decides at which step of a start there is none.
        for left in 0..12 {
            let pool = Pool::builder().workers(workers).build().unwrap();
            let all: Vec<_> = (0..workers).map(|_| pool.submit(nap, 30)).collect();
            all.into_iter().for_each(|handle| handle.wait().unwrap());
            wait_until(|| pool.pids().len() == workers);
            let hoard = hoard(left);
            let death = pool.submit(abort, ()).wait();
            assert!(matches!(death, Err(Error::WorkerDied { .. })), "{death:?}");
            if workers == 2 {
                for n in 0..10 {
                    assert_eq!(pool.submit(double, n).wait().unwrap(), 2 * n);
                }
            }
            let waits = pool.submit(double, 21);
            // The first attempt has been made.
            std::thread::sleep(Duration::from_millis(20));
            drop(hoard);
            assert_eq!(waits.wait().unwrap(), 42, "with {left} left");
            wait_until(|| pool.pids().len() == workers);
            pool.shutdown().unwrap();
        }
    }
}
