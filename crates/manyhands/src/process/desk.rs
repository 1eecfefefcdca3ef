//! The parent's private bookkeeping: which task is in which slot, what waits for a slot, and
//! who reads completions. One lock guards it; nothing of the user's runs or is dropped under it.
//!
//! What is read from the board is copied first and checked then; a check that fails is a
//! [`Scribbled`] board.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::deadlines::Deadlines;
use super::limits::Doomed;
use super::notes::{Drainer, Effects, Input, Life, Scribbled, Shadow, Staged};
use super::waiters::{LoopDoor, ThreadWaiter};
use crate::arena::{Arena, ArenaView, SpanRef};
use crate::board::state::{Owner, Phase, Range, SlotState, Ticket};
use crate::board::waiting::Mode;
use crate::board::{Board, Kind, Slot};
use crate::task::{Outcome, Task};

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
    /// They end when no process is being made.
    pub(super) settling: Vec<Arc<Task>>,
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
            settling: Vec::new(),
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
