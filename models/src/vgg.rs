//! VGG (Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
//! recognition", 2014): configurations A to E, twice.
//!
//! [`vgg_a`] … [`vgg_e`] are in ccv's style: 225 pixels, no padding in the first convolution,
//! pooling windows of 3 that overlap, so that every window ends at the image's edge. [`vgg11`] …
//! [`vgg19`] are as in the paper and in torchvision: 224 pixels, padding everywhere, pooling
//! windows of 2. [`vgg11_bn`] … [`vgg19_bn`] are torchvision's with batch normalization after each
//! convolution, which is not in the paper; their nodes have the names of its state dicts.

use striate_nn::{ConvSpec, NetworkSpec, conv2d, full_connect, pool};

/// Convolutions of each of the five stages; a pooling layer ends a stage.
type Stages = [&'static [Kernel]; 5];

/// The two convolutions that VGG is made of.
#[derive(Clone, Copy)]
enum Kernel {
    Three,
    One,
}

use Kernel::{One, Three};

/// Outputs of the convolutions of each stage.
const COUNTS: [usize; 5] = [64, 128, 256, 512, 512];

const A: Stages = [&[Three], &[Three], &[Three; 2], &[Three; 2], &[Three; 2]];
const B: Stages = [&[Three; 2]; 5];
const C: Stages =
    [&[Three; 2], &[Three; 2], &[Three, Three, One], &[Three, Three, One], &[Three, Three, One]];
const D: Stages = [&[Three; 2], &[Three; 2], &[Three; 3], &[Three; 3], &[Three; 3]];
const E: Stages = [&[Three; 2], &[Three; 2], &[Three; 4], &[Three; 4], &[Three; 4]];

/// Configuration A, 11 layers with weights, in ccv's style.
pub fn vgg_a() -> NetworkSpec {
    ccv("vgg-a", &A)
}

/// Configuration B, 13 layers with weights, in ccv's style.
pub fn vgg_b() -> NetworkSpec {
    ccv("vgg-b", &B)
}

/// Configuration C, 16 layers with weights, three of them 1x1, in ccv's style.
pub fn vgg_c() -> NetworkSpec {
    ccv("vgg-c", &C)
}

/// Configuration D, 16 layers with weights, as ccv has it.
pub fn vgg_d() -> NetworkSpec {
    ccv("vgg-d", &D)
}

/// Configuration E, 19 layers with weights, in ccv's style.
pub fn vgg_e() -> NetworkSpec {
    ccv("vgg-e", &E)
}

/// Configuration A as in the paper: torchvision's `vgg11`.
pub fn vgg11() -> NetworkSpec {
    paper("vgg11", &A)
}

/// Configuration B as in the paper: torchvision's `vgg13`.
pub fn vgg13() -> NetworkSpec {
    paper("vgg13", &B)
}

/// Configuration D as in the paper: torchvision's `vgg16`.
pub fn vgg16() -> NetworkSpec {
    paper("vgg16", &D)
}

/// Configuration E as in the paper: torchvision's `vgg19`.
pub fn vgg19() -> NetworkSpec {
    paper("vgg19", &E)
}

/// Configuration A with batch normalization: torchvision's `vgg11_bn`.
pub fn vgg11_bn() -> NetworkSpec {
    normalized("vgg11-bn", &A)
}

/// Configuration B with batch normalization: torchvision's `vgg13_bn`.
pub fn vgg13_bn() -> NetworkSpec {
    normalized("vgg13-bn", &B)
}

/// Configuration D with batch normalization: torchvision's `vgg16_bn`.
pub fn vgg16_bn() -> NetworkSpec {
    normalized("vgg16-bn", &D)
}

/// Configuration E with batch normalization: torchvision's `vgg19_bn`.
pub fn vgg19_bn() -> NetworkSpec {
    normalized("vgg19-bn", &E)
}

fn ccv(name: &str, stages: &Stages) -> NetworkSpec {
    let spec = NetworkSpec::new([225, 225, 3]).with_name(name).with_image([257, 257]);
    // 225 - 2 = 223, and from there each pooling halves exactly: 111, 55, 27, 13, 6.
    network(spec, stages, 0, 3)
}

fn paper(name: &str, stages: &Stages) -> NetworkSpec {
    let spec = NetworkSpec::new([224, 224, 3]).with_name(name).with_image([256, 256]);
    network(spec, stages, 1, 2)
}

/// In two sequences whose layers torchvision counts: normalization, ReLU and dropout are layers of
/// their own.
fn normalized(name: &str, stages: &Stages) -> NetworkSpec {
    let features = |mut x: NetworkSpec| {
        for (kernels, count) in stages.iter().zip(COUNTS) {
            for &kernel in *kernels {
                x = x.conv(convolution(kernel, count, 1).linear()).batch_norm().relu();
            }
            x = x.max_pool(pool(2).stride(2).first_maximum());
        }
        x
    };
    let classifier = |x: NetworkSpec| {
        x.full_connect(4096)
            .relu()
            .dropout(0.5)
            .full_connect(4096)
            .relu()
            .dropout(0.5)
            .full_connect(1000)
    };
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("features", features)
        .named("classifier", classifier)
}

fn network(
    mut spec: NetworkSpec,
    stages: &Stages,
    first_padding: usize,
    pool_size: usize,
) -> NetworkSpec {
    for (kernels, count) in stages.iter().zip(COUNTS) {
        for &kernel in *kernels {
            let first = spec.nodes.is_empty();
            let padding = if first { first_padding } else { 1 };
            spec = spec.conv(convolution(kernel, count, padding));
        }
        spec = spec.max_pool(pool(pool_size).stride(2));
    }
    spec.full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(full_connect(4096).relu().dropout(0.5))
        .full_connect(1000)
}

fn convolution(kernel: Kernel, count: usize, padding: usize) -> ConvSpec {
    match kernel {
        Three => conv2d(count, 3).padding(padding).relu(),
        One => conv2d(count, 1).relu(),
    }
}
