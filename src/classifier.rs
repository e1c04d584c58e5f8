//! From a picture to ranked classes.

mod calibrate;
mod engine;
mod occlusion;
mod size;

use std::fmt;
use std::sync::Arc;

use striate_data::augment::{Recipe, TestView, ViewFormer};
use striate_data::{FloatImage, Geometry, Image, Prepared, Protocol};
use striate_importers::AnyModel;
use striate_importers::onnx::ImageModel;
use striate_models::imagenet;
use striate_nn::{Metadata, Network};
use striate_tensor::{Device, Tensor};

use crate::{Error, Result};
use engine::{Engine, Layers, VIEWS_AT_ONCE};
use size::with_size;

pub use occlusion::{Occlusion, OcclusionMap};

/// How far a probability may be above 1: sums are rounded.
const ROUNDING: f32 = 1e-3;

/// A network that ranks the classes of pictures.
///
/// A picture is cut into views as the [`Protocol`] says, the network gives each a softmax, and the
/// probabilities are averaged, as in ccv.
///
/// An ONNX model with operators that are no layers classifies as well: it is run as its file has it, see
/// [`of_model`](Classifier::of_model).
///
/// ```
/// use striate::prelude::*;
///
/// let classifier = Classifier::new(digits_model(&Device::cpu(None)?)?)?;
/// let ranks = classifier.classify(&image::open("samples/digit-7.png")?)?;
/// assert_eq!(ranks.top(1)[0].id, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Classifier {
    engine: Engine,
    protocol: Protocol,
    labels: Option<Arc<[String]>>,
    geometry: Geometry,
    mean: Option<FloatImage>,
    /// Forms the view that training tested, where the network records it.
    tested: Option<ViewFormer>,
    classes: usize,
}

impl Classifier {
    /// A classifier of this network.
    ///
    /// The protocol is the one that the model recommends: a network that was trained here recommends
    /// [`Protocol::Tested`], with the view that training tested, so that classifying the test
    /// pictures gives the error rate that training reported; weights from elsewhere come with the view
    /// that their makers tested; ccv's own files recommend [`Protocol::CcvCpu`]. A model that recommends
    /// nothing is classified by [`Protocol::Tested`], whose view is then that of the recipe `plain`.
    /// Labels are those of the model, else the ImageNet classes where there are 1,000.
    ///
    /// # Errors
    /// [`Error::NotAClassifier`] where the network does not take pictures to full-connect layers,
    /// and where its mean image cannot be read back from the device. A protocol or a view that this
    /// version does not know, or labels that are not as many as the classes, in its metadata are
    /// left out with a warning: protocol and labels can be given anew.
    pub fn new(network: Network) -> Result<Self> {
        let spec = network.spec();
        let classes = spec.classes();
        let [rows, cols, channels] = spec.input;
        let refuse = |expected: &str, got: String| {
            Err(Error::NotAClassifier { expected: expected.into(), got })
        };
        if channels != 1 && channels != 3 {
            return refuse("an input of 1 or 3 channels", format!("{channels}"));
        }
        let scan = spec.scan();
        let last = network.shapes().last();
        if last.is_none_or(|shape| !shape.flat) {
            let got = last.map_or_else(|| "none".into(), |shape| format!("a {} layer", shape.kind));
            return refuse("a last layer with a number for each class", got);
        }
        let head = spec.first_full_connect().unwrap_or(spec.nodes.len());
        let mean = network.mean().map(picture).transpose()?;
        let scan_scale = scan.map_or(1, |scan| scan.scale);
        let geometry = Geometry { image: spec.image, net: [rows, cols], channels, scan_scale };
        let metadata = network.metadata().clone();
        let engine = Engine::Layers(Layers { network, scan, head });
        Ok(Self::of_parts(engine, &metadata, geometry, mean, classes))
    }

