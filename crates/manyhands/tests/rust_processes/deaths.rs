//! Workers that die: each costs what it ran, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use manyhands::{Error, Exit, Handle, Pool, task};

use super::{
    abort, abort_later, double, echo, echo_later, exit, nap, overflow, proc, segfault, sleep,
    watchdog,
};

fn end_of<T: std::fmt::Debug>(handle: Handle<T>) -> Exit {
    match handle.wait() {
        Err(Error::WorkerDied { exit: end, pid, .. }) => {
            assert!(pid > 0);
            end
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_death_of_any_kind_is_told_and_the_pool_goes_on() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(2).build().unwrap();
    let signal = |number| Exit::Signal(number);
    for round in 0..3 {
        assert_eq!(end_of(pool.submit(exit, 7)), Exit::Code(7));
        assert_eq!(end_of(pool.submit(exit, 0)), Exit::Code(0));
        assert_eq!(end_of(pool.submit(abort, ())), signal(libc::SIGABRT));
        assert_eq!(end_of(pool.submit(segfault, ())), signal(libc::SIGSEGV));
        // Whether the guard page was hit, which Rust tells apart, depends on the frames' sizes.
        let deep = end_of(pool.submit(overflow, 0));
        assert!([libc::SIGABRT, libc::SIGSEGV].map(signal).contains(&deep));
        assert_eq!(end_of(pool.submit(abort_later, ())), signal(libc::SIGABRT));
        assert_eq!(pool.submit(double, round).wait().unwrap(), 2 * round);
    }
    pool.shutdown().unwrap();
}

#[test]
fn a_death_takes_along_what_ran_beside_it_and_nothing_that_waited() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let beside = pool.submit(nap, 1_000_000);
    // It has begun when a coroutine behind it has ended.
    pool.submit(nap, 0).wait().unwrap();
    let dies = pool.submit(exit, 3);
    let waiting: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
    assert_eq!(end_of(dies), Exit::Code(3));
    assert_eq!(end_of(beside), Exit::Code(3));
    for (n, handle) in waiting.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), 2 * n as u64);
    }
}

#[test]
fn a_coroutine_beside_a_function_that_is_stopped_is_told_that_its_pool_did_it() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    for cancelled in [true, false] {
        let beside = pool.submit(nap, 1_000_000);
        // It has begun when a coroutine behind it has ended.
        pool.submit(nap, 0).wait().unwrap();
        if cancelled {
            let function = pool.submit(sleep, 1_000_000);
            while !format!("{function:?}").contains("running") {
                thread::yield_now();
            }
            function.cancel();
        } else {
            let limited = pool.options().timeout(Duration::from_millis(20));
            let end = limited.submit(sleep, 1_000_000).wait();
            let name = "rust_processes::sleep";
            assert!(
                matches!(end, Err(Error::TimedOut { task: Some(task), .. }) if task == name),
                "{end:?}"
            );
        }
        let error = beside.wait().unwrap_err();
        assert!(matches!(error, Error::WorkerDied { stopped: true, .. }));
        let text = error.to_string();
        assert!(text.contains("was killed by its pool"), "{text}");
        assert!(!text.contains("signal"), "{text}");
    }
    // Another's kill is none of the pool's.
    let beside = pool.submit(nap, 1_000_000);
    pool.submit(nap, 0).wait().unwrap();
    proc::signal(pool.submit(super::pid, ()).wait().unwrap(), libc::SIGKILL);
    let error = beside.wait().unwrap_err();
    assert!(matches!(error, Error::WorkerDied { stopped: false, .. }));
    assert!(error.to_string().contains("SIGKILL (signal 9)"), "{error}");
}

#[test]
fn a_task_whose_worker_dies_is_tried_again_where_that_is_allowed() {
    let _watchdog = watchdog();
    #[task]
    fn dies_at_first(marker: String) -> u64 {
        if std::fs::create_dir(&marker).is_ok() {
            std::process::abort();
        }
        std::fs::remove_dir(&marker).unwrap();
        5
    }
    let marker = std::env::temp_dir().join(format!("manyhands-dies-{}", std::process::id()));
    let marker = marker.to_str().unwrap().to_owned();
    let pool = Pool::builder().workers(1).build().unwrap();
    let careful = pool.options().retries(1);
    assert_eq!(careful.submit(dies_at_first, marker).wait().unwrap(), 5);
    let error = pool
        .options()
        .retries(2)
        .submit(exit, 9)
        .wait()
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::WorkerDied { attempts: 3, .. }));
    assert!(text.contains("exited with status 9"), "{text}");
    assert!(
        text.contains("::exit` for ") && text.ends_with("attempt 3 of it"),
        "{text}"
    );
    assert_eq!(end_of(careful.submit(exit, 9)), Exit::Code(9));
}

