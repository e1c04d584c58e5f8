//! Heat maps over pictures.

use super::canvas::{Canvas, Color, Rect};
use super::palette::heat_color;
use super::text::{Text, Weight};
use super::{BACKGROUND, TEXT, TOP_TEXT};
use crate::{Error, FloatImage, Image, Result, resample};

/// Narrower pictures are enlarged to about this many columns first, so that text fits.
const MIN_COLS: usize = 480;

/// How much of a picture is left to see where the heat is greatest.
const SHOW_THROUGH: f32 = 0.12;

/// Changes of confidence smaller than this are rounding, not heat.
const NO_HEAT: f32 = 1e-4;

/// Paints how much a confidence drops, by pixel, over the picture that it is the confidence of, and
/// a strip below with a title and what the colours stand for.
///
/// `drop` is `[rows, cols, 1]` of the picture's rows and cols, in -1..=1: warm colours where
/// positive (the confidence falls), cold ones where negative (it rises). The greatest drop or rise
/// gets the brightest colour; where there is none, within 0.01 %, nothing is painted. The picture
/// becomes grey, and is enlarged where it is narrow; the result has three channels.
///
/// # Errors
/// [`Error::Channels`] when the picture has neither 1 nor 3 channels, [`Error::Shape`] when the drop
/// is not of its size.
pub fn draw_heat(image: &Image, drop: &FloatImage, title: &str) -> Result<Image> {
    let expected = [image.rows(), image.cols(), 1];
    if drop.shape() != expected {
        return Err(Error::Shape { operation: "a heat map", expected, got: drop.shape() });
    }
    let picture = super::enlarged(&image.to_grey()?.to_rgb()?, MIN_COLS)?;
    let (rows, cols) = (picture.rows(), picture.cols());
    let heat = resample::cubic(drop, rows, cols)?;
    let finite = || drop.values().iter().copied().filter(|v| v.is_finite());
    let (least, most) = (finite().fold(0.0, f32::min), finite().fold(0.0, f32::max));
    let scale = most.max(-least).max(NO_HEAT);
    let scale = if scale > NO_HEAT { scale } else { f32::INFINITY };

    let text = Text::new()?;
    let size = (cols as f32 / 34.0).min(28.0);
    let pitch = size * 1.9;
    let strip = (2.0 * pitch + size * 0.6).ceil() as usize;
    let mut canvas = Canvas::new(rows + strip, cols, BACKGROUND);
    canvas.paste(&picture, 0, 0);
    for (index, &value) in heat.values().iter().enumerate() {
        let (color, part) = paint(value / scale);
        canvas.blend((index / cols) as i64, (index % cols) as i64, color, part);
    }

    let (left, right) = (size * 0.8, cols as f32 - size * 0.8);
    let middle = |row: f32| rows as f32 + size * 0.3 + (row + 0.5) * pitch;
    let title = text.fitted(title, size, Weight::Bold, right - left);
    text.draw(&mut canvas, &title, [left, middle(0.0)], size, Weight::Bold, TOP_TEXT);

    let (from, to) = (points(least), format!("{} points", points(most)));
    let width = |label: &str| text.width(label, size, Weight::Medium);
    let mut draw = |label: &str, at: f32| {
        text.draw(&mut canvas, label, [at, middle(1.0)], size, Weight::Medium, TEXT)
    };
    draw(&from, left);
    draw(&to, right - width(&to));
    let bar = Rect {
        left: left + width(&from) + size * 0.6,
        top: middle(1.0) - size * 0.4,
        right: right - width(&to) - size * 0.6,
        bottom: middle(1.0) + size * 0.4,
    };
    // Grey below, as under the heat.
    canvas.rounded_rect(bar, 0.0, Color::opaque(96, 96, 96));
    for col in bar.left.ceil() as usize..bar.right.max(0.0) as usize {
        let part = (col as f32 - bar.left) / (bar.right - bar.left);
        let (color, opacity) = paint((least + (most - least) * part) / scale);
        for row in bar.top.ceil() as usize..bar.bottom as usize {
            canvas.blend(row as i64, col as i64, color, opacity);
        }
    }
    canvas.into_image()
}

/// The colour of a part of the greatest heat, and how much it covers.
fn paint(value: f32) -> (Color, f32) {
    let [red, green, blue] = heat_color(value);
    let strength = if value.is_nan() { 0.0 } else { value.abs().min(1.0) };
    // The root makes little heat visible.
    let part = strength.sqrt() * (1.0 - SHOW_THROUGH);
    (Color::opaque(red, green, blue), part)
}

/// What a drop does to a confidence, in percentage points: `-12.5` for a drop of 0.125.
fn points(drop: f32) -> String {
    let points = -drop * 100.0;
    if points.abs() < 0.05 { "0".to_owned() } else { format!("{points:+.1}").replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(value: impl Fn(usize, usize) -> f32) -> FloatImage {
        let values = (0..20 * 30).map(|i| value(i / 30, i % 30)).collect();
        FloatImage::new(20, 30, 1, values).unwrap()
    }

    /// The colour of the enlarged picture at a pixel of the small one.
    fn at(drawn: &Image, row: usize, col: usize) -> [i32; 3] {
        let zoom = drawn.cols() / 30;
        let pixel = &drawn.row(row * zoom + zoom / 2)[(col * zoom + zoom / 2) * 3..];
        [0, 1, 2].map(|c| i32::from(pixel[c]))
    }

    #[test]
    fn heat_is_where_the_drop_is() {
        let image = Image::filled(20, 30, 3, 80).unwrap();
        let spots = drop(|row, col| match (row / 5, col / 5) {
            (1, 1) => 0.8,
            (1, 4) => -0.4,
            _ => 0.0,
        });
        let drawn = draw_heat(&image, &spots, "a thing").unwrap();
        assert_eq!((drawn.cols(), drawn.channels()), (480, 3));
        assert!(drawn.rows() > 320);
        let (hot, cold, none) = (at(&drawn, 7, 7), at(&drawn, 7, 22), at(&drawn, 17, 2));
        assert!(hot[0] > 200 && hot[0] > hot[2] + 50, "{hot:?}");
        assert!(cold[2] > cold[0] + 50, "{cold:?}");
        assert!(none.iter().all(|v| (v - 80).abs() < 4), "{none:?}");
    }

    #[test]
    fn rounding_is_no_heat() {
        let image = Image::filled(20, 30, 1, 80).unwrap();
        for heat in [drop(|_, _| 0.0), drop(|row, _| row as f32 * 1e-6), drop(|_, _| f32::NAN)] {
            let drawn = draw_heat(&image, &heat, "").unwrap();
            assert!(drawn.values()[..320 * 480 * 3].iter().all(|v| v.abs_diff(80) < 3));
        }
    }

    #[test]
    fn another_size_is_refused() {
        let image = Image::filled(30, 20, 1, 80).unwrap();
        assert!(matches!(draw_heat(&image, &drop(|_, _| 0.0), ""), Err(Error::Shape { .. })));
    }

    #[test]
    fn points_say_what_the_confidence_does() {
        assert_eq!([0.125, -0.02, 0.0, 0.0004].map(points), ["−12.5", "+2.0", "0", "0"]);
    }
}
