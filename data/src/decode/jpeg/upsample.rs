//! Planes of values, some of them subsampled, to rows of pixels, to the bit as libjpeg does it:
//! halves are filled by a triangle filter ("fancy upsampling"), other factors by repeating.

use super::header::{Colours, Component, Frame};
use super::scan::Plane;

/// How one component is brought to the picture's size.
#[derive(Clone, Copy)]
enum Method {
    /// It has that size.
    Whole,
    /// Half the columns.
    HalfCols,
    /// Half the rows.
    HalfRows,
    /// Half of both.
    HalfBoth,
    /// Each value is repeated that often, `[down, across]`.
    Repeat([usize; 2]),
}

impl Method {
    fn of(component: &Component, most: [usize; 2]) -> Self {
        let times = [most[0] / component.factors[0], most[1] / component.factors[1]];
        // The triangle filter wants three columns to look at; rows are repeated at the borders.
        let wide = component.size[1] > 2;
        match times {
            [1, 1] => Self::Whole,
            [1, 2] if wide => Self::HalfCols,
            [2, 1] => Self::HalfRows,
            [2, 2] if wide => Self::HalfBoth,
            times => Self::Repeat(times),
        }
    }
}

/// Brings one component's rows to the picture's columns, one at a time.
struct Source<'p> {
    plane: &'p Plane,
    size: [usize; 2],
    method: Method,
    sums: Vec<u16>,
    line: Vec<u8>,
}

impl<'p> Source<'p> {
    fn new(plane: &'p Plane, component: &Component, frame: &Frame) -> Self {
        let method = Method::of(component, frame.most);
        // Up to one factor of columns more than the picture has.
        let cols = component.size[1] * frame.most[1];
        Self {
            plane,
            size: component.size,
            method,
            sums: vec![0; component.size[1]],
            line: vec![0; cols],
        }
    }

    #[inline(always)]
    fn own(&self, row: usize) -> &'p [u8] {
        &self.plane.values[row * self.plane.stride..][..self.size[1]]
    }

    /// The values of a row of the picture; there may be more than it has columns.
    #[inline(always)]
    fn row(&mut self, row: usize) -> &[u8] {
        let nearest = |row: usize| {
            let own = row / 2;
            let other = if row.is_multiple_of(2) { own.saturating_sub(1) } else { own + 1 };
            [own, other.min(self.size[0] - 1)]
        };
        match self.method {
            Method::Whole => return self.own(row),
            Method::HalfCols => double(self.own(row), &mut self.line),
            Method::HalfRows => {
                let [near, far] = nearest(row).map(|row| self.own(row));
                let bias = if row.is_multiple_of(2) { 1 } else { 2 };
                for ((into, &near), &far) in self.line.iter_mut().zip(near).zip(far) {
                    *into = ((u16::from(near) * 3 + u16::from(far) + bias) >> 2) as u8;
                }
            }
            Method::HalfBoth => {
                let [near, far] = nearest(row).map(|row| self.own(row));
                for ((sum, &near), &far) in self.sums.iter_mut().zip(near).zip(far) {
                    *sum = u16::from(near) * 3 + u16::from(far);
                }
                double_sums(&self.sums, &mut self.line);
            }
            Method::Repeat([down, across]) => {
                let own = self.own(row / down);
                for (into, &value) in self.line.chunks_exact_mut(across).zip(own) {
                    into.fill(value);
                }
            }
        }
        &self.line
    }
}

/// A row of values to twice as many, three quarters of the nearer and one quarter of the other.
#[inline(always)]
fn double(from: &[u8], into: &mut [u8]) {
    let wide = |value: u8| u16::from(value);
    let last = from.len() - 1;
    into[0] = from[0];
    into[1] = ((wide(from[0]) * 3 + wide(from[1]) + 2) >> 2) as u8;
    into[2 * last] = ((wide(from[last]) * 3 + wide(from[last - 1]) + 1) >> 2) as u8;
    into[2 * last + 1] = from[last];
    between(from, &mut into[2..2 * last], |before, own, after| {
        let own = wide(own) * 3;
        [((own + wide(before) + 1) >> 2) as u8, ((own + wide(after) + 2) >> 2) as u8]
    });
}

/// As [`double`], from sums of two rows that are four times the value.
#[inline(always)]
fn double_sums(from: &[u16], into: &mut [u8]) {
    let last = from.len() - 1;
    into[0] = ((from[0] * 4 + 8) >> 4) as u8;
    into[1] = ((from[0] * 3 + from[1] + 7) >> 4) as u8;
    into[2 * last] = ((from[last] * 3 + from[last - 1] + 8) >> 4) as u8;
    into[2 * last + 1] = ((from[last] * 4 + 7) >> 4) as u8;
    between(from, &mut into[2..2 * last], |before, own, after| {
        [((own * 3 + before + 8) >> 4) as u8, ((own * 3 + after + 7) >> 4) as u8]
    });
}

