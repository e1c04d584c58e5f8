//! The network of a lifted model: what it sees, its weights, its classes.

use std::collections::BTreeMap;

use striate_models::imagenet::{Order, labels};
use striate_nn::{Inputs, LayerSpec, Metadata, Network, NetworkSpec, Node, Role};
use striate_tensor::{DType, Device, HostTensor, Shape, Tensor};

use super::{Lift, Numbers, Output, Seen};
use crate::inspection::StoredParameters;
use crate::limits::check_image;

use crate::onnx::export::properties::Properties;
use crate::onnx::proto::ValueInfo;
use crate::onnx::read::File;
use crate::preset::{Pixels, Preset, UNIT};
use crate::{Error, Format, Inspection, ReadOptions, Result};

/// Rows and cols of pictures where the file leaves them open.
const USUAL: usize = 224;

/// The metadata that name the classes: a list of names in JSON, by number, or one name a line.
const LABELS: [&str; 5] = ["labels", "classes", "class_names", "names", "character"];

/// A model as layers: what they are, and their numbers.
struct Layers {
    spec: NetworkSpec,
    numbers: Vec<Numbers>,
    running: Vec<(usize, Vec<f32>)>,
}

/// What the file holds, where its operators are layers.
pub(in crate::onnx) fn inspect(file: &File, bytes: u64) -> Result<Inspection> {
    let Layers { mut spec, .. } = layers(file)?;
    let pictures = Pictures::of(file, &mut spec)?;
    let shapes = spec.shapes().map_err(|e| Error::network(&file.name, e))?;
    let layers = shapes.iter().map(|shape| {
        shape.parameters.iter().fold(None, |stored, parameter| {
            Some(StoredParameters::with(stored, DType::F32, parameter.shape.count()))
        })
    });
    Ok(Inspection {
        file: file.name.clone(),
        format: Format::Onnx,
        bytes,
        layers: layers.collect(),
        mean: match &pictures {
            Pictures::Own(properties) => properties.has_mean(),
            Pictures::Usual(_) => true,
        },
        training_state: Vec::new(),
        training: None,
        training_options: None,
        metadata: pictures.metadata(file, &spec),
        spec,
    })
}

/// What is known of the pictures that a model was made for.
enum Pictures {
    /// What the properties say: the file was written here.
    Own(Box<Properties>),
    /// Nothing is said: how most models want them.
    Usual(Preset),
}

impl Pictures {
    /// Finds it out, and says in the specification how large they are.
    fn of(file: &File, spec: &mut NetworkSpec) -> Result<Self> {
        if let Some(properties) = Properties::read(&file.name, &file.metadata)? {
            (spec.name, spec.image) = (properties.spec.name.clone(), properties.spec.image);
            return Ok(Pictures::Own(Box::new(properties)));
        }
        let [rows, cols, channels] = spec.input;
        if channels != 3 {
            return Ok(Pictures::Usual(Preset { pixels: UNIT, ..Preset::TORCHVISION }));
        }
        // An eighth larger than what is cut out of them.
        spec.image = [rows, cols].map(|extent| extent.saturating_mul(8).div_ceil(7));
        Ok(Pictures::Usual(Preset::TORCHVISION))
    }

    fn metadata(&self, file: &File, spec: &NetworkSpec) -> Metadata {
        match self {
            Pictures::Own(properties) => properties.metadata.clone(),
            Pictures::Usual(preset) => metadata(file, spec, preset),
        }
    }
}

