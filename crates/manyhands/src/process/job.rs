//! A claimed task in its lane's hands: its input, its start, its outcome.
//!
//! Guarantees: the parent sees that a task runs before any of its code does, and its outcome before
//! the parent is rung; a lane whose slot was overwritten, or whose worker is doomed, gives nothing.

use std::ops::Range as Items;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lane::Lane;
use super::log;
use super::seat::Seat;
use crate::arena::{ArenaError, BadSpan, SpanGuard, SpanRef};
use crate::board::state::{Phase, Range, SlotState, Ticket};
use crate::board::{Definition, INLINE_BYTES, Place, Slot};
use crate::sys::{clock, pidfd};

/// A task's input.
#[derive(Debug)]
pub enum Input {
    /// So many bytes that travelled in the slot.
    Inline([u8; INLINE_BYTES], usize),
    /// In the parent's arena, to be read in place while the job is not completed.
    Span(SpanGuard),
}

/// A claimed slot.
#[derive(Debug)]
pub struct Job {
    ticket: Ticket,
    function: Definition,
    batch: bool,
    started: u64,
    log: Option<LogState>,
}

#[derive(Debug)]
struct LogState {
    writer: log::Writer,
    records: u64,
}

/// Tells the code of a task whether the task is asked to stop, from any thread, also after its end.
#[derive(Clone)]
pub struct StopFlag {
    seat: Arc<Seat>,
    ticket: Ticket,
}

impl StopFlag {
    /// Is it asked to stop?
    #[must_use]
    pub fn is_set(&self) -> bool {
        let asked = self.seat.board.asked(self.ticket.slot);
        asked.is_some_and(|word| word.is_asked(self.ticket.generation))
    }
}

impl std::fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StopFlag").field(&self.is_set()).finish()
    }
}

impl Job {
    pub(super) fn new(ticket: Ticket, slot: &Slot) -> Self {
        Self {
            ticket,
            function: slot.function(),
            batch: slot.is_batch(),
            started: 0,
            log: None,
        }
    }

    /// Names its function; see [`Lane::definition`].
    #[must_use]
    pub fn function(&self) -> u64 {
        self.function.id
    }

    /// Is it a batch of items?
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.batch
    }
}

impl Lane {
    fn slot(&self, job: &Job) -> &Slot {
        self.seat
            .board
            .slot(job.ticket.slot)
            .expect("claimed from this board")
    }

    /// The function's definition, in the parent's arena.
    ///
    /// # Errors
    /// The slot names no span: somebody scribbled over the board.
    pub fn definition(&self, job: &Job) -> Result<SpanGuard, ArenaError> {
        self.seat.inputs.peek(job.function.span)
    }

    /// Says that user code runs from now on: dies the worker, the task ends as such.
    ///
    /// # Errors
    /// The arena has no room for a batch's log.
    pub fn start(&mut self, job: &mut Job) -> Result<(), ArenaError> {
        self.end_forked_child();
        let slot = self.slot(job);
        if job.batch {
            let items = Self::items_of(slot);
            let writer = log::Writer::begin(&self.seat.outputs, items.len())?;
            slot.set_log(writer.start());
            job.log = Some(LogState { writer, records: 0 });
        }
        job.started = clock::now();
        slot.started.store(job.started, Ordering::Relaxed);
        self.set_state(job, Phase::Claimed, Phase::Running);
        if self.is_doomed() {
            self.set_state(job, Phase::Running, Phase::Claimed);
            pidfd::kill_self();
        }
        Ok(())
    }

    /// Is this process about to be killed for one of its tasks? To be looked at between saying
    /// that something begins and doing it.
    fn is_doomed(&self) -> bool {
        let epoch = self.seat.owner(self.kind).epoch;
        self.seat.board.doomed(self.worker()).is_told(epoch)
    }

    /// Has the parent asked this job to stop? To be looked at once after [`Lane::start`], and for
    /// each job in hand whenever [`Lane::event`] was set; after [`Lane::woke`], not before it. A
    /// job that stops for it is completed with the code [`STOPPED`](crate::task::STOPPED).
    #[must_use]
    pub fn asked(&self, job: &Job) -> bool {
        let asked = self.seat.board.asked(job.ticket.slot);
        asked.is_some_and(|word| word.is_asked(job.ticket.generation))
    }

    /// What tells the job's own code whether it is asked to stop.
    #[must_use]
    pub fn stop_flag(&self, job: &Job) -> StopFlag {
        StopFlag {
            seat: self.seat.clone(),
            ticket: job.ticket,
        }
    }

