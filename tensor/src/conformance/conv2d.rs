//! Convolution, and its gradients.

use proptest::prelude::*;

use super::Settings;
use super::cases::{Case, Tolerance, finite_max, random, table};
use super::strategies::{activation, float, seed};
use super::values::{FLOATS, NON_FINITE, SIGNED, Values, indices, non_finite, sprinkled, tensor};
use crate::ops::{
    Activation, Algorithm, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, ConvTranspose2d,
};
use crate::{DType, Device, HostTensor, Op, TensorType};

/// A convolution and the sizes that it is asked for.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// `[n, rows, cols, channels]`.
    x: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    conv: Conv2d,
}

/// A square kernel, `stride` and `padding` the same both ways, one group.
fn square(x: [usize; 4], out: usize, kernel: usize, stride: usize, padding: usize) -> Setup {
    let conv = Conv2d { stride: [stride; 2], padding: [[padding; 2]; 2], ..Conv2d::default() };
    Setup { x, out, kernel: [kernel; 2], conv }
}

impl Setup {
    fn groups(self, groups: usize) -> Self {
        Setup { conv: Conv2d { groups, ..self.conv }, ..self }
    }

    fn sides(self, padding: [[usize; 2]; 2]) -> Self {
        Setup { conv: Conv2d { padding, ..self.conv }, ..self }
    }

    fn dilated(self, dilation: [usize; 2]) -> Self {
        Setup { conv: Conv2d { dilation, ..self.conv }, ..self }
    }

    fn epilogue(self, bias: bool, relu: bool) -> Self {
        Setup { conv: Conv2d { bias, activation: Activation::relu(relu), ..self.conv }, ..self }
    }

    fn residual(self, residual: bool) -> Self {
        Setup { conv: Conv2d { residual, ..self.conv }, ..self }
    }

    fn direct(self) -> Self {
        Setup { conv: Conv2d { algorithm: Algorithm::Direct, ..self.conv }, ..self }
    }

    fn weights(&self) -> [usize; 4] {
        [self.out, self.kernel[0], self.kernel[1], self.x[3] / self.conv.groups]
    }

    fn x(&self, dtype: DType, seed: u64) -> HostTensor {
        tensor(&self.x, dtype, SIGNED, seed)
    }

    fn w(&self, dtype: DType, seed: u64) -> HostTensor {
        tensor(&self.weights(), dtype, SIGNED, seed ^ 1)
    }

    fn dy(&self, dtype: DType, seed: u64) -> HostTensor {
        let conv = Conv2d { bias: false, residual: false, ..self.conv };
        let types = [self.x(dtype, 0).ty(), self.w(dtype, 0).ty()];
        let y: TensorType = Op::from(conv).output(&types).expect("the convolution of a case");
        tensor(y.shape.dims(), dtype, SIGNED, seed ^ 3)
    }

    fn of(&self, inputs: Vec<HostTensor>) -> Case {
        let added = &inputs[2..];
        let terms = self.weights()[1..].iter().product::<usize>() + added.len().max(1);
        let product = finite_max(&inputs[0]) * finite_max(&inputs[1]);
        let product = added.iter().map(finite_max).fold(product, f64::max);
        let case = Case::new(self.conv, inputs, Tolerance::Sum { terms, product });
        self.spreading(case, |output, operand, place| match operand {
            0 => self.share_a_tile(output, place),
            1 => output[3] == place[0],
            // Bias and residual are added to what has been transformed back.
            _ => false,
        })
    }

    /// The case, with the elements that may be NaN or infinite because a transform computes tiles
    /// of outputs together: those that `reaches` says of, given the index of an element of the
    /// output, an operand, and the index of a NaN or an infinity in it.
    fn spreading(
        &self,
        case: Case,
        reaches: impl Fn([usize; 4], usize, [usize; 4]) -> bool,
    ) -> Case {
        if self.conv.algorithm == Algorithm::Direct {
            return case;
        }
        let operands = case.inputs.iter().take(2).map(non_finite);
        let places: Vec<(usize, [usize; 4])> = (operands.enumerate())
            .flat_map(|(operand, places)| places.into_iter().map(move |place| (operand, place)))
            .collect();
        if places.is_empty() {
            return case;
        }
        let output = case.op.output(&case.types()).expect("the convolution of a case").shape;
        let spread = indices(&output)
            .map(|output| places.iter().any(|&(operand, place)| reaches(output, operand, place)));
        Case { spread: spread.collect(), ..case }
    }

