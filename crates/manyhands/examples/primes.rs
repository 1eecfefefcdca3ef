//! Counts primes on processes and on threads, and says how long each took.
//!
//! ```sh
//! cargo run --release --example primes -- 3000000
//! ```

use std::ops::Range;
use std::time::Instant;

use manyhands::{Pool, task};

/// How many numbers a task looks at.
const PIECE: u64 = 10_000;

#[task]
fn count_primes(numbers: Range<u64>) -> usize {
    let is_prime = |n: &u64| {
        *n > 1
            && (2..)
                .take_while(|d| d * d <= *n)
                .all(|d| !n.is_multiple_of(d))
    };
    numbers.filter(is_prime).count()
}

fn pieces(limit: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = (0..limit).step_by(PIECE as usize);
    starts.map(move |start| start..limit.min(start + PIECE))
}

fn main() -> manyhands::Result<()> {
    manyhands::init();
    let limit = std::env::args().nth(1).map_or(1_000_000, |limit| {
        limit.parse().expect("a limit: up to which number to count")
    });

    let pool = Pool::builder().build()?;
    let begun = Instant::now();
    let mut on_processes = 0;
    for count in pool.map(count_primes, pieces(limit)) {
        on_processes += count?;
    }
    println!("processes: {on_processes} primes in {:?}", begun.elapsed());
    pool.shutdown()?;

    let begun = Instant::now();
    let threads = std::thread::available_parallelism()?.get();
    let all: Vec<_> = pieces(limit).collect();
    let on_threads: usize = std::thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(threads).max(1));
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(|| share.iter().cloned().map(*count_primes).sum::<usize>()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("counting does not panic"))
            .sum()
    });
    println!("threads:   {on_threads} primes in {:?}", begun.elapsed());

    assert_eq!(on_processes, on_threads);
    if limit == 1_000_000 {
        assert_eq!(on_processes, 78_498);
    }
    Ok(())
}
