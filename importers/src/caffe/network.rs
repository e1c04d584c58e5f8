//! The network of a model: its weights, what is subtracted from pictures, its classes.

use half::f16;
use striate_models::imagenet::{Order, labels};
use striate_nn::{Metadata, Network, NetworkSpec};
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor};

use super::file::File;
use super::lift::{Lift, Numbers, Stored, Values};
use super::net::Definition;
use super::pixels::{Pictures, fold, fold_each, is_linear, order_alone};
use super::{Options, definition};
use crate::inspection::StoredParameters;
use crate::options::check_dtype;
use crate::values::{Counts, Narrowing, Report, narrow, non_finite_f16, non_finite_f32};
use crate::{Error, Format, Inspection, ReadOptions, Result};

/// A model as layers: what they are, and their numbers.
struct Layers {
    spec: NetworkSpec,
    numbers: Vec<Numbers>,
    running: Vec<(usize, Vec<f32>)>,
    pictures: Pictures,
}

fn layers(file: &File, options: &Options<'_>, allow_overflow: bool) -> Result<Layers> {
    let definition: Definition = definition(file, options)?;
    let name = file.source.name();
    let Some((input, image)) = &definition.input else {
        let expected = "what the network sees: a definition with its extents (deploy.prototxt) beside \
                        the caffemodel, or given as --prototxt";
        let got = "no input, input_dim, input_shape or Input layer";
        return Err(Error::content(&definition.file, "layers", expected, got));
    };
    let steps = definition.steps(input)?;
    let transform = definition.transform.clone().unwrap_or_default();
    let mut lift = Lift::new(file, &definition, &steps, allow_overflow);
    let pictures = Pictures::of(name, *image, options, &transform)?;
    let pixels = pictures.preset.pixels;
    let (folded, first) = match is_linear(&steps) {
        true => (pixels, None),
        false => (order_alone(pixels), pictures.factors()),
    };
    lift.walk(*image, first)?;
    let Some(output) = lift.seen.get(steps.output).cloned().flatten() else {
        return Err(Error::content(&definition.file, "layers", "an output", "none"));
    };
    if output.node.map(|node| node + 1) != Some(lift.nodes.len()) {
        let expected = "a network whose last layer is its output";
        return Err(Error::content(&definition.file, "layers", expected, "another last layer"));
    }
    let Lift { nodes, sources, mut numbers, mut running, .. } = lift;
    let [channels, rows, cols] = *image;
    let graph = (&nodes[..], &sources[..]);
    fold(&folded, channels, graph, &mut numbers, &mut running).map_err(|got| {
        let expected = "layers that can see red, green and blue in place of blue, green and red";
        Error::content(&definition.file, "layers that see the image", expected, got)
    })?;
    let spec = NetworkSpec {
        name: match definition.name.is_empty() {
            true => file.source.stem(),
            false => definition.name,
        },
        image: pictures.image,
        nodes,
        ..NetworkSpec::new([rows, cols, channels])
    };
    Ok(Layers { spec, numbers, running, pictures })
}

/// What the file holds, without loading its weights.
pub(super) fn inspect(file: &File, options: &Options<'_>) -> Result<Inspection> {
    let Layers { spec, pictures, .. } = layers(file, options, true)?;
    let name = file.source.name();
    let shapes = spec.shapes().map_err(|e| Error::network(name, e))?;
    let layers = shapes.iter().map(|shape| {
        shape.parameters.iter().fold(None, |stored, parameter| {
            Some(StoredParameters::with(stored, DType::F32, parameter.shape.count()))
        })
    });
    Ok(Inspection {
        file: name.to_owned(),
        format: Format::Caffe,
        bytes: file.source.bytes(),
        layers: layers.collect(),
        mean: true,
        training_state: Vec::new(),
        training: None,
        training_options: None,
        metadata: metadata(&spec, &pictures),
        spec,
    })
}