    /// Whether a transform may mix an output and a pixel: of one image and group, and the windows of
    /// a tile of outputs cover the pixel.
    fn share_a_tile(&self, output: [usize; 4], pixel: [usize; 4]) -> bool {
        // Outputs along an axis of the largest tile.
        const TILE: usize = 4;
        let near = |axis: usize| {
            let beyond = (TILE - 1) * self.conv.stride[axis];
            let from = output[axis + 1] * self.conv.stride[axis];
            let to = from + self.conv.window(self.kernel)[axis] + beyond;
            let place = pixel[axis + 1] + self.conv.padding[axis][0] + beyond;
            (from..to + beyond).contains(&place)
        };
        let group = |channel: usize, channels: usize| channel / (channels / self.conv.groups);
        output[0] == pixel[0]
            && group(output[3], self.out) == group(pixel[3], self.x[3])
            && near(0)
            && near(1)
    }

    fn forward(&self, [x, w]: [DType; 2], seed: u64) -> Case {
        let mut inputs = vec![self.x(x, seed), self.w(w, seed)];
        if self.conv.bias {
            inputs.push(tensor(&[self.out], w, SIGNED, seed ^ 2));
        }
        if self.conv.residual {
            inputs.push(self.dy(w, seed ^ 4));
        }
        self.of(inputs)
    }

    fn input_grad(&self, [dy, w]: [DType; 2], seed: u64) -> Case {
        let op = Conv2dInputGrad { conv: self.conv, input: [self.x[1], self.x[2]] };
        let terms = self.kernel.iter().product::<usize>() * self.out / self.conv.groups;
        let inputs = [self.dy(dy, seed), self.w(w, seed)];
        Case::new(op, inputs, Tolerance::Sum { terms, product: 1.0 })
    }

    /// An input gradient of these operands, some of which may be NaN or infinite.
    fn input_grad_of(&self, dy: HostTensor, w: HostTensor) -> Case {
        let case = Case { inputs: vec![dy, w], ..self.input_grad(F32S, 0) };
        self.spreading(case, |pixel, operand, place| {
            operand == 0 && self.share_a_tile(place, pixel)
        })
    }

    fn weight_grad(&self, [x, dy]: [DType; 2], seed: u64) -> Case {
        let op = Conv2dWeightGrad { conv: self.conv, kernel: self.kernel };
        let inputs = [self.x(x, seed), self.dy(dy, seed)];
        let terms = inputs[1].ty().count() / self.out.max(1);
        Case::new(op, inputs, Tolerance::Sum { terms, product: 1.0 })
    }

    /// A weight gradient of these operands, some of which may be NaN or infinite.
    fn weight_grad_of(&self, x: HostTensor, dy: HostTensor) -> Case {
        let case = Case { inputs: vec![x, dy], ..self.weight_grad(F32S, 0) };
        let [per_group, out_per_group] = [self.x[3], self.out].map(|all| all / self.conv.groups);
        self.spreading(case, |weight, operand, place| match operand {
            0 => weight[0] / out_per_group * per_group + weight[3] == place[3],
            _ => weight[0] == place[3],
        })
    }
}

