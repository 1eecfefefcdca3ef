//! A slot's whole life: completion, reading and reuse; and recovery after a death at each step.

use loom::sync::Arc;
use loom::thread;

use super::super::ring::take;
use super::super::waiting::{Mode, Waiting};
use super::*;

/// The parent, as far as `process::desk` and a drainer go.
struct Parent<'a> {
    table: &'a Table,
    heads: Vec<u64>,
    /// By slot, as the shadow.
    generations: Vec<u32>,
    outcomes: Vec<Option<Outcome>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Value(u64),
    Died,
}

impl<'a> Parent<'a> {
    fn new(table: &'a Table) -> Self {
        Self {
            table,
            heads: vec![0; table.completions.len()],
            generations: vec![0; table.states.len()],
            outcomes: vec![None; table.states.len()],
        }
    }

    fn submit(&mut self, slot: u32, input: u64) {
        self.outcomes[slot as usize] = None;
        self.table.inputs[slot as usize].write(input);
        self.publish(slot);
    }

    fn publish(&self, slot: u32) {
        let generation = self.generations[slot as usize];
        self.table.publish(slot, generation).unwrap();
    }

    /// As `Desk::drain`.
    fn drain(&mut self) {
        for lane in 0..self.heads.len() {
            while let Some(ticket) = self.table.completion(lane).pop(&mut self.heads[lane]) {
                let generation = self.generations[ticket.slot as usize];
                assert_eq!(ticket.generation, generation);
                self.read(ticket.slot, lane);
            }
        }
    }

    /// As `Desk::take`.
    fn read(&mut self, slot: u32, lane: usize) {
        let generation = self.generations[slot as usize];
        let expected = SlotState::ready(generation).owned(Phase::Done, owner(lane));
        assert_eq!(self.table.state(slot), expected);
        let output = self.table.outputs[slot as usize].read();
        self.end(slot, Outcome::Value(output));
    }

    fn end(&mut self, slot: u32, outcome: Outcome) {
        let generation = &mut self.generations[slot as usize];
        *generation += 1;
        self.table.set_state(slot, SlotState::free(*generation));
        let before = self.outcomes[slot as usize].replace(outcome);
        assert_eq!(before, None, "slot {slot} has two outcomes");
    }

    /// A thread that waits, as `Shared::wait_as` without others.
    fn wait(&mut self) {
        loop {
            self.drain();
            if self.outcomes.iter().all(Option::is_some) {
                return;
            }
            Waiting(&self.table.waiting).arm(0, Mode::Eager);
            let more = |(lane, head): (usize, &u64)| self.table.completion(lane).has_more(*head);
            if !self.heads.iter().enumerate().any(more) {
                self.table.doorbell.wait();
            }
        }
    }

    /// As `Desk::recover` and `Supervisor::bury`, after lane 0 has ended.
    fn recover(&mut self) {
        self.drain();
        self.table.idle().set_busy(0);
        for slot in 0..self.generations.len() as u32 {
            let state = self.table.state(slot);
            if self.outcomes[slot as usize].is_some() || state.owner() != owner(0) {
                continue;
            }
            match state.phase() {
                Some(Phase::Done) => self.read(slot, 0),
                Some(Phase::Running) => self.end(slot, Outcome::Died),
                Some(Phase::Claimed) => {
                    self.generations[slot as usize] += 1;
                    self.publish(slot);
                    self.table.wake_lanes(1);
                }
                _ => {}
            }
        }
        if self.table.ring().len() > 0 {
            self.table
                .idle()
                .ring_all(|lane| self.table.bells[lane].set());
        }
    }
}

/// Runs a claimed task: RUNNING, output, DONE, push, ring.
fn run(lane: &mut Lane<'_>, ticket: Ticket) {
    let slot = ticket.slot as usize;
    lane.table.set_phase(ticket, Phase::Running, lane.lane);
    let input = lane.table.inputs[slot].read();
    lane.table.outputs[slot].write(input * 2);
    lane.done(ticket);
}

#[test]
fn loom_a_slot_is_reused_only_after_its_outcome_was_read() {
    check(2, || {
        let table = Arc::new(Table::new(1, 2, 1));
        let lane = {
            let table = table.clone();
            thread::spawn(move || {
                let mut lane = Lane::new(&table, 0);
                for _ in 0..2 {
                    let ticket = lane.next().unwrap();
                    run(&mut lane, ticket);
                }
            })
        };
        let mut parent = Parent::new(&table);
        for input in [3, 4] {
            parent.submit(0, input);
            table.wake_lanes(1);
            parent.wait();
            assert_eq!(parent.outcomes[0], Some(Outcome::Value(input * 2)));
        }
        lane.join().unwrap();
    });
}

/// The last step of a worker that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Last {
    Look,
    Take,
    Pass,
    Running,
    Output,
    Done,
    Push,
}

/// Claims one task and dies after `last`; gives the slot if user code ran.
fn die(table: &Table, last: Last) -> Option<u32> {
    let (head, ticket) = table.ring().first()?;
    let slot = ticket.slot as usize;
    if last < Last::Take || !take(&table.states[slot], ticket, owner(0)) || last < Last::Pass {
        return None;
    }
    table.ring().pass(head);
    if last < Last::Running {
        return None;
    }
    table.set_phase(ticket, Phase::Running, 0);
    if last >= Last::Output {
        let input = table.inputs[slot].read();
        table.outputs[slot].write(input * 2);
    }
    if last >= Last::Done {
        table.set_phase(ticket, Phase::Done, 0);
    }
    if last >= Last::Push {
        table.completion(0).push(ticket);
    }
    Some(ticket.slot)
}

#[test]
fn loom_every_task_has_one_outcome_whenever_a_worker_dies() {
    for last in [
        Last::Look,
        Last::Take,
        Last::Pass,
        Last::Running,
        Last::Output,
        Last::Done,
        Last::Push,
    ] {
        check(1, move || {
            let table = Arc::new(Table::new(1, 4, 2));
            let dying = {
                let table = table.clone();
                thread::spawn(move || die(&table, last))
            };
            let healthy = {
                let table = table.clone();
                thread::spawn(move || {
                    let mut lane = Lane::new(&table, 1);
                    let mut ran = Vec::new();
                    while let Some(ticket) = lane.next() {
                        run(&mut lane, ticket);
                        ran.push(ticket.slot);
                    }
                    ran
                })
            };
            let mut parent = Parent::new(&table);
            parent.submit(0, 3);
            table.wake_lanes(1);
            let killed = dying.join().unwrap();
            parent.recover();
            parent.wait();
            table.closing.swap(1, Ordering::SeqCst);
            table.bells[1].set();
            let mut ran = healthy.join().unwrap();
            ran.extend(killed);
            assert_eq!(ran, [0], "{last:?}");
            let lost = killed.is_some() && last < Last::Done;
            let expected = if lost {
                Outcome::Died
            } else {
                Outcome::Value(6)
            };
            assert_eq!(parent.outcomes[0], Some(expected), "{last:?}");
        });
    }
}
