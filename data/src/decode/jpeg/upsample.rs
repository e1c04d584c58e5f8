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

    fn own(&self, row: usize) -> &'p [u8] {
        &self.plane.values[row * self.plane.stride..][..self.size[1]]
    }

    /// The values of a row of the picture; there may be more than it has columns.
    fn row(&mut self, row: usize) -> &[u8] {
        let nearest = |row: usize| {
            let own = row / 2;
            let other = if row % 2 == 0 { own.saturating_sub(1) } else { own + 1 };
            [own, other.min(self.size[0] - 1)]
        };
        match self.method {
            Method::Whole => return self.own(row),
            Method::HalfCols => double(self.own(row), &mut self.line),
            Method::HalfRows => {
                let [near, far] = nearest(row).map(|row| self.own(row));
                let bias = if row % 2 == 0 { 1 } else { 2 };
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
fn double(from: &[u8], into: &mut [u8]) {
    let wide = |value: u8| u16::from(value);
    let last = from.len() - 1;
    into[0] = from[0];
    into[1] = ((wide(from[0]) * 3 + wide(from[1]) + 2) >> 2) as u8;
    for (three, pair) in from.windows(3).zip(into[2..].chunks_exact_mut(2)) {
        let middle = wide(three[1]) * 3;
        pair[0] = ((middle + wide(three[0]) + 1) >> 2) as u8;
        pair[1] = ((middle + wide(three[2]) + 2) >> 2) as u8;
    }
    into[2 * last] = ((wide(from[last]) * 3 + wide(from[last - 1]) + 1) >> 2) as u8;
    into[2 * last + 1] = from[last];
}

/// As [`double`], from sums of two rows that are four times the value.
fn double_sums(from: &[u16], into: &mut [u8]) {
    let last = from.len() - 1;
    into[0] = ((from[0] * 4 + 8) >> 4) as u8;
    into[1] = ((from[0] * 3 + from[1] + 7) >> 4) as u8;
    for (three, pair) in from.windows(3).zip(into[2..].chunks_exact_mut(2)) {
        let middle = three[1] * 3;
        pair[0] = ((middle + three[0] + 8) >> 4) as u8;
        pair[1] = ((middle + three[2] + 7) >> 4) as u8;
    }
    into[2 * last] = ((from[last] * 3 + from[last - 1] + 8) >> 4) as u8;
    into[2 * last + 1] = ((from[last] * 4 + 7) >> 4) as u8;
}

/// The picture's values, `[rows, cols, channels]`: 1 channel of grey, 3 of RGB, or the 4 inks as
/// they are stored.
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
                let pixels = into.chunks_exact_mut(3).zip(a).zip(b).zip(c);
                if colours == Colours::Rgb {
                    for (((pixel, &a), &b), &c) in pixels {
                        pixel.copy_from_slice(&[a, b, c]);
                    }
                } else {
                    for (((pixel, &y), &cb), &cr) in pixels {
                        pixel.copy_from_slice(&rgb(y, cb, cr));
                    }
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

/// Luma and chroma to red, green and blue: JFIF's equations with 16 bits of fraction.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    const HALF: i32 = 1 << 15;
    // 1.402, 0.34414, 0.71414 and 1.772 times 65536.
    let red = y + ((91881 * cr + HALF) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + HALF) >> 16);
    let blue = y + ((116130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
