//! A lifetime hides a borrow.
use manyhands::task;

#[task]
fn length(text: std::borrow::Cow<'_, str>) -> usize {
    text.len()
}

fn main() {}