/// The network of a file whose operators are layers: of what the model sees, or of pictures, as
/// [`Model::to_classifier`](super::super::Model::to_classifier) says.
pub(in crate::onnx) fn network(
    file: &File,
    device: &Device,
    options: &ReadOptions,
    of_pictures: bool,
) -> Result<Network> {
    let Layers { mut spec, mut numbers, mut running } = layers(file)?;
    let without = spec.image;
    let pictures = Pictures::of(file, &mut spec)?;
    let mean = match &pictures {
        Pictures::Own(properties) => {
            options.pixels.refuse(&file.name)?;
            properties.mean(device)
        }
        Pictures::Usual(preset) if of_pictures => {
            check_image(&file.name, "inputs", spec.image)?;
            let pixels = options.pixels.over(&file.name, preset.pixels)?;
            log::info!("{}: pictures {}", file.name, Preset { pixels, ..*preset });
            fold(&pixels, &spec, &mut numbers)
                .map_err(|got| refuse(file, "a convolution that alone sees the image", got))?;
            pixels.mean_image(spec.image, spec.input[2], device).map(Some)
        }
        Pictures::Usual(_) => {
            spec.image = without;
            Ok(None)
        }
    };
    let mean = mean.map_err(|e| Error::tensor(&file.name, "the mean image", e))?;
    let shapes = spec.shapes().map_err(|e| Error::network(&file.name, e))?;
    let dtype = options.dtype.unwrap_or(DType::F32);
    let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
    let tensor = |name: &str, shape: Shape, values: Vec<f32>| {
        HostTensor::new(shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(|e| Error::tensor(&file.name, name, e))
    };
    for shape in &shapes {
        for info in &shape.parameters {
            let is_own = |n: &&mut Numbers| n.node == shape.layer && n.role == info.role;
            let own = numbers.iter_mut().find(is_own);
            let values = own.map(|numbers| std::mem::take(&mut numbers.values));
            let wide = tensor(&info.name, info.shape, values.unwrap_or_default())?;
            let cast = wide.cast(dtype).map_err(|e| Error::tensor(&file.name, &*info.name, e));
            parameters.push(cast?);
        }
        for info in &shape.buffers {
            let own = running.iter_mut().find(|(node, _)| *node == shape.layer);
            let values = own.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
            buffers.push(tensor(&info.name, info.shape, values)?);
        }
    }
    let metadata = pictures.metadata(file, &spec);
    let network = Network::of(spec, parameters, buffers, device);
    let network = network.map(|network| network.with_metadata(metadata));
    let network = network.and_then(|network| match mean {
        Some(mean) => network.with_mean(mean),
        None => Ok(network),
    });
    network.map_err(|e| Error::network(&file.name, e))
}

fn refuse(file: &File, expected: &str, got: String) -> Error {
    Error::content(&file.name, "graph", expected, format!("{got}; `run` runs it as it is"))
}

fn layers(file: &File) -> Result<Layers> {
    let mut lift = Lift::new(file);
    let input = input(file, &mut lift)?;
    lift.walk()?;
    let name = &file.graph.outputs[0].name;
    let Some(Seen::Layer(output)) = lift.seen.get(name).cloned() else {
        return Err(refuse(file, "an output that layers make", name.clone()));
    };
    if output.node.map(|node| node + 1) != Some(lift.nodes.len()) {
        let got = "layers after the first output, or that nothing sees".to_owned();
        return Err(refuse(file, "a network whose last layer is its output", got));
    }
    let name = std::path::Path::new(&file.name).file_stem();
    let name = name.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let Lift { nodes, numbers, running, .. } = lift;
    Ok(Layers { spec: NetworkSpec { name, nodes, ..NetworkSpec::new(input) }, numbers, running })
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
    if conv.groups != 1 {
        return Err("a convolution in groups".into());
    }
    for numbers in numbers.iter_mut().filter(|n| n.node == first && n.role == Role::Weight) {
        numbers.values.chunks_exact_mut(channels.max(1)).for_each(|pixel| pixels.fold(pixel));
    }
    Ok(())
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
    Shape::new(&dims).map_err(|e| Error::tensor(&file.name, &*info.name, e))?;
    let seen = Output { node: None, dims, channels_last, flattened: None };
    lift.seen.insert(info.name.clone(), Seen::Layer(seen));
    Ok([rows, cols, channels])
}

/// The classes, by the file's own metadata, or ImageNet's where there are a thousand.
fn metadata(file: &File, spec: &NetworkSpec, preset: &Preset) -> Metadata {
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
        protocol: Some("tested".into()),
        view: Some(preset.view(spec.image)),
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
