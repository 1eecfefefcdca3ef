//! The parent's private bookkeeping: which task is in which slot, what waits for a slot, and
//! who reads completions. One lock guards it; nothing of the user's runs or is dropped under it.
//!
//! What is read from the board is copied first and checked then; a check that fails is a
//! [`Scribbled`] board.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::log;
use super::waiters::{LoopDoor, ThreadWaiter};
use crate::arena::{Arena, ArenaView, SpanRef};
use crate::board::state::{Owner, Phase, Range, SlotState, Ticket};
use crate::board::waiting::Mode;
use crate::board::{Board, Definition, INLINE_BYTES, Kind, Place, Slot};
use crate::sys::clock;
use crate::task::{Death, Exit, Outcome, Payload, Task, Waiter};

/// A function's definition, shipped once: it lies in the parent's arena for as long as anybody
/// holds this.
#[derive(Debug)]
pub struct Function {
    pub(super) definition: Definition,
    pub(super) arena: Arc<Arena>,
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

/// What the parent knows about a slot.
#[derive(Default)]
struct Shadow {
    generation: u32,
    task: Option<Arc<Task>>,
    input: Option<SpanRef>,
}

/// The board holds what no worker can have written by the protocol.
#[derive(Debug)]
pub(super) struct Scribbled(pub(super) String);

/// What is to be done once the desk is unlocked.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) woken: Vec<Arc<dyn Waiter>>,
    pub(super) published: [usize; 2],
    /// Tasks that have ended, so that the last reference goes without the lock.
    ended: Vec<Arc<Task>>,
}

impl Effects {
    pub(super) fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.ended.is_empty() && self.published == [0; 2]
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
    free: Vec<u32>,
    shadow: Vec<Shadow>,
    backlog: [VecDeque<Staged>; 2],
    used: [usize; 2],
    unpublished: VecDeque<(Kind, Ticket)>,
    heads: Vec<u64>,
    pub(super) views: Vec<Option<Arc<ArenaView>>>,
    pub(super) epochs: Vec<u16>,
    /// Tasks that have not ended.
    pub(super) outstanding: usize,
    pub(super) drainer: Drainer,
    /// How the drainer wants to be rung.
    pub(super) mode: Mode,
    pub(super) parked: VecDeque<Arc<ThreadWaiter>>,
    /// Callbacks and the like: watchers that the engine can not lend the drainer's role.
    pub(super) watchers: usize,
    pub(super) loops: Vec<Arc<LoopDoor>>,
    pub(super) life: Life,
    arena: Arc<Arena>,
}

impl Desk {
    pub(super) fn new(board: &Board, arena: Arc<Arena>) -> Self {
        let geometry = board.geometry();
        Self {
            free: (0..geometry.slots as u32).rev().collect(),
            shadow: (0..geometry.slots).map(|_| Shadow::default()).collect(),
            backlog: [VecDeque::new(), VecDeque::new()],
            used: [0; 2],
            unpublished: VecDeque::new(),
            heads: vec![0; geometry.lanes()],
            views: vec![None; geometry.workers],
            epochs: vec![0; geometry.workers],
            outstanding: 0,
            drainer: Drainer::Nobody,
            mode: Mode::Eager,
            parked: VecDeque::new(),
            watchers: 0,
            loops: Vec::new(),
            life: Life::Open,
            arena,
        }
    }

    /// Tasks that wait for a slot, or for a cell of their ring.
    pub(super) fn backlog(&self) -> usize {
        self.unpublished.len() + self.backlog.iter().map(VecDeque::len).sum::<usize>()
    }

    /// Does anything wait for completions to make room: for a slot, or for a cell of a ring?
    pub(super) fn wants_room(&self) -> bool {
        self.backlog() > 0 || !self.unpublished.is_empty()
    }