/// Shapes that every pass is asked for.
fn setups() -> Vec<Setup> {
    let mut setups = vec![
        // Empty: no images, no channels (a sum of nothing), no outputs, no image but its padding.
        square([0, 5, 5, 3], 4, 3, 1, 1),
        square([2, 5, 5, 0], 4, 3, 1, 1),
        square([2, 5, 5, 3], 0, 3, 1, 1),
        square([1, 0, 4, 3], 2, 1, 1, 1),
        // One of everything.
        square([1, 1, 1, 1], 1, 1, 1, 0),
        // Extents that could be taken for one another.
        square([4, 4, 4, 4], 4, 4, 1, 0),
        square([3, 3, 3, 3], 3, 3, 1, 1),
        // Kernels of the size of the image, of the padded image, and larger than the image.
        square([2, 5, 5, 4], 6, 5, 1, 0),
        square([2, 3, 3, 4], 6, 5, 1, 1),
        // A stride beyond the kernel, and one that leaves a rest.
        square([2, 11, 11, 4], 5, 2, 3, 0),
        square([2, 12, 13, 4], 5, 3, 5, 1),
        square([1, 9, 9, 3], 8, 1, 4, 0),
        // Padding of the kernel's size and beyond: windows of nothing but zeros.
        square([1, 4, 4, 3], 5, 3, 1, 3),
        square([1, 3, 2, 5], 4, 3, 2, 7),
        square([1, 3, 2, 5], 4, 1, 1, 2),
        // First layers: 11x11 stride 4 and 7x7 stride 2 over 3 channels.
        square([1, 35, 35, 3], 20, 11, 4, 0),
        square([2, 27, 31, 3], 20, 11, 4, 1),
        square([1, 30, 29, 3], 50, 7, 2, 2),
        square([1, 23, 23, 3], 64, 7, 2, 0),
        square([2, 28, 28, 1], 20, 5, 1, 0),
        square([1, 17, 40, 3], 64, 3, 1, 1),
        // Groups: two, as many as channels, and outputs that are a multiple of them.
        square([2, 6, 7, 4], 6, 3, 1, 1).groups(2),
        square([1, 9, 9, 96], 32, 5, 1, 2).groups(2),
        square([2, 7, 7, 16], 16, 3, 1, 1).groups(16),
        square([2, 7, 7, 6], 18, 3, 2, 1).groups(6),
        square([1, 6, 6, 34], 10, 3, 1, 1).groups(2),
        // Sides that differ: for each way that a device may take, and with nothing but padding.
        square([2, 7, 6, 5], 6, 3, 1, 0).sides([[0, 2], [1, 0]]),
        square([2, 9, 10, 3], 12, 5, 2, 0).sides([[3, 0], [1, 4]]),
        square([1, 8, 9, 18], 9, 4, 3, 0).sides([[1, 2], [0, 5]]).groups(3),
        square([1, 14, 13, 32], 32, 3, 1, 0).sides([[0, 2], [1, 0]]),
        square([1, 13, 14, 32], 64, 5, 1, 0).sides([[4, 1], [0, 3]]),
        square([4, 17, 16, 32], 32, 3, 1, 0).sides([[2, 0], [0, 1]]),
        square([1, 0, 3, 4], 5, 2, 1, 0).sides([[0, 3], [1, 0]]),
        square([1, 1, 1, 2], 3, 3, 1, 0).sides([[5, 0], [0, 4]]),
        // Dilations: of a stride's, which share nothing with it, and which share a part.
        square([2, 9, 8, 5], 6, 3, 1, 2).dilated([2, 2]),
        square([2, 12, 13, 3], 9, 3, 1, 3).dilated([3, 2]),
        square([1, 11, 10, 3], 8, 3, 2, 2).dilated([2, 1]),
        square([1, 11, 10, 3], 8, 3, 2, 1).dilated([1, 2]),
        square([2, 13, 12, 6], 4, 4, 2, 3).dilated([3, 2]).groups(2),
        square([1, 17, 18, 4], 5, 3, 4, 3).dilated([2, 6]),
        square([1, 15, 16, 7], 6, 3, 3, 4).dilated([2, 3]),
        square([1, 16, 15, 32], 32, 3, 1, 2).dilated([2, 2]),
        square([4, 16, 17, 32], 32, 3, 2, 2).dilated([2, 2]),
        square([1, 9, 9, 3], 4, 3, 1, 0).sides([[0, 5], [2, 1]]).dilated([3, 4]),
        square([1, 2, 2, 3], 4, 2, 1, 4).dilated([5, 7]),
        square([1, 4, 4, 3], 4, 1, 1, 0).dilated([9, 1 << 20]),
        // Channels beyond a block of the sum.
        square([1, 5, 5, 600], 9, 3, 1, 1),
        square([1, 5, 4, 1040], 12, 3, 1, 1).groups(2),
        square([1, 4, 4, 1100], 8, 1, 1, 0),
    ];
    // Channels and outputs around vectors and tiles, for the kernels that networks use.
    let channels = [1, 3, 4, 5, 8, 16, 17, 64, 96];
    let outs = [1, 4, 20, 50, 64, 100];
    for (i, &c) in channels.iter().enumerate() {
        for (j, &out) in outs.iter().enumerate() {
            let rows = 5 + (i + j) % 4;
            let cols = 6 + (2 * i + j) % 9;
            setups.push(square([1, rows, cols, c], out, 3, 1, 1));
            setups.push(square([2, rows, cols, c], out, 1, 1, 0));
            if (i + j) % 3 == 0 {
                setups.push(square([1, rows, cols, c], out, 5, 1, 2));
                setups.push(square([1, rows + 4, cols, c], out, 3, 2, 1));
            }
        }
    }
    // Rows and columns around tiles of pixels.
    for size in [4, 6, 8, 12, 14, 16] {
        for size in [size - 1, size, size + 1] {
            setups.push(square([1, size, 3, 8], 16, 3, 1, 1));
            setups.push(square([1, 3, size, 8], 17, 3, 1, 1));
            setups.push(square([1, size, size, 5], 12, 1, 1, 0));
        }
    }
    // Rows and columns that differ in everything.
    let conv = Conv2d { stride: [2, 3], padding: [[0; 2], [2; 2]], ..Conv2d::default() };
    setups.push(Setup { x: [2, 9, 10, 6], out: 7, kernel: [1, 5], conv });
    setups.push(Setup { x: [2, 10, 9, 6], out: 8, kernel: [4, 2], conv });
    setups.push(Setup {
        x: [1, 8, 8, 9],
        out: 6,
        kernel: [2, 7],
        conv: Conv2d { stride: [1, 1], padding: [[1; 2], [0; 2]], groups: 3, ..conv },
    });
    // Enough for several threads.
    setups.push(square([1, 30, 31, 32], 70, 3, 1, 1));
    setups.push(square([9, 8, 8, 16], 33, 3, 1, 1));
    // Each channel by itself: around vectors and blocks of them, with the kernels and strides that
    // networks have, more than they have, and images smaller than the kernel.
    for (x, kernel, stride, padding) in [
        ([2, 9, 10, 8], 3, 1, 1),
        ([1, 12, 13, 17], 3, 2, 1),
        ([1, 8, 20, 24], 5, 1, 2),
        ([2, 11, 10, 40], 5, 2, 2),
        ([1, 15, 16, 72], 7, 1, 3),
        ([1, 7, 7, 96], 7, 1, 3),
        ([1, 5, 4, 130], 7, 1, 3),
        ([2, 9, 9, 20], 7, 2, 3),
        ([1, 10, 11, 16], 2, 1, 0),
        ([1, 13, 12, 33], 4, 3, 1),
        ([1, 11, 23, 64], 9, 1, 4),
        ([2, 10, 9, 16], 1, 3, 0),
    ] {
        setups.push(square(x, x[3], kernel, stride, padding).groups(x[3]));
    }
    setups.push(square([1, 12, 13, 24], 24, 3, 1, 0).sides([[2, 1], [0, 4]]).groups(24));
    setups.push(square([1, 13, 14, 19], 19, 3, 2, 2).dilated([2, 3]).groups(19));
    setups.push(square([1, 3, 4, 16], 16, 3, 1, 4).dilated([1, 3]).groups(16));
    // Groups of a few channels, and of several outputs for each.
    setups.push(square([1, 8, 9, 32], 32, 3, 1, 1).groups(8));
    setups.push(square([2, 7, 7, 64], 128, 3, 2, 1).groups(16));
    setups
}

