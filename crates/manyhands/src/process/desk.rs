//! The parent's private bookkeeping: which task is in which slot, what waits for a slot, and
//! who reads completions. One lock guards it; nothing of the user's runs or is dropped under it.
//!
//! What is read from the board is copied first and checked then; a check that fails is a
//! [`Scribbled`] board.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::deadlines::{Deadlines, Entry};
use super::limits::{Doomed, Wish};
use super::waiters::{LoopDoor, ThreadWaiter};
use crate::arena::{Arena, ArenaView, SpanRef};
use crate::board::state::{Owner, Phase, Range, SlotState, Ticket};
use crate::board::waiting::Mode;
use crate::board::{Board, Definition, Kind, Slot};
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
    ended: Vec<Arc<Task>>,
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

pub(super) struct Desk {
    pub(super) free: Vec<u32>,
    pub(super) shadow: Vec<Shadow>,
    pub(super) backlog: [VecDeque<Staged>; 2],
    pub(super) used: [usize; 2],
    pub(super) unpublished: VecDeque<(Kind, Ticket)>,
    /// Where the next completion of each lane lies.
    pub(super) heads: Vec<u64>,
    /// Tickets published to each ring: what its tail must say.
    pub(super) tails: [u64; 2],
    pub(super) views: Vec<Option<Arc<ArenaView>>>,
    pub(super) epochs: Vec<u16>,
    /// Tasks that have not ended.
    pub(super) outstanding: usize,
    /// Those of them that may be tried again: somebody must read how they end.
    pub(super) retryable: usize,
    pub(super) deadlines: Deadlines,
    /// By worker: it is about to be killed.
    pub(super) doomed: Vec<Option<Doomed>>,
    /// Nanoseconds, by kind: see [`super::Config::stop_grace`].
    pub(super) stop_grace: [u64; 2],
    pub(super) drainer: Drainer,
    /// How the drainer wants to be rung.
    pub(super) mode: Mode,
    pub(super) parked: VecDeque<Arc<ThreadWaiter>>,
    /// Callbacks and the like: watchers that the engine can not lend the drainer's role.
    pub(super) watchers: usize,
    pub(super) loops: Vec<Arc<LoopDoor>>,
    pub(super) life: Life,
    /// The board can not be trusted; says what was found. Nothing is read from it or put on it
    /// until the workers are dead and it has been made anew.
    pub(super) scribbled: Option<String>,
    /// How often that has happened.
    pub(super) rebuilt: u32,
    pub(super) arena: Arc<Arena>,
}

impl Desk {
    pub(super) fn new(board: &Board, arena: Arc<Arena>, stop_grace: [u64; 2]) -> Self {
        let geometry = board.geometry();
        Self {
            free: (0..geometry.slots as u32).rev().collect(),
            shadow: (0..geometry.slots).map(|_| Shadow::default()).collect(),
            backlog: [VecDeque::new(), VecDeque::new()],
            used: [0; 2],
            unpublished: VecDeque::new(),
            heads: vec![0; geometry.lanes()],
            tails: [0; 2],
            views: vec![None; geometry.workers],
            epochs: vec![0; geometry.workers],
            outstanding: 0,
            retryable: 0,
            deadlines: Deadlines::default(),
            doomed: (0..geometry.workers).map(|_| None).collect(),
            stop_grace,
            drainer: Drainer::Nobody,
            mode: Mode::Eager,
            parked: VecDeque::new(),
            watchers: 0,
            loops: Vec::new(),
            life: Life::Open,
            scribbled: None,
            rebuilt: 0,
            arena,
        }
    }

    /// Tasks that wait for a slot, or for a cell of their ring.
    pub(super) fn backlog(&self) -> usize {
        self.unpublished.len() + self.backlog.iter().map(VecDeque::len).sum::<usize>()
    }

