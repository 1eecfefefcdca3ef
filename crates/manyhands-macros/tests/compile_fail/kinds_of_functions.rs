//! `const`, `unsafe` and `extern` functions, and what is no function.
use manyhands::task;

#[task]
const fn one() -> u64 {
    1
}

#[task]
unsafe fn two() -> u64 {
    2
}

#[task]
extern "C" fn three() -> u64 {
    3
}

#[task]
struct Four;

#[task(retries = 3)]
fn five() -> u64 {
    5
}

#[task]
fn never() -> ! {
    loop {}
}

#[task]
fn address(at: *const u8, call: fn(u8)) {
    let _ = (at, call);
}

#[task]
fn itself(itself: u64) -> u64 {
    itself
}

fn main() {}
