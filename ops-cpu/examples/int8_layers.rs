//! Convolutions with integers of 8 bits beside those in f32: the layers of ResNet-50, in milliseconds.
//!
//!     cargo run --release -p striate-ops-cpu --example int8_layers -- 1

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "an example stops at the first failure, and is a table for people to read"
)]

use std::time::Instant;

use striate_ops_cpu::Cpu;
use striate_tensor::ops::{Activation, Conv2d, Conv2dInt8, Levels};
use striate_tensor::{Device, Tensor};

/// Pixels a side, channels, outputs, kernel, stride, and how often the network has it.
const LAYERS: [[usize; 6]; 18] = [
    [224, 3, 64, 7, 2, 1],
    [56, 64, 64, 1, 1, 1],
    [56, 64, 64, 3, 1, 3],
    [56, 64, 256, 1, 1, 4],
    [56, 256, 64, 1, 1, 2],
    [56, 256, 128, 1, 1, 1],
    [56, 128, 128, 3, 2, 1],
    [28, 128, 512, 1, 1, 4],
    [28, 512, 128, 1, 1, 3],
    [28, 128, 128, 3, 1, 3],
    [28, 512, 256, 1, 1, 1],
    [14, 256, 1024, 1, 1, 6],
    [14, 1024, 256, 1, 1, 5],
    [14, 256, 256, 3, 1, 5],
    [14, 512, 512, 3, 2, 1],
    [7, 512, 2048, 1, 1, 3],
    [7, 2048, 512, 1, 1, 2],
    [7, 512, 512, 3, 1, 2],
];

/// Runs of which the best counts.
const RUNS: usize = 12;

fn best(mut run: impl FnMut()) -> f64 {
    run();
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn main() {
    let images = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let device = Device::new(Cpu::new(None).expect("a CPU"));
    let floats = |dims: &[usize]| {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i % 251) as f32 / 251.0).collect();
        Tensor::from_vec(values, dims, &device).expect("a tensor")
    };
    let mut sums = [0.0; 2];
    println!("{:>24} {:>8} {:>8} {:>6} {:>7}", "layer", "f32", "int8", "ratio", "GMAC/s");
    for [side, channels, out, kernel, stride, times] in LAYERS {
        let x = floats(&[images, side, side, channels]);
        let weights = floats(&[out, kernel, kernel, channels]);
        let integers: Vec<i8> = (0..weights.ty().count()).map(|i| (i % 251) as u8 as i8).collect();
        let integers = Tensor::from_vec(integers, weights.shape(), &device).expect("a tensor");
        let (scales, bias) = (floats(&[out]), floats(&[out]));
        let padding = [[kernel / 2; 2]; 2];
        let (stride, activation) = ([stride; 2], Activation::Relu);
        let conv = Conv2d { stride, padding, activation, ..Conv2d::default() };
        let op = Conv2dInt8 { conv, levels: Levels { scale: 1.0 / 255.0, zero: 0 } };
        let mut macs = 0.0;
        let f32_time = best(|| {
            let y = x.conv2d(&weights, Some(&bias), conv).expect("a convolution");
            macs = (y.ty().count() * kernel * kernel * channels) as f64;
        });
        let int8_time = best(|| {
            let y = x.conv2d_int8([&integers, &scales], [Some(&bias), None], op);
            y.expect("a convolution");
        });
        sums[0] += times as f64 * f32_time;
        sums[1] += times as f64 * int8_time;
        println!(
            "{:>24} {f32_time:>8.3} {int8_time:>8.3} {:>6.2} {:>7.0}",
            format!("{side} {channels}->{out} {kernel}x{kernel}/{}", stride[0]),
            int8_time / f32_time,
            macs / int8_time / 1e6,
        );
    }
    println!("{:>24} {:>8.2} {:>8.2} {:>6.2}", "all", sums[0], sums[1], sums[1] / sums[0]);
}
