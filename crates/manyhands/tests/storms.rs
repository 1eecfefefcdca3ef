//! Storms of stops and timeouts while tasks flow: each task has exactly one outcome, and none pays for
//! the end of a worker that was meant for another.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::marks::{MARKS_FILE, Marks};
use common::random::Random;
use common::worker::{FAIL, MARK, OVERRUN, PANICKED, PERISH, TAKE, attempt, item};
use common::{Tester, number, proc};
use manyhands::Kind;
use manyhands::process::Config;
use manyhands::task::{Exit, Outcome, RETRY, Task};

#[test]
fn worker_entry() {
    common::become_worker_if_asked();
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[derive(Default)]
struct Counts {
    ended: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
}

/// A task, whether it is stopped, and its timeout if it has one.
type Stormy = (u64, Arc<Task>, bool, Option<Duration>);

const STORM: usize = 1 << 20;

/// Rounds of tasks with timeouts about as long as they take, some of them stopped at any moment.
fn storm(
    tester: &Tester,
    kind: Kind,
    marks: &Marks,
    next: &AtomicU64,
    end: &AtomicBool,
    seed: u64,
) -> Counts {
    let (counts, mut random) = (Counts::default(), Random(seed));
    while !end.load(Ordering::Relaxed) {
        let first = next.fetch_add(64, Ordering::Relaxed);
        assert!(first + 64 < STORM as u64, "more counters are needed");
        let mut tasks: Vec<Stormy> = Vec::new();
        for id in first..first + 64 {
            let micros = 1_000 + random.below(1_000);
            let timeout = (random.below(8) == 0).then(|| Duration::from_micros(micros));
            let mut input = match (timeout, random.below(8)) {
                (Some(_), 0) => attempt(id, OVERRUN, 1),
                // Ends just when it is over its time, or its worker is about to be killed.
                (Some(_), _) => attempt(id, TAKE, micros + random.below(150)),
                (None, _) => attempt(id, TAKE, random.below(20)),
            };
            if random.below(8) == 0 {
                input.resize(1000, 0);
            }
            let task = tester.submit_with(kind, "attempt", &input, timeout, 0);
            let stopped = random.below(32) == 0;
            if stopped {
                tester.pool.stop(&task);
            } else if random.below(16) == 0 {
                // One submitted earlier, that may run by now.
                let other = random.below(tasks.len() as u64 + 1) as usize;
                if let Some((_, task, stopped, _)) = tasks.get_mut(other) {
                    *stopped = true;
                    tester.pool.stop(task);
                }
            }
            tasks.push((id, task, stopped, timeout));
        }
        for (id, task, stopped, timeout) in tasks {
            let (outcome, begun) = (tester.outcome(&task), marks.begun(id));
            assert!(begun <= 1, "task {id} ran {begun} times");
            match outcome {
                Outcome::TimedOut { ran } => {
                    assert!(ran >= timeout.unwrap(), "task {id}: {ran:?}");
                    counts.timed_out.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Cancelled => {
                    assert!(stopped, "task {id}");
                    counts.cancelled.fetch_add(1, Ordering::Relaxed);
                }
                // In particular it has not died, for a kill that was meant for another.
                outcome => {
                    assert_eq!(number(outcome), id * 2);
                    assert_eq!(begun, 1, "task {id}");
                    counts.ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
    counts
}

/// A lane runs one of these tasks at a time, so a kill has no bystander that ran already: no task
/// may die.
fn stops_and_timeouts_charge_nobody_else(kind: Kind, workers: usize, slots: usize, seed: u64) {
    let marks = Marks::create(STORM);
    let config = Config {
        workers,
        slots,
        stop_grace: [Duration::ZERO; 2],
        ..Config::default()
    };
    let tester = Tester::start(config, &[(MARKS_FILE, marks.path())]);
    let (next, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let counts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (1..4)
            .map(|thread| {
                let (tester, marks, next, end) = (&tester, &marks, &next, &end);
                scope.spawn(move || storm(tester, kind, marks, next, end, seed * 10 + thread))
            })
            .collect();
        thread::sleep(Duration::from_secs(2));
        end.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let sum = |of: fn(&Counts) -> &AtomicU64| -> u64 {
        counts
            .iter()
            .map(|counts| of(counts).load(Ordering::Relaxed))
            .sum()
    };
    let (ended, timed_out) = (sum(|counts| &counts.ended), sum(|counts| &counts.timed_out));
    let cancelled = sum(|counts| &counts.cancelled);
    println!("{ended} ended, {timed_out} timed out, {cancelled} cancelled");
    assert_eq!(ended + timed_out + cancelled, next.into_inner());
    assert!(ended > 0 && timed_out > 0 && cancelled > 0);
    tester.finish();
}

#[test]
fn a_storm_of_stops_and_timeouts_of_functions_charges_nobody_else() {
    stops_and_timeouts_charge_nobody_else(Kind::Function, 3, 64, 1);
}

#[test]
fn a_storm_of_stops_and_timeouts_of_coroutines_charges_nobody_else() {
    stops_and_timeouts_charge_nobody_else(Kind::Coroutine, 2, 2048, 2);
}

/// What the mixed storm submits: an identity for each of its marks, and what may come of it.
struct Mixed {
    ids: Vec<u64>,
    task: Arc<Task>,
    stopped: bool,
    timeout: Option<Duration>,
    retries: u32,
}

fn submit_mixed(tester: &Tester, random: &mut Random, next: &AtomicU64) -> Mixed {
    let count = match random.below(8) {
        0 => 1 + random.below(30),
        _ => 1,
    };
    let first = next.fetch_add(count, Ordering::Relaxed);
    assert!(first + count < STORM as u64, "more counters are needed");
    let ids: Vec<_> = (first..first + count).collect();
    let kind = Kind::ALL[random.below(2) as usize];
    let micros = |random: &mut Random| Some(Duration::from_micros(random.below(5_000)));
    let (mut timeout, mut retries) = (None, 0);
    let task = if count > 1 {
        let items: Vec<u8> = ids.iter().flat_map(|id| item(MARK, *id)).collect();
        let (function, count) = (tester.function("items"), Some(count as u32));
        tester
            .pool
            .submit(kind, function, count, &[&items])
            .unwrap()
    } else if random.below(4) == 0 {
        timeout = micros(random);
        let name = if random.below(8) == 0 { "snore" } else { "nap" };
        let length = random.below(6_000).to_le_bytes();
        tester.submit_with(Kind::Coroutine, name, &length, timeout, 0)
    } else {
        let way = [FAIL, PERISH, OVERRUN][random.below(3) as usize];
        // What perishes costs a worker, which takes its time.
        let bad = match random.below(10) {
            0 => random.below(4),
            _ => 0,
        };
        if way == OVERRUN || random.below(4) == 0 {
            timeout = micros(random);
        }
        retries = random.below(4) as u32;
        tester.submit_with(kind, "attempt", &attempt(first, way, bad), timeout, retries)
    };
    Mixed {
        ids,
        task,
        stopped: false,
        timeout,
        retries,
    }
}

fn check_mixed(mixed: Mixed, outcome: Outcome, marks: &Marks) {
    let Mixed {
        ids,
        stopped,
        timeout,
        retries,
        ..
    } = mixed;
    let outcomes = match outcome {
        Outcome::Batch { items, .. } => items,
        outcome => vec![outcome],
    };
    let whole = outcomes.len() < ids.len();
    assert!(!whole || matches!(outcomes[0], Outcome::Cancelled));
    for (id, outcome) in ids.into_iter().zip(outcomes) {
        let begun = u32::from(marks.begun(id));
        assert!(begun <= retries + 1, "task {id} ran {begun} times");
        match outcome {
            // A nap.
            Outcome::Ended { code: 0, payload } if payload.is_empty() => assert_eq!(begun, 0),
            Outcome::Ended { code: 0, payload } => {
                assert_eq!(*payload.into_bytes(), (id * 2).to_le_bytes());
                assert!(begun > 0);
            }
            Outcome::Ended { code, .. } => assert_eq!(code, RETRY | PANICKED),
            Outcome::Died(death) => assert_eq!(death.exit, Exit::Signal(libc::SIGKILL)),
            Outcome::TimedOut { ran } => assert!(ran >= timeout.unwrap()),
            Outcome::Cancelled => assert!(stopped, "task {id}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn in_a_storm_of_everything_each_task_ends_once_and_runs_no_more_often_than_it_may() {
    let marks = Marks::create(STORM);
    let config = Config {
        workers: 3,
        slots: 256,
        stop_grace: [Duration::ZERO, ms(3)],
        ..Config::default()
    };
    let tester = Tester::start(config, &[(MARKS_FILE, marks.path())]);
    let (next, end) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 1..4 {
            let (tester, marks, next, end) = (&tester, &marks, &next, &end);
            scope.spawn(move || {
                let mut random = Random(thread * 77);
                while !end.load(Ordering::Relaxed) {
                    let mut tasks: Vec<Mixed> = Vec::new();
                    for _ in 0..64 {
                        tasks.push(submit_mixed(tester, &mut random, next));
                        if random.below(8) == 0 {
                            let any = random.below(tasks.len() as u64) as usize;
                            tasks[any].stopped = true;
                            tester.pool.stop(&tasks[any].task);
                        }
                        if random.below(64) == 0 {
                            let pids = tester.pids();
                            if let Some(pid) = pids.first() {
                                proc::signal(*pid, libc::SIGSTOP);
                                proc::signal(*pid, libc::SIGCONT);
                            }
                        }
                    }
                    for mixed in tasks {
                        let outcome = tester.outcome(&mixed.task);
                        check_mixed(mixed, outcome, marks);
                    }
                }
            });
        }
        thread::sleep(Duration::from_secs(2));
        end.store(true, Ordering::Relaxed);
    });
    println!("{} tasks", next.into_inner());
    let files = proc::memfds(std::process::id());
    tester.finish();
    assert!(!files.is_empty());
    let holders = || {
        proc::holders(&files)
            .into_iter()
            .any(|pid| pid != std::process::id())
    };
    assert!(!holders(), "a worker is left behind");
}
