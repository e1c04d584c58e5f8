//! Pictures in memory: [`Image`] of bytes, [`FloatImage`] of floats, both channels last.

use crate::{Error, Result};

/// A picture of `rows` x `cols` pixels with `channels` values each, stored as
/// `[rows, cols, channels]`. It has at least one pixel and one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster<T> {
    rows: usize,
    cols: usize,
    channels: usize,
    values: Vec<T>,
}

/// An 8-bit picture, as decoded: 1 channel (grey) or 3 (red, green, blue), 0..=255.
pub type Image = Raster<u8>;

/// A picture of floats: resampled pixels (0..255, with overshoot), a mean image, or a network's
/// input after the mean was subtracted.
pub type FloatImage = Raster<f32>;

impl<T: Copy> Raster<T> {
    /// A picture from its values, `[rows, cols, channels]`.
    ///
    /// # Errors
    /// [`Error::NoPixels`] or [`Error::Channels`] when a side is zero, [`Error::BufferLength`]
    /// when `values` has another length than the three sides say.
    pub fn new(rows: usize, cols: usize, channels: usize, values: Vec<T>) -> Result<Self> {
        if rows == 0 || cols == 0 {
            return Err(Error::NoPixels { name: "picture".to_owned(), rows, cols });
        }
        if channels == 0 {
            return Err(Error::Channels {
                operation: "a picture",
                expected: "at least one channel",
                got: 0,
            });
        }
        let expected =
            rows.checked_mul(cols).and_then(|n| n.checked_mul(channels)).unwrap_or(usize::MAX);
        if values.len() != expected {
            return Err(Error::BufferLength { rows, cols, channels, expected, got: values.len() });
        }
        Ok(Self { rows, cols, channels, values })
    }

    /// A picture whose sides this crate computed itself, so that they are known to fit.
    pub(crate) fn from_parts(rows: usize, cols: usize, channels: usize, values: Vec<T>) -> Self {
        debug_assert_eq!(values.len(), rows * cols * channels);
        Self { rows, cols, channels, values }
    }

    /// A picture with every value the same.
    ///
    /// # Errors
    /// As [`Raster::new`].
    pub fn filled(rows: usize, cols: usize, channels: usize, value: T) -> Result<Self> {
        let count = rows.checked_mul(cols).and_then(|n| n.checked_mul(channels));
        let Some(count) = count.filter(|&n| n <= isize::MAX as usize / size_of::<T>().max(1))
        else {
            return Err(Error::BufferLength { rows, cols, channels, expected: usize::MAX, got: 0 });
        };
        Self::new(rows, cols, channels, vec![value; count])
    }

