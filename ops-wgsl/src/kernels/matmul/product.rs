//! A product whose operands are bound, and what the choice of its kernel depends on.

use striate_tensor::ops::Activation;

use crate::buffer::View;
use crate::choice::Case;

/// A matrix as it is bound: where it begins, and the elements between its rows and its columns.
pub(super) struct Matrix<'a> {
    pub(super) view: &'a View,
    pub(super) half: bool,
    pub(super) row: usize,
    pub(super) col: usize,
}

/// A leading axis: its extent, and the elements from one to the next in a, b and y.
pub(super) type BatchAxis = (usize, [u32; 3]);

/// A product of matrices, all of whose parts are bound: `y = a b`, or `y + a b`, with bias and
/// activation at the end.
pub(super) struct Product<'a> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// `[m, k]`.
    pub(super) a: Matrix<'a>,
    /// `[k, n]`.
    pub(super) b: Matrix<'a>,
    /// `[m, n]`, f32; columns next to each other.
    pub(super) y: Matrix<'a>,
    pub(super) bias: Option<(&'a View, bool)>,
    pub(super) activation: Activation,
    pub(super) accumulate: bool,
    /// The last one first; none for a single product.
    pub(super) batch: &'a [BatchAxis],
}

impl Product<'_> {
    pub(super) fn asked(&self) -> Asked<'_> {
        let steps = |matrix: &Matrix<'_>| {
            let Matrix { view, half, row, col } = *matrix;
            Steps { half, row, col, skip: view.skip as usize }
        };
        let (a, b) = (steps(&self.a), steps(&self.b));
        Asked { m: self.m, n: self.n, k: self.k, a, b, batch: self.batch }
    }
}

/// What of a [`Matrix`] the choice of a kernel depends on.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) half: bool,
    pub(super) row: usize,
    pub(super) col: usize,
    /// Elements that are bound before the first one.
    pub(super) skip: usize,
}

/// What the choice of a kernel for a [`Product`] depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: Steps,
    pub(super) b: Steps,
    pub(super) batch: &'a [BatchAxis],
}

impl Asked<'_> {
    pub(super) fn case(&self) -> Case {
        let extents = [self.m, self.n, self.k, self.matrices(), self.a.col, self.b.row];
        Case::matmul(extents, [self.a.half, self.b.half])
    }

    pub(super) fn matrices(&self) -> usize {
        self.batch.iter().map(|(extent, _)| extent).product()
    }
}
