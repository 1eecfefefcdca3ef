//! The executor with a worker of its own, as an embedder uses it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manyhands::Panic;
use manyhands::thread::{Executor, Source, Unavailable, Worker, WouldDeadlock};

use super::Gate;

type Job = Box<dyn FnOnce() -> After + Send>;

/// What the thread does after a job.
enum After {
    GoOn,
    Retire,
    Fail,
    Panic,
}

#[derive(Clone, Debug)]
enum Failure {
    Told,
    Panicked(String),
}

impl From<Panic> for Failure {
    fn from(panic: Panic) -> Self {
        Self::Panicked(panic.message().to_owned())
    }
}

/// Takes a lock (an interpreter's, say) for as long as there are jobs.
struct Holder {
    lock: Mutex<()>,
    rounds: AtomicUsize,
    abandoned: Sender<String>,
}

impl Worker for Holder {
    type Job = Job;
    type Failure = Failure;

    fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Failure> {
        while let Some(first) = source.wait_next() {
            let _held = self.lock.lock();
            self.rounds.fetch_add(1, Ordering::Relaxed);
            let mut next = Some(first);
            while let Some(job) = next {
                let after = job();
                source.finishing();
                match after {
                    After::GoOn => {}
                    After::Retire => return Ok(()),
                    After::Fail => return Err(Failure::Told),
                    After::Panic => panic!("in the loop"),
                }
                next = source.try_next();
            }
        }
        Ok(())
    }

    fn abandon(&self, job: Job, why: &Unavailable<Failure>) {
        self.abandoned.send(format!("{why:?}")).unwrap();
        drop(job);
    }
}

fn executor(threads: usize) -> (Executor<Holder>, Receiver<String>) {
    let (abandoned, receiver) = channel();
    let holder = Holder {
        lock: Mutex::new(()),
        rounds: AtomicUsize::new(0),
        abandoned,
    };
    let builder = Executor::builder(holder);
    (
        builder.threads(threads).name_prefix("held-").build(),
        receiver,
    )
}

fn execute(executor: &Executor<Holder>, job: impl FnOnce() -> After + Send + 'static) -> bool {
    executor.execute(Box::new(job)).is_ok()
}

#[test]
fn a_worker_runs_what_is_queued_in_one_go() {
    let (executor, _abandoned) = executor(1);
    let gate = Gate::default();
    let count = Arc::new(AtomicUsize::new(0));
    let inner = gate.clone();
    execute(&executor, move || {
        inner.pass();
        After::GoOn
    });
    gate.wait_for(1);
    for _ in 0..1_000 {
        let count = count.clone();
        execute(&executor, move || {
            count.fetch_add(1, Ordering::Relaxed);
            After::GoOn
        });
    }
    assert_eq!(executor.len(), 1_000);
    gate.open();
    executor.close();
    executor.join().unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1_000);
    assert_eq!(executor.worker().rounds.load(Ordering::Relaxed), 1);
    assert_eq!(executor.threads(), 0);
}

#[test]
fn jobs_can_be_taken_back_in_order() {
    let (executor, _abandoned) = executor(1);
    let gate = Gate::default();
    let inner = gate.clone();
    execute(&executor, move || {
        inner.pass();
        After::GoOn
    });
    gate.wait_for(1);
    let (sender, receiver) = channel();
    for n in 0..10 {
        let sender = sender.clone();
        execute(&executor, move || {
            sender.send(n).unwrap();
            After::GoOn
        });
    }
    for job in executor.take() {
        job();
    }
    assert!(executor.is_empty());
    drop(sender);
    assert_eq!(
        receiver.iter().collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    gate.open();
}

#[test]
fn a_thread_that_retires_is_replaced_when_there_is_need() {
    let (executor, _abandoned) = executor(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..500 {
        let count = count.clone();
        assert!(execute(&executor, move || {
            count.fetch_add(1, Ordering::Relaxed);
            After::Retire
        }));
    }
    executor.close();
    executor.join().unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 500);
}

#[test]
fn a_worker_that_fails_or_panics_breaks_the_executor_and_loses_no_job() {
    for panics in [false, true] {
        let (executor, abandoned) = executor(1);
        let gate = Gate::default();
        let inner = gate.clone();
        execute(&executor, move || {
            inner.pass();
            if panics { After::Panic } else { After::Fail }
        });
        gate.wait_for(1);
        for _ in 0..10 {
            execute(&executor, || unreachable!("it is abandoned"));
        }
        gate.open();
        executor.join().unwrap();
        assert!(executor.is_closed());
        let rejected = executor.execute(Box::new(|| After::GoOn)).err().unwrap();
        assert!(matches!(rejected.why, Unavailable::Broken(_)));
        match executor.failure() {
            Some(Failure::Told) => assert!(!panics),
            Some(Failure::Panicked(text)) => assert!(panics && text == "in the loop"),
            None => panic!("it has failed"),
        }
        drop(executor);
        let told: Vec<_> = abandoned.iter().collect();
        assert_eq!(told.len(), 10);
        assert!(told.iter().all(|why| why.starts_with("Broken(")));
    }
}

#[test]
fn no_thread_waits_for_its_own_end() {
    let (abandoned, _receiver) = channel();
    let holder = Holder {
        lock: Mutex::new(()),
        rounds: AtomicUsize::new(0),
        abandoned,
    };
    let executor = Arc::new(Executor::builder(holder).threads(1).build());
    let (sender, receiver) = channel();
    let inner = executor.clone();
    execute(&executor, move || {
        inner.close();
        sender.send((inner.is_inside(), inner.join())).unwrap();
        After::GoOn
    });
    assert_eq!(receiver.recv().unwrap(), (true, Err(WouldDeadlock)));
    assert!(!executor.is_inside());
    executor.join().unwrap();
}

#[test]
fn a_join_with_a_limit_comes_back_and_two_joins_both_wait() {
    let (executor, _abandoned) = executor(1);
    let gate = Gate::default();
    let inner = gate.clone();
    execute(&executor, move || {
        inner.pass();
        After::GoOn
    });
    executor.close();
    assert!(!executor.join_timeout(Duration::from_millis(10)).unwrap());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                executor.join().unwrap();
                assert!(ended.load(Ordering::SeqCst));
                assert_eq!(executor.threads(), 0);
            });
        }
        ended.store(true, Ordering::SeqCst);
        gate.open();
    });
}

#[test]
fn what_was_accepted_is_run_when_the_executor_is_dropped() {
    let (executor, _abandoned) = executor(2);
    let (sender, receiver) = channel();
    for n in 0..1_000u32 {
        let sender = sender.clone();
        execute(&executor, move || {
            sender.send(n).unwrap();
            After::GoOn
        });
    }
    drop((executor, sender));
    assert_eq!(receiver.iter().count(), 1_000);
}
