//! Threads that the embedder makes, and those that do not come.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use manyhands::Panic;
use manyhands::thread::{Executor, Life, Source, ThreadPool, Unavailable, Worker};

use super::Gate;

type Job = Box<dyn FnOnce() + Send>;

/// What happens to a thread that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Runs,
    Refused,
    /// Its maker panics.
    Panics,
    /// Nobody runs it, and it is said to be on its way.
    Dropped,
    /// It ends after its start was reported, and before its work.
    DropsLater,
    /// It runs although its start is said to have failed.
    RunsAfterAll,
}

/// Starts threads as it is told to; runs them when it is told nothing.
struct Maker {
    fates: Mutex<Vec<Fate>>,
    asked: Mutex<Vec<String>>,
    later: Gate,
    abandoned: Sender<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker for Maker {
    type Job = Job;
    type Failure = Panic;

    fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Panic> {
        while let Some(job) = source.wait_next() {
            job();
        }
        Ok(())
    }

    fn start(&self, life: Life<Self>) -> io::Result<Option<JoinHandle<()>>> {
        lock(&self.asked).push(life.name().to_owned());
        let fate = lock(&self.fates).pop().unwrap_or(Fate::Runs);
        match fate {
            Fate::Runs => return life.spawn().map(Some),
            Fate::Refused => return Err(io::Error::other("none left")),
            Fate::Panics => panic!("no maker"),
            Fate::Dropped => drop(life),
            Fate::DropsLater => {
                let later = self.later.clone();
                std::thread::spawn(move || {
                    later.pass();
                    drop(life);
                });
            }
            Fate::RunsAfterAll => {
                life.spawn()?;
                self.later.wait_for(1);
                return Err(io::Error::other("so they say"));
            }
        }
        Ok(None)
    }

    fn abandon(&self, job: Job, why: &Unavailable<Panic>) {
        drop(job);
        self.abandoned.send(why.to_string()).unwrap();
    }
}

fn executor(
    threads: usize,
    fates: &[Fate],
) -> (Arc<Executor<Maker>>, std::sync::mpsc::Receiver<String>) {
    let (abandoned, receiver) = channel();
    let maker = Maker {
        fates: Mutex::new(fates.iter().rev().copied().collect()),
        asked: Mutex::default(),
        later: Gate::default(),
        abandoned,
    };
    let builder = Executor::builder(maker).threads(threads);
    (Arc::new(builder.name_prefix("made-").build()), receiver)
}

#[test]
fn the_embedder_makes_the_threads_and_runs_their_lives() {
    let (executor, _abandoned) = executor(2, &[]);
    let (sender, receiver) = channel();
    for _ in 0..100 {
        let sender = sender.clone();
        executor
            .execute(Box::new(move || sender.send(()).unwrap()))
            .ok()
            .unwrap();
    }
    executor.close();
    executor.join().unwrap();
    drop(sender);
    assert_eq!(receiver.iter().count(), 100);
    assert_eq!(lock(&executor.worker().asked)[0], "made-0");
    assert_eq!(executor.threads(), 0);
}

#[test]
fn a_first_thread_that_is_refused_or_dropped_or_panics_gives_the_job_back() {
    for fate in [Fate::Refused, Fate::Dropped, Fate::Panics] {
        let (executor, _abandoned) = executor(2, &[fate]);
        let rejected = executor.execute(Box::new(|| ())).err().unwrap();
        assert!(
            matches!(rejected.why, Unavailable::Start(_)),
            "{:?}",
            rejected.why
        );
        assert_eq!(executor.threads(), 0);
        let error = executor.start_error().expect("it is kept");
        if fate == Fate::Panics {
            assert!(error.to_string().contains("no maker"), "{error}");
        }
        // The next submission tries again.
        let (sender, receiver) = channel();
        let job = move || sender.send(7).unwrap();
        executor.execute(Box::new(job)).ok().unwrap();
        assert_eq!(receiver.recv(), Ok(7));
        executor.close();
        executor.join().unwrap();
    }
}

#[test]
fn what_counted_on_the_only_thread_is_abandoned_when_that_does_not_come() {
    let (executor, abandoned) = executor(1, &[Fate::DropsLater]);
    for _ in 0..3 {
        executor.execute(Box::new(|| unreachable!())).ok().unwrap();
    }
    assert_eq!(executor.len(), 3);
    executor.worker().later.open();
    for _ in 0..3 {
        let why = abandoned.recv().unwrap();
        assert!(why.contains("before it began its work"), "{why}");
    }
    executor.close();
    executor.join().unwrap();
    assert_eq!(executor.threads(), 0);
}

#[test]
fn the_other_threads_go_on_with_what_was_meant_for_one_that_does_not_come() {
    let (executor, _abandoned) = executor(2, &[Fate::Runs, Fate::DropsLater]);
    let gate = Gate::default();
    let inner = gate.clone();
    executor
        .execute(Box::new(move || inner.pass()))
        .ok()
        .unwrap();
    gate.wait_for(1);
    let (sender, receiver) = channel();
    for _ in 0..3 {
        let sender = sender.clone();
        let job = move || sender.send(()).unwrap();
        executor.execute(Box::new(job)).ok().unwrap();
    }
    assert_eq!(lock(&executor.worker().asked).len(), 2);
    executor.worker().later.open();
    gate.open();
    for _ in 0..3 {
        receiver.recv().unwrap();
    }
    executor.close();
    executor.join().unwrap();
}

#[test]
fn a_life_that_runs_is_a_thread_whatever_its_maker_says() {
    let (executor, _abandoned) = executor(1, &[Fate::RunsAfterAll]);
    let later = executor.worker().later.clone();
    let other = {
        let executor = executor.clone();
        let later = later.clone();
        // The start comes back only when a job runs, and this is the job.
        std::thread::spawn(move || {
            while lock(&executor.worker().asked).is_empty() {
                std::thread::yield_now();
            }
            executor
                .execute(Box::new(move || later.pass()))
                .ok()
                .unwrap();
        })
    };
    executor.execute(Box::new(|| ())).ok().unwrap();
    later.open();
    other.join().unwrap();
    executor.close();
    executor.join().unwrap();
    assert_eq!(executor.threads(), 0);
    assert!(executor.is_empty());
}

#[test]
fn a_thread_with_more_stack_than_there_is_gives_the_job_back() {
    for bytes in [1 << 50, usize::MAX] {
        let (abandoned, _receiver) = channel();
        let maker = Maker {
            fates: Mutex::default(),
            asked: Mutex::default(),
            later: Gate::default(),
            abandoned,
        };
        let executor = Executor::builder(maker).stack_size(bytes).build();
        for _ in 0..2 {
            let rejected = executor.execute(Box::new(|| unreachable!())).err().unwrap();
            assert!(matches!(rejected.why, Unavailable::Start(_)));
        }
        assert!(executor.start_error().is_some());
        assert_eq!(executor.threads(), 0);
        executor.close();
        executor.join().unwrap();
    }
}

#[test]
fn a_name_with_nul_characters_is_given_to_threads_without_them() {
    let name = || std::thread::current().name().unwrap().to_owned();
    let pool = ThreadPool::builder().workers(1).name("a\0b\0").build();
    assert_eq!(pool.spawn(name).wait().unwrap(), "ab-0");
    let async_name = pool.spawn_async(async move { name() }).wait().unwrap();
    assert!(async_name.starts_with("ab-async"), "{async_name}");
    pool.shutdown();
}
