//! The protocols that run the convolutions over more than the network's input at once: ccv's.

use super::Geometry;
use crate::formation::{MAX_FORMED_TIMES, check_size};
use crate::{FloatImage, Image, Result, form_input, resize_mean};

/// How many times the pixels of the network's whole image [`ccv_cpu`] may run the convolutions over.
/// Its cost grows with a picture's elongation: through VGG-16 one of 100:1 took 24 s and 4 GB. 16 is
/// twice what the longest ordinary panoramas (8:1) need, and stays below 1 GB there.
const MAX_SCAN_TIMES: usize = 16;

/// ccv's classification on a CPU: one slice of the formed picture and its mirror.
pub(super) fn ccv_cpu(
    image: &Image,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    // Only protocols that can form this picture are recommended.
    let advice = match check_size(image, geometry.image, MAX_FORMED_TIMES, "") {
        Ok(()) => {
            "choose a protocol that looks at a part (ccv-gpu, alex, centre) or at the whole squeezed \
             (caffe), or crop it to a less elongated shape"
        }
        Err(_) => {
            "choose the protocol that squeezes the whole picture (caffe), or crop it to a less \
             elongated shape"
        }
    };
    check_size(image, geometry.image, MAX_SCAN_TIMES, advice)?;
    let formed = form_input(image, geometry.image[0], geometry.image[1])?;
    let [rows, cols] = slice_size([formed.rows(), formed.cols()], geometry);
    let mut slice = formed.centre_crop(rows, cols)?;
    if let Some(mean) = mean {
        slice = slice.subtract(&stretched_mean(mean, [rows, cols])?)?;
    }
    Ok(with_mirror(vec![slice]))
}

/// The mean image as [`ccv_cpu`] subtracts it from a slice of `[rows, cols]`: stretched to the
/// slice's size, as in ccv.
///
/// ccv only knows networks whose whole image is larger than their input by a multiple of the scan
/// scale, where no side of a slice is shorter than the mean's. For others such a side is cut from
/// the middle of the mean: shrinking would shift it against the picture.
pub(super) fn stretched_mean(mean: &FloatImage, [rows, cols]: [usize; 2]) -> Result<FloatImage> {
    resize_mean(mean, rows.max(mean.rows()), cols.max(mean.cols()))?.centre_crop(rows, cols)
}

/// ccv's classification on a GPU: whole-image crops at the top left, the centre and the bottom
/// right of the formed picture, the unstretched mean subtracted, then their mirrors in the same
/// order.
///
/// Where the whole image is no valid input of the scan layers (not larger than the network's input
/// by a multiple of the scan scale, which ccv does not allow), the middle of each crop is taken.
pub(super) fn ccv_gpu(
    image: &Image,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Result<Vec<FloatImage>> {
    let [rows, cols] = geometry.image;
    let formed = form_input(image, rows, cols)?;
    let (down, right) = (formed.rows() - rows, formed.cols() - cols);
    let slice = slice_size(geometry.image, geometry);
    let slices = [[0, 0], [down / 2, right / 2], [down, right]]
        .into_iter()
        .map(|[top, left]| {
            let mut crop = formed.crop(top, left, rows, cols)?;
            if let Some(mean) = mean {
                crop = crop.subtract(mean)?;
            }
            crop.centre_crop(slice[0], slice[1])
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(with_mirror(slices))
}

/// The largest slice of a picture of `from` that the scan layers can take: the network's input and
/// as many whole scan strides more as fit.
fn slice_size(from: [usize; 2], geometry: &Geometry) -> [usize; 2] {
    [0, 1].map(|axis| {
        let more = from[axis] - geometry.net[axis];
        geometry.net[axis] + more / geometry.scan_scale * geometry.scan_scale
    })
}

/// The pictures, then their mirrors. The mean is subtracted before, so it is mirrored along (as in
/// ccv).
pub(super) fn with_mirror(mut pictures: Vec<FloatImage>) -> Vec<FloatImage> {
    let mirrors: Vec<_> = pictures.iter().map(FloatImage::flip_horizontal).collect();
    pictures.extend(mirrors);
    pictures
}
