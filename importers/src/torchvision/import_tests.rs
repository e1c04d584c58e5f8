//! State dicts of scaled-down networks, imported and run, against plain loops in torchvision's own
//! order and units.

use std::collections::BTreeMap;

use striate_nn::{LayerSpec, NetworkSpec, conv2d, full_connect, pool};
use striate_tensor::{RandomKey, Reference};

use super::*;
use crate::preset::{IMAGENET, UNIT};
use crate::safetensors::{TensorFile, write_tensors};

/// A picture's activations in torchvision's order.
#[derive(Clone)]
struct Planes {
    channels: usize,
    rows: usize,
    cols: usize,
    /// `[channel][row][col]`
    values: Vec<f64>,
}

impl Planes {
    fn at(&self, channel: usize, row: isize, col: isize) -> Option<f64> {
        let inside = |i: isize, n: usize| usize::try_from(i).ok().filter(|i| *i < n);
        let (row, col) = (inside(row, self.rows)?, inside(col, self.cols)?);
        Some(self.values[(channel * self.rows + row) * self.cols + col])
    }

    fn windows(
        &self,
        count: usize,
        [size, stride, padding]: [usize; 3],
        value: impl Fn(usize, isize, isize) -> f64,
    ) -> Planes {
        let extent = |n: usize| (n + 2 * padding - size) / stride + 1;
        let (rows, cols) = (extent(self.rows), extent(self.cols));
        let mut values = Vec::new();
        for out in 0..count {
            for row in 0..rows {
                for col in 0..cols {
                    let corner = |i: usize| (i * stride) as isize - padding as isize;
                    values.push(value(out, corner(row), corner(col)));
                }
            }
        }
        Planes { channels: count, rows, cols, values }
    }
}

/// The network as torchvision computes it: OIHW weights, CHW flattening.
fn plain(
    spec: &NetworkSpec,
    dict: &[(String, HostTensor)],
    prefixes: &[Option<String>],
) -> impl Fn(Planes) -> Vec<f64> {
    let find = |name: String| {
        let tensor = &dict.iter().find(|(n, _)| *n == name).unwrap().1;
        let values: Vec<f64> = match tensor.values() {
            HostValues::F32(v) => v.iter().map(|v| f64::from(*v)).collect(),
            HostValues::F16(v) => v.iter().map(|v| v.to_f64()).collect(),
            _ => unreachable!(),
        };
        values
    };
    let layers: Vec<_> = spec
        .nodes
        .iter()
        .zip(prefixes)
        .map(|(layer, prefix)| {
            let part = |part| prefix.as_ref().map_or(vec![], |p| find(format!("{p}.{part}")));
            (&layer.layer, part("weight"), part("bias"))
        })
        .collect();
    move |mut x| {
        for (layer, weight, bias) in &layers {
            x = match layer {
                LayerSpec::Conv(conv) => {
                    let k = conv.kernel[0];
                    let geometry = [k, conv.stride[0], conv.padding[0][0]];
                    x.windows(conv.count, geometry, |out, row, col| {
                        let mut sum = bias[out];
                        for channel in 0..x.channels {
                            for (i, j) in (0..k * k).map(|n| (n / k, n % k)) {
                                let w = weight[((out * x.channels + channel) * k + i) * k + j];
                                let at = x.at(channel, row + i as isize, col + j as isize);
                                sum += w * at.unwrap_or(0.0);
                            }
                        }
                        sum.max(0.0)
                    })
                }
                LayerSpec::MaxPool(pool) => {
                    let geometry = [pool.size[0], pool.stride[0], pool.padding[0][0]];
                    x.windows(x.channels, geometry, |channel, row, col| {
                        let cells = (0..pool.size[0] * pool.size[1])
                            .map(|n| ((n / pool.size[1]) as isize, (n % pool.size[1]) as isize));
                        let values = cells.filter_map(|(i, j)| x.at(channel, row + i, col + j));
                        values.fold(f64::NEG_INFINITY, f64::max)
                    })
                }
                LayerSpec::FullConnect(full) => {
                    let inputs = x.values.len();
                    let output = |out: usize| {
                        let row = &weight[out * inputs..(out + 1) * inputs];
                        let sum = row.iter().zip(&x.values).map(|(w, v)| w * v).sum::<f64>();
                        let sum = sum + bias[out];
                        if full.relu { sum.max(0.0) } else { sum }
                    };
                    let values = (0..full.count).map(output).collect();
                    Planes { channels: full.count, rows: 1, cols: 1, values }
                }
                other => panic!("{other:?}"),
            };
        }
        x.values
    }
}

