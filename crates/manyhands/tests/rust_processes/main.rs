//! What only worker processes can do to a pool, and a pool to them: deaths at every step, life
//! cycles, launching.
#![allow(unreachable_pub, reason = "modules of a test binary")]

#[path = "../common/proc.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod proc;

mod deaths;
mod launching;
mod life;
mod values;

use std::time::Duration;

use manyhands::task;

manyhands::testing::worker!();

/// Ends a test that hangs, with a list of what each thread is doing.
fn watchdog() -> proc::Watchdog {
    proc::Watchdog::new(Duration::from_secs(120), None)
}

#[task]
fn double(n: u64) -> u64 {
    n * 2
}

#[task]
fn pid() -> u32 {
    std::process::id()
}

#[task]
async fn pid_later() -> u32 {
    std::process::id()
}

#[task]
fn exit(status: i32) {
    std::process::exit(status);
}

#[task]
fn abort() {
    std::process::abort();
}

#[task]
async fn abort_later() {
    tokio::task::yield_now().await;
    std::process::abort();
}

#[task]
#[allow(unsafe_code)]
fn segfault() {
    // SAFETY: none: a stray pointer of a native library, which is to cost this process only.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
}

#[task]
fn overflow(n: u64) -> u64 {
    // Deeper than any stack.
    std::hint::black_box(overflow(n + 1)) + 1
}

#[task]
fn sleep(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[task]
async fn nap(milliseconds: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    milliseconds
}

#[task]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[task]
async fn echo_later(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}