    /// May a task of this kind take a slot now? Each kind leaves a quarter to the other, so that
    /// tasks that wait on the network never keep functions from running, nor the reverse.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let quota = self.shadow.len() - self.shadow.len() / 4;
        self.scribbled.is_none() && !self.free.is_empty() && self.used[kind as usize] < quota
    }

    /// Takes a task in: into a slot if one is free and none waits before it.
    pub(super) fn accept(
        &mut self,
        board: &Board,
        task: &Arc<Task>,
        parts: &[&[u8]],
        span: Option<SpanRef>,
        effects: &mut Effects,
    ) {
        self.outstanding += 1;
        self.retryable += usize::from(task.retries() > 0);
        let kind = task.kind();
        let input = match span {
            Some(span) => Input::Span(span),
            None => Input::Bytes(parts.concat().into_boxed_slice()),
        };
        let staged = Staged {
            task: task.clone(),
            input,
        };
        if self.backlog[kind as usize].is_empty() && self.has_room(kind) {
            self.place(board, staged, effects);
        } else {
            self.backlog[kind as usize].push_back(staged);
        }
    }

    /// Puts a task into a free slot and publishes it.
    fn place(&mut self, board: &Board, staged: Staged, effects: &mut Effects) {
        let Staged { task, input } = staged;
        let index = self.free.pop().expect("the caller saw a free slot");
        let slot = board.slot(index).expect("free slots are within the board");
        let shadow = &mut self.shadow[index as usize];
        let ticket = Ticket {
            slot: index,
            generation: shadow.generation,
        };
        let function = task.function().expect("markers are never submitted");
        slot.set_function(function.definition);
        match &input {
            Input::Bytes(bytes) => slot.set_input_inline(&[bytes], task.is_batch()),
            Input::Span(span) => slot.set_input_span(*span, task.is_batch()),
        }
        shadow.input = Some(input);
        slot.clear_log();
        let items = Range {
            next: 0,
            end: task.items(),
        };
        slot.range.store(items.to_bits(), Ordering::Relaxed);
        slot.state.store(
            SlotState::ready(ticket.generation).to_bits(),
            Ordering::Release,
        );
        task.set_place(Some(ticket));
        let kind = task.kind();
        shadow.task = Some(task);
        self.used[kind as usize] += 1;
        self.publish(board, kind, ticket, effects);
    }

    pub(super) fn publish(
        &mut self,
        board: &Board,
        kind: Kind,
        ticket: Ticket,
        effects: &mut Effects,
    ) {
        match board
            .submission(kind)
            .publish(ticket, |slot| board.slot(slot).map(|slot| &slot.state))
        {
            Ok(()) => {
                effects.published[kind as usize] += 1;
                let position = self.tails[kind as usize];
                self.tails[kind as usize] += 1;
                // One that was cancelled while it waited for a cell lies there as a stale one.
                if self.shadow[ticket.slot as usize].generation == ticket.generation {
                    self.await_start(ticket.slot, kind, position);
                }
            }
            Err(_full) => self.unpublished.push_back((kind, ticket)),
        }
    }

    /// Are the words that only the parent writes, and that no task names, as it wrote them?
    pub(super) fn check(&self, board: &Board) -> Result<(), Scribbled> {
        if self.scribbled.is_some() {
            return Ok(());
        }
        for kind in Kind::ALL {
            let (ring, due) = (board.submission(kind), self.tails[kind as usize]);
            if ring.tail() != due || ring.head() > due {
                let found = format!("{:?} tasks: {}..{}", kind, ring.head(), ring.tail());
                return Err(Scribbled(format!("{found} where ..{due} was due")));
            }
        }
        board.check().map_err(Scribbled)
    }

    /// Fills free slots from the backlog.
    pub(super) fn refill(&mut self, board: &Board, effects: &mut Effects) {
        for _ in 0..self.unpublished.len() {
            let (kind, ticket) = self.unpublished.pop_front().expect("counted");
            self.publish(board, kind, ticket, effects);
        }
        for kind in Kind::ALL {
            while self.has_room(kind) {
                let Some(staged) = self.backlog[kind as usize].pop_front() else {
                    break;
                };
                if staged.task.is_done() {
                    if let Input::Span(span) = staged.input {
                        self.arena.release(span);
                    }
                    effects.ended.push(staged.task);
                    continue;
                }
                self.place(board, staged, effects);
            }
        }
    }

    /// Is there any completion to read?
    pub(super) fn has_completions(&self, board: &Board) -> bool {
        self.scribbled.is_none()
            && self
                .heads
                .iter()
                .enumerate()
                .any(|(lane, head)| board.completion(lane).has_more(*head))
    }

    /// Reads all completions and fills the freed slots; gives how many there were.
    pub(super) fn drain(
        &mut self,
        board: &Board,
        effects: &mut Effects,
    ) -> Result<usize, Scribbled> {
        if self.scribbled.is_some() {
            return Ok(0);
        }
        let mut count = 0;
        for lane in 0..self.heads.len() {
            while let Some(ticket) = board.completion(lane).pop(&mut self.heads[lane]) {
                let owner = Owner {
                    lane: lane as u16,
                    epoch: self.epochs[lane / 2],
                };
                let shadow = self.shadow.get(ticket.slot as usize);
                let slot = board.slot(ticket.slot);
                let (Some(shadow), Some(slot)) = (shadow, slot) else {
                    return Err(Scribbled(format!("lane {lane} completed {ticket:?}")));
                };
                let expected = SlotState::ready(shadow.generation).owned(Phase::Done, owner);
                let found = SlotState::from_bits(slot.state.load(Ordering::Acquire));
                if found != expected || ticket.generation != shadow.generation {
                    return Err(Scribbled(format!("{found:?} where {expected:?} was due")));
                }
                self.take(board, slot, ticket.slot, lane / 2, effects)?;
                count += 1;
            }
        }
        if count > 0 || !self.unpublished.is_empty() {
            self.refill(board, effects);
        }
        Ok(count)
    }

    /// Gives a slot back: the next generation, the input's span released.
    pub(super) fn free(&mut self, board: &Board, slot: &Slot, index: u32) {
        self.forget_attempt(board, index);
        let shadow = &mut self.shadow[index as usize];
        shadow.fruitless = 0;
        shadow.generation = shadow.generation.wrapping_add(1);
        slot.state.store(
            SlotState::free(shadow.generation).to_bits(),
            Ordering::Release,
        );
        if let Some(Input::Span(span)) = shadow.input.take() {
            self.arena.release(span);
        }
        if let Some(task) = shadow.task.take() {
            self.used[task.kind() as usize] -= 1;
            task.set_place(None);
        }
        self.free.push(index);
    }

    /// The slot's generation is over: nothing is due for it, and nobody is asked.
    pub(super) fn forget_attempt(&mut self, board: &Board, index: u32) {
        self.forget_deadline(index);
        self.shadow[index as usize].unreported = false;
        if self.shadow[index as usize].wish.take().is_some()
            && let Some(word) = board.asked(index)
        {
            word.clear();
        }
    }

    /// A task has ended.
    pub(super) fn end(&mut self, task: Arc<Task>, outcome: Outcome, effects: &mut Effects) {
        if !task.is_done() {
            self.outstanding -= 1;
            self.retryable -= usize::from(task.retries() > 0);
        }
        effects.end(task, outcome);
    }

    /// Withdraws a task, or the items of a batch, that have not begun; what runs is the last
    /// attempt. True when no item of it has run.
    pub(super) fn cancel(
        &mut self,
        board: &Board,
        task: &Arc<Task>,
        effects: &mut Effects,
    ) -> bool {
        if task.is_done() {
            return false;
        }
        let Some(ticket) = task.place() else {
            // In the backlog, which passes over tasks that have ended.
            self.end(task.clone(), Outcome::Cancelled, effects);
            return true;
        };
        self.forbid_retries(task);
        if self.scribbled.is_some() {
            // Whether it has begun, nobody can say.
            return false;
        }
        let slot = board.slot(ticket.slot).expect("placed by the parent");
        let ready = SlotState::ready(ticket.generation).to_bits();
        let mine = SlotState::free(ticket.generation.wrapping_add(1)).to_bits();
        if slot
            .state
            .compare_exchange(ready, mine, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.free(board, slot, ticket.slot);
            let untouched = !task.has_items();
            let outcome = match untouched {
                true => Outcome::Cancelled,
                // A worker died in the middle of the batch; what others had ended stays.
                false => task.with_the_rest_cancelled(Duration::ZERO),
            };
            self.end(task.clone(), outcome, effects);
            self.refill(board, effects);
            return untouched;
        }
        if task.is_batch() {
            let withdraw = |bits| {
                let range = Range::from_bits(bits);
                Some(
                    Range {
                        end: range.next.min(range.end),
                        ..range
                    }
                    .to_bits(),
                )
            };
            let _withdrawn = slot
                .range
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, withdraw);
        }
        false
    }

    /// Every task that has not ended.
    pub(super) fn live_tasks(&self) -> Vec<Arc<Task>> {
        let placed = self.shadow.iter().filter_map(|shadow| shadow.task.clone());
        let staged = self
            .backlog
            .iter()
            .flatten()
            .map(|staged| staged.task.clone());
        // Those that wait come first: a cancel makes room, which none of them shall move into.
        staged.chain(placed).collect()
    }

    /// Has a worker begun it?
    pub(super) fn is_running(board: &Board, task: &Task) -> bool {
        let Some(ticket) = task.place() else {
            return false;
        };
        let slot = board.slot(ticket.slot).expect("placed by the parent");
        let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
        state.generation() == ticket.generation
            && matches!(
                state.phase(),
                Some(Phase::Claimed | Phase::Running | Phase::Done)
            )
    }
}