fn random(dims: &[usize], stream: u64, scale: f32) -> HostTensor {
    let shape = Shape::new(dims).unwrap();
    let key = RandomKey::new(5, stream);
    let values: Vec<f32> =
        (0..shape.count() as u64).map(|i| (2.0 * key.unit(i) - 1.0) * scale).collect();
    HostTensor::new(shape, values).unwrap()
}

/// Tensors of the layout's names and shapes, in torchvision's order.
fn dict(layout: &Layout, dtype: DType) -> Vec<(String, HostTensor)> {
    let mut dict = Vec::new();
    let shapes = layout.spec.shapes().unwrap();
    for (shape, prefix) in shapes.iter().zip(&layout.prefixes) {
        let (Some(prefix), Some(weight)) = (prefix, shape.weight()) else { continue };
        let dims = match *weight.dims() {
            [out, rows, cols, channels] => vec![out, channels, rows, cols],
            ref dims => dims.to_vec(),
        };
        let fan_in: usize = dims[1..].iter().product();
        let scale = (3.0 / fan_in as f32).sqrt();
        let stream = 2 * shape.layer as u64;
        let tensors = [
            ("weight", random(&dims, stream, scale)),
            ("bias", random(&dims[..1], stream + 1, 0.5)),
        ];
        for (part, tensor) in tensors {
            let tensor = match (dtype, tensor.values()) {
                (DType::F16, HostValues::F32(v)) => {
                    let halves: Vec<f16> = v.iter().map(|v| f16::from_f32(*v)).collect();
                    HostTensor::new(*tensor.shape(), halves).unwrap()
                }
                _ => tensor,
            };
            dict.push((format!("{prefix}.{part}"), tensor));
        }
    }
    dict
}

