//! Tasks in worker processes, beside procspawn's pool: one measure of the one, then one of the
//! other, and so on, so that whatever else the machine does happens to both. Prints each one's
//! median, and their ratio.
//!
//! ```sh
//! cargo bench -p manyhands-benches --bench processes
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use manyhands::task;

const WORKERS: usize = 2;
const ROUNDS: usize = 9;

#[task]
fn increment(n: u64) -> u64 {
    n + 1
}

#[task]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

struct Pools {
    manyhands: manyhands::Pool,
    procspawn: procspawn::Pool,
}

/// Times one round; gives how long one of its tasks took.
type Measure = fn(&Pools) -> Duration;

fn per_task(tasks: u32, round: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    round();
    begun.elapsed() / tasks
}

fn many(pools: &Pools) -> Duration {
    const TASKS: u32 = 50_000;
    per_task(TASKS, || {
        let submit = |n| pools.manyhands.submit(increment, n);
        let handles: Vec<_> = (0..u64::from(TASKS)).map(submit).collect();
        for handle in handles {
            black_box(handle.wait().expect("it ends"));
        }
    })
}

fn many_peer(pools: &Pools) -> Duration {
    const TASKS: u32 = 2_000;
    per_task(TASKS, || {
        let submit = |n: u64| procspawn::spawn!(in pools.procspawn, (n) || n + 1);
        let handles: Vec<_> = (0..u64::from(TASKS)).map(submit).collect();
        for handle in handles {
            black_box(handle.join().expect("it ends"));
        }
    })
}

fn one(pools: &Pools) -> Duration {
    const TASKS: u32 = 5_000;
    per_task(TASKS, || {
        for n in 0..u64::from(TASKS) {
            black_box(
                pools
                    .manyhands
                    .submit(increment, n)
                    .wait()
                    .expect("it ends"),
            );
        }
    })
}

fn one_peer(pools: &Pools) -> Duration {
    const TASKS: u32 = 500;
    per_task(TASKS, || {
        for n in 0..u64::from(TASKS) {
            let handle = procspawn::spawn!(in pools.procspawn, (n) || n + 1);
            black_box(handle.join().expect("it ends"));
        }
    })
}

const LARGE: usize = 64 << 20;

fn large(pools: &Pools) -> Duration {
    let bytes = vec![7; LARGE];
    per_task(1, || {
        let back = pools.manyhands.submit(echo, bytes).wait().expect("it ends");
        assert_eq!(black_box(back).len(), LARGE);
    })
}

fn large_peer(pools: &Pools) -> Duration {
    let bytes: Vec<u8> = vec![7; LARGE];
    per_task(1, || {
        let handle = procspawn::spawn!(in pools.procspawn, (bytes) || bytes);
        let back: Vec<u8> = handle.join().expect("it ends");
        assert_eq!(black_box(back).len(), LARGE);
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> manyhands::Result<()> {
    manyhands::init();
    procspawn::init();
    let pools = Pools {
        manyhands: manyhands::Pool::builder().workers(WORKERS).build()?,
        procspawn: procspawn::Pool::new(WORKERS).expect("processes for the peer"),
    };
    let measures: [(&str, Measure, Measure, &str); 3] = [
        ("submit all, wait for all", many, many_peer, "20 x"),
        ("one round trip", one, one_peer, "3 x"),
        ("64 MiB there and back", large, large_peer, "5 x"),
    ];
    println!("{WORKERS} workers; median of {ROUNDS} rounds, a task\n");
    println!(
        "{:26} {:>12} {:>12} {:>9}  wanted",
        "", "manyhands", "procspawn", "ratio"
    );
    for (name, ours, peers, wanted) in measures {
        // Once each to warm up.
        let _ = (ours(&pools), peers(&pools));
        let rounds = (0..ROUNDS).map(|_| (ours(&pools), peers(&pools)));
        let (ours, peers): (Vec<_>, Vec<_>) = rounds.unzip();
        let (ours, peers) = (median(ours), median(peers));
        let ratio = peers.as_secs_f64() / ours.as_secs_f64();
        println!("{name:26} {ours:>12.2?} {peers:>12.2?} {ratio:>7.1} x  {wanted}");
    }
    pools.manyhands.shutdown()
}
