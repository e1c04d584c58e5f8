//! A user's own ops on the CPU: by their kernel, by their reference without one, and the same bits for
//! any number of threads.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use striate_ops_cpu::Cpu;
use striate_tensor::ops::{CpuKernel, CustomOp};
use striate_tensor::{
    DType, Device, Error, HostTensor, RandomKey, Result, Tensor, TensorType, reference,
};

/// Rows over the root of the sum of their squares; labels (u32) are copied.
#[derive(Debug)]
struct RowNorm {
    kernel: bool,
}

impl CustomOp for RowNorm {
    fn name(&self) -> &'static str {
        "row_norm"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [x] if x.shape.rank() == 2 => Ok(*x),
            _ => Err(Error::shape(self.name(), "a matrix", inputs)),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let ty = inputs[0].ty();
        if !ty.dtype.is_float() {
            return Ok(inputs[0].clone());
        }
        let mut y = reference::widened(inputs[0]);
        for row in y.chunks_mut(ty.shape.dims()[1].max(1)) {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        reference::rounded(&ty, &y)
    }

    fn cpu(&self) -> Option<&dyn CpuKernel> {
        self.kernel.then_some(self)
    }
}

impl CpuKernel for RowNorm {
    fn run(&self, types: &[TensorType], inputs: &[&[f32]], first: usize, y: &mut [f32]) {
        let cols = types[0].shape.dims()[1].max(1);
        let x = &inputs[0][first..first + y.len()];
        assert!(first.is_multiple_of(cols) && y.len().is_multiple_of(cols));
        for (x, y) in x.chunks(cols).zip(y.chunks_mut(cols)) {
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x / norm);
        }
    }

    fn together(&self, output: &TensorType) -> usize {
        output.shape.dims()[1]
    }
}

fn device(threads: usize) -> Device {
    Device::new(Cpu::new(Some(threads)).unwrap())
}

fn run(kernel: bool, dims: [usize; 2], dtype: DType, threads: usize) -> HostTensor {
    let device = device(threads);
    let x = Tensor::normal(dims, 0.0, 1.0, RandomKey::new(1, 0), &device).unwrap();
    let y = Tensor::custom(RowNorm { kernel }, &[&x.cast(dtype).unwrap()]).unwrap();
    y.to_host().unwrap()
}

#[test]
fn a_kernel_computes_what_the_reference_does() {
    for dims in [[0, 3], [3, 0], [1, 1], [5, 7], [700, 251]] {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3)] {
            let [y, want] =
                [true, false].map(|kernel| reference::widened(&run(kernel, dims, dtype, 2)));
            assert_eq!(y.len(), dims[0] * dims[1]);
            for (y, want) in y.iter().zip(&want) {
                assert!((y - want).abs() <= tolerance * want.abs(), "{dims:?} {dtype}: {y} {want}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Rows longer than a part, and many rows to one.
    for dims in [[700, 251], [3, 70_000]] {
        for dtype in [DType::F32, DType::F16] {
            let one = run(true, dims, dtype, 1);
            assert!([2, 3, 5].iter().all(|&threads| run(true, dims, dtype, threads) == one));
        }
    }
}

#[test]
fn what_is_not_of_floats_goes_by_the_reference() {
    let x = Tensor::from_vec(vec![1u32, 2, u32::MAX, 4], [2, 2], &device(1)).unwrap();
    let y = Tensor::custom(RowNorm { kernel: true }, &[&x]).unwrap();
    assert_eq!(y.to_host().unwrap(), x.to_host().unwrap());
}
