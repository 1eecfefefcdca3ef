//! A slot's state: phase, owner and generation packed into one atomic word.
//!
//! Pure accessors; the protocol that moves a slot between phases is in `README.md`.

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nobody's.
    Free = 0,
    /// A lane may claim it.
    Ready = 1,
    /// Taken by a lane that has not begun it.
    Claimed = 2,
    /// User code runs.
    Running = 3,
    /// The outcome waits to be read.
    Done = 4,
}

/// The lane that holds a slot, and which incarnation of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Index of the lane, `2 × worker` for functions and one more for coroutines.
    pub lane: u16,
    /// Counts the processes that have held this place in the worker table.
    pub epoch: u16,
}

const GENERATION_BITS: u32 = 32;
const EPOCH_SHIFT: u32 = GENERATION_BITS;
const LANE_SHIFT: u32 = EPOCH_SHIFT + 16;
const LANE_MASK: u64 = (1 << 12) - 1;
const PHASE_SHIFT: u32 = LANE_SHIFT + 12;

/// One value of a slot's state word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SlotState(u64);

impl SlotState {
    /// A slot that nobody uses; `generation` is the one of its next task.
    #[must_use]
    pub const fn free(generation: u32) -> Self {
        Self(generation as u64)
    }

    /// A slot that a lane may claim.
    #[must_use]
    pub const fn ready(generation: u32) -> Self {
        Self(((Phase::Ready as u64) << PHASE_SHIFT) | generation as u64)
    }

    /// This slot in the hands of `owner`.
    #[must_use]
    pub const fn owned(self, phase: Phase, owner: Owner) -> Self {
        Self(
            ((phase as u64) << PHASE_SHIFT)
                | ((owner.lane as u64 & LANE_MASK) << LANE_SHIFT)
                | ((owner.epoch as u64) << EPOCH_SHIFT)
                | self.generation() as u64,
        )
    }

    /// The word as it lies in memory.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// A word read from memory.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The phase, or `None` for a word that no rule can have written.
    #[must_use]
    pub const fn phase(self) -> Option<Phase> {
        match self.0 >> PHASE_SHIFT {
            0 => Some(Phase::Free),
            1 => Some(Phase::Ready),
            2 => Some(Phase::Claimed),
            3 => Some(Phase::Running),
            4 => Some(Phase::Done),
            _ => None,
        }
    }

    /// Whose it is; meaningful in the phases that have an owner.
    #[must_use]
    pub const fn owner(self) -> Owner {
        Owner {
            lane: ((self.0 >> LANE_SHIFT) & LANE_MASK) as u16,
            epoch: (self.0 >> EPOCH_SHIFT) as u16,
        }
    }

    /// Counts the tasks that have used the slot, wrapping.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl std::fmt::Debug for SlotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Owner { lane, epoch } = self.owner();
        match self.phase() {
            Some(phase @ (Phase::Free | Phase::Ready)) => {
                write!(f, "{phase:?}(generation {})", self.generation())
            }
            Some(phase) => write!(
                f,
                "{phase:?}(lane {lane}, epoch {epoch}, generation {})",
                self.generation()
            ),
            None => write!(f, "Invalid({:#x})", self.0),
        }
    }
}

/// A slot in one of its generations: what travels through the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Index of the slot.
    pub slot: u32,
    /// The generation in which it was published.
    pub generation: u32,
}

impl Ticket {
    /// The ticket as a ring's cell.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.slot as u64) << 32) | self.generation as u64
    }

    /// A ring's cell as a ticket.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

/// The items of a batch that have not begun: `next .. end`, in one word so that the lane that
/// takes one and the parent that withdraws some can not both have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The item that the lane takes next.
    pub next: u32,
    /// One past the last item.
    pub end: u32,
}

impl Range {
    /// The range as it lies in the slot.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.next as u64) << 32) | self.end as u64
    }

    /// A word read from the slot.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            next: (bits >> 32) as u32,
            end: bits as u32,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_packed_state_gives_back_what_went_in(
            lane in 0u16..4096, epoch: u16, generation: u32, phase in 2u8..=4,
        ) {
            let phase = [Phase::Claimed, Phase::Running, Phase::Done][usize::from(phase - 2)];
            let owner = Owner { lane, epoch };
            let state = SlotState::ready(generation).owned(phase, owner);
            prop_assert_eq!(state.phase(), Some(phase));
            prop_assert_eq!(state.owner(), owner);
            prop_assert_eq!(state.generation(), generation);
            prop_assert_eq!(SlotState::from_bits(state.to_bits()), state);
        }

        #[test]
        fn tickets_and_ranges_survive_the_trip(a: u32, b: u32) {
            let ticket = Ticket { slot: a, generation: b };
            prop_assert_eq!(Ticket::from_bits(ticket.to_bits()), ticket);
            let range = Range { next: a, end: b };
            prop_assert_eq!(Range::from_bits(range.to_bits()), range);
        }
    }
}