/// Images, kernels and channels of 0, 1 and odd extents along every axis.
fn thin_setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    let kernels = [[1, 1], [1, 2], [3, 1], [2, 3]];
    for [n, rows, cols, channels, out] in thin_extents() {
        let turn = setups.len();
        let kernel = kernels[turn % 4];
        // As much padding as the kernel needs, and often one more.
        let padding = [(0, rows), (1, cols)].map(|(axis, extent)| {
            (kernel[axis] - extent.min(kernel[axis])).div_ceil(2) + (turn / 3 + axis) % 2
        });
        let stride = [1 + turn % 2, 1 + turn / 2 % 2];
        let groups = if channels % 2 == 0 && out % 2 == 0 { 2 } else { 1 };
        let padding = padding.map(|padding| [padding + turn % 5 / 4, padding]);
        let conv = Conv2d { stride, padding, groups, ..Conv2d::default() };
        setups.push(Setup { x: [n, rows, cols, channels], out, kernel, conv });
    }
    setups
}

/// Every way for some of five extents to be 0 or 1.
fn thin_extents() -> impl Iterator<Item = [usize; 5]> {
    const EXTENTS: [[usize; 3]; 5] = [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5], [0, 1, 3]];
    (0..3usize.pow(5))
        .map(|code| std::array::from_fn(|axis| EXTENTS[axis][code / 3usize.pow(axis as u32) % 3]))
}

