//! Input formation: a decoded picture to one that covers a network's whole-image input, exactly as
//! ccv's input formation does it, its rounding included.

use crate::{Error, FloatImage, Image, Result, resample};

/// The most pixels that a formed picture may have, whatever the network's input is.
pub const MAX_FORMED_PIXELS: usize = 1 << 25;

/// How many times the pixels of the network's whole image a formed picture may have. A strip of 1 x
/// 500 pixels would otherwise become 257 x 128,500, 400 MB of floats, of which all protocols but
/// one keep a square. Panoramas are up to about 10:1 (a full turn by a phone); 64:1 is no photo any
/// more, and costs 50 MB for an image of 257 x 257.
pub const MAX_FORMED_TIMES: usize = 64;

/// Resizes a picture so that it covers `rows` x `cols` pixels, as in ccv:
///
/// * larger in both directions: shrunk by area ([`resample::area`]);
/// * smaller in one: grown by [`resample::cubic`];
/// * otherwise (one side equal, the other equal or larger): converted to float only.
///
/// For a square target the short side becomes the target's and the aspect is kept. For another
/// target the result covers it, but the aspect is only kept roughly: that is ccv's rule
/// (`rows * target rows / cols`), and kept.
///
/// The result has the picture's channels; both its sides are at least `rows` and `cols`.
///
/// # Errors
/// [`Error::NoPixels`] for an empty target, [`Error::Elongated`] when the result would have more
/// than [`MAX_FORMED_TIMES`] the pixels of the target, or more than [`MAX_FORMED_PIXELS`].
pub fn form_input(image: &Image, rows: usize, cols: usize) -> Result<FloatImage> {
    if rows == 0 || cols == 0 {
        return Err(Error::NoPixels { name: "the network's whole-image input".into(), rows, cols });
    }
    check_size(image, [rows, cols], MAX_FORMED_TIMES, "crop it to a less elongated shape")?;
    let from = [image.rows(), image.cols()];
    let [target_rows, target_cols] = formed_size(from, [rows, cols]);
    if from[0] > rows && from[1] > cols {
        resample::area(image, target_rows, target_cols)
    } else if from[0] < rows || from[1] < cols {
        resample::cubic(&image.to_float(), target_rows, target_cols)
    } else {
        Ok(image.to_float())
    }
}

/// The size that [`form_input`] gives a picture of `from` for a target, both `[rows, cols]`.
fn formed_size(from: [usize; 2], target: [usize; 2]) -> [usize; 2] {
    let shrink = from[0] > target[0] && from[1] > target[1];
    let grow = from[0] < target[0] || from[1] < target[1];
    if !shrink && !grow {
        return from;
    }
    let covering = covering_size(from, target);
    [0, 1].map(|axis| resampled_side(from[axis], covering[axis]))
}

/// Refuses a picture that would have more than `times` the pixels of `whole`, `[rows, cols]`, once
/// it is formed to cover that. `advice` is what to do about it.
///
/// # Errors
/// [`Error::Elongated`].
pub(crate) fn check_size(
    image: &Image,
    whole: [usize; 2],
    times: usize,
    advice: &'static str,
) -> Result<()> {
    let from = [image.rows(), image.cols()];
    let target = formed_size(from, whole);
    let area = whole[0].saturating_mul(whole[1]);
    // A network with a larger input than the absolute limit is asked for by whoever runs it.
    let limit = area.saturating_mul(times).min(MAX_FORMED_PIXELS.max(area));
    if target[0].saturating_mul(target[1]) <= limit {
        return Ok(());
    }
    Err(Error::Elongated {
        rows: from[0],
        cols: from[1],
        target_rows: target[0],
        target_cols: target[1],
        whole_rows: whole[0],
        whole_cols: whole[1],
        limit,
        advice,
    })
}

/// Stretches a float picture (a mean image) to a size by [`resample::cubic`], as ccv stretches the
/// mean to the slice that it classifies. It is a copy when the size stays.
///
/// # Errors
/// [`Error::NoPixels`] when the size is empty.
pub fn resize_mean(mean: &FloatImage, rows: usize, cols: usize) -> Result<FloatImage> {
    resample::cubic(mean, rows, cols)
}

