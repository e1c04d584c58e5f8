//! Tiles by class of adapter.

use striate_tensor::DeviceKind;

/// What kernels are chosen for: adapters with much the same balance of registers, workgroup memory
/// and arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// NVIDIA's, AMD's and Intel's cards.
    Discrete,
    /// GPUs that share a processor's memory.
    Integrated,
    /// Apple's.
    Apple,
    /// Drivers that run shaders on the processor.
    Software,
    /// The GPU tile at this place of the table, however small a product is: for tests.
    Tile(usize),
    /// No tiles: an invocation an element, everywhere. To compare with.
    Simple,
}

/// A tile of `tiled.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Invocations across the columns and down the rows.
    pub(super) across: usize,
    pub(super) down: usize,
    /// 8 rows (columns) an invocation, not 4.
    pub(super) tall: bool,
    pub(super) wide: bool,
}

impl Tile {
    pub(crate) fn rows(&self) -> usize {
        self.down * if self.tall { 8 } else { 4 }
    }

    pub(crate) fn cols(&self) -> usize {
        self.across * if self.wide { 8 } else { 4 }
    }
}

/// 128 rows by 64 columns, 8 x 8 an invocation, 128 invocations, 14 KiB: the fewest reads of global
/// memory (21 flops a byte), for products that fill a card all the same.
const LARGE: Tile = Tile { across: 8, down: 16, tall: true, wide: true };
/// 64 by 64, 8 x 8 an invocation, 64 invocations, 9 KiB.
const SQUARE: Tile = Tile { across: 8, down: 8, tall: true, wide: true };
/// 64 by 32, 8 x 4 an invocation, 64 invocations, 7 KiB: half of the registers.
const NARROW: Tile = Tile { across: 8, down: 8, tall: true, wide: false };
/// 32 by 32, 4 x 4 an invocation, 64 invocations, 4.5 KiB: four times the workgroups of `SQUARE`.
const SMALL: Tile = Tile { across: 8, down: 8, tall: false, wide: false };

/// All of them.
pub(crate) const TILES: [Tile; 4] = [LARGE, SQUARE, NARROW, SMALL];
const FORCED: &[(Tile, usize)] = &[(LARGE, 0), (SQUARE, 0), (NARROW, 0), (SMALL, 0)];

/// The tiles of a class, the largest first, each with the workgroups that it takes for all units of
/// the adapter to have work; the last one is for all else.
fn row(class: Class) -> &'static [(Tile, usize)] {
    match class {
        // Some 20 to 170 units, each of which wants two or more workgroups to hide the memory behind:
        // a larger tile than their number allows leaves units idle.
        Class::Discrete => &[(LARGE, 512), (SQUARE, 256), (NARROW, 128), (SMALL, 0)],
        // Few units and little bandwidth, shared with the processor; 128 registers an invocation at
        // full occupancy on Intel's, so that 64 sums and the operands just fit.
        Class::Integrated => &[(SQUARE, 64), (NARROW, 32), (SMALL, 0)],
        // A family of 8 to 80 cores with large register files, whose compiler spills beyond about 100
        // registers at full occupancy: 8 x 4 is what leaves room for addresses.
        Class::Apple => &[(NARROW, 32), (SMALL, 0)],
        Class::Tile(place) => FORCED.get(place).map_or(&[], std::slice::from_ref),
        Class::Software | Class::Simple => &[],
    }
}

/// The tiles that products of a class of adapters are computed by.
pub(crate) fn tiles(class: Class) -> Vec<Tile> {
    row(class).iter().map(|(tile, _)| *tile).collect()
}

/// The tile for a product, or none where workgroup memory is no help.
pub(crate) fn tile(class: Class, m: usize, n: usize, batch: usize) -> Option<Tile> {
    let groups = |tile: &Tile| m.div_ceil(tile.rows()) * n.div_ceil(tile.cols()) * batch;
    let fits = row(class).iter().find(|(tile, least)| groups(tile) >= *least);
    fits.map(|(tile, _)| *tile)
}

/// The class of an adapter.
pub(crate) fn class_of(kind: DeviceKind, info: &wgpu::AdapterInfo) -> Class {
    match kind {
        DeviceKind::SoftwareGpu => Class::Software,
        _ if info.backend == wgpu::Backend::Metal => Class::Apple,
        DeviceKind::IntegratedGpu => Class::Integrated,
        _ => Class::Discrete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_into_default_limits() {
        for tile in TILES {
            assert!(tile.across * tile.down <= 256);
            // 16 steps of both operands, and 16 bytes a row for its window.
            let bytes = 16 * 4 * (tile.rows() + tile.cols()) + 16 * tile.rows();
            assert!(bytes <= 16 << 10, "{tile:?}: {bytes}");
        }
    }

    /// Banks of workgroup memory, in vectors of four floats: 32 banks of 4 bytes.
    const BANKS: usize = 8;

    /// The most places of one bank that eight invocations access at once.
    fn meet(places: impl Iterator<Item = usize>) -> usize {
        let mut banks = vec![Vec::new(); BANKS];
        for place in places {
            let bank: &mut Vec<usize> = &mut banks[place % BANKS];
            if !bank.contains(&place) {
                bank.push(place);
            }
        }
        banks.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// What `tiled.wgsl` accesses, with places turned as there, or not.
    #[test]
    fn invocations_of_a_tile_meet_in_no_bank() {
        let turned = |step: usize| step / 4 * 2;
        for tile in TILES {
            for vectors in [tile.rows() / 4, tile.cols() / 4] {
                let most = |turn: fn(usize) -> usize, from: fn(usize, usize) -> [usize; 2]| {
                    let place = |i: usize| {
                        let [step, four] = from(i, vectors);
                        step * vectors + (four ^ turn(step))
                    };
                    let eights = (0..4 * vectors).step_by(8);
                    eights.map(|first| meet((first..first + 8).map(place))).max()
                };
                // Stores of what was loaded along the depth, and across it.
                let along = |i, _| [i % 4 * 4, i / 4];
                let across = |i, vectors| [i / vectors * 4, i % vectors];
                assert_eq!(most(|_| 0, along), Some(4), "{tile:?}");
                assert_eq!(most(turned, along), Some(1), "{tile:?}");
                assert_eq!(most(turned, across), Some(1), "{tile:?}");
                // Loads of a step: the vectors of a row of invocations.
                for step in 0..16 {
                    let own = |i: usize| step * vectors + (i ^ turned(step));
                    assert_eq!(meet((0..tile.across).map(own)), 1, "{tile:?}");
                    // The second ones follow all first ones.
                    let second = |i: usize| (own(i) + tile.across) % vectors;
                    let expected = |i: usize| ((i + tile.across) ^ turned(step)) % vectors;
                    assert!((0..tile.across).all(|i| second(i) == expected(i)), "{tile:?}");
                }
            }
        }
    }

    #[test]
    fn small_products_take_small_tiles() {
        assert_eq!(tile(Class::Discrete, 50_176, 512, 1), Some(LARGE));
        assert_eq!(tile(Class::Discrete, 169, 384, 1), Some(SMALL));
        assert_eq!(tile(Class::Apple, 1, 1, 1), Some(SMALL));
        assert_eq!(tile(Class::Software, 1000, 1000, 1), None);
    }
}
