//! The monotonic clock, the same in every process of the machine (`CLOCK_MONOTONIC`).

/// Nanoseconds since some fixed moment.
#[must_use]
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
