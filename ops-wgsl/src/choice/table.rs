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
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// 8 rows (columns) an invocation, not 4.
    pub(crate) tall: bool,
    pub(crate) wide: bool,
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
const FORCED: &[(Tile, usize)] = &[(LARGE, 128), (SQUARE, 128), (NARROW, 128), (SMALL, 128)];

/// The tiles of a class, the largest first, each with the workgroups that give work to all units of
/// the adapter; the last tile is for all else.
fn row(class: Class) -> &'static [(Tile, usize)] {
    match class {
        // Some 20 to 170 units, each of which wants two or more workgroups to hide the memory behind:
        // a larger tile than their number allows leaves units idle.
        Class::Discrete => &[(LARGE, 512), (SQUARE, 256), (NARROW, 128), (SMALL, 128)],
        // Few units and little bandwidth, shared with the processor; 128 registers an invocation at
        // full occupancy on Intel's, so that 64 sums and the operands just fit.
        Class::Integrated => &[(SQUARE, 64), (NARROW, 32), (SMALL, 32)],
        // A family of 8 to 80 cores with large register files, whose compiler spills beyond about 100
        // registers at full occupancy: 8 x 4 is what leaves room for addresses.
        Class::Apple => &[(NARROW, 32), (SMALL, 32)],
        Class::Tile(place) => FORCED.get(place).map_or(&[], std::slice::from_ref),
        Class::Software | Class::Simple => &[],
    }
}

/// The tiles that products of a class of adapters are computed by.
pub(crate) fn tiles(class: Class) -> Vec<Tile> {
    row(class).iter().map(|(tile, _)| *tile).collect()
}

/// The extents of products that one dispatch computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// 0 where it is not to be split: see [`Size::parts`].
    pub(crate) depth: usize,
    /// Products.
    pub(crate) batch: usize,
}

/// Steps of the depth that a part of it has at least. A part costs a write and a read of the product:
/// at so many steps some tenth of the time. Where even the smallest tile leaves units idle,
/// shorter parts are worth it.
const PART: usize = 512;
const SHORT_PART: usize = 256;

impl Size {
    /// Workgroups, if the depth is in one part.
    fn groups(&self, tile: &Tile) -> usize {
        self.m.div_ceil(tile.rows()) * self.n.div_ceil(tile.cols()) * self.batch
    }

    /// Elements that a tile computes, those beyond the product among them.
    fn computed(&self, tile: &Tile) -> usize {
        self.groups(tile).saturating_mul(tile.rows() * tile.cols())
    }

    /// The parts that the depth is to be split into, for all units of an adapter to have work.
    pub(crate) fn parts(&self, class: Class, tile: Tile) -> usize {
        let row = row(class);
        let own = row.iter().find(|(own, _)| *own == tile).or(row.last());
        let (Some((_, wanted)), Some((last, _))) = (own, row.last()) else { return 1 };
        let least = if tile == *last { SHORT_PART } else { PART };
        wanted.div_ceil(self.groups(&tile).max(1)).min(self.depth / least).max(1)
    }

    /// The tile for products, or none where workgroup memory is no help: of those that give all units
    /// work, and compute at most a third more than the smallest one, the one with the most sums an
    /// invocation; then with the fewest parts; then the largest.
    pub(crate) fn tile(&self, class: Class) -> Option<Tile> {
        let row = row(class);
        let (last, _) = row.last()?;
        let fits = |(tile, wanted): &&(Tile, usize)| {
            self.groups(tile) * self.parts(class, *tile) >= *wanted
                && self.computed(tile) * 3 <= self.computed(last) * 4
        };
        let mut fitting = row.iter().filter(fits).map(|(tile, _)| *tile).peekable();
        let first = fitting.peek().copied().unwrap_or(*last);
        let alike = fitting.filter(|tile| (tile.tall, tile.wide) == (first.tall, first.wide));
        Some(alike.min_by_key(|tile| self.parts(class, *tile)).unwrap_or(first))
    }
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

    fn size(m: usize, n: usize, depth: usize) -> Size {
        Size { m, n, depth, batch: 1 }
    }

