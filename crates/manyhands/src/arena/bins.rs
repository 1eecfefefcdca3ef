//! An index of free blocks by size, in constant time: two-level segregated lists.
//!
//! Sizes are counted in granules. Each power of two is divided into sixteen bins of equal
//! width, and bitmaps of the bins in use find the next larger one in two steps. After Masmano,
//! Ripoll, Crespo and Real, "TLSF: a New Dynamic Memory Allocator for Real-Time Systems",
//! ECRTS 2004; only the index is theirs, the blocks are kept by `free.rs`.

/// Stands for "no block".
pub(super) const NONE: u32 = u32::MAX;

/// Each power of two has 2^STEP_BITS bins.
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;
const CLASSES: usize = 64 - STEP_BITS as usize;

/// The place of one bin in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bin {
    class: usize,
    step: usize,
}

impl Bin {
    /// The bin that a block of so many granules belongs to: all its blocks are at least as
    /// large as its smallest, and smaller than the next bin's smallest.
    pub(super) fn of(granules: u64) -> Bin {
        debug_assert!(granules > 0);
        if granules < STEPS as u64 {
            return Bin {
                class: 0,
                step: granules as usize,
            };
        }
        let log = granules.ilog2();
        let step = (granules >> (log - STEP_BITS)) as usize & (STEPS - 1);
        Bin {
            class: (log - STEP_BITS) as usize + 1,
            step,
        }
    }
}

/// Heads of the lists, and which of them are not empty.
#[derive(Debug)]
pub(super) struct Bins {
    classes: u64,
    steps: [u16; CLASSES + 1],
    heads: Box<[[u32; STEPS]; CLASSES + 1]>,
}

impl Bins {
    pub(super) fn new() -> Bins {
        Bins {
            classes: 0,
            steps: [0; CLASSES + 1],
            heads: Box::new([[NONE; STEPS]; CLASSES + 1]),
        }
    }

    /// The first block in a bin, or [`NONE`].
    pub(super) fn head(&self, bin: Bin) -> u32 {
        self.heads[bin.class][bin.step]
    }

    /// Sets the first block in a bin; [`NONE`] marks the bin empty.
    pub(super) fn set_head(&mut self, bin: Bin, block: u32) {
        self.heads[bin.class][bin.step] = block;
        let bit = 1u16 << bin.step;
        if block == NONE {
            self.steps[bin.class] &= !bit;
            if self.steps[bin.class] == 0 {
                self.classes &= !(1 << bin.class);
            }
        } else {
            self.steps[bin.class] |= bit;
            self.classes |= 1 << bin.class;
        }
    }

    /// The next bin above this one that is not empty.
    pub(super) fn above(&self, bin: Bin) -> Option<Bin> {
        let steps = u32::from(self.steps[bin.class]) >> bin.step >> 1;
        if steps != 0 {
            let step = bin.step + 1 + steps.trailing_zeros() as usize;
            return Some(Bin {
                class: bin.class,
                step,
            });
        }
        let classes = self.classes.checked_shr(bin.class as u32 + 1).unwrap_or(0);
        if classes == 0 {
            return None;
        }
        let class = bin.class + 1 + classes.trailing_zeros() as usize;
        Some(Bin {
            class,
            step: self.steps[class].trailing_zeros() as usize,
        })
    }

    /// The bin of the largest blocks.
    pub(super) fn largest(&self) -> Option<Bin> {
        let class = self.classes.checked_ilog2()? as usize;
        Some(Bin {
            class,
            step: self.steps[class].ilog2() as usize,
        })
    }

    /// The next bin below this one that is not empty.
    pub(super) fn below(&self, bin: Bin) -> Option<Bin> {
        let steps = self.steps[bin.class] & ((1u16 << bin.step) - 1);
        if let Some(step) = steps.checked_ilog2() {
            return Some(Bin {
                class: bin.class,
                step: step as usize,
            });
        }
        let classes = self.classes & ((1u64 << bin.class) - 1);
        let class = classes.checked_ilog2()? as usize;
        Some(Bin {
            class,
            step: self.steps[class].ilog2() as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_sizes_never_fall_into_lower_bins() {
        let sizes = (0..40).flat_map(|log| [-1i64, 0, 1].map(|d| (1i64 << log) + d));
        let mut sizes: Vec<u64> = sizes
            .filter(|size| *size > 0)
            .map(|size| size as u64)
            .collect();
        sizes.extend(1..1000);
        sizes.sort_unstable();
        for pair in sizes.windows(2) {
            assert!(Bin::of(pair[0]) <= Bin::of(pair[1]), "{pair:?}");
        }
        assert_eq!(Bin::of(u64::MAX).class, CLASSES);
    }

    #[test]
    fn neighbours_in_use_are_found_up_and_down() {
        let mut bins = Bins::new();
        let used: Vec<Bin> = [3, 15, 16, 17, 900, 1 << 30].map(Bin::of).to_vec();
        for bin in &used {
            bins.set_head(*bin, 1);
        }
        assert_eq!(bins.largest(), used.last().copied());
        for pair in used.windows(2) {
            assert_eq!(bins.above(pair[0]), Some(pair[1]));
            assert_eq!(bins.below(pair[1]), Some(pair[0]));
        }
        assert_eq!(bins.above(used[5]), None);
        assert_eq!(bins.below(used[0]), None);
        for bin in used {
            bins.set_head(bin, NONE);
        }
        assert_eq!(bins.largest(), None);
        assert_eq!(bins.above(Bin::of(1)), None);
    }
}
