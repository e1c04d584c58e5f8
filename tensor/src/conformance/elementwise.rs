//! Element by element: unary, binary, comparison, select, cast.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, random, table};
use super::strategies::{broadcasting, dims, dtype, float, seed, stored};
use super::values::{DTYPES, EDGES, FLOATS, NON_FINITE, STORED, SUBNORMAL, Values, tensor};
use crate::ops::{
    Binary, BinaryKind, Cast, Compare, CompareKind, ReluGrad, Select, Unary, UnaryKind,
};
use crate::{DType, Device, HostTensor};

/// Shapes at and around vector widths, and enough for several threads.
pub(super) const SHAPES: &[&[usize]] = &[
    &[],
    &[0],
    &[3, 0, 2],
    &[0, 3, 2],
    &[3, 2, 0],
    &[1],
    &[1, 1, 1, 1, 1],
    &[7],
    &[8],
    &[9],
    &[15],
    &[16],
    &[17],
    &[31],
    &[33],
    &[47],
    &[49],
    &[63],
    &[65],
    &[3, 5, 7],
    &[2, 3, 4, 5, 6],
    &[2, 1, 2, 3, 1, 2, 2, 3],
    &[70_001],
];

/// Every function, and some with other parameters than those of the table.
pub(super) fn unary_kinds() -> Vec<UnaryKind> {
    const MORE: &[UnaryKind] = &[
        UnaryKind::Elu { alpha: 0.3 },
        UnaryKind::Affine { scale: 1.0 / 256.0, shift: 0.0 },
        UnaryKind::Powf { exponent: 0.0 },
        UnaryKind::Powf { exponent: 0.5 },
        UnaryKind::Powf { exponent: 2.0 },
        UnaryKind::Powf { exponent: 3.0 },
        UnaryKind::Clamp { min: 0.0, max: f32::INFINITY },
        UnaryKind::RELU6,
    ];
    [UnaryKind::ALL, MORE].concat()
}

fn unary_tolerance(kind: UnaryKind) -> Tolerance {
    match kind {
        UnaryKind::Neg
        | UnaryKind::Abs
        | UnaryKind::Sign
        | UnaryKind::Relu
        | UnaryKind::Floor
        | UnaryKind::Ceil
        | UnaryKind::Round
        | UnaryKind::Clamp { .. } => Tolerance::Equal,
        UnaryKind::Square
        | UnaryKind::Sqrt
        | UnaryKind::Rsqrt
        | UnaryKind::Recip
        | UnaryKind::Exp
        | UnaryKind::LeakyRelu { .. }
        | UnaryKind::Powf { .. } => Tolerance::Each { floor: 0.0 },
        // These go through zero, where digits cancel inside the function.
        UnaryKind::Log
        | UnaryKind::Sin
        | UnaryKind::Cos
        | UnaryKind::Tanh
        | UnaryKind::Sigmoid
        | UnaryKind::Elu { .. }
        | UnaryKind::Silu
        | UnaryKind::Gelu
        | UnaryKind::GeluErf
        | UnaryKind::HardSwish
        | UnaryKind::HardSigmoid
        | UnaryKind::Softplus
        | UnaryKind::Mish
        | UnaryKind::Erf => Tolerance::Each { floor: 0.1 },
        // So does the sum, of terms as large as the shift.
        UnaryKind::Affine { shift, .. } => Tolerance::Each { floor: f64::from(shift.abs()) },
    }
}

fn unary_values(kind: UnaryKind) -> Values<'static> {
    match kind {
        UnaryKind::Sqrt | UnaryKind::Rsqrt | UnaryKind::Log | UnaryKind::Powf { .. } => {
            Values::Range(0.01, 50.0)
        }
        _ => Values::Range(-8.0, 8.0),
    }
}

/// Edges at which a function is defined sharply enough to be asked of every device.
fn unary_edges(kind: UnaryKind, settings: &Settings) -> Vec<f32> {
    let keep = |x: &f32| match kind {
        // Periods lose their meaning in f32 far from zero.
        UnaryKind::Sin | UnaryKind::Cos => !x.is_finite() || x.abs() < 200.0,
        // 1 / √-0 is -∞ by the letter, which no user has a use for.
        UnaryKind::Rsqrt => x.to_bits() != (-0.0f32).to_bits(),
        // NaN to the power 0 is 1 by the letter.
        UnaryKind::Powf { exponent } => !(x.is_nan() && exponent == 0.0),
        _ => true,
    };
    let subnormal = if settings.subnormals { SUBNORMAL } else { &[] };
    EDGES.iter().chain(subnormal).copied().filter(keep).collect()
}

