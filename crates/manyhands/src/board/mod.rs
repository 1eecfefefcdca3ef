#![doc = include_str!("README.md")]
#![allow(unsafe_code)]

pub(crate) mod hands;
pub(crate) mod idle;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod memory;
pub(crate) mod ring;
#[cfg(not(loom))]
mod slot;
pub mod state;
pub(crate) mod stop;
pub(crate) mod waiting;
pub(crate) mod watch;

#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
pub use layout::{Geometry, INLINE_BYTES, MAX_WORKERS};
#[cfg(not(loom))]
pub use memory::Board;
#[cfg(not(loom))]
pub(crate) use {
    layout::{Slot, WorkerEntry},
    slot::{Definition, Place},
};

/// Which sort of lane a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Runs on a worker's main thread, one at a time.
    Function = 0,
    /// Runs on a worker's event loop, many at once.
    Coroutine = 1,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Function, Self::Coroutine];

    /// This kind's lane of a worker.
    #[cfg(not(loom))]
    pub(crate) const fn lane(self, worker: usize) -> usize {
        worker * 2 + self as usize
    }
}

/// What a place in the worker table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WorkerPhase {
    /// No process, or one that is starting.
    Starting = 0,
    /// Takes tasks.
    Ready = 1,
    /// Takes no more tasks and exits when it has ended those that it has.
    Retiring = 2,
}
