//! The tasks that the suite submits. They work in processes and in threads.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use manyhands::task;

#[task]
pub fn double(n: u64) -> u64 {
    n * 2
}

#[task]
pub fn nothing() {}

#[task]
pub fn join(a: String, times: usize, flag: Option<bool>) -> String {
    format!("{}{flag:?}", a.repeat(times))
}

#[task]
pub fn half(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(2) {
        Ok(n / 2)
    } else {
        Err(format!("{n} is odd"))
    }
}

#[task]
pub fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[task]
pub fn panics(text: String) -> u64 {
    panic!("{text} is not to my taste");
}

#[task]
pub fn fails_for_odd(n: u64) -> u64 {
    assert!(n.is_multiple_of(2), "{n} is odd");
    n
}

#[task]
pub fn spin(microseconds: u64) -> u64 {
    let end = std::time::Instant::now() + Duration::from_micros(microseconds);
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
    microseconds
}

/// How many tasks the worker that runs it has counted before.
#[task]
pub fn count() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Says that it runs, by a file, and goes on until it is told to stop.
#[task]
pub fn until_told(started: String) {
    File::create(started).unwrap();
    while !manyhands::is_cancelled() {
        std::thread::yield_now();
    }
}

/// Says that it runs, by a file, and goes on until another file is there.
#[task]
pub fn until_allowed(started: String, allowed: String) -> u64 {
    File::create(started).unwrap();
    while !std::path::Path::new(&allowed).exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    7
}

/// Writes a letter to a file, then panics unless it has so many of them.
#[task]
pub fn attempt(file: String, enough: u64) -> u64 {
    let mut attempts = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .unwrap();
    attempts.write_all(b"x").unwrap();
    let made = attempts.metadata().unwrap().len();
    assert!(made >= enough, "attempt {made} fails");
    made
}

#[task]
pub async fn add_later(a: u64, b: u64) -> u64 {
    std::future::ready(a).await + b
}

#[task]
pub async fn panics_later(text: String) -> u64 {
    std::future::ready(()).await;
    panic!("{text} is not to my taste either");
}
