//! Pooling, and its gradients.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{float, seed};
use super::values::{EDGES, FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{AvgPool2d, AvgPool2dGrad, MaxPool2dGrad, Pool2d, Ties};
use crate::{DType, Device, HostTensor, Op, reference};

type Setup = ([usize; 4], Pool2d);

fn setups() -> Vec<Setup> {
    let mut setups = vec![
        // Empty: no images, no channels, and nothing in the window.
        ([0, 5, 5, 3], Pool2d::square(3, 2, 0)),
        ([2, 5, 5, 0], Pool2d::square(3, 2, 1)),
        ([1, 0, 5, 3], Pool2d::square(3, 1, 2)),
        ([1, 1, 1, 1], Pool2d::square(1, 1, 0)),
        // Extents that could be taken for one another.
        ([4, 4, 4, 4], Pool2d::square(4, 4, 0)),
        ([3, 3, 3, 3], Pool2d::square(3, 1, 1)),
        // A stride beyond the window, one that leaves a rest, and a window over everything.
        ([2, 11, 10, 5], Pool2d::square(2, 3, 0)),
        ([2, 12, 13, 4], Pool2d::square(3, 5, 1)),
        ([2, 7, 7, 20], Pool2d::square(7, 1, 0)),
        ([1, 2, 3, 9], Pool2d::square(6, 1, 5)),
        // Windows that overlap, as ccv's networks have them.
        ([1, 13, 13, 64], Pool2d::square(3, 2, 0)),
        ([1, 27, 27, 96], Pool2d::square(3, 2, 0)),
        ([2, 15, 17, 33], Pool2d::square(3, 2, 1)),
        ([1, 28, 28, 20], Pool2d::square(2, 2, 0)),
        // Rows and columns that differ in everything.
        ([2, 9, 10, 6], pool([2, 5], [3, 1], [[1; 2], [4; 2]])),
        ([1, 20, 1, 3], pool([4, 1], [2, 7], [[3; 2], [0; 2]])),
        // Sides that differ in everything, and a window that only they make room for.
        ([2, 9, 8, 5], pool([3, 4], [2, 3], [[2, 0], [1, 3]])),
        ([1, 5, 6, 16], pool([5, 2], [1, 2], [[0, 4], [0, 1]])),
        ([1, 1, 2, 9], pool([4, 5], [1, 1], [[0, 3], [3, 0]])),
        // Windows that are larger than the image with its padding fit once the number is rounded
        // up; 3 fits into the first where 2 do, and one that would begin in the padding is left out.
        ([1, 2, 2, 3], Pool2d::square(3, 2, 0).with_ceil(2, 2)),
        ([1, 1, 5, 4], pool([6, 3], [5, 4], [[0, 1], [1, 0]]).with_ceil(1, 5)),
        ([1, 3, 2, 2], Pool2d::square(2, 2, 1).with_ceil(3, 2)),
        // The first pool of GoogLeNet, smaller.
        ([1, 28, 28, 16], Pool2d::square(3, 2, 0).with_ceil(28, 28)),
        // Enough for several threads.
        ([5, 40, 41, 17], Pool2d::square(3, 2, 1)),
    ];
    // Extents of 0, 1 and odd ones along every axis.
    for code in 0..3usize.pow(4) {
        let extent = |axis: u32, large: usize| [0, 1, large][code / 3usize.pow(axis) % 3];
        let dims = [extent(0, 2), extent(1, 3), extent(2, 5), extent(3, 9)];
        let sizes = [[1, 2], [2, 1], [3, 2], [2, 3]];
        let size = sizes[code % 4];
        // As much padding as the window needs, and often more.
        let padding =
            [(size[0], dims[1]), (size[1], dims[2])].map(|(size, extent): (usize, usize)| {
                (size - extent.min(size)).div_ceil(2).max(code / 4 % size).min(size - 1)
            });
        // A window of one cell has no padding, and no place over nothing.
        let fits = (0..2).all(|axis| dims[axis + 1] + 2 * padding[axis] >= size[axis]);
        let stride = [1 + code % 2, 1 + code / 2 % 2];
        let padding = padding.map(|padding| [padding; 2]);
        setups.extend(fits.then_some((dims, pool(size, stride, padding))));
    }
    // Channels around vectors.
    for channels in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 47, 48, 49, 64, 65] {
        setups.push(([1, 6, 7, channels], Pool2d::square(3, 2, 1)));
        setups.push(([2, 6, 6, channels], Pool2d::square(2, 2, 0)));
    }
    let all = |(dims, pool): &Setup| {
        let all = Pool2d { count_padding: true, ties: Ties::First, ..*pool };
        (*dims, all.with_ceil(dims[1], dims[2]))
    };
    let others: Vec<Setup> = setups.iter().map(all).collect();
    setups.extend(others);
    setups
}

fn pool(size: [usize; 2], stride: [usize; 2], padding: [[usize; 2]; 2]) -> Pool2d {
    Pool2d { size, stride, padding, ..Pool2d::default() }
}

