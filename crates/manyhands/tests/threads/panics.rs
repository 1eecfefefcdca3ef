//! Panics, wherever they come from, cost the task and nothing else.

use std::cell::Cell;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use manyhands::thread::{Error, ThreadPool};

use super::{Gate, pool};

/// Panics when it is dropped, with another one of its sort as the payload.
struct Odd(u8);

impl Drop for Odd {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Odd(self.0 - 1));
        }
    }
}

#[test]
fn a_panic_is_an_error_with_message_place_and_backtrace() {
    let pool = pool(1);
    let result = pool.spawn(|| panic!("not {}", "today")).wait();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message(), "not today");
    assert!(panic.location().unwrap().contains("panics.rs:"));
    assert!(panic.backtrace().contains("message_place_and_backtrace"));
    assert_eq!(pool.spawn(|| 1).wait().unwrap(), 1, "the pool goes on");
}

#[test]
fn odd_payloads_and_destructors_cost_no_thread() {
    let pool = ThreadPool::builder().workers(1).name("tough").build();
    let panicked = |result: Result<(), Error>| matches!(result, Err(Error::Panicked(_)));
    assert!(panicked(pool.spawn(|| panic_any(Odd(3))).wait()));
    assert!(panicked(pool.spawn(|| drop(Odd(2))).wait()));
    // A closure that is withdrawn while another one runs.
    let gate = Gate::default();
    let held = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    let odd = Odd(1);
    let withdrawn = pool.spawn(move || drop(odd));
    withdrawn.cancel();
    assert!(matches!(withdrawn.wait(), Err(Error::Cancelled)));
    // A result that nobody takes; the handle is gone before it is there, so that the thread of the
    // pool has to drop it.
    drop(pool.spawn(|| Odd(2)));
    gate.open();
    held.wait().unwrap();
    let name = pool.spawn(|| std::thread::current().name().unwrap().to_owned());
    assert_eq!(name.wait().unwrap(), "tough-0", "still the first thread");
}

#[test]
fn a_future_that_panics_is_an_error_also_when_it_is_dropped() {
    let pool = pool(1);
    let result = pool
        .spawn_async(async {
            tokio::task::yield_now().await;
            panic!("in between")
        })
        .wait();
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message(), "in between");

    struct Drops(Odd);
    impl Future for Drops {
        type Output = u8;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
            Poll::Ready(self.0.0)
        }
    }
    let ended = pool.spawn_async(Drops(Odd(1))).wait();
    assert!(
        matches!(ended, Err(Error::Panicked(_))),
        "it has panicked, and nobody has cancelled it: {ended:?}"
    );
    assert_eq!(pool.spawn_async(async { 2 }).wait().unwrap(), 2);
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Angry;
    impl Wake for Angry {
        fn wake(self: Arc<Self>) {
            panic!("woken");
        }
    }
    let pool = ThreadPool::builder().workers(1).name("calm").build();
    let gate = Gate::default();
    let mut handle = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    let waker = Waker::from(Arc::new(Angry));
    let mut context = Context::from_waker(&waker);
    assert!(
        std::pin::Pin::new(&mut handle)
            .poll(&mut context)
            .is_pending()
    );
    gate.open();
    let name = pool.spawn(|| std::thread::current().name().unwrap().to_owned());
    assert_eq!(name.wait().unwrap(), "calm-0");
    handle.wait().unwrap();
}

#[test]
fn an_initializer_that_panics_breaks_the_pool_with_its_own_error() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let pool = ThreadPool::builder()
        .workers(2)
        .initializer(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("no licence");
        })
        .build();
    let handles: Vec<_> = (0..100).map(|n| pool.spawn(move || n)).collect();
    for handle in handles {
        match handle.wait() {
            Err(Error::Initializer(panic)) => assert_eq!(panic.message(), "no licence"),
            other => panic!("{other:?}"),
        }
    }
    let later = pool.spawn(|| 1).wait();
    assert!(matches!(later, Err(Error::Initializer(_))));
    assert!(runs.load(Ordering::Relaxed) <= 2);
    let scoped = pool.scope(|scope| drop(scope.spawn(|| 1)));
    assert!(matches!(scoped, Err(Error::Initializer(_))));
    pool.shutdown();
}

#[test]
fn an_initializer_that_panics_ends_futures_as_well() {
    let pool = ThreadPool::builder()
        .workers(1)
        .initializer(|| panic!("no licence"))
        .build();
    let first = pool.spawn_async(std::future::pending::<()>());
    assert!(matches!(first.wait(), Err(Error::Initializer(_))));
    let second = pool.spawn_async(std::future::pending::<()>());
    assert!(matches!(second.wait(), Err(Error::Initializer(_))));
}

#[test]
fn who_kills_a_pool_gets_no_panic_of_the_tasks_destructors() {
    thread_local! {
        static KILLS: Cell<bool> = const { Cell::new(false) };
    }
    /// Only there, so that few panics are to be reported.
    struct OddForTheKiller;
    impl Drop for OddForTheKiller {
        fn drop(&mut self) {
            assert!(!KILLS.get(), "of a task");
        }
    }
    for round in 0..200 {
        let pool = pool(1);
        for n in 0..20 {
            drop(pool.spawn(|| OddForTheKiller));
            drop(pool.spawn_async(async { OddForTheKiller }));
            if n == 19 {
                let captured = OddForTheKiller;
                drop(pool.spawn(move || drop(captured)));
            }
        }
        for _ in 0..round * 7 % 400 {
            std::hint::spin_loop();
        }
        KILLS.set(true);
        pool.kill();
        KILLS.set(false);
        pool.shutdown();
    }
}

/// Its destructor panics where it is told to.
#[derive(serde::Serialize, serde::Deserialize)]
struct Input(bool);

impl Drop for Input {
    fn drop(&mut self) {
        assert!(!self.0, "of an input");
    }
}

static BEGUN: AtomicUsize = AtomicUsize::new(0);

#[manyhands::task]
fn begin(input: Input) {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    drop(input);
}

#[test]
fn a_map_whose_inputs_panic_when_dropped_withdraws_all_of_them() {
    let pool = manyhands::Pool::threads().workers(1).build();
    let gate = Gate::default();
    let held = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    gate.wait_for(1);
    let mut results = pool.map(begin, (0..8).map(|n| Input(n == 5))).stream();
    for _ in 0..8 {
        let polled = poll_next(&mut results);
        assert!(polled.is_pending());
    }
    drop(results);
    gate.open();
    held.wait().unwrap();
    pool.shutdown();
    assert_eq!(BEGUN.load(Ordering::Relaxed), 0);
}

fn poll_next<S: futures_util::Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    std::pin::Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}
