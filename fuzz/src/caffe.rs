//! Caffe's models: the weights, and the text that says what the layers are.

use std::path::Path;

use striate_importers::{ModelFile, ReadOptions};

use super::models::{device, survives};
use super::{Scratch, printed};

/// The definition of [`caffe_model`]: convolution, normalization, fully connected and other layers.
pub const DEFINITION: &str = "name: 'all'
input: 'data' input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 2 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: 'norm' type: 'BatchNorm' bottom: 'conv' top: 'conv' batch_norm_param { eps: 0.001 } }
layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' scale_param { bias_term: true } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' relu_param { negative_slope: 0.1 } }
layer { name: 'slopes' type: 'PReLU' bottom: 'conv' top: 'slopes' }
layer { name: 'sum' type: 'Eltwise' bottom: 'slopes' bottom: 'conv' top: 'sum' eltwise_param { coeff: 1 coeff: -1 } }
layer { name: 'lrn' type: 'LRN' bottom: 'sum' top: 'lrn' lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL } }
layer { name: 'pool' type: 'Pooling' bottom: 'lrn' top: 'pool' pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: 'cut' type: 'Slice' bottom: 'pool' top: 'a' top: 'b' slice_param { slice_point: 1 } }
layer { name: 'joined' type: 'Concat' bottom: 'b' bottom: 'a' top: 'joined' }
layer { name: 'power' type: 'Power' bottom: 'joined' top: 'power' power_param { scale: 2 shift: 0.5 power: 2 } }
layer { name: 'drop' type: 'Dropout' bottom: 'power' top: 'power' dropout_param { dropout_ratio: 0.5 } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'power' top: 'fc' inner_product_param { num_output: 2 } }
layer { name: 'prob' type: 'Softmax' bottom: 'fc' top: 'prob' }
";

/// A caffemodel, with a definition beside it and without; and as a mean image.
pub fn caffemodel(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.file("model.caffemodel", bytes);
    survives(&scratch, &path);
    let mean = scratch.file("mean.binaryproto", bytes);
    scratch.file("model.prototxt", DEFINITION.as_bytes());
    survives(&scratch, &path);
    scratch.file("model.caffemodel", &caffe_model());
    with_mean(&path, &mean);
}

/// The definition of a caffemodel.
pub fn prototxt(bytes: &[u8]) {
    let scratch = Scratch::new();
    scratch.file("model.prototxt", bytes);
    survives(&scratch, &scratch.file("model.caffemodel", &caffe_model()));
}

fn with_mean(path: &Path, mean: &Path) {
    let options = ReadOptions::default().mean_file(mean);
    match ModelFile::open(path).unwrap().read(&device(), &options) {
        Ok(network) => {
            let mean = network.mean().unwrap().to_vec::<f32>().unwrap();
            assert!(mean.iter().all(|value| value.is_finite()));
        }
        Err(error) => printed(&error),
    }
}

/// A length-delimited field of fewer than 16384 bytes.
pub fn proto_bytes(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut field = match number {
        0..=15 => vec![number << 3 | 2],
        _ => vec![(number << 3 | 2) | 0x80, number >> 4],
    };
    match contents.len() {
        length @ 0..=127 => field.push(length as u8),
        length => field.extend([length as u8 | 0x80, (length >> 7) as u8]),
    }
    field.extend(contents);
    field
}

/// An array of a layer: its extents and so many numbers.
pub fn caffe_blob(dims: &[u8]) -> Vec<u8> {
    let count = dims.iter().map(|&extent| usize::from(extent)).product::<usize>();
    let values: Vec<u8> =
        (1..=count).flat_map(|value| (value as f32 / 8.0).to_le_bytes()).collect();
    [proto_bytes(7, &proto_bytes(1, dims)), proto_bytes(5, &values)].concat()
}

/// A model of [`DEFINITION`].
pub fn caffe_model() -> Vec<u8> {
    let layers: [(&str, &[&[u8]]); 5] = [
        ("conv", &[&[2, 3, 3, 3], &[2]]),
        ("norm", &[&[2], &[2], &[1]]),
        ("scale", &[&[2], &[2]]),
        ("slopes", &[&[2]]),
        ("fc", &[&[2, 8], &[2]]),
    ];
    let mut file = proto_bytes(1, b"all");
    for (name, blobs) in layers {
        let blobs = blobs.iter().flat_map(|dims| proto_bytes(7, &caffe_blob(dims)));
        let blobs: Vec<u8> = blobs.collect();
        file.extend(proto_bytes(100, &[proto_bytes(1, name.as_bytes()), blobs].concat()));
    }
    file
}
