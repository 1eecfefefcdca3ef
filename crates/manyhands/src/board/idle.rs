//! Which lanes are busy, searching or asleep: two bits a lane, and the rule of whom to wake.
//!
//! Guarantee: no published task is left while a healthy lane sleeps. The argument, and what
//! covers lanes that are stopped or killed, is in `README.md`.

use super::ring::SubmissionRing;
use crate::sync::{AtomicU64, Ordering, fence};

/// Lanes in one word.
pub(crate) const LANES_PER_WORD: usize = 32;

const SEARCHING: u64 = 0b01;
const SLEEPING: u64 = 0b10;
const BOTH: u64 = 0b11;
const ALL_SEARCHING: u64 = 0x5555_5555_5555_5555;
const ALL_SLEEPING: u64 = ALL_SEARCHING << 1;

/// Where nobody sleeps who could be woken: how much work lies there, and how many search.
pub(crate) type Short = Option<(u64, u64)>;

/// The idle bits of all lanes of one kind, indexed by worker.
#[derive(Clone, Copy)]
pub(crate) struct IdleSet<'a> {
    words: &'a [AtomicU64],
}

impl<'a> IdleSet<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    fn place(&self, worker: usize) -> (&'a AtomicU64, u32) {
        (
            &self.words[worker / LANES_PER_WORD],
            (worker % LANES_PER_WORD) as u32 * 2,
        )
    }

    /// The lane looks for work and will look at the ring again before it sleeps.
    pub(crate) fn set_searching(&self, worker: usize) {
        let (word, shift) = self.place(worker);
        word.fetch_or(SEARCHING << shift, Ordering::SeqCst);
        word.fetch_and(!(SLEEPING << shift), Ordering::SeqCst);
    }

    /// The lane has work. The caller looks at the ring afterwards, to pass on what else is there.
    pub(crate) fn set_busy(&self, worker: usize) {
        let (word, shift) = self.place(worker);
        if word.load(Ordering::Relaxed) & (BOTH << shift) != 0 {
            word.fetch_and(!(BOTH << shift), Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
    }

    /// The lane is about to sleep. The caller looks at the ring once more afterwards.
    pub(crate) fn set_sleeping(&self, worker: usize) {
        let (word, shift) = self.place(worker);
        word.fetch_and(!(BOTH << shift), Ordering::SeqCst);
        word.fetch_or(SLEEPING << shift, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The lane found nothing to claim: may it sleep until its eventfd is written? If not, work
    /// has come or the pool closes, and the lane is SEARCHING.
    pub(crate) fn rest(
        &self,
        worker: usize,
        ring: SubmissionRing<'_>,
        closing: impl Fn() -> bool,
    ) -> bool {
        self.set_sleeping(worker);
        if ring.len() == 0 && !closing() {
            return true;
        }
        self.set_searching(worker);
        false
    }

    /// The lane has claimed, or takes none now: if more lies there than others look for, wakes
    /// one of them. Gives what is to be said to [`Hands`](super::hands::Hands), as `wake` does.
    pub(crate) fn pass_on(
        &self,
        worker: usize,
        ring: SubmissionRing<'_>,
        load: impl Fn(usize) -> u32,
        set: impl FnMut(usize),
    ) -> Short {
        self.set_busy(worker);
        match ring.len() {
            0 => None,
            _ => self.wake(|| ring.len(), 1, load, set),
        }
    }

    /// How many lanes search. Those that were woken and do not run yet count.
    pub(crate) fn searching(&self) -> u64 {
        let bits = |word: &AtomicU64| word.load(Ordering::Relaxed) & ALL_SEARCHING;
        self.words
            .iter()
            .map(|word| u64::from(bits(word).count_ones()))
            .sum()
    }

    /// How many lanes search or sleep.
    pub(crate) fn idle(&self) -> u64 {
        let bits = |word: &AtomicU64| {
            let bits = word.load(Ordering::Relaxed);
            (bits | bits >> 1) & ALL_SEARCHING
        };
        let words = self.words.iter();
        words.map(|word| u64::from(bits(word).count_ones())).sum()
    }

    /// Is any lane idle, searching or asleep?
    pub(crate) fn any_idle(&self) -> bool {
        self.words
            .iter()
            .any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// After work was published: picks the sleepers to wake so that as many lanes search as
    /// there is `work`, at most `limit`; `ring` writes a lane's eventfd. Among sleepers the one
    /// with the least `load` is taken. Where nobody sleeps any more who could be woken for it, tells
    /// how much work there is for how many.
    pub(crate) fn wake(
        &self,
        work: impl Fn() -> u64,
        limit: usize,
        load: impl Fn(usize) -> u32,
        mut ring: impl FnMut(usize),
    ) -> Short {
        fence(Ordering::SeqCst);
        for _ in 0..limit {
            let (work, searching) = (work(), self.searching());
            if work <= searching {
                return None;
            }
            match self.rouse(&load) {
                Some(worker) => ring(worker),
                None => return Some((work, searching)),
            }
        }
        None
    }

    /// Moves the least loaded sleeper to SEARCHING, whose eventfd the caller then writes.
    fn rouse(&self, load: &impl Fn(usize) -> u32) -> Option<usize> {
        loop {
            let mut best: Option<(u32, usize, u64)> = None;
            for (index, word) in self.words.iter().enumerate() {
                let bits = word.load(Ordering::Relaxed);
                let mut asleep = bits & ALL_SLEEPING;
                while asleep != 0 {
                    let worker = index * LANES_PER_WORD + asleep.trailing_zeros() as usize / 2;
                    let load = load(worker);
                    if best.is_none_or(|(least, ..)| load < least) {
                        best = Some((load, worker, bits));
                    }
                    asleep &= asleep - 1;
                }
            }
            let (_, worker, bits) = best?;
            let (word, shift) = self.place(worker);
            let roused = bits & !(SLEEPING << shift) | (SEARCHING << shift);
            if word
                .compare_exchange(bits, roused, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return Some(worker);
            }
        }
    }

    /// The watch, or recovery: rings every idle lane. One that was SEARCHING no longer counts as
    /// help, one that slept now does. Tells whether a sleeper was rung.
    pub(crate) fn ring_all(&self, mut ring: impl FnMut(usize)) -> bool {
        let mut roused = false;
        for (index, word) in self.words.iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            loop {
                let next = (bits & ALL_SLEEPING) >> 1;
                match word.compare_exchange(bits, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => bits = now,
                }
            }
            roused |= bits & ALL_SLEEPING != 0;
            let mut idle = (bits | bits >> 1) & ALL_SEARCHING;
            while idle != 0 {
                ring(index * LANES_PER_WORD + idle.trailing_zeros() as usize / 2);
                idle &= idle - 1;
            }
        }
        roused
    }
}
