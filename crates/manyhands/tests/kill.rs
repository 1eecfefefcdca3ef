//! Workers that are killed or stopped at any moment: every task has exactly one outcome, and only
//! what ran is lost or delayed.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::marks::{MARKS_FILE, Marks};
use common::random::Random;
use common::worker::MARK;
use common::{Tester, number, proc};
use manyhands::Kind;
use manyhands::task::{Exit, Outcome};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

const TASKS: usize = 16 << 20;

#[derive(Default)]
struct Tally {
    ended: AtomicU64,
    died: AtomicU64,
}

impl Tally {
    fn check(&self, id: u64, outcome: Outcome, marks: &Marks) {
        match outcome {
            Outcome::Died(death) => {
                assert_eq!(death.exit, Exit::Signal(libc::SIGKILL), "task {id}");
                assert!(marks.begun(id) <= 1, "task {id} ran twice");
                self.died.fetch_add(1, Ordering::Relaxed);
            }
            outcome => {
                assert_eq!(number(outcome), id * 2);
                assert_eq!(marks.begun(id), 1, "task {id}");
                self.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Submits rounds of tasks and checks each outcome, until told to stop.
fn submit(tester: &Tester, marks: &Marks, next: &AtomicU64, stop: &AtomicBool, seed: u64) -> Tally {
    let (tally, mut random) = (Tally::default(), Random(seed));
    while !stop.load(Ordering::Relaxed) {
        let first = next.fetch_add(256, Ordering::Relaxed);
        assert!(first + 256 < TASKS as u64, "more counters are needed");
        let (mut ids, mut tasks) = (first..first + 256, Vec::new());
        while let Some(id) = ids.next() {
            // Beyond what a slot holds, the input goes through the arena.
            let mut input = id.to_le_bytes().to_vec();
            if random.below(8) == 0 {
                input.resize(1000, 0);
            }
            if random.below(16) == 0 {
                let more = ids.by_ref().take(random.below(30) as usize);
                let items: Vec<u64> = [id].into_iter().chain(more).collect();
                let batch: Vec<_> = items.iter().map(|id| (MARK, *id)).collect();
                tasks.push((items, tester.submit_batch(&batch)));
            } else {
                let kind = Kind::ALL[random.below(2) as usize];
                tasks.push((vec![id], tester.submit_as(kind, "mark", &input)));
            }
        }
        for (ids, task) in tasks {
            match tester.outcome(&task) {
                Outcome::Batch { items, .. } => {
                    assert_eq!(items.len(), ids.len());
                    for (id, outcome) in ids.into_iter().zip(items) {
                        tally.check(id, outcome, marks);
                    }
                }
                outcome => tally.check(ids[0], outcome, marks),
            }
        }
    }
    tally
}

/// Kills `count` times, at random moments, also before a worker is ready.
fn kill(tester: &Tester, count: usize, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..count {
        let pids = tester.pids();
        if !pids.is_empty() {
            proc::signal(
                pids[random.below(pids.len() as u64) as usize],
                libc::SIGKILL,
            );
        }
        thread::sleep(Duration::from_micros(random.below(40_000)));
    }
}

fn every_task_has_one_outcome(workers: usize, slots: usize, kills: usize, seed: u64) {
    let marks = Marks::create(TASKS);
    let tester = Tester::with(workers, slots, &[(MARKS_FILE, marks.path())]);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let (ended, died) = thread::scope(|scope| {
        let submitters: Vec<_> = (1..4)
            .map(|thread| {
                let (tester, marks, next, stop) = (&tester, &marks, &next, &stop);
                scope.spawn(move || submit(tester, marks, next, stop, seed * 10 + thread))
            })
            .collect();
        kill(&tester, kills, seed);
        stop.store(true, Ordering::Relaxed);
        submitters
            .into_iter()
            .fold((0, 0), |(ended, died), thread| {
                let tally = thread.join().unwrap();
                (
                    ended + tally.ended.into_inner(),
                    died + tally.died.into_inner(),
                )
            })
    });
    assert_eq!(ended + died, next.into_inner());
    assert!(died > 0, "no kill hit a running task");
    println!(
        "{kills} kills in {:?}: {ended} tasks ended, {died} died",
        begun.elapsed()
    );
    tester.finish();
}

#[test]
fn a_thousand_kills_cost_only_what_ran() {
    every_task_has_one_outcome(2, 2048, 1000, 1);
}

#[test]
fn a_thousand_kills_with_few_slots_and_four_workers_cost_only_what_ran() {
    every_task_has_one_outcome(4, 64, 1000, 2);
}

#[test]
fn a_stopped_worker_delays_only_what_it_runs() {
    let tester = Tester::new(3);
    tester.ready();
    let slow = tester.submit("sleep", &50u64.to_le_bytes());
    while !tester.pool.is_running(&slow) {
        thread::yield_now();
    }
    let before: Vec<_> = (0..300u64)
        .map(|_| tester.submit("spin", &100u64.to_le_bytes()))
        .collect();
    // Function lanes are woken in the order of the workers' places.
    let stopped = tester.pids()[0];
    proc::stop(stopped);
    let after: Vec<_> = (0..300u64)
        .map(|id| tester.submit("double", &id.to_le_bytes()))
        .collect();
    for (id, task) in after.iter().enumerate() {
        assert_eq!(tester.number(task), id as u64 * 2);
    }
    // It holds the slow one or one of these; what the others run ends by itself.
    let all = || before.iter().chain([&slow]);
    while all().filter(|task| !task.is_done()).count() > 1 {
        thread::sleep(Duration::from_millis(1));
        tester.pool.poll();
    }
    proc::signal(stopped, libc::SIGCONT);
    for task in all() {
        tester.outcome(task);
    }
    tester.finish();
}

#[test]
fn a_worker_that_was_stopped_in_its_sleep_delays_nothing() {
    for place in 0..3 {
        let tester = Tester::new(3);
        tester.ready();
        let stopped = tester.pids()[place];
        for round in 0..20u64 {
            // Idle, so that the stopped one may be the one that is woken.
            thread::sleep(Duration::from_millis(2));
            proc::stop(stopped);
            for kind in Kind::ALL {
                let tasks: Vec<_> = (0..round % 5 + 1)
                    .map(|id| tester.submit_as(kind, "double", &id.to_le_bytes()))
                    .collect();
                for (id, task) in tasks.iter().enumerate() {
                    assert_eq!(tester.number(task), id as u64 * 2);
                }
            }
            proc::signal(stopped, libc::SIGCONT);
        }
        tester.finish();
    }
}

#[test]
fn workers_stopped_and_continued_at_random_lose_nothing() {
    let tester = Tester::new(3);
    tester.ready();
    let (stop, pids) = (AtomicBool::new(false), tester.pids());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(7);
            while !stop.load(Ordering::Relaxed) {
                let pid = pids[random.below(3) as usize];
                proc::signal(pid, libc::SIGSTOP);
                thread::sleep(Duration::from_micros(random.below(3_000)));
                proc::signal(pid, libc::SIGCONT);
            }
        });
        for round in 0..2_000u64 {
            let tasks: Vec<_> = (0..round % 50)
                .map(|id| {
                    let kind = Kind::ALL[(id % 2) as usize];
                    tester.submit_as(kind, "double", &id.to_le_bytes())
                })
                .collect();
            for (id, task) in tasks.iter().enumerate() {
                assert_eq!(tester.number(task), id as u64 * 2);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    tester.finish();
}
