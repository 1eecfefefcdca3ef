//! The drainer's role and how it is handed over, as in `process/drainer.rs`: the functions here
//! bear the names of those there and take the same steps in the same order under the same lock.
//! A wait with a limit is one whose time is over as soon as it sleeps; the order in which that
//! happens is the checker's.

use std::collections::VecDeque;

use loom::sync::{Arc, MutexGuard};
use loom::thread;

use super::super::waiting::{Mode, Waiting};
use super::*;

const SUPERVISOR_DOORBELL: usize = 0;
const THREADS_DOORBELL: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drainer {
    Nobody,
    Thread(usize),
    Supervisor,
}

struct Desk {
    drainer: Drainer,
    parked: VecDeque<usize>,
    head: u64,
    watchers: usize,
    /// Somebody sleeps on the threads' doorbell.
    polling: bool,
}

const IDLE: u32 = 0;
const NOTIFIED: u32 = 1;
const POLLING: u32 = 2;

/// As `ThreadWaiter`; the mutex stands for what the kernel does in a futex call.
#[derive(Default)]
struct Waiter {
    word: Mutex<u32>,
    changed: Condvar,
}

impl Waiter {
    fn set(&self, word: u32) -> u32 {
        std::mem::replace(&mut *self.word.lock().unwrap(), word)
    }

    fn park(&self) {
        let mut word = self.word.lock().unwrap();
        while *word == IDLE {
            word = self.changed.wait(word).unwrap();
        }
    }
}

/// One lane, and one task for each waiting thread, in the slot of the thread's number; further
/// ones have callbacks.
struct Shared {
    table: Table,
    desk: Mutex<Desk>,
    ended: Vec<AtomicU64>,
    waiters: Vec<Waiter>,
    doorbells: [Bell; 2],
}

impl Shared {
    fn new(tasks: usize, watchers: usize) -> Arc<Self> {
        let drainer = Drainer::Nobody;
        let shared = Self {
            table: Table::new(4, 8, 1),
            desk: Mutex::new(Desk {
                drainer,
                parked: VecDeque::new(),
                head: 0,
                watchers,
                polling: false,
            }),
            ended: words(tasks),
            waiters: (watchers..tasks).map(|_| Waiter::default()).collect(),
            doorbells: [Bell::default(), Bell::default()],
        };
        shared.settle(&mut shared.desk.lock().unwrap());
        Arc::new(shared)
    }

    fn is_done(&self, task: usize) -> bool {
        self.ended[task].load(Ordering::Acquire) != 0
    }

    fn wake(&self, thread: usize) {
        let Some(waiter) = self.waiters.get(thread) else {
            // A callback, which whoever reads the completion calls; it ends the model.
            return self.doorbells[SUPERVISOR_DOORBELL].set();
        };
        match waiter.set(NOTIFIED) {
            POLLING => self.doorbells[THREADS_DOORBELL].set(),
            _ => waiter.changed.notify_one(),
        }
    }

    fn arm(&self, desk: &Desk, doorbell: usize) -> bool {
        Waiting(&self.table.waiting).arm(doorbell, Mode::Eager);
        !self.table.completion(0).has_more(desk.head)
    }

    fn settle(&self, desk: &mut Desk) {
        if desk.drainer != Drainer::Nobody || desk.watchers == 0 {
            return;
        }
        desk.drainer = Drainer::Supervisor;
        if !self.arm(desk, SUPERVISOR_DOORBELL) {
            self.doorbells[SUPERVISOR_DOORBELL].set();
        }
    }

    /// Gives those whose tasks have ended, to be woken without the lock.
    fn drain(&self, desk: &mut Desk) -> Vec<usize> {
        let mut woken = Vec::new();
        while let Some(ticket) = self.table.completion(0).pop(&mut desk.head) {
            let task = ticket.slot as usize;
            assert_eq!(self.ended[task].load(Ordering::Relaxed), 0);
            self.ended[task].store(1, Ordering::Release);
            woken.push(task);
        }
        woken
    }

