//! What lies in a slot besides its state: the input, the output, and where they are.

use std::sync::atomic::Ordering;

use super::layout::{INLINE_BYTES, Slot};
use crate::arena::SpanRef;

/// Where a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the slot itself.
    Inline(usize),
    /// In the writer's arena.
    Span(SpanRef),
}

const IN_SLOT: u64 = 0;
const IN_ARENA: u64 = 1;

/// Reads a place from its shared words, each of them once.
fn read_place(len: u64, place: u64, offset: u64, ticket: u64) -> Option<Place> {
    match place {
        IN_SLOT if len <= INLINE_BYTES as u64 => Some(Place::Inline(len as usize)),
        IN_ARENA => Some(Place::Span(SpanRef {
            offset,
            len,
            ticket,
        })),
        _ => None,
    }
}

const BATCH: u64 = 1 << 7;

/// A function's definition in the parent's arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    /// Names the function; never used again for another.
    pub(crate) id: u64,
    pub(crate) span: SpanRef,
}

impl Slot {
    /// The parent, before READY: which function.
    pub(crate) fn set_function(&self, function: Definition) {
        self.function.store(function.id, Ordering::Relaxed);
        self.function_at
            .store(function.span.offset, Ordering::Relaxed);
        self.function_len
            .store(function.span.len, Ordering::Relaxed);
        self.function_ticket
            .store(function.span.ticket, Ordering::Relaxed);
    }

    /// The owner: which function.
    pub(crate) fn function(&self) -> Definition {
        Definition {
            id: self.function.load(Ordering::Relaxed),
            span: SpanRef {
                offset: self.function_at.load(Ordering::Relaxed),
                len: self.function_len.load(Ordering::Relaxed),
                ticket: self.function_ticket.load(Ordering::Relaxed),
            },
        }
    }

    /// The parent, before READY: the input, in the slot.
    pub(crate) fn set_input_inline(&self, parts: &[&[u8]], batch: bool) {
        let len = gather(self.input_bytes.get().cast(), parts);
        self.input
            .store(input_word(len as u64, IN_SLOT, batch), Ordering::Relaxed);
    }

    /// The parent, before READY: the input, in its arena.
    pub(crate) fn set_input_span(&self, span: SpanRef, batch: bool) {
        self.input
            .store(input_word(span.len, IN_ARENA, batch), Ordering::Relaxed);
        self.input_at.store(span.offset, Ordering::Relaxed);
        self.input_ticket.store(span.ticket, Ordering::Relaxed);
    }

    /// The owner: where the input is.
    pub(crate) fn input(&self) -> Option<Place> {
        let word = self.input.load(Ordering::Relaxed);
        read_place(
            word >> 8,
            word & !BATCH & 0xff,
            self.input_at.load(Ordering::Relaxed),
            self.input_ticket.load(Ordering::Relaxed),
        )
    }

    /// The owner: is it a batch?
    pub(crate) fn is_batch(&self) -> bool {
        self.input.load(Ordering::Relaxed) & BATCH != 0
    }

    /// Copies the inline input out.
    pub(crate) fn copy_input(&self, to: &mut [u8]) {
        scatter(self.input_bytes.get().cast(), to);
    }

    /// The owner, before DONE: the outcome, in the slot.
    pub(crate) fn set_output_inline(&self, code: u8, parts: &[&[u8]]) {
        let len = gather(self.output_bytes.get().cast(), parts);
        let word = (len as u64) << 16 | u64::from(code) << 8 | IN_SLOT;
        self.output.store(word, Ordering::Relaxed);
    }

    /// The owner, before DONE: the outcome, in its arena.
    pub(crate) fn set_output_span(&self, code: u8, span: SpanRef) {
        let word = span.len << 16 | u64::from(code) << 8 | IN_ARENA;
        self.output_at.store(span.offset, Ordering::Relaxed);
        self.output_ticket.store(span.ticket, Ordering::Relaxed);
        self.output.store(word, Ordering::Relaxed);
    }

    /// The parent, after DONE: the outcome's code and where it is.
    pub(crate) fn output(&self) -> Option<(u8, Place)> {
        let word = self.output.load(Ordering::Relaxed);
        let place = read_place(
            word >> 16,
            word & 0xff,
            self.output_at.load(Ordering::Relaxed),
            self.output_ticket.load(Ordering::Relaxed),
        )?;
        Some(((word >> 8) as u8, place))
    }

    /// Copies the inline output out.
    pub(crate) fn copy_output(&self, to: &mut [u8]) {
        scatter(self.output_bytes.get().cast(), to);
    }

    /// The owner, before RUNNING: where a batch's log begins.
    pub(crate) fn set_log(&self, span: SpanRef) {
        self.output_at.store(span.offset, Ordering::Relaxed);
        self.output_ticket.store(span.ticket, Ordering::Relaxed);
        self.log_len.store(span.len, Ordering::Relaxed);
        self.logged.store(0, Ordering::Relaxed);
    }

    /// The parent, before READY: no log yet; what lies there is of another task, or lay in the
    /// arena of a worker that died.
    pub(crate) fn clear_log(&self) {
        self.log_len.store(0, Ordering::Relaxed);
        self.logged.store(0, Ordering::Relaxed);
    }

    /// The parent: a batch's log and how many records it holds.
    pub(crate) fn log(&self) -> (SpanRef, u64) {
        // Pairs with the Release of each record's commit.
        let logged = self.logged.load(Ordering::Acquire);
        let span = SpanRef {
            offset: self.output_at.load(Ordering::Relaxed),
            len: self.log_len.load(Ordering::Relaxed),
            ticket: self.output_ticket.load(Ordering::Relaxed),
        };
        (span, logged)
    }
}

fn input_word(len: u64, place: u64, batch: bool) -> u64 {
    len << 8 | if batch { BATCH } else { 0 } | place
}

/// Writes `parts` one after another into a slot's inline area.
fn gather(area: *mut u8, parts: &[&[u8]]) -> usize {
    let len = parts.iter().map(|part| part.len()).sum();
    assert!(len <= INLINE_BYTES, "{len} bytes do not fit a slot");
    let mut at = 0;
    for part in parts {
        // SAFETY: `area` is an inline area of INLINE_BYTES, and the sum of all parts was checked
        // against it; source and target do not overlap, one being private. Only the slot's
        // present owner writes here, by the protocol.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), area.add(at), part.len()) };
        at += part.len();
    }
    len
}

/// Copies from a slot's inline area.
fn scatter(area: *const u8, to: &mut [u8]) {
    assert!(to.len() <= INLINE_BYTES);
    // SAFETY: `area` is an inline area of INLINE_BYTES, at least `to.len()`; `to` is private
    // memory, so they do not overlap. The bytes are copied by a raw pointer, never borrowed.
    unsafe { std::ptr::copy_nonoverlapping(area, to.as_mut_ptr(), to.len()) };
}