    /// Rows of pixels (the height).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of pixels (the width).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Values a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[rows, cols, channels]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.rows, self.cols, self.channels]
    }

    /// All values, `[rows, cols, channels]`.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// All values, without a copy.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// One row, `[cols, channels]`.
    pub(crate) fn row(&self, row: usize) -> &[T] {
        let stride = self.cols * self.channels;
        &self.values[row * stride..(row + 1) * stride]
    }

    /// The part of `rows` x `cols` pixels whose first pixel is (`top`, `left`).
    ///
    /// # Errors
    /// [`Error::Crop`] when the part is empty or reaches outside the picture.
    pub fn crop(&self, top: usize, left: usize, rows: usize, cols: usize) -> Result<Self> {
        let inside = |start: usize, length: usize, side: usize| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= side)
        };
        if !inside(top, rows, self.rows) || !inside(left, cols, self.cols) {
            return Err(Error::Crop {
                top,
                left,
                rows,
                cols,
                image_rows: self.rows,
                image_cols: self.cols,
            });
        }
        let mut values = Vec::with_capacity(rows * cols * self.channels);
        for row in top..top + rows {
            let line = self.row(row);
            values.extend_from_slice(&line[left * self.channels..(left + cols) * self.channels]);
        }
        Ok(Self::from_parts(rows, cols, self.channels, values))
    }

    /// Copies the part of `[rows, cols]` pixels whose first pixel is `[top, left]` into a buffer,
    /// converting each value.
    ///
    /// # Errors
    /// [`Error::Crop`] when the part reaches outside, [`Error::BufferLength`] for another length.
    pub(crate) fn copy_part<U>(
        &self,
        [top, left]: [usize; 2],
        [rows, cols]: [usize; 2],
        into: &mut [U],
        convert: impl Fn(T) -> U,
    ) -> Result<()> {
        if top + rows > self.rows || left + cols > self.cols || rows == 0 || cols == 0 {
            let (image_rows, image_cols) = (self.rows, self.cols);
            return Err(Error::Crop { top, left, rows, cols, image_rows, image_cols });
        }
        let channels = self.channels;
        let (expected, got) = (rows * cols * channels, into.len());
        if got != expected {
            return Err(Error::BufferLength { rows, cols, channels, expected, got });
        }
        for (row, target) in into.chunks_exact_mut(cols * channels).enumerate() {
            let line = &self.row(top + row)[left * channels..(left + cols) * channels];
            for (target, &value) in target.iter_mut().zip(line) {
                *target = convert(value);
            }
        }
        Ok(())
    }

    /// The part of `rows` x `cols` pixels in the middle. Where it cannot be exactly in the middle
    /// it is half a pixel up and left of it (offset = difference / 2, integer), as in ccv.
    ///
    /// # Errors
    /// [`Error::Crop`] when the picture is smaller than that.
    pub fn centre_crop(&self, rows: usize, cols: usize) -> Result<Self> {
        let top = self.rows.saturating_sub(rows) / 2;
        let left = self.cols.saturating_sub(cols) / 2;
        self.crop(top, left, rows, cols)
    }

    /// The picture mirrored left to right.
    #[must_use]
    pub fn flip_horizontal(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(self.cols * self.channels) {
            for pixel in row.chunks_exact(self.channels).rev() {
                values.extend_from_slice(pixel);
            }
        }
        Self::from_parts(self.rows, self.cols, self.channels, values)
    }

    /// The picture with rows and columns exchanged (mirrored at the main diagonal).
    pub(crate) fn transposed(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for col in 0..self.cols {
            for row in 0..self.rows {
                let at = (row * self.cols + col) * self.channels;
                values.extend_from_slice(&self.values[at..at + self.channels]);
            }
        }
        Self::from_parts(self.cols, self.rows, self.channels, values)
    }

    /// The picture mirrored top to bottom.
    pub(crate) fn flipped_vertical(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(self.cols * self.channels).rev() {
            values.extend_from_slice(row);
        }
        Self::from_parts(self.rows, self.cols, self.channels, values)
    }
}

impl Image {
    /// The picture with three channels; grey is repeated in each.
    ///
    /// # Errors
    /// [`Error::Channels`] when the picture has neither 1 nor 3 channels.
    pub fn to_rgb(&self) -> Result<Self> {
        match self.channels {
            3 => Ok(self.clone()),
            1 => {
                let mut values = Vec::with_capacity(self.values.len() * 3);
                for &grey in &self.values {
                    values.extend_from_slice(&[grey; 3]);
                }
                Ok(Self::from_parts(self.rows, self.cols, 3, values))
            }
            got => Err(Error::Channels {
                operation: "converting to RGB",
                expected: "1 (grey) or 3 (RGB)",
                got,
            }),
        }
    }

    /// The picture with one channel: luma, 0.299 red + 0.587 green + 0.114 blue, rounded.
    ///
    /// # Errors
    /// [`Error::Channels`] when the picture has neither 1 nor 3 channels.
    pub fn to_grey(&self) -> Result<Self> {
        match self.channels {
            1 => Ok(self.clone()),
            3 => {
                // In thousandths, so that rounding is exact: a grey pixel stays what it is.
                let luma = |p: &[u8]| {
                    let sum = 299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]);
                    ((sum + 500) / 1000) as u8
                };
                let values = self.values.chunks_exact(3).map(luma).collect();
                Ok(Self::from_parts(self.rows, self.cols, 1, values))
            }
            got => Err(Error::Channels {
                operation: "converting to grey",
                expected: "1 (grey) or 3 (RGB)",
                got,
            }),
        }
    }

    /// The picture with 1 or 3 channels, as a network wants it.
    ///
    /// # Errors
    /// [`Error::Channels`] for any other number, of the picture or asked for.
    pub fn to_channels(&self, channels: usize) -> Result<Self> {
        match channels {
            1 => self.to_grey(),
            3 => self.to_rgb(),
            got => Err(Error::Channels {
                operation: "a picture as a network's input",
                expected: "1 (grey) or 3 (RGB)",
                got,
            }),
        }
    }

    /// The same values as floats, 0..255.
    pub fn to_float(&self) -> FloatImage {
        let values = self.values.iter().map(|&v| f32::from(v)).collect();
        FloatImage::from_parts(self.rows, self.cols, self.channels, values)
    }
}

