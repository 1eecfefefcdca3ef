//! When the supervisor must look at a task: the deadlines of what runs, and the next look at what
//! has yet to begin.
//!
//! A lane does not tell the parent when it begins a task. But the tasks of one kind are claimed in
//! the order of their places in the submission ring. So the tasks with a timeout that have not
//! begun stand in a line by those places, and a look moves on from the front whatever has begun.
//! What begins after a look cannot be over its time before the shortest timeout in the line has
//! passed since; that is when the next look is due.
//!
//! Guarantees: a deadline is missed by no more than [`GRAIN`]; with no timeout and no wish under way
//! there is nothing to wake up for. All times are nanoseconds of [`crate::sys::clock`].

use std::collections::{BTreeMap, BTreeSet};

use crate::board::Kind;

/// The least time between two looks at a line, however short the timeouts are.
pub(super) const GRAIN: u64 = 1_000_000;

/// Later than any deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// Where a slot is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Entry {
    #[default]
    Nowhere,
    /// In the line of what has yet to begin.
    Line {
        kind: Kind,
        position: u64,
        timeout: u64,
    },
    /// To be looked at then.
    Due(u64),
}

/// Tasks of one kind with a timeout, that have not begun as far as is known.
#[derive(Default)]
struct Line {
    /// Slots by their places in the submission ring.
    slots: BTreeMap<u64, u32>,
    /// How many of them have each timeout.
    timeouts: BTreeMap<u64, usize>,
    /// When the next look is due; means nothing while the line is empty.
    look: u64,
}

impl Line {
    fn next(&self) -> u64 {
        match self.slots.is_empty() {
            true => NEVER,
            false => self.look,
        }
    }
}

/// See the module's documentation.
pub(super) struct Deadlines {
    lines: [Line; 2],
    due: BTreeSet<(u64, u32)>,
    /// When the supervisor will look, of itself or because it was told to.
    alarm: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            lines: Default::default(),
            due: BTreeSet::new(),
            alarm: NEVER,
        }
    }
}

impl Deadlines {
    /// A slot waits to be claimed, at this place of its ring.
    pub(super) fn wait(
        &mut self,
        kind: Kind,
        position: u64,
        slot: u32,
        timeout: u64,
        now: impl FnOnce() -> u64,
    ) -> Entry {
        let line = &mut self.lines[kind as usize];
        let shortest = line.timeouts.first_key_value().map(|(timeout, _)| *timeout);
        if shortest.is_none_or(|shortest| timeout < shortest) {
            let look = now().saturating_add(timeout.max(GRAIN));
            line.look = look.min(line.next());
        }
        line.slots.insert(position, slot);
        *line.timeouts.entry(timeout).or_default() += 1;
        Entry::Line {
            kind,
            position,
            timeout,
        }
    }

    /// A slot is to be looked at, at this time.
    pub(super) fn at(&mut self, slot: u32, time: u64) -> Entry {
        self.due.insert((time, slot));
        Entry::Due(time)
    }

    /// A slot need not be looked at any more.
    pub(super) fn forget(&mut self, slot: u32, entry: Entry) {
        match entry {
            Entry::Nowhere => {}
            Entry::Line {
                kind,
                position,
                timeout,
            } => {
                let line = &mut self.lines[kind as usize];
                line.slots.remove(&position);
                if let Some(count) = line.timeouts.get_mut(&timeout) {
                    *count -= 1;
                    if *count == 0 {
                        line.timeouts.remove(&timeout);
                    }
                }
            }
            Entry::Due(time) => {
                self.due.remove(&(time, slot));
            }
        }
    }

    /// Nothing is left to be looked at.
    pub(super) fn clear(&mut self) {
        self.lines = Default::default();
        self.due.clear();
    }

    /// When the next look is due; [`NEVER`] if none is.
    pub(super) fn next(&self) -> u64 {
        let due = self.due.first().map_or(NEVER, |(time, _)| *time);
        due.min(self.lines[0].next()).min(self.lines[1].next())
    }

