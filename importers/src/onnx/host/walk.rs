//! Places of elements in row-major order.

/// The distance of neighbours along each axis.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The coordinates of a place.
pub(super) fn coordinates(mut place: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (axis, &extent) in dims.iter().enumerate().rev() {
        if extent > 0 {
            at[axis] = place % extent;
            place /= extent;
        }
    }
    at
}

/// The place of coordinates.
pub(super) fn place(at: &[usize], strides: &[usize]) -> usize {
    at.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}

/// For each element of a shape, what a function says of its coordinates.
pub(super) fn each<T>(dims: &[usize], mut of: impl FnMut(&[usize]) -> T) -> Vec<T> {
    let count: usize = dims.iter().product();
    let mut at = vec![0; dims.len()];
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(of(&at));
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            if at[axis] < dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    all
}

/// The places of `dims` that each element of a shape that they broadcast to reads.
pub(super) fn broadcast_places(dims: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - dims.len();
    let own = strides(dims);
    let steps: Vec<usize> = (0..to.len())
        .map(|axis| match axis.checked_sub(missing) {
            Some(axis) if dims[axis] != 1 => own[axis],
            _ => 0,
        })
        .collect();
    each(to, |at| place(at, &steps))
}
