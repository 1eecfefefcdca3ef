//! The monotonic clock, the same in every process of the machine (`CLOCK_MONOTONIC`).

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since some fixed moment.
#[must_use]
pub fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// As [`now`], up to the next tick of the kernel (1 to 10 ms), and not less unless that tick comes
/// late; several times cheaper.
#[must_use]
pub fn coarse() -> u64 {
    /// 0 is not known yet. Not a `OnceLock`: a fork while another thread initializes would leave
    /// the child waiting.
    static TICK: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number guards no other memory, and whoever comes first finds the same.
    let tick = match TICK.load(Ordering::Relaxed) {
        0 => {
            let found = nanoseconds(clock_getres(ClockId::MonotonicCoarse));
            TICK.store(found, Ordering::Relaxed);
            found
        }
        known => known,
    };
    nanoseconds(clock_gettime(ClockId::MonotonicCoarse)) + tick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_goes_forward_and_at_most_a_tick_ahead() {
        let tick = nanoseconds(clock_getres(ClockId::MonotonicCoarse));
        let mut last = 0;
        for _ in 0..1_000 {
            let coarse = coarse();
            assert!(coarse >= last);
            assert!(coarse <= now() + tick);
            last = coarse;
        }
    }
}
