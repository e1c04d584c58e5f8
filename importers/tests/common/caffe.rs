//! Files of Caffe's, written by the tests, and networks of them.

use std::fs;
use std::path::{Path, PathBuf};

use striate_importers::{ReadOptions, inspect, read};
use striate_nn::Network;
use striate_tensor::Tensor;

use super::plain::Image;
use super::{chain, reference};

/// An array of a layer: its extents and its numbers.
pub(crate) type Blob = (Vec<usize>, Vec<f32>);

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that has a length.
pub(crate) fn bytes(number: u64, contents: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(contents.len() as u64), contents.to_vec()].concat()
}

/// A field that is a whole number.
pub(crate) fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An array with its extents in `shape`, and its gradients.
pub(crate) fn blob((dims, values): &Blob) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&extent| varint(extent as u64)).collect();
    let shape = bytes(7, &bytes(1, &dims));
    let gradients = floats(&vec![f32::NAN; values.len()]);
    [shape, bytes(5, &floats(values)), bytes(6, &gradients)].concat()
}

/// An array as old files have it: four extents, and each number with a key.
pub(crate) fn old_blob((dims, values): &Blob) -> Vec<u8> {
    let mut four = vec![1; 4 - dims.len()];
    four.extend(dims);
    let extents = four.iter().zip(1..).flat_map(|(&extent, at)| number(at, extent as u64));
    let values = values.iter().flat_map(|value| [varint(5 << 3 | 5), floats(&[*value])].concat());
    extents.chain(values).collect()
}

/// An array of double precision.
pub(crate) fn double_blob((dims, values): &Blob) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&extent| varint(extent as u64)).collect();
    let values: Vec<u8> = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
    [bytes(7, &bytes(1, &dims)), bytes(8, &values)].concat()
}

/// A layer with its arrays; other fields may follow.
pub(crate) fn layer(name: &str, kind: &str, blobs: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let blobs: Vec<u8> = blobs.iter().flat_map(|blob| bytes(7, blob)).collect();
    let own = [bytes(1, name.as_bytes()), bytes(2, kind.as_bytes()), blobs, more.to_vec()].concat();
    bytes(100, &own)
}

/// A layer as old files have it.
pub(crate) fn v1_layer(name: &str, kind: u64, blobs: &[Vec<u8>], more: &[u8]) -> Vec<u8> {
    let blobs: Vec<u8> = blobs.iter().flat_map(|blob| bytes(6, blob)).collect();
    bytes(2, &[more.to_vec(), bytes(4, name.as_bytes()), number(5, kind), blobs].concat())
}

/// A caffemodel.
pub(crate) fn model(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    [bytes(1, name.as_bytes()), layers.concat()].concat()
}

/// A caffemodel of layers with these arrays.
pub(crate) fn weights(layers: &[(&str, Vec<Blob>)]) -> Vec<u8> {
    let layers: Vec<Vec<u8>> = (layers.iter())
        .map(|(name, blobs)| layer(name, "", &blobs.iter().map(blob).collect::<Vec<_>>(), &[]))
        .collect();
    model("net", &layers)
}

/// A caffemodel and its definition in a folder; the path of the first.
pub(crate) fn write(folder: &Path, definition: &str, model: &[u8]) -> PathBuf {
    fs::write(folder.join("net.prototxt"), definition).unwrap();
    let path = folder.join("net.caffemodel");
    fs::write(&path, model).unwrap();
    path
}

/// Numbers of -1 to 1 that are the same every time.
pub(crate) fn numbers(seed: u64, dims: &[usize]) -> Blob {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let count = dims.iter().product();
    (dims.to_vec(), (0..count).map(|_| next()).collect())
}

/// What a network gives for an image of Caffe's, less the mean; in Caffe's order.
pub(crate) fn run(network: &Network, x: &Image) -> Image {
    let [channels, rows, cols] = x.dims;
    let mut values = Vec::new();
    for (y, z) in (0..rows).flat_map(|y| (0..cols).map(move |z| (y, z))) {
        // Here red comes first.
        let order: Vec<usize> = match channels {
            3 => vec![2, 1, 0],
            _ => (0..channels).collect(),
        };
        values.extend(order.iter().map(|&c| x.at(c, y as isize, z as isize) as f32));
    }
    let x = Tensor::from_vec(values, [1, rows, cols, channels], network.device()).unwrap();
    let y = network.forward(&x).unwrap();
    let values = y.to_vec::<f32>().unwrap();
    match *y.shape().dims() {
        [1, count] => {
            Image { dims: [count, 1, 1], values: values.iter().map(|&v| v.into()).collect() }
        }
        [1, rows, cols, channels] => Image::of([channels, rows, cols], |c, y, x| {
            values[(y * cols + x) * channels + c].into()
        }),
        ref other => panic!("{other:?}"),
    }
}

pub(crate) fn assert_near(got: &Image, wanted: &Image, what: &str) {
    assert_eq!(got.dims, wanted.dims, "{what}");
    for (place, (got, wanted)) in got.values.iter().zip(&wanted.values).enumerate() {
        let near = (got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0);
        assert!(near, "{what}: {got} for {wanted} at {place}");
    }
}

/// Layers after an input of these extents.
pub(crate) fn after([channels, rows, cols]: [usize; 3], layers: &str) -> String {
    format!(
        "name: 'small' input: 'data' input_dim: 2 input_dim: {channels} input_dim: {rows} input_dim: {cols}\n\
         {layers}"
    )
}

/// A layer in text.
pub(crate) fn text(name: &str, kind: &str, bottom: &str, parameters: &str) -> String {
    format!(
        "layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{name}' {parameters} }}\n"
    )
}

/// A fully connected layer without a bias that sees the image, in text.
pub(crate) fn full_connect(outputs: usize) -> String {
    let parameters = format!("inner_product_param {{ num_output: {outputs} bias_term: false }}");
    text("fc", "InnerProduct", "data", &parameters)
}

/// Reads the network of a definition and of these arrays.
pub(crate) fn network(definition: &str, layers: &[(&str, Vec<Blob>)]) -> Network {
    let folder = tempfile::tempdir().unwrap();
    // A file has a layer, also where none has weights.
    let layers = if layers.is_empty() { &[("nothing", Vec::new())] } else { layers };
    let path = write(folder.path(), definition, &weights(layers));
    let network = read(&path, &reference(), &ReadOptions::default()).unwrap();
    assert_eq!(&inspect(&path).unwrap().spec, network.spec());
    network
}

/// Compares a network with a function of the image that it sees.
pub(crate) fn check(
    dims: [usize; 3],
    layers: &str,
    blobs: &[(&str, Vec<Blob>)],
    plain: impl Fn(&Image) -> Image,
) {
    let network = network(&after(dims, layers), blobs);
    let x = Image::random(7, dims);
    assert_near(&run(&network, &x), &plain(&x), layers);
}

/// The message of reading, with what caused it.
pub(crate) fn refused(definition: &str, model: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), definition, model);
    let error = read(&path, &reference(), &ReadOptions::default()).unwrap_err();
    let text = chain(&error);
    assert_eq!(chain(&inspect(&path).unwrap_err()), text);
    assert!(text.contains("net.prototxt: ") || text.contains("net.caffemodel: "), "{text}");
    text
}
