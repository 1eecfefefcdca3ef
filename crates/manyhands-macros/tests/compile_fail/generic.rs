//! A worker finds a task by its name, and so by concrete types.
use manyhands::task;

#[task]
fn first<T: Clone>(values: Vec<T>) -> Option<T> {
    values.first().cloned()
}

fn main() {}
