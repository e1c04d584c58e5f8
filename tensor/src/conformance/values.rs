//! Operands: deterministic values of every kind.

use half::f16;

use crate::reference::Floats;
use crate::{DType, HostTensor, HostValues, RandomKey, Shape};

/// What values a tensor gets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<'a> {
    /// Uniform in a range. As unsigned integers: whole numbers in it.
    Range(f32, f32),
    /// Multiples of a quarter from -2 to 2: ties and exact sums. As unsigned integers: 0 to 4.
    Quarters,
    /// Any bits at all.
    Words,
    /// One of these.
    Among(&'a [f32]),
    /// These, over and over.
    Cycle(&'a [f32]),
}

/// Uniform from -1 to 1.
pub(super) const SIGNED: Values<'_> = Values::Range(-1.0, 1.0);

/// A tensor of such values; the same for the same seed.
pub(super) fn tensor(dims: &[usize], dtype: DType, values: Values<'_>, seed: u64) -> HostTensor {
    let shape = Shape::new(dims).expect("the shape of a case");
    let count = shape.count();
    let words = RandomKey::new(seed, 0x00c0_ffee);
    let words = (0..count.div_ceil(4) as u64).flat_map(|i| words.block(i)).take(count);
    if let Values::Words = values {
        // All bits of the larger types differ as well.
        let long = |word: u32| u64::from(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let values: HostValues = match dtype {
            DType::F32 => words.map(f32::from_bits).collect::<Vec<_>>().into(),
            DType::F16 => words.map(|w| f16::from_bits(w as u16)).collect::<Vec<_>>().into(),
            DType::F64 => words.map(|w| f64::from_bits(long(w))).collect::<Vec<_>>().into(),
            DType::U32 => words.collect::<Vec<_>>().into(),
            DType::I64 => words.map(|w| long(w).cast_signed()).collect::<Vec<_>>().into(),
            DType::I32 => words.map(u32::cast_signed).collect::<Vec<_>>().into(),
            DType::I8 => words.map(|w| w as i8).collect::<Vec<_>>().into(),
            DType::U8 => words.map(|w| w as u8).collect::<Vec<_>>().into(),
            DType::Bool => HostValues::Bool(words.map(|w| w as u8 & 1).collect()),
        };
        return HostTensor::new(shape, values).expect("the values of a case");
    }
    let whole = dtype == DType::Bool || dtype.is_integer();
    let number = |(i, word): (usize, u32)| {
        let unit = crate::random::unit_float(word);
        match values {
            Values::Range(low, high) => low + (high - low) * unit,
            Values::Quarters if whole => (unit * 5.0).floor(),
            Values::Quarters => (unit * 17.0).floor() * 0.25 - 2.0,
            Values::Among(list) => list[word as usize % list.len()],
            Values::Cycle(list) => list[i % list.len()],
            Values::Words => unreachable!("handled above"),
        }
    };
    let numbers: Vec<f32> = words.enumerate().map(number).collect();
    HostTensor::new(shape, converted(dtype, &numbers)).expect("the values of a case")
}

/// Numbers as a type has them; `as` keeps integers in range.
fn converted(dtype: DType, numbers: &[f32]) -> HostValues {
    fn each<T>(numbers: &[f32], convert: impl Fn(f32) -> T) -> Vec<T> {
        numbers.iter().map(|&x| convert(x)).collect()
    }
    match dtype {
        DType::F32 => numbers.to_vec().into(),
        DType::F16 => each(numbers, f16::from_f32).into(),
        DType::F64 => each(numbers, f64::from).into(),
        DType::U32 => each(numbers, |x| x as u32).into(),
        DType::I64 => each(numbers, |x| x as i64).into(),
        DType::I32 => each(numbers, |x| x as i32).into(),
        DType::I8 => each(numbers, |x| x as i8).into(),
        DType::U8 => each(numbers, |x| x as u8).into(),
        DType::Bool => HostValues::Bool(each(numbers, |x| u8::from(x != 0.0))),
    }
}

/// The same tensor with some elements (one in about `every`) replaced by one of these.
pub(super) fn sprinkled(mut x: HostTensor, among: &[f32], every: u32, seed: u64) -> HostTensor {
    let key = RandomKey::new(seed, 0x005a_17ed);
    let chosen = (0..x.ty().count()).filter_map(|i| {
        let [a, b, ..] = key.block(i as u64);
        (a % every == 0).then(|| (i, among[b as usize % among.len()]))
    });
    let chosen: Vec<(usize, f32)> = chosen.collect();
    match x.values_mut() {
        HostValues::F32(v) => chosen.iter().for_each(|&(i, x)| v[i] = x),
        HostValues::F16(v) => chosen.iter().for_each(|&(i, x)| v[i] = f16::from_f32(x)),
        HostValues::U32(v) => chosen.iter().for_each(|&(i, x)| v[i] = x as u32),
        // Of what is storage only nothing goes wrong at an edge.
        _ => {}
    }
    x
}

/// The indices of a tensor of four axes, in order.
pub(super) fn indices(shape: &Shape) -> impl Iterator<Item = [usize; 4]> + use<> {
    let dims = shape.nhwc("conformance", "a tensor").expect("four axes of a case");
    (0..shape.count()).map(move |at| {
        let [_, b, c, d] = dims;
        [at / d / c / b, at / d / c % b, at / d % c, at % d]
    })
}

/// The indices of the elements of a tensor of four axes that are NaN or infinite.
pub(super) fn non_finite(x: &HostTensor) -> Vec<[usize; 4]> {
    let values = Floats::of(x).values;
    let places = indices(x.shape()).zip(values).filter(|(_, x)| !x.is_finite());
    places.map(|(index, _)| index).collect()
}

/// NaN and both infinities.
pub(super) const NON_FINITE: &[f32] = &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Numbers at which functions go wrong: zeros, ties of rounding, the ends of the range.
pub(super) const EDGES: &[f32] = &[
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.499_999_97,
    8_388_609.0,
    -16_777_217.0,
    3e9,
    88.0,
    -88.0,
    -104.0,
    1e-30,
    -1e30,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
];

/// Numbers below the normal ones of f32.
pub(super) const SUBNORMAL: &[f32] = &[1e-45, -1e-45, 1e-40, -5e-39, 1.1754942e-38];

/// Both float types.
pub(super) const FLOATS: [DType; 2] = [DType::F32, DType::F16];

/// The element types that ops compute with.
pub(super) const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::U32];

/// Every element type, those that are storage only as well.
pub(super) const STORED: &[DType] = DType::ALL;