    #[test]
    fn small_products_take_small_tiles() {
        assert_eq!(size(50_176, 512, 0).tile(Class::Discrete), Some(LARGE));
        assert_eq!(size(169, 384, 0).tile(Class::Discrete), Some(SMALL));
        assert_eq!(size(1, 1, 0).tile(Class::Apple), Some(SMALL));
        assert_eq!(size(1000, 1000, 0).tile(Class::Software), None);
        assert_eq!(size(1000, 1000, 0).tile(Class::Tile(0)), Some(LARGE));
        assert_eq!(size(0, 0, 0).tile(Class::Discrete), Some(SMALL));
    }

    #[test]
    fn depth_is_split_where_units_would_be_idle() {
        let plan = |m, n, depth| {
            let size = size(m, n, depth);
            let tile = size.tile(Class::Discrete).unwrap();
            (tile, size.parts(Class::Discrete, tile))
        };
        // Of VGG-D's fifth stage at batch 1: 32 workgroups of 4,608 steps otherwise.
        assert_eq!(plan(196, 512, 4608), (SQUARE, 8));
        // Full connect of 17 to 128 rows.
        assert_eq!(plan(17, 4096, 4096), (SMALL, 1));
        assert_eq!(plan(64, 4096, 4096), (SQUARE, 4));
        assert_eq!(plan(128, 4096, 25_088), (SQUARE, 2));
        // Nothing to split.
        assert_eq!(plan(196, 512, 511), (SMALL, 1));
        assert_eq!(plan(50_176, 512, 4608), (LARGE, 1));
        // One part by a smaller tile of as many sums an invocation.
        assert_eq!(plan(6272, 512, 2304), (SQUARE, 1));
        // A tile that the class does not have by itself: tuning may have chosen it.
        assert_eq!(size(64, 64, 4096).parts(Class::Apple, LARGE), 8);
        assert_eq!(size(64, 64, 4096).parts(Class::Software, LARGE), 1);
    }

    /// Layers as products: rows of an image, columns, depth.
    const VGG_D: &[(&str, [usize; 3])] = &[
        ("1_1", [50_176, 64, 27]),
        ("1_2", [50_176, 64, 576]),
        ("2_1", [12_544, 128, 576]),
        ("2_2", [12_544, 128, 1152]),
        ("3_1", [3136, 256, 1152]),
        ("3_2", [3136, 256, 2304]),
        ("4_1", [784, 512, 2304]),
        ("4_2", [784, 512, 4608]),
        ("5", [196, 512, 4608]),
    ];
    const RESNET_50: &[(&str, [usize; 3])] = &[
        ("conv1", [12_544, 64, 147]),
        ("1 first", [3136, 64, 64]),
        ("1 middle", [3136, 64, 576]),
        ("1 last", [3136, 256, 64]),
        ("1 next", [3136, 64, 256]),
        ("2 first", [3136, 128, 256]),
        ("2 middle", [784, 128, 1152]),
        ("2 last", [784, 512, 128]),
        ("2 next", [784, 128, 512]),
        ("2 shortcut", [784, 512, 256]),
        ("3 first", [784, 256, 512]),
        ("3 middle", [196, 256, 2304]),
        ("3 last", [196, 1024, 256]),
        ("3 next", [196, 256, 1024]),
        ("3 shortcut", [196, 1024, 512]),
        ("4 first", [196, 512, 1024]),
        ("4 middle", [49, 512, 4608]),
        ("4 last", [49, 2048, 512]),
        ("4 next", [49, 512, 2048]),
        ("4 shortcut", [49, 2048, 1024]),
    ];

    /// Workgroups on a discrete card.
    fn workgroups(images: usize, [m, n, depth]: [usize; 3]) -> usize {
        let size = size(images * m, n, depth);
        let tile = size.tile(Class::Discrete).unwrap();
        size.groups(&tile) * size.parts(Class::Discrete, tile)
    }

    /// A card of 60 units wants two workgroups for each.
    #[test]
    fn layers_give_work_to_all_units() {
        let few = |images| {
            let layers = VGG_D.iter().chain(RESNET_50);
            let few = layers.filter(|(_, extents)| workgroups(images, *extents) < 120);
            few.map(|(name, _)| *name).collect::<Vec<_>>()
        };
        // No exceptions.
        assert_eq!(few(8), [""; 0]);
        assert_eq!(few(1), [""; 0]);
    }
}
