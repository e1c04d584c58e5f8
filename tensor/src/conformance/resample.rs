//! Images of another size and with a border, and the gradients.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{float, seed};
use super::values::{FLOATS, NON_FINITE, Values, sprinkled, tensor};
use crate::ops::{
    Border, Coordinates, Interpolation, Nearest, PadImage, PadImageGrad, Resize, ResizeGrad,
};
use crate::{DType, Device, HostTensor, Op};

/// Every rule, for an output of any size.
fn rules() -> Vec<Resize> {
    let nearest = [Nearest::Floor, Nearest::Ceil, Nearest::PreferFloor, Nearest::PreferCeil];
    let coordinates = [
        Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ];
    let interpolations = [
        Interpolation::Linear,
        Interpolation::Cubic { coefficient: -0.75 },
        Interpolation::Cubic { coefficient: -0.5 },
    ];
    let all = nearest.map(Interpolation::Nearest).into_iter().chain(interpolations);
    let with = |interpolation| {
        coordinates.map(|coordinates| Resize::new([1, 1], interpolation).coordinates(coordinates))
    };
    let mut rules: Vec<Resize> = all.flat_map(with).collect();
    rules.push(Resize::area([1, 1]));
    for plain in [Resize::linear([1, 1]), Resize::cubic([1, 1])] {
        rules.push(Resize { exclude_outside: true, ..plain });
        // Coordinates that go by other numbers reach beyond the edge, and not over all of the image.
        rules.push(Resize { scale: Some([0.7, 2.6]), ..plain });
        rules.push(Resize { scale: Some([1.6, 0.3]), exclude_outside: true, ..plain });
    }
    rules
}

/// Images and the sizes that they get: larger, smaller, the same, from and to one pixel, nothing.
const SIZES: &[([usize; 4], [usize; 2])] = &[
    ([2, 5, 4, 3], [10, 8]),
    ([1, 7, 9, 5], [3, 4]),
    ([1, 1, 1, 1], [3, 2]),
    ([2, 3, 1, 8], [1, 5]),
    ([0, 3, 3, 2], [2, 2]),
    ([1, 3, 3, 0], [2, 2]),
    ([1, 6, 6, 16], [6, 6]),
    ([1, 5, 3, 17], [13, 2]),
    ([1, 2, 2, 9], [5, 5]),
];

type Setup = ([usize; 4], Resize);

fn setups() -> Vec<Setup> {
    let of = |rule: Resize| SIZES.iter().map(move |&(x, output)| (x, Resize { output, ..rule }));
    let mut setups: Vec<Setup> = rules().into_iter().flat_map(of).collect();
    // Enough for several threads, and lines of every length around vectors.
    setups.push(([3, 20, 21, 33], Resize::linear([40, 42])));
    setups.push(([2, 56, 57, 24], Resize::area([7, 6])));
    setups.push(([2, 30, 30, 12], Resize::cubic([45, 20])));
    for channels in [1, 2, 4, 7, 15, 31, 32, 65] {
        setups.push(([1, 4, 3, channels], Resize::linear([7, 5])));
    }
    setups
}

fn parameters() -> impl Strategy<Value = (Setup, DType, u64)> {
    let image = (0..3usize, 1..12usize, 1..12usize, 0..20usize);
    let output = prop::array::uniform2(1..16usize);
    (image, output, prop::sample::select(rules()), float(), seed()).prop_map(
        |((n, rows, cols, c), output, rule, dtype, seed)| {
            (([n, rows, cols, c], Resize { output, ..rule }), dtype, seed)
        },
    )
}

/// So much may be added up: each term at most twice the largest number times a weight.
const SUMS: Tolerance = Tolerance::Sum { terms: 16, product: 2.0 };

/// Checks what `make` makes of each setup of the table, in both types, and of random ones.
fn on_setups(device: &Device, settings: &Settings, make: impl Fn(Setup, DType, u64) -> Case) {
    for (setup, dtype) in setups().into_iter().flat_map(|s| FLOATS.map(|dtype| (s, dtype))) {
        table(device, settings, [make(setup, dtype, setup.0[3] as u64)]);
    }
    random(device, settings, parameters(), |(setup, dtype, seed)| make(setup, dtype, seed));
}

