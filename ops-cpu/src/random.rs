//! Tensors of random numbers.

use striate_tensor::ops::{Normal, Uniform};
use striate_tensor::random::normal_pair;
use striate_tensor::{RandomKey, Result, TensorType};

use crate::context::Context;
use crate::elementwise::{BLOCK_ELEMS, PART_ELEMS};
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Philox blocks that are computed together.
const BLOCKS: usize = 64;

pub(crate) fn uniform(cx: &Context, op: &Uniform, output: &TensorType) -> Result<Memory> {
    let (low, width) = (op.low, op.high - op.low);
    generate(cx, op.key, output, |words, y| {
        for (y, &word) in y.iter_mut().zip(words) {
            *y = low + width * unit_float(word);
        }
    })
}

pub(crate) fn normal(cx: &Context, op: &Normal, output: &TensorType) -> Result<Memory> {
    generate(cx, op.key, output, |words, y| {
        // The last element may be the first of a pair.
        for (y, words) in y.chunks_mut(2).zip(words.chunks(2)) {
            for (y, unit) in y.iter_mut().zip(normal_pair(words[0], words[1])) {
                *y = op.mean + op.deviation * unit;
            }
        }
    })
}

/// Turns the numbers of a key's sequence into elements, a block at a time; `f` gets at least as
/// many numbers as elements, and an even count of them.
fn generate(
    cx: &Context,
    key: RandomKey,
    output: &TensorType,
    f: impl Fn(&[u32], &mut [f32]) + Sync,
) -> Result<Memory> {
    let mut y = cx.pool.take(output.size_bytes())?;
    cx.threads.for_each_part(y.slice_mut::<f32>(), PART_ELEMS, |part, y| {
        let mut words = [0; BLOCK_ELEMS];
        let firsts = (part * PART_ELEMS..).step_by(BLOCK_ELEMS);
        for (first, y) in firsts.zip(y.chunks_mut(BLOCK_ELEMS)) {
            let words = &mut words[..y.len().next_multiple_of(4)];
            cx.level.run(Words { key, first: first as u64, to: &mut *words });
            f(words, y);
        }
    });
    Ok(y)
}

/// As [`striate_tensor::random::unit_float`], for loops of this crate.
#[inline(always)]
pub(crate) fn unit_float(bits: u32) -> f32 {
    // Signed, since that conversion is an instruction everywhere.
    (bits >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// The numbers of a key's sequence from `first` on, which is a multiple of 4: Philox4x32-10, some
/// blocks at a time.
pub(crate) struct Words<'a> {
    pub(crate) key: RandomKey,
    pub(crate) first: u64,
    pub(crate) to: &'a mut [u32],
}

impl Kernel for Words<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (index, to) in self.to.chunks_mut(4 * BLOCKS).enumerate() {
            let first = self.first / 4 + (index * BLOCKS) as u64;
            let mut words = [[0; BLOCKS]; 4];
            let [a, b, c, d] = &mut words;
            // The blocks are independent, and each is straight-line code: a loop for vectors.
            for (i, (((a, b), c), d)) in a.iter_mut().zip(b).zip(c).zip(d).enumerate() {
                [*a, *b, *c, *d] = block(self.key, first.wrapping_add(i as u64));
            }
            let (whole, rest) = to.as_chunks_mut::<4>();
            let count = whole.len();
            let block = |i: usize| [words[0][i], words[1][i], words[2][i], words[3][i]];
            for (i, to) in whole.iter_mut().enumerate() {
                *to = block(i);
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&block(count)[..rest.len()]);
            }
        }
    }
}

/// As [`RandomKey::block`], to be inlined.
#[inline(always)]
fn block(RandomKey { seed, stream }: RandomKey, index: u64) -> [u32; 4] {
    let (mut a, mut b) = (index as u32, (index >> 32) as u32);
    let (mut c, mut d) = (stream as u32, (stream >> 32) as u32);
    let (mut low, mut high) = (seed as u32, (seed >> 32) as u32);
    for _ in 0..10 {
        let from_a = u64::from(a) * 0xD251_1F53;
        let from_c = u64::from(c) * 0xCD9E_8D57;
        a = (from_c >> 32) as u32 ^ b ^ low;
        b = from_c as u32;
        c = (from_a >> 32) as u32 ^ d ^ high;
        d = from_a as u32;
        low = low.wrapping_add(0x9E37_79B9);
        high = high.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_key() {
        let key = RandomKey::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        for level in crate::Level::available() {
            // The second crosses from 32 to 33 bits of the block's number.
            for first in [0, 4 * u64::from(u32::MAX) - 40, u64::MAX - 3] {
                let mut words = vec![0; 137];
                level.run(Words { key, first, to: &mut words });
                for (i, &word) in words.iter().enumerate() {
                    let expected = key.block((first / 4).wrapping_add(i as u64 / 4))[i % 4];
                    assert_eq!(word, expected, "{level} {first} {i}");
                }
            }
        }
    }
}