/// Every [`Unary`] function.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn unary(device: &Device, settings: &Settings) {
    for kind in unary_kinds() {
        let tolerance = unary_tolerance(kind);
        let case = |dims: &[usize], dtype, values, seed| {
            Case::new(Unary { kind }, [tensor(dims, dtype, values, seed)], tolerance)
        };
        let edges = unary_edges(kind, settings);
        for dtype in FLOATS {
            let shapes = SHAPES.iter().zip(0..);
            table(device, settings, shapes.map(|(s, i)| case(s, dtype, unary_values(kind), i)));
            // Each edge in each lane of a vector, and in the remainder.
            for len in [edges.len(), 8 * edges.len() + 5] {
                table(device, settings, [case(&[len], dtype, Values::Cycle(&edges), 0)]);
            }
        }
    }
    let kinds = prop::sample::select(unary_kinds());
    random(device, settings, (kinds, dims(0..=5), float(), seed()), |(kind, dims, dtype, seed)| {
        let x = tensor(&dims, dtype, unary_values(kind), seed);
        Case::new(Unary { kind }, [x], unary_tolerance(kind))
    });
}

fn takes(kind: BinaryKind, dtype: DType) -> bool {
    dtype.is_float() || !matches!(kind, BinaryKind::Div | BinaryKind::Pow | BinaryKind::Prelu)
}

fn binary_case(kind: BinaryKind, dtype: DType, a: &[usize], b: &[usize], seed: u64) -> Case {
    let (values_a, values_b) = match (kind, dtype) {
        // Integers wrap around, so any will do.
        (_, DType::U32) => (Values::Words, Values::Words),
        (BinaryKind::Pow, _) => (Values::Range(0.1, 10.0), Values::Range(-3.0, 3.0)),
        (BinaryKind::Maximum | BinaryKind::Minimum, _) => (Values::Quarters, Values::Quarters),
        _ => (Values::Range(-4.0, 4.0), Values::Range(-4.0, 4.0)),
    };
    let inputs = [tensor(a, dtype, values_a, seed), tensor(b, dtype, values_b, seed ^ 1)];
    let tolerance = match kind {
        BinaryKind::Maximum | BinaryKind::Minimum => Tolerance::Equal,
        // One operation, rounded once.
        _ => Tolerance::Each { floor: 0.0 },
    };
    Case::new(Binary { kind }, inputs, tolerance)
}

/// Pairs of shapes that broadcast, in each of the ways that a kernel may treat apart.
const PAIRS: &[(&[usize], &[usize])] = &[
    (&[], &[]),
    (&[], &[5]),
    (&[5], &[]),
    (&[0], &[1]),
    (&[1], &[0]),
    (&[4, 0], &[4, 1]),
    (&[1, 0, 3], &[2, 1, 3]),
    (&[17], &[17]),
    (&[17], &[1]),
    (&[1, 1], &[33]),
    // A bias over channels.
    (&[2, 3, 5, 16], &[16]),
    (&[2, 3, 5, 17], &[17]),
    // A column.
    (&[9, 13], &[9, 1]),
    (&[9, 1], &[1, 13]),
    // An axis in the middle.
    (&[2, 3, 4], &[2, 1, 4]),
    (&[2, 1, 4, 1, 3], &[1, 5, 1, 2, 1]),
    (&[4, 4, 4], &[4]),
    (&[4, 4, 4], &[4, 1, 1]),
    (&[3, 1, 1, 1, 8], &[2, 1, 1, 8]),
    (&[2, 1, 3, 1, 2, 1, 3, 1], &[1, 2, 1, 3, 1, 2, 1, 3]),
    // Enough for several threads.
    (&[300, 257], &[300, 257]),
    (&[300, 257], &[257]),
    (&[300, 1], &[300, 257]),
    (&[300, 257], &[]),
];

