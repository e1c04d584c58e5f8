#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_tensor::ops::{Activation, Conv2d, Conv2dInt8, Levels};
use striate_tensor::{Backend, Buffer, HostValues, Op, Operand, Shape, TensorType};

use super::execute;
use crate::context::Context;
use crate::memory::Pool;
use crate::simd::Level;
use crate::simd::int8::IntegerLevel;
use crate::threads::Threads;

/// Sizes `[n, rows, cols, channels, out]`, the kernel, the convolution.
type Case = ([usize; 5], [usize; 2], Conv2dInt8);

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..3usize, 1..9usize, 1..9usize, 1..40usize, 1..80usize);
    let window = ([1..4usize, 1..4usize], [1..3usize, 1..3usize], [1..3usize, 1..3usize]);
    let activation = prop::sample::select(vec![
        Activation::None,
        Activation::Relu,
        Activation::Clamp { min: 0.0, max: 6.0 },
    ]);
    (sizes, window, activation, any::<bool>(), any::<u8>()).prop_map(
        |((n, rows, cols, channels, out), (kernel, stride, dilation), activation, added, zero)| {
            let (bias, residual) = (added, added);
            let mut conv =
                Conv2d { stride, dilation, bias, residual, activation, ..Conv2d::default() };
            conv.padding = conv.window(kernel).map(|window| [window - 1, window / 2]);
            let levels = Levels { scale: 0.01, zero };
            ([n, rows, cols, channels, out], kernel, Conv2dInt8 { conv, levels })
        },
    )
}

/// Numbers between -1 and 1.
fn floats(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 2_654_435 + seed) % 20_011) as f32 / 10_005.0 - 1.0).collect()
}

/// The operands of a case, and the type of its output.
fn operands(
    ([n, rows, cols, channels, out], kernel, op): Case,
) -> (Vec<TensorType>, Vec<HostValues>) {
    let [kernel_rows, kernel_cols] = kernel;
    let mut shapes = vec![
        Shape::new(&[n, rows, cols, channels]).unwrap(),
        Shape::new(&[out, kernel_rows, kernel_cols, channels]).unwrap(),
        Shape::new(&[out]).unwrap(),
    ];
    let plain = Conv2d { bias: false, residual: false, ..op.conv };
    let y = Op::from(plain).output(&[0, 1].map(|i| TensorType::f32(shapes[i]))).unwrap();
    if op.conv.bias {
        shapes.extend([shapes[2], y.shape]);
    }
    let mut types: Vec<TensorType> = shapes.iter().map(|shape| TensorType::f32(*shape)).collect();
    let mut values: Vec<HostValues> =
        shapes.iter().enumerate().map(|(i, shape)| floats(shape.count(), i).into()).collect();
    types[1].dtype = striate_tensor::DType::I8;
    values[1] =
        floats(shapes[1].count(), 7).iter().map(|x| (x * 127.0) as i8).collect::<Vec<_>>().into();
    (types, values)
}

/// The output's bits by these instructions.
fn bits(case: Case, level: Level, integers: IntegerLevel, threads: usize) -> Vec<u8> {
    let (types, values) = operands(case);
    let cpu = crate::Cpu::with_level(Some(threads), level).unwrap();
    let buffers: Vec<Buffer> =
        values.into_iter().map(|values| cpu.upload(values).unwrap()).collect();
    let operands: Vec<Operand<'_>> =
        buffers.iter().zip(&types).map(|(buffer, ty)| Operand { buffer, ty }).collect();
    let output = Op::from(case.2).output(&types).unwrap();
    let cx =
        Context { threads: Threads::new(Some(threads)).unwrap(), level, pool: Pool::default() };
    execute(&cx, integers, &case.2, &operands, &output).unwrap().bytes()[..4 * output.count()]
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(48)
    })]

    /// Those that a processor of the best level may lack, too.
    #[test]
    fn all_instructions_and_numbers_of_threads_give_the_same_bits(case in cases()) {
        let plain = IntegerLevel::best(Level::PORTABLE);
        let wanted = bits(case, Level::PORTABLE, plain, 1);
        for level in Level::available() {
            for integers in IntegerLevel::all(level) {
                for threads in [1, 3] {
                    let got = bits(case, level, integers, threads);
                    prop_assert!(got == wanted, "{integers:?} with {threads} threads");
                }
            }
        }
    }
}
