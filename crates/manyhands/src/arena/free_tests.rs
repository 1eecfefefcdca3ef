//! The free space against a model that is too simple to be wrong: what every page's granules
//! are, in an array.

use super::*;
use proptest::prelude::*;

const PAGE: u64 = 256;
const CAPACITY: u64 = 64 * PAGE;

impl FreeSpace {
    /// Walks all blocks and asserts everything that `free.rs` promises.
    fn check(&self) -> Vec<(u64, u64, Option<Temperature>)> {
        let taken = |state| match state {
            State::Vacant => panic!("a vacant record is linked"),
            State::Taken => None,
            State::Free(temperature) => Some(temperature),
        };
        let live: Vec<usize> = (0..self.blocks.len())
            .filter(|i| self.blocks[*i].state != State::Vacant)
            .collect();
        let first = live
            .iter()
            .copied()
            .find(|i| self.blocks[*i].before == NONE)
            .unwrap();
        let mut found = Vec::new();
        let (mut index, mut end, mut before) = (first as u32, 0, NONE);
        while index != NONE {
            let block = &self.blocks[index as usize];
            assert_eq!(block.start, end, "gap or overlap");
            assert_eq!(block.before, before);
            assert!(block.len > 0 && block.len.is_multiple_of(GRANULE));
            let state = taken(block.state);
            if state == Some(Cold) {
                assert!(
                    block.start.is_multiple_of(self.page) && block.len.is_multiple_of(self.page)
                );
            }
            if let Some((_, _, Some(neighbour))) = found.last() {
                assert_ne!(state, Some(*neighbour), "neighbours were not merged");
            }
            found.push((block.start, block.len, state));
            (before, end, index) = (index, block.start + block.len, block.after);
        }
        assert_eq!(end, CAPACITY);
        assert_eq!(found.len(), live.len(), "a record leaked");
        for temperature in [Warm, Cold] {
            let free = found
                .iter()
                .filter(|(_, _, state)| *state == Some(temperature));
            let (count, bytes) = free.fold((0, 0), |(n, sum), (_, len, _)| (n + 1, sum + len));
            assert_eq!(self.bytes(temperature), bytes);
            assert_eq!(
                self.binned(temperature),
                count,
                "a free block is in no bin, or in two"
            );
        }
        found
    }

    /// How many blocks the bins of a temperature hold, each in its own bin.
    fn binned(&self, temperature: Temperature) -> usize {
        let bins = &self.bins[temperature as usize];
        let mut count = 0;
        let mut bin = bins.largest();
        while let Some(current) = bin {
            let (mut index, mut before) = (bins.head(current), NONE);
            assert_ne!(index, NONE, "an empty bin is marked as used");
            while index != NONE {
                let block = &self.blocks[index as usize];
                assert_eq!(block.state, State::Free(temperature));
                assert_eq!(Bin::of(block.len / GRANULE), current);
                assert_eq!(block.bin_before, before);
                (before, index) = (index, block.bin_next);
                count += 1;
            }
            bin = bins.below(current);
        }
        count
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Granules, and whether it wants whole pages.
    TakeWarm(u64, bool),
    /// Pages.
    TakeCold(u64),
    /// Which of the taken blocks, and whether its pages are gone if that is possible.
    GiveBack(usize, bool),
    /// Bytes.
    Surplus(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u64..40, any::<bool>()).prop_map(|(n, pages)| Step::TakeWarm(n, pages)),
        2 => (1u64..20).prop_map(Step::TakeCold),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(n, cold)| Step::GiveBack(n, cold)),
        1 => (0u64..10 * PAGE).prop_map(Step::Surplus),
    ];
    prop::collection::vec(step, 1..200)
}

