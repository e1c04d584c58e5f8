//! What is wrong in Caffe's files, said in words.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

mod common;

use common::caffe::{
    after, blob, bytes, full_connect, layer, model, number, numbers, refused, text, weights, write,
};
use common::{chain, reference};
use striate_importers::{ReadOptions, read};
use striate_tensor::DType;

#[test]
fn numbers_too_large_for_half_precision_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let definition = after([1, 1, 2], &full_connect(1));
    let path =
        write(folder.path(), &definition, &weights(&[("fc", vec![(vec![1, 2], vec![1.0, 1e5])])]));
    let half = ReadOptions::default().dtype(DType::F16);
    let text = chain(&read(&path, &reference(), &half).unwrap_err());
    assert!(text.contains("layer `fc`: blob 0: 1 of 2 values is too large for f16"), "{text}");
    assert!(read(&path, &reference(), &half.allow_overflow(true)).is_ok());
    // Of double precision.
    let dims = bytes(7, &bytes(1, &[1, 2]));
    let wide = [dims, bytes(8, &[1e300f64, 1.0].map(f64::to_le_bytes).concat())].concat();
    let path = write(folder.path(), &definition, &model("wide", &[layer("fc", "", &[wide], &[])]));
    let text = chain(&read(&path, &reference(), &ReadOptions::default()).unwrap_err());
    assert!(text.contains("too large for f32"), "{text}");
}