    fn refresh<'a>(
        &'a self,
        desk: MutexGuard<'a, Desk>,
        woken: Vec<usize>,
    ) -> MutexGuard<'a, Desk> {
        if woken.is_empty() {
            return desk;
        }
        drop(desk);
        woken.into_iter().for_each(|thread| self.wake(thread));
        self.desk.lock().unwrap()
    }

    fn wait_as(&self, me: usize, limit: bool) {
        let mut timed_out = false;
        let mut desk = self.desk.lock().unwrap();
        loop {
            let woken = self.drain(&mut desk);
            desk = self.refresh(desk, woken);
            if self.is_done(me) || timed_out {
                break;
            }
            timed_out = limit;
            if matches!(desk.drainer, Drainer::Thread(other) if other != me) {
                self.waiters[me].set(IDLE);
                if self.is_done(me) {
                    continue;
                }
                desk.parked.push_back(me);
                drop(desk);
                if !limit {
                    self.waiters[me].park();
                }
                desk = self.desk.lock().unwrap();
                desk.parked.retain(|parked| *parked != me);
            } else {
                desk.drainer = Drainer::Thread(me);
                self.waiters[me].set(POLLING);
                if self.is_done(me) || !self.arm(&desk, THREADS_DOORBELL) {
                    self.waiters[me].set(IDLE);
                    continue;
                }
                assert!(!desk.polling, "two drainers");
                desk.polling = true;
                drop(desk);
                if limit {
                    // The doorbell may be set and is cleared.
                    *self.doorbells[THREADS_DOORBELL].rung.lock().unwrap() = false;
                } else {
                    self.doorbells[THREADS_DOORBELL].wait();
                }
                self.waiters[me].set(IDLE);
                desk = self.desk.lock().unwrap();
                desk.polling = false;
            }
        }
        self.leave(&mut desk, me);
    }

    fn leave(&self, desk: &mut Desk, me: usize) {
        if desk.drainer != Drainer::Thread(me) {
            return;
        }
        desk.drainer = Drainer::Nobody;
        Waiting(&self.table.waiting).disarm();
        if let Some(next) = desk.parked.pop_front() {
            desk.drainer = Drainer::Thread(next);
            self.wake(next);
        } else {
            self.settle(desk);
        }
    }

    /// The supervisor, until `task` has ended.
    fn supervise(&self, task: usize) {
        while !self.is_done(task) {
            self.doorbells[SUPERVISOR_DOORBELL].wait();
            let mut desk = self.desk.lock().unwrap();
            let mut woken = self.drain(&mut desk);
            while desk.drainer == Drainer::Supervisor && !self.arm(&desk, SUPERVISOR_DOORBELL) {
                woken.append(&mut self.drain(&mut desk));
            }
            self.settle(&mut desk);
            drop(desk);
            woken.into_iter().for_each(|thread| self.wake(thread));
            if self.is_done(task) {
                return;
            }
        }
    }
}

/// A lane that completes these tasks.
fn completing(shared: &Arc<Shared>, tasks: &'static [u32]) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        let mut ringer = Ringer::default();
        for slot in tasks {
            shared.table.completion(0).push(Ticket {
                slot: *slot,
                generation: 0,
            });
            if let Some(doorbell) = ringer.due(&shared.table.waiting, false) {
                shared.doorbells[doorbell].set();
            }
        }
    })
}

fn waiting(shared: &Arc<Shared>, me: usize, limit: bool) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || shared.wait_as(me, limit))
}

#[test]
fn loom_a_drainer_whose_task_has_ended_hands_over_to_a_parked_thread() {
    check(2, || {
        let shared = Shared::new(2, 0);
        let lane = completing(&shared, &[0, 1]);
        let first = waiting(&shared, 0, false);
        shared.wait_as(1, false);
        first.join().unwrap();
        lane.join().unwrap();
    });
}

#[test]
fn loom_a_drainer_that_times_out_hands_over_to_a_parked_thread() {
    check(2, || {
        let shared = Shared::new(2, 0);
        let lane = completing(&shared, &[1, 0]);
        let hasty = waiting(&shared, 0, true);
        shared.wait_as(1, false);
        hasty.join().unwrap();
        lane.join().unwrap();
    });
}

#[test]
fn loom_a_parked_thread_that_times_out_as_it_gets_the_role_passes_it_on() {
    check(1, || {
        let shared = Shared::new(3, 0);
        let lane = completing(&shared, &[0, 2]);
        let first = waiting(&shared, 0, false);
        let hasty = waiting(&shared, 1, true);
        shared.wait_as(2, false);
        first.join().unwrap();
        hasty.join().unwrap();
        lane.join().unwrap();
    });
}

#[test]
fn loom_a_thread_that_leaves_hands_over_to_the_supervisor() {
    check(3, || {
        let shared = Shared::new(2, 1);
        let lane = completing(&shared, &[0, 1]);
        let hasty = waiting(&shared, 0, true);
        // Somebody has a callback on task 1.
        shared.supervise(1);
        hasty.join().unwrap();
        lane.join().unwrap();
    });
}