/// Stretches a picture to a size whatever its aspect: axes that shrink by area (so that nothing
/// aliases), then axes that grow by cubic.
///
/// # Errors
/// [`Error::NoPixels`] when the size is empty.
pub fn stretch(image: &Image, rows: usize, cols: usize) -> Result<FloatImage> {
    let shrunk = resample::area(image, rows.min(image.rows()), cols.min(image.cols()))?;
    resample::cubic(&shrunk, rows, cols)
}

/// The size of a picture resized to cover `target`: ccv's rule, with its single precision quotients
/// and its truncation of value + 0.5.
fn covering_size(from: [usize; 2], target: [usize; 2]) -> [usize; 2] {
    let side = |own: usize, wanted: usize, other: usize| {
        let quotient = own as f32 * wanted as f32 / other as f32;
        wanted.max((f64::from(quotient) + 0.5) as usize)
    };
    [side(from[0], target[0], from[1]), side(from[1], target[1], from[0])]
}

/// ccv hands a factor on, in single precision, and its resampler computes the size again from that.
fn resampled_side(side: usize, target: usize) -> usize {
    let factor = target as f32 / side as f32;
    ((side as f64 * f64::from(factor) + 0.5) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formed_shape(rows: usize, cols: usize, target: [usize; 2]) -> [usize; 3] {
        let image = Image::filled(rows, cols, 1, 7).unwrap();
        form_input(&image, target[0], target[1]).unwrap().shape()
    }

    #[test]
    fn a_square_target_keeps_the_aspect() {
        assert_eq!(formed_shape(640, 480, [257, 257]), [343, 257, 1]);
        assert_eq!(formed_shape(223, 324, [257, 257]), [257, 373, 1]);
        assert_eq!(formed_shape(100, 100, [257, 257]), [257, 257, 1]);
    }

    #[test]
    fn a_target_that_is_not_square_is_covered() {
        assert_eq!(formed_shape(640, 480, [61, 97]), [81, 97, 1]);
        assert_eq!(formed_shape(40, 60, [96, 96]), [96, 144, 1]);
    }

    #[test]
    fn one_equal_side_is_left_alone() {
        assert_eq!(formed_shape(64, 200, [64, 64]), [64, 200, 1]);
        assert_eq!(formed_shape(64, 64, [64, 64]), [64, 64, 1]);
        // One equal, the other smaller: grown.
        assert_eq!(formed_shape(64, 32, [64, 64]), [128, 64, 1]);
    }

    #[test]
    fn a_strip_is_refused_whichever_way_it_is_formed() {
        // Grown; one side equal, so nothing is resized; shrunk.
        for (rows, cols) in [(1, 500), (1, 1_000_000), (40_000, 257), (258, 100_000)] {
            let strip = Image::filled(rows, cols, 1, 0).unwrap();
            let error = form_input(&strip, 257, 257).unwrap_err();
            assert!(matches!(error, Error::Elongated { .. }), "{error}");
            let text = error.to_string();
            for part in [&format!("{rows} rows x {cols} columns"), "4227136 pixels", "crop it"] {
                assert!(text.contains(part), "{text}");
            }
        }
        let panorama = Image::filled(100, 800, 1, 0).unwrap();
        assert_eq!(form_input(&panorama, 28, 28).unwrap().shape(), [28, 224, 1]);
    }

    #[test]
    fn the_size_is_known_before_the_picture_is_formed() {
        for from in [[640, 480], [100, 100], [223, 324], [40, 60], [64, 200], [64, 32], [9, 300]] {
            for target in [[257, 257], [61, 97], [64, 64], [96, 96]] {
                let [rows, cols, _] = formed_shape(from[0], from[1], target);
                assert_eq!(formed_size(from, target), [rows, cols]);
            }
        }
    }

    #[test]
    fn an_empty_target_is_refused() {
        let image = Image::filled(5, 5, 1, 0).unwrap();
        assert!(matches!(form_input(&image, 0, 5), Err(Error::NoPixels { .. })));
        assert!(matches!(resize_mean(&image.to_float(), 5, 0), Err(Error::NoPixels { .. })));
        assert!(matches!(stretch(&image, 0, 0), Err(Error::NoPixels { .. })));
    }

    #[test]
    fn stretching_takes_each_axis_its_own_way() {
        let image = Image::filled(4, 100, 3, 90).unwrap();
        let stretched = stretch(&image, 28, 28).unwrap();
        assert_eq!(stretched.shape(), [28, 28, 3]);
        assert!(stretched.values().iter().all(|v| (v - 90.0).abs() < 0.05));
    }
}