fn compare(layout: &Layout, stored: DType, wanted: Option<DType>, tolerance: f64) {
    let device = Device::new(Reference::new());
    let mut dict = dict(layout, stored);
    for wanted in layout.tensors(&layout.spec.shapes().unwrap()) {
        let (_, tensor) = dict.iter_mut().find(|(name, _)| *name == wanted.name).unwrap();
        let shape = Shape::new(&wanted.shape).unwrap();
        *tensor = HostTensor::new(shape, tensor.values().clone()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dict.safetensors");
    let tensors: Vec<(&str, Tensor)> = dict
        .iter()
        .map(|(n, t)| (n.as_str(), Tensor::from_host(t.clone(), &device).unwrap()))
        .collect();
    let tensors: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert!(layout.differences(&file).describe().is_none());
    let options = ReadOptions::default().dtype(wanted);
    let network = import(&file, layout, &device, &options).unwrap();
    for (layer, parameters) in network.layer_parameters().iter().enumerate() {
        let Some(parameters) = parameters else { continue };
        let kept = if layer == 0 { DType::F32 } else { stored };
        assert_eq!(parameters.weight.dtype(), wanted.unwrap_or(kept));
    }

    // A picture of 0..255, and what torchvision makes of it.
    let [rows, cols, channels] = layout.spec.input;
    let pixels: Vec<f32> = match random(&[rows, cols, channels], 99, 127.5).values() {
        HostValues::F32(v) => v.iter().map(|v| (v + 127.5).round()).collect(),
        _ => unreachable!(),
    };
    let mut planes = Planes { channels, rows, cols, values: Vec::new() };
    for channel in 0..channels {
        for at in 0..rows * cols {
            let pixel = f64::from(pixels[at * channels + channel]) / 255.0;
            let (mean, deviation) = (IMAGENET.mean[channel], IMAGENET.std[channel]);
            planes.values.push((pixel - mean) / deviation);
        }
    }
    let expected = plain(&layout.spec, &dict, &layout.prefixes)(planes);

    let mean = network.mean().unwrap().to_vec::<f32>().unwrap();
    let less: Vec<f32> = pixels.iter().zip(&mean).map(|(p, m)| p - m).collect();
    let x = Tensor::from_vec(less, [1, rows, cols, channels], &device).unwrap();
    let got = network.forward(&x).unwrap().to_vec::<f32>().unwrap();
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        let error = (f64::from(*got) - expected).abs() / largest;
        assert!(error < tolerance, "{got} {expected}: {error}");
    }
}

/// Square image and input, so that the whole mean image is the one to subtract.
fn vgg_like() -> Layout {
    let spec = NetworkSpec::new([16, 12, 3])
        .conv(conv2d(5, 3).padding(1).relu())
        .conv(conv2d(6, 3).padding(1).relu())
        .max_pool(pool(2).stride(2))
        .conv(conv2d(7, 3).padding(1).relu())
        .max_pool(pool(2).stride(2))
        .full_connect(full_connect(11).relu())
        .full_connect(full_connect(9).relu())
        .full_connect(4);
    Layout::counted("a small vgg", spec, &["classifier.0", "classifier.3", "classifier.6"])
}

fn alexnet_like() -> Layout {
    let spec = NetworkSpec::new([32, 32, 3])
        .conv(conv2d(6, 5).stride(3).padding(2).relu())
        .max_pool(pool(3).stride(2))
        .conv(conv2d(7, 3).padding(1).relu())
        .full_connect(full_connect(10).relu())
        .full_connect(full_connect(8).relu())
        .full_connect(5);
    Layout::counted("a small alexnet", spec, &["classifier.1", "classifier.4", "classifier.6"])
}

#[test]
fn names_count_convolutions_their_relus_and_pools() {
    let prefixes: Vec<String> = vgg_like().prefixes.into_iter().flatten().collect();
    let expected = ["features.0", "features.2", "features.5"];
    assert_eq!(prefixes[..3], expected);
    assert_eq!(prefixes[3..], ["classifier.0", "classifier.3", "classifier.6"]);
    let known = super::super::layout::known();
    let last_feature = |layout: &Layout| {
        layout.prefixes.iter().flatten().rfind(|p| p.starts_with("features")).cloned().unwrap()
    };
    // As torchvision's own state dicts name them.
    let expected = ["features.10", "features.18", "features.22", "features.28", "features.34"];
    // The others are named as their nodes.
    assert_eq!(known[..5].iter().map(last_feature).collect::<Vec<_>>(), expected);
}

#[test]
fn imported_networks_compute_what_torchvision_computes() {
    // timm has VGG's full connects as convolutions of whole images.
    let convolved = Layout { is_convolved: true, ..vgg_like() };
    let shapes = convolved.spec.shapes().unwrap();
    assert!(convolved.tensors(&shapes).iter().any(|tensor| tensor.shape == [11, 7, 4, 3]));
    for layout in [vgg_like(), alexnet_like(), convolved] {
        // Sums of about 100 products in single precision, layer upon layer.
        compare(&layout, DType::F32, None, 1e-5);
        // Stored halves are the same numbers on both sides.
        compare(&layout, DType::F16, None, 1e-5);
        compare(&layout, DType::F16, Some(DType::F32), 1e-5);
        // Rounding to 11 bits in each of six layers.
        compare(&layout, DType::F32, Some(DType::F16), 1e-2);
    }
}

#[test]
fn f64_and_bf16_become_f32() {
    let layout = alexnet_like();
    let shapes = layout.spec.shapes().unwrap();
    let pixels = Pixels { range: 255.0, ..UNIT };
    let tensors = layout.tensors(&shapes);
    let weight = Weight::new(&tensors[0], shapes[0].weight().unwrap(), &pixels);
    let n = shapes[0].weight().unwrap().count();
    let numbers: Vec<f32> = (0..n).map(|i| (i % 64) as f32).collect();
    let f64s: Vec<u8> = numbers.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    let bf16: Vec<u8> =
        numbers.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    let f32s: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    let permute = |file: &[u8], stored| {
        let fill = |piece: &mut [u8], at: usize| {
            piece.copy_from_slice(&file[at..at + piece.len()]);
            Ok(())
        };
        weight.permute("x", stored, DType::F32, fill).unwrap().0
    };
    let expected = permute(&f32s, Stored::F32);
    assert_eq!(expected.dtype(), DType::F32);
    assert_eq!(permute(&f64s, Stored::F64), expected);
    assert_eq!(permute(&bf16, Stored::Bf16), expected);
}

/// What overflows is named by its place in the file, not by where it goes.
#[test]
fn an_overflow_is_named_by_its_place_in_the_file() {
    let layout = alexnet_like();
    let shapes = layout.spec.shapes().unwrap();
    // The second convolution: [7, 6, 3, 3] in the file, not scaled.
    let tensors = layout.tensors(&shapes);
    let tensor = tensors.iter().find(|tensor| tensor.layer == 2).unwrap();
    let weight = Weight::new(tensor, shapes[2].weight().unwrap(), &IMAGENET);
    let n = shapes[2].weight().unwrap().count();
    let mut numbers = vec![1.0f32; n];
    let at = ((2 * 6 + 5) * 3 + 1) * 3 + 2;
    numbers[at] = 1e6;
    numbers[at + 3] = -1e6;
    numbers[3] = f32::NAN;
    let file: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    let fill = |piece: &mut [u8], at: usize| {
        piece.copy_from_slice(&file[at..at + piece.len()]);
        Ok(())
    };
    let (_, counts) = weight.permute("x", Stored::F32, DType::F16, fill).unwrap();
    assert_eq!(counts, Counts { non_finite: 1, overflows: 2, first: Some((at, 1e6)) });
}
