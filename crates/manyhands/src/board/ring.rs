//! The two kinds of ring: submission (one publisher, competing claimers) and completion (one
//! lane writes, the parent reads).
//!
//! Guarantees: a claimed ticket is owned by exactly one lane; a claimer that stops between any
//! two instructions hides no other cell; nothing here blocks. The argument is in `README.md`.

use super::state::{Owner, Phase, SlotState, Ticket};
use crate::sync::{AtomicU64, Ordering};

/// The two counters of a ring, each on a cache line of its own. They only grow.
#[repr(C, align(64))]
pub(crate) struct RingEnds {
    head: AtomicU64,
    _apart: [u64; 7],
    tail: AtomicU64,
    _end: [u64; 7],
}

#[cfg(loom)]
impl RingEnds {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            _apart: [0; 7],
            tail: AtomicU64::new(0),
            _end: [0; 7],
        }
    }
}

/// A submission ring is full and its first task is still to be claimed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Tickets in order of submission; lanes compete for them.
#[derive(Clone, Copy)]
pub(crate) struct SubmissionRing<'a> {
    ends: &'a RingEnds,
    cells: &'a [AtomicU64],
}

impl<'a> SubmissionRing<'a> {
    /// `cells` must be a power of two of them.
    pub(crate) fn new(ends: &'a RingEnds, cells: &'a [AtomicU64]) -> Self {
        debug_assert!(cells.len().is_power_of_two());
        Self { ends, cells }
    }

    fn cell(&self, position: u64) -> &'a AtomicU64 {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    /// Cells between head and tail; taken ones that nobody has passed yet count too.
    pub(crate) fn len(&self) -> u64 {
        let head = self.ends.head.load(Ordering::Relaxed);
        self.ends.tail.load(Ordering::Relaxed).saturating_sub(head)
    }

    /// How far claimers have come.
    pub(crate) fn head(&self) -> u64 {
        self.ends.head.load(Ordering::Relaxed)
    }

    /// How much was ever published.
    pub(crate) fn tail(&self) -> u64 {
        self.ends.tail.load(Ordering::Relaxed)
    }

    /// Publishes a slot whose state has been stored as READY. One publisher at a time.
    pub(crate) fn publish(
        &self,
        ticket: Ticket,
        state_of: impl Fn(u32) -> Option<&'a AtomicU64>,
    ) -> Result<(), Full> {
        let tail = self.ends.tail.load(Ordering::Relaxed);
        loop {
            // Pairs with the Release of whoever moved head: the cell has been read.
            let head = self.ends.head.load(Ordering::Acquire);
            // A head past the tail is nobody's doing by these rules: the board's owner will
            // find that out, and nothing is to be written meanwhile.
            let taken = tail.checked_sub(head).ok_or(Full)?;
            if taken < self.cells.len() as u64 {
                break;
            }
            let first = Ticket::from_bits(self.cell(head).load(Ordering::Relaxed));
            let ready = SlotState::ready(first.generation).to_bits();
            if state_of(first.slot).is_some_and(|state| state.load(Ordering::Relaxed) == ready) {
                return Err(Full);
            }
            self.pass(head);
        }
        self.cell(tail).store(ticket.to_bits(), Ordering::Relaxed);
        // Pairs with the Acquire load in `claim`.
        self.ends
            .tail
            .store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Takes the first READY slot for `owner`; `None` when the ring is empty. A slot number
    /// outside the board (scribbled memory) yields `None` from `state_of` and is passed over.
    pub(crate) fn claim(
        &self,
        owner: Owner,
        state_of: impl Fn(u32) -> Option<&'a AtomicU64>,
    ) -> Option<Ticket> {
        loop {
            let (head, ticket) = self.first()?;
            let taken = state_of(ticket.slot).is_some_and(|state| take(state, ticket, owner));
            self.pass(head);
            if taken {
                return Some(ticket);
            }
        }
    }

    /// A claim's first step: the first cell, taken or not.
    pub(super) fn first(&self) -> Option<(u64, Ticket)> {
        let head = self.ends.head.load(Ordering::Acquire);
        // Pairs with the Release in `publish`: the cell and its slot's READY are visible.
        let tail = self.ends.tail.load(Ordering::Acquire);
        if head >= tail {
            return None;
        }
        let ticket = Ticket::from_bits(self.cell(head).load(Ordering::Relaxed));
        Some((head, ticket))
    }

    /// A claim's last step: moves head past one cell; failure means that somebody has done it.
    pub(super) fn pass(&self, head: u64) {
        let _helped = self.ends.head.compare_exchange(
            head,
            head.wrapping_add(1),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}

/// A claim's second step: the slot goes from READY to CLAIMED, if it is READY in the generation
/// that the ticket names.
pub(super) fn take(state: &AtomicU64, ticket: Ticket, owner: Owner) -> bool {
    let ready = SlotState::ready(ticket.generation);
    // A look first: most failures are seen without the cost of an exchange.
    state.load(Ordering::Relaxed) == ready.to_bits()
        && state
            .compare_exchange(
                ready.to_bits(),
                ready.owned(Phase::Claimed, owner).to_bits(),
                // The acquire pairs with the parent's Release of READY.
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
}

/// Slots whose outcome waits to be read; written by one lane, read by the parent. It can not
/// overflow: it has a cell for every slot.
#[derive(Clone, Copy)]
pub(crate) struct CompletionRing<'a> {
    ends: &'a RingEnds,
    cells: &'a [AtomicU64],
}

impl<'a> CompletionRing<'a> {
    pub(crate) fn new(ends: &'a RingEnds, cells: &'a [AtomicU64]) -> Self {
        debug_assert!(cells.len().is_power_of_two());
        Self { ends, cells }
    }

    fn cell(&self, position: u64) -> &'a AtomicU64 {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    /// The lane's side: announces a slot that has been stored as DONE.
    pub(crate) fn push(&self, ticket: Ticket) {
        let tail = self.ends.tail.load(Ordering::Relaxed);
        self.cell(tail).store(ticket.to_bits(), Ordering::Relaxed);
        // Pairs with the Acquire load in `pop`.
        self.ends
            .tail
            .store(tail.wrapping_add(1), Ordering::Release);
    }

    /// The parent's side: is there anything from `head` on?
    pub(crate) fn has_more(&self, head: u64) -> bool {
        self.ends.tail.load(Ordering::Acquire) != head
    }

    /// The parent's side: the next ticket; the parent keeps `head` in its private memory.
    pub(crate) fn pop(&self, head: &mut u64) -> Option<Ticket> {
        if !self.has_more(*head) {
            return None;
        }
        let ticket = Ticket::from_bits(self.cell(*head).load(Ordering::Relaxed));
        *head += 1;
        Some(ticket)
    }
}