#[test]
fn what_is_not_there_is_said_at_once() {
    let layers = text("a", "Crop", "data", "")
        + &text("b", "MVN", "a", "")
        + &text("c", "Pooling", "b", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")
        + &text("d", "MVN", "c", "")
        + "layer { name: 'e' type: 'Eltwise' bottom: 'c' bottom: 'd' top: 'e' eltwise_param { operation: MAX } }"
        + &text("f", "Softmax", "e", "")
        + &text("g", "Swish", "f", "swish_param { beta: 2 }")
        + "layer { name: 'h' type: 'Scale' bottom: 'g' bottom: 'a' top: 'h' }";
    let message = refused(&after([3, 4, 4], &layers), &weights(&[("a", vec![])]));
    assert!(
        message.ends_with(
            "net.prototxt: layers that are not supported: Crop (a); Eltwise MAX (e); MVN (2 times: b, d); \
             Pooling STOCHASTIC (c); Scale by another layer's output (h); Softmax before the end (f); Swish \
             with a beta of 2 (g)"
        ),
        "{message}"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let fc = "inner_product_param { num_output: 2 }";
    let ip = |bottom: &str| text("fc", "InnerProduct", bottom, fc);
    let good = weights(&[("fc", vec![numbers(1, &[2, 12]), numbers(2, &[2])])]);
    let dims = [3, 2, 2];
    let conv = |more: &str| {
        let own = format!("convolution_param {{ num_output: 2 kernel_size: 1 {more} }}");
        after(dims, &text("c", "Convolution", "data", &own))
    };
    let cases: Vec<(String, &[u8], &str)> = vec![
        (
            after(dims, &ip("nothing")),
            &good,
            "what it sees, `nothing`, is made by no layer before it",
        ),
        (
            after([3, 2, 3], &ip("data")),
            &good,
            "layer `fc`: blob 0: expected [2, 18] numbers, got [2, 12]",
        ),
        (
            after(dims, &text("no", "InnerProduct", "data", fc)),
            &good,
            "layer `no`: blob 0: expected [2, 12] numbers, got a layer with 0 blobs",
        ),
        (
            conv("strides: 2"),
            &good,
            "line 2, column 112: `strides`: expected a field that is known here",
        ),
        (
            conv("stride: two"),
            &good,
            "`stride`: expected a whole number of 0 to 4294967295, got `two`",
        ),
        (conv("stride: -1"), &good, "got `-1`"),
        (conv("stride: 0"), &good, "with strides [0, 0]"),
        (conv("group: 2"), &good, "2 outputs of 3 channels in 2 groups"),
        (conv("group: 0"), &good, "in 0 groups"),
        (conv("axis: 2"), &good, "channels of another axis"),
        (conv("kernel_h: 1"), &good, "a size for both axes and one for each"),
        (conv("dilation: 4294967295 kernel_size: 2"), &good, "windows of 4294967296 over 2 pixels"),
        (ip("data"), &good, "a definition with its extents"),
        (format!("input: 'data' {}", ip("data")), &good, "its extents (input_dim"),
        (format!("input: 'a' input: 'b' {}", ip("a")), &good, "expected one image, got a, b"),
        (
            format!("input: 'data' input_shape {{ dim: 1 dim: 3 dim: 2 }} {}", ip("data")),
            &good,
            "[n, channels, rows, cols], got [1, 3, 2]",
        ),
        (after([3, 0, 2], &ip("data")), &good, "got [2, 3, 0, 2]"),
        (
            after(
                dims,
                &(ip("data") + &text("x", "ReLU", "data", "") + &text("y", "ReLU", "fc", "")),
            ),
            &good,
            "others that nothing sees: x",
        ),
        (after(dims, ""), &good, "with layers; name another"),
        (
            after(dims, "layer { name: 'z' type: 'Silence' bottom: 'data' }"),
            &good,
            "layers of a network",
        ),
        (after(dims, "layer { type: 'ReLU' top: 'y' }"), &good, "it sees nothing or makes nothing"),
        (after(dims, &text("r", "ReLU", "data", "")), &good, "got the output of the network"),
        (
            after(
                dims,
                &text(
                    "c",
                    "Convolution",
                    "data",
                    "convolution_param { num_output: 3 kernel_size: 1 group: 3 bias_term: false }",
                ),
            ),
            &good,
            "layer `c`: blob 0",
        ),
        (
            after(dims, &text("c", "Concat", "data", "concat_param { axis: 2 }")),
            &good,
            "a join along axis 2",
        ),
        (
            after(
                dims,
                &text("r", "Reshape", "data", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }"),
            ),
            &good,
            "[3, 2, 2] made [0, 2, -1]",
        ),
        (
            after(dims, &text("f", "Flatten", "data", "flatten_param { axis: 2 }")),
            &good,
            "a row made of the axes 2 to -1",
        ),
        (
            after(dims, &text("l", "LRN", "data", "lrn_param { local_size: 4 }")),
            &good,
            "a window of 4, an even number",
        ),
        (
            after(dims, &text("s", "Slice", "data", "slice_param { slice_point: 5 }")),
            &good,
            "1 parts of 3 channels",
        ),
        (
            "name: 'x' layers { layer { name: 'v0' type: 'conv' } }".into(),
            &good,
            "upgrade_net_proto_text",
        ),
        ("layer { name: }".into(), &good, "net.prototxt: line 1, column 15: expected a value"),
    ];
    for (definition, model, expected) in cases {
        let message = refused(&definition, model);
        assert!(
            message.contains(expected),
            "{definition}\n  expected: {expected}\n  got: {message}"
        );
    }
    // A convolution in groups cannot see red in place of blue.
    let grouped = "convolution_param { num_output: 3 kernel_size: 1 group: 3 bias_term: false }";
    let definition = after(dims, &text("c", "Convolution", "data", grouped));
    let message = refused(&definition, &weights(&[("c", vec![numbers(1, &[3, 1, 1, 1])])]));
    assert!(
        message.contains("in place of blue, green and red, got `c`, a conv layer"),
        "{message}"
    );
}

#[test]
fn damaged_files_are_told() {
    let definition = after([3, 2, 2], &full_connect(2));
    let dims = |dims: &[u8]| bytes(7, &bytes(1, dims));
    let of = |blob: Vec<u8>| model("net", &[layer("fc", "InnerProduct", &[blob], &[])]);
    let whole = of(blob(&numbers(1, &[2, 12])));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (whole[..whole.len() - 5].to_vec(), "cut off or damaged"),
        (
            of([dims(&[2, 12]), bytes(5, &[0; 95])].concat()),
            "layer 1, blob 0: expected numbers of 4 bytes",
        ),
        (of([dims(&[2, 11]), bytes(5, &[0; 96])].concat()), "expected [2, 11] numbers, got 24"),
        (
            of([dims(&[2, 12]), bytes(5, &[0; 48]), bytes(8, &[0; 96])].concat()),
            "numbers of 8 bytes",
        ),
        (of([bytes(7, &[0xff]), bytes(5, &[0; 96])].concat()), "blob 0: expected an array"),
        (of([dims(&[1; 40]), bytes(5, &[0; 4])].concat()), "at most 32 extents"),
        (of(number(5, 7)), "numbers of 4 bytes"),
        (
            model("net", &[bytes(100, &[bytes(1, b"fc"), bytes(1, b"\xff")].concat())]),
            "layer 1: expected a layer",
        ),
    ];
    for (file, expected) in cases {
        let message = refused(&definition, &file);
        assert!(message.contains(expected), "expected: {expected}\n  got: {message}");
    }
    let many = vec![layer("a", "", &[], &[]); striate_importers::MAX_LAYERS + 1];
    let message = refused(&definition, &model("net", &many));
    assert!(message.contains("at most 10000 layers"), "{message}");
    let many = after([3, 2, 2], &"layer { }".repeat(striate_importers::MAX_LAYERS + 1));
    assert!(refused(&many, &whole).contains("at most 10000 layers"));
}
