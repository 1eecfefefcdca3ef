//! How a task ended, on its way to the parent.

use super::code;
use crate::arena::ArenaError;
use crate::panic::Panic;
use crate::process::{Job, Lane};
use crate::task::STOPPED;
use crate::tasks::{Encoded, Failure};

/// How a task ended.
#[derive(Debug)]
pub(crate) enum Report {
    Value(Encoded),
    Panicked(Panic),
    Failed(Failure),
    /// No such task is known.
    Unknown(String),
    /// Such tasks cannot be run here.
    Unsupported(String),
    /// It was asked to stop, and did.
    Stopped,
}

impl Report {
    pub(super) fn new(ended: Result<Result<Encoded, Failure>, Panic>) -> Self {
        match ended {
            Ok(Ok(value)) => Self::Value(value),
            Ok(Err(failure)) => Self::Failed(failure),
            Err(panic) => Self::Panicked(panic),
        }
    }

    /// Gives code and bytes to `send`.
    pub(super) fn send<R>(&self, send: impl FnOnce(u8, &[&[u8]]) -> R) -> R {
        match self {
            Self::Value(value) => value.send(|parts| send(code::VALUE, parts)),
            Self::Panicked(panic) => {
                let account = (panic.message(), panic.location(), panic.backtrace());
                let account = postcard::to_allocvec(&account).unwrap_or_default();
                send(code::PANICKED, &[&account])
            }
            Self::Failed(Failure::Decode(text)) => send(code::INPUT, &[text.as_bytes()]),
            Self::Failed(Failure::Encode(text)) => send(code::OUTPUT, &[text.as_bytes()]),
            Self::Unknown(key) => send(code::UNKNOWN, &[key.as_bytes()]),
            Self::Unsupported(text) => send(code::UNSUPPORTED, &[text.as_bytes()]),
            Self::Stopped => send(STOPPED, &[]),
        }
    }

    /// Ends the job so; where the report finds no room, that is what is reported.
    pub(super) fn complete(&self, lane: &mut Lane, job: &Job) {
        let Err(error) = self.send(|code, parts| lane.complete(job, code, parts)) else {
            return;
        };
        if let Self::Panicked(panic) = self {
            // The beginning of the message may still have room, in the slot.
            let message = panic.message().chars().take(30).collect();
            let short = Panic::new(message, None, String::new());
            let short = Self::Panicked(short);
            if short
                .send(|code, parts| lane.complete(job, code, parts))
                .is_ok()
            {
                return;
            }
        }
        let inline = no_room(&error).send(|code, parts| lane.complete(job, code, parts));
        debug_assert!(inline.is_ok(), "it fits a slot");
    }
}

/// What is said where the arena has no room for what was to be said; it fits a slot.
pub(super) fn no_room(error: &ArenaError) -> Report {
    let text: String = error.to_string().chars().take(40).collect();
    Report::Failed(Failure::Encode(text))
}
