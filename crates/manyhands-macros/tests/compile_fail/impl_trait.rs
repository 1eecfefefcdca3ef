//! `impl Trait` names no type.
use manyhands::task;

#[task]
fn shout(text: impl Into<String>) -> impl Iterator<Item = char> {
    text.into().to_uppercase().chars().collect::<Vec<_>>().into_iter()
}

fn main() {}
