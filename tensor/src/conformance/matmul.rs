//! Matrix products.

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{activation, extent, float, seed};
use super::values::{FLOATS, NON_FINITE, SIGNED, Values, sprinkled, tensor};
use crate::ops::{Activation, MatMul};
use crate::{DType, Device, HostTensor};

/// A product of matrices, before the order that they are stored in.
#[derive(Clone, Debug)]
struct Product<'a> {
    batch_a: &'a [usize],
    batch_b: &'a [usize],
    m: usize,
    n: usize,
    k: usize,
}

fn product(m: usize, n: usize, k: usize) -> Product<'static> {
    Product { batch_a: &[], batch_b: &[], m, n, k }
}

impl Product<'_> {
    fn case(&self, op: MatMul, [a, b]: [DType; 2], seed: u64) -> Case {
        self.case_of(op, [a, b], SIGNED, seed)
    }

    fn case_of(&self, op: MatMul, [a, b]: [DType; 2], values: Values<'_>, seed: u64) -> Case {
        let Product { batch_a, batch_b, m, n, k } = *self;
        let last = |transposed, rows, cols| if transposed { [cols, rows] } else { [rows, cols] };
        let a_dims = [batch_a, &last(op.transpose_a, m, k)].concat();
        let b_dims = [batch_b, &last(op.transpose_b, k, n)].concat();
        let mut inputs =
            vec![tensor(&a_dims, a, values, seed), tensor(&b_dims, b, values, seed ^ 1)];
        if op.bias {
            // The bias in the type of the weights, as a layer keeps both.
            inputs.push(tensor(&[n], b, values, seed ^ 2));
        }
        with_tolerance(op, inputs, k)
    }
}

fn with_tolerance(op: MatMul, inputs: Vec<HostTensor>, k: usize) -> Case {
    let product = finite_max(&inputs[0]) * finite_max(&inputs[1]);
    let bias = inputs.get(2).map_or(0.0, finite_max);
    // The bias is one term more.
    Case::new(op, inputs, Tolerance::Sum { terms: k + 1, product: product.max(bias) })
}

/// All four ways to store the operands.
fn orders() -> impl Iterator<Item = MatMul> {
    (0..4).map(|bits| MatMul {
        transpose_a: bits & 1 != 0,
        transpose_b: bits & 2 != 0,
        ..MatMul::default()
    })
}

/// Without and with bias and ReLU.
fn epilogues(op: MatMul) -> impl Iterator<Item = MatMul> {
    (0..4).map(move |bits| MatMul {
        bias: bits & 1 != 0,
        activation: Activation::relu(bits & 2 != 0),
        ..op
    })
}

/// A full-connect layer: weights `[n, k]`.
const FULL_CONNECT: MatMul =
    MatMul { transpose_a: false, transpose_b: true, bias: true, activation: Activation::None };

