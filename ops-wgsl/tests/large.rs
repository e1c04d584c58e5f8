//! Tensors beyond what one binding, one buffer or one grid of workgroups takes.

#![allow(clippy::unwrap_used)]

mod common;

use common::{default_limits, gpu, small_chunks};
use striate_tensor::ops::{
    Activation, AvgPool2d, AvgPool2dGrad, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, MatMul,
    MaxPool2dGrad, Pool2d, SgdMomentum, Softmax, Ties,
};
use striate_tensor::{DType, Device, HostTensor, Op, RandomKey, Reference, Tensor, reference};

/// A full-connect layer of `inputs` to 4096, whose weights are the product of a column and a row:
/// so its output is known, and so are its gradients.
fn full_connect(inputs: usize, dtype: DType) {
    const OUTPUTS: usize = 4096;
    let Some(gpu) = gpu(default_limits()) else { return };
    let device = Device::new(gpu);
    let key = |stream| RandomKey::new(1, stream);
    // Whole numbers of few bits: products and sums of them are exact, in half precision too.
    let whole = |shape: [usize; 2], range: f32, stream| {
        let uniform = Tensor::uniform(shape, -range, range, key(stream), &device).unwrap();
        uniform.round().unwrap()
    };
    let (column, row) = (whole([OUTPUTS, 1], 3.0, 1), whole([1, inputs], 2.0, 2));
    let weights = column.matmul(&row).unwrap();
    let weights = weights.cast(dtype).unwrap();
    assert_eq!(weights.ty().size_bytes(), OUTPUTS * inputs * dtype.size_bytes());
    let x = whole([2, inputs], 2.0, 3);

    let dots = x.matmul_with(&row, None, MatMul { transpose_b: true, ..MatMul::default() });
    let expected = dots.unwrap().mul(&column.reshape([1, OUTPUTS]).unwrap()).unwrap();
    let bias = whole([1, OUTPUTS], 9.0, 4).reshape([OUTPUTS]).unwrap();
    let expected = expected.add(&bias).unwrap().relu().unwrap();
    let options = MatMul { transpose_b: true, activation: Activation::Relu, ..MatMul::default() };
    let y = x.matmul_with(&weights, Some(&bias), options).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap());

    // The gradient in the input: the weights as they lie, summed over their rows.
    let dy = whole([2, OUTPUTS], 2.0, 5);
    let dx = dy.matmul(&weights).unwrap();
    let expected = dy.matmul(&column).unwrap().mul(&row).unwrap();
    assert_eq!(dx.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap());
    // One element of the weights, far from the start.
    let last = weights.slice(&[OUTPUTS - 1..OUTPUTS, inputs - 1..inputs]).unwrap();
    let last = last.cast(DType::F32).unwrap().to_scalar::<f32>().unwrap();
    let at = |x: &Tensor| *x.to_vec::<f32>().unwrap().last().unwrap();
    assert_eq!(last, at(&column) * at(&row));
}

/// The first full-connect layer of ccv's VGG-D: 302 MB, and 151 MB in half precision.
#[test]
fn weights_of_302_mb_work_at_default_limits() {
    full_connect(18_432, DType::F32);
    full_connect(18_432, DType::F16);
}

/// The first full-connect layer of torchvision's VGG-16: 411 MB.
#[test]
fn weights_of_411_mb_work_at_default_limits() {
    full_connect(25_088, DType::F32);
}

/// An upload beyond a buffer, a step of gradient descent, and a download.
#[test]
fn large_tensors_go_and_come_back() {
    let Some(gpu) = gpu(default_limits()) else { return };
    let device = Device::new(gpu);
    let count = 70_000_001;
    let values: Vec<f32> = (0..count).map(|i| (i % 8191) as f32).collect();
    let mut w = Tensor::from_vec(values, [count], &device).unwrap();
    let mut v = Tensor::zeros([count], &device).unwrap();
    let gradient = Tensor::ones([count], &device).unwrap();
    let step = SgdMomentum { rate: 1.0, momentum: 0.5, decay: 0.0, scale: 2.0 };
    w.sgd_momentum(&mut v, &gradient, step).unwrap();
    let back = w.to_vec::<f32>().unwrap();
    let wrong = (0..count).find(|&i| back[i] != (i % 8191) as f32 - 2.0);
    assert_eq!(wrong, None);
    assert_eq!(v.sum_all().unwrap().to_scalar::<f32>().unwrap(), -2.0 * count as f32);
    assert_eq!(w.max([0]).unwrap().to_scalar::<f32>().unwrap(), 8188.0);
}

