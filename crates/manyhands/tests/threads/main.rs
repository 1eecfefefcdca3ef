//! The pool of threads, and the executor that it stands on.

mod awaiting;
mod cancel;
mod ends;
mod executor;
mod futures;
mod growth;
mod panics;
mod scopes;
mod starting;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use manyhands::thread::ThreadPool;

/// Keeps tasks from going on until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// In a task: says that it is there, and waits.
    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut inner = state.lock().unwrap();
        inner.0 += 1;
        changed.notify_all();
        while !inner.1 {
            inner = changed.wait(inner).unwrap();
        }
    }

    /// Waits until so many tasks are there.
    fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.0;
        let mut inner = state.lock().unwrap();
        while inner.0 < count {
            inner = changed.wait(inner).unwrap();
        }
    }

    fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }
}

fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(workers).build()
}

/// Threads of this process whose names begin so, by their system ids.
fn threads_named(prefix: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
    let named = ids.filter(|id| {
        let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm"));
        name.is_ok_and(|name| name.starts_with(prefix))
    });
    named.map(|id| id.parse().unwrap()).collect()
}

/// A thread that was joined is in the list for a moment longer: joining waits until it is through
/// with its memory, and only then the kernel takes it out.
fn assert_no_threads_named(prefix: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !threads_named(prefix).is_empty() {
        assert!(Instant::now() < deadline, "threads named {prefix} are left");
        std::thread::yield_now();
    }
}

/// How often a thread has gone to sleep or was interrupted.
fn switches(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
    let lines = status
        .lines()
        .filter(|line| line.contains("ctxt_switches:"));
    lines
        .map(|line| {
            line.split_whitespace()
                .last()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}

/// Waits until a thread sleeps.
fn settle(id: u32) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap();
        let state = stat.rsplit(')').next().unwrap().trim_start();
        if state.starts_with('S') {
            return;
        }
        std::thread::yield_now();
    }
}
