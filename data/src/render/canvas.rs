//! A picture to paint on: blending, rounded rectangles, frosted glass.

use crate::{Image, Result};

/// A colour (0..=255 a channel) with its opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Color {
    pub(super) rgb: [f32; 3],
    pub(super) alpha: f32,
}

impl Color {
    pub(super) const fn opaque(red: u8, green: u8, blue: u8) -> Self {
        Self { rgb: [red as f32, green as f32, blue as f32], alpha: 1.0 }
    }
}

/// A rectangle in pixels; (0, 0) is the top left corner of the first pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Rect {
    /// How much of the pixel at (`row`, `col`) lies within the rectangle with rounded corners, 0..=1:
    /// its distance to the border, over one pixel.
    fn coverage(&self, radius: f32, row: usize, col: usize) -> f32 {
        let (x, y) = (col as f32 + 0.5, row as f32 + 0.5);
        let half = [(self.right - self.left) / 2.0, (self.bottom - self.top) / 2.0];
        let radius = radius.min(half[0]).min(half[1]).max(0.0);
        let from_centre = [
            (x - (self.left + self.right) / 2.0).abs() - half[0] + radius,
            (y - (self.top + self.bottom) / 2.0).abs() - half[1] + radius,
        ];
        let outside = from_centre[0].max(0.0).hypot(from_centre[1].max(0.0));
        let inside = from_centre[0].max(from_centre[1]).min(0.0);
        (0.5 - (outside + inside - radius)).clamp(0.0, 1.0)
    }
}

/// An RGB picture being painted.
pub(super) struct Canvas {
    rows: usize,
    cols: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    pub(super) fn new(rows: usize, cols: usize, color: Color) -> Self {
        Self { rows, cols, pixels: vec![color.rgb.map(|c| c as u8); rows * cols] }
    }

    pub(super) fn into_image(self) -> Result<Image> {
        Image::new(self.rows, self.cols, 3, self.pixels.into_flattened())
    }

    /// Copies an RGB picture to (`top`, `left`); what does not fit is left out.
    pub(super) fn paste(&mut self, image: &Image, top: usize, left: usize) {
        for row in 0..image.rows().min(self.rows.saturating_sub(top)) {
            let (pixels, _) = image.row(row).as_chunks::<3>();
            let count = pixels.len().min(self.cols.saturating_sub(left));
            let start = (top + row) * self.cols + left;
            self.pixels[start..start + count].copy_from_slice(&pixels[..count]);
        }
    }

    /// Paints one pixel with a part (0..=1) of a colour; outside the canvas nothing happens.
    pub(super) fn blend(&mut self, row: i64, col: i64, color: Color, part: f32) {
        let inside = |at: i64, side: usize| usize::try_from(at).ok().filter(|&at| at < side);
        let (Some(row), Some(col)) = (inside(row, self.rows), inside(col, self.cols)) else {
            return;
        };
        let alpha = (color.alpha * part).clamp(0.0, 1.0);
        for (value, paint) in self.pixels[row * self.cols + col].iter_mut().zip(color.rgb) {
            let old = f32::from(*value);
            *value = (old + (paint - old) * alpha).round() as u8;
        }
    }

    /// A filled rectangle with rounded corners.
    pub(super) fn rounded_rect(&mut self, rect: Rect, radius: f32, color: Color) {
        self.rounded_rect_within(rect, rect, radius, color);
    }

    /// As [`Canvas::rounded_rect`], but only the part inside another one of the same radius: a bar
    /// that is shorter than it is high must not stick out of its track's round end.
    pub(super) fn rounded_rect_within(
        &mut self,
        rect: Rect,
        within: Rect,
        radius: f32,
        color: Color,
    ) {
        let (rows, cols) = self.pixels_of(rect);
        for row in rows {
            for col in cols.clone() {
                let part = rect.coverage(radius, row, col).min(within.coverage(radius, row, col));
                if part > 0.0 {
                    self.blend(row as i64, col as i64, color, part);
                }
            }
        }
    }

    /// Blurs what is under a rectangle with rounded corners, so that text on it can be read over
    /// any picture: three box blurs, which come close to a Gaussian.
    pub(super) fn frost(&mut self, rect: Rect, blur: usize, radius: f32) {
        let (rows, cols) = self.pixels_of(rect);
        let (height, width) = (rows.len(), cols.len());
        if height == 0 || width == 0 {
            return;
        }
        let mut region: Vec<[f32; 3]> = rows
            .clone()
            .flat_map(|row| {
                let start = row * self.cols;
                &self.pixels[start + cols.start..start + cols.end]
            })
            .map(|pixel| pixel.map(f32::from))
            .collect();
        let mut line = Vec::new();
        for _ in 0..3 {
            for row in 0..height {
                box_blur(&mut region, row * width, 1, width, blur, &mut line);
            }
            for col in 0..width {
                box_blur(&mut region, col, width, height, blur, &mut line);
            }
        }
        let mut blurred = region.into_iter();
        for row in rows {
            for col in cols.clone() {
                let Some(rgb) = blurred.next() else { return };
                let part = rect.coverage(radius, row, col);
                self.blend(row as i64, col as i64, Color { rgb, alpha: 1.0 }, part);
            }
        }
    }

    /// The rows and columns of the canvas that a rectangle touches.
    fn pixels_of(&self, rect: Rect) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        // Casts saturate: outside the canvas is its border.
        let range = |from: f32, to: f32, side: usize| {
            let from = (from.floor() as usize).min(side);
            from..(to.ceil() as usize).clamp(from, side)
        };
        (range(rect.top, rect.bottom, self.rows), range(rect.left, rect.right, self.cols))
    }
}

/// Replaces each of `count` pixels, from `start` and `stride` apart, by the average of those up to
/// `blur` away. At the ends there are fewer.
fn box_blur(
    pixels: &mut [[f32; 3]],
    start: usize,
    stride: usize,
    count: usize,
    blur: usize,
    line: &mut Vec<[f32; 3]>,
) {
    line.clear();
    line.extend((0..count).map(|i| pixels[start + i * stride]));
    let mut sum = [0f32; 3];
    let mut inside = 0usize;
    let mut add = |sum: &mut [f32; 3], pixel: [f32; 3], sign: f32| {
        for (s, p) in sum.iter_mut().zip(pixel) {
            *s += sign * p;
        }
        inside = if sign > 0.0 { inside + 1 } else { inside - 1 };
        inside
    };
    for &pixel in line.iter().take(blur) {
        add(&mut sum, pixel, 1.0);
    }
    for i in 0..count {
        let mut number = 0;
        if let Some(&pixel) = line.get(i + blur) {
            number = add(&mut sum, pixel, 1.0);
        }
        if i > blur {
            number = add(&mut sum, line[i - blur - 1], -1.0);
        }
        if number == 0 {
            number = count;
        }
        pixels[start + i * stride] = sum.map(|s| s / number as f32);
    }
}
