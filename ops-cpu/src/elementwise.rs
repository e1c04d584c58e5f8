//! What the ops that work element by element share: the cut into parts, the conversion of
//! half-precision blocks on the way, and broadcasting.
//!
//! Every operand is brought into the order of the output a block at a time: in place where it lies
//! so already, through a block of scratch memory in the first-level cache elsewhere. Kernels then
//! see plain slices of one length.

use half::f16;
use half::slice::HalfFloatSliceExt;
use striate_tensor::{DType, Operand, Result, Shape, TensorType};

use crate::buffer::{Floats, floats};
use crate::context::Context;
use crate::gemm::widen;
use crate::memory::Memory;
use crate::simd::{Kernel, Level, Simd};
use crate::walk::Walk;

/// Elements of a task. Handing out a task costs as much as a few thousand elements; a tensor of
/// one part is not handed out at all.
pub(crate) const PART_ELEMS: usize = 1 << 14;
/// Elements that go through scratch memory at a time: a few of these fit the first-level cache.
pub(crate) const BLOCK_ELEMS: usize = 1 << 10;

/// `to[i] = f(x[i])`
struct Map<'a, F> {
    x: &'a [f32],
    to: &'a mut [f32],
    f: F,
}

impl<F: Fn(f32) -> f32> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, &x) in self.to.iter_mut().zip(self.x) {
            *to = (self.f)(x);
        }
    }
}

/// `to[i] = f(a[i], b[i])`
pub(crate) struct Zip<'a, T, U, F> {
    pub(crate) a: &'a [T],
    pub(crate) b: &'a [T],
    pub(crate) to: &'a mut [U],
    pub(crate) f: F,
}

impl<T: Copy, U, F: Fn(T, T) -> U> Kernel for Zip<'_, T, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((to, &a), &b) in self.to.iter_mut().zip(self.a).zip(self.b) {
            *to = (self.f)(a, b);
        }
    }
}

/// A function of each element, and of its index where that is wanted: `f(first, x, to)` gets the
/// elements from index `first` on as f32.
pub(crate) fn map_blocks(
    cx: &Context,
    x: &Operand<'_>,
    output: &TensorType,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> Result<Memory> {
    let x = floats(x)?;
    let mut y = cx.pool.take(output.size_bytes())?;
    match x {
        Floats::F32(x) => {
            cx.threads.for_each_part(y.slice_mut::<f32>(), PART_ELEMS, |part, to| {
                let first = part * PART_ELEMS;
                f(first, &x[first..first + to.len()], to);
            });
        }
        Floats::F16(x) => {
            cx.threads.for_each_part(y.slice_mut::<f16>(), PART_ELEMS, |part, to| {
                let mut from = [0.0; BLOCK_ELEMS];
                let mut result = [0.0; BLOCK_ELEMS];
                let mut first = part * PART_ELEMS;
                for to in to.chunks_mut(BLOCK_ELEMS) {
                    let (from, result) = (&mut from[..to.len()], &mut result[..to.len()]);
                    widen(cx.level, &x[first..first + to.len()], from);
                    f(first, from, result);
                    to.convert_from_f32_slice(result);
                    first += to.len();
                }
            });
        }
    }
    Ok(y)
}

/// A function of each element.
pub(crate) fn map(
    cx: &Context,
    x: &Operand<'_>,
    output: &TensorType,
    f: impl Fn(f32) -> f32 + Copy + Sync,
) -> Result<Memory> {
    map_blocks(cx, x, output, |_, x, to| cx.level.run(Map { x, to, f }))
}

/// How an operand lies under the output that it broadcasts to.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Element by element.
    Same,
    /// Element `i % len`: the leading axes broadcast. A single number is this with length 1.
    Repeated,
    /// Everything else.
    Axes(Walk),
}

/// An operand that broadcasts, read in the order of the output.
#[derive(Clone, Copy)]
pub(crate) struct Broadcast<'a, T> {
    values: &'a [T],
    layout: Layout,
}

impl<'a, T: Copy> Broadcast<'a, T> {
    pub(crate) fn new(values: &'a [T], shape: &Shape, output: &Shape) -> Self {
        Broadcast { values, layout: layout(shape, output) }
    }

    /// Whether any range of it can be read in place.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self.layout, Layout::Same)
    }

    /// The elements under `first .. first + len` of the output; `len` fits the scratch memory where
    /// it is not in place.
    pub(crate) fn read<'b>(&'b self, first: usize, len: usize, scratch: &'b mut [T]) -> &'b [T] {
        match self.layout {
            Layout::Same => &self.values[first..first + len],
            Layout::Repeated => {
                let period = self.values.len();
                let phase = first % period;
                if phase + len <= period {
                    return &self.values[phase..phase + len];
                }
                let to = &mut scratch[..len];
                // One period, turned to begin at the phase, then doubled until it is enough.
                let mut done = (period - phase).min(len);
                to[..done].copy_from_slice(&self.values[phase..phase + done]);
                let rest = phase.min(len - done);
                to[done..done + rest].copy_from_slice(&self.values[..rest]);
                done += rest;
                while done < len {
                    let more = done.min(len - done);
                    to.copy_within(..more, done);
                    done += more;
                }
                to
            }
            Layout::Axes(walk) => {
                let to = &mut scratch[..len];
                walk.copy_range(self.values, first, to);
                to
            }
        }
    }
}

