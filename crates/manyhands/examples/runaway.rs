//! A loop that never ends, stopped by its timeout, while other tasks go on.

use std::time::{Duration, Instant};

use manyhands::{Error, Pool, task};

/// How many steps until 1, by the rule of Collatz with 3n - 1 instead of 3n + 1; from some numbers
/// it goes round for ever.
#[task]
fn steps_to_one(start: u64) -> u64 {
    let (mut n, mut steps) = (start, 0);
    while n != 1 {
        n = if n.is_multiple_of(2) {
            n / 2
        } else {
            3 * n - 1
        };
        steps += 1;
    }
    steps
}

fn main() -> manyhands::Result<()> {
    manyhands::init();
    let pool = Pool::builder().workers(2).build()?;
    let limited = pool.options().timeout(Duration::from_millis(300));
    let begun = Instant::now();
    let mut endless = Vec::new();
    for (start, result) in (1..=10).zip(limited.map(steps_to_one, 1..=10)) {
        match result {
            Ok(steps) => println!("{start}: {steps} steps"),
            Err(Error::TimedOut { ran, .. }) => {
                println!("{start}: still not there after {ran:?}");
                endless.push(start);
            }
            Err(other) => return Err(other),
        }
    }
    println!("all told in {:?}", begun.elapsed());
    assert_eq!(endless, [5, 7, 9, 10]);
    pool.shutdown()
}