    /// Nobody else writes the state of a slot that this lane owns. If it is another, the board was
    /// overwritten, and with it perhaps the input: the parent must not take what comes of that for
    /// an outcome.
    fn set_state(&self, job: &Job, from: Phase, to: Phase) {
        let owner = self.seat.owner(self.kind);
        let state = |phase| {
            let state = SlotState::ready(job.ticket.generation).owned(phase, owner);
            state.to_bits()
        };
        let word = &self.slot(job).state;
        if word
            .compare_exchange(state(from), state(to), Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            pidfd::kill_self();
        }
    }

    fn items_of(slot: &Slot) -> Items<u32> {
        let range = Range::from_bits(slot.range.load(Ordering::Acquire));
        range.next..range.end.max(range.next)
    }

    /// The input's bytes.
    ///
    /// # Errors
    /// The slot names no payload: somebody scribbled over the board.
    pub fn input(&self, job: &Job) -> Result<Input, ArenaError> {
        let slot = self.slot(job);
        match slot.input() {
            Some(Place::Inline(len)) => {
                let mut bytes = [0; INLINE_BYTES];
                slot.copy_input(&mut bytes[..len]);
                Ok(Input::Inline(bytes, len))
            }
            Some(Place::Span(span)) => self.seat.inputs.peek(span).map(Input::Span),
            None => {
                let span = SpanRef::default();
                Err(ArenaError::BadSpan {
                    span,
                    reason: BadSpan::Mismatch,
                })
            }
        }
    }

    /// Ends a single task.
    ///
    /// # Errors
    /// The outcome found no room; the job still waits for one.
    pub fn complete(&mut self, job: &Job, code: u8, parts: &[&[u8]]) -> Result<(), ArenaError> {
        self.end_forked_child();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes <= INLINE_BYTES {
            self.slot(job).set_output_inline(code, parts);
        } else {
            let span = self.seat.outputs.write(parts)?;
            self.slot(job).set_output_span(code, span);
        }
        self.done(job);
        Ok(())
    }

    /// Takes the batch's next item; `None` when none is left.
    #[must_use]
    pub fn next_item(&self, job: &Job) -> Option<u32> {
        self.end_forked_child();
        let take = |bits| {
            let range = Range::from_bits(bits);
            (range.next < range.end).then(|| {
                Range {
                    next: range.next.wrapping_add(1),
                    ..range
                }
                .to_bits()
            })
        };
        let range = &self.slot(job).range;
        let taken = range.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
        if taken.is_ok() && self.is_doomed() {
            pidfd::kill_self();
        }
        taken.ok().map(|bits| Range::from_bits(bits).next)
    }

    /// Has the batch items that nobody has begun?
    #[must_use]
    pub fn has_items(&self, job: &Job) -> bool {
        !Self::items_of(self.slot(job)).is_empty()
    }

    /// Ends one item of a batch.
    ///
    /// # Errors
    /// The outcome found no room; the item still waits for one.
    ///
    /// # Panics
    /// The job is no batch, or was not started.
    pub fn complete_item(
        &mut self,
        job: &mut Job,
        item: u32,
        code: u8,
        parts: &[&[u8]],
    ) -> Result<(), ArenaError> {
        self.end_forked_child();
        let log = job.log.as_mut().expect("a batch that was started");
        log.writer.append(&self.seat.outputs, item, code, parts)?;
        log.records += 1;
        let records = log.records;
        // Pairs with the Acquire of whoever reads the log; behind it, every record is whole.
        self.slot(job).logged.store(records, Ordering::Release);
        Ok(())
    }

    /// Ends a batch, all of whose items have ended or were withdrawn.
    pub fn complete_batch(&mut self, job: &Job) {
        self.end_forked_child();
        let elapsed = clock::now().saturating_sub(job.started);
        self.slot(job).elapsed.store(elapsed, Ordering::Relaxed);
        self.done(job);
    }

    fn done(&mut self, job: &Job) {
        let from = match job.started {
            0 => Phase::Claimed,
            _ => Phase::Running,
        };
        self.search_on();
        self.set_state(job, from, Phase::Done);
        let lane = self.kind.lane(self.worker());
        self.seat.board.completion(lane).push(job.ticket);
        let ended = &self.entry().ended[self.kind as usize];
        ended.store(
            ended.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
        self.ring(false);
    }
}
