//! The network of a lifted model: what it sees, its weights, its classes.

use striate_nn::{Inputs, LayerSpec, Network, NetworkSpec, Node, Role};
use striate_tensor::{DType, Device, HostTensor, Shape, Tensor};

use super::{AS_IT_IS, Lift, Numbers, Output, Seen};
use crate::inspection::StoredParameters;
use crate::onnx::pictures::{COLOURS, ImageInput, Pictures, USUAL, usual_pixels};
use crate::onnx::read::File;
use crate::preset::Pixels;
use crate::{Error, Format, Inspection, ReadOptions, Result};

/// A model as layers: what they are, and their numbers.
struct Layers {
    spec: NetworkSpec,
    numbers: Vec<Numbers>,
    running: Vec<(usize, Vec<f32>)>,
}

/// What the file holds, where its operators are layers.
pub(in crate::onnx) fn inspect(file: &File, bytes: u64) -> Result<Inspection> {
    let Layers { mut spec, .. } = layers(file)?;
    let pictures = Pictures::of(file, spec.input)?;
    pictures.tell(&mut spec);
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
            Pictures::Usual(..) => true,
        },
        training_state: Vec::new(),
        training: None,
        training_options: None,
        metadata: pictures.metadata(file, spec.classes()),
        spec,
    })
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
    let pictures = Pictures::of(file, spec.input)?;
    if of_pictures || matches!(pictures, Pictures::Own(_)) {
        pictures.tell(&mut spec);
    }
    let mean = match &pictures {
        Pictures::Usual(preset, image) if of_pictures => {
            let pixels = usual_pixels(file, preset, *image, options)?;
            fold(&pixels, &spec, &mut numbers)
                .map_err(|got| refuse(file, "a convolution that alone sees the image", got))?;
            pixels.mean_image(spec.image, spec.input[2], device).map(Some)
        }
        Pictures::Usual(..) => Ok(None),
        Pictures::Own(properties) => {
            options.pixels.refuse(&file.name)?;
            properties.mean(device)
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
    let metadata = pictures.metadata(file, spec.classes());
    let network = Network::of(spec, parameters, buffers, device);
    let network = network.map(|network| network.with_metadata(metadata));
    let network = network.and_then(|network| match mean {
        Some(mean) => network.with_mean(mean),
        None => Ok(network),
    });
    network.map_err(|e| Error::network(&file.name, e))
}

fn refuse(file: &File, expected: &str, got: String) -> Error {
    let problem = format!("expected {expected}, got {got}; {AS_IT_IS}");
    Error::Node { file: file.name.clone(), place: "graph".into(), problem }
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
    let image = ImageInput::of(file)?;
    let channels_last = image.channels_last;
    let channels = image.channels.unwrap_or(COLOURS);
    let [rows, cols] = [image.rows, image.cols].map(|extent| extent.unwrap_or(USUAL));
    let dims = match channels_last {
        true => vec![1, rows, cols, channels],
        false => vec![1, channels, rows, cols],
    };
    Shape::new(&dims).map_err(|e| Error::tensor(&file.name, &*image.name, e))?;
    let seen = Output { node: None, dims, channels_last, flattened: None };
    lift.seen.insert(image.name, Seen::Layer(seen));
    Ok([rows, cols, channels])
}
