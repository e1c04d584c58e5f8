//! The network of a lifted model: what it sees, its weights, its classes.

use std::collections::BTreeMap;

use striate_models::imagenet::{Order, labels};
use striate_nn::{Inputs, LayerSpec, Metadata, Network, NetworkSpec, Node, Role};
use striate_tensor::{DType, Device, HostTensor, Tensor};

use super::{Lift, Numbers, Output, Seen};
use crate::onnx::proto::ValueInfo;
use crate::onnx::read::{File, Folder};
use crate::{Error, ReadOptions, Result};

/// Rows and cols of pictures where the file leaves them open.
const USUAL: usize = 224;

/// The metadata that name the classes: a list of names in JSON, by number, or one name a line.
const LABELS: [&str; 5] = ["labels", "classes", "class_names", "names", "character"];

/// The network of a file whose operators are layers.
pub(in crate::onnx) fn network(
    file: &File,
    folder: &Folder,
    device: &Device,
    options: &ReadOptions,
    pixels: Option<&Pixels>,
) -> Result<Network> {
    let mut lift = Lift::new(file, folder);
    let input = input(file, &mut lift)?;
    lift.walk()?;
    let content = |expected: &str, got: String| {
        Error::content(&file.name, "graph", expected, format!("{got}; `run` runs it as it is"))
    };
    let Some(Seen::Layer(output)) = lift.seen.get(&file.graph.outputs[0].name).cloned() else {
        return Err(content("an output that layers make", file.graph.outputs[0].name.clone()));
    };
    if output.node.map(|node| node + 1) != Some(lift.nodes.len()) {
        let got = "layers after the first output, or that nothing sees".to_owned();
        return Err(content("a network whose last layer is its output", got));
    }
    let mut spec =
        NetworkSpec { nodes: std::mem::take(&mut lift.nodes), ..NetworkSpec::new(input) };
    spec.name = name(file);
    if pixels.is_some_and(|pixels| pixels.is_cut) {
        spec.image = [input[0], input[1]].map(|extent| (extent * 8).div_ceil(7));
    }
    let shapes = spec.shapes().map_err(|e| Error::network(&file.name, e))?;
    let mut mean = None;
    if let Some(pixels) = pixels {
        fold(pixels, &spec, &mut lift.numbers)
            .map_err(|got| content("a convolution that alone sees the image", got))?;
        mean = Some(
            pixels
                .mean_image(spec.image, device)
                .map_err(|e| Error::tensor(&file.name, "the mean image", e))?,
        );
    }
    let dtype = options.dtype.unwrap_or(DType::F32);
    let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
    for shape in &shapes {
        for info in &shape.parameters {
            let found =
                lift.numbers.iter_mut().find(|n| n.node == shape.layer && n.role == info.role);
            let values =
                found.map(|numbers| std::mem::take(&mut numbers.values)).unwrap_or_default();
            let tensor = HostTensor::new(info.shape, values)
                .and_then(|host| Tensor::from_host(host, device))
                .and_then(|tensor| tensor.cast(dtype));
            let tensor = tensor.map_err(|e| Error::tensor(&file.name, &*info.name, e))?;
            parameters.push(tensor);
        }
        for info in &shape.buffers {
            let found = lift.running.iter_mut().find(|(node, _)| *node == shape.layer);
            let values = found.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
            let tensor = HostTensor::new(info.shape, values)
                .and_then(|host| Tensor::from_host(host, device));
            buffers.push(tensor.map_err(|e| Error::tensor(&file.name, &*info.name, e))?);
        }
    }
    let metadata = metadata(file, &spec);
    let network = Network::of(spec, parameters, buffers, device);
    let network = network.map(|network| network.with_metadata(metadata));
    let network = network.and_then(|network| match mean {
        Some(mean) => network.with_mean(mean),
        None => Ok(network),
    });
    network.map_err(|e| Error::network(&file.name, e))
}

/// What is done to pixels of 0 to 255 before a model sees them: `(pixel / 255 - mean) / deviation`.
pub(in crate::onnx) struct Pixels {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    /// Pictures are an eighth larger than what the model sees, and their centre is cut out: 256 and 224.
    is_cut: bool,
}

/// Pixels run to this.
const PIXEL_MAX: f64 = 255.0;

impl Pixels {
    /// torchvision's, where there are three colours; else pixels of 0 to 1.
    pub(in crate::onnx) fn usual(channels: usize) -> Self {
        match channels {
            3 => Pixels {
                mean: vec![0.485, 0.456, 0.406],
                deviation: vec![0.229, 0.224, 0.225],
                is_cut: true,
            },
            channels => {
                Pixels { mean: vec![0.0; channels], deviation: vec![1.0; channels], is_cut: false }
            }
        }
    }

    fn mean_image(
        &self,
        [rows, cols]: [usize; 2],
        device: &Device,
    ) -> striate_tensor::Result<Tensor> {
        let pixel: Vec<f32> = self.mean.iter().map(|mean| (mean * PIXEL_MAX) as f32).collect();
        Tensor::from_vec(pixel.repeat(rows * cols), [rows, cols, pixel.len()], device)
    }
}

/// Makes what is done to pixels part of the weights that see them; the mean is subtracted before. Else
/// what sees the image.
fn fold(
    pixels: &Pixels,
    spec: &NetworkSpec,
    numbers: &mut [Numbers],
) -> std::result::Result<(), String> {
    let channels = spec.input[2];
    let sees = |(place, node): (usize, &Node)| match &node.inputs {
        Inputs::Previous => (place == 0).then_some(place),
        Inputs::Of(names) => names.iter().any(|name| name == "input").then_some(place),
    };
    let seeing: Vec<usize> = spec.nodes.iter().enumerate().filter_map(sees).collect();
    let first = match seeing[..] {
        [first] => first,
        _ => return Err(format!("{} layers that see it", seeing.len())),
    };
    let LayerSpec::Conv(conv) = &spec.nodes[first].layer else {
        return Err(format!("a {} layer", spec.nodes[first].kind()));
    };
    if conv.groups != 1 || pixels.deviation.len() != channels {
        return Err("a convolution in groups".into());
    }
    for numbers in numbers.iter_mut().filter(|n| n.node == first && n.role == Role::Weight) {
        for (value, deviation) in numbers.values.iter_mut().zip(pixels.deviation.iter().cycle()) {
            *value = (f64::from(*value) / (PIXEL_MAX * deviation)) as f32;
        }
    }
    Ok(())
}

/// What the network is called: what wrote the file says nothing of use.
fn name(file: &File) -> String {
    let stem = std::path::Path::new(&file.name).file_stem();
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The image that the network sees: rows, cols, channels.
fn input(file: &File, lift: &mut Lift<'_>) -> Result<[usize; 3]> {
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
    let channels = extent(at_channels).unwrap_or(3);
    let rows = extent(at_rows).unwrap_or(USUAL);
    let cols = extent(at_rows + 1).unwrap_or(USUAL);
    let dims = match channels_last {
        true => vec![1, rows, cols, channels],
        false => vec![1, channels, rows, cols],
    };
    let seen = Output { node: None, dims, channels_last, flattened: None };
    lift.seen.insert(info.name.clone(), Seen::Layer(seen));
    Ok([rows, cols, channels])
}

/// The classes, by the file's own metadata, or ImageNet's where there are a thousand.
fn metadata(file: &File, spec: &NetworkSpec) -> Metadata {
    let classes = spec.classes();
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
        protocol: Some("centre".into()),
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
