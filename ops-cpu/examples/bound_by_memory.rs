//! Ops that memory bounds, or nearly: normalization, depthwise and transposed convolution, pooling, resizing.
//! Times, and shares of the roofline.
//!
//!     cargo run --release -p striate-ops-cpu --example bound_by_memory
//!     cargo run --release -p striate-ops-cpu --example bound_by_memory -- depthwise
//!
//! For one thread and for two, the best of many short runs. The roofline is what an op cannot be faster
//! than: its bytes (operands and output, each once) at the rate of copying as many bytes, or its flops at
//! the peak of multiply-adds in registers, whichever takes longer. Both are measured before each op.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "an example stops at the first failure, and is a table for people to read"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use striate_ops_cpu::simd::{Kernel, Simd};
use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::*;
use striate_tensor::{Device, Op, RandomKey, Tensor};

/// How long an op, a copy or a chain is run, and at least how often.
const LONG: Duration = Duration::from_millis(250);
const OFTEN: usize = 8;

/// The best time of many runs.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < OFTEN || start.elapsed() < LONG {
        let here = Instant::now();
        run();
        best = best.min(here.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// Multiply-adds in chains that do not wait for each other.
struct Chains;

impl Kernel for Chains {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        const N: usize = 12;
        const STEPS: usize = 20_000;
        let (factor, term) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut sums = [simd.splat(1.0); N];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, term);
            }
        }
        for sum in sums {
            black_box(simd.sum(sum));
        }
        (2 * STEPS * N * S::LANES) as f64
    }
}

/// Flops a second at most.
fn peak(threads: usize) -> f64 {
    let mut flops = 0.0;
    let one = best(|| flops = Level::best().run(Chains));
    // Threads that share a core's units: as many times as fast as they are together.
    let all = best(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..50).for_each(|_| _ = black_box(Level::best().run(Chains))));
            }
        });
    });
    if threads == 1 { flops / one } else { 50.0 * flops * threads as f64 / all }
}

/// Bytes a second of copying so many: half of them read, half of them written.
fn copying(device: &Device, bytes: f64) -> f64 {
    let count = (bytes / 8.0) as usize;
    let x = Tensor::ones([count], device).expect("operands");
    let copy = Op::from(Unary { kind: UnaryKind::Affine { scale: 1.5, shift: 0.5 } });
    bytes / best(|| _ = black_box(device.execute(&copy, &[&x]).expect("a copy")))
}

