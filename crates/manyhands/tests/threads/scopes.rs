//! Tasks that borrow.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use manyhands::thread::{Error, Scope, ScopedHandle, ThreadPool, is_cancelled};

use super::{Gate, pool};

#[test]
fn tasks_borrow_and_change_what_the_caller_has() {
    let pool = pool(3);
    let words = ["one", "two", "three"].map(String::from);
    let mut lengths = [0; 3];
    let total = pool
        .scope(|scope| {
            let total = scope.spawn(|| words.iter().map(String::len).sum::<usize>());
            for (length, word) in lengths.iter_mut().zip(&words) {
                scope.spawn(|| *length = word.len());
            }
            total.join()
        })
        .unwrap();
    assert_eq!(total.unwrap(), 11);
    assert_eq!(lengths, [3, 3, 5]);
}

#[test]
fn a_scope_ends_after_its_last_task_also_of_tasks_that_tasks_spawn() {
    let pool = pool(2);
    for _ in 0..200 {
        let count = AtomicUsize::new(0);
        pool.scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        scope.spawn(|| {
                            thread::yield_now();
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        })
        .unwrap();
        assert_eq!(count.into_inner(), 15);
    }
}

fn fibonacci(pool: &ThreadPool, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    pool.scope(|scope| {
        let left = scope.spawn(|| fibonacci(pool, n - 1));
        let right = fibonacci(pool, n - 2);
        left.join().unwrap() + right
    })
    .unwrap()
}

#[test]
fn nested_scopes_need_no_free_thread() {
    for workers in [1, 2] {
        let pool = Arc::new(pool(workers));
        assert_eq!(fibonacci(&pool, 12), 144, "from outside");
        let inner = pool.clone();
        let inside = pool.spawn(move || fibonacci(&inner, 12));
        assert_eq!(inside.wait().unwrap(), 144, "from a task");
    }
}

#[test]
fn tasks_run_in_threads_of_the_pool_only() {
    let pool = ThreadPool::builder().workers(1).name("scoped").build();
    let names = Mutex::new(Vec::new());
    pool.scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let name = thread::current().name().unwrap().to_owned();
                names.lock().unwrap().push(name);
            });
        }
    })
    .unwrap();
    let names = names.into_inner().unwrap();
    assert_eq!(names.len(), 100);
    assert!(names.iter().all(|name| name == "scoped-0"));
}

/// Runs a scope that has to panic; gives the message.
fn panic_of<'env>(
    pool: &'env ThreadPool,
    callback: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>),
) -> String {
    let unwound = catch_unwind(AssertUnwindSafe(|| pool.scope(callback)));
    let payload = unwound.expect_err("it has to panic");
    payload.downcast_ref::<&str>().unwrap().to_string()
}

#[test]
fn panics_go_on_after_every_task_has_ended() {
    let pool = pool(2);
    let (gate, ended) = (Gate::default(), AtomicBool::new(false));
    let slow = || {
        gate.pass();
        for _ in 0..100 {
            thread::yield_now();
        }
        ended.store(true, Ordering::Relaxed);
    };
    let message = panic_of(&pool, |scope| {
        scope.spawn(slow);
        scope.spawn(|| {
            gate.open();
            panic!("of a task");
        });
    });
    assert_eq!(message, "of a task");
    assert!(ended.swap(false, Ordering::Relaxed));
    let message = panic_of(&pool, |scope| {
        scope.spawn(slow);
        panic!("of the callback");
    });
    assert_eq!(message, "of the callback");
    assert!(ended.load(Ordering::Relaxed));
    assert_eq!(pool.spawn(|| 1).wait().unwrap(), 1);
}

