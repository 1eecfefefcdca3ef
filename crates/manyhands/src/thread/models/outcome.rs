//! Models of a task's life: begun once, ended once, and whoever waits is woken.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::thread;

use super::super::outcome::{Cell, Ended, Seen, Waiter};
use super::tools::{Bell, check};

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

type Task = Arc<Cell<&'static str, u32>>;

fn task() -> Task {
    Arc::new(Cell::new("work"))
}

fn waiter(bell: &Arc<Bell>, at_start: bool) -> Waiter {
    Waiter {
        waker: Waker::from(bell.clone()),
        at_start,
        ours: true,
    }
}

fn wake<W, O>(ended: &mut Ended<W, O>) {
    if let Some(waiter) = ended.waiter.take() {
        waiter.wake();
    }
}

/// As a thread of the pool: tells whether it ran the work, and gives what came too late.
fn run(task: &Task) -> (bool, Option<u32>) {
    let Some((work, waiter)) = task.begin(0) else {
        return (false, None);
    };
    assert_eq!(work, "work");
    if let Some(waiter) = waiter {
        waiter.wake();
    }
    let mut ended = task.end(7);
    wake(&mut ended);
    (true, ended.late)
}

/// As `Handle::wait`; counts how often it was woken.
fn wait(task: &Task, at_start: bool) -> u32 {
    let bell = Arc::new(Bell::default());
    let mut woken = 0;
    loop {
        match task.look(|| Some(waiter(&bell, at_start))) {
            Seen::Done(outcome) => return outcome,
            Seen::Taken => panic!("only one waits"),
            Seen::Queued | Seen::Running(_) => {}
        }
        woken += 1;
        bell.wait(woken);
    }
}

#[test]
fn loom_who_waits_gets_the_outcome() {
    for at_start in [false, true] {
        check(3, move || {
            let task = task();
            let runner = {
                let task = task.clone();
                thread::spawn(move || run(&task))
            };
            assert_eq!(wait(&task, at_start), 7);
            assert_eq!(runner.join().unwrap(), (true, None));
        });
    }
}

#[test]
fn loom_a_task_that_is_stopped_meanwhile_ends_once() {
    check(3, || {
        let task = task();
        let runner = {
            let task = task.clone();
            thread::spawn(move || run(&task))
        };
        let stopper = {
            let task = task.clone();
            thread::spawn(move || {
                let mut ended = task.stop(1);
                wake(&mut ended);
                (ended.work.is_some(), ended.late.is_some())
            })
        };
        let outcome = wait(&task, false);
        let (ran, late) = runner.join().unwrap();
        let (withdrawn, too_late) = stopper.join().unwrap();
        assert_ne!(ran, withdrawn, "either run or withdrawn");
        match outcome {
            7 => assert!(ran && late.is_none() && too_late && !task.is_told()),
            1 => {
                assert!(!too_late && ran == late.is_some());
                assert_eq!(ran, task.is_told());
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn loom_who_is_told_of_the_start_learns_of_the_end_as_well() {
    check(3, || {
        let task = task();
        let runner = {
            let task = task.clone();
            thread::spawn(move || run(&task))
        };
        let bell = Arc::new(Bell::default());
        let mut woken = 0;
        let mut seen_running = false;
        let outcome = loop {
            // Once it has seen the start, it waits for the end only.
            match task.look(|| Some(waiter(&bell, !seen_running))) {
                Seen::Done(outcome) => break outcome,
                Seen::Running(_) => seen_running = true,
                Seen::Queued => assert!(!seen_running),
                Seen::Taken => panic!("only one waits"),
            }
            woken += 1;
            bell.wait(woken);
        };
        assert_eq!(outcome, 7);
        runner.join().unwrap();
    });
}
