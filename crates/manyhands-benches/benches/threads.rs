//! The pool of threads beside what else there is: `cargo bench -p manyhands-benches --bench threads`.
//!
//! First criterion measures the pool alone, so that a change of it shows against the last run.
//! Then all contestants take turns in one run, since on a machine that does other things as well
//! only ratios of one run say anything; the table has medians of the turns.

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use manyhands::thread::ThreadPool;
use rustix::time::{ClockId, clock_gettime};

/// Tasks that are submitted at once.
const BURST: usize = 100_000;
/// Tasks that are submitted and waited for, one after the other.
const TRIPS: usize = 10_000;
const TURNS: usize = 15;

struct Contestants {
    ours: ThreadPool,
    rayon: rayon::ThreadPool,
    tokio: tokio::runtime::Runtime,
}

type Play = fn(&Contestants, usize);

fn ours_burst(all: &Contestants, count: usize) {
    let handles: Vec<_> = (0..count).map(|n| all.ours.spawn(move || n)).collect();
    for handle in handles {
        black_box(handle.wait().unwrap());
    }
}

fn rayon_burst(all: &Contestants, count: usize) {
    let receivers: Vec<_> = (0..count)
        .map(|n| {
            let (sender, receiver) = channel();
            all.rayon.spawn(move || sender.send(n).unwrap());
            receiver
        })
        .collect();
    for receiver in receivers {
        black_box(receiver.recv().unwrap());
    }
}

fn tokio_burst(all: &Contestants, count: usize) {
    let handles: Vec<_> = (0..count)
        .map(|n| all.tokio.spawn_blocking(move || n))
        .collect();
    all.tokio.block_on(async {
        for handle in handles {
            black_box(handle.await.unwrap());
        }
    });
}

fn ours_trips(all: &Contestants, count: usize) {
    for n in 0..count {
        black_box(all.ours.spawn(move || n).wait().unwrap());
    }
}

fn rayon_trips(all: &Contestants, count: usize) {
    for n in 0..count {
        let (sender, receiver) = channel();
        all.rayon.spawn(move || sender.send(n).unwrap());
        black_box(receiver.recv().unwrap());
    }
}

fn tokio_trips(all: &Contestants, count: usize) {
    all.tokio.block_on(async {
        for n in 0..count {
            black_box(all.tokio.spawn_blocking(move || n).await.unwrap());
        }
    });
}

/// Time of the processor that all threads of this process have used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time a task on the clock, and of the processor.
fn measure(all: &Contestants, play: Play, count: usize) -> [Duration; 2] {
    let (begun, before) = (Instant::now(), used());
    play(all, count);
    [begun.elapsed(), used() - before].map(|time| time / u32::try_from(count).unwrap())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn side_by_side(all: &Contestants, title: &str, count: usize, plays: [(&str, Play); 3]) {
    let mut times = [const { Vec::new() }; 3];
    for turn in 0..TURNS + 1 {
        for (times, (_, play)) in times.iter_mut().zip(plays) {
            let time = measure(all, play, count);
            // The first turn starts the threads.
            if turn > 0 {
                times.push(time);
            }
        }
    }
    let medians = times.map(|times| {
        let column = |at: usize| median(times.iter().map(|time| time[at]).collect());
        [column(0), column(1)]
    });
    println!("{title}, median of {TURNS} turns (a task, and what it takes of the first's time)");
    for ((name, _), times) in plays.iter().zip(medians) {
        let ratio = |at: usize| times[at].as_secs_f64() / medians[0][at].as_secs_f64();
        println!(
            "    {name:<28} {:>9.1?} {:>6.2} x    processor {:>9.1?} {:>6.2} x",
            times[0],
            ratio(0),
            times[1],
            ratio(1)
        );
    }
}

fn main() {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let all = Contestants {
        ours: ThreadPool::builder().workers(threads).build(),
        rayon: rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap(),
        tokio: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads)
            .build()
            .unwrap(),
    };

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("threads");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("burst", |bench| bench.iter(|| ours_burst(&all, BURST)));
    group.throughput(Throughput::Elements(1));
    group.bench_function("round trip", |bench| bench.iter(|| ours_trips(&all, 1)));
    group.finish();
    criterion.final_summary();

    println!("{threads} threads each");
    side_by_side(
        &all,
        "submit all, then wait for all",
        BURST,
        [
            ("manyhands spawn", ours_burst),
            ("rayon spawn, a channel each", rayon_burst),
            ("tokio spawn_blocking", tokio_burst),
        ],
    );
    side_by_side(
        &all,
        "one at a time",
        TRIPS,
        [
            ("manyhands spawn", ours_trips),
            ("rayon spawn, a channel each", rayon_trips),
            ("tokio spawn_blocking", tokio_trips),
        ],
    );
}