    /// A classifier of what [`ModelFile::read_any`](crate::importers::ModelFile::read_any) reads: of a
    /// network as [`new`](Self::new), or of an ONNX model that is run as its file has it.
    ///
    /// Such a model takes views of its own size, so that it classifies by any protocol that does not scan
    /// pictures; where it recommends one that does, [`Protocol::Tested`] takes its place. The outputs of a
    /// model that ends in a softmax are probabilities already, and are averaged as they are.
    ///
    /// ```no_run
    /// use striate::importers::ModelFile;
    /// use striate::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let device = Device::auto()?;
    /// let model = ModelFile::open("vit.onnx")?.read_any(&device, &ReadOptions::default())?;
    /// let ranks = Classifier::of_model(model)?.classify(&image::open("dex.png")?)?;
    /// # let _ = ranks;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_model(model: impl Into<AnyModel>) -> Result<Self> {
        match model.into() {
            AnyModel::Network(network) => Self::new(network),
            AnyModel::Onnx(model) => Self::of_onnx(model),
        }
    }

    fn of_onnx(model: ImageModel) -> Result<Self> {
        let mean = model.mean().map(picture).transpose()?;
        let [rows, cols, channels] = model.input();
        let net = [rows, cols];
        let geometry = Geometry { image: model.image(), net, channels, scan_scale: 1 };
        let (metadata, classes) = (model.metadata().clone(), model.classes());
        let classifier = Self::of_parts(Engine::Onnx(model), &metadata, geometry, mean, classes);
        let protocol = match classifier.protocol {
            scans @ (Protocol::CcvCpu | Protocol::CcvGpu) => {
                log::warn!(
                    "the model recommends the protocol {scans}, which takes layers: not used"
                );
                Protocol::Tested
            }
            other => other,
        };
        Ok(classifier.protocol(protocol))
    }

    fn of_parts(
        engine: Engine,
        metadata: &Metadata,
        geometry: Geometry,
        mean: Option<FloatImage>,
        classes: usize,
    ) -> Self {
        let labels: Option<Arc<[String]>> = match &metadata.labels {
            Some(labels) if labels.len() == classes => Some(labels.clone().into()),
            Some(labels) => {
                log::warn!("the model has {} labels for {classes} classes: not used", labels.len());
                None
            }
            None if classes == imagenet::classes().len() => {
                Some(imagenet::labels(imagenet::Order::Devkit).into())
            }
            None => None,
        };
        let tested = recorded_view(metadata, &geometry, mean.as_ref());
        let protocol = recommended(metadata);
        Classifier { engine, protocol, labels, geometry, mean, tested, classes }
    }

    /// A classifier of this network for pictures of `[rows, cols]` pixels, its whole image larger or smaller
    /// in proportion: for networks whose weights do not depend on the size, such as those that end in a
    /// global average.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Network`] where a weight does depend on the size, and
    /// [`Error::NotAClassifier`] where the network has a mean image whose pixels differ, or the whole image
    /// would have more than 2²⁴ pixels.
    pub fn for_size(network: Network, size: [usize; 2]) -> Result<Self> {
        Self::new(with_size(network, size)?)
    }

    /// With another protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Classifier { protocol, ..self }
    }

    /// With this view of each picture, in place of the one that the model records.
    ///
    /// # Errors
    /// [`Error::Image`] where it cannot be formed for this network.
    pub fn view(self, view: TestView) -> Result<Self> {
        let tested = ViewFormer::new(view, &self.geometry, self.mean.as_ref())?;
        Ok(Classifier { tested: Some(tested), protocol: Protocol::Tested, ..self })
    }

    /// The view of a picture that [`Protocol::Tested`] forms: the one that the model records, else that
    /// of the recipe `plain`.
    pub fn tested_view(&self) -> TestView {
        match &self.tested {
            Some(tested) => *tested.view(),
            None => TestView::of(&Recipe::default(), &self.geometry),
        }
    }

    /// With other labels, one a class.
    ///
    /// # Errors
    /// [`Error::Labels`] where they are not as many as the classes.
    pub fn labels(self, labels: Vec<String>) -> Result<Self> {
        if labels.len() != self.classes {
            return Err(Error::Labels { classes: self.classes, labels: labels.len() });
        }
        Ok(Classifier { labels: Some(labels.into()), ..self })
    }

    /// The network; none where an ONNX model is run as its file has it.
    pub fn network(&self) -> Option<&Network> {
        match &self.engine {
            Engine::Layers(layers) => Some(&layers.network),
            Engine::Onnx(_) => None,
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The protocol in use.
    pub fn current_protocol(&self) -> Protocol {
        self.protocol
    }

    /// The protocol in use in words: its name, and what it does.
    pub fn protocol_in_words(&self) -> String {
        match self.protocol {
            Protocol::Tested => format!("{}: {}", self.protocol, self.tested_view()),
            _ => format!("{}: {}", self.protocol, self.protocol.description()),
        }
    }

    /// Ranks the classes of a picture.
    ///
    /// # Errors
    /// [`Error::Image`] where the picture cannot be cut as the protocol says;
    /// [`Error::NotAClassifier`] where the protocol needs a convolution and there is none, or scans pictures
    /// for an ONNX model that is run as its file has it; [`Error::Network`] or [`Error::Model`] where the
    /// device fails; [`Error::NoConfidences`] where the network's numbers overflow, so that there are no
    /// probabilities to rank.
    pub fn classify(&self, image: &Image) -> Result<Ranks> {
        let mut ranks = self.classify_batch(&[image])?;
        ranks.pop().ok_or_else(|| Error::NotAClassifier {
            expected: "one result a picture".into(),
            got: "none".into(),
        })
    }

    /// Ranks the classes of pictures, whose views go through the full-connect layers together: the
    /// weights of those are read once for all.
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify), for any of the pictures.
    pub fn classify_batch(&self, images: &[&Image]) -> Result<Vec<Ranks>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let pictures = images.iter().map(|image| self.prepared(image));
        let logits = self.engine.logits(pictures, self.protocol)?;
        let probabilities = self.engine.probabilities(logits)?;
        let views = self.protocol.views();
        let mean = probabilities.reshape([images.len(), views, self.classes])?.mean([1])?;
        let mean = mean.to_vec::<f32>()?;
        mean.chunks(self.classes).map(|confidences| self.rank(confidences.to_vec())).collect()
    }

    /// The logits of every view of a picture, `[views, classes]`, in the protocol's order; probabilities, where
    /// an ONNX model is run as its file has it and ends in a softmax.
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify).
    pub fn view_logits(&self, image: &Image) -> Result<Tensor> {
        self.engine.logits(std::iter::once(self.prepared(image)), self.protocol)
    }

    /// The input of the first full-connect layer for every view of a picture, `[views, nodes]` in
    /// parts.
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify); [`Error::NotAClassifier`] for an ONNX model that is run as its
    /// file has it, which has no layers.
    pub fn features(&self, image: &Image) -> Result<Vec<Tensor>> {
        self.engine.layers()?.features(self.prepared(image)?, self.protocol)
    }

    /// A picture, cut as the protocol says.
    fn prepared(&self, image: &Image) -> Result<Prepared> {
        Ok(match (&self.tested, self.protocol) {
            (Some(tested), Protocol::Tested) => Prepared::Crops(vec![tested.form(image)?]),
            _ => self.protocol.prepare(image, &self.geometry, self.mean.as_ref())?,
        })
    }

    fn rank(&self, confidences: Vec<f32>) -> Result<Ranks> {
        self.check_confidences(&confidences)?;
        let mut order: Vec<usize> = (0..confidences.len()).collect();
        // Ties go to the smaller id, as in ccv, since the sort keeps their order.
        order.sort_by(|&a, &b| confidences[b].total_cmp(&confidences[a]));
        Ok(Ranks { confidences, order, labels: self.labels.clone() })
    }

    /// Refuses confidences that are no probabilities.
    fn check_confidences(&self, confidences: &[f32]) -> Result<()> {
        let is_one = |value: f32| (0.0..=1.0 + ROUNDING).contains(&value);
        let Some(class) = confidences.iter().position(|&value| !is_one(value)) else {
            return Ok(());
        };
        Err(Error::NoConfidences {
            network: self.engine.name().to_owned(),
            class,
            value: confidences[class],
            half: self.engine.is_half(),
        })
    }
}

