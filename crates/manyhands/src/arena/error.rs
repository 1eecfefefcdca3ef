//! What can go wrong with an arena, in words that say what to do next.

use std::io;

use super::SpanRef;

/// An operation on an arena that failed. The arena itself stays usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// No free range is long enough.
    #[error(
        "no room for a payload of {requested} bytes: the arena holds {capacity} bytes, {live} of \
         them in use; let go of results that are no longer needed, keep fewer tasks in flight, or \
         raise the arena's capacity (by default twice the RAM, less under `ulimit -v`)"
    )]
    Exhausted {
        /// The payload's length in bytes.
        requested: u64,
        /// The bytes of all payloads that the arena can hold.
        capacity: u64,
        /// The bytes occupied by spans that nobody has let go.
        live: u64,
    },
    /// Every entry of the span table is in use.
    #[error(
        "{limit} payloads are alive in this arena, as many as its span table has entries; let go of \
         results that are no longer needed, keep fewer tasks in flight, or raise `ArenaConfig::spans`"
    )]
    TooManySpans {
        /// The entries of the span table.
        limit: u32,
    },
    /// The system refused memory for a payload (nothing was written).
    #[error(
        "the system has no memory for a payload of {requested} bytes ({source}); keep fewer or \
         smaller payloads in flight, or raise the memory limit of the container or machine"
    )]
    OutOfMemory {
        /// The payload's length in bytes.
        requested: u64,
        /// The refusal, ENOMEM or ENOSPC.
        source: io::Error,
    },
    /// A system call failed in a way that no payload explains.
    #[error(
        "the arena's shared memory failed: {0}; this is the system's word, see its manual page"
    )]
    System(#[from] io::Error),
    /// A [`SpanRef`] or a range that does not name live bytes of this arena.
    #[error("{span:?} is not readable: {reason}")]
    BadSpan {
        /// What was asked for.
        span: SpanRef,
        /// What is wrong with it.
        reason: BadSpan,
    },
    /// The memfd is not an arena that this version of the crate can use.
    #[error(
        "the descriptor is no usable arena: {0}; pass one made by `Arena::create` or `create_memfd`"
    )]
    NotAnArena(&'static str),
    /// A forked child tried to write into its parent's arena.
    #[error(
        "this process is a forked child of the arena's writer, and an arena has one writer; \
         create another arena in the child"
    )]
    Forked,
}

impl From<ArenaError> for io::Error {
    /// The system's own error where there is one, with its number.
    fn from(error: ArenaError) -> Self {
        match error {
            ArenaError::System(error) => error,
            other => Self::other(other),
        }
    }
}

/// Why a [`SpanRef`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSpan {
    /// Not within the arena, or not what the span table says. The message it came in is corrupt.
    #[error("it does not match the arena's span table; the message it came in is corrupt")]
    Mismatch,
    /// It has been released. The reference outlived its payload.
    #[error("it has been released already; a reference was kept longer than the payload it names")]
    Stale,
    /// An offset or a length beyond the span's end.
    #[error("the range asked for goes beyond its end")]
    OutOfRange,
}
