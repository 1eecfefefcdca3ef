//! What `/proc` says about processes, and a watchdog that uses it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use manyhands::process::Pool;

/// Aborts the process, with what each thread is doing, unless it is dropped in time.
pub struct Watchdog(#[allow(dead_code, reason = "dropping it is the message")] Sender<()>);

impl Watchdog {
    pub fn new(limit: Duration, pool: Option<Arc<Pool>>) -> Self {
        let (sender, receiver) = channel();
        let pool = pool.as_ref().map(Arc::downgrade);
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                if receiver.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                eprintln!("still not done after {limit:?}:");
                eprintln!("{}", describe(std::process::id()));
                if let Some(pool) = pool.and_then(|pool| pool.upgrade()) {
                    // `status` takes the lock that may be what hangs, so it comes last.
                    let status = pool.status();
                    for (pid, _) in &status.workers {
                        eprintln!("{}", describe(*pid));
                    }
                    eprintln!("{status:?}");
                }
                std::process::abort();
            })
            .unwrap();
        Self(sender)
    }
}

/// Each thread's name, state, and the system call that it is in.
pub fn describe(pid: u32) -> String {
    let mut text = format!("process {pid}\n");
    for task in tasks(pid) {
        let read = |name: &str| {
            fs::read_to_string(format!("{task}/{name}"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let _ = writeln!(
            text,
            "  {} {:?} syscall {} wchan {}",
            task.rsplit('/').next().unwrap_or_default(),
            read("comm"),
            read("syscall"),
            read("wchan"),
        );
    }
    text
}

fn tasks(pid: u32) -> Vec<String> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| Some(entry.ok()?.path().to_str()?.to_owned()))
        .collect()
}

/// Times that each thread has gone to sleep: (thread, name, count).
pub fn sleeps(pid: u32) -> Vec<(String, String, u64)> {
    let mut counts: Vec<_> = tasks(pid)
        .into_iter()
        .filter_map(|task| {
            let status = fs::read_to_string(format!("{task}/status")).ok()?;
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            let name = fs::read_to_string(format!("{task}/comm")).ok()?;
            Some((task, name.trim().to_owned(), count.trim().parse().ok()?))
        })
        .collect();
    counts.sort();
    counts
}

/// The letter that stands for a process's state (proc(5)); `None` when it is gone, or a zombie.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit(") ").next()?.chars().next()?;
    (state != 'Z').then_some(state)
}

/// Stops a process; returns when none of its threads runs any more.
pub fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    let stopped = |task: &String| {
        let stat = fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    };
    while !tasks(pid).iter().all(stopped) {
        thread::yield_now();
    }
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: sends a signal to a process; touches no memory.
    unsafe { libc::kill(pid as i32, signal) };
}

/// The memfds that a process holds, by inode.
pub fn memfds(pid: u32) -> Vec<u64> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = fs::read_link(&path).ok()?;
            name.to_str()?
                .starts_with("/memfd:manyhands")
                .then_some(fs::metadata(&path).ok()?.ino())
        })
        .collect()
}

/// Processes that hold any of these memfds.
pub fn holders(files: &[u64]) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| memfds(*pid).iter().any(|file| files.contains(file)))
        .collect()
}

/// Threads of this process.
pub fn threads() -> usize {
    tasks(std::process::id()).len()
}

/// Descriptors that this process holds.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
