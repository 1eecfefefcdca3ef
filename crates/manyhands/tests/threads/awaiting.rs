//! Handles are awaited on any runtime, and on none.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use manyhands::thread::{Error, Handle, ThreadPool, is_cancelled};

use super::{Gate, pool, threads_named};

/// The least of executors: polls once for each time that it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Send(Sender<()>);
    impl Wake for Send {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }
    let (sender, receiver) = channel();
    let waker = Waker::from(Arc::new(Send(sender)));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        receiver.recv().unwrap();
    }
}

async fn sum(pool: &ThreadPool, count: u64) -> u64 {
    let mut sum = 0;
    for n in 0..count {
        sum += pool.spawn(move || n).await.unwrap();
    }
    let handles: Vec<_> = (0..count).map(|n| pool.spawn(move || n)).collect();
    for handle in handles {
        sum += handle.await.unwrap();
    }
    sum
}

const COUNT: u64 = 3_000;
const SUM: u64 = COUNT * (COUNT - 1);

#[test]
fn a_hand_made_executor_is_woken_for_every_outcome() {
    assert_eq!(block_on(sum(&pool(2), COUNT)), SUM);
}

#[test]
fn smol_and_tokio_are_woken_for_every_outcome() {
    let pool = pool(2);
    assert_eq!(futures_lite::future::block_on(sum(&pool, COUNT)), SUM);
    let single = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(single.block_on(sum(&pool, COUNT)), SUM);
    let many = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let pool = Arc::new(pool);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            many.spawn(async move { sum(&pool, COUNT).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(many.block_on(task).unwrap(), SUM);
    }
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let pool = pool(1);
    let gate = Gate::default();
    let mut handle = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    struct Count(Sender<u8>, u8);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.send(self.1).unwrap();
        }
    }
    let (sender, receiver) = channel();
    for number in 0..3 {
        let waker = Waker::from(Arc::new(Count(sender.clone(), number)));
        let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    drop(sender);
    gate.open();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [2]);
    handle.wait().unwrap();
}

#[test]
fn a_handle_may_be_polled_first_and_waited_for_then() {
    let pool = pool(1);
    for n in 0..1_000 {
        let mut handle = pool.spawn(move || n);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut handle).poll(&mut context) {
            Poll::Ready(value) => assert_eq!(value.unwrap(), n),
            Poll::Pending => assert_eq!(handle.wait().unwrap(), n),
        }
    }
}

#[test]
fn a_timeout_wakes_whoever_awaits_by_one_clock_for_all() {
    let pool = ThreadPool::builder().workers(4).build();
    let limit = Duration::from_millis(20);
    let gate = Gate::default();
    let spawn = |gate: &Gate| -> Handle<bool> {
        let gate = gate.clone();
        pool.spawn(move || {
            gate.pass();
            is_cancelled()
        })
    };
    let (short, long) = (spawn(&gate), spawn(&gate));
    let done_before = spawn(&gate);
    let short = short.timeout(limit);
    let long = long.timeout(4 * limit);
    // The longer one first, so that an earlier deadline comes later.
    let results = block_on(async {
        let mut long = pin!(long);
        let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        assert!(
            long.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        (short.await, long.await)
    });
    assert!(matches!(results.0, Err(Error::TimedOut { ran }) if ran >= limit));
    assert!(matches!(results.1, Err(Error::TimedOut { ran }) if ran >= 4 * limit));
    assert_eq!(threads_named("manyhands-clock").len(), 1);
    let done_before = done_before.timeout(Duration::from_secs(3_600));
    gate.open();
    assert!(!block_on(done_before).unwrap());
}

#[test]
fn a_timeout_of_a_queued_task_is_set_when_it_begins() {
    let pool = pool(1);
    let gate = Gate::default();
    let first = pool.spawn({
        let gate = gate.clone();
        move || gate.pass()
    });
    gate.wait_for(1);
    let second = pool
        .spawn(|| while !is_cancelled() {})
        .timeout(Duration::from_millis(10));
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        gate.open();
    });
    assert!(matches!(block_on(second), Err(Error::TimedOut { .. })));
    opener.join().unwrap();
    first.wait().unwrap();
}

#[test]
fn as_many_futures_run_at_once_as_agreed() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let pool = ThreadPool::builder().workers(2).concurrency(5).build();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..100u64)
        .map(|n| {
            let (now, most) = (now.clone(), most.clone());
            pool.spawn_async(async move {
                let running = now.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(running, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                n
            })
        })
        .collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.wait().unwrap();
    }
    assert_eq!(sum, 4_950);
    assert_eq!(most.load(Ordering::SeqCst), 10);
}

#[test]
fn a_handle_that_was_polled_and_dropped_leaves_no_waker_behind() {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let pool = ThreadPool::builder().workers(1).concurrency(2).build();
    let gate = Gate::default();
    let passes = gate.clone();
    let future = pool.spawn_async(std::future::pending::<()>());
    for mut handle in [pool.spawn(move || passes.pass()), future] {
        let counted = Arc::new(Nothing);
        let waker = Waker::from(counted.clone());
        let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(handle);
        assert_eq!(Arc::strong_count(&counted), 1);
    }
    gate.open();
}
