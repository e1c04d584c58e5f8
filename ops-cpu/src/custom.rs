//! A user's own ops that have a kernel for the CPU.

use striate_tensor::TensorType;
use striate_tensor::ops::CpuKernel;

use crate::elementwise::PART_ELEMS;
use crate::threads::Threads;

/// Computes the output part by part. The parts are the same for any number of threads.
pub(crate) fn run(
    threads: &Threads,
    kernel: &dyn CpuKernel,
    types: &[TensorType],
    inputs: &[&[f32]],
    output: &TensorType,
    y: &mut [f32],
) {
    let together = kernel.together(output).max(1);
    let part = together.saturating_mul((PART_ELEMS / together).max(1));
    threads.for_each_part(y, part, |index, y| kernel.run(types, inputs, index * part, y));
}
