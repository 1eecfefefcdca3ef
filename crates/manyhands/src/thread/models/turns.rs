//! Models of how futures find a thread (`turns.rs`): a wake-up that is lost, or a thread that does
//! not end, shows as a deadlock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::thread;

use super::super::turns::{Threads, Turns};
use super::tools::{Bell, check};
use crate::sync::{AtomicU64, Ordering};

/// Needs as many others of its sort to have begun before it ends.
type Future = usize;

type Handles = std::sync::Mutex<Vec<thread::JoinHandle<()>>>;

/// The threads of a pool in small. A future of theirs ends in the thread that it runs in.
struct Model {
    /// Futures block their thread until they end, as one that computes does.
    blocks: bool,
    turns: Turns<Future, Starter>,
    begun: Bell,
    ended: Bell,
    lost: Bell,
    /// Either of both.
    settled: Bell,
    /// Starts that will fail.
    failing: AtomicU64,
    /// Threads whose initializer will fail.
    broken: AtomicU64,
    started: AtomicU64,
    threads: Handles,
}

struct Starter(Arc<Model>);

fn take_one(count: &AtomicU64) -> bool {
    let some = count.load(Ordering::Relaxed) > 0;
    if some {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    some
}

impl Threads<Future> for Starter {
    type Error = &'static str;
    type Handle = ();

    fn start(&self, lane: usize) -> Result<(), &'static str> {
        let model = self.0.clone();
        if take_one(&model.failing) {
            return Err("no thread");
        }
        model.started.fetch_add(1, Ordering::Relaxed);
        let broken = take_one(&model.broken);
        let thread = thread::spawn({
            let model = model.clone();
            move || model.run(lane, broken)
        });
        model.threads.lock().unwrap().push(thread);
        Ok(())
    }

    fn lose(&self, futures: VecDeque<Future>, _why: &&'static str) {
        for _ in futures {
            self.0.lost.ring();
            self.0.settled.ring();
        }
    }
}

impl Model {
    fn new(most: usize, concurrency: usize) -> Arc<Self> {
        Arc::new(Self {
            blocks: concurrency == 1,
            turns: Turns::new(most, concurrency),
            begun: Bell::default(),
            ended: Bell::default(),
            lost: Bell::default(),
            settled: Bell::default(),
            failing: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            started: AtomicU64::new(0),
            threads: Handles::default(),
        })
    }

