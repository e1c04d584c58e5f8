//! Parts of a tensor by index: `x.i((.., 0))`.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::{Axis, Error, MAX_RANK, Result, Tensor};

/// Another axis, of extent 1, at this place: `x.i((NEW_AXIS, ..))`.
pub const NEW_AXIS: Index = Index::NewAxis;

/// All axes that the other indices leave: `x.i((REST, 0))` is entry 0 of the last axis.
pub const REST: Index = Index::Rest;

/// What to take of an axis. Numbers may be negative: -1 is the last entry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Index {
    /// One entry; the axis goes.
    Entry(isize),
    /// The entries from the first number up to, and without, the second.
    Range(Option<isize>, Option<isize>),
    /// The entries that a list names, in its order.
    Entries(Vec<isize>),
    /// The entries that a u32 tensor of one axis names, in its order.
    Tensor(Tensor),
    /// See [`NEW_AXIS`].
    NewAxis,
    /// See [`REST`].
    Rest,
}

/// A number that counts entries from the front, or from the back where it is negative.
pub trait Number: Copy {
    /// As an `isize`; none where it is too large to be an entry.
    fn number(self) -> isize;
}

impl Number for usize {
    fn number(self) -> isize {
        isize::try_from(self).unwrap_or(isize::MAX)
    }
}

impl Number for isize {
    fn number(self) -> isize {
        self
    }
}

impl Number for i32 {
    fn number(self) -> isize {
        isize::try_from(self).unwrap_or(isize::MAX)
    }
}

impl<N: Number> From<N> for Index {
    fn from(entry: N) -> Self {
        Index::Entry(entry.number())
    }
}

impl<N: Number> From<Range<N>> for Index {
    fn from(range: Range<N>) -> Self {
        Index::Range(Some(range.start.number()), Some(range.end.number()))
    }
}

impl<N: Number> From<RangeFrom<N>> for Index {
    fn from(range: RangeFrom<N>) -> Self {
        Index::Range(Some(range.start.number()), None)
    }
}

impl<N: Number> From<RangeTo<N>> for Index {
    fn from(range: RangeTo<N>) -> Self {
        Index::Range(None, Some(range.end.number()))
    }
}

impl<N: Number> From<RangeInclusive<N>> for Index {
    fn from(range: RangeInclusive<N>) -> Self {
        Index::Range(Some(range.start().number()), behind(range.end().number()))
    }
}

impl<N: Number> From<RangeToInclusive<N>> for Index {
    fn from(range: RangeToInclusive<N>) -> Self {
        Index::Range(None, behind(range.end.number()))
    }
}

/// The end of a range that has `last` in it: behind -1 is the end of the axis.
fn behind(last: isize) -> Option<isize> {
    last.checked_add(1).filter(|&end| end != 0)
}

impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Index::Range(None, None)
    }
}

impl<N: Number> From<&[N]> for Index {
    fn from(entries: &[N]) -> Self {
        Index::Entries(entries.iter().map(|entry| entry.number()).collect())
    }
}

impl<N: Number, const COUNT: usize> From<[N; COUNT]> for Index {
    fn from(entries: [N; COUNT]) -> Self {
        entries[..].into()
    }
}

impl<N: Number> From<Vec<N>> for Index {
    fn from(entries: Vec<N>) -> Self {
        entries[..].into()
    }
}

impl From<&Tensor> for Index {
    fn from(entries: &Tensor) -> Self {
        Index::Tensor(entries.clone())
    }
}

/// What [`Tensor::i`] takes: one index, or a tuple of up to eight, for the leading axes.
pub trait Indices {
    /// As a list.
    fn list(self) -> Vec<Index>;
}

impl<I: Into<Index>> Indices for I {
    fn list(self) -> Vec<Index> {
        vec![self.into()]
    }
}

