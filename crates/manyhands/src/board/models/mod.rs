//! Models of the protocol for the loom checker, which runs them in every order of their steps up
//! to a number of preemptions, with every value that the memory model lets a load see.
//!
//! A process that is stopped or killed is a thread that ends between two steps. An eventfd is a
//! [`Bell`]. A wake-up that is lost shows as a deadlock, which fails the model.

mod claim;
mod demand;
mod handover;
mod life;
mod parent;
mod sleep;
mod stop;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};

use super::idle::IdleSet;
use super::ring::{CompletionRing, Full, RingEnds, SubmissionRing};
use super::state::{Owner, Phase, SlotState, Ticket};
use super::waiting::Ringer;
use crate::sync::{AtomicU64, Ordering};

/// Runs a model with as many preemptions as it takes to find the mistakes that it is there for;
/// `LOOM_MAX_PREEMPTIONS` asks for more.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// An eventfd with one sleeper.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn set(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Sleeps until it is set, and clears it.
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// Memory that is no atomic: loom fails a model in which two threads use it without order.
struct Payload(UnsafeCell<u64>);

impl Payload {
    fn read(&self) -> u64 {
        // SAFETY: loom fails the model if a store to the cell may run at the same time.
        self.0.with(|pointer| unsafe { *pointer })
    }

    fn write(&self, value: u64) {
        // SAFETY: loom fails the model if any other access may run at the same time.
        self.0.with_mut(|pointer| unsafe { *pointer = value });
    }
}

/// A board with lanes of one kind.
struct Table {
    ends: RingEnds,
    cells: Vec<AtomicU64>,
    states: Vec<AtomicU64>,
    inputs: Vec<Payload>,
    outputs: Vec<Payload>,
    idle: Vec<AtomicU64>,
    bells: Vec<Bell>,
    completions: Vec<(RingEnds, Vec<AtomicU64>)>,
    waiting: AtomicU64,
    doorbell: Bell,
    closing: AtomicU64,
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn owner(lane: usize) -> Owner {
    Owner {
        lane: lane as u16,
        epoch: 1,
    }
}

impl Table {
    fn new(slots: usize, cells: usize, lanes: usize) -> Self {
        let payloads = || (0..slots).map(|_| Payload(UnsafeCell::new(0))).collect();
        Self {
            ends: RingEnds::new(),
            cells: words(cells),
            states: words(slots),
            inputs: payloads(),
            outputs: payloads(),
            idle: words(1),
            bells: (0..lanes).map(|_| Bell::default()).collect(),
            completions: (0..lanes)
                .map(|_| (RingEnds::new(), words(slots)))
                .collect(),
            waiting: AtomicU64::new(0),
            doorbell: Bell::default(),
            closing: AtomicU64::new(0),
        }
    }

    fn ring(&self) -> SubmissionRing<'_> {
        SubmissionRing::new(&self.ends, &self.cells)
    }

    fn idle(&self) -> IdleSet<'_> {
        IdleSet::new(&self.idle)
    }

    fn completion(&self, lane: usize) -> CompletionRing<'_> {
        let (ends, cells) = &self.completions[lane];
        CompletionRing::new(ends, cells)
    }

    fn state(&self, slot: u32) -> SlotState {
        SlotState::from_bits(self.states[slot as usize].load(Ordering::Acquire))
    }

    fn set_state(&self, slot: u32, state: SlotState) {
        self.states[slot as usize].store(state.to_bits(), Ordering::Release);
    }

    fn set_phase(&self, ticket: Ticket, phase: Phase, lane: usize) {
        let state = SlotState::ready(ticket.generation).owned(phase, owner(lane));
        self.set_state(ticket.slot, state);
    }

    /// The parent: a slot becomes READY and is published; nobody is woken.
    fn publish(&self, slot: u32, generation: u32) -> Result<(), Full> {
        self.set_state(slot, SlotState::ready(generation));
        let ticket = Ticket { slot, generation };
        self.ring()
            .publish(ticket, |slot| self.states.get(slot as usize))
    }

    fn claim(&self, lane: usize) -> Option<Ticket> {
        self.ring()
            .claim(owner(lane), |slot| self.states.get(slot as usize))
    }

    /// The parent, as `Shared::wake_lanes`.
    fn wake_lanes(&self, published: usize) {
        let ring = self.ring();
        let set = |lane: usize| self.bells[lane].set();
        let _short = self.idle().wake(|| ring.len(), published, |_| 0, set);
    }
}

/// As `process::Lane`, which differs in where its parts lie.
struct Lane<'a> {
    table: &'a Table,
    lane: usize,
    idle: bool,
    ringer: Ringer,
}

impl<'a> Lane<'a> {
    fn new(table: &'a Table, lane: usize) -> Self {
        Self {
            table,
            lane,
            idle: true,
            ringer: Ringer::default(),
        }
    }

    /// As `Lane::next`, without spinning; `None` when the pool closes.
    fn next(&mut self) -> Option<Ticket> {
        let table = self.table;
        loop {
            if let Some(ticket) = table.claim(self.lane) {
                self.busy();
                return Some(ticket);
            }
            let closing = || table.closing.load(Ordering::SeqCst) != 0;
            if closing() {
                return None;
            }
            self.ring(true);
            self.idle = true;
            if table.idle().rest(self.lane, table.ring(), closing) {
                table.bells[self.lane].wait();
                table.idle().set_searching(self.lane);
            }
        }
    }

    fn busy(&mut self) {
        if std::mem::take(&mut self.idle) {
            let set = |lane: usize| self.table.bells[lane].set();
            let _short = self
                .table
                .idle()
                .pass_on(self.lane, self.table.ring(), |_| 0, set);
        }
    }

    /// As `Lane::done`.
    fn done(&mut self, ticket: Ticket) {
        self.table.set_phase(ticket, Phase::Done, self.lane);
        self.table.completion(self.lane).push(ticket);
        self.ring(false);
    }

    fn ring(&mut self, idle: bool) {
        if self.ringer.due(&self.table.waiting, idle).is_some() {
            self.table.doorbell.set();
        }
    }
}
