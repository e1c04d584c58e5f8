//! Elements zeroed at random.

use striate_tensor::ops::Dropout;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::elementwise::{BLOCK_ELEMS, map_blocks};
use crate::memory::Memory;
use crate::random::{Words, unit_float};
use crate::simd::{Kernel, Simd};

pub(crate) fn dropout(
    cx: &Context,
    op: &Dropout,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    map_blocks(cx, &inputs[0], output, |first, x, y| {
        let mut words = [0; BLOCK_ELEMS];
        let firsts = (first..).step_by(BLOCK_ELEMS);
        for (first, (x, y)) in firsts.zip(x.chunks(BLOCK_ELEMS).zip(y.chunks_mut(BLOCK_ELEMS))) {
            let words = &mut words[..x.len()];
            cx.level.run(Words { key: op.key, first: first as u64, to: &mut *words });
            cx.level.run(Drop { x, words, y, rate: op.rate, scale: op.scale });
        }
    })
}

struct Drop<'a> {
    x: &'a [f32],
    words: &'a [u32],
    y: &'a mut [f32],
    rate: f32,
    scale: f32,
}

impl Kernel for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for ((y, &x), &word) in self.y.iter_mut().zip(self.x).zip(self.words) {
            let kept = x * self.scale;
            *y = if unit_float(word) < self.rate { 0.0 } else { kept };
        }
    }
}
