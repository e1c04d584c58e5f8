//! What is known of a value while a model is compiled.

use striate_graph::Value;

use crate::onnx::array::Array;
use crate::onnx::elem::Elem;

/// A value of the file.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Known before anything runs.
    Host(Array),
    /// Computed on the device.
    Device(Dev),
}

/// A value of the graph that stands for one of the file.
///
/// The file's order of axes is the *logical* one; on the device they lie in any order, so that images are
/// channels-last there and a transposition costs nothing before something needs another order.
#[derive(Clone, Debug)]
pub(crate) struct Dev {
    /// The value in the graph: f32, or u32 for truth values and indices.
    pub(crate) value: Value,
    /// The logical axis that lies at each place on the device.
    pub(crate) axes: Vec<usize>,
    /// The logical extents.
    pub(crate) dims: Vec<usize>,
    /// The type in the file.
    pub(crate) elem: Elem,
}

impl Item {
    pub(crate) fn dims(&self) -> &[usize] {
        match self {
            Item::Host(array) => &array.dims,
            Item::Device(dev) => &dev.dims,
        }
    }

    pub(crate) fn elem(&self) -> Elem {
        match self {
            Item::Host(array) => array.elem,
            Item::Device(dev) => dev.elem,
        }
    }
}

impl Dev {
    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The order in which nothing is moved.
    pub(crate) fn plain(rank: usize) -> Vec<usize> {
        (0..rank).collect()
    }

    /// Images with their channels last: logical `[n, channels, spatial…]`.
    pub(crate) fn channels_last(rank: usize) -> Vec<usize> {
        let spatial = 2..rank;
        std::iter::once(0).chain(spatial).chain((rank > 1).then_some(1)).collect()
    }

    /// The extents as they lie on the device.
    pub(crate) fn physical(&self) -> Vec<usize> {
        self.axes.iter().map(|&axis| self.dims[axis]).collect()
    }

    /// Where a logical axis lies on the device.
    pub(crate) fn place(&self, axis: usize) -> usize {
        self.axes.iter().position(|&at| at == axis).unwrap_or(axis)
    }

    pub(crate) fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Why a node was not compiled.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It has to be computed on the host, and some operands are on the device.
    Host,
    /// It needs the contents of this operand, which is on the device.
    Needs(usize),
    /// It is beyond what there is here: why.
    Unsupported(String),
    /// It is wrong: what was expected, and what it has.
    Invalid(String),
    /// A tensor op failed.
    Tensor(striate_tensor::Error),
    /// A graph op failed.
    Graph(striate_graph::Error),
}

impl From<striate_tensor::Error> for Stop {
    fn from(error: striate_tensor::Error) -> Self {
        Stop::Tensor(error)
    }
}

impl From<striate_graph::Error> for Stop {
    fn from(error: striate_graph::Error) -> Self {
        Stop::Graph(error)
    }
}

pub(crate) type Step<T> = Result<T, Stop>;

pub(crate) fn unsupported<T>(why: impl Into<String>) -> Step<T> {
    Err(Stop::Unsupported(why.into()))
}

pub(crate) fn invalid<T>(why: impl Into<String>) -> Step<T> {
    Err(Stop::Invalid(why.into()))
}

/// A logical axis, which may count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Step<usize> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(counted) {
        Ok(place) if place < rank => Ok(place),
        _ => invalid(format!("expected an axis of {rank}, got {axis}")),
    }
}

/// Several axes, each once.
pub(crate) fn axes(list: &[i64], rank: usize) -> Step<Vec<usize>> {
    let mut axes: Vec<usize> = Vec::with_capacity(list.len());
    for &entry in list {
        let axis = axis(entry, rank)?;
        if axes.contains(&axis) {
            return invalid(format!("expected each axis once, got {list:?}"));
        }
        axes.push(axis);
    }
    Ok(axes)
}

/// More elements than any tensor has: extents beyond it are a damaged file's.
const MAX_ELEMENTS: usize = 1 << 36;

/// The number of elements of these extents, as far as a tensor may have so many; an extent of 0 hides no
/// others.
pub(crate) fn counted(dims: &[usize]) -> Step<usize> {
    let whole = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent.max(1)));
    match whole {
        Some(whole) if whole <= MAX_ELEMENTS && dims.len() <= MAX_AXES => Ok(dims.iter().product()),
        _ => invalid(format!("expected at most {MAX_ELEMENTS} elements, got {dims:?}")),
    }
}

/// Axes of any value.
const MAX_AXES: usize = 16;

/// Extents, none of them negative.
pub(crate) fn extents(list: &[i64]) -> Step<Vec<usize>> {
    let dims: Option<Vec<usize>> = list.iter().map(|&d| usize::try_from(d).ok()).collect();
    match dims {
        Some(dims) => counted(&dims).map(|_| dims),
        None => invalid(format!("expected extents that are not negative, got {list:?}")),
    }
}

/// The shape that shapes broadcast to.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Step<Vec<usize>> {
    let rank = shapes.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for dims in shapes {
        for (out, &extent) in out[rank - dims.len()..].iter_mut().zip(*dims) {
            match (*out, extent) {
                (a, b) if a == b => {}
                (1, b) => *out = b,
                (_, 1) => {}
                _ => return invalid(format!("expected shapes that broadcast, got {shapes:?}")),
            }
        }
    }
    counted(&out)?;
    Ok(out)
}