/// Every [`Binary`] function, with broadcasting.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn binary(device: &Device, settings: &Settings) {
    for &kind in BinaryKind::ALL {
        for dtype in DTYPES.into_iter().filter(|&dtype| takes(kind, dtype)) {
            let pairs = PAIRS.iter().zip(0..);
            table(device, settings, pairs.map(|((a, b), i)| binary_case(kind, dtype, a, b, i)));
        }
        // Each edge with each other one; powers have corners of their own.
        let edges: Vec<f32> = match kind {
            BinaryKind::Pow => vec![0.25, 1.0, 2.0, 3.0, 10.0],
            _ if settings.subnormals => EDGES.iter().chain(SUBNORMAL).copied().collect(),
            _ => EDGES.to_vec(),
        };
        let n = edges.len();
        for dtype in FLOATS {
            let a = tensor(&[n, 1], dtype, Values::Cycle(&edges), 0);
            let b = tensor(&[1, n], dtype, Values::Cycle(&edges), 0);
            let tolerance = binary_case(kind, dtype, &[], &[], 0).tolerance;
            table(device, settings, [Case::new(Binary { kind }, [a, b], tolerance)]);
        }
    }
    let negative_bases = |exponents: &[f32]| {
        let a = tensor(&[3, 1], DType::F32, Values::Cycle(&[-0.5, -2.0, -3.0]), 0);
        let b = tensor(&[exponents.len()], DType::F32, Values::Cycle(exponents), 0);
        Case::new(Binary { kind: BinaryKind::Pow }, [a, b], Tolerance::Each { floor: 0.0 })
    };
    table(device, settings, [negative_bases(&[0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -1.5])]);
    let kinds = prop::sample::select(BinaryKind::ALL.to_vec());
    let parameters = (kinds, dtype(), broadcasting::<2>(), seed());
    random(device, settings, parameters, |(kind, dtype, [a, b], seed)| {
        let dtype = if takes(kind, dtype) { dtype } else { DType::F32 };
        binary_case(kind, dtype, &a, &b, seed)
    });
}

/// Every [`Compare`], with broadcasting.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn compare(device: &Device, settings: &Settings) {
    let case = |kind, dtype, a: &[usize], b: &[usize], seed| {
        let inputs =
            [(a, seed), (b, seed ^ 1)].map(|(s, seed)| tensor(s, dtype, Values::Quarters, seed));
        Case::new(Compare { kind }, inputs, Tolerance::Bits)
    };
    let subnormal = if settings.subnormals { SUBNORMAL } else { &[] };
    let edges: Vec<f32> = EDGES.iter().chain(subnormal).copied().collect();
    for &kind in CompareKind::ALL {
        for dtype in DTYPES {
            let pairs = PAIRS.iter().zip(0..);
            table(device, settings, pairs.map(|((a, b), i)| case(kind, dtype, a, b, i)));
            let a = tensor(&[edges.len(), 1], dtype, Values::Cycle(&edges), 0);
            let b = tensor(&[edges.len()], dtype, Values::Cycle(&edges), 0);
            table(device, settings, [Case::new(Compare { kind }, [a, b], Tolerance::Bits)]);
        }
        // Integers that a float could not tell apart.
        let [a, b] = [&[16_777_216u32, 16_777_217, u32::MAX], &[16_777_217, 16_777_217, 1 << 31]]
            .map(|v| crate::HostTensor::new(crate::Shape::new(&[3]).unwrap(), v.to_vec()).unwrap());
        table(device, settings, [Case::new(Compare { kind }, [a, b], Tolerance::Bits)]);
    }
    let kinds = prop::sample::select(CompareKind::ALL.to_vec());
    let parameters = (kinds, dtype(), broadcasting::<2>(), seed());
    random(device, settings, parameters, |(kind, dtype, [a, b], seed)| {
        case(kind, dtype, &a, &b, seed)
    });
}

/// [`Select`], with broadcasting.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn select(device: &Device, settings: &Settings) {
    let case = |dtype, condition: &[usize], a: &[usize], b: &[usize], seed| {
        // Any number but 0 is true, not 1 alone.
        let condition =
            tensor(condition, DType::U32, Values::Among(&[0.0, 0.0, 1.0, 2.0, 3e9]), seed);
        let inputs = [
            condition,
            tensor(a, dtype, Values::Words, seed ^ 1),
            tensor(b, dtype, Values::Words, seed ^ 2),
        ];
        Case::new(Select, inputs, Tolerance::Bits)
    };
    for &dtype in STORED {
        for ((a, b), i) in PAIRS.iter().zip(0..) {
            table(device, settings, [case(dtype, a, a, b, i), case(dtype, b, a, a, i)]);
        }
    }
    random(
        device,
        settings,
        (stored(), broadcasting::<3>(), seed()),
        |(dtype, [c, a, b], seed)| case(dtype, &c, &a, &b, seed),
    );
}

