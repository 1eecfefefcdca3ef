//! Results travel to another process.
use manyhands::task;

#[task]
fn name() -> &'static str {
    "name"
}

fn main() {}