/// [`MatMul`]: storage orders, batches, epilogues, types, and shapes from a vector to blocks.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn matmul(device: &Device, settings: &Settings) {
    let f32s = [DType::F32; 2];
    let check = |case: Case| table(device, settings, [case]);
    // None and one along each of the three extents: no sum is 0, and the epilogue still applies.
    for code in 0..3usize.pow(3) {
        let [m, n, k] =
            [(1, 3), (3, 5), (9, 4)].map(|(step, large)| [0, 1, large][code / step % 3]);
        for op in orders().flat_map(epilogues) {
            check(product(m, n, k).case(op, f32s, 1));
        }
    }
    // Around the tiles of micro-kernels, in rows, columns and depth.
    for size in [3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 65] {
        let shapes = [(size, 5, 7), (5, size, 7), (5, 7, size), (size, size, size)];
        for (op, (m, n, k)) in orders().zip(shapes.into_iter().cycle().skip(size % 4)) {
            check(product(m, n, k).case(op, f32s, size as u64));
        }
        check(product(size, size, size).case(MatMul::default(), f32s, size as u64));
    }
    // Few rows, deep and wide: bound by reading the weights, and often a path of its own.
    for m in 1..=17 {
        for (n, k) in [(100, 1000), (129, 517)] {
            let activation = Activation::ALL[m % Activation::ALL.len()];
            let relu = MatMul { activation, ..FULL_CONNECT };
            check(product(m, n, k).case(relu, f32s, m as u64));
            check(product(m, n, k).case(relu, [DType::F32, DType::F16], m as u64));
            check(product(m, n, k).case(MatMul::default(), f32s, m as u64));
        }
    }
    // Few columns.
    for n in 1..=5 {
        orders().for_each(|op| check(product(200, n, 300).case(op, f32s, n as u64)));
    }
    // Over the edges of blocks (256, 384, 512) in each extent.
    for op in orders() {
        check(product(130, 70, 300).case(op, f32s, 3));
        check(product(70, 530, 65).case(op, f32s, 4));
        check(product(33, 40, 1100).case(op, f32s, 5));
        check(product(270, 50, 515).case(
            MatMul { bias: true, activation: Activation::Relu, ..op },
            f32s,
            6,
        ));
    }
    // Half precision in either operand; the output has the type of `a`.
    for (a, b) in FLOATS.into_iter().flat_map(|a| FLOATS.map(|b| (a, b))) {
        for op in orders().flat_map(epilogues) {
            check(product(19, 35, 67).case(op, [a, b], 8));
        }
        check(product(1, 100, 300).case(FULL_CONNECT, [a, b], 9));
        check(product(130, 70, 300).case(FULL_CONNECT, [a, b], 10));
    }
    // Exact sums: whole numbers that f32 adds without rounding.
    check(product(20, 30, 4000).case_of(MatMul::default(), f32s, Values::Among(&[1.0]), 0));
    // Batches that broadcast.
    let batches: [(&[usize], &[usize]); 9] = [
        (&[3], &[3]),
        (&[3], &[]),
        (&[], &[3]),
        (&[1], &[4]),
        (&[2, 1], &[1, 3]),
        (&[2, 3], &[3]),
        (&[0], &[1]),
        (&[2, 2, 1, 2], &[2, 1, 3, 1]),
        (&[2, 1, 1, 2, 1, 1], &[2, 3, 2]),
    ];
    for (batch_a, batch_b) in batches {
        for op in orders() {
            for (m, n, k) in [(5, 9, 6), (1, 17, 3), (4, 1, 8)] {
                check(Product { batch_a, batch_b, m, n, k }.case(op, f32s, 11));
            }
        }
        let bias = MatMul { bias: true, activation: Activation::Relu, ..MatMul::default() };
        check(Product { batch_a, batch_b, m: 3, n: 4, k: 5 }.case(bias, f32s, 12));
    }
    // NaN and infinities reach the rows and columns that they are in, and no other.
    for op in orders().flat_map(epilogues) {
        for (m, n, k) in [(1, 33, 40), (9, 33, 40), (70, 20, 270)] {
            for place in 0..2 + usize::from(op.bias) {
                for among in [NON_FINITE, &[f32::INFINITY]] {
                    let mut inputs = product(m, n, k).case(op, f32s, 13).inputs;
                    // Zeros, which make NaN of the infinities that they meet, and of no other.
                    inputs[0] = sprinkled(inputs[0].clone(), &[0.0], 3, 16);
                    inputs[place] = sprinkled(inputs[place].clone(), among, 100, 14);
                    check(with_tolerance(op, inputs, k));
                }
            }
        }
    }
    if settings.subnormals {
        let tiny = Values::Range(-1e-38, 1e-38);
        check(product(5, 7, 9).case_of(MatMul::default(), f32s, tiny, 15));
    }
    let parameters = (
        (extent(), extent(), 0..80usize),
        (0..batches.len(), 0..8usize, activation()),
        (float(), float()),
        seed(),
    );
    random(
        device,
        settings,
        parameters,
        |((m, n, k), (batch, flags, activation), (a, b), seed)| {
            let op = MatMul {
                transpose_a: flags & 1 != 0,
                transpose_b: flags & 2 != 0,
                bias: flags & 4 != 0,
                activation,
            };
            let (batch_a, batch_b) = batches[batch];
            Product { batch_a, batch_b, m, n, k }.case(op, [a, b], seed)
        },
    );
}
