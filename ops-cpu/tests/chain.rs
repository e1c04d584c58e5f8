//! Chains of convolutions in one pass over rows: the same bits as one by one, at every level and on several
//! numbers of threads.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{Activation, Binary, BinaryKind, Conv2d};
use striate_tensor::{
    Buffer, Device, Link, Op, Operand, RandomKey, Shape, Tensor, TensorType, execute_each,
};

/// An inverted residual block, or a part of one.
#[derive(Clone, Debug)]
struct Block {
    x: [usize; 4],
    /// Channels of the depthwise convolution, where an expansion makes them of those of `x`.
    expanded: Option<usize>,
    /// The expansion is a network's first layer: its kernel, stride and padding along both axes.
    first: Option<[usize; 3]>,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
    projected: Option<usize>,
    bias: bool,
    residual: bool,
    activation: Activation,
}

/// A convolution and its operands after the first.
type Step = (Op, Vec<Tensor>, TensorType);

impl Block {
    fn steps(&self, device: &Device) -> (Tensor, Vec<Step>) {
        let normal = |dims: &[usize], stream| {
            Tensor::normal(dims, 0.0, 1.0, RandomKey::new(23, stream), device).unwrap()
        };
        let x = normal(&self.x, 0);
        let mut steps: Vec<Step> = Vec::new();
        let mut ty = *x.ty();
        let mut step = |op: Conv2d, weights: [usize; 4], residual: bool| {
            let op = Conv2d { bias: self.bias, residual, activation: self.activation, ..op };
            let stream = 10 * steps.len() as u64;
            let mut others = vec![normal(&weights, stream + 1)];
            if self.bias {
                others.push(normal(&weights[..1], stream + 2));
            }
            let alone = Op::from(Conv2d { residual: false, ..op });
            let types: Vec<TensorType> =
                std::iter::once(ty).chain(others.iter().map(|x| *x.ty())).collect();
            ty = alone.output(&types).unwrap();
            if residual {
                others.push(normal(ty.shape.dims(), stream + 3));
            }
            steps.push((op.into(), others, ty));
        };
        let [.., channels] = self.x;
        let last = self.projected.is_none();
        if let Some(expanded) = self.expanded {
            let [kernel, stride, padding] = self.first.unwrap_or([1, 1, 0]);
            let (stride, padding) = ([stride; 2], [[padding; 2]; 2]);
            let op = Conv2d { stride, padding, ..Conv2d::default() };
            step(op, [expanded, kernel, kernel, channels], false);
        }
        let channels = self.expanded.unwrap_or(channels);
        let (stride, padding) = (self.stride, self.padding);
        let filter = Conv2d { stride, padding, groups: channels, ..Conv2d::default() };
        step(filter, [channels, self.kernel[0], self.kernel[1], 1], self.residual && last);
        if let Some(projected) = self.projected {
            step(Conv2d::default(), [projected, 1, 1, channels], self.residual);
        }
        (x, steps)
    }

    /// As [`bits_of`], with altered steps.
    fn run(&self, device: &Device, alter: impl Fn(&mut Vec<Step>)) -> [Vec<u32>; 2] {
        let (x, mut steps) = self.steps(device);
        alter(&mut steps);
        bits_of(device, &x, &steps)
    }
}

/// The bits of the output: as a chain, and one by one.
fn bits_of(device: &Device, x: &Tensor, steps: &[Step]) -> [Vec<u32>; 2] {
    let links: Vec<Link<'_>> = steps.iter().map(link).collect();
    let x = Operand { buffer: x.buffer(), ty: x.ty() };
    let bits = |buffer: Buffer| -> Vec<u32> {
        let ty = &steps.last().unwrap().2;
        let host = device.backend().download(&buffer, ty).unwrap().wait().unwrap();
        let words = host.values().bytes().chunks_exact(4);
        words.map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let chained = device.backend().execute_chain(&x, &links).unwrap();
    [bits(chained), bits(execute_each(device.backend(), &x, &links).unwrap())]
}

fn link((op, others, output): &Step) -> Link<'_> {
    let others = others.iter().map(|x| Operand { buffer: x.buffer(), ty: x.ty() }).collect();
    Link { op, others, output }
}

fn blocks() -> impl Strategy<Value = Block> {
    let image = [1..=2usize, 1..=20, 1..=20, 1..=40];
    let axis = || (1..=5usize, 1..=3usize, [0..=2usize, 0..=2]);
    let first = prop::option::of([2..=5usize, 1..=3, 0..=2]);
    let channels = (prop::option::of(16..=70usize), prop::option::of(1..=40usize), first);
    let activation = prop::sample::select(vec![
        Activation::None,
        Activation::Relu,
        Activation::Clamp { min: -0.5, max: 6.0 },
        Activation::Silu,
    ]);
    let parts = (image, [axis(), axis()], channels, any::<[bool; 2]>(), activation);
    parts.prop_filter_map("a kernel on the image, and channels for a vector", |parts| {
        let (mut x, [rows, cols], (expanded, projected, first), [bias, residual], activation) =
            parts;
        let first = expanded.and(first);
        let mut seen = [x[1], x[2]];
        if let Some([kernel, stride, padding]) = first {
            x[3] = x[3] % 16 + 1;
            for extent in &mut seen {
                *extent =
                    (*extent + 2 * padding).checked_sub(kernel).map_or(0, |rest| rest / stride + 1);
            }
        }
        let fits = |extent: usize, (kernel, _, padding): (usize, usize, [usize; 2])| {
            extent > 0 && extent + padding[0] + padding[1] >= kernel
        };
        let is_depthwise = expanded.is_some() || x[3] >= 16;
        let block = Block {
            x,
            expanded,
            first,
            kernel: [rows.0, cols.0],
            stride: [rows.1, cols.1],
            padding: [rows.2, cols.2],
            projected,
            bias,
            residual,
            activation,
        };
        (is_depthwise && fits(seen[0], rows) && fits(seen[1], cols)).then_some(block)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(60)
    })]

    #[test]
    fn a_chain_has_the_bits_of_its_convolutions(block in blocks()) {
        for level in Level::available() {
            for threads in [1, 3, 16] {
                let device = Device::new(Cpu::with_level(Some(threads), level).unwrap());
                let [chained, each] = block.run(&device, |_| ());
                prop_assert_eq!(chained, each, "{} with {} threads", level, threads);
            }
        }
    }
}

