//! What the desk notes down: of functions, of tasks that wait, of slots, and of what is to be done
//! once it is unlocked.

use std::sync::Arc;

use super::deadlines::Entry;
use super::limits::Wish;
use super::waiters::{LoopDoor, ThreadWaiter};
use crate::arena::{Arena, SpanRef};
use crate::board::{Definition, Kind};
use crate::task::{Outcome, Task, Waiter};

/// A function's definition, shipped once: it lies in the parent's arena for as long as anybody
/// holds this.
#[derive(Debug)]
pub struct Function {
    pub(super) definition: Definition,
    pub(super) arena: Arc<Arena>,
}

impl Function {
    /// Where its definition lies in the parent's arena; see [`Seat::look_up`].
    ///
    /// [`Seat::look_up`]: super::Seat::look_up
    #[must_use]
    pub fn span(&self) -> SpanRef {
        self.definition.span
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.arena.release(self.definition.span);
    }
}

/// An input that has not found a slot yet.
pub(super) enum Input {
    Bytes(Box<[u8]>),
    Span(SpanRef),
}

/// A task that waits for a slot.
pub(super) struct Staged {
    pub(super) task: Arc<Task>,
    pub(super) input: Input,
}

/// What the parent knows about a slot. The input is kept here as well, so that a task can be
/// submitted again when the board can not be trusted any more.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) generation: u32,
    pub(super) task: Option<Arc<Task>>,
    pub(super) input: Option<Input>,
    /// Workers in a row that died with this batch before they had begun an item of it.
    pub(super) fruitless: u8,
    /// Why it is to end although it has begun.
    pub(super) wish: Option<Wish>,
    /// Its time had come when it had ended, but its lane had not said so.
    pub(super) unreported: bool,
    /// Its place in the submission ring.
    pub(super) position: u64,
    pub(super) entry: Entry,
}

/// The board holds what no worker can have written by the protocol.
#[derive(Debug)]
pub(super) struct Scribbled(pub(super) String);

/// What is to be done once the desk is unlocked.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) woken: Vec<Arc<dyn Waiter>>,
    pub(super) published: [usize; 2],
    /// Lanes to be rung, one of whose tasks is asked to stop: kind and worker.
    pub(super) asked: Vec<(Kind, usize)>,
    /// Tasks that have ended, so that the last reference goes without the lock.
    pub(super) ended: Vec<Arc<Task>>,
}

impl Effects {
    pub(super) fn is_empty(&self) -> bool {
        self.woken.is_empty()
            && self.ended.is_empty()
            && self.published == [0; 2]
            && self.asked.is_empty()
    }

    pub(super) fn end(&mut self, task: Arc<Task>, outcome: Outcome) {
        self.woken.append(&mut task.end(outcome));
        self.ended.push(task);
    }
}

/// Who is rung when a completion is published.
#[derive(Clone)]
pub(super) enum Drainer {
    Nobody,
    Thread(Arc<ThreadWaiter>),
    Loop(Arc<LoopDoor>),
    Supervisor,
}

/// Where a pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// Takes tasks.
    Open,
    /// Takes no more, and ends those that it has.
    Draining,
    /// Every task has ended; the workers end.
    Stopping,
    /// No worker is left.
    Stopped,
}
