//! Times the convolutions and full-connect layers of AlexNet and VGG-D, layer by layer, with the
//! kernels of each class of adapters that is named (`simple`, `software`, `discrete`, `integrated`,
//! `apple`); by default with the adapter's own. `winograd` and `direct` insist on an algorithm for
//! the classes after them.
//!
//! `cargo run --release -p striate-ops-wgsl --example conv_layers -- [alexnet|vgg-d] [CLASS]...`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use striate_ops_wgsl::{AdapterChoice, Class, Options, Wgpu};
use striate_tensor::ops::{Activation, Conv2d, MatMul};
use striate_tensor::{DType, Device, Op, Result, Tensor};

/// Name, rows and columns, channels, outputs, kernel, stride, padding, groups.
type Conv = (&'static str, usize, usize, usize, usize, usize, usize, usize);
/// Name, inputs, outputs.
type Full = (&'static str, usize, usize);

const ALEXNET: &[Conv] = &[
    ("conv1", 225, 3, 96, 11, 4, 1, 1),
    ("conv2", 27, 96, 256, 5, 1, 2, 2),
    ("conv3", 13, 256, 384, 3, 1, 1, 1),
    ("conv4", 13, 384, 384, 3, 1, 1, 2),
    ("conv5", 13, 384, 256, 3, 1, 1, 2),
];
const ALEXNET_FULL: &[Full] =
    &[("full6", 9216, 4096), ("full7", 4096, 4096), ("full8", 4096, 1000)];

const VGG_D: &[Conv] = &[
    ("conv1_1", 225, 3, 64, 3, 1, 1, 1),
    ("conv1_2", 225, 64, 64, 3, 1, 1, 1),
    ("conv2_1", 112, 64, 128, 3, 1, 1, 1),
    ("conv2_2", 112, 128, 128, 3, 1, 1, 1),
    ("conv3_1", 56, 128, 256, 3, 1, 1, 1),
    ("conv3_2", 56, 256, 256, 3, 1, 1, 1),
    ("conv3_3", 56, 256, 256, 3, 1, 1, 1),
    ("conv4_1", 28, 256, 512, 3, 1, 1, 1),
    ("conv4_2", 28, 512, 512, 3, 1, 1, 1),
    ("conv4_3", 28, 512, 512, 3, 1, 1, 1),
    ("conv5_1", 14, 512, 512, 3, 1, 1, 1),
    ("conv5_2", 14, 512, 512, 3, 1, 1, 1),
    ("conv5_3", 14, 512, 512, 3, 1, 1, 1),
];
const VGG_D_FULL: &[Full] = &[("full6", 18432, 4096), ("full7", 4096, 4096), ("full8", 4096, 1000)];

/// The best of some runs after one that compiles, in milliseconds.
fn time(device: &Device, op: &Op, inputs: &[&Tensor]) -> Result<f64> {
    let run = || -> Result<f64> {
        let start = Instant::now();
        device.execute(op, inputs)?;
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let first = run()?;
    // A slow kernel need not be asked often.
    let repeats = if first > 5000.0 { 1 } else { 4 };
    (0..repeats).try_fold(f64::INFINITY, |best, _| Ok(best.min(run()?)))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (convs, fulls) = match arguments.first().map(String::as_str) {
        Some("vgg-d") => (VGG_D, VGG_D_FULL),
        _ => (ALEXNET, ALEXNET_FULL),
    };
    let mut classes: Vec<(Option<Class>, Option<bool>)> = Vec::new();
    let mut winograd = None;
    for name in arguments.iter().skip(1) {
        let class = match name.as_str() {
            "winograd" | "direct" => {
                winograd = Some(name == "winograd");
                continue;
            }
            "simple" => Some(Class::Simple),
            "software" => Some(Class::Software),
            "discrete" => Some(Class::Discrete),
            "integrated" => Some(Class::Integrated),
            "apple" => Some(Class::Apple),
            _ => None,
        };
        classes.push((class, winograd));
    }
    if classes.is_empty() {
        classes.push((None, winograd));
    }
    for (class, winograd) in classes {
        let mut options = Options::default();
        options.class = class;
        options.winograd = winograd;
        let device = Device::new(Wgpu::new(&AdapterChoice::Gpu, options)?);
        println!("{}: {class:?}, Winograd: {winograd:?}", device.info().description);
        let mut total = 0.0;
        for &(name, size, channels, out, kernel, stride, padding, groups) in convs {
            let conv = Conv2d {
                stride: [stride; 2],
                padding: [[padding; 2]; 2],
                groups,
                bias: true,
                activation: Activation::Relu,
                ..Conv2d::default()
            };
            let x = Tensor::full([1, size, size, channels], 0.5, DType::F32, &device)?;
            let shape = [out, kernel, kernel, channels / groups];
            let w = Tensor::full(shape, 0.25, DType::F32, &device)?;
            let bias = Tensor::full([out], 1.0, DType::F32, &device)?;
            let out_size = (size + 2 * padding - kernel) / stride + 1;
            let flops = 2 * out_size * out_size * w.shape().count();
            let ms = time(&device, &conv.into(), &[&x, &w, &bias])?;
            println!("  {name:8} {ms:9.1} ms {:7.2} GFLOP/s", flops as f64 / ms / 1e6);
            total += ms;
        }
        println!("  {:8} {total:9.1} ms", "convs");
        for &(name, inputs, out) in fulls {
            for dtype in [DType::F32, DType::F16] {
                let full = MatMul {
                    transpose_b: true,
                    bias: true,
                    activation: Activation::Relu,
                    ..MatMul::default()
                };
                let x = Tensor::full([1, inputs], 0.5, DType::F32, &device)?;
                let w = Tensor::full([out, inputs], 0.25, dtype, &device)?;
                let bias = Tensor::full([out], 1.0, dtype, &device)?;
                let ms = time(&device, &full.into(), &[&x, &w, &bias])?;
                let bytes = w.shape().count() * dtype.size_bytes();
                println!("  {name:8} {ms:9.1} ms {:7.2} GB/s {dtype:?}", bytes as f64 / ms / 1e6);
            }
        }
    }
    Ok(())
}
