//! There is no `self` in another process.
use manyhands::task;

struct Parser;

impl Parser {
    #[task]
    fn parse(&self, text: String) -> usize {
        text.len()
    }
}

fn main() {}