fn layout(shape: &Shape, output: &Shape) -> Layout {
    if shape.count() == output.count() {
        return Layout::Same;
    }
    let lead = output.rank() - shape.rank();
    let strides = shape.strides();
    let axes = output.dims().iter().enumerate().map(|(axis, &extent)| {
        let own = axis.checked_sub(lead).filter(|&axis| shape.dims()[axis] != 1);
        (extent, own.map_or(0, |axis| strides[axis] as isize))
    });
    let walk = Walk::new(0, axes);
    match walk.steps() {
        [0] | [0, 1] => Layout::Repeated,
        _ => Layout::Axes(walk),
    }
}

/// A float operand that broadcasts, read as f32.
pub(crate) enum BroadcastFloats<'a> {
    F32(Broadcast<'a, f32>),
    F16(Broadcast<'a, f16>),
}

/// Blocks for [`BroadcastFloats::read`].
pub(crate) struct Scratch {
    halves: [f16; BLOCK_ELEMS],
    floats: [f32; BLOCK_ELEMS],
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Scratch { halves: [f16::ZERO; BLOCK_ELEMS], floats: [0.0; BLOCK_ELEMS] }
    }
}

impl<'a> BroadcastFloats<'a> {
    pub(crate) fn new(operand: &Operand<'a>, output: &Shape) -> Result<Self> {
        Ok(match floats(operand)? {
            Floats::F32(values) => {
                BroadcastFloats::F32(Broadcast::new(values, &operand.ty.shape, output))
            }
            Floats::F16(values) => {
                BroadcastFloats::F16(Broadcast::new(values, &operand.ty.shape, output))
            }
        })
    }

    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, BroadcastFloats::F32(values) if values.is_in_place())
    }

    pub(crate) fn read<'b>(
        &'b self,
        level: Level,
        first: usize,
        len: usize,
        s: &'b mut Scratch,
    ) -> &'b [f32] {
        match self {
            BroadcastFloats::F32(values) => values.read(first, len, &mut s.floats),
            BroadcastFloats::F16(values) => {
                let halves = values.read(first, len, &mut s.halves);
                let to = &mut s.floats[..len];
                widen(level, halves, to);
                to
            }
        }
    }
}

/// A function of two float operands that broadcast: `f(a, b, to)` gets blocks of one length. Its
/// results are of the element type `U`.
pub(crate) fn zip_floats<U: bytemuck::Pod + Send>(
    cx: &Context,
    inputs: &[Operand<'_>],
    output: &TensorType,
    f: impl Fn(&[f32], &[f32], &mut [U]) + Sync,
) -> Result<Memory> {
    let a = BroadcastFloats::new(&inputs[0], &output.shape)?;
    let b = BroadcastFloats::new(&inputs[1], &output.shape)?;
    let in_place = a.is_in_place() && b.is_in_place();
    let block = if in_place { PART_ELEMS } else { BLOCK_ELEMS };
    let mut y = cx.pool.take(size_of::<U>() * output.count())?;
    cx.threads.for_each_part(y.slice_mut::<U>(), PART_ELEMS, |part, to| {
        let (mut a_scratch, mut b_scratch) = (Scratch::new(), Scratch::new());
        let mut first = part * PART_ELEMS;
        for to in to.chunks_mut(block) {
            let a = a.read(cx.level, first, to.len(), &mut a_scratch);
            let b = b.read(cx.level, first, to.len(), &mut b_scratch);
            first += to.len();
            f(a, b, to);
        }
    });
    Ok(y)
}

/// A function of two operands of the element type `T` that broadcast, with results of the element
/// type `U`.
pub(crate) fn zip<T: bytemuck::Pod + Sync, U: bytemuck::Pod + Send>(
    cx: &Context,
    [a, b]: [Broadcast<'_, T>; 2],
    output: &TensorType,
    f: impl Fn(&[T], &[T], &mut [U]) + Sync,
) -> Result<Memory> {
    let in_place = a.is_in_place() && b.is_in_place();
    let block = if in_place { PART_ELEMS } else { BLOCK_ELEMS };
    let mut y = cx.pool.take(size_of::<U>() * output.count())?;
    cx.threads.for_each_part(y.slice_mut::<U>(), PART_ELEMS, |part, to| {
        let mut a_scratch = [T::zeroed(); BLOCK_ELEMS];
        let mut b_scratch = [T::zeroed(); BLOCK_ELEMS];
        let mut first = part * PART_ELEMS;
        for to in to.chunks_mut(block) {
            let a = a.read(first, to.len(), &mut a_scratch);
            let b = b.read(first, to.len(), &mut b_scratch);
            first += to.len();
            f(a, b, to);
        }
    });
    Ok(y)
}

/// Whether an output is of half precision.
pub(crate) fn is_half(ty: &TensorType) -> bool {
    ty.dtype == DType::F16
}
