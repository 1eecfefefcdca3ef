//! What the code of an outcome means, on both sides.

use crate::error::Error;
use crate::panic::Panic;
use crate::task::{Outcome, Payload, RETRY};
use crate::tasks::{Failure, Source};

/// The output.
pub(super) const VALUE: u8 = 0;
/// A panic: message, place, stack; tried again where the task's limits allow.
pub(super) const PANICKED: u8 = 1 | RETRY;
/// Why the input could not be read.
pub(super) const INPUT: u8 = 2;
/// Why the output could not be written.
pub(super) const OUTPUT: u8 = 3;
/// The key of a task that the worker does not know.
pub(super) const UNKNOWN: u8 = 4;
/// Why this worker does not run such tasks.
pub(super) const UNSUPPORTED: u8 = 5;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The error that a code other than [`VALUE`] stands for.
fn error(code: u8, bytes: &[u8]) -> Error {
    match code {
        PANICKED => match postcard::from_bytes(bytes) {
            Ok((message, location, backtrace)) => Panic::new(message, location, backtrace).into(),
            Err(_) => {
                Error::Lost("the task panicked, and its account of that is unreadable".into())
            }
        },
        INPUT => Error::Decode {
            what: "the task's input",
            task: None,
            why: text(bytes),
        },
        OUTPUT => Error::Encode {
            what: "the task's output",
            task: None,
            why: text(bytes),
        },
        UNKNOWN => Error::UnknownTask { name: text(bytes) },
        UNSUPPORTED => Error::Unsupported(text(bytes)),
        code => Error::Lost(format!(
            "its worker reported it with an unknown code, {code}"
        )),
    }
}

/// What an outcome means to the one who waits for it; `decode` reads the output.
pub(crate) fn outcome<T>(
    outcome: Outcome,
    decode: impl FnOnce(&Source<'_>) -> Result<T, Failure>,
    initializer: impl FnOnce(&[u8]) -> String,
) -> Result<T, Error> {
    match outcome {
        Outcome::Ended {
            code: VALUE,
            payload,
        } => {
            let source = match &payload {
                Payload::Bytes(bytes) => Source::Bytes(bytes),
                Payload::Span(span) => Source::Span(span),
            };
            decode(&source).map_err(|failure| Error::of_failure("the task's output", failure))
        }
        Outcome::Ended { code, payload } => Err(error(code, &payload.into_bytes())),
        Outcome::Batch { .. } => Err(Error::Lost("a batch in a single task".into())),
        Outcome::Cancelled => Err(Error::Cancelled),
        Outcome::TimedOut { ran } => Err(Error::TimedOut { ran, task: None }),
        Outcome::Died(death) => Err(Error::WorkerDied {
            pid: death.pid,
            exit: death.exit,
            ran: death.ran,
            stopped: death.stopped,
            task: None,
            attempts: 1,
        }),
        Outcome::Lost(why) => Err(Error::Lost(why.as_ref().into())),
        Outcome::Broken(why) => Err(Error::of_broken(&why, initializer)),
    }
}

/// What an initializer that failed has to say; `refused` reads what it returned.
pub(crate) fn of_initializer(
    account: &[u8],
    refused: impl FnOnce(&Source<'_>) -> Result<String, Failure>,
) -> String {
    match account.split_first() {
        Some((&VALUE, output)) => refused(&Source::Bytes(output))
            .unwrap_or_else(|_| "it returned an error that cannot be read".into()),
        Some((&code, bytes)) => error(code, bytes).to_string(),
        None => "it does not say why".into(),
    }
}