/// Two values for each that has one before and one after it, made by `pair` of the three.
#[inline(always)]
fn between<T: Copy>(from: &[T], into: &mut [u8], pair: impl Fn(T, T, T) -> [u8; 2]) {
    let count = from.len() - 2;
    let (before, own, after) = (&from[..count], &from[1..1 + count], &from[2..]);
    let (befores, before_rest) = before.as_chunks::<LANES>();
    let (owns, own_rest) = own.as_chunks::<LANES>();
    let (afters, after_rest) = after.as_chunks::<LANES>();
    let (whole, rest) = into.split_at_mut(owns.len() * LANES * 2);
    let groups = whole.chunks_exact_mut(LANES * 2);
    for (((before, own), after), into) in befores.iter().zip(owns).zip(afters).zip(groups) {
        let pairs: [[u8; 2]; LANES] =
            std::array::from_fn(|lane| pair(before[lane], own[lane], after[lane]));
        into.copy_from_slice(pairs.as_flattened());
    }
    let pairs = rest.chunks_exact_mut(2).zip(before_rest).zip(own_rest).zip(after_rest);
    for (((into, &before), &own), &after) in pairs {
        into.copy_from_slice(&pair(before, own, after));
    }
}

/// The picture's values, `[rows, cols, channels]`: 1 channel of grey, 3 of RGB, or the 4 inks as
/// they are stored.
// Inlined with all that it calls into functions that are compiled for other instructions.
#[inline(always)]
pub(super) fn pixels(frame: &Frame, planes: &[Plane], colours: Colours) -> Vec<u8> {
    let (rows, cols, channels) = (frame.rows, frame.cols, planes.len());
    let mut values = vec![0; rows * cols * channels];
    let mut sources: Vec<Source> = planes
        .iter()
        .zip(&frame.components)
        .map(|(plane, component)| Source::new(plane, component, frame))
        .collect();
    for (row, into) in values.chunks_exact_mut(cols * channels).enumerate() {
        match &mut sources[..] {
            [grey] => into.copy_from_slice(&grey.row(row)[..cols]),
            [a, b, c] => {
                let (a, b, c) = (&a.row(row)[..cols], &b.row(row)[..cols], &c.row(row)[..cols]);
                if colours == Colours::Rgb {
                    let pixels = into.chunks_exact_mut(3).zip(a).zip(b).zip(c);
                    for (((pixel, &a), &b), &c) in pixels {
                        pixel.copy_from_slice(&[a, b, c]);
                    }
                } else {
                    rgb_row([a, b, c], into);
                }
            }
            sources => {
                for (channel, source) in sources.iter_mut().enumerate() {
                    let pixels = into.chunks_exact_mut(channels);
                    for (pixel, &value) in pixels.zip(&source.row(row)[..cols]) {
                        pixel[channel] = value;
                    }
                }
                if colours == Colours::Ycck {
                    for pixel in into.chunks_exact_mut(4) {
                        let inks = rgb(pixel[0], pixel[1], pixel[2]).map(|light| 255 - light);
                        pixel[..3].copy_from_slice(&inks);
                    }
                }
            }
        }
    }
    values
}

/// Pixels whose colours are computed side by side, so that the compiler uses vectors.
const LANES: usize = 16;

/// A row of luma and chroma to red, green and blue.
#[inline(always)]
fn rgb_row([y, cb, cr]: [&[u8]; 3], into: &mut [u8]) {
    let (lumas, luma_rest) = y.as_chunks::<LANES>();
    let (cbs, cb_rest) = cb.as_chunks::<LANES>();
    let (crs, cr_rest) = cr.as_chunks::<LANES>();
    let whole = lumas.len() * LANES * 3;
    let groups = into[..whole].chunks_exact_mut(LANES * 3);
    for (((y, cb), cr), into) in lumas.iter().zip(cbs).zip(crs).zip(groups) {
        let [mut red, mut green, mut blue] = [[0; LANES]; 3];
        for lane in 0..LANES {
            [red[lane], green[lane], blue[lane]] = rgb(y[lane], cb[lane], cr[lane]);
        }
        for (lane, pixel) in into.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[red[lane], green[lane], blue[lane]]);
        }
    }
    let pixels = into[whole..].chunks_exact_mut(3).zip(luma_rest).zip(cb_rest).zip(cr_rest);
    for (((pixel, &y), &cb), &cr) in pixels {
        pixel.copy_from_slice(&rgb(y, cb, cr));
    }
}

/// Luma and chroma to red, green and blue: JFIF's equations with 16 bits of fraction, rounded.
///
/// 1.402, 0.34414, 0.71414 and 1.772 times 65536 are 91881, 22554, 46802 and 116130. Whole multiples
/// of 65536 are taken out of them, which changes no bit and leaves factors of 16 bits.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128);
    const HALF: i32 = 1 << 15;
    let part = |cb_factor: i16, cr_factor: i16| {
        let cb = i32::from(cb) * i32::from(cb_factor);
        let cr = i32::from(cr) * i32::from(cr_factor);
        ((cb + cr + HALF) >> 16) as i16
    };
    let red = y + cr + part(0, 26345);
    let green = y - cr + part(-22554, 18734);
    let blue = y + 2 * cb + part(-14942, 0);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
