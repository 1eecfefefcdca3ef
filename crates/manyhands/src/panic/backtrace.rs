//! A backtrace as its reader wants it: from the function that panicked to the task.
//!
//! Where frames have no names (a stripped program), or others than expected, more of them stay;
//! those of the program are never left out.

/// Frames of what raises a panic. Above them lie those of the hook, below them the program.
const RAISES: [&str; 7] = [
    "std::panicking::",
    "core::panicking::",
    "rust_begin_unwind",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "std::sys::backtrace::",
];

/// The frame that catches the panics of tasks.
const CATCHES: &str = "manyhands::panic::catch";

/// Frames between that and the task.
const BETWEEN: [&str; 6] = [
    "std::panicking::",
    "std::panic::catch_unwind",
    "core::panic::unwind_safe::AssertUnwindSafe",
    "core::ops::function::FnOnce",
    "__rust_try",
    "manyhands::worker::",
];

/// The frames of `text` (as [`std::backtrace::Backtrace`] shows them) without the machinery at both
/// ends.
pub(super) fn without_machinery(text: &str) -> String {
    let frames = frames(text);
    let is = |frame: &Frame<'_>, names: &[&str]| names.iter().any(|name| frame.name.contains(name));
    let end = frames.iter().position(|frame| frame.name.contains(CATCHES));
    let mut end = end.unwrap_or(frames.len());
    while end > 0 && is(&frames[end - 1], &BETWEEN) {
        end -= 1;
    }
    let raises = |frame: &&Frame<'_>| is(frame, &RAISES);
    let first = frames.iter().take_while(|frame| !raises(frame)).count();
    let start = first + frames[first..].iter().take_while(raises).count();
    match start < end {
        true => frames[start..end].iter().map(|frame| frame.text).collect(),
        false => text.to_owned(),
    }
}

struct Frame<'a> {
    name: &'a str,
    /// With its number and, if it is known, the line of its place.
    text: &'a str,
}

fn frames(text: &str) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let number = line.trim_start().split_once(": ");
        match number.filter(|(number, _)| number.parse::<u32>().is_ok()) {
            Some((_, name)) => frames.push(Frame {
                name: name.trim_end(),
                text: &text[start..end],
            }),
            None => {
                if let Some(last) = frames.last_mut() {
                    let from = start - last.text.len();
                    last.text = &text[from..end];
                }
            }
        }
        start = end;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::without_machinery;

    const WHOLE: &str = "   0: std::backtrace::Backtrace::force_capture
   1: manyhands::panic::record
             at ./src/panic.rs:1:1
   2: <alloc::boxed::Box<F,A> as core::ops::function::Fn<Args>>::call
   3: std::panicking::rust_panic_with_hook
   4: __rustc::rust_begin_unwind
   5: core::panicking::panic_fmt
   6: program::parse
             at ./src/main.rs:7:9
   7: std::panicking::catch_unwind
   8: program::task
   9: core::ops::function::FnOnce::call_once
  10: std::panic::catch_unwind
  11: manyhands::panic::catch_payload
  12: manyhands::worker::functions::run
  13: main
";

    #[test]
    fn what_is_left_is_the_programs() {
        let program = "   6: program::parse
             at ./src/main.rs:7:9
   7: std::panicking::catch_unwind
   8: program::task
";
        assert_eq!(without_machinery(WHOLE), program);
    }

    #[test]
    fn what_cannot_be_told_apart_stays() {
        for text in [
            "",
            "disabled backtrace",
            "   0: <unknown>\n   1: <unknown>\n",
        ] {
            assert_eq!(without_machinery(text), text);
        }
        let machinery = &WHOLE[..WHOLE.find("   6:").unwrap()];
        assert_eq!(without_machinery(machinery), machinery);
    }
}
