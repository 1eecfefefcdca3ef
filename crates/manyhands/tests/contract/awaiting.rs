//! Awaiting, on runtimes that know nothing of the pool.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_core::Stream;
use futures_util::StreamExt as _;
use manyhands::{Error, Handle};

use crate::Folder;
use crate::backend::Backend;
use crate::tasks::{double, spin, until_allowed, until_told};

/// Wakes a thread, and counts how often.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As small as an executor can be.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

pub fn handles_are_awaited_on_tokio<B: Backend>() {
    let pool = B::start(2);
    let several = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let one = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for runtime in [several, one] {
        runtime.block_on(async {
            for n in 0..200 {
                assert_eq!(pool.submit(double, n).await.unwrap(), 2 * n);
            }
            let handles = (0..1000).map(|n| pool.submit(spin, n % 20));
            let tasks: Vec<_> = handles.map(tokio::spawn).collect();
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap().unwrap(), n as u64 % 20);
            }
        });
    }
}

pub fn handles_are_awaited_by_a_hand_made_executor<B: Backend>() {
    let pool = B::start(1);
    for n in 0..500 {
        assert_eq!(block_on(pool.submit(double, n)).unwrap(), 2 * n);
    }
    // Threads that block and tasks that await, at the same time.
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300 {
                assert_eq!(block_on(pool.submit(double, n)).unwrap(), 2 * n);
            }
        });
        for n in 0..300 {
            assert_eq!(pool.submit(double, n).wait().unwrap(), 2 * n);
        }
    });
}

pub fn a_handle_that_moves_to_another_task_wakes_that_one<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let files = (folder.file("started"), folder.file("allowed"));
    let mut handle = pool.submit(until_allowed, files);
    for _ in 0..3 {
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
    }
    thread::scope(|scope| {
        let awaiting = scope.spawn(move || block_on(handle).unwrap());
        std::fs::write(folder.file("allowed"), "").unwrap();
        assert_eq!(awaiting.join().unwrap(), 7);
    });
    // Polled once, then waited for by a thread.
    let mut handle = pool.submit(spin, 1000);
    let _ = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
    if !handle.is_done() {
        assert_eq!(handle.wait().unwrap(), 1000);
    }
}

pub fn a_handle_dropped_while_awaited_leaves_the_pool_sound<B: Backend>() {
    let pool = B::start(1);
    for n in 0..300 {
        let mut handle = pool.submit(spin, n % 30);
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut handle).poll(&mut context);
        drop(handle);
        // Without the watcher's help, a thread must get its result as ever.
        assert_eq!(pool.submit(double, n).wait().unwrap(), 2 * n);
    }
    pool.shutdown().unwrap();
}

fn collect<S: Stream<Item = manyhands::Result<u64>>>(stream: S) -> Vec<u64> {
    block_on(stream.map(Result::unwrap).collect())
}

pub fn streams_give_what_iterators_give<B: Backend>() {
    let pool = B::start(2);
    let inputs = || (0..2000).map(|n| n % 40);
    assert!(
        collect(pool.map(spin, inputs()).stream())
            .into_iter()
            .eq(inputs())
    );
    let mut all = collect(pool.map(double, 0..2000).unordered().stream());
    all.sort_unstable();
    assert!(all.into_iter().eq((0..2000).map(|n| 2 * n)));
    assert!(collect(pool.map(double, []).unordered().stream()).is_empty());
}

pub fn an_awaited_handle_can_be_cancelled<B: Backend>() {
    let (pool, folder) = (B::start(1), Folder::new());
    let mut handle: Handle<()> = pool.submit(until_told, folder.file("started"));
    folder.await_file("started");
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
    handle.cancel();
    assert!(matches!(block_on(handle), Err(Error::Cancelled)));
}