fn parameters() -> impl Strategy<Value = (Setup, DType, u64)> {
    let image = (0..4usize, 0..12usize, 0..12usize, 0..20usize);
    let pair = |range: std::ops::Range<usize>| prop::array::uniform2(range);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let padding = prop::array::uniform2(pair(0..5));
    (image, pair(1..6), pair(1..4), padding, flags, float(), seed()).prop_map(
        |((n, rows, cols, c), size, stride, padding, (ceil, count_padding, first), dtype, seed)| {
            // A window is larger than its padding, and fits into the image with it. Over an image
            // without cells it is of 2 at least, one of them in the padding of either side.
            let fit = |axis: usize, extent: usize| {
                let padding = padding[axis].map(|side| side.max(usize::from(extent == 0)));
                let [before, after] = padding;
                let least = before.max(after) + 1;
                (size[axis].clamp(least, extent + before + after), padding)
            };
            let ((s0, p0), (s1, p1)) = (fit(0, rows), fit(1, cols));
            let ties = if first { Ties::First } else { Ties::All };
            let pool = Pool2d { count_padding, ties, ..pool([s0, s1], stride, [p0, p1]) };
            let pool = if ceil { pool.with_ceil(rows, cols) } else { pool };
            (([n, rows, cols, c], pool), dtype, seed)
        },
    )
}

/// Checks what `make` makes of each setup of the table, in both types, and of random ones.
fn on_setups(device: &Device, settings: &Settings, make: impl Fn(Setup, DType, u64) -> Case) {
    for (setup, dtype) in setups().into_iter().flat_map(|s| FLOATS.map(|dtype| (s, dtype))) {
        table(device, settings, [make(setup, dtype, setup.0[3] as u64)]);
    }
    random(device, settings, parameters(), |(setup, dtype, seed)| make(setup, dtype, seed));
}

/// `Op::MaxPool2d`: [`Pool2d`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn max_pool2d(device: &Device, settings: &Settings) {
    let case = |(x, pool): Setup, dtype, values, seed| {
        Case::new(pool, [tensor(&x, dtype, values, seed)], Tolerance::Equal)
    };
    on_setups(device, settings, |setup, dtype, seed| {
        // Below zero, so that a padding that took part would win.
        case(setup, dtype, Values::Range(-9.0, -1.0), seed)
    });
    for (setup, dtype) in setups().into_iter().flat_map(|s| FLOATS.map(|dtype| (s, dtype))) {
        let infinite = case(setup, dtype, Values::Among(&[f32::NEG_INFINITY]), 0);
        table(device, settings, [case(setup, dtype, Values::Among(EDGES), 1), infinite]);
    }
}

/// `Op::AvgPool2d`: [`AvgPool2d`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn avg_pool2d(device: &Device, settings: &Settings) {
    let case = |pool: Pool2d, x: HostTensor| {
        let terms = pool.size.iter().product::<usize>();
        let product = finite_max(&x) / terms as f64;
        Case::new(AvgPool2d(pool), [x], Tolerance::Sum { terms, product })
    };
    on_setups(device, settings, |(x, pool), dtype, seed| {
        case(pool, tensor(&x, dtype, Values::Range(-2.0, 2.0), seed))
    });
    for (dims, pool) in setups() {
        let x = tensor(&dims, DType::F32, Values::Range(-2.0, 2.0), 1);
        table(device, settings, [case(pool, sprinkled(x, NON_FINITE, 40, 2))]);
    }
}

/// [`MaxPool2dGrad`], with ties: each cell that equals the maximum gets the gradient, or the first
/// does.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn max_pool2d_grad(device: &Device, settings: &Settings) {
    let case = |(dims, pool): Setup, [x, dy]: [DType; 2], values, seed: u64| {
        let x = tensor(&dims, x, values, seed);
        let y = reference::execute(&Op::from(pool), &[&x]).expect("the pooling of a case");
        let dy = tensor(y.shape().dims(), dy, Values::Range(-2.0, 2.0), seed ^ 1);
        // As many windows as overlap at a cell.
        let terms = pool.size.iter().product::<usize>();
        Case::new(MaxPool2dGrad(pool), [x, y, dy], Tolerance::Sum { terms, product: 2.0 })
    };
    on_setups(device, settings, |setup, dtype, seed| {
        case(setup, [dtype; 2], Values::Quarters, seed)
    });
    for setup in setups() {
        let mut infinite = case(setup, [DType::F32; 2], Values::Quarters, 3);
        infinite.inputs[2] = sprinkled(infinite.inputs[2].clone(), NON_FINITE, 20, 4);
        table(device, settings, [infinite]);
        for types in [[DType::F32, DType::F16], [DType::F16, DType::F32]] {
            table(device, settings, [case(setup, types, Values::Quarters, 1)]);
        }
        table(device, settings, [case(setup, [DType::F32; 2], Values::Among(EDGES), 2)]);
    }
}

/// [`AvgPool2dGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn avg_pool2d_grad(device: &Device, settings: &Settings) {
    let case = |(dims, pool): Setup, dtype, seed| {
        let x = tensor(&dims, dtype, Values::Quarters, 0);
        let y = Op::from(AvgPool2d(pool)).output(&[x.ty()]).expect("the pooling of a case");
        let dy = tensor(y.shape.dims(), dtype, Values::Range(-2.0, 2.0), seed);
        let op = AvgPool2dGrad { pool, input: [dims[1], dims[2]] };
        let terms = pool.size.iter().product::<usize>();
        Case::new(op, [dy], Tolerance::Sum { terms, product: 2.0 })
    };
    on_setups(device, settings, case);
    for setup in setups() {
        let mut infinite = case(setup, DType::F32, 3);
        infinite.inputs[0] = sprinkled(infinite.inputs[0].clone(), NON_FINITE, 20, 4);
        table(device, settings, [infinite]);
    }
}