pub(super) fn network(
    file: &File,
    device: &Device,
    options: &Options<'_>,
    read: &ReadOptions,
) -> Result<Network> {
    let name = file.source.name();
    check_dtype(name, read.dtype)?;
    let Layers { spec, mut numbers, mut running, pictures } =
        layers(file, options, read.allow_overflow)?;
    let shapes = spec.shapes().map_err(|e| Error::network(name, e))?;
    let dtype = read.dtype.unwrap_or(DType::F32);
    let made = |place: &str, shape: Shape, dtype, values| {
        let (dims, allow_overflow) = (shape.dims(), read.allow_overflow);
        let report = Report { file: name, place, dims, dtype, allow_overflow };
        tensor(&report, shape, values, device)
    };
    let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
    for shape in &shapes {
        for info in &shape.parameters {
            let is_own = |n: &Numbers| n.node == shape.layer && n.role == info.role;
            let own = numbers.iter().position(is_own).map(|at| numbers.swap_remove(at).values);
            parameters.push(match own {
                Some(Values::Known(values)) => made(&info.name, info.shape, dtype, values)?,
                Some(Values::Stored(stored)) => {
                    let values = load(file, &stored, read.allow_overflow)?;
                    made(&stored.place, info.shape, dtype, values)?
                }
                None => made(&info.name, info.shape, dtype, Vec::new())?,
            });
        }
        for info in &shape.buffers {
            let own = running.iter_mut().find(|(node, _)| *node == shape.layer);
            let values = own.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
            buffers.push(made(&info.name, info.shape, DType::F32, values)?);
        }
    }
    log::info!("{name}: pictures {}", pictures.preset);
    let mean = pictures.mean_image(device);
    let mean = mean.map_err(|e| Error::tensor(name, "the mean image", e))?;
    let metadata = metadata(&spec, &pictures);
    Network::of(spec, parameters, buffers, device)
        .and_then(|network| network.with_metadata(metadata).with_mean(mean))
        .map_err(|e| Error::network(name, e))
}

/// A tensor of numbers; those that are not finite are counted.
fn tensor(report: &Report<'_>, shape: Shape, wide: Vec<f32>, device: &Device) -> Result<Tensor> {
    let failed = |e| Error::tensor(report.file, report.place, e);
    let before = |i: usize| f64::from(wide[i]);
    let values = if report.dtype == DType::F16 {
        let mut values = vec![f16::ZERO; wide.len()];
        narrow(&wide, Narrowing::Nearest, &mut values);
        if non_finite_f16(&values, |v| v.to_bits()) > 0 {
            report.check(Counts::of(wide.len(), |i| values[i].is_finite(), before))?;
        }
        HostValues::F16(values)
    } else {
        if non_finite_f32(&wide, |v| v.to_bits()) > 0 {
            report.check(Counts::of(wide.len(), |i| wide[i].is_finite(), before))?;
        }
        HostValues::F32(wide)
    };
    HostTensor::new(shape, values).and_then(|host| Tensor::from_host(host, device)).map_err(failed)
}

/// The numbers of an array, in the order that they have here.
fn load(file: &File, stored: &Stored, allow_overflow: bool) -> Result<Vec<f32>> {
    let mut values = file.load(&stored.blob, &stored.place, allow_overflow)?;
    if let Some([inputs, outputs]) = stored.turned {
        values = swapped(&values, 1, [inputs, outputs]);
    }
    if let Some([a, b, spatial]) = stored.channels_last
        && spatial > 1
    {
        values = swapped(&values, a, [b, spatial]);
    }
    if let Some((pixels, channels)) = &stored.pixels {
        fold_each(pixels, *channels, &mut values);
    }
    Ok(values)
}

/// `[n, a, b]` as `[n, b, a]`.
fn swapped(values: &[f32], n: usize, [a, b]: [usize; 2]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for part in values.chunks(a.saturating_mul(b).max(1)).take(n) {
        out.extend((0..b).flat_map(|j| part.iter().skip(j).step_by(b.max(1))));
    }
    out
}

/// Labels where the classes are ImageNet's, and how Caffe prepares pictures.
fn metadata(spec: &NetworkSpec, pictures: &Pictures) -> Metadata {
    let labels = labels(Order::Sorted);
    Metadata {
        labels: (spec.classes() == labels.len()).then_some(labels),
        protocol: Some("tested".into()),
        view: Some(pictures.preset.view(pictures.image)),
        note: Some("imported from a Caffe model".into()),
        ..Metadata::default()
    }
}