/// Kills workers at random moments until told to stop; gives how many.
fn kill_at_random(pool: &Pool, stop: &AtomicBool) -> u64 {
    let (mut random, mut kills) = (0x2545_F491_4F6C_DD1D_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_micros(random % 8_000));
        let pids = pool.pids();
        if let Some(pid) = pids.get(random as usize % pids.len().max(1)) {
            proc::signal(*pid, libc::SIGKILL);
            kills += 1;
        }
    }
    kills
}

#[test]
fn kills_while_inputs_are_read_and_results_written_lose_nothing_else() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(2).build().unwrap();
    let stop = AtomicBool::new(false);
    let (mut ended, mut died) = (0, 0);
    thread::scope(|scope| {
        let killer = scope.spawn(|| kill_at_random(&pool, &stop));
        // So large that workers are mostly reading or writing one.
        for round in 0..120u32 {
            let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at ^ round) as u8).collect();
            let handles: Vec<_> = (0..4)
                .map(|n| match n % 2 {
                    0 => pool.submit(echo, bytes.clone()),
                    _ => pool.submit(echo_later, bytes.clone()),
                })
                .collect();
            for handle in handles {
                match handle.wait() {
                    Ok(back) => {
                        assert!(back == bytes);
                        ended += 1;
                    }
                    Err(Error::WorkerDied { exit: end, .. }) => {
                        assert_eq!(end, Exit::Signal(libc::SIGKILL));
                        died += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        let kills = killer.join().unwrap();
        println!("{kills} kills: {ended} ended, {died} died");
    });
    assert_eq!(ended + died, 480);
    assert!(ended > 0);
    assert_eq!(pool.submit(double, 4).wait().unwrap(), 8);
    pool.shutdown().unwrap();
}

#[test]
fn a_cancelled_function_loses_its_worker_and_a_cancelled_coroutine_does_not() {
    let _watchdog = watchdog();
    let pool = Pool::builder().workers(1).build().unwrap();
    let before = pool.submit(super::pid, ()).wait().unwrap();

    let coroutines: Vec<_> = (0..20).map(|_| pool.submit(nap, 1_000_000)).collect();
    pool.submit(nap, 0).wait().unwrap();
    coroutines.iter().for_each(Handle::cancel);
    for handle in coroutines {
        assert!(matches!(handle.wait(), Err(Error::Cancelled)));
    }
    assert_eq!(pool.submit(super::pid, ()).wait().unwrap(), before);

    let function = pool.submit(sleep, 1_000_000);
    function.cancel();
    assert!(matches!(function.wait(), Err(Error::Cancelled)));
    let limited = pool.options().timeout(Duration::from_millis(20));
    let slow = limited.submit(sleep, 1_000_000);
    assert!(matches!(slow.wait(), Err(Error::TimedOut { .. })));
    assert_ne!(pool.submit(super::pid, ()).wait().unwrap(), before);
}

#[test]
fn a_coroutine_that_is_stopped_is_dropped_before_it_counts_as_ended() {
    let _watchdog = watchdog();
    struct Removes(String);
    impl Drop for Removes {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }
    #[task]
    async fn holds(file: String) {
        std::fs::write(&file, "").unwrap();
        let _held = Removes(file);
        std::future::pending().await
    }
    let file = std::env::temp_dir().join(format!("manyhands-held-{}", std::process::id()));
    let pool = Pool::builder().workers(1).build().unwrap();
    for _ in 0..50 {
        let handle = pool.submit(holds, file.to_str().unwrap().into());
        while !file.exists() {
            thread::yield_now();
        }
        handle.cancel();
        assert!(matches!(handle.wait(), Err(Error::Cancelled)));
        assert!(!file.exists());
    }
}
