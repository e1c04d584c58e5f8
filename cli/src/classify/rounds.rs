//! Which rank classifies which images.

use std::ops::Range;

/// The images of a list in blocks that the ranks take in turn; a round is a block for each. Blocks
/// are the same for any number of ranks, and wherever a run is resumed.
pub(super) struct Rounds {
    begin: usize,
    all: usize,
    block: usize,
    ranks: usize,
}

impl Rounds {
    /// From image `begin` on.
    pub(super) fn new(begin: usize, all: usize, block: usize, ranks: usize) -> Self {
        Rounds { begin, all, block, ranks }
    }

    /// The block of this rank in each round, also where it is empty: every rank has as many.
    pub(super) fn of(&self, rank: usize) -> impl Iterator<Item = Range<usize>> {
        let &Rounds { begin, all, block, ranks } = self;
        let first = begin / block;
        let rounds = all.div_ceil(block).saturating_sub(first).div_ceil(ranks);
        (0..rounds).map(move |round| {
            let start = (first + round * ranks + rank) * block;
            start.clamp(begin, all.max(begin))..(start + block).clamp(begin, all.max(begin))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn each_image_once_in_order() {
        for (begin, all, block, ranks) in [
            (0, 0, 8, 2),
            (0, 20, 8, 1),
            (0, 20, 8, 2),
            (5, 20, 8, 4),
            (16, 33, 8, 3),
            (9, 9, 4, 2),
        ] {
            let rounds = Rounds::new(begin, all, block, ranks);
            let of: Vec<Vec<_>> = (0..ranks).map(|rank| rounds.of(rank).collect()).collect();
            let mut told = Vec::new();
            for round in 0..of[0].len() {
                told.extend(of.iter().flat_map(|blocks| blocks[round].clone()));
            }
            assert_eq!(told, (begin..all).collect::<Vec<_>>());
            let crosses = |b: &std::ops::Range<usize>| {
                !b.is_empty() && b.start / block != (b.end - 1) / block
            };
            assert!(!of.iter().flatten().any(crosses), "{of:?}");
        }
    }
}