fn agrees(device: &Device, op: impl Into<Op>, inputs: &[&HostTensor]) {
    let op = op.into();
    let want = reference::execute(&op, inputs).unwrap();
    let tensors: Vec<Tensor> =
        inputs.iter().map(|&x| Tensor::from_host(x.clone(), device).unwrap()).collect();
    let got = device.execute(&op, &tensors.iter().collect::<Vec<_>>()).unwrap();
    let got = got.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
    let want = Tensor::from_host(want, &Device::new(Reference::new())).unwrap();
    let want = want.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
    let scale = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= 1e-3 * scale, "{op:?}, element {i}: {got}, not {want}");
    }
}

/// Many images in many chunks, which begin and end within images.
#[test]
fn images_across_chunks() {
    let Some(gpu) = gpu(small_chunks(4096)) else { return };
    let device = Device::new(gpu);
    let host = Device::new(Reference::new());
    for dtype in [DType::F32, DType::F16] {
        let tensor = |dims: &[usize], stream| {
            let key = RandomKey::new(5, stream);
            let x = Tensor::uniform(dims, -1.0, 1.0, key, &host).unwrap();
            x.cast(dtype).unwrap().to_host().unwrap()
        };
        let x = tensor(&[13, 9, 7, 5], 1);
        let (w, bias) = (tensor(&[6, 3, 3, 5], 2), tensor(&[6], 3));
        let conv = Conv2d { stride: [2, 1], padding: [[1; 2]; 2], bias: true, ..Conv2d::default() };
        agrees(&device, conv, &[&x, &w, &bias]);
        let dy = tensor(&[13, 5, 7, 6], 4);
        agrees(&device, Conv2d { residual: true, ..conv }, &[&x, &w, &bias, &dy]);
        let conv = Conv2d { bias: false, ..conv };
        agrees(&device, Conv2dInputGrad { conv, input: [9, 7] }, &[&dy, &w]);
        agrees(&device, Conv2dWeightGrad { conv, kernel: [3, 3] }, &[&x, &dy]);
        let pool = Pool2d::square(3, 2, 1);
        agrees(&device, pool, &[&x]);
        agrees(&device, AvgPool2d(pool), &[&x]);
        let y = reference::execute(&pool.into(), &[&x]).unwrap();
        let dy = tensor(y.shape().dims(), 5);
        agrees(&device, MaxPool2dGrad(pool), &[&x, &y, &dy]);
        agrees(&device, AvgPool2dGrad { pool, input: [9, 7] }, &[&dy]);
        let first = Pool2d { ties: Ties::First, ..pool };
        agrees(&device, MaxPool2dGrad(first), &[&x, &y, &dy]);
    }
    device.synchronize().unwrap();
}

/// One image beyond a chunk: bands of its rows, with padding above the first and below the last.
#[test]
fn images_beyond_a_chunk() {
    let Some(gpu) = gpu(small_chunks(4096)) else { return };
    let device = Device::new(gpu);
    let host = Device::new(Reference::new());
    let tensor = |dims: &[usize], stream| {
        let key = RandomKey::new(6, stream);
        Tensor::uniform(dims, -1.0, 1.0, key, &host).unwrap().to_host().unwrap()
    };
    let x = tensor(&[2, 41, 19, 5], 1);
    let (w, bias) = (tensor(&[3, 3, 3, 5], 2), tensor(&[3], 3));
    for (stride, padding) in [(1, 0), (1, 1), (2, 1), (3, 2), (5, 8), (60, 30)] {
        let conv = Conv2d {
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            bias: true,
            ..Conv2d::default()
        };
        agrees(&device, conv, &[&x, &w, &bias]);
        let op = Op::from(conv);
        let y = op.output(&[x.ty(), w.ty(), bias.ty()]).unwrap();
        let residual = tensor(y.shape.dims(), 4);
        let conv = Conv2d { residual: true, padding: [[padding; 2]; 2], ..conv };
        agrees(&device, conv, &[&x, &w, &bias, &residual]);
    }
    let sides =
        Pool2d { padding: [[3, 1], [0, 2]], count_padding: true, ..Pool2d::square(4, 3, 0) };
    for pool in [
        Pool2d::square(3, 2, 1),
        Pool2d::square(5, 1, 4),
        Pool2d::square(2, 7, 0),
        Pool2d { count_padding: true, ..Pool2d::square(3, 2, 1) },
        sides,
        sides.with_ceil(41, 19),
    ] {
        agrees(&device, pool, &[&x]);
        agrees(&device, AvgPool2d(pool), &[&x]);
    }
    // What cannot be cut says what it is.
    let wide = Tensor::zeros([1, 3, 2000, 1], &device).unwrap();
    let message = wide.max_pool2d(Pool2d::square(3, 1, 0)).unwrap_err().to_string();
    assert!(message.contains("max_pool2d") && message.contains("4096 bytes"), "{message}");
}

