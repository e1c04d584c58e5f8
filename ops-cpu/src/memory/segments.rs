//! Large blocks: cut from segments of the system's memory, and joined again when they come back.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use super::allocation::Allocation;

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: NonNull<u8>,
    pub(super) size: usize,
}

// SAFETY: a range is lent to one owner at a time, and its segment may be freed by any thread.
unsafe impl Send for Range {}
// SAFETY: `&Range` gives only an address; reads go through the memory that borrows it.
unsafe impl Sync for Range {}

impl Range {
    fn at(&self) -> usize {
        self.start.as_ptr().addr()
    }
}

/// Memory of the system in segments. A training step needs a gradient as large as a layer's weights
/// for a moment, and many small ones before and after: these are cut out of the same memory.
#[derive(Default)]
pub(super) struct Segments {
    /// By address.
    all: BTreeMap<usize, Allocation>,
    /// Free ranges by address. No two touch within a segment.
    free: BTreeMap<usize, Range>,
    /// Their sizes and addresses.
    by_size: BTreeSet<(usize, usize)>,
}

impl Segments {
    /// The smallest free range that is large enough, cut to size; of equal ones the first. None
    /// where there is none.
    pub(super) fn take(&mut self, size: usize) -> Option<Range> {
        let &(_, at) = self.by_size.range((size, 0)..).next()?;
        let range = self.remove(at)?;
        if range.size > size {
            // SAFETY: inside of the range, and so of its segment.
            let start = unsafe { range.start.add(size) };
            self.insert(Range { start, size: range.size - size });
        }
        Some(Range { size, ..range })
    }

    /// Takes over a segment, all of which is lent.
    pub(super) fn add(&mut self, segment: Allocation) -> Range {
        let range = Range { start: segment.start(), size: segment.size() };
        self.all.insert(range.at(), segment);
        range
    }

    /// A lent range comes back, and is joined with the free ones on both sides.
    pub(super) fn give(&mut self, range: Range) {
        let Some((&first, segment)) = self.all.range(..=range.at()).next_back() else { return };
        let end = first + segment.size();
        let mut joined = range;
        let before = self.free.range(first..range.at()).next_back().map(|(_, &before)| before);
        if let Some(before) = before.filter(|before| before.at() + before.size == range.at()) {
            self.remove(before.at());
            joined = Range { start: before.start, size: before.size + joined.size };
        }
        let after = range.at() + range.size;
        if let Some(after) = (after < end).then(|| self.remove(after)).flatten() {
            joined.size += after.size;
        }
        self.insert(joined);
    }

    /// Takes out wholly free segments of so many bytes in all, or as many as there are: the one that
    /// fits best first, so that few are given up and little more than must be. Who drops them frees
    /// them.
    pub(super) fn release(&mut self, mut bytes: usize) -> Vec<Allocation> {
        let mut released = Vec::new();
        while bytes > 0 {
            let whole = |&&(size, at): &&(usize, usize)| {
                self.all.get(&at).is_some_and(|segment| segment.size() == size)
            };
            let enough = self.by_size.range((bytes, 0)..).find(whole);
            let largest = || self.by_size.range(..(bytes, 0)).rev().find(whole);
            let Some(&(size, at)) = enough.or_else(largest) else { break };
            self.remove(at);
            released.extend(self.all.remove(&at));
            bytes = bytes.saturating_sub(size);
        }
        released
    }

    fn insert(&mut self, range: Range) {
        self.by_size.insert((range.size, range.at()));
        self.free.insert(range.at(), range);
    }

    fn remove(&mut self, at: usize) -> Option<Range> {
        let range = self.free.remove(&at)?;
        self.by_size.remove(&(range.size, at));
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(size: usize) -> Allocation {
        Allocation::zeroed(size).unwrap()
    }

    #[test]
    fn ranges_are_cut_and_joined() {
        let mut segments = Segments::default();
        let whole = segments.add(segment(4096));
        assert_eq!(segments.take(64), None, "all of it is lent");
        segments.give(whole);
        let parts: Vec<Range> = (0..4).map(|_| segments.take(1024).unwrap()).collect();
        assert!(segments.take(64).is_none());
        for i in [0, 2, 1, 3] {
            segments.give(parts[i]);
        }
        assert_eq!(segments.take(4096), Some(whole), "one range again");
    }

    #[test]
    fn the_range_that_fits_best_is_taken() {
        let mut segments = Segments::default();
        let [large, fitting] = [8192, 2048].map(|size| segments.add(segment(size)));
        segments.give(large);
        segments.give(fitting);
        assert_eq!(segments.take(2048), Some(fitting));
    }

    #[test]
    fn segments_in_use_are_not_released() {
        let mut segments = Segments::default();
        let sizes = [1024, 2048, 4096, 8192];
        let ranges = sizes.map(|size| segments.add(segment(size)));
        ranges[..3].iter().for_each(|&range| segments.give(range));
        let used = segments.take(64).unwrap();
        assert_eq!(used.start, ranges[0].start);
        let released: Vec<usize> = segments.release(2000).iter().map(Allocation::size).collect();
        assert_eq!(released, [2048], "the smallest that is enough");
        let released: Vec<usize> =
            segments.release(usize::MAX).iter().map(Allocation::size).collect();
        assert_eq!(released, [4096], "all that can be");
        segments.give(used);
        assert_eq!(segments.take(1024), Some(ranges[0]));
    }

    proptest! {
        /// Whatever is taken and given back in whatever order: ranges in use never overlap, and in the
        /// end there is one free range a segment.
        #[test]
        fn ranges_in_use_do_not_overlap(steps in prop::collection::vec((1usize..40, any::<prop::sample::Index>(), any::<bool>()), 1..80)) {
            let mut segments = Segments::default();
            let mut used: Vec<Range> = Vec::new();
            let mut added = 0;
            for (size, which, take) in steps {
                if take || used.is_empty() {
                    let size = 64 * size;
                    let range = segments.take(size).unwrap_or_else(|| {
                        added += 1;
                        segments.add(segment(size))
                    });
                    prop_assert_eq!(range.size, size);
                    let apart = |other: &Range| {
                        range.at() + range.size <= other.at() || other.at() + other.size <= range.at()
                    };
                    prop_assert!(used.iter().all(apart));
                    used.push(range);
                } else {
                    segments.give(used.swap_remove(which.index(used.len())));
                }
            }
            used.into_iter().for_each(|range| segments.give(range));
            prop_assert_eq!(segments.free.len(), added);
            prop_assert_eq!(segments.release(usize::MAX).len(), added);
            prop_assert!(segments.by_size.is_empty() && segments.all.is_empty());
        }
    }
}
