//! What kernels need of the device: its threads, its instruction set, its memory.

use half::slice::HalfFloatSliceExt;
use striate_tensor::{DType, Operand, Result, TensorType, f16};

use crate::buffer::{Floats, floats};
use crate::gemm;
use crate::memory::{Memory, Pool};
use crate::simd::Level;
use crate::threads::Threads;

/// What kernels need of the device.
pub(crate) struct Context {
    pub(crate) threads: Threads,
    pub(crate) level: Level,
    pub(crate) pool: Pool,
}

/// An operand as f32: in place, or widened.
pub(crate) enum Widened<'a> {
    InPlace(&'a [f32]),
    Copy(Memory),
}

impl Widened<'_> {
    pub(crate) fn slice(&self) -> &[f32] {
        match self {
            Widened::InPlace(values) => values,
            Widened::Copy(memory) => memory.slice(),
        }
    }
}

/// Elements that one task converts.
const CONVERTED_ELEMS: usize = 1 << 16;

impl Context {
    /// A float operand as f32.
    pub(crate) fn widen<'a>(&self, operand: &Operand<'a>) -> Result<Widened<'a>> {
        let halves = match floats(operand)? {
            Floats::F32(values) => return Ok(Widened::InPlace(values)),
            Floats::F16(halves) => halves,
        };
        let mut memory = self.pool.take(4 * halves.len())?;
        self.threads.for_each_part(memory.slice_mut::<f32>(), CONVERTED_ELEMS, |part, to| {
            gemm::widen(self.level, &halves[part * CONVERTED_ELEMS..][..to.len()], to);
        });
        Ok(Widened::Copy(memory))
    }

    /// An f32 result as the type that the output has.
    pub(crate) fn narrow(&self, memory: Memory, output: &TensorType) -> Result<Memory> {
        if output.dtype != DType::F16 {
            return Ok(memory);
        }
        let mut halves = self.pool.take(2 * output.count())?;
        let from: &[f32] = memory.slice();
        self.threads.for_each_part(halves.slice_mut::<f16>(), CONVERTED_ELEMS, |part, to| {
            to.convert_from_f32_slice(&from[part * CONVERTED_ELEMS..][..to.len()]);
        });
        Ok(halves)
    }
}
