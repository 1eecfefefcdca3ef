//! Panics of tasks as values: message, place and backtrace.
//!
//! Guarantees: [`catch`] returns whatever the closure does, odd payloads included, in the
//! presence of other panics on the same thread (a `catch` inside a destructor that runs while
//! another panic unwinds changes nothing for that one). The program's own panic hook is still
//! called for every panic, since it may log or report; what a hook sees and the payload does not
//! have, the place and the backtrace, is recorded by a hook of ours that is installed once and
//! passes everything on to the one that was there before.
//!
//! A program that replaces the hook later loses place and backtrace of its tasks' panics, and
//! nothing else.

mod backtrace;

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once, OnceLock};
use std::{fmt, mem, thread};

/// What a panic said, and where.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Panic(Arc<Inner>);

struct Inner {
    message: String,
    location: Option<String>,
    backtrace: Trace,
}

/// Naming the frames takes milliseconds, so it is put off until somebody looks.
enum Trace {
    Captured(Backtrace, OnceLock<String>),
    Text(String),
}

impl Panic {
    /// A panic that was told of in words, by another process for example.
    pub(crate) fn new(message: String, location: Option<String>, backtrace: String) -> Self {
        Self(Arc::new(Inner {
            message,
            location,
            backtrace: Trace::Text(backtrace),
        }))
    }

    /// The text that was given to `panic!`, or what stands for a payload that is no text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// `file:line:column`; `None` if the panic came from `resume_unwind`, which has no place, or
    /// if the program has replaced the panic hook.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// The calls that led to the panic, innermost first, as far as the program has debug
    /// information; empty where there is no location. The frames
    /// of what raised and what caught the panic are left out, as far as they can be told.
    ///
    /// The panic hook has printed the panic where it happened, too: a worker's standard error is
    /// the program's.
    #[must_use]
    pub fn backtrace(&self) -> &str {
        match &self.0.backtrace {
            Trace::Captured(trace, text) => {
                text.get_or_init(|| backtrace::without_machinery(&trace.to_string()))
            }
            Trace::Text(text) => text,
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location() {
            Some(location) => write!(f, "panicked at {location}: {}", self.message()),
            None => write!(f, "panicked: {}", self.message()),
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message())
            .field("location", &self.location())
            .finish_non_exhaustive()
    }
}

/// A panic, and the payload to go on unwinding with.
pub(crate) struct Caught {
    pub(crate) panic: Panic,
    pub(crate) payload: Box<dyn Any + Send>,
}

/// Runs the closure; a panic in it is an error.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_payload(run).map_err(|caught| {
        let Caught { panic, payload } = caught;
        drop_quietly(payload);
        panic
    })
}

/// As [`catch`], for who may have to go on unwinding.
pub(crate) fn catch_payload<T>(run: impl FnOnce() -> T) -> Result<T, Caught> {
    install();
    let watch = Watch::begin();
    let result = catch_unwind(AssertUnwindSafe(run));
    let record = watch.end();
    result.map_err(|payload| Caught {
        panic: describe(&*payload, record),
        payload,
    })
}

/// Drops a value whose destructor is a stranger's. The panic of such a destructor has been
/// reported by the hook, and has nobody to go to.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // A payload that panics again while it is dropped is given up.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(again);
        }
    }
}

/// What the hook saw.
struct Record {
    location: Option<String>,
    backtrace: Backtrace,
}

thread_local! {
    /// How many `catch` are under way in this thread.
    static WATCHED: Cell<usize> = const { Cell::new(0) };
    /// The last panic that the innermost of them saw.
    static LAST: RefCell<Option<Box<Record>>> = const { RefCell::new(None) };
}

/// One `catch` that is under way. Keeps what the outer one has seen: this one may run in a
/// destructor while that one's panic unwinds.
struct Watch {
    outer: Option<Box<Record>>,
}

impl Watch {
    fn begin() -> Self {
        WATCHED.set(WATCHED.get() + 1);
        Self { outer: LAST.take() }
    }