/// The longest run of a temperature in the model that starts at a multiple of `align`.
fn longest(model: &[Option<Temperature>], temperature: Temperature, align: u64) -> u64 {
    let step = (align / GRANULE) as usize;
    let run = |from: usize| {
        model[from..]
            .iter()
            .take_while(|state| **state == Some(temperature))
            .count() as u64
    };
    (0..model.len()).step_by(step).map(run).max().unwrap_or(0) * GRANULE
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn free_space_agrees_with_an_array_of_granules(steps in steps()) {
        let mut space = FreeSpace::new(CAPACITY, PAGE);
        let mut model = vec![Some(Cold); (CAPACITY / GRANULE) as usize];
        let mut taken: Vec<BlockId> = Vec::new();
        for step in steps {
            let block = match step {
                Step::TakeWarm(granules, pages) => {
                    let align = if pages { PAGE } else { GRANULE };
                    let len = (granules * GRANULE).next_multiple_of(align);
                    let block = space.take(Warm, len, align, Effort::Exhaustive);
                    prop_assert_eq!(block.is_some(), longest(&model, Warm, align) >= len);
                    block.map(|block| (block, len, align, Warm))
                }
                Step::TakeCold(pages) => {
                    let len = pages * PAGE;
                    let block = space.take(Cold, len, PAGE, Effort::Exhaustive);
                    prop_assert_eq!(block.is_some(), longest(&model, Cold, PAGE) >= len);
                    block.map(|block| (block, len, PAGE, Cold))
                }
                Step::Surplus(most) => {
                    let block = space.take_surplus(most, Effort::Exhaustive);
                    let pages = longest(&model, Warm, PAGE) / PAGE;
                    prop_assert_eq!(block.is_some(), pages > 0);
                    if let Some(block) = block {
                        let (start, len) = space.extent(&block);
                        prop_assert!(start.is_multiple_of(PAGE) && len.is_multiple_of(PAGE) && len > 0);
                        prop_assert!(len <= most.next_multiple_of(PAGE).max(PAGE));
                        let range = (start / GRANULE) as usize..((start + len) / GRANULE) as usize;
                        prop_assert!(model[range.clone()].iter().all(|s| *s == Some(Warm)));
                        model[range].fill(Some(Cold));
                        space.give_back(block, Cold);
                    }
                    None
                }
                Step::GiveBack(which, cold) => {
                    if !taken.is_empty() {
                        let block = taken.swap_remove(which % taken.len());
                        let (start, len) = space.extent(&block);
                        let cold = cold && start.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
                        let temperature = if cold { Cold } else { Warm };
                        let range = (start / GRANULE) as usize..((start + len) / GRANULE) as usize;
                        prop_assert!(model[range.clone()].iter().all(Option::is_none));
                        model[range].fill(Some(temperature));
                        space.give_back(block, temperature);
                    }
                    None
                }
            };
            if let Some((block, len, align, from)) = block {
                let (start, extent) = space.extent(&block);
                prop_assert_eq!(extent, len);
                prop_assert_eq!(start % align, 0);
                let range = (start / GRANULE) as usize..((start + len) / GRANULE) as usize;
                prop_assert!(model[range.clone()].iter().all(|state| *state == Some(from)));
                model[range].fill(None);
                taken.push(block);
            }
            for (start, len, state) in space.check() {
                let range = (start / GRANULE) as usize..((start + len) / GRANULE) as usize;
                prop_assert!(model[range].iter().all(|granule| *granule == state));
            }
        }
        for block in taken {
            space.give_back(block, Warm);
        }
        while let Some(block) = space.take_surplus(u64::MAX, Effort::Exhaustive) {
            space.give_back(block, Cold);
        }
        prop_assert_eq!(space.check(), vec![(0, CAPACITY, Some(Cold))]);
    }

    #[test]
    fn a_quick_look_misses_nothing_that_is_an_eighth_larger(
        sizes in prop::collection::vec(1u64..60, 1..40),
        wanted in 1u64..60,
    ) {
        // Warm blocks of these sizes, kept apart by taken granules.
        let mut space = FreeSpace::new(CAPACITY, PAGE);
        let all = space.take(Cold, CAPACITY, PAGE, Effort::Quick).unwrap();
        space.give_back(all, Warm);
        let (mut free, mut between) = (Vec::new(), Vec::new());
        for size in sizes {
            let block = space.take(Warm, size * GRANULE, GRANULE, Effort::Exhaustive);
            let wall = space.take(Warm, GRANULE, GRANULE, Effort::Exhaustive);
            free.extend(block);
            between.extend(wall);
        }
        let rest = space.bytes(Warm);
        if rest > 0 {
            between.extend(space.take(Warm, rest, GRANULE, Effort::Exhaustive));
        }
        for block in free {
            space.give_back(block, Warm);
        }
        let largest = space.check().iter().filter(|b| b.2 == Some(Warm)).map(|b| b.1).max();
        let found = space.take(Warm, wanted * GRANULE, GRANULE, Effort::Quick);
        if largest.unwrap_or(0) >= wanted * GRANULE * 9 / 8 {
            prop_assert!(found.is_some());
        }
        space.check();
    }
}
