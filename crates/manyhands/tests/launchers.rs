//! Launchers are other people's code: whatever one does, every caller gets an answer, and a process
//! that its launcher disowns takes no task.

mod common;

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::marks::{MARKS_FILE, Marks};
use common::worker::{PERISH, attempt};
use common::{Reexec, Tester, proc};
use manyhands::Kind;
use manyhands::process::{Child, Config, Launched, Launcher, NotLaunched};
use manyhands::task::{Broken, Exit, Outcome};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

/// How a launcher ends that has made a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Error,
    Panic,
    /// Not at all, but its child cannot be reaped.
    Reap,
}

/// Fails so for the first processes, when they have come as far as they can.
struct Faulty {
    inner: Reexec,
    fails: Fails,
    left: usize,
    disowned: Sender<Launched>,
}

/// Waits until the process has the pool's memory, and has nothing more to do, or has ended.
fn comes_as_far_as_it_can(pid: u32) {
    let idle = || !proc::memfds(pid).is_empty() && proc::state(pid) == Some('S');
    while !idle() && proc::state(pid).is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Launcher for Faulty {
    fn launch(&mut self, worker: usize, control: OwnedFd) -> Result<Launched, NotLaunched> {
        let launched = self.inner.launch(worker, control)?;
        if self.left == 0 {
            return Ok(launched);
        }
        self.left -= 1;
        if self.fails == Fails::Reap {
            let child = Box::new(Irreapable(launched.child));
            return Ok(Launched { child, ..launched });
        }
        comes_as_far_as_it_can(launched.pid);
        self.disowned.send(launched).unwrap();
        assert_ne!(self.fails, Fails::Panic, "as this test wants it");
        Err("no descriptor for what comes after the fork".into())
    }
}

struct Irreapable(Box<dyn Child>);

impl Child for Irreapable {
    fn reap(&mut self) -> Exit {
        panic!("after {:?}, as this test wants it", self.0.reap());
    }
}

/// A pool with one worker, where the first `left` attempts fail; and what they made.
fn tester(fails: Fails, left: usize, marks: &Marks) -> (Tester, Receiver<Launched>) {
    let (disowned, receiver) = channel();
    let launcher = Faulty {
        inner: Reexec {
            environment: vec![(MARKS_FILE, marks.path().to_owned())],
        },
        fails,
        left,
        disowned,
    };
    let config = Config {
        workers: 1,
        slots: 64,
        ..Config::default()
    };
    (Tester::launched_by(config, Box::new(launcher)), receiver)
}

#[test]
fn a_process_that_its_launcher_disowns_takes_no_task_and_ends() {
    for fails in [Fails::Error, Fails::Panic] {
        let marks = Marks::create(16);
        let (tester, disowned) = tester(fails, 2, &marks);
        // Whoever takes it first dies of it, and then it is tried again.
        let task = tester.submit_with(Kind::Function, "attempt", &attempt(7, PERISH, 1), None, 1);
        let nap = tester.submit_as(Kind::Coroutine, "nap", &1000u64.to_le_bytes());
        assert_eq!(tester.number(&task), 14);
        assert!(matches!(
            tester.outcome(&nap),
            Outcome::Ended { .. } | Outcome::Died(_)
        ));
        assert_eq!(marks.begun(7), 2);
        for _ in 0..2 {
            let mut process = disowned.recv().unwrap();
            // Its `Seat::join` failed.
            assert_eq!(process.child.reap(), Exit::Code(101));
        }
        tester.finish();
    }
}

#[test]
fn a_launcher_that_disowns_every_process_breaks_the_pool_with_its_own_words() {
    for (fails, words) in [(Fails::Error, "after the fork"), (Fails::Panic, "panicked")] {
        let marks = Marks::create(16);
        let (tester, disowned) = tester(fails, usize::MAX, &marks);
        match tester.outcome(&tester.submit("echo", &[])) {
            Outcome::Broken(why) => match &*why {
                Broken::Start(text) => assert!(text.contains(words), "{text}"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        tester.gone();
        drop(tester);
        for mut process in disowned {
            // The launcher's thread, whose end the kernel ends it with, may have been quicker.
            let exit = process.child.reap();
            assert!(
                matches!(exit, Exit::Code(101) | Exit::Signal(libc::SIGKILL)),
                "{exit:?}"
            );
        }
    }
}

#[test]
fn a_worker_whose_end_nobody_can_tell_is_replaced() {
    let marks = Marks::create(16);
    let (tester, _) = tester(Fails::Reap, 1, &marks);
    match tester.outcome(&tester.submit("abort", &[])) {
        Outcome::Died(death) => assert_eq!(death.exit, Exit::Unknown),
        other => panic!("{other:?}"),
    }
    assert_eq!(tester.call("echo", b"next"), b"next");
    tester.finish();
}