impl FloatImage {
    /// Subtracts `other`, value by value.
    ///
    /// # Errors
    /// [`Error::Shape`] when the two have different shapes.
    pub fn subtract(&self, other: &Self) -> Result<Self> {
        if self.shape() != other.shape() {
            return Err(Error::Shape {
                operation: "subtracting a picture",
                expected: self.shape(),
                got: other.shape(),
            });
        }
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a - b).collect();
        Ok(Self::from_parts(self.rows, self.cols, self.channels, values))
    }

    /// The same picture in bytes: rounded, and cut off at 0 and 255.
    pub fn to_bytes(&self) -> Image {
        // The cast saturates, and takes NaN to 0.
        let values = self.values.iter().map(|&v| v.round() as u8).collect();
        Image::from_parts(self.rows, self.cols, self.channels, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(rows: usize, cols: usize, channels: usize) -> Image {
        let values = (0..rows * cols * channels).map(|i| i as u8).collect();
        Image::new(rows, cols, channels, values).unwrap()
    }

    #[test]
    fn a_buffer_of_the_wrong_length_is_refused() {
        let error = Image::new(2, 3, 3, vec![0; 17]).unwrap_err();
        assert!(matches!(error, Error::BufferLength { expected: 18, got: 17, .. }), "{error}");
        assert!(matches!(Image::new(0, 3, 3, vec![]), Err(Error::NoPixels { .. })));
        assert!(matches!(Image::new(3, 0, 3, vec![]), Err(Error::NoPixels { .. })));
        assert!(matches!(Image::new(3, 1, 0, vec![]), Err(Error::Channels { .. })));
        assert!(matches!(Image::new(usize::MAX, 2, 3, vec![]), Err(Error::BufferLength { .. })));
        assert!(FloatImage::filled(usize::MAX, 2, 3, 0.0).is_err());
    }

    #[test]
    fn crops_are_cut_where_asked() {
        let image = counting(4, 5, 1);
        assert_eq!(image.crop(1, 2, 2, 3).unwrap().values(), [7, 8, 9, 12, 13, 14]);
        assert_eq!(image.centre_crop(2, 2).unwrap().values(), [6, 7, 11, 12]);
        assert_eq!(image.crop(0, 0, 4, 5).unwrap(), image);
    }

    #[test]
    fn crops_outside_are_refused() {
        let image = counting(4, 5, 1);
        for (top, left, rows, cols) in
            [(3, 0, 2, 1), (0, 5, 1, 1), (0, 0, 0, 1), (usize::MAX, 0, 2, 1)]
        {
            let error = image.crop(top, left, rows, cols).unwrap_err();
            assert!(matches!(error, Error::Crop { .. }), "{error}");
        }
        assert!(matches!(image.centre_crop(5, 5), Err(Error::Crop { rows: 5, .. })));
    }

    #[test]
    fn flips_keep_the_channel_order() {
        let image = counting(1, 2, 3);
        assert_eq!(image.flip_horizontal().values(), [3, 4, 5, 0, 1, 2]);
        let tall = counting(2, 1, 3);
        assert_eq!(tall.flipped_vertical().values(), [3, 4, 5, 0, 1, 2]);
        assert_eq!(counting(2, 3, 1).transposed().values(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn grey_and_rgb() {
        let grey = counting(16, 16, 1);
        assert_eq!(grey.to_rgb().unwrap().to_grey().unwrap(), grey);
        let pure = Image::new(1, 3, 3, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
        // 76.245, 149.685, 29.07
        assert_eq!(pure.to_grey().unwrap().values(), [76, 150, 29]);
        let odd = counting(1, 1, 2);
        assert!(matches!(odd.to_rgb(), Err(Error::Channels { got: 2, .. })));
        assert!(matches!(odd.to_grey(), Err(Error::Channels { got: 2, .. })));
        assert!(matches!(grey.to_channels(4), Err(Error::Channels { got: 4, .. })));
    }

    #[test]
    fn subtracting_needs_one_shape() {
        let a = FloatImage::filled(2, 2, 1, 3.0).unwrap();
        let b = FloatImage::filled(2, 2, 1, 1.0).unwrap();
        assert_eq!(a.subtract(&b).unwrap().values(), [2.0; 4]);
        let c = FloatImage::filled(2, 1, 2, 1.0).unwrap();
        assert!(matches!(a.subtract(&c), Err(Error::Shape { .. })));
    }

    #[test]
    fn bytes_round_and_saturate() {
        let image = FloatImage::new(1, 5, 1, vec![-3.0, 0.5, 254.4, 300.0, f32::NAN]).unwrap();
        assert_eq!(image.to_bytes().values(), [0, 1, 254, 255, 0]);
    }
}