#[test]
fn a_panic_that_was_joined_is_an_error_and_goes_no_further() {
    let pool = pool(2);
    let joined = pool.scope(|scope| scope.spawn(|| panic!("seen")).join());
    match joined.unwrap() {
        Err(Error::Panicked(panic)) => assert_eq!(panic.message(), "seen"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_that_borrow_and_panic_when_dropped_are_dropped_in_time() {
    let pool = pool(2);
    struct Borrowed<'a>(&'a AtomicUsize);
    impl Drop for Borrowed<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for _ in 0..500 {
        let count = AtomicUsize::new(0);
        pool.scope(|scope| {
            drop(scope.spawn(|| Borrowed(&count)));
            let joined = scope.spawn(|| Borrowed(&count));
            drop(joined.join().unwrap());
            std::mem::forget(scope.spawn(|| &count));
        })
        .unwrap();
        assert_eq!(count.into_inner(), 2);
    }
}

#[test]
fn a_pool_that_is_killed_meanwhile_ends_its_scopes_with_an_error() {
    for round in 0..50 {
        let pool = pool(1);
        let ran = AtomicUsize::new(0);
        let result = thread::scope(|threads| {
            let (pool, ran) = (&pool, &ran);
            threads.spawn(move || {
                for _ in 0..round {
                    thread::yield_now();
                }
                pool.kill();
            });
            pool.scope(|scope| {
                for _ in 0..200 {
                    scope.spawn(|| ran.fetch_add(1, Ordering::Relaxed));
                }
            })
        });
        match result {
            Ok(()) => assert_eq!(ran.into_inner(), 200),
            Err(Error::Cancelled | Error::ShutDown) => assert!(ran.into_inner() < 200),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_task_that_was_lost_says_so_to_whoever_joins_it() {
    let pool = pool(1);
    pool.kill();
    let result = pool.scope(|scope| {
        let joined = scope.spawn(|| 1).join();
        assert!(matches!(joined, Err(Error::ShutDown)));
    });
    assert!(matches!(result, Err(Error::ShutDown)));
}

#[test]
fn scopes_of_two_pools_may_be_mixed() {
    let (one, other) = (pool(1), pool(1));
    let sum = AtomicUsize::new(0);
    one.scope(|outer| {
        for n in 0..10 {
            let (other, sum) = (&other, &sum);
            outer.spawn(move || {
                other
                    .scope(|inner| {
                        inner.spawn(move || sum.fetch_add(n, Ordering::Relaxed));
                        outer.spawn(move || sum.fetch_add(n, Ordering::Relaxed));
                    })
                    .unwrap();
            });
        }
    })
    .unwrap();
    assert_eq!(sum.into_inner(), 90);
}

#[test]
fn a_join_runs_its_own_task_and_no_other_so_that_joins_do_not_pile_up() {
    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
    }
    for workers in [1, 2] {
        let pool = pool(workers);
        let (deepest, joined) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.scope(|scope| {
            for _ in 0..20_000 {
                scope.spawn(|| {
                    DEPTH.set(DEPTH.get() + 1);
                    deepest.fetch_max(DEPTH.get(), Ordering::Relaxed);
                    let one = scope.spawn(|| 1).join().unwrap();
                    joined.fetch_add(one, Ordering::Relaxed);
                    DEPTH.set(DEPTH.get() - 1);
                });
            }
        })
        .unwrap();
        assert_eq!(joined.into_inner(), 20_000);
        assert_eq!(deepest.into_inner(), 1);
    }
}

#[test]
fn a_join_beside_a_task_that_waits_for_the_joiner_comes_back() {
    for workers in [1, 4] {
        let pool = pool(workers);
        for _ in 0..500 {
            pool.scope(|outer| {
                outer.spawn(|| {
                    let (sender, receiver) = channel();
                    pool.scope(|inner| {
                        // With one worker nobody is there to begin it before the join.
                        inner.spawn(move || receiver.recv().unwrap());
                        let quick = inner.spawn(|| 1);
                        assert_eq!(quick.join().unwrap(), 1);
                        sender.send(()).unwrap();
                    })
                    .unwrap();
                });
            })
            .unwrap();
        }
    }
}

#[test]
fn tasks_joined_from_within_in_any_order_are_each_run_once() {
    let pool = pool(2);
    let ran = AtomicUsize::new(0);
    let (pool, ran) = (&pool, &ran);
    let joined = pool.scope(|outer| {
        let inside = outer.spawn(move || {
            pool.scope(|scope| {
                let spawn = |n| {
                    scope.spawn(move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        n
                    })
                };
                let mut handles: Vec<_> = (0..10_000).map(spawn).collect();
                let last = handles.split_off(5_000).into_iter().rev();
                let sum = |handles: Vec<ScopedHandle<'_, '_, usize>>| {
                    handles
                        .into_iter()
                        .map(|handle| handle.join().unwrap())
                        .sum::<usize>()
                };
                sum(last.collect()) + sum(handles)
            })
            .unwrap()
        });
        inside.join().unwrap()
    });
    assert_eq!(joined.unwrap(), 49_995_000);
    assert_eq!(ran.load(Ordering::Relaxed), 10_000);
}

#[test]
fn payloads_that_panic_when_dropped_do_not_abort_a_scope_that_panics() {
    struct Odd;
    impl Drop for Odd {
        fn drop(&mut self) {
            panic!("of a payload");
        }
    }
    let pool = pool(2);
    for _ in 0..50 {
        let message = panic_of(&pool, |scope| {
            scope.spawn(|| std::panic::panic_any(Odd));
            scope.spawn(|| std::panic::panic_any(Odd));
            panic!("of the callback");
        });
        assert_eq!(message, "of the callback");
    }
    assert_eq!(pool.spawn(|| 5).wait().unwrap(), 5);
}

#[test]
fn a_scope_s_tasks_are_told_when_the_task_that_opened_it_is_cancelled() {
    let pool = Arc::new(pool(2));
    let (gate, inner) = (Gate::default(), pool.clone());
    let passes = gate.clone();
    let (sender, receiver) = channel();
    let handle = pool.spawn(move || {
        inner
            .scope(|scope| {
                scope.spawn(|| {
                    assert!(!is_cancelled());
                    passes.pass();
                    sender.send(is_cancelled()).unwrap();
                });
                // In here it does not help, so that the other thread runs the task.
                passes.wait_for(1);
            })
            .unwrap();
    });
    gate.wait_for(1);
    handle.cancel();
    gate.open();
    assert!(receiver.recv().unwrap());
}
