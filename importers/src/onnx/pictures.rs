//! The pictures that a model takes: the image among its inputs, what is done to pixels, and the classes.

use std::collections::BTreeMap;

use striate_models::imagenet::{Order, labels};
use striate_nn::{Metadata, NetworkSpec};

use super::export::properties::Properties;
use super::proto::ValueInfo;
use super::read::File;
use crate::limits::check_image;
use crate::preset::{Pixels, Preset, UNIT};
use crate::{Error, ReadOptions, Result};

/// Rows and cols of pictures where the file leaves them open.
pub(super) const USUAL: usize = 224;

/// Channels where the file leaves them open.
pub(super) const COLOURS: usize = 3;

/// The metadata that name the classes: a list of names in JSON, by number, or one name a line.
const LABELS: [&str; 5] = ["labels", "classes", "class_names", "names", "character"];

/// The image that a model takes: its only input. Extents that the file leaves open are none.
#[derive(Clone, Debug)]
pub(super) struct ImageInput {
    pub(super) name: String,
    pub(super) batch: Option<usize>,
    pub(super) rows: Option<usize>,
    pub(super) cols: Option<usize>,
    pub(super) channels: Option<usize>,
    /// The file has the channels behind rows and cols.
    pub(super) channels_last: bool,
}

impl ImageInput {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::Content`] where there is another number of inputs, or one that is no image.
    pub(super) fn of(file: &File) -> Result<Self> {
        let block = &file.graph;
        let is_input = |info: &&ValueInfo| !block.initializers.contains_key(&info.name);
        let inputs: Vec<&ValueInfo> = block.inputs.iter().filter(is_input).collect();
        let refuse = |got: String| {
            let got = format!("{got}; `run` runs it as it is");
            Err(Error::content(&file.name, "inputs", "one image, [n, channels, rows, cols]", got))
        };
        let &[info] = &inputs[..] else { return refuse(format!("{} inputs", inputs.len())) };
        let tensor = info.ty.as_ref().and_then(|ty| ty.tensor.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let extent = |axis: usize| {
            let value = shape?.dim.get(axis)?.value?;
            usize::try_from(value).ok().filter(|&value| value > 0)
        };
        if shape.is_none_or(|shape| shape.dim.len() != 4) {
            return refuse(format!("`{}`, of another shape", info.name));
        }
        let is_colour = |channels: Option<usize>| channels.is_some_and(|c| c <= 4);
        let channels_last = !is_colour(extent(1)) && is_colour(extent(3));
        let [at_channels, at_rows] = if channels_last { [3, 1] } else { [1, 2] };
        Ok(ImageInput {
            name: info.name.clone(),
            batch: extent(0),
            rows: extent(at_rows),
            cols: extent(at_rows + 1),
            channels: extent(at_channels),
            channels_last,
        })
    }
}

/// What is known of the pictures that a model was made for.
pub(super) enum Pictures {
    /// What the properties say: the file was written here.
    Own(Box<Properties>),
    /// Nothing is said: how most models want them, and the size of the whole picture.
    Usual(Preset, [usize; 2]),
}

impl Pictures {
    /// Of a model that sees images of these rows, cols and channels.
    pub(super) fn of(file: &File, [rows, cols, channels]: [usize; 3]) -> Result<Self> {
        if let Some(properties) = Properties::read(&file.name, &file.metadata)? {
            return Ok(Pictures::Own(Box::new(properties)));
        }
        if channels != COLOURS {
            let preset = Preset { pixels: UNIT, ..Preset::TORCHVISION };
            return Ok(Pictures::Usual(preset, [rows, cols]));
        }
        // An eighth larger than what is cut out of them.
        let image = [rows, cols].map(|extent| extent.saturating_mul(8).div_ceil(7));
        Ok(Pictures::Usual(Preset::TORCHVISION, image))
    }

    /// Rows and cols of the whole picture.
    pub(super) fn image(&self) -> [usize; 2] {
        match self {
            Pictures::Own(properties) => properties.spec.image,
            Pictures::Usual(_, image) => *image,
        }
    }

    /// Says in a specification how large they are, and its name, where that is known.
    pub(super) fn tell(&self, spec: &mut NetworkSpec) {
        if let Pictures::Own(properties) = self {
            spec.name.clone_from(&properties.spec.name);
        }
        spec.image = self.image();
    }

    /// Labels, protocol and notes.
    pub(super) fn metadata(&self, file: &File, classes: usize) -> Metadata {
        match self {
            Pictures::Own(properties) => properties.metadata.clone(),
            Pictures::Usual(preset, image) => metadata(file, classes, preset, *image),
        }
    }
}

/// What is done to pixels of a file that does not say it, for whole pictures of this size.
pub(super) fn usual_pixels(
    file: &File,
    preset: &Preset,
    image: [usize; 2],
    options: &ReadOptions,
) -> Result<Pixels> {
    check_image(&file.name, "inputs", image)?;
    let pixels = options.pixels.over(&file.name, preset.pixels)?;
    log::info!("{}: pictures {}", file.name, Preset { pixels, ..*preset });
    Ok(pixels)
}

/// The classes, by the file's own metadata, or ImageNet's where there are a thousand.
fn metadata(file: &File, classes: usize, preset: &Preset, image: [usize; 2]) -> Metadata {
    let stored = file.metadata.iter().filter(|(key, _)| LABELS.contains(&&**key));
    let stored = stored.filter_map(|(_, text)| names(text)).find(|names| names.len() == classes);
    let imagenet = || Some(labels(Order::Sorted)).filter(|labels| labels.len() == classes);
    let extra: BTreeMap<String, String> = file.metadata.iter().cloned().collect();
    let producer = match &*file.producer {
        "" => String::new(),
        producer => format!(", written by {producer}"),
    };
    Metadata {
        labels: stored.or_else(imagenet),
        protocol: Some("tested".into()),
        view: Some(preset.view(image)),
        note: Some(format!("imported from an ONNX model{producer}")),
        extra,
        ..Metadata::default()
    }
}

/// Names out of a text: a list in JSON, an object by number, as Python prints one, or lines.
fn names(text: &str) -> Option<Vec<String>> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return Some(list);
    }
    if let Ok(map) = serde_json::from_str::<BTreeMap<String, String>>(text) {
        return by_number(map.into_iter());
    }
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    if let Some(inner) = inner {
        // `{0: 'tench', 1: "tiger's eye"}`
        let pairs = inner.split(", ").filter_map(|pair| {
            let (number, name) = pair.split_once(": ")?;
            Some((number.trim().to_owned(), name.trim_matches(['\'', '"']).to_owned()))
        });
        return by_number(pairs);
    }
    Some(text.lines().map(ToOwned::to_owned).collect())
}

fn by_number(pairs: impl Iterator<Item = (String, String)>) -> Option<Vec<String>> {
    let numbered: Option<BTreeMap<usize, String>> =
        pairs.map(|(number, name)| Some((number.parse().ok()?, name))).collect();
    let numbered = numbered?;
    numbered.keys().copied().eq(0..numbered.len()).then(|| numbered.into_values().collect())
}