/// What forms the view that training tested the network with, where its metadata record one that can
/// be understood.
pub(crate) fn recorded_view(
    metadata: &Metadata,
    geometry: &Geometry,
    mean: Option<&FloatImage>,
) -> Option<ViewFormer> {
    let warn = |error: &dyn fmt::Display| {
        log::warn!(
            "the model records a view that training tested, which this version cannot form: {error}"
        );
    };
    // By way of text, whose messages name the field.
    let view = metadata.view.as_ref()?.to_string();
    let view: TestView = view.parse().inspect_err(|error| warn(error)).ok()?;
    ViewFormer::new(view, geometry, mean).inspect_err(|error| warn(error)).ok()
}

/// The protocol that a model recommends, or the one for models that recommend none.
fn recommended(metadata: &Metadata) -> Protocol {
    let default = Protocol::Tested;
    match metadata.protocol.as_deref().map(str::parse) {
        Some(Ok(protocol)) => protocol,
        Some(Err(error)) => {
            log::warn!("the model recommends a protocol that is not known: {error}");
            default
        }
        None => default,
    }
}

/// A host picture of a device's `[rows, cols, channels]`.
fn picture(tensor: &Tensor) -> Result<FloatImage> {
    let dims: [usize; 3] = tensor.dims().try_into().unwrap_or([0; 3]);
    Ok(FloatImage::new(dims[0], dims[1], dims[2], tensor.to_vec::<f32>()?)?)
}