    /// The first of the line, if a look at it is due. Those that have begun are to be forgotten,
    /// and then [`Deadlines::looked`] is to be called.
    pub(super) fn first(&self, kind: Kind, now: u64) -> Option<u32> {
        let line = &self.lines[kind as usize];
        let first = line.slots.first_key_value();
        first.filter(|_| line.look <= now).map(|(_, slot)| *slot)
    }

    /// The first of the line has not begun.
    pub(super) fn looked(&mut self, kind: Kind, now: u64) {
        let line = &mut self.lines[kind as usize];
        if let Some((shortest, _)) = line.timeouts.first_key_value() {
            line.look = now.saturating_add((*shortest).max(GRAIN));
        }
    }

    /// Takes a slot whose time has come.
    pub(super) fn pop(&mut self, now: u64) -> Option<u32> {
        let (time, _) = self.due.first()?;
        match *time <= now {
            true => self.due.pop_first().map(|(_, slot)| slot),
            false => None,
        }
    }

    /// The supervisor is going to sleep until then.
    pub(super) fn sleep(&mut self) -> Option<u64> {
        self.alarm = self.next();
        (self.alarm != NEVER).then_some(self.alarm)
    }

    /// Must the supervisor be told that it sleeps too long? True once for each such moment.
    pub(super) fn is_nearer(&mut self) -> bool {
        let next = self.next();
        let nearer = next < self.alarm;
        if nearer {
            self.alarm = next;
        }
        nearer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn nothing_is_due_where_nothing_has_a_limit() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.sleep(), None);
        let line = deadlines.wait(Kind::Function, 0, 7, 5 * MS, || 0);
        let due = deadlines.at(8, 9 * MS);
        assert!(deadlines.is_nearer());
        assert!(!deadlines.is_nearer(), "told already");
        deadlines.forget(7, line);
        deadlines.forget(8, due);
        assert_eq!(deadlines.sleep(), None);
    }

    #[test]
    fn a_line_is_looked_at_after_its_shortest_timeout_and_no_sooner() {
        let mut deadlines = Deadlines::default();
        deadlines.wait(Kind::Function, 0, 0, 50 * MS, || 0);
        assert_eq!(deadlines.next(), 50 * MS);
        let short = deadlines.wait(Kind::Function, 1, 1, 5 * MS, || MS);
        assert_eq!(deadlines.next(), 6 * MS);
        deadlines.wait(Kind::Function, 2, 2, 20 * MS, || unreachable!());
        assert_eq!(deadlines.first(Kind::Function, 5 * MS), None);
        assert_eq!(deadlines.first(Kind::Function, 6 * MS), Some(0));
        assert_eq!(deadlines.first(Kind::Coroutine, 6 * MS), None);
        deadlines.looked(Kind::Function, 6 * MS);
        assert_eq!(deadlines.next(), 11 * MS);
        deadlines.forget(1, short);
        deadlines.looked(Kind::Function, 11 * MS);
        assert_eq!(deadlines.next(), 31 * MS);
    }

    #[test]
    fn timeouts_of_no_time_do_not_make_it_spin() {
        let mut deadlines = Deadlines::default();
        deadlines.wait(Kind::Coroutine, 0, 0, 0, || 0);
        assert_eq!(deadlines.next(), GRAIN);
        deadlines.looked(Kind::Coroutine, GRAIN);
        assert_eq!(deadlines.next(), 2 * GRAIN);
    }

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let mut deadlines = Deadlines::default();
        for (slot, time) in [(1, 30), (2, 10), (3, 20), (4, NEVER)] {
            deadlines.at(slot, time);
        }
        assert_eq!(deadlines.pop(9), None);
        assert_eq!(deadlines.pop(25), Some(2));
        assert_eq!(deadlines.pop(25), Some(3));
        assert_eq!(deadlines.pop(25), None);
        assert_eq!(deadlines.next(), 30);
    }
}
