//! What the layers of a network see, for computing with integers.

use striate_data::{Image, Prepared};
use striate_nn::Calibration;

use super::{Classifier, VIEWS_AT_ONCE, batch};
use crate::{Error, Result};

impl Classifier {
    /// Shows the network's layers the views of a picture, in f32: those that this classifier would classify. See
    /// [`Network::with_levels`](striate_nn::Network::with_levels) for what comes of it.
    ///
    /// ```
    /// use striate::nn::Calibration;
    /// use striate::prelude::*;
    ///
    /// let network = digits_model(&Device::cpu(None)?)?.fold_batch_norms()?;
    /// let classifier = Classifier::new(network.clone())?;
    /// let mut calibration = Calibration::new(&network, 0.9999)?;
    /// for digit in ["samples/digit-2.png", "samples/digit-7.png"] {
    ///     classifier.calibrate(&image::open(digit)?, &mut calibration)?;
    /// }
    /// let levels = calibration.finish();
    /// let quantized = Classifier::new(network.with_levels(levels)?)?;
    /// assert_eq!(quantized.classify(&image::open("samples/digit-7.png")?)?.top(1)[0].id, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAClassifier`] for a protocol that scans pictures, whose views are not of the network's own
    /// size, and for an ONNX model that is run as its file has it; else as [`classify`](Classifier::classify).
    pub fn calibrate(&self, image: &Image, calibration: &mut Calibration<'_>) -> Result<()> {
        let device = self.engine.layers()?.network.device();
        let Prepared::Crops(crops) = self.prepared(image)? else {
            return Err(Error::NotAClassifier {
                expected: "views of the network's own size, to calibrate with".into(),
                got: format!("the protocol {}, which scans pictures", self.protocol),
            });
        };
        for crops in crops.chunks(VIEWS_AT_ONCE) {
            calibration.observe(&batch(crops, device)?)?;
        }
        Ok(())
    }
}
