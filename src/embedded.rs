//! The models that ship with the program.

use std::sync::Arc;

use striate_importers::{ModelFile, ReadOptions};
use striate_nn::Network;
use striate_tensor::{Device, SharedBytes};

use crate::Result;

/// A model that ships with the program: a file in memory.
///
/// ```
/// use striate::Embedded;
///
/// let digits = Embedded::by_name("digits").ok_or("no model for digits")?;
/// assert_eq!(digits.open()?.inspect()?.spec.classes(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// The names that find it, the usual one first.
    pub names: &'static [&'static str],
    /// What it knows, in a few words.
    pub description: &'static str,
    bytes: fn() -> &'static [u8],
}

#[cfg(feature = "embedded-photos")]
const PHOTOS: Embedded = Embedded {
    names: &["photos", "efficientnet-lite0", "efficientnet_lite0"],
    description: "EfficientNet-Lite0, ImageNet's 1,000 kinds of things in photos",
    bytes: striate_models::photos,
};

const DIGITS: Embedded = Embedded {
    names: &["digits"],
    description: "a LeNet for handwritten digits",
    bytes: striate_models::digits,
};

const MODELS: &[Embedded] = &[
    #[cfg(feature = "embedded-photos")]
    PHOTOS,
    DIGITS,
];

impl Embedded {
    /// All, the default first: photos where they are built in (the feature `embedded-photos`), and digits.
    pub fn all() -> &'static [Embedded] {
        MODELS
    }

    /// The one of this name, where it is built in.
    pub fn by_name(name: &str) -> Option<&'static Embedded> {
        MODELS.iter().find(|model| model.names.contains(&name))
    }

    /// The model that is used where none is given.
    pub fn usual() -> &'static Embedded {
        &MODELS[0]
    }

    /// The model as a file.
    ///
    /// # Errors
    /// Never, as long as the program is whole.
    pub fn open(&self) -> Result<ModelFile> {
        let bytes = SharedBytes::new(Arc::new((self.bytes)()));
        let name = format!("the embedded model '{}'", self.names[0]);
        Ok(ModelFile::from_bytes(bytes, &name)?)
    }

    /// The model as a network.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn network(&self, device: &Device) -> Result<Network> {
        Ok(self.open()?.read(device, &ReadOptions::default())?)
    }
}

/// EfficientNet-Lite0, which tells ImageNet's 1,000 kinds of things in photos apart: weights as published,
/// in 8 bits ([`models::photos`](striate_models::photos)).
///
/// # Errors
/// Where the device has no memory for it.
///
/// ```
/// use striate::prelude::*;
///
/// let classifier = Classifier::new(striate::photo_model(&Device::auto()?)?)?;
/// let ranks = classifier.classify(&image::open("samples/cat.png")?)?;
/// assert!(ranks.top(1)[0].label.as_deref().is_some_and(|label| label.contains("cat")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "embedded-photos")]
pub fn photo_model(device: &Device) -> Result<Network> {
    PHOTOS.network(device)
}

/// A LeNet for handwritten digits, half precision ([`models::digits`](striate_models::digits)).
///
/// # Errors
/// Where the device has no memory for it.
///
/// ```
/// use striate::prelude::*;
///
/// let network = digits_model(&Device::cpu(None)?)?;
/// assert_eq!(network.spec().classes(), 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn digits_model(device: &Device) -> Result<Network> {
    DIGITS.network(device)
}
