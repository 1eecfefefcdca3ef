//! Looking for work for a moment before going to sleep: a sleep and a wake-up across cores cost
//! more than most small tasks.
//!
//! It is done where it takes no core from anybody, and as long as it pays: a lane that looks in
//! vain loses its patience, and gets it back when its sleeps turn out to be short.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{hint, thread};

use super::seat::Seat;
use crate::board::Kind;
use crate::sys::clock;

/// How long to look: some more than a wake-up across cores takes.
const LOOK: Duration = Duration::from_micros(100);

/// A sleep shorter than this need not have been.
const SHORT: u64 = 2 * LOOK.as_nanos() as u64;

const MOST: u8 = 8;

/// Does looking pay?
pub(super) struct Patience {
    left: u8,
    slept_at: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            left: MOST / 2,
            slept_at: 0,
        }
    }
}

impl Patience {
    pub(super) fn is_left(&self) -> bool {
        self.left > 0
    }

    pub(super) fn looked(&mut self, found: bool) {
        self.left = if found {
            MOST.min(self.left + 1)
        } else {
            self.left.saturating_sub(1)
        };
    }

    pub(super) fn sleeps(&mut self) {
        self.slept_at = clock::now();
    }

    pub(super) fn woke(&mut self) {
        if clock::now().saturating_sub(self.slept_at) < SHORT {
            self.left = MOST.min(self.left + 2);
        }
    }
}

/// Leave to look: nobody else does, and the lane is SEARCHING meanwhile.
pub struct Linger {
    seat: Arc<Seat>,
    kind: Kind,
}

impl Linger {
    /// Leave for a lane, if there are cores to spare.
    pub(super) fn leave(seat: &Arc<Seat>, kind: Kind) -> Option<Self> {
        let board = &seat.board;
        let searching = |kind: &Kind| board.idle(*kind).searching();
        let others: u64 = Kind::ALL.iter().map(searching).sum();
        (others + 1 < board.cores()).then(|| Self {
            seat: seat.clone(),
            kind,
        })
    }

    /// Looks; true as soon as there is something to claim.
    #[must_use]
    pub fn look(self) -> bool {
        let ring = self.seat.board.submission(self.kind);
        let end = Instant::now() + LOOK;
        loop {
            for _ in 0..32 {
                hint::spin_loop();
                if ring.len() > 0 {
                    return true;
                }
            }
            if self.seat.is_closing() || Instant::now() >= end {
                return false;
            }
            thread::yield_now();
        }
    }
}
