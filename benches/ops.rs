//! The ops of the classic networks at their real shapes.
//!
//!     cargo bench --bench ops
//!     cargo bench --bench ops -- conv2d/vgg-d
//!
//! `STRIATE_SIMD=avx2` restricts the instruction set, `RAYON_NUM_THREADS` the threads.

#![allow(clippy::expect_used, missing_docs, reason = "a benchmark stops at the first failure")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use striate::prelude::*;
use striate::tensor::Op;

/// Every layer of a network at batch 1, by its number: throughput is flops (bytes for layers
/// without multiplications).
fn layers(c: &mut Criterion) {
    let device = Device::cpu(None).expect("the CPU");
    for name in ["alexnet", "mattnet", "vgg-d"] {
        let spec = models::by_name(name).expect("a classic network");
        let network = spec.build(&device, Seed(1)).expect("its weights");
        let mut group = c.benchmark_group(format!("layers/{name}"));
        group.sample_size(10);
        for shape in network.shapes() {
            let [rows, cols, channels] = shape.input;
            let x = Tensor::full([1, rows, cols, channels], 0.5, DType::F32, &device);
            let x = x.expect("an input");
            let spec = &network.spec().nodes[shape.layer];
            group.throughput(match shape.macs {
                0 => Throughput::Bytes(8 * x.shape().count() as u64),
                macs => Throughput::Elements(2 * macs),
            });
            let id = BenchmarkId::new(spec.kind().to_string(), shape.layer);
            group.bench_with_input(id, &x, |b, x| {
                b.iter(|| {
                    let layer = shape.layer..shape.layer + 1;
                    black_box(network.forward_layers(layer, x).expect("a layer"))
                });
            });
        }
        group.finish();
    }
}

/// Square products: the share of the processor's peak that the tiled product reaches.
fn matmul(c: &mut Criterion) {
    let device = Device::cpu(None).expect("the CPU");
    let mut group = c.benchmark_group("matmul");
    group.sample_size(10);
    for n in [256, 1024, 2048] {
        let a = Tensor::full([n, n], 0.5, DType::F32, &device).expect("a matrix");
        let op = Op::from(ops::MatMul::default());
        let flops = op.cost(&[*a.ty(), *a.ty()]).expect("a cost").flops;
        group.throughput(Throughput::Elements(flops));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| black_box(a.matmul(&a).expect("a product")));
        });
    }
    group.finish();
}

/// Full-connect layers at small batches: bound by reading the weights.
fn full_connect(c: &mut Criterion) {
    let device = Device::cpu(None).expect("the CPU");
    let mut group = c.benchmark_group("full-connect/alexnet-6");
    group.sample_size(10);
    for dtype in [DType::F16, DType::F32] {
        let weights = Tensor::full([4096, 9216], 0.5, dtype, &device).expect("weights");
        group.throughput(Throughput::Bytes(weights.ty().size_bytes() as u64));
        for batch in [1, 10] {
            let x = Tensor::full([batch, 9216], 0.5, DType::F32, &device).expect("an input");
            let options = ops::MatMul { transpose_b: true, ..ops::MatMul::default() };
            group.bench_function(BenchmarkId::new(dtype.name(), batch), |b| {
                b.iter(|| black_box(x.matmul_with(&weights, None, options).expect("a product")));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, layers, matmul, full_connect);
criterion_main!(benches);