    /// May a task of this kind take a slot now? Each kind leaves a quarter to the other, so that
    /// tasks that wait on the network never keep functions from running, nor the reverse.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let quota = self.shadow.len() - self.shadow.len() / 4;
        !self.free.is_empty() && self.used[kind as usize] < quota
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
        let kind = task.kind();
        if self.backlog[kind as usize].is_empty() && self.has_room(kind) {
            self.place(board, task.clone(), effects, |slot| match span {
                Some(span) => slot.set_input_span(span, task.is_batch()),
                None => slot.set_input_inline(parts, task.is_batch()),
            });
            if let (Some(span), Some(at)) = (span, task.place()) {
                self.shadow[at.slot as usize].input = Some(span);
            }
        } else {
            let input = match span {
                Some(span) => Input::Span(span),
                None => Input::Bytes(parts.concat().into_boxed_slice()),
            };
            self.backlog[kind as usize].push_back(Staged {
                task: task.clone(),
                input,
            });
        }
    }

    /// Puts a task into a free slot and publishes it.
    fn place(
        &mut self,
        board: &Board,
        task: Arc<Task>,
        effects: &mut Effects,
        write: impl FnOnce(&Slot),
    ) {
        let index = self.free.pop().expect("the caller saw a free slot");
        let slot = board.slot(index).expect("free slots are within the board");
        let shadow = &mut self.shadow[index as usize];
        let ticket = Ticket {
            slot: index,
            generation: shadow.generation,
        };
        let function = task.function().expect("markers are never submitted");
        slot.set_function(function.definition);
        write(slot);
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

    fn publish(&mut self, board: &Board, kind: Kind, ticket: Ticket, effects: &mut Effects) {
        let slot_of = |slot| &board.slot(slot).expect("the parent wrote the cell").state;
        match board.submission(kind).publish(ticket, slot_of) {
            Ok(()) => effects.published[kind as usize] += 1,
            Err(_full) => self.unpublished.push_back((kind, ticket)),
        }
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
                let batch = staged.task.is_batch();
                self.place(board, staged.task.clone(), effects, |slot| {
                    match &staged.input {
                        Input::Bytes(bytes) => slot.set_input_inline(&[bytes], batch),
                        Input::Span(span) => slot.set_input_span(*span, batch),
                    }
                });
                if let (Input::Span(span), Some(at)) = (&staged.input, staged.task.place()) {
                    self.shadow[at.slot as usize].input = Some(*span);
                }
            }
        }
    }

    /// Is there any completion to read?
    pub(super) fn has_completions(&self, board: &Board) -> bool {
        self.heads
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
                self.take(slot, ticket.slot, lane / 2, effects)?;
                count += 1;
            }
        }
        if count > 0 || !self.unpublished.is_empty() {
            self.refill(board, effects);
        }
        Ok(count)
    }

    /// Reads the outcome of a slot that is DONE, and frees it.
    fn take(
        &mut self,
        slot: &Slot,
        index: u32,
        worker: usize,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        let task = self.shadow[index as usize].task.clone();
        let task = task.ok_or_else(|| Scribbled(format!("slot {index} is nobody's")))?;
        let outcome = if task.is_batch() {
            let items = self.read_log(slot, worker)?;
            task.add_items(items);
            let elapsed = Duration::from_nanos(slot.elapsed.load(Ordering::Relaxed));
            // What has no record was withdrawn by the parent before it began.
            task.with_the_rest_cancelled(elapsed)
        } else {
            let (code, place) = slot
                .output()
                .ok_or_else(|| Scribbled(format!("slot {index}: output in no known place")))?;
            Outcome::Ended {
                code,
                payload: self.payload(slot, worker, place)?,
            }
        };
        self.free(slot, index);
        self.outstanding -= usize::from(!task.is_done());
        effects.end(task, outcome);
        Ok(())
    }

    fn payload(&self, slot: &Slot, worker: usize, place: Place) -> Result<Payload, Scribbled> {
        match place {
            Place::Inline(len) => {
                let mut bytes = [0; INLINE_BYTES];
                slot.copy_output(&mut bytes[..len]);
                Ok(Payload::Bytes(bytes[..len].into()))
            }
            Place::Span(span) => self.span(worker, span).map(Payload::Span),
        }
    }

    fn span(&self, worker: usize, span: SpanRef) -> Result<crate::arena::SpanGuard, Scribbled> {
        let view = self.views[worker].as_ref();
        let view = view.ok_or_else(|| Scribbled(format!("worker {worker} has no arena")))?;
        view.span(span)
            .map_err(|error| Scribbled(error.to_string()))
    }

    fn read_log(&self, slot: &Slot, worker: usize) -> Result<Vec<(u32, Outcome)>, Scribbled> {
        let (span, records) = slot.log();
        if records == 0 && span.len == 0 {
            return Ok(Vec::new());
        }
        log::read(span, records, |span| self.span(worker, span))
    }

    /// Gives a slot back: the next generation, the input's span released.
    fn free(&mut self, slot: &Slot, index: u32) {
        let shadow = &mut self.shadow[index as usize];
        shadow.generation = shadow.generation.wrapping_add(1);
        slot.state.store(
            SlotState::free(shadow.generation).to_bits(),
            Ordering::Release,
        );
        if let Some(span) = shadow.input.take() {
            self.arena.release(span);
        }
        if let Some(task) = shadow.task.take() {
            self.used[task.kind() as usize] -= 1;
            task.set_place(None);
        }
        self.free.push(index);
    }

    /// Withdraws a task, or the items of a batch, that have not begun. True when nothing of it
    /// has run.
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
            self.outstanding -= 1;
            effects.end(task.clone(), Outcome::Cancelled);
            return true;
        };
        let slot = board.slot(ticket.slot).expect("placed by the parent");
        let ready = SlotState::ready(ticket.generation).to_bits();
        let mine = SlotState::free(ticket.generation.wrapping_add(1)).to_bits();
        if slot
            .state
            .compare_exchange(ready, mine, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.free(slot, ticket.slot);
            self.outstanding -= 1;
            let untouched = !task.has_items();
            let outcome = match untouched {
                true => Outcome::Cancelled,
                // A worker died in the middle of the batch; what others had ended stays.
                false => task.with_the_rest_cancelled(Duration::ZERO),
            };
            effects.end(task.clone(), outcome);
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

    /// After a worker's process has exited: ends what it was running, submits again what it
    /// had not begun.
    pub(super) fn recover(
        &mut self,
        board: &Board,
        worker: usize,
        pid: u32,
        exit: Exit,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        self.drain(board, effects)?;
        for kind in Kind::ALL {
            board.idle(kind).set_busy(worker);
            board.worker(worker).load[kind as usize].store(0, Ordering::Relaxed);
        }
        let epoch = self.epochs[worker];
        for index in 0..self.shadow.len() as u32 {
            let Some(task) = self.shadow[index as usize].task.clone() else {
                continue;
            };
            let slot = board.slot(index).expect("as many slots as shadows");
            let state = SlotState::from_bits(slot.state.load(Ordering::Acquire));
            let owner = state.owner();
            if usize::from(owner.lane) / 2 != worker || owner.epoch != epoch {
                continue;
            }
            let ran = clock::now().saturating_sub(slot.started.load(Ordering::Relaxed));
            let death = Death {
                pid,
                exit,
                ran: Duration::from_nanos(ran),
            };
            match state.phase() {
                Some(Phase::Done) => self.take(slot, index, worker, effects)?,
                Some(Phase::Claimed) => self.again(board, slot, index, effects),
                Some(Phase::Running) if task.is_batch() => {
                    self.recover_batch(board, slot, index, worker, death, effects)?;
                }
                Some(Phase::Running) => {
                    self.free(slot, index);
                    self.outstanding -= usize::from(!task.is_done());
                    effects.end(task, Outcome::Died(death));
                }
                _ => {}
            }
        }
        self.refill(board, effects);
        Ok(())
    }

    fn recover_batch(
        &mut self,
        board: &Board,
        slot: &Slot,
        index: u32,
        worker: usize,
        death: Death,
        effects: &mut Effects,
    ) -> Result<(), Scribbled> {
        let Some(task) = self.shadow[index as usize].task.clone() else {
            return Ok(());
        };
        let range = Range::from_bits(slot.range.load(Ordering::Acquire));
        let next = range.next.min(task.items());
        task.add_items(self.read_log(slot, worker)?);
        let begun = |item: &u32| *item < next;
        let dead = task.missing_items().into_iter().filter(begun);
        let mut ended: Vec<_> = dead.map(|item| (item, Outcome::Died(death))).collect();
        // Items past `end` were withdrawn by the parent.
        ended.extend((range.end.max(next)..task.items()).map(|item| (item, Outcome::Cancelled)));
        task.add_items(ended);
        match task.take_items() {
            Some(items) => {
                self.free(slot, index);
                self.outstanding -= usize::from(!task.is_done());
                effects.end(
                    task,
                    Outcome::Batch {
                        items,
                        elapsed: death.ran,
                    },
                );
            }
            None => self.again(board, slot, index, effects),
        }
        Ok(())
    }

    /// Publishes a slot once more, in a new generation; a batch goes on at its range.
    fn again(&mut self, board: &Board, slot: &Slot, index: u32, effects: &mut Effects) {
        let shadow = &mut self.shadow[index as usize];
        shadow.generation = shadow.generation.wrapping_add(1);
        let ticket = Ticket {
            slot: index,
            generation: shadow.generation,
        };
        let Some(task) = &shadow.task else { return };
        let kind = task.kind();
        task.set_place(Some(ticket));
        slot.clear_log();
        slot.state.store(
            SlotState::ready(ticket.generation).to_bits(),
            Ordering::Release,
        );
        self.publish(board, kind, ticket, effects);
    }

    /// Ends every task that has not ended: the pool is broken, or was ended by force.
    pub(super) fn end_all(&mut self, outcome: impl Fn() -> Outcome, effects: &mut Effects) {
        for shadow in &mut self.shadow {
            if let Some(task) = shadow.task.take() {
                self.used[task.kind() as usize] -= 1;
                effects.end(task, outcome());
            }
        }
        for backlog in &mut self.backlog {
            for staged in backlog.drain(..) {
                effects.end(staged.task, outcome());
            }
        }
        self.unpublished.clear();
        self.outstanding = 0;
    }
}