/// Lines of softmax in chunks, along memory and across it.
#[test]
fn lines_across_chunks() {
    let Some(gpu) = gpu(small_chunks(4096)) else { return };
    let device = Device::new(gpu);
    let host = Device::new(Reference::new());
    for (dims, axis) in [(&[50usize, 300][..], 1), (&[90, 30, 11], 1), (&[1000, 3], 1)] {
        let x = Tensor::uniform(dims, -5.0, 5.0, RandomKey::new(7, 0), &host).unwrap();
        let x = x.to_host().unwrap();
        for log in [false, true] {
            agrees(&device, Softmax { axis, log }, &[&x]);
        }
    }
}

/// More workgroups than one extent of a grid takes.
#[test]
fn more_than_65_535_workgroups() {
    let Some(gpu) = gpu(default_limits()) else { return };
    let device = Device::new(gpu);
    // 256 elements a workgroup, and a rest.
    let count = 256 * 65_535 + 77;
    let x = Tensor::full([count], 0.5, DType::F32, &device).unwrap().affine(2.0, 1.0).unwrap();
    assert!(x.to_vec::<f32>().unwrap().iter().all(|&x| x == 2.0));
    // A workgroup a row.
    let rows = x.narrow(0, 0..70_000 * 3).unwrap().reshape([70_000, 3]).unwrap();
    let sums = rows.sum([1]).unwrap().to_vec::<f32>().unwrap();
    assert!(sums.len() == 70_000 && sums.iter().all(|&x| x == 6.0));
    let soft = rows.softmax(1).unwrap().to_vec::<f32>().unwrap();
    assert!(soft.iter().all(|&x| (x - 1.0 / 3.0).abs() < 1e-6));
}

/// A thousand forward passes take no more memory than ten.
#[test]
fn memory_is_flat() {
    let Some(gpu) = gpu(default_limits()) else { return };
    let gpu = std::sync::Arc::new(gpu);
    let device = Device::new(Shared(gpu.clone()));
    let key = |stream| RandomKey::new(1, stream);
    let x = Tensor::uniform([2, 12, 12, 3], -1.0, 1.0, key(1), &device).unwrap();
    let w = Tensor::uniform([8, 3, 3, 3], -1.0, 1.0, key(2), &device).unwrap();
    let weights = Tensor::uniform([10, 5 * 5 * 8], -1.0, 1.0, key(3), &device).unwrap();
    let pass = || {
        let y = x.conv2d(&w, None, Conv2d { activation: Activation::Relu, ..Conv2d::default() })?;
        let y = y.max_pool2d(Pool2d::square(2, 2, 0))?.flatten()?;
        let full = MatMul { transpose_b: true, ..MatMul::default() };
        y.matmul_with(&weights, None, full)?.softmax(1)
    };
    let mut after_ten = 0;
    for i in 0..1000 {
        let y = pass().unwrap();
        if i == 10 {
            after_ten = gpu.profile().allocations;
        }
        if i % 100 == 0 {
            assert_eq!(y.to_vec::<f32>().unwrap().len(), 20);
        }
    }
    let profile = gpu.profile();
    assert_eq!(profile.allocations, after_ten, "{profile:?}");
    assert!(profile.submissions < profile.dispatches / 20, "{profile:?}");
}

/// A backend that the test keeps a hold of.
struct Shared(std::sync::Arc<striate_ops_wgsl::Wgpu>);

impl striate_tensor::Backend for Shared {
    fn info(&self) -> striate_tensor::DeviceInfo {
        self.0.info()
    }
    fn upload(
        &self,
        values: striate_tensor::HostValues,
    ) -> striate_tensor::Result<striate_tensor::Buffer> {
        self.0.upload(values)
    }
    fn download(
        &self,
        buffer: &striate_tensor::Buffer,
        ty: &striate_tensor::TensorType,
    ) -> striate_tensor::Result<striate_tensor::Pending<HostTensor>> {
        self.0.download(buffer, ty)
    }
    fn execute(
        &self,
        op: &Op,
        inputs: &[striate_tensor::Operand<'_>],
        output: &striate_tensor::TensorType,
    ) -> striate_tensor::Result<striate_tensor::Buffer> {
        self.0.execute(op, inputs, output)
    }
    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [striate_tensor::Target<'_>],
        inputs: &[striate_tensor::Operand<'_>],
    ) -> striate_tensor::Result<()> {
        self.0.execute_in_place(op, targets, inputs)
    }
    fn supports(&self, op: &Op, inputs: &[striate_tensor::TensorType]) -> bool {
        self.0.supports(op, inputs)
    }
    fn synchronize(&self) -> striate_tensor::Result<()> {
        self.0.synchronize()
    }
}