    fn end(self) -> Option<Box<Record>> {
        WATCHED.set(WATCHED.get() - 1);
        LAST.replace(self.outer)
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    // A thread that unwinds must not change the hook; the next call will.
    if INSTALLED.is_completed() || thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            record(info);
            previous(info);
        }));
    });
}

fn record(info: &PanicHookInfo<'_>) {
    // `try_with`: a destructor of another thread-local value may panic when ours are gone.
    if WATCHED.try_with(Cell::get).unwrap_or(0) == 0 {
        return;
    }
    let record = Box::new(Record {
        location: info.location().map(ToString::to_string),
        backtrace: Backtrace::force_capture(),
    });
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(record);
        }
    });
}

fn describe(payload: &(dyn Any + Send), record: Option<Box<Record>>) -> Panic {
    let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "the payload of the panic is not text (it came from `panic_any` or `resume_unwind`)"
            .to_owned()
    };
    let (location, backtrace) = match record {
        Some(record) => (
            record.location,
            Trace::Captured(record.backtrace, OnceLock::new()),
        ),
        None => (None, Trace::Text(String::new())),
    };
    Panic(Arc::new(Inner {
        message,
        location,
        backtrace,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{panic_any, resume_unwind};

    #[test]
    fn a_panic_has_message_place_and_backtrace() {
        let panic = catch(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(panic.message(), "number 7");
        assert!(panic.location().unwrap().starts_with(file!()));
        assert!(
            panic
                .backtrace()
                .contains("a_panic_has_message_place_and_backtrace")
        );
        for machinery in [
            "force_capture",
            "rust_begin_unwind",
            "panic_fmt",
            "panic::catch",
        ] {
            assert!(
                !panic.backtrace().contains(machinery),
                "{}",
                panic.backtrace()
            );
        }
        let text = panic.to_string();
        assert!(text.starts_with("panicked at ") && text.ends_with(": number 7"));
    }

    #[test]
    fn a_closure_that_does_not_panic_gives_its_value() {
        assert_eq!(catch(|| 5).unwrap(), 5);
    }

    #[test]
    fn a_payload_that_is_not_text_is_told_as_such() {
        let panic = catch(|| panic_any(5)).unwrap_err();
        assert!(panic.message().contains("not text"));
        assert!(panic.location().is_some());
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_caught_as_well() {
        struct Odd(u8);
        impl Drop for Odd {
            fn drop(&mut self) {
                if self.0 > 0 {
                    panic_any(Odd(self.0 - 1));
                }
            }
        }
        assert!(catch(|| panic_any(Odd(5))).is_err());
    }

    #[test]
    fn resumed_panics_have_no_place_unless_the_hook_saw_them_begin() {
        let panic = catch(|| resume_unwind(Box::new("from elsewhere"))).unwrap_err();
        assert_eq!(
            (panic.message(), panic.location(), panic.backtrace()),
            ("from elsewhere", None, "")
        );
        let panic = catch(|| {
            let first = catch_unwind(|| panic!("seen")).unwrap_err();
            resume_unwind(first);
        })
        .unwrap_err();
        assert!(panic.location().is_some());
    }

    #[test]
    fn a_catch_while_another_panic_unwinds_leaves_that_one_alone() {
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                let inner = catch(|| panic!("inner")).unwrap_err();
                assert_eq!(inner.message(), "inner");
            }
        }
        let line = line!() + 3;
        let outer = catch(|| {
            let _guard = Guard;
            panic!("outer")
        })
        .unwrap_err();
        assert_eq!(outer.message(), "outer");
        assert!(outer.location().unwrap().contains(&format!(":{line}:")));
    }

    #[test]
    fn the_hook_of_the_program_is_still_called() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() == Some("for the program") {
                CALLS.fetch_add(1, Ordering::Relaxed);
            }
            previous(info);
        }));
        assert!(catch(|| panic!("for the program")).is_err());
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }
}