/// Numbers beside the ties and the ends of f16 and of u32.
const ROUNDING: &[f32] = &[
    1.000_488_3,
    1.000_976_6,
    1.001_464_8,
    1.000_488_4,
    2_049.0,
    2_051.0,
    65_503.0,
    65_504.0,
    65_519.996,
    65_520.0,
    1e5,
    5.960_464_5e-8,
    2.980_232_2e-8,
    2.980_232_5e-8,
    6.103_515_6e-5,
    6.1e-5,
    0.999_999_94,
    -0.999,
    -1.0,
    4_294_967_040.0,
    4_294_967_296.0,
    1e20,
];

/// Numbers that f32 does not hold, beside ties and the ends of ranges.
const DOUBLES: &[f64] = &[
    1e300,
    -1e300,
    1e-300,
    -1e-50,
    1.000_488_281_250_000_2,
    65_519.999_999_999,
    16_777_217.000_000_01,
    4_294_967_295.5,
    4_294_967_296.0,
    2_147_483_647.5,
    -2_147_483_648.9,
    -2_147_483_649.0,
    127.999_999,
    -128.999_999,
    255.999_999,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    3.402_823_669_209_384e38,
    f64::MIN_POSITIVE,
    5e-324,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

/// Integers that floats do not hold, and those at the ends of the ranges of others.
const INTEGERS: &[i64] = &[
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    255,
    256,
    2_049,
    2_051,
    65_519,
    65_520,
    (1 << 24) + 1,
    -(1 << 24) - 3,
    i32::MAX as i64,
    i32::MAX as i64 + 1,
    i32::MIN as i64,
    i32::MIN as i64 - 1,
    u32::MAX as i64,
    u32::MAX as i64 + 1,
    (1 << 53) + 1,
    // To f32 by way of f64 it would round twice, and wrong.
    (1 << 60) + (1 << 36) + 1,
    i64::MAX,
    i64::MIN,
];

/// [`Cast`] between all types.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn cast(device: &Device, settings: &Settings) {
    let case = |x| move |dtype| Case::new(Cast { dtype }, [x], Tolerance::Bits);
    for &to in STORED {
        for &from in STORED {
            let shapes = SHAPES.iter().zip(0..);
            let values = Values::Range(-10.0, 70_000.0);
            table(device, settings, shapes.map(|(s, i)| case(tensor(s, from, values, i))(to)));
            for edges in [EDGES, ROUNDING, NON_FINITE] {
                let x = tensor(&[9 * edges.len() + 1], from, Values::Cycle(edges), 0);
                table(device, settings, [case(x)(to)]);
            }
            let x = tensor(&[4099], from, Values::Words, 7);
            // Flushing must not show: to f16, all that is below the normal f32 is 0 anyhow.
            table(device, settings, [case(x)(to)]);
        }
        let shape = |count: usize| crate::Shape::new(&[count]).unwrap();
        let doubles = HostTensor::new(shape(DOUBLES.len()), DOUBLES.to_vec()).unwrap();
        let integers = HostTensor::new(shape(INTEGERS.len()), INTEGERS.to_vec()).unwrap();
        table(device, settings, [case(doubles)(to), case(integers)(to)]);
    }
    let parameters = (dims(0..=5), stored(), stored(), seed());
    random(device, settings, parameters, |(dims, from, to, seed)| {
        case(tensor(&dims, from, Values::Words, seed))(to)
    });
}

/// [`ReluGrad`], where the output and its gradient are of one type, and where they are not.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn relu_grad(device: &Device, settings: &Settings) {
    let case = |dims: &[usize], [y, dy]: [DType; 2], values, seed| {
        let inputs = [tensor(dims, y, values, seed), tensor(dims, dy, Values::Words, seed ^ 1)];
        Case::new(ReluGrad, inputs, Tolerance::Bits)
    };
    let types = || FLOATS.into_iter().flat_map(|y| FLOATS.map(|dy| [y, dy]));
    let subnormal = if settings.subnormals { SUBNORMAL } else { &[] };
    let edges: Vec<f32> = EDGES.iter().chain(subnormal).copied().collect();
    for types in types() {
        let shapes = SHAPES.iter().zip(0..);
        table(device, settings, shapes.map(|(s, i)| case(s, types, Values::Quarters, i)));
        for len in [edges.len(), 8 * edges.len() + 5] {
            table(device, settings, [case(&[len], types, Values::Cycle(&edges), 0)]);
        }
    }
    let types = prop::sample::select(types().collect::<Vec<_>>());
    random(device, settings, (types, dims(0..=5), seed()), |(types, dims, seed)| {
        case(&dims, types, Values::Quarters, seed)
    });
}
