//! Arguments travel to another process.
use manyhands::task;

#[task]
fn length(text: &str, rest: Vec<&'static [u8]>) -> usize {
    text.len() + rest.len()
}

fn main() {}