/// [`Resize`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn resize(device: &Device, settings: &Settings) {
    on_setups(device, settings, |(x, resize), dtype, seed| {
        Case::new(resize, [tensor(&x, dtype, Values::Range(-2.0, 2.0), seed)], SUMS)
    });
    for (dims, resize) in setups() {
        let x = tensor(&dims, DType::F32, Values::Range(-2.0, 2.0), 1);
        let x = sprinkled(x, NON_FINITE, 20, 2);
        table(device, settings, [Case::new(resize, [x], SUMS)]);
    }
}

/// [`ResizeGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn resize_grad(device: &Device, settings: &Settings) {
    let case = |(dims, resize): Setup, dy: HostTensor| {
        Case::new(ResizeGrad { resize, input: [dims[1], dims[2]] }, [dy], SUMS)
    };
    let dy = |(x, resize): &Setup, dtype, seed| {
        let dims = [x[0], resize.output[0], resize.output[1], x[3]];
        tensor(&dims, dtype, Values::Range(-2.0, 2.0), seed)
    };
    on_setups(device, settings, |setup, dtype, seed| case(setup, dy(&setup, dtype, seed)));
    for setup in setups() {
        let dy = sprinkled(dy(&setup, DType::F32, 1), NON_FINITE, 20, 2);
        table(device, settings, [case(setup, dy)]);
    }
}

const BORDERS: [Border; 3] = [Border::Reflect, Border::Edge, Border::Wrap];

/// Images and borders: none, on one side, wider than the image, of a single pixel, of nothing.
const WIDTHS: &[([usize; 4], [[usize; 2]; 2])] = &[
    ([2, 5, 4, 3], [[1, 1], [1, 1]]),
    ([1, 6, 7, 16], [[0, 0], [0, 0]]),
    ([1, 3, 4, 5], [[2, 0], [0, 3]]),
    ([1, 3, 2, 9], [[7, 5], [4, 6]]),
    ([2, 1, 1, 2], [[1, 2], [3, 0]]),
    ([0, 3, 3, 2], [[1, 1], [1, 1]]),
    ([1, 3, 3, 0], [[1, 1], [1, 1]]),
    ([3, 30, 31, 17], [[3, 3], [2, 4]]),
];

fn pads(
    device: &Device,
    settings: &Settings,
    make: impl Fn([usize; 4], PadImage, DType, u64) -> Case,
) {
    for (&(dims, widths), border) in WIDTHS.iter().flat_map(|w| BORDERS.map(|border| (w, border))) {
        let pad = PadImage { widths, border };
        table(device, settings, FLOATS.map(|dtype| make(dims, pad, dtype, 3)));
    }
    let image = (0..3usize, 1..8usize, 1..8usize, 0..20usize);
    let widths = prop::array::uniform2(prop::array::uniform2(0..6usize));
    let parameters = (image, widths, prop::sample::select(BORDERS.to_vec()), float(), seed());
    random(device, settings, parameters, |((n, rows, cols, c), widths, border, dtype, seed)| {
        make([n, rows, cols, c], PadImage { widths, border }, dtype, seed)
    });
}

/// [`PadImage`]: exact.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn pad_image(device: &Device, settings: &Settings) {
    pads(device, settings, |dims, pad, dtype, seed| {
        let x = sprinkled(tensor(&dims, dtype, Values::Range(-2.0, 2.0), seed), NON_FINITE, 20, 2);
        Case::new(pad, [x], Tolerance::Equal)
    });
}

/// [`PadImageGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn pad_image_grad(device: &Device, settings: &Settings) {
    pads(device, settings, |dims, pad, dtype, seed| {
        let x = tensor(&dims, dtype, Values::Quarters, 0);
        let y = Op::from(pad).output(&[x.ty()]).expect("the border of a case");
        let dy = tensor(y.shape.dims(), dtype, Values::Range(-2.0, 2.0), seed);
        Case::new(PadImageGrad { pad, input: [dims[1], dims[2]] }, [dy], SUMS)
    });
}
