//! The protocols that cut views of the network's input size.

use super::scans::with_mirror;
use super::{Geometry, five_windows};
use crate::formation::{form_input, resize_mean, stretch};
use crate::{FloatImage, Image, Result};

/// The side of the square that AlexNet and Caffe cut their views from.
const SQUARE: usize = 256;

/// ccv's whole image: one more than the square that its networks were described with.
const CCV_WHOLE_IMAGE: usize = 257;

/// One view: the formed picture, its centre of the whole-image size, minus the mean, and of that
/// the centre of the network's size.
pub(super) fn centre(
    image: &Image,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    let [rows, cols] = geometry.image;
    let mut whole = form_input(image, rows, cols)?.centre_crop(rows, cols)?;
    if let Some(mean) = mean {
        whole = whole.subtract(mean)?;
    }
    Ok(vec![whole.centre_crop(geometry.net[0], geometry.net[1])?])
}

/// Ten views of the central square of the picture, its shorter side resized to the square's.
pub(super) fn alex(
    image: &Image,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    let [rows, cols] = classic_square(geometry);
    let whole = form_input(image, rows, cols)?.centre_crop(rows, cols)?;
    ten_views(whole, geometry, mean)
}

/// Ten views of the picture stretched to the square, whatever its aspect: by area where it shrinks,
/// by cubic where it grows.
pub(super) fn caffe(
    image: &Image,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    let [rows, cols] = classic_square(geometry);
    ten_views(stretch(image, rows, cols)?, geometry, mean)
}

/// What `alex` and `caffe` resize to: 256 where the network's whole image is ccv's 257 (and its
/// input fits), else the network's whole image.
pub(crate) fn classic_square(geometry: &Geometry) -> [usize; 2] {
    [0, 1].map(|axis| {
        let whole = geometry.image[axis];
        if whole == CCV_WHOLE_IMAGE && geometry.net[axis] <= SQUARE { SQUARE } else { whole }
    })
}

/// Corners and centre in the order top left, top right, centre, bottom left, bottom right, then the
/// same mirrored. The mean is resampled (cubic) to the square and subtracted from it before it is
/// cut, so that each view loses the mean of its own place; it is mirrored along.
fn ten_views(
    mut whole: FloatImage,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    let [rows, cols] = [whole.rows(), whole.cols()];
    if let Some(mean) = mean {
        whole = whole.subtract(&resize_mean(mean, rows, cols)?)?;
    }
    let views = five_windows([rows, cols], geometry.net)?
        .into_iter()
        .map(|[top, left]| whole.crop(top, left, geometry.net[0], geometry.net[1]))
        .collect::<Result<Vec<_>>>()?;
    Ok(with_mirror(views))
}
