//! Walks through a tensor in the order of another: what broadcasting, slicing, flipping and
//! permuting have in common.

use striate_tensor::{DType, MAX_RANK, Result, Shape, TensorType, reference};

use crate::context::Context;
use crate::elementwise::PART_ELEMS;

/// Axes of an output, outermost first, and how far the operand goes with a step along each: back
/// where it is reversed, nowhere where it broadcasts. Axes that the operand goes through like one
/// are one, and axes of extent 1 are gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    start: usize,
    dims: [usize; MAX_RANK],
    steps: [isize; MAX_RANK],
    rank: usize,
}

impl Walk {
    /// From the operand's element `start`, through axes given as extent and step.
    pub(crate) fn new(start: usize, axes: impl Iterator<Item = (usize, isize)>) -> Self {
        let (mut dims, mut steps, mut rank) = ([1; MAX_RANK], [0; MAX_RANK], 0);
        for (extent, step) in axes.filter(|&(extent, _)| extent != 1) {
            // The axis before goes on where this one ends: one axis.
            if rank > 0 && steps[rank - 1] == step.wrapping_mul(extent as isize) {
                dims[rank - 1] *= extent;
                steps[rank - 1] = step;
            } else {
                (dims[rank], steps[rank]) = (extent, step);
                rank += 1;
            }
        }
        Walk { start, dims, steps, rank }
    }

    /// The extents.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The steps.
    pub(crate) fn steps(&self) -> &[isize] {
        &self.steps[..self.rank]
    }

    /// Copies the elements under the whole output.
    pub(crate) fn copy<T: Copy + Send + Sync>(&self, cx: &Context, from: &[T], to: &mut [T]) {
        cx.threads.for_each_part(to, PART_ELEMS, |part, to| {
            self.copy_range(from, part * PART_ELEMS, to);
        });
    }

    /// Copies the elements under a range of the output that begins at element `first`.
    pub(crate) fn copy_range<T: Copy>(&self, from: &[T], first: usize, mut to: &mut [T]) {
        if to.is_empty() {
            return;
        }
        // No axes at all: one element.
        let last = self.rank.saturating_sub(1);
        let (dims, steps) = (&self.dims, &self.steps);
        let mut at = [0; MAX_RANK];
        let (mut rest, mut offset) = (first, self.start as isize);
        for axis in (0..=last).rev() {
            at[axis] = rest % dims[axis];
            rest /= dims[axis];
            offset += at[axis] as isize * steps[axis];
        }
        loop {
            let run = (dims[last] - at[last]).min(to.len());
            let (line, others) = to.split_at_mut(run);
            copy_line(from, offset as usize, steps[last], line);
            if others.is_empty() {
                return;
            }
            to = others;
            offset -= at[last] as isize * steps[last];
            at[last] = 0;
            for axis in (0..last).rev() {
                at[axis] += 1;
                offset += steps[axis];
                if at[axis] < dims[axis] {
                    break;
                }
                offset -= at[axis] as isize * steps[axis];
                at[axis] = 0;
            }
        }
    }
}

#[inline]
fn copy_line<T: Copy>(from: &[T], offset: usize, step: isize, line: &mut [T]) {
    match step {
        1 => line.copy_from_slice(&from[offset..offset + line.len()]),
        0 => line.fill(from[offset]),
        -1 => {
            let from = &from[offset + 1 - line.len()..=offset];
            for (to, &from) in line.iter_mut().zip(from.iter().rev()) {
                *to = from;
            }
        }
        _ => {
            let mut offset = offset as isize;
            for to in line {
                *to = from[offset as usize];
                offset += step;
            }
        }
    }
}

/// Calls a function that is generic over the element type with an unsigned integer of the size of a
/// [`DType`]: what moves elements moves bits.
///
/// [`DType`]: striate_tensor::DType
macro_rules! by_size {
    ($dtype:expr, $function:ident($($argument:expr),*)) => {
        match $dtype.size_bytes() {
            1 => $function::<u8>($($argument),*),
            2 => $function::<u16>($($argument),*),
            8 => $function::<u64>($($argument),*),
            _ => $function::<u32>($($argument),*),
        }
    };
}
pub(crate) use by_size;

/// The bits of a value in an element type, as a cast gives them: `T` is of that type's size.
pub(crate) fn bits_of<T: bytemuck::Pod>(value: f32, dtype: DType) -> Result<T> {
    let one = reference::rounded(&TensorType::new(Shape::scalar(), dtype), &[value.into()])?;
    Ok(bytemuck::pod_read_unaligned(one.values().bytes()))
}

/// The bits that stand for an entry that there is none of: NaN, the largest integer, or true.
pub(crate) fn missing<T: bytemuck::Pod>(dtype: DType) -> Result<T> {
    let float = matches!(dtype, DType::F32 | DType::F16 | DType::F64);
    // An infinite integer is the largest one.
    bits_of(if float { f32::NAN } else { f32::INFINITY }, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(walk: &Walk, from: &[u32], count: usize) -> Vec<u32> {
        let mut whole = vec![0; count];
        walk.copy_range(from, 0, &mut whole);
        // Any cut gives the same.
        for cut in 0..count {
            let mut parts = vec![0; count];
            let (left, right) = parts.split_at_mut(cut);
            walk.copy_range(from, 0, left);
            walk.copy_range(from, cut, right);
            assert_eq!(parts, whole, "{walk:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn goes_forth_back_across_and_nowhere() {
        let from: Vec<u32> = (0..6).collect();
        let walk = |start, axes: &[(usize, isize)]| Walk::new(start, axes.iter().copied());
        assert_eq!(walk(0, &[(2, 3), (1, 9), (3, 1)]).dims(), [6]);
        assert_eq!(all(&walk(0, &[(2, 3), (3, 1)]), &from, 6), from);
        assert_eq!(all(&walk(5, &[(2, -3), (3, -1)]), &from, 6), [5, 4, 3, 2, 1, 0]);
        assert_eq!(all(&walk(2, &[(2, 3), (3, -1)]), &from, 6), [2, 1, 0, 5, 4, 3]);
        assert_eq!(all(&walk(0, &[(3, 1), (2, 3)]), &from, 6), [0, 3, 1, 4, 2, 5]);
        assert_eq!(all(&walk(1, &[(2, 0), (2, 3), (2, 0)]), &from, 8), [1, 1, 4, 4, 1, 1, 4, 4]);
        assert_eq!(all(&walk(4, &[]), &from, 1), [4]);
    }
}
