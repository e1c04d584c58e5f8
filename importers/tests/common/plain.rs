//! What Caffe's layers compute, written down plainly.

use super::caffe::{Blob, numbers};

/// An image as Caffe has it: channel after channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) dims: [usize; 3],
    pub(crate) values: Vec<f64>,
}

impl Image {
    pub(crate) fn random(seed: u64, dims: [usize; 3]) -> Self {
        let values = numbers(seed, &dims).1.into_iter().map(f64::from).collect();
        Image { dims, values }
    }

    pub(crate) fn of(dims: [usize; 3], value: impl Fn(usize, usize, usize) -> f64) -> Self {
        let [channels, rows, cols] = dims;
        let mut values = Vec::new();
        for c in 0..channels {
            for y in 0..rows {
                values.extend((0..cols).map(|x| value(c, y, x)));
            }
        }
        Image { dims, values }
    }

    /// A pixel's channel; 0 beyond the edge.
    pub(crate) fn at(&self, c: usize, y: isize, x: isize) -> f64 {
        let [_, rows, cols] = self.dims;
        match (0..rows as isize).contains(&y) && (0..cols as isize).contains(&x) {
            true => self.values[(c * rows + y as usize) * cols + x as usize],
            false => 0.0,
        }
    }

    pub(crate) fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Image { dims: self.dims, values: self.values.iter().map(|&x| function(x)).collect() }
    }

    /// A function of each element and of its channel's number.
    pub(crate) fn channels(&self, function: impl Fn(f64, usize) -> f64) -> Self {
        Self::of(self.dims, |c, y, x| function(self.at(c, y as isize, x as isize), c))
    }

    /// A function of the elements of two images.
    pub(crate) fn zip(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Image { dims: self.dims, values: pairs.map(|(&a, &b)| function(a, b)).collect() }
    }

    pub(crate) fn join(&self, other: &Self) -> Self {
        let [channels, rows, cols] = self.dims;
        let values = [self.values.clone(), other.values.clone()].concat();
        Image { dims: [channels + other.dims[0], rows, cols], values }
    }

    /// Some of the channels.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        let [_, rows, cols] = self.dims;
        Self::of([count, rows, cols], |c, y, x| self.at(c + first, y as isize, x as isize))
    }
}

/// How a convolution goes over an image, `[rows, cols]`.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) stride: [usize; 2],
    pub(crate) pad: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

pub(crate) const SIMPLE: Windows =
    Windows { stride: [1; 2], pad: [0; 2], dilation: [1; 2], groups: 1 };

pub(crate) fn convolve(x: &Image, (dims, w): &Blob, bias: &[f32], windows: Windows) -> Image {
    let &[count, own, kernel_rows, kernel_cols] = &dims[..] else { panic!("{dims:?}") };
    let Windows { stride, pad, dilation, groups } = windows;
    let out = |axis: usize| {
        let reach = (dims[axis + 2] - 1) * dilation[axis] + 1;
        (x.dims[axis + 1] + 2 * pad[axis] - reach) / stride[axis] + 1
    };
    Image::of([count, out(0), out(1)], |o, y, x_out| {
        let mut sum = bias.get(o).copied().map_or(0.0, f64::from);
        for c in 0..own {
            for i in 0..kernel_rows {
                for j in 0..kernel_cols {
                    let row = (y * stride[0] + i * dilation[0]) as isize - pad[0] as isize;
                    let col = (x_out * stride[1] + j * dilation[1]) as isize - pad[1] as isize;
                    let channel = o / (count / groups) * own + c;
                    let weight = w[((o * own + c) * kernel_rows + i) * kernel_cols + j];
                    sum += f64::from(weight) * x.at(channel, row, col);
                }
            }
        }
        sum
    })
}

/// The transposed convolution: weights `[in, out / groups, rows, cols]`.
pub(crate) fn deconvolve(x: &Image, (dims, w): &Blob, bias: &[f32], windows: Windows) -> Image {
    let &[channels, own, kernel_rows, kernel_cols] = &dims[..] else { panic!("{dims:?}") };
    let Windows { stride, pad, dilation, groups } = windows;
    let out = |axis: usize| {
        let reach = (dims[axis + 2] - 1) * dilation[axis] + 1;
        (x.dims[axis + 1] - 1) * stride[axis] + reach - 2 * pad[axis]
    };
    let count = own * groups;
    let mut y = Image::of([count, out(0), out(1)], |o, _, _| f64::from(bias[o]));
    for c in 0..channels {
        for o in 0..own {
            for (row, col) in (0..x.dims[1]).flat_map(|r| (0..x.dims[2]).map(move |c| (r, c))) {
                for (i, j) in (0..kernel_rows).flat_map(|i| (0..kernel_cols).map(move |j| (i, j))) {
                    let at = (row * stride[0] + i * dilation[0]).checked_sub(pad[0]);
                    let to = (col * stride[1] + j * dilation[1]).checked_sub(pad[1]);
                    let (Some(at), Some(to)) = (at, to) else { continue };
                    if at < y.dims[1] && to < y.dims[2] {
                        let weight = w[((c * own + o) * kernel_rows + i) * kernel_cols + j];
                        let channel = c / (channels / groups) * own + o;
                        let place = (channel * y.dims[1] + at) * y.dims[2] + to;
                        y.values[place] += f64::from(weight) * x.at(c, row as isize, col as isize);
                    }
                }
            }
        }
    }
    y
}

/// Pooling as Caffe counts it: the number of windows rounded up, less one where the last would begin behind
/// the image and the border before it; a mean over the window within the border.
pub(crate) fn pool(
    x: &Image,
    [size, stride, pad]: [[usize; 2]; 3],
    ceil: bool,
    mean: bool,
) -> Image {
    let out = |axis: usize| {
        let extent = x.dims[axis + 1];
        let span = extent + 2 * pad[axis] - size[axis];
        let mut out = if ceil { span.div_ceil(stride[axis]) } else { span / stride[axis] } + 1;
        if (pad[0] > 0 || pad[1] > 0) && (out - 1) * stride[axis] >= extent + pad[axis] {
            out -= 1;
        }
        out
    };
    Image::of([x.dims[0], out(0), out(1)], |c, row, col| {
        let (mut cells, mut all) = (Vec::new(), 1);
        let range = |axis: usize, at: usize| {
            let start = (at * stride[axis]) as isize - pad[axis] as isize;
            let end = start + size[axis] as isize;
            (start, end.min((x.dims[axis + 1] + pad[axis]) as isize))
        };
        let ((top, bottom), (left, right)) = (range(0, row), range(1, col));
        all *= (bottom - top) * (right - left);
        for y in top.max(0)..bottom.min(x.dims[1] as isize) {
            for z in left.max(0)..right.min(x.dims[2] as isize) {
                cells.push(x.at(c, y, z));
            }
        }
        match mean {
            true => cells.iter().sum::<f64>() / all as f64,
            false => cells.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    })
}

/// Weights `[out, in]` as a kernel over the whole image.
pub(crate) fn whole(count: usize, [channels, rows, cols]: [usize; 3], values: &[f32]) -> Blob {
    (vec![count, channels, rows, cols], values.to_vec())
}
