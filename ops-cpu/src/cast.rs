//! Another element type.

use half::slice::HalfFloatSliceExt;
use striate_tensor::{DType, Operand, Result, TensorType, f16};

use crate::buffer::{elements, own};
use crate::context::Context;
use crate::elementwise::{BLOCK_ELEMS, PART_ELEMS};
use crate::gemm::widen;
use crate::memory::Memory;
use crate::number::conversion;
use crate::simd::{Kernel, Simd};
use crate::walk::by_size;

pub(crate) fn cast(cx: &Context, inputs: &[Operand<'_>], output: &TensorType) -> Result<Memory> {
    let x = &inputs[0];
    match (x.ty.dtype, output.dtype) {
        (DType::F32, DType::F16) => by_part(cx, x, output, |x: &[f32], y: &mut [f16]| {
            y.convert_from_f32_slice(x);
        }),
        (DType::F16, DType::F32) => by_part(cx, x, output, |x: &[f16], y: &mut [f32]| {
            widen(cx.level, x, y);
        }),
        (DType::F32, DType::U32) => by_part(cx, x, output, |x: &[f32], y: &mut [u32]| {
            cx.level.run(Cut { x, y });
        }),
        (DType::U32, DType::F32) => by_part(cx, x, output, |x: &[u32], y: &mut [f32]| {
            cx.level.run(Float { x, y });
        }),
        (DType::F16, DType::U32) => by_part(cx, x, output, |x: &[f16], y: &mut [u32]| {
            let mut single = [0.0; BLOCK_ELEMS];
            for (x, y) in x.chunks(BLOCK_ELEMS).zip(y.chunks_mut(BLOCK_ELEMS)) {
                let single = &mut single[..x.len()];
                widen(cx.level, x, single);
                cx.level.run(Cut { x: single, y });
            }
        }),
        // An integer that f32 does not hold exactly is infinite as f16, so nothing rounds twice.
        (DType::U32, DType::F16) => by_part(cx, x, output, |x: &[u32], y: &mut [f16]| {
            let mut single = [0.0; BLOCK_ELEMS];
            for (x, y) in x.chunks(BLOCK_ELEMS).zip(y.chunks_mut(BLOCK_ELEMS)) {
                let single = &mut single[..x.len()];
                cx.level.run(Float { x, y: &mut *single });
                y.convert_from_f32_slice(single);
            }
        }),
        (from, to) if from == to => by_size!(to, copy(cx, x, output)),
        // The types that are storage only: each by way of f64 or i64.
        (from, to) => {
            let convert = conversion(from, to);
            let bytes = own(x.buffer)?.bytes();
            let mut y = cx.pool.take(output.size_bytes())?;
            let [x_part, y_part] = [from, to].map(|dtype| PART_ELEMS * dtype.size_bytes());
            cx.threads.for_each_part(y.bytes_mut(), y_part, |part, y| {
                let count = y.len() / to.size_bytes();
                convert(&bytes[part * x_part..][..count * from.size_bytes()], y);
            });
            Ok(y)
        }
    }
}

fn copy<T: bytemuck::Pod + Send + Sync>(
    cx: &Context,
    x: &Operand<'_>,
    output: &TensorType,
) -> Result<Memory> {
    by_part(cx, x, output, |x: &[T], y: &mut [T]| y.copy_from_slice(x))
}

fn by_part<T: bytemuck::Pod + Sync, U: bytemuck::Pod + Send>(
    cx: &Context,
    x: &Operand<'_>,
    output: &TensorType,
    convert: impl Fn(&[T], &mut [U]) + Sync,
) -> Result<Memory> {
    let x = elements::<T>(x)?;
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<U>(), PART_ELEMS, |part, y| {
        convert(&x[part * PART_ELEMS..][..y.len()], y);
    });
    Ok(y)
}

/// Toward zero, kept in range, NaN to 0.
struct Cut<'a> {
    x: &'a [f32],
    y: &'a mut [u32],
}

impl Kernel for Cut<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = x as u32;
        }
    }
}

struct Float<'a> {
    x: &'a [u32],
    y: &'a mut [f32],
}

impl Kernel for Float<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = x as f32;
        }
    }
}