/// Setups for NaN and infinities: windows that overlap, that leave pixels out, that reach over the
/// edge, in groups; and two for each form of Winograd's algorithm.
fn non_finite_setups() -> Vec<Setup> {
    let between = Conv2d { stride: [2, 1], ..Conv2d::default() };
    let mut setups = vec![
        square([1, 9, 10, 5], 9, 3, 1, 1),
        square([2, 7, 9, 16], 16, 3, 1, 1),
        square([1, 12, 12, 3], 17, 5, 2, 2),
        square([1, 8, 8, 8], 8, 3, 1, 1).groups(2),
        square([2, 6, 6, 40], 33, 1, 1, 0),
        square([1, 2, 3, 4], 5, 3, 1, 2),
        square([1, 7, 8, 3], 4, 2, 3, 0),
        square([2, 5, 5, 2], 3, 4, 1, 0),
        Setup { x: [1, 3, 1, 1], out: 1, kernel: [2, 1], conv: between },
        Setup { x: [1, 6, 5, 2], out: 4, kernel: [2, 3], conv: between },
        square([1, 9, 9, 5], 6, 3, 1, 0).sides([[2, 0], [1, 3]]),
        square([1, 10, 9, 5], 6, 3, 2, 1).dilated([2, 3]),
        square([1, 14, 13, 32], 32, 3, 1, 0).sides([[1, 0], [0, 2]]),
    ];
    for (kernel, padding) in [(3, 1), (3, 0), (5, 2), (5, 1)] {
        setups.push(square([1, 14, 13, 32], 32, kernel, 1, padding));
    }
    setups.push(square([1, 12, 12, 64], 64, 3, 1, 1).groups(2));
    setups.push(square([1, 9, 8, 18], 18, 3, 1, 1).groups(18));
    setups.push(square([1, 7, 9, 16], 16, 5, 2, 3).groups(16));
    setups.into_iter().flat_map(|setup| [setup, setup.direct()]).collect()
}

/// NaN and infinities of both signs, and of one.
const NON_FINITES: [&[f32]; 2] = [NON_FINITE, &[f32::INFINITY]];

/// Zeros, which must not meet an infinity that the definition keeps from them.
fn with_zeros(x: HostTensor) -> HostTensor {
    sprinkled(x, &[0.0], 3, 9)
}

/// A few of them, for what need not be asked of all.
fn some_setups() -> impl Iterator<Item = Setup> {
    setups().into_iter().step_by(7)
}

/// The types of two operands.
fn type_pairs() -> impl Iterator<Item = [DType; 2]> {
    FLOATS.into_iter().flat_map(|a| FLOATS.map(|b| [a, b]))
}

const F32S: [DType; 2] = [DType::F32; 2];

