//! Axes as shaders walk them.

use striate_tensor::Shape;

/// An axis of the output: its extent, and what a step along it is in each operand.
pub(super) type Axis<const N: usize> = (usize, [u32; N]);

/// The strides of an operand that broadcasts to a shape of `rank` axes: 0 where it has one element.
pub(super) fn broadcast_strides(operand: &Shape, rank: usize) -> Vec<u32> {
    let strides = operand.strides();
    let own = (operand.dims().iter().zip(strides)).map(|(&d, s)| if d == 1 { 0 } else { s as u32 });
    std::iter::repeat_n(0, rank - operand.rank()).chain(own).collect()
}

/// Fewer axes that mean the same, the last one first: without those of one element, and with
/// neighbours joined where every operand goes on from one to the next. At least one remains.
pub(super) fn joined<const N: usize>(axes: &[Axis<N>]) -> Vec<Axis<N>> {
    let mut joined: Vec<Axis<N>> = Vec::new();
    for &(extent, strides) in axes.iter().rev().filter(|(extent, _)| *extent != 1) {
        if let Some((inner, inner_strides)) = joined.last_mut() {
            let goes_on = strides
                .iter()
                .zip(inner_strides.iter())
                .all(|(&outer, &step)| outer == step.wrapping_mul(*inner as u32));
            if goes_on {
                *inner *= extent;
                continue;
            }
        }
        joined.push((extent, strides));
    }
    if joined.is_empty() {
        joined.push((1, [0; N]));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_go_on_are_joined() {
        assert_eq!(joined::<1>(&[(2, [12]), (3, [4]), (4, [1])]), [(24, [1])]);
        assert_eq!(joined::<1>(&[(2, [0]), (1, [7]), (3, [0])]), [(6, [0])]);
        // A bias over channels: rows and cols are one.
        let axes = [(2, [60, 0]), (3, [20, 0]), (20, [1, 1])];
        assert_eq!(joined::<2>(&axes), [(20, [1, 1]), (6, [20, 0])]);
        assert_eq!(joined::<1>(&[]), [(1, [0])]);
        let shape = Shape::new(&[3, 1]).unwrap();
        assert_eq!(broadcast_strides(&shape, 3), [0, 1, 0]);
    }
}
