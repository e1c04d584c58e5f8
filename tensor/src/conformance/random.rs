//! Numbers made by counting: dropout, uniform, normal, and fill.

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{dims, float, seed, stored};
use super::values::{EDGES, FLOATS, STORED, Values, tensor};
use crate::ops::{Dropout, Fill, Normal, Uniform};
use crate::{Device, RandomKey, Shape, TensorType};

/// Keys whose halves all matter.
const KEYS: [RandomKey; 4] = [
    RandomKey::new(0, 0),
    RandomKey::new(7, 3),
    RandomKey::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210),
    RandomKey::new(u64::MAX, 1 << 40),
];

const SHAPES: &[&[usize]] = &[
    &[],
    &[0],
    &[3, 0, 2],
    &[1],
    &[1, 1, 1],
    &[2],
    &[3],
    &[4],
    &[5],
    &[7, 9],
    &[2, 3, 5, 17],
    &[50_003],
];

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).expect("the shape of a case")
}

/// [`Dropout`]: which elements go is exact.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn dropout(device: &Device, settings: &Settings) {
    let case = |dropout: Dropout, x| {
        // A factor of 1 leaves the bits alone; another rounds once.
        let exact = dropout.scale == 1.0;
        let tolerance = if exact { Tolerance::Equal } else { Tolerance::Each { floor: 0.0 } };
        Case::new(dropout, [x], tolerance)
    };
    for (dims, dtype) in SHAPES.iter().flat_map(|dims| FLOATS.map(|dtype| (dims, dtype))) {
        for key in KEYS {
            for (rate, scale) in [(0.0, 1.0), (0.5, 1.0), (0.5, 2.0), (0.3, 1.0 / 0.7), (1.0, 1.0)]
            {
                let x = tensor(dims, dtype, Values::Range(0.5, 2.0), 1);
                table(device, settings, [case(Dropout { rate, scale, key }, x)]);
            }
        }
    }
    // What is dropped is 0, whatever it was.
    for key in KEYS {
        let x = tensor(&[300], crate::DType::F32, Values::Cycle(EDGES), 0);
        table(device, settings, [case(Dropout { rate: 0.5, scale: 1.0, key }, x)]);
    }
    let parameters = (0f32..=1.0, 0.5f32..3.0, dims(0..=5), float(), seed());
    random(device, settings, parameters, |(rate, scale, dims, dtype, seed)| {
        let x = tensor(&dims, dtype, Values::Range(-2.0, 2.0), seed);
        case(Dropout { rate, scale, key: RandomKey::new(seed, seed >> 7) }, x)
    });
}

/// [`Uniform`]: the same bits on every device, wherever f32 holds `low + (high - low) · u` exactly.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn uniform(device: &Device, settings: &Settings) {
    for (dims, key) in SHAPES.iter().flat_map(|dims| KEYS.map(|key| (dims, key))) {
        let shape = shape(dims);
        let exact = [(0.0, 1.0), (-1.0, 1.0), (0.0, 0.125), (3.0, 3.0)];
        let cases = exact
            .map(|(low, high)| Case::new(Uniform { shape, low, high, key }, [], Tolerance::Equal));
        table(device, settings, cases);
    }
    let parameters = (-5f32..5.0, 0f32..7.0, dims(0..=5), seed());
    random(device, settings, parameters, |(low, width, dims, seed)| {
        let key = RandomKey::new(seed, seed >> 3);
        let op = Uniform { shape: shape(&dims), low, high: low + width, key };
        Case::new(op, [], Tolerance::Each { floor: f64::from(low.abs() + width) })
    });
}

/// [`Normal`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn normal(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], mean: f32, deviation: f32, key| {
        let op = Normal { shape: shape(dims), mean, deviation, key };
        // f32 holds angles up to 2π to 5e-7, and the radius, up to 6, passes that on.
        let floor = f64::from(mean.abs() + 2.0 * deviation);
        Case::new(op, [], Tolerance::Each { floor })
    };
    for (dims, key) in SHAPES.iter().flat_map(|dims| KEYS.map(|key| (dims, key))) {
        let cases =
            [(0.0, 1.0), (5.0, 0.25), (-1.0, 0.0)].map(|(mean, dev)| case(dims, mean, dev, key));
        table(device, settings, cases);
    }
    let parameters = (-5f32..5.0, 0f32..7.0, dims(0..=5), seed());
    random(device, settings, parameters, |(mean, deviation, dims, seed)| {
        case(&dims, mean, deviation, RandomKey::new(seed, seed >> 3))
    });
}

/// [`Fill`] of every type.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn fill(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], dtype, value| {
        let ty = TensorType::new(shape(dims), dtype);
        Case::new(Fill { ty, value }, [], Tolerance::Bits)
    };
    for (dims, dtype) in
        SHAPES.iter().flat_map(|dims| STORED.iter().map(move |&dtype| (dims, dtype)))
    {
        table(device, settings, EDGES.iter().map(|&value| case(dims, dtype, value)));
    }
    let parameters = (dims(0..=5), stored(), -1e5f32..1e5);
    random(device, settings, parameters, |(dims, dtype, value)| case(&dims, dtype, value));
}