/// An op and the shapes of its operands.
struct Case(&'static str, Op, Vec<Vec<usize>>);

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name, op: Op, shapes: Vec<Vec<usize>>| all.push(Case(name, op, shapes));
    for (what, x) in [
        ("batch norm, 8x56x56x64", vec![8, 56, 56, 64]),
        ("batch norm, 32x14x14x256", vec![32, 14, 14, 256]),
    ] {
        let (c, pair) = (vec![x[3]], vec![2, x[3]]);
        let activation = Activation::Relu;
        let norm = BatchNorm { batch: true, activation, ..BatchNorm::default() };
        let residual = BatchNorm { residual: true, ..norm };
        add(what, Moments.into(), vec![x.clone()]);
        add(what, norm.into(), vec![x.clone(), pair.clone(), c.clone(), c.clone()]);
        let operands = vec![x.clone(), pair.clone(), c.clone(), c.clone(), x.clone()];
        add(what, residual.into(), operands);
        let operands = vec![x.clone(), x.clone(), pair.clone()];
        add(what, BatchNormSums::default().into(), operands.clone());
        let sums = BatchNormSums { epsilon: 1e-5, activation };
        add(what, sums.into(), [operands, vec![c.clone(), c.clone()]].concat());
        let operands = vec![x.clone(), x, pair.clone(), pair, c.clone()];
        add(what, BatchNormGrad::default().into(), operands.clone());
        let grad = BatchNormGrad { epsilon: 1e-5, activation };
        add(what, grad.into(), [operands, vec![c]].concat());
    }
    for (what, norm, x) in [
        ("layer norm, 8x56x56x96", GroupNorm::layer(1e-6), vec![8, 56, 56, 96]),
        ("layer norm, 64x7x7x768", GroupNorm::layer(1e-6), vec![64, 7, 7, 768]),
        ("group norm 32, 16x28x28x128", GroupNorm::group(32, 1e-5), vec![16, 28, 28, 128]),
        ("instance norm, 8x56x56x64", GroupNorm::group(64, 1e-5), vec![8, 56, 56, 64]),
    ] {
        let c = vec![x[3]];
        add(what, norm.into(), vec![x.clone(), c.clone(), c.clone()]);
        add(what, GroupNormSums(norm).into(), vec![x.clone(), x.clone()]);
        add(what, GroupNormGrad(norm).into(), vec![x.clone(), x, c]);
    }
    for (what, n, rows, c, kernel, stride) in [
        ("depthwise 3x3, 4x112x112x32", 4, 112, 32, 3, 1),
        ("depthwise 3x3, 16x28x28x192", 16, 28, 192, 3, 1),
        ("depthwise 3x3, 64x7x7x960", 64, 7, 960, 3, 1),
        ("depthwise 3x3/2, 4x112x112x96", 4, 112, 96, 3, 2),
        ("depthwise 5x5, 16x28x28x240", 16, 28, 240, 5, 1),
        ("depthwise 5x5/2, 8x56x56x72", 8, 56, 72, 5, 2),
        ("depthwise 7x7, 8x56x56x96", 8, 56, 96, 7, 1),
        ("depthwise 7x7, 32x14x14x384", 32, 14, 384, 7, 1),
        ("depthwise 7x7, 64x7x7x768", 64, 7, 768, 7, 1),
    ] {
        let padding = [[kernel / 2; 2]; 2];
        let conv = Conv2d { stride: [stride; 2], padding, groups: c, ..Conv2d::default() };
        let out = usize::div_ceil(rows, stride);
        let (x, y, w) = (vec![n, rows, rows, c], vec![n, out, out, c], vec![c, kernel, kernel, 1]);
        add(what, conv.into(), vec![x.clone(), w.clone()]);
        let grad = Conv2dInputGrad { conv, input: [rows, rows] };
        add(what, grad.into(), vec![y.clone(), w]);
        add(what, Conv2dWeightGrad { conv, kernel: [kernel; 2] }.into(), vec![x, y]);
    }
    let groups = Conv2d { padding: [[1; 2]; 2], groups: 32, ..Conv2d::default() };
    let (x, w) = (vec![4, 28, 28, 128], vec![128, 3, 3, 4]);
    add("32 groups of 4, 4x28x28x128", groups.into(), vec![x.clone(), w.clone()]);
    let grad = Conv2dInputGrad { conv: groups, input: [28, 28] };
    add("32 groups of 4, 4x28x28x128", grad.into(), vec![x.clone(), w]);
    let grad = Conv2dWeightGrad { conv: groups, kernel: [3, 3] };
    add("32 groups of 4, 4x28x28x128", grad.into(), vec![x.clone(), x]);
    let twice = ConvTranspose2d { stride: [2, 2], bias: true, ..ConvTranspose2d::default() };
    let x = vec![8, 28, 28, 128];
    for (what, kernel, padding) in [
        ("transposed 2x2/2, 8x28x28x128 to 64", 2, 0),
        ("transposed 4x4/2, 8x28x28x128 to 64", 4, 1),
        ("transposed 3x3/2, 8x28x28x128 to 64", 3, 1),
    ] {
        let op = ConvTranspose2d { padding: [[padding; 2]; 2], ..twice };
        add(what, op.into(), vec![x.clone(), vec![128, kernel, kernel, 64], vec![64]]);
    }
    for (what, n, rows, c, size, ties) in [
        ("pool 3x3/2, 16x112x112x64", 16, 112, 64, 3, Ties::All),
        ("pool 3x3/2 to the first, 16x112x112x64", 16, 112, 64, 3, Ties::First),
        ("pool 2x2/2, 16x56x56x128", 16, 56, 128, 2, Ties::All),
    ] {
        let padding = [[size / 2 * (size % 2); 2]; 2];
        let pool = Pool2d { size: [size; 2], stride: [2; 2], padding, ties, ..Pool2d::default() };
        let (x, y) = (vec![n, rows, rows, c], vec![n, rows / 2, rows / 2, c]);
        add(what, Op::MaxPool2d(pool), vec![x.clone()]);
        add(what, MaxPool2dGrad(pool).into(), vec![x.clone(), y.clone(), y.clone()]);
        add(what, AvgPool2d(pool).into(), vec![x]);
        add(what, AvgPool2dGrad { pool, input: [rows; 2] }.into(), vec![y]);
    }
    for (what, rows, c, twice) in [
        ("linear x2, 8x56x56x64", 56, 64, Resize::linear([112; 2])),
        ("linear x2, 8x28x28x128", 28, 128, Resize::linear([56; 2])),
        ("linear x2, 8x112x112x3", 112, 3, Resize::linear([224; 2])),
        ("nearest x2, 8x56x56x64", 56, 64, Resize::nearest([112; 2])),
        ("nearest x2, 8x28x28x128", 28, 128, Resize::nearest([56; 2])),
    ] {
        let [x, y] = [rows, 2 * rows].map(|rows| vec![8, rows, rows, c]);
        add(what, twice.into(), vec![x]);
        add(what, ResizeGrad { resize: twice, input: [rows; 2] }.into(), vec![y]);
    }
    all
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let threads: Vec<usize> = asked.iter().filter_map(|arg| arg.parse().ok()).collect();
    let words: Vec<&String> = asked.iter().filter(|arg| arg.parse::<usize>().is_err()).collect();
    for count in if threads.is_empty() { vec![1, 2] } else { threads } {
        let device = Device::new(Cpu::new(Some(count)).expect("the CPU"));
        println!("{count} threads, {}", Level::best());
        for Case(name, op, shapes) in cases() {
            let text = format!("{name}  {}", op.name());
            if !words.is_empty() && !words.iter().any(|word| text.contains(word.as_str())) {
                continue;
            }
            let operands = shapes.iter().enumerate().map(|(i, shape)| {
                // From 1/2 on: variances are among them.
                Tensor::uniform(&shape[..], 0.5, 1.5, RandomKey::new(1, i as u64), &device)
            });
            let operands: Vec<Tensor> = operands.map(|x| x.expect("operands")).collect();
            let inputs: Vec<&Tensor> = operands.iter().collect();
            let types: Vec<_> = operands.iter().map(|x| *x.ty()).collect();
            let cost = op.cost(&types).expect("a cost");
            let bytes = (cost.bytes_read + cost.bytes_written) as f64;
            let (rate, peak) = (copying(&device, bytes), peak(count));
            let time = best(|| _ = black_box(device.execute(&op, &inputs).expect("an output")));
            let roof = (bytes / rate).max(cost.flops as f64 / peak);
            println!(
                "{text:<62} {:8.3} ms {:6.1} GB/s of {:5.1} {:6.1} GFLOP/s of {:5.1} {:4.0} %",
                time * 1e3,
                bytes / time / 1e9,
                rate / 1e9,
                cost.flops as f64 / time / 1e9,
                peak / 1e9,
                roof / time * 100.0
            );
        }
    }
}