/// Pictures of one size as `[n, rows, cols, channels]`.
fn batch(pictures: &[FloatImage], device: &Device) -> Result<Tensor> {
    let [rows, cols, channels] = pictures.first().map_or([0; 3], FloatImage::shape);
    let mut values = Vec::with_capacity(pictures.len() * rows * cols * channels);
    for picture in pictures {
        values.extend_from_slice(picture.values());
    }
    Ok(Tensor::from_vec(values, [pictures.len(), rows, cols, channels], device)?)
}

/// The confidence of every class of a picture.
///
/// ```
/// use striate::prelude::*;
///
/// let classifier = Classifier::new(digits_model(&Device::cpu(None)?)?)?;
/// let ranks = classifier.classify(&image::open("samples/digit-2.png")?)?;
/// assert_eq!((ranks.confidences().len(), ranks.top(3).len()), (10, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    confidences: Vec<f32>,
    order: Vec<usize>,
    labels: Option<Arc<[String]>>,
}

impl Ranks {
    /// The probability of every class, by id from 0.
    pub fn confidences(&self) -> &[f32] {
        &self.confidences
    }

    /// The `k` likeliest classes, the likeliest first; of equals the smaller id.
    pub fn top(&self, k: usize) -> Vec<Ranked> {
        let ranked = |&id: &usize| Ranked {
            id,
            label: self.labels.as_ref().and_then(|labels| labels.get(id).cloned()),
            confidence: self.confidences[id],
        };
        self.order.iter().take(k).map(ranked).collect()
    }
}

/// A class with its probability.
///
/// ```
/// use striate::Ranked;
///
/// let class = Ranked { id: 281, label: Some("tabby".into()), confidence: 0.173 };
/// assert_eq!(class.to_string(), " 17.30 %  tabby");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The id, from 0.
    pub id: usize,
    /// The name, where the model has names.
    pub label: Option<String>,
    /// The probability.
    pub confidence: f32,
}

impl fmt::Display for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{:6.2} %  {label}", self.confidence * 100.0),
            None => write!(f, "{:6.2} %  class {}", self.confidence * 100.0, self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use striate_nn::{LayerParameters, NetworkSpec, conv2d};
    use striate_tensor::DType;

    use super::*;
    use crate::DeviceByName;

    /// A network of three classes whose first weight is this; all others are 1.
    fn with_weight(weight: f32, dtype: DType) -> Classifier {
        let device = Device::cpu(Some(1)).unwrap();
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape.to_vec(), &device).unwrap()
        };
        let mut weights = vec![1.0; 3 * 16];
        weights[0] = weight;
        let layers = vec![
            Some(LayerParameters {
                weight: tensor(vec![weight], &[1, 1, 1, 1]),
                bias: tensor(vec![0.0], &[1]),
            }),
            Some(LayerParameters {
                weight: tensor(weights, &[3, 16]),
                bias: tensor(vec![0.0; 3], &[3]),
            }),
        ];
        let spec =
            NetworkSpec::new([4, 4, 1]).with_name("loud").conv(conv2d(1, 1).relu()).full_connect(3);
        let network = Network::new(spec, layers, &device).unwrap().cast(dtype).unwrap();
        Classifier::new(network).unwrap()
    }

    #[test]
    fn confidences_that_are_not_finite_are_an_error() {
        let picture = Image::filled(4, 4, 1, 200).unwrap();
        // Finite weights whose products are not.
        let loud = with_weight(1e38, DType::F32);
        for protocol in Protocol::all() {
            let error = loud.clone().protocol(protocol).classify(&picture).unwrap_err();
            let Error::NoConfidences { network, value, half, .. } = &error else {
                panic!("{protocol:?}: {error}")
            };
            assert!(network == "loud" && !value.is_finite() && !half, "{error}");
        }
        assert!(loud.classify_batch(&[&picture, &picture]).is_err());
        let occlusion = loud.occlusion(&picture, &Occlusion::default(), |_, _| ());
        assert!(matches!(occlusion, Err(Error::NoConfidences { .. })));
        for dtype in [DType::F32, DType::F16] {
            let ranks = with_weight(1.0, dtype).classify(&picture).unwrap();
            assert!(ranks.confidences().iter().all(|c| (c - 1.0 / 3.0).abs() < 1e-6));
        }
    }
}