/// A squeeze-and-excitation block's last steps: a scale for each channel of each image, and a projection.
fn scaled(x: [usize; 4], out: usize, residual: bool, device: &Device) -> (Tensor, Vec<Step>) {
    let normal = |dims: &[usize], stream| {
        Tensor::normal(dims, 0.0, 1.0, RandomKey::new(29, stream), device).unwrap()
    };
    let [n, rows, cols, channels] = x;
    let mut others = vec![normal(&[out, 1, 1, channels], 2), normal(&[out], 3)];
    if residual {
        others.push(normal(&[n, rows, cols, out], 4));
    }
    let conv = Conv2d { bias: true, residual, activation: Activation::Relu, ..Conv2d::default() };
    let mul = Op::from(Binary { kind: BinaryKind::Mul });
    let of = |dims: &[usize]| TensorType::f32(Shape::new(dims).unwrap());
    let steps = vec![
        (mul, vec![normal(&[n, 1, 1, channels], 1)], of(&x)),
        (conv.into(), others, of(&[n, rows, cols, out])),
    ];
    (normal(&x, 0), steps)
}

#[test]
fn scaled_images_that_are_projected_have_the_bits_of_both_ops() {
    for level in Level::available() {
        for threads in [1, 3, 16] {
            let device = Device::new(Cpu::with_level(Some(threads), level).unwrap());
            for (x, out, residual) in [
                ([1, 1, 1, 1], 1, false),
                ([2, 5, 7, 19], 33, true),
                ([1, 14, 14, 480], 80, true),
                ([5, 13, 9, 40], 24, false),
                ([40, 3, 5, 16], 50, false),
            ] {
                let (x, steps) = scaled(x, out, residual, &device);
                let [chained, each] = bits_of(&device, &x, &steps);
                assert_eq!(chained, each, "{} at {level} with {threads} threads", x.shape());
            }
        }
    }
}

#[test]
fn large_scaled_images_are_chains() {
    let device = Device::new(Cpu::new(Some(1)).unwrap());
    let length = |x, out| {
        let (x, steps) = scaled(x, out, false, &device);
        let links: Vec<Link<'_>> = steps.iter().map(link).collect();
        device.backend().chain_length(x.ty(), &links)
    };
    assert_eq!(length([4, 14, 14, 480], 80), 2);
    assert_eq!(length([16, 7, 7, 960], 160), 0, "a task would read all of too many weights");
    assert_eq!(length([1, 14, 14, 480], 80), 0, "the image stays in a cache");
}

fn mobile(image: usize) -> Block {
    Block {
        x: [1, image, image, 16],
        expanded: Some(96),
        first: None,
        kernel: [3, 3],
        stride: [2, 2],
        padding: [[1, 1]; 2],
        projected: Some(24),
        bias: true,
        residual: false,
        activation: Activation::Relu,
    }
}

#[test]
fn the_blocks_of_large_images_are_chains() {
    let device = Device::new(Cpu::new(Some(1)).unwrap());
    let length = |block: Block| {
        let (x, steps) = block.steps(&device);
        let links: Vec<Link<'_>> = steps.iter().map(link).collect();
        device.backend().chain_length(x.ty(), &links)
    };
    assert_eq!(length(mobile(112)), 3);
    assert_eq!(length(Block { projected: None, ..mobile(112) }), 2);
    let stem = Block { x: [1, 224, 224, 3], first: Some([3, 2, 1]), ..mobile(224) };
    assert_eq!(length(stem), 3);
    let first = Block { expanded: None, stride: [1, 1], x: [1, 112, 112, 32], ..mobile(112) };
    assert_eq!(length(first.clone()), 2);
    assert_eq!(length(Block { projected: None, ..first }), 0, "it is one convolution");
    assert_eq!(length(mobile(28)), 0, "what is between stays in a cache");
}

/// Padding is left out of the sums of the depthwise kernel, which a NaN would show: such weights go the
/// general way, alone and in a chain.
#[test]
fn weights_that_are_not_finite_are_no_chain() {
    let device = Device::new(Cpu::new(Some(2)).unwrap());
    let [chained, each] = mobile(9).run(&device, |steps| {
        let weights = steps[1].1[0].clone();
        let mut values: Vec<f32> = weights.to_vec().unwrap();
        values[4] = f32::INFINITY;
        let shape = Shape::new(weights.dims()).unwrap();
        steps[1].1[0] = Tensor::from_vec(values, shape, &device).unwrap();
    });
    assert_eq!(chained, each);
    assert!(chained.iter().any(|&bits| f32::from_bits(bits).is_nan()));
}
