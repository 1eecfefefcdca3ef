//! One entry of the span table: the protocol by which spans are let go.
//!
//! An entry's `state` packs the generation of its use with a phase. Every change of phase by a
//! holder is one compare-and-swap that names the generation it means, so a late release by a
//! reader of an earlier use changes nothing. README.md has the argument.

use super::SpanRef;
use super::error::BadSpan;
use crate::sync::{AtomicU64, Ordering, fence};

const INDEX_BITS: u32 = 20;
const GENERATION_BITS: u32 = 44;
const PHASE_BITS: u32 = 3;

/// The most entries that a ticket can name.
pub(super) const MAX_ENTRIES: u32 = 1 << INDEX_BITS;

/// The bytes of an entry.
pub(super) const ENTRY_SIZE: u64 = size_of::<Entry>() as u64;

/// What has become of one use of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Held by someone.
    Open = 1,
    /// Let go; its pages are still allocated.
    Released = 2,
    /// Let go by a reader that is about to return the pages; not yet the writer's.
    Returning = 3,
    /// Let go, and its pages have gone back to the system.
    ReleasedCold = 4,
}

/// Packs which use of which entry is meant.
pub(super) fn ticket(index: u32, generation: u64) -> u64 {
    (generation << INDEX_BITS) | u64::from(index)
}

/// The index and the generation in a ticket.
pub(super) fn unpack(ticket: u64) -> (u32, u64) {
    ((ticket as u32) & (MAX_ENTRIES - 1), ticket >> INDEX_BITS)
}

/// The generation after this one; 0 is left out, it stands for an entry never used.
pub(super) fn next_generation(generation: u64) -> u64 {
    let next = (generation + 1) % (1 << GENERATION_BITS);
    next.max(1)
}

fn state(generation: u64, phase: Phase) -> u64 {
    (generation << PHASE_BITS) | phase as u64
}

/// One entry as it lies in shared memory: atomics only, so a reference to it asserts nothing
/// about what other processes do meanwhile.
#[derive(Debug)]
#[repr(C, align(32))]
pub(super) struct Entry {
    state: AtomicU64,
    offset: AtomicU64,
    len: AtomicU64,
}