macro_rules! tuples {
    ($($($index:ident)*;)*) => {$(
        impl<$($index: Into<Index>),*> Indices for ($($index,)*) {
            #[allow(non_snake_case, reason = "the types are the names")]
            fn list(self) -> Vec<Index> {
                let ($($index,)*) = self;
                vec![$($index.into()),*]
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}

impl Tensor {
    /// A part of it, by an index for each of the leading axes; the others stay whole. A number takes one
    /// entry, and its axis goes; a range takes several; an array or a u32 tensor takes the entries that it
    /// names; [`NEW_AXIS`] adds an axis; [`REST`] stands for all axes between. Each index counts within
    /// its own axis: two lists choose rows and columns, not pairs.
    ///
    /// ```
    /// # use striate_tensor::{Device, NEW_AXIS, REST, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::arange(0.0, 12.0, 1.0, &device)?.reshape([3, 4])?;
    /// assert_eq!(x.i(0)?.to_string(), "[0. 1. 2. 3.]");
    /// assert_eq!(x.i((.., -1))?.to_string(), "[ 3.  7. 11.]");
    /// assert_eq!(x.i((1.., ..2))?.to_string(), "[[4. 5.]\n [8. 9.]]");
    /// assert_eq!(x.i([2, 0])?.dims(), [2, 4]);
    /// assert_eq!(x.i((REST, NEW_AXIS))?.dims(), [3, 4, 1]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where there are more indices than axes, an entry or range is outside its axis, or the device
    /// fails. An entry of a tensor that is outside gives NaN, as with [`gather`](Tensor::gather).
    pub fn i(&self, indices: impl Indices) -> Result<Tensor> {
        let indices = whole(&indices.list(), self)?;
        let mut ranges = Vec::with_capacity(MAX_RANK);
        let mut shape = Vec::with_capacity(MAX_RANK);
        // The places in the result of axes whose entries are named one by one.
        let mut listed = Vec::new();
        for index in &indices {
            let axis = ranges.len();
            let extent = self.dims().get(axis).copied().unwrap_or(0);
            match index {
                Index::NewAxis => shape.push(1),
                Index::Entry(entry) => {
                    let Some(place) = entry.place(extent) else {
                        return Err(outside(axis, extent, index));
                    };
                    ranges.push(place..place + 1);
                }
                Index::Range(start, end) => {
                    let at = |number: isize| number.place(extent + 1 - usize::from(number < 0));
                    let start = start.map_or(Some(0), at);
                    let end = end.map_or(Some(extent), at);
                    let (Some(start), Some(end)) = (start, end) else {
                        return Err(outside(axis, extent, index));
                    };
                    if start > end {
                        return Err(outside(axis, extent, index));
                    }
                    ranges.push(start..end);
                    shape.push(end - start);
                }
                Index::Entries(entries) => {
                    let place =
                        |entry: &isize| entry.place(extent).and_then(|e| u32::try_from(e).ok());
                    let Some(places) = entries.iter().map(place).collect::<Option<Vec<_>>>() else {
                        return Err(outside(axis, extent, index));
                    };
                    let places = Tensor::from_vec(places, [entries.len()], self.device())?;
                    listed.push((shape.len(), places));
                    ranges.push(0..extent);
                    shape.push(extent);
                }
                Index::Tensor(places) => {
                    listed.push((shape.len(), places.clone()));
                    ranges.push(0..extent);
                    shape.push(extent);
                }
                Index::Rest => {}
            }
        }
        let all = ranges.iter().zip(self.dims()).all(|(range, &extent)| *range == (0..extent));
        let part = if all { self.clone() } else { self.slice(&ranges)? };
        let mut part = part.reshape(shape)?;
        for (axis, places) in listed {
            part = part.gather(&places, axis)?;
        }
        Ok(part)
    }
}

/// As many indices as there are axes: `REST`, or the end, becomes whole axes.
fn whole(indices: &[Index], x: &Tensor) -> Result<Vec<Index>> {
    let taken = |index: &&Index| !matches!(index, Index::NewAxis | Index::Rest);
    let rests = indices.iter().filter(|index| matches!(index, Index::Rest)).count();
    let missing = x.dims().len().checked_sub(indices.iter().filter(taken).count());
    let Some(missing) = missing.filter(|_| rests <= 1) else {
        let expected = format!("at most one index for each axis of {}, and one REST", x.shape());
        return Err(Error::parameter("i", "indices", expected, indices));
    };
    let rest = indices.iter().position(|index| matches!(index, Index::Rest));
    let (before, after) = indices.split_at(rest.unwrap_or(indices.len()));
    let mut whole = before.to_vec();
    whole.extend(std::iter::repeat_n(Index::Range(None, None), missing));
    whole.extend_from_slice(after);
    Ok(whole)
}

fn outside(axis: usize, extent: usize, index: &Index) -> Error {
    let expected = format!("inside axis {axis}, which has {extent} entries");
    match index {
        Index::Entry(entry) => Error::parameter("i", "index", expected, entry),
        Index::Range(start, end) => {
            let show = |number: &Option<isize>| number.map_or(String::new(), |n| n.to_string());
            let got = format!("{}..{}", show(start), show(end));
            Error::Parameter { op: "i", parameter: "index", expected, got }
        }
        other => Error::parameter("i", "index", expected, other),
    }
}