/// [`Conv2d`] by the algorithm that the device chooses, and directly.
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn conv2d(device: &Device, settings: &Settings) {
    let check = |case: Case| table(device, settings, [case]);
    for (setup, seed) in thin_setups().into_iter().chain(setups()).zip(0..) {
        // Each epilogue in turn.
        let setup = setup.epilogue(seed % 2 == 0, seed % 4 < 2).residual(seed % 8 < 4);
        check(setup.forward(F32S, seed));
        check(setup.direct().forward(F32S, seed));
    }
    for setup in some_setups() {
        for (bias, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            let setup = setup.epilogue(bias, relu);
            type_pairs().for_each(|types| check(setup.forward(types, 5)));
            // Once: each combination is a kernel of its own on some devices, and slow to compile.
            if bias && relu {
                let setup = setup.residual(true);
                type_pairs().for_each(|types| check(setup.forward(types, 5)));
            }
        }
    }
    for (activation, seed) in Activation::ALL.into_iter().zip(0..) {
        let setup = square([1, 6, 7, 20], 17, 3, 1, 1).epilogue(true, false).residual(true);
        let conv = Conv2d { activation, ..setup.conv };
        check(Setup { conv, ..setup }.forward(F32S, seed));
    }
    for setup in non_finite_setups() {
        for (bias, relu) in [(false, false), (true, true)] {
            // With the bias, a residual too.
            let setup = setup.epilogue(bias, relu).residual(bias);
            for place in 0..if bias { 4 } else { 2 } {
                for among in NON_FINITES {
                    let mut inputs = setup.forward(F32S, 6).inputs;
                    inputs[0] = with_zeros(inputs[0].clone());
                    inputs[place] = sprinkled(inputs[place].clone(), among, 90, 7);
                    check(setup.of(inputs));
                }
            }
        }
    }
    if settings.subnormals {
        let setup = square([1, 6, 6, 8], 8, 3, 1, 1).direct();
        let x = tensor(&setup.x, DType::F32, Values::Range(-1e-38, 1e-38), 8);
        check(setup.of(vec![x, setup.w(DType::F32, 8)]));
    }
    random(device, settings, parameters(), |(setup, types, seed)| setup.forward(types, seed));
}

/// [`Conv2dInputGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn conv2d_input_grad(device: &Device, settings: &Settings) {
    let check = |case: Case| table(device, settings, [case]);
    for (setup, seed) in thin_setups().into_iter().chain(setups()).zip(0..) {
        check(setup.input_grad(F32S, seed));
    }
    for setup in non_finite_setups() {
        for among in NON_FINITES {
            let (dy, w) = (with_zeros(setup.dy(DType::F32, 6)), setup.w(DType::F32, 6));
            check(setup.input_grad_of(sprinkled(dy.clone(), among, 60, 7), w.clone()));
            check(setup.input_grad_of(dy.clone(), sprinkled(w.clone(), among, 30, 7)));
            // Half of the weights, so that those of every tap are among them.
            check(setup.input_grad_of(dy, sprinkled(w, among, 2, 7)));
        }
    }
    for setup in some_setups() {
        type_pairs().for_each(|types| check(setup.input_grad(types, 5)));
    }
    random(device, settings, parameters(), |(setup, types, seed)| setup.input_grad(types, seed));
}

/// [`Conv2dWeightGrad`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn conv2d_weight_grad(device: &Device, settings: &Settings) {
    let check = |case: Case| table(device, settings, [case]);
    for (setup, seed) in thin_setups().into_iter().chain(setups()).zip(0..) {
        check(setup.weight_grad(F32S, seed));
    }
    for setup in non_finite_setups() {
        for among in NON_FINITES {
            let (x, dy) = (with_zeros(setup.x(DType::F32, 6)), with_zeros(setup.dy(DType::F32, 6)));
            check(setup.weight_grad_of(sprinkled(x.clone(), among, 60, 7), dy.clone()));
            check(setup.weight_grad_of(x, sprinkled(dy, among, 60, 7)));
        }
    }
    for setup in some_setups() {
        type_pairs().for_each(|types| check(setup.weight_grad(types, 5)));
    }
    random(device, settings, parameters(), |(setup, types, seed)| setup.weight_grad(types, seed));
}

impl Setup {
    /// The transposed convolution back to the size of `x`; none where what is left over is not below
    /// the stride, or nothing is left.
    fn transposed(&self, [x, w]: [DType; 2], bias: bool, seed: u64) -> Option<Case> {
        let Conv2d { stride, padding, dilation, groups, algorithm, .. } = self.conv;
        let dy = self.dy(x, seed);
        let window = self.conv.window(self.kernel);
        let output_padding = [0, 1].map(|axis| {
            let least = (dy.shape().dims()[axis + 1] - 1) * stride[axis] + window[axis];
            let [before, after] = padding[axis];
            (self.x[axis + 1] + before + after).saturating_sub(least)
        });
        let op =
            ConvTranspose2d { stride, padding, output_padding, dilation, groups, bias, algorithm };
        let mut inputs = vec![dy, self.w(w, seed)];
        if bias {
            inputs.push(tensor(&[self.x[3]], w, SIGNED, seed ^ 2));
        }
        let types: Vec<TensorType> = inputs.iter().map(HostTensor::ty).collect();
        let terms = self.kernel.iter().product::<usize>() * self.out / groups + 1;
        let output = Op::from(op).output(&types).ok()?;
        assert_eq!(output.shape.dims(), self.x);
        Some(Case::new(op, inputs, Tolerance::Sum { terms, product: 1.0 }))
    }
}