impl Entry {
    /// Writer: a new use begins. The entry must be the writer's: closed, or never used.
    pub(super) fn open(&self, generation: u64, offset: u64, len: u64) {
        // Release, pairs with the fence in `check`: who sees one of the two stores below sees
        // that the use before has ended.
        fence(Ordering::Release);
        self.offset.store(offset, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        // Release: whoever sees this state (Acquire in `check`) sees the two above.
        self.state
            .store(state(generation, Phase::Open), Ordering::Release);
    }

    /// Whoever holds the span lets go of it. False if it was let go before: nothing changes.
    ///
    /// Release pairs with the Acquire in [`Entry::is`]: all of this holder's reads of the
    /// payload come before the writer's next use of the bytes.
    pub(super) fn release(&self, generation: u64, phase: Phase) -> bool {
        let (from, to) = (state(generation, Phase::Open), state(generation, phase));
        self.state
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// The reader that made it [`Phase::Returning`] has returned the pages (then it is
    /// [`Phase::ReleasedCold`]), or could not ([`Phase::Released`]).
    pub(super) fn returned(&self, generation: u64, phase: Phase) {
        // Release: the pages are gone before the writer fills new ones. A plain store: in phase
        // Returning the entry is this reader's alone.
        self.state
            .store(state(generation, phase), Ordering::Release);
    }

    /// Where the span lies and how long it is. Ask only while the use cannot end meanwhile.
    pub(super) fn place(&self) -> (u64, u64) {
        (
            self.offset.load(Ordering::Relaxed),
            self.len.load(Ordering::Relaxed),
        )
    }

    /// Whether this use of the entry is in this phase.
    pub(super) fn is(&self, generation: u64, phase: Phase) -> bool {
        self.state.load(Ordering::Acquire) == state(generation, phase)
    }

    /// Reader: whether the entry agrees with what a message says about the span.
    pub(super) fn check(&self, span: SpanRef) -> Result<(), BadSpan> {
        let (_, generation) = unpack(span.ticket);
        if !self.is(generation, Phase::Open) {
            return Err(BadSpan::Stale);
        }
        let (offset, len) = self.place();
        // The loads above come before the second look at the state, which finds out if the
        // entry went to another use between.
        fence(Ordering::Acquire);
        if self.state.load(Ordering::Relaxed) != state(generation, Phase::Open) {
            return Err(BadSpan::Stale);
        }
        if offset == span.offset && span.len <= len {
            Ok(())
        } else {
            Err(BadSpan::Mismatch)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            state: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            len: AtomicU64::new(0),
        }
    }

    #[test]
    fn tickets_unpack_to_what_was_packed() {
        let last = (1 << GENERATION_BITS) - 1;
        for (index, generation) in [(0, 1), (MAX_ENTRIES - 1, 7), (5, last)] {
            assert_eq!(unpack(ticket(index, generation)), (index, generation));
        }
        assert_eq!(next_generation(last), 1);
        assert_eq!(next_generation(0), 1);
    }

    #[test]
    fn a_late_release_of_an_earlier_use_changes_nothing() {
        let entry = entry();
        entry.open(1, 0, 64);
        assert!(entry.release(1, Phase::Released));
        entry.open(2, 0, 64);
        assert!(!entry.release(1, Phase::Released));
        assert!(entry.is(2, Phase::Open));
        assert!(entry.release(2, Phase::Released));
        assert!(!entry.release(1, Phase::Released));
        assert!(entry.is(2, Phase::Released));
    }

    #[test]
    fn of_two_releases_one_counts() {
        let entry = entry();
        entry.open(3, 0, 64);
        assert!(entry.release(3, Phase::Returning));
        assert!(!entry.release(3, Phase::Released));
        entry.returned(3, Phase::ReleasedCold);
        assert!(entry.is(3, Phase::ReleasedCold));
    }

    #[test]
    fn messages_that_disagree_with_the_table_are_told_apart() {
        let entry = entry();
        entry.open(1, 4096, 100);
        let span = SpanRef {
            offset: 4096,
            len: 100,
            ticket: ticket(0, 1),
        };
        assert_eq!(entry.check(span), Ok(()));
        assert_eq!(
            entry.check(SpanRef { len: 101, ..span }),
            Err(BadSpan::Mismatch)
        );
        assert_eq!(
            entry.check(SpanRef { offset: 64, ..span }),
            Err(BadSpan::Mismatch)
        );
        assert_eq!(
            entry.check(SpanRef {
                ticket: ticket(0, 2),
                ..span
            }),
            Err(BadSpan::Stale)
        );
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Shared {
        entry: Entry,
        payload: UnsafeCell<u64>,
    }

    impl Shared {
        fn payload(&self) -> u64 {
            // SAFETY: loom fails the model if a store to the cell may run at the same time.
            self.payload.with(|pointer| unsafe { *pointer })
        }

        fn set_payload(&self, value: u64) {
            // SAFETY: loom fails the model if any other access may run at the same time.
            self.payload.with_mut(|pointer| unsafe { *pointer = value });
        }
    }

    fn shared() -> Arc<Shared> {
        let entry = Entry {
            state: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            len: AtomicU64::new(0),
        };
        Arc::new(Shared {
            entry,
            payload: UnsafeCell::new(0),
        })
    }

    /// loom checks every access of the cell: a write that races with a read fails the model.
    #[test]
    fn bytes_are_reused_only_after_the_reader_has_read_them() {
        loom::model(|| {
            let shared = shared();
            shared.set_payload(1);
            shared.entry.open(1, 0, 8);
            let reader = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    assert_eq!(shared.payload(), 1);
                    assert!(shared.entry.release(1, Phase::Released));
                })
            };
            if shared.entry.is(1, Phase::Released) {
                shared.set_payload(2);
                shared.entry.open(2, 0, 8);
            }
            reader.join().unwrap();
        });
    }

    #[test]
    fn a_stale_release_never_frees_and_never_hides_a_release() {
        loom::model(|| {
            let shared = shared();
            shared.entry.open(1, 0, 8);
            assert!(shared.entry.release(1, Phase::Released));
            shared.entry.open(2, 0, 8);
            let late = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || assert!(!shared.entry.release(1, Phase::Released)))
            };
            let reader = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || assert!(shared.entry.release(2, Phase::Released)))
            };
            late.join().unwrap();
            reader.join().unwrap();
            assert!(shared.entry.is(2, Phase::Released));
        });
    }

    #[test]
    fn of_a_reader_that_returns_pages_and_a_writer_one_wins() {
        loom::model(|| {
            let shared = shared();
            shared.entry.open(1, 0, 8);
            let reader = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if shared.entry.release(1, Phase::Returning) {
                        // The hole is punched here.
                        shared.set_payload(0);
                        shared.entry.returned(1, Phase::ReleasedCold);
                    }
                })
            };
            if shared.entry.release(1, Phase::Released) || shared.entry.is(1, Phase::ReleasedCold) {
                shared.set_payload(2);
            }
            reader.join().unwrap();
        });
    }
}
