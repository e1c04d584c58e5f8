//! Networks for pictures of another size than they were trained on.

use striate_data::augment::TestView;
use striate_importers::MAX_IMAGE_PIXELS;
use striate_nn::{Metadata, Network};
use striate_tensor::Tensor;

use crate::{Error, Result};

/// The same network for pictures of `[rows, cols]` pixels, see [`Classifier::for_size`](super::Classifier::for_size).
pub(super) fn with_size(network: Network, [rows, cols]: [usize; 2]) -> Result<Network> {
    let mut spec = network.spec().clone();
    let before = [spec.input[0], spec.input[1]];
    let scaled = |whole: [usize; 2]| {
        [(0, rows), (1, cols)].map(|(axis, side)| {
            let times = whole[axis] as f64 / before[axis].max(1) as f64;
            ((side as f64 * times).round() as usize).max(side)
        })
    };
    let image = scaled(spec.image);
    if image[0].saturating_mul(image[1]) > MAX_IMAGE_PIXELS {
        return Err(Error::NotAClassifier {
            expected: format!("pictures of at most {MAX_IMAGE_PIXELS} pixels"),
            got: format!("{} x {}", image[0], image[1]),
        });
    }
    let device = network.device();
    let mean = match network.mean() {
        Some(mean) if image != spec.image => {
            let values = mean.to_vec::<f32>()?;
            let channels = spec.input[2].max(1);
            let pixel = values.get(..channels).unwrap_or_default();
            if values.chunks(channels).any(|other| other != pixel) {
                return Err(Error::NotAClassifier {
                    expected: format!(
                        "pictures of {:?} [rows, cols], as its mean image",
                        spec.image
                    ),
                    got: format!("{image:?}"),
                });
            }
            let all = pixel.repeat(image[0].saturating_mul(image[1]));
            Some(Tensor::from_vec(all, [image[0], image[1], channels], device)?)
        }
        mean => mean.cloned(),
    };
    (spec.input, spec.image) = ([rows, cols, spec.input[2]], image);
    let mut metadata: Metadata = network.metadata().clone();
    if let Some(stored) = &metadata.view
        && let Ok(view) = stored.to_string().parse::<TestView>()
    {
        let view = TestView { size: scaled(view.size), ..view };
        // One that cannot be stored is left out, and the usual one taken.
        metadata.view = serde_json::to_value(view).ok();
    }
    let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
    let sized = Network::of(spec, network.parameters().to_vec(), buffers, device)?;
    let sized = sized.with_metadata(metadata).with_precision(network.precision())?;
    // The parameters are the same ones, in the same order.
    let sized = sized.with_levels(network.levels())?;
    Ok(match mean {
        Some(mean) => sized.with_mean(mean)?,
        None => sized,
    })
}