/// [`ConvTranspose2d`].
///
/// # Panics
/// Where the device disagrees with the reference.
pub fn conv_transpose2d(device: &Device, settings: &Settings) {
    let check = |case: Option<Case>| table(device, settings, case);
    let mut taken = 0;
    for (setup, seed) in thin_setups().into_iter().chain(setups()).zip(0..) {
        let case = setup.transposed(F32S, seed % 2 == 0, seed);
        taken += usize::from(case.is_some());
        check(case);
    }
    assert!(taken > 200, "{taken} of the shapes of convolutions are those of transposed ones");
    for setup in some_setups() {
        type_pairs().for_each(|types| check(setup.transposed(types, true, 5)));
    }
    for setup in non_finite_setups() {
        for among in NON_FINITES {
            let Some(case) = setup.transposed(F32S, true, 6) else { continue };
            // As for the gradient in the input; a bias stays with its channel.
            for (place, every) in [(0, 60), (1, 30), (1, 2), (2, 5)] {
                let mut inputs = case.inputs.clone();
                inputs[0] = with_zeros(inputs[0].clone());
                inputs[place] = sprinkled(inputs[place].clone(), among, every, 7);
                let case = Case { inputs, ..Case::new(case.op.clone(), [], case.tolerance) };
                table(
                    device,
                    settings,
                    [setup.spreading(case, |pixel, operand, place| {
                        operand == 0 && setup.share_a_tile(place, pixel)
                    })],
                );
            }
        }
    }
    let parameters = (parameters(), any::<bool>());
    random(device, settings, parameters, |((setup, types, seed), bias)| {
        // Without one, something like it.
        setup.transposed(types, bias, seed).unwrap_or_else(|| setup.input_grad(types, seed))
    });
}

fn parameters() -> impl Strategy<Value = (Setup, [DType; 2], u64)> {
    let image = (0..4usize, 0..12usize, 0..12usize);
    let channels = (1..4usize, 0..9usize, 0..12usize);
    let pair = |range: std::ops::Range<usize>| prop::array::uniform2(range);
    let padding = prop::array::uniform2(pair(0..4));
    // Half of them without dilation, which more kernels take.
    let dilation = prop_oneof![Just([1, 1]), pair(1..4)];
    let window = (pair(1..6), pair(1..4), padding, dilation);
    let epilogue = (any::<bool>(), any::<bool>(), activation(), any::<bool>());
    (image, channels, window, epilogue, (float(), float()), seed()).prop_map(
        |((n, rows, cols), (groups, c, out), window, flags, types, seed)| {
            let (bias, residual, activation, direct) = flags;
            // As the table has it, where the types are mixed.
            let residual = residual && bias && activation.is_some();
            let (kernel, stride, padding, dilation) = window;
            // A kernel fits into the image with its padding, so that one of them has an extent.
            let [[top, bottom], [left, right]] = padding;
            let least = |extent: usize| usize::from(extent == 0);
            let padding = [[top.max(least(rows)), bottom], [left.max(least(cols)), right]];
            let fit = |axis: usize, extent: usize| {
                let padded = extent + padding[axis][0] + padding[axis][1];
                kernel[axis].min((padded - 1) / dilation[axis] + 1)
            };
            let algorithm = if direct { Algorithm::Direct } else { Algorithm::Auto };
            let setup = Setup {
                x: [n, rows, cols, c * groups],
                out: out * groups,
                kernel: [fit(0, rows), fit(1, cols)],
                conv: Conv2d {
                    stride,
                    padding,
                    dilation,
                    groups,
                    bias,
                    residual,
                    activation,
                    algorithm,
                },
            };
            (setup, [types.0, types.1], seed)
        },
    )
}