    fn submit(self: &Arc<Self>, future: Future) -> Result<(), &'static str> {
        self.turns.submit(future, &Starter(self.clone()))
    }

    /// As `Lanes::run`.
    fn run(self: &Arc<Self>, lane: usize, broken: bool) {
        let starter = Starter(self.clone());
        if broken {
            self.turns.fail(&"initializer", &starter);
        } else {
            self.serve(lane);
        }
        self.turns.end(lane, &"shut down", &starter);
    }

    /// As the runtime: begins what there is, polls what it runs, sleeps until it is woken.
    fn serve(self: &Arc<Self>, lane: usize) {
        let woken = Arc::new(Bell::default());
        let waker = Waker::from(woken.clone());
        let mut running: VecDeque<(Future, u64)> = VecDeque::new();
        let mut seen = 0;
        loop {
            match self.turns.poll_next(lane, &waker) {
                Poll::Ready(Some((future, number))) => {
                    self.begun.ring();
                    running.push_back((future, number));
                    if self.blocks {
                        // Computes until then: this thread does not look at the queue meanwhile.
                        self.begun.wait(future);
                    }
                }
                Poll::Ready(None) => return,
                Poll::Pending => {
                    seen += 1;
                    woken.wait(seen);
                }
            }
            let begun = self.begun.count();
            while running.front().is_some_and(|(needs, _)| begun >= *needs) {
                let (_, number) = running.pop_front().expect("the first was looked at");
                self.ended.ring();
                self.settled.ring();
                let (_, waker) = self.turns.ended(lane, number);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// Closes, waits, and looks whether everything has ended.
    fn finish(&self, accepted: usize) {
        self.turns.close("shut down");
        self.turns.wait();
        loop {
            let thread = self.threads.lock().unwrap().pop();
            match thread {
                Some(thread) => thread.join().unwrap(),
                None => break,
            }
        }
        assert_eq!(self.turns.alive(), 0);
        assert_eq!(self.ended.count() + self.lost.count(), accepted);
        assert_eq!(self.begun.count(), self.ended.count());
    }
}

#[test]
fn loom_every_future_is_begun_by_one_thread_that_sleeps_in_between() {
    check(2, || {
        let model = Model::new(1, 1);
        model.submit(1).unwrap();
        model.submit(1).unwrap();
        model.ended.wait(2);
        assert_eq!(model.started.load(Ordering::Relaxed), 1);
        model.finish(2);
        assert_eq!(model.lost.count(), 0);
    });
}

#[test]
fn loom_futures_that_need_one_another_get_a_thread_each() {
    check(2, || {
        let model = Model::new(2, 1);
        let other = {
            let model = model.clone();
            thread::spawn(move || model.submit(2).unwrap())
        };
        model.submit(2).unwrap();
        other.join().unwrap();
        model.ended.wait(2);
        model.finish(2);
    });
}

#[test]
fn loom_a_thread_with_room_begins_a_second_future_while_the_first_waits() {
    check(2, || {
        let model = Model::new(1, 2);
        model.submit(2).unwrap();
        model.submit(2).unwrap();
        model.ended.wait(2);
        model.finish(2);
    });
}

#[test]
fn loom_a_future_that_ends_makes_room_for_one_that_waits() {
    check(2, || {
        let model = Model::new(1, 1);
        let other = {
            let model = model.clone();
            thread::spawn(move || model.submit(1).unwrap())
        };
        model.submit(1).unwrap();
        other.join().unwrap();
        model.submit(1).unwrap();
        model.ended.wait(3);
        model.finish(3);
    });
}

#[test]
fn loom_a_future_is_refused_or_ends_when_it_is_closed_meanwhile() {
    for most in [1, 2] {
        check(2, move || {
            let model = Model::new(most, 1);
            model.submit(1).unwrap();
            let submitter = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.submit(1).is_ok()))
            };
            model.turns.close("shut down");
            let accepted = 1 + submitter.join().unwrap();
            model.finish(accepted);
            assert_eq!(model.lost.count(), 0);
        });
    }
}

#[test]
fn loom_a_start_that_fails_leaves_no_future_behind() {
    for most in [1, 2] {
        check(2, move || {
            let model = Model::new(most, 1);
            model.failing.store(1, Ordering::Relaxed);
            let other = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.submit(1).is_ok()))
            };
            let accepted = usize::from(model.submit(1).is_ok()) + other.join().unwrap();
            model.settled.wait(accepted);
            model.finish(accepted);
        });
    }
}

#[test]
fn loom_a_start_that_fails_beside_other_threads_leaves_the_futures_to_them() {
    check(2, || {
        let model = Model::new(2, 1);
        model.submit(1).unwrap();
        model.failing.store(1, Ordering::Relaxed);
        model.submit(1).unwrap();
        model.ended.wait(2);
        model.finish(2);
        assert_eq!(model.lost.count(), 0);
    });
}

#[test]
fn loom_an_initializer_that_fails_ends_what_waits_and_what_comes() {
    for most in [1, 2] {
        check(2, move || {
            let model = Model::new(most, 1);
            model.broken.store(most as u64, Ordering::Relaxed);
            let other = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.submit(1).is_ok()))
            };
            let accepted = usize::from(model.submit(1).is_ok()) + other.join().unwrap();
            model.lost.wait(accepted);
            assert!(model.submit(1).is_err());
            model.finish(accepted);
        });
    }
}

#[test]
fn loom_what_is_taken_back_while_a_thread_looks_for_it_ends_once() {
    check(2, || {
        let model = Model::new(1, 1);
        model.submit(1).unwrap();
        model.submit(1).unwrap();
        // As `Lanes::kill`.
        model.turns.fail(&"killed", &Starter(model.clone()));
        model.finish(2);
    });
}
