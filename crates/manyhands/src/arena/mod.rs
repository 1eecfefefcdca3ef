//! Memory for payloads too large for a slot: one writing process, any number of readers.
//!
//! The protocol, its memory orderings and the argument why it holds lie beside the code, in
//! `README.md`. In short: an arena is a sparse memfd. The writer's [`Arena`] decides where
//! each payload lies, with bookkeeping in private memory that no other process can touch. A
//! [`SpanRef`] travels to the reader by other means (a slot of the board); the reader's
//! [`ArenaView`] turns it into a [`SpanGuard`], reads in place, and lets go by one atomic
//! operation when the guard is dropped. Released memory is collected by the writer as it
//! allocates.
//!
//! ```
//! use std::sync::Arc;
//! use manyhands::arena::{Arena, ArenaConfig, ArenaView};
//!
//! let arena = Arena::create(ArenaConfig::default())?;
//! let view = Arc::new(ArenaView::open(arena.fd().try_clone_to_owned()?)?);
//!
//! let span = arena.write(&[b"hello, ", b"reader"])?;
//! let guard = view.span(span)?;
//! assert_eq!(guard.to_vec(), b"hello, reader");
//! drop(guard); // the writer may use the memory again
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(unsafe_code)]

// The model checker replaces the atomics, which then no longer fit into shared memory: under
// it there is only the protocol of one entry.
#[cfg_attr(loom, allow(dead_code, reason = "what packs tickets is not modelled"))]
mod entry;
mod error;

#[cfg(not(loom))]
mod bins;
#[cfg(not(loom))]
mod books;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod free;
#[cfg(not(loom))]
mod ground;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod reserved;
#[cfg(not(loom))]
mod table;
#[cfg(not(loom))]
mod view;
#[cfg(not(loom))]
mod writer;

#[cfg(all(test, not(loom)))]
mod tests;

pub use error::{ArenaError, BadSpan};
#[cfg(not(loom))]
pub use {
    config::ArenaConfig,
    reserved::Reserved,
    view::{ArenaView, SpanGuard},
    writer::{Arena, Usage, create_memfd},
};

/// Where a payload lies in an arena: plain data that travels in a slot of the board.
///
/// The default value is the empty payload, which occupies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SpanRef {
    /// The first byte, counted from the start of the memfd.
    pub offset: u64,
    /// The length in bytes.
    pub len: u64,
    /// Which use of which entry of the span table this is (index and generation, packed).
    pub ticket: u64,
}

impl SpanRef {
    /// Whether this is the empty payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
