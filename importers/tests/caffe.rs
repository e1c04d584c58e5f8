//! Caffe's models: what a network of them computes beside a plain computation, and what is wrong in a file
//! said in words.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

mod common;

use std::fs;

use common::caffe::{
    Blob, Image, SIMPLE, Windows, blob, bytes, convolve, deconvolve, double_blob, layer, model,
    number, numbers, old_blob, pool, v1_layer, weights, write,
};
use common::reference;
use striate_importers::{
    Format, ModelFile, PixelOptions, ReadOptions, WriteOptions, convert, inspect, read,
};
use striate_nn::{LayerKind, LayerSpec, Network};
use striate_tensor::{DType, Tensor};

/// What a network gives for an image of Caffe's, less the mean; in Caffe's order.
fn run(network: &Network, x: &Image) -> Image {
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

fn assert_near(got: &Image, wanted: &Image, what: &str) {
    assert_eq!(got.dims, wanted.dims, "{what}");
    for (place, (got, wanted)) in got.values.iter().zip(&wanted.values).enumerate() {
        let near = (got - wanted).abs() <= 1e-5 * wanted.abs().max(1.0);
        assert!(near, "{what}: {got} for {wanted} at {place}");
    }
}

/// Layers after an input of these extents.
fn after([channels, rows, cols]: [usize; 3], layers: &str) -> String {
    format!(
        "name: 'small' input: 'data' input_dim: 2 input_dim: {channels} input_dim: {rows} input_dim: {cols}\n\
         {layers}"
    )
}

/// A layer in text.
fn text(name: &str, kind: &str, bottom: &str, parameters: &str) -> String {
    format!(
        "layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{name}' {parameters} }}\n"
    )
}

fn network(definition: &str, layers: &[(&str, Vec<Blob>)]) -> Network {
    let folder = tempfile::tempdir().unwrap();
    // A file has a layer, also where none has weights.
    let layers = if layers.is_empty() { &[("nothing", Vec::new())] } else { layers };
    let path = write(folder.path(), definition, &weights(layers));
    let network = read(&path, &reference(), &ReadOptions::default()).unwrap();
    assert_eq!(&inspect(&path).unwrap().spec, network.spec());
    network
}

/// Compares a network with a function of the image that it sees.
fn check(
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
fn refused(definition: &str, model: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), definition, model);
    let error = read(&path, &reference(), &ReadOptions::default()).unwrap_err();
    let text = chain(&error);
    assert_eq!(chain(&inspect(&path).unwrap_err()), text);
    assert!(text.contains("net.prototxt: ") || text.contains("net.caffemodel: "), "{text}");
    text
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn convolutions_of_every_form() {
    let w = |seed, dims: [usize; 4]| numbers(seed, &dims);
    let b = |seed, count| numbers(seed, &[count]);
    let conv = |parameters: &str| {
        text("conv", "Convolution", "data", &format!("convolution_param {{ {parameters} }}"))
    };
    check(
        [3, 7, 6],
        &conv("num_output: 4 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: 'xavier' }"),
        &[("conv", vec![w(1, [4, 3, 3, 3]), b(2, 4)])],
        |x| {
            let windows = Windows { stride: [2; 2], pad: [1; 2], ..SIMPLE };
            convolve(x, &w(1, [4, 3, 3, 3]), &b(2, 4).1, windows)
        },
    );
    check(
        [4, 9, 8],
        &conv(
            "num_output: 6 kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2 group: 2 \
             dilation: 2 bias_term: false engine: CAFFE",
        ),
        &[("conv", vec![w(3, [6, 2, 3, 2])])],
        |x| {
            let windows = Windows { stride: [1, 2], pad: [1, 0], dilation: [2; 2], groups: 2 };
            convolve(x, &w(3, [6, 2, 3, 2]), &[], windows)
        },
    );
    check(
        [1, 5, 8],
        &conv("num_output: 2 kernel_size: [2, 3] pad: 0 pad: 1 stride: 1 stride: 2"),
        &[("conv", vec![w(4, [2, 1, 2, 3]), b(5, 2)])],
        |x| {
            let windows = Windows { stride: [1, 2], pad: [0, 1], ..SIMPLE };
            convolve(x, &w(4, [2, 1, 2, 3]), &b(5, 2).1, windows)
        },
    );
}

#[test]
fn deconvolutions() {
    let deconv = text(
        "up",
        "Deconvolution",
        "data",
        "convolution_param { num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 2 }",
    );
    let (w, b) = (numbers(1, &[4, 3, 4, 4]), numbers(2, &[6]));
    check([4, 3, 5], &deconv, &[("up", vec![w.clone(), b.clone()])], |x| {
        let windows = Windows { stride: [2; 2], pad: [1; 2], groups: 2, ..SIMPLE };
        deconvolve(x, &w, &b.1, windows)
    });
}

/// Weights `[out, in]` as a kernel over the whole image.
fn whole(count: usize, [channels, rows, cols]: [usize; 3], values: &[f32]) -> Blob {
    (vec![count, channels, rows, cols], values.to_vec())
}

#[test]
fn inner_products_see_channel_after_channel() {
    let dims = [3, 4, 5];
    let (w, b) = (numbers(1, &[7, 60]), numbers(2, &[7]));
    let turned: Vec<f32> =
        (0..60).flat_map(|i| (0..7).map(move |o| (o, i))).map(|(o, i)| w.1[o * 60 + i]).collect();
    let plain = |x: &Image| convolve(x, &whole(7, dims, &w.1), &b.1, SIMPLE);
    let ip = |bottom: &str, more: &str| {
        let parameters = format!("inner_product_param {{ num_output: 7 {more} }}");
        text("ip", "InnerProduct", bottom, &parameters)
    };
    let blobs = [("ip", vec![w.clone(), b.clone()])];
    check(dims, &ip("data", ""), &blobs, plain);
    check(dims, &(text("flat", "Flatten", "data", "") + &ip("flat", "")), &blobs, plain);
    let reshape = "reshape_param { shape { dim: 0 dim: -1 } }";
    check(dims, &(text("flat", "Reshape", "data", reshape) + &ip("flat", "")), &blobs, plain);
    let blobs = [("ip", vec![(vec![60, 7], turned), b.clone()])];
    check(dims, &ip("data", "transpose: true"), &blobs, plain);
    // A second product, of a row.
    let second = numbers(3, &[2, 7]);
    let layers = ip("data", "")
        + &text(
            "last",
            "InnerProduct",
            "ip",
            "inner_product_param { num_output: 2 bias_term: false }",
        );
    let blobs = [("ip", vec![w.clone(), b.clone()]), ("last", vec![second.clone()])];
    check(dims, &layers, &blobs, |x| {
        convolve(&plain(x), &whole(2, [7, 1, 1], &second.1), &[], SIMPLE)
    });
}

#[test]
fn pooling_rounds_up_and_drops_windows_behind_the_image() {
    let pooling = |parameters: &str| {
        text("pool", "Pooling", "data", &format!("pooling_param {{ {parameters} }}"))
    };
    // Extents, then size, stride and border. Of 3x4 with a border of 1 the last window would begin in the
    // border behind.
    let cases = [
        ([6, 7], [3, 2, 0]),
        ([3, 4], [2, 2, 1]),
        ([5, 5], [3, 2, 1]),
        ([6, 6], [3, 2, 1]),
        ([7, 4], [2, 3, 1]),
        ([2, 3], [3, 2, 1]),
        ([8, 8], [5, 3, 2]),
    ];
    for ([rows, cols], [size, stride, pad]) in cases {
        for (ceil, mean) in [(true, false), (true, true), (false, false), (false, true)] {
            if !ceil && (rows + 2 * pad < size || cols + 2 * pad < size) {
                continue;
            }
            let (method, round) =
                (if mean { "AVE" } else { "MAX" }, if ceil { "CEIL" } else { "FLOOR" });
            let layer = pooling(&format!(
                "pool: {method} kernel_size: {size} stride: {stride} pad: {pad} round_mode: {round}"
            ));
            check([4, rows, cols], &layer, &[], |x| {
                pool(x, [[size; 2], [stride; 2], [pad; 2]], ceil, mean)
            });
        }
    }
    // Rounded up where nothing is said.
    check(
        [2, 6, 9],
        &pooling("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_w: 1"),
        &[],
        |x| pool(x, [[3, 2], [2, 3], [0, 1]], true, false),
    );
    check([2, 4, 3], &pooling("pool: AVE global_pooling: true"), &[], |x| {
        pool(x, [[4, 3], [1, 1], [0, 0]], true, true)
    });
    check([2, 4, 3], &pooling("global_pooling: true"), &[], |x| {
        pool(x, [[4, 3], [1, 1], [0, 0]], true, false)
    });
    // A third window of 1 every 3 pixels over 5 would begin behind them: Caffe would read nothing there.
    let layer = after([2, 5, 5], &pooling("kernel_size: 1 stride: 3"));
    let text = refused(&layer, &weights(&[("a", vec![])]));
    assert!(text.contains("layer `pool` (Pooling): windows of 1 every 3 pixels over 5"), "{text}");
    let layer = after([2, 5, 5], &pooling("kernel_size: 2 pad: 2"));
    assert!(refused(&layer, &weights(&[("a", vec![])])).contains("a border of 2"));
    // A window that is larger than the image, and cut off by it.
    let layer = after([2, 2, 2], &pooling("kernel_size: 3 stride: 2"));
    assert!(refused(&layer, &weights(&[("a", vec![])])).contains("windows of 3 every 2 pixels"));
}

#[test]
fn local_response_normalization_across_and_within_channels() {
    let layer =
        |parameters: &str| text("norm", "LRN", "data", &format!("lrn_param {{ {parameters} }}"));
    check([6, 3, 2], &layer("local_size: 5 alpha: 0.5 beta: 0.75 k: 2"), &[], |x| {
        Image::of(x.dims, |c, y, z| {
            let at = |c: usize| x.at(c, y as isize, z as isize);
            let sum: f64 = (c.saturating_sub(2)..(c + 3).min(6)).map(|c| at(c) * at(c)).sum();
            at(c) * (2.0 + 0.5 / 5.0 * sum).powf(-0.75)
        })
    });
    // As it is where nothing is said.
    check([2, 2, 2], &text("norm", "LRN", "data", ""), &[], |x| {
        Image::of(x.dims, |c, y, z| {
            let at = |c: usize| x.at(c, y as isize, z as isize);
            at(c) * (1.0 + (0..2).map(|c| at(c) * at(c)).sum::<f64>() / 5.0).powf(-0.75)
        })
    });
    let within = "local_size: 3 alpha: 0.7 beta: 0.5 norm_region: WITHIN_CHANNEL";
    check([4, 5, 4], &layer(within), &[], |x| {
        let mean = pool(&x.map(|v| v * v), [[3; 2], [1; 2], [1; 2]], true, true);
        x.zip(&mean, |x, mean| x * (1.0 + 0.7 * mean).powf(-0.5))
    });
}

#[test]
fn functions_of_each_element() {
    let cases: [(&str, &str, fn(f64) -> f64); 15] = [
        ("ReLU", "", |x| x.max(0.0)),
        ("ReLU", "relu_param { negative_slope: 0.1 }", |x| if x > 0.0 { x } else { 0.1 * x }),
        ("ELU", "elu_param { alpha: 0.5 }", |x| if x > 0.0 { x } else { 0.5 * (x.exp() - 1.0) }),
        ("Sigmoid", "", |x| 1.0 / (1.0 + (-x).exp())),
        ("TanH", "", f64::tanh),
        ("AbsVal", "", f64::abs),
        ("BNLL", "", |x| (1.0 + x.exp()).ln()),
        ("Swish", "", |x| x / (1.0 + (-x).exp())),
        ("Clip", "clip_param { min: -0.5 max: 0.25 }", |x| x.clamp(-0.5, 0.25)),
        ("Power", "power_param { scale: 2 shift: -1 }", |x| 2.0 * x - 1.0),
        ("Power", "power_param { power: 2 shift: 0.5 }", |x| (x + 0.5).powi(2)),
        ("Power", "power_param { power: -1.5 shift: 3 }", |x| (x + 3.0).powf(-1.5)),
        ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }", |x| 2f64.powf(0.5 * x + 1.0)),
        ("Log", "log_param { base: 10 shift: 2 }", |x| (x + 2.0).log10()),
        ("Dropout", "dropout_param { dropout_ratio: 0.25 }", |x| x),
    ];
    for (kind, parameters, function) in cases {
        // A convolution that passes blue, green and red on, so that there is an end to their order.
        let one = |o: usize, c: usize| f32::from(u8::from(o == c));
        let same = (0..9).map(|at| one(at / 3, at % 3)).collect();
        let conv = "convolution_param { num_output: 3 kernel_size: 1 bias_term: false }";
        let layers = text("f", kind, "data", parameters) + &text("c", "Convolution", "f", conv);
        check([3, 3, 4], &layers, &[("c", vec![(vec![3, 3, 1, 1], same)])], |x| x.map(function));
    }
}

#[test]
fn normalizations_scales_and_slopes() {
    let w = numbers(1, &[4, 3, 1, 1]);
    let conv = text(
        "conv",
        "Convolution",
        "data",
        "convolution_param { num_output: 4 kernel_size: 1 bias_term: false }",
    );
    let (mean, scale, shift) = (numbers(2, &[4]), numbers(3, &[4]), numbers(4, &[4]));
    let variance: Blob = (vec![4], numbers(5, &[4]).1.iter().map(|v| v.abs() + 0.5).collect());
    let factor: Blob = (vec![1], vec![2.5]);
    let x = |x: &Image| convolve(x, &w, &[], SIMPLE);
    let normal = |x: &Image| {
        x.channels(|v, c| {
            let (mean, variance) = (f64::from(mean.1[c]) / 2.5, f64::from(variance.1[c]) / 2.5);
            (v - mean) / (variance + 0.001).sqrt()
        })
    };
    let scaled = |x: &Image| x.channels(|v, c| v * f64::from(scale.1[c]));
    let shifted = |x: &Image| x.channels(|v, c| v + f64::from(shift.1[c]));
    let statistics = vec![mean.clone(), variance.clone(), factor];
    let norm = text("norm", "BatchNorm", "conv", "batch_norm_param { eps: 0.001 }");
    let both = "scale_param { bias_term: true filler { value: 1 } }";
    let dims = [3, 2, 3];
    let conv_blobs = ("conv", vec![w.clone()]);

    let blobs = [conv_blobs.clone(), ("norm", statistics.clone())];
    check(dims, &(conv.clone() + &norm), &blobs, |v| normal(&x(v)));

    // Joined to one layer.
    let layers = conv.clone() + &norm + &text("scale", "Scale", "norm", both);
    let blobs = [
        conv_blobs.clone(),
        ("norm", statistics.clone()),
        ("scale", vec![scale.clone(), shift.clone()]),
    ];
    check(dims, &layers, &blobs, |v| shifted(&scaled(&normal(&x(v)))));
    assert_eq!(network(&after(dims, &layers), &blobs).spec().nodes.len(), 2);

    // Also in place, as such layers usually stand.
    let layers = layers.replace("top: 'norm'", "top: 'conv'").replace("'norm' top", "'conv' top");
    let layers =
        layers.replace("top: 'scale'", "top: 'conv'").replace("bottom: 'norm'", "bottom: 'conv'");
    check(dims, &layers, &blobs, |v| shifted(&scaled(&normal(&x(v)))));

    // Not joined where another layer sees what comes between: itself, or passed on as it is.
    for passed in ["norm", "same"] {
        let layers = conv.clone()
            + &norm
            + &text("same", "Power", "norm", "")
            + &text("scale", "Scale", passed, both)
            + "layer { name: 'sum' type: 'Eltwise' bottom: 'norm' bottom: 'scale' top: 'sum' }";
        let layers = if passed == "norm" {
            layers.replace(&text("same", "Power", "norm", ""), "")
        } else {
            layers
        };
        check(dims, &layers, &blobs, |v| {
            let normal = normal(&x(v));
            normal.zip(&shifted(&scaled(&normal)), |a, b| a + b)
        });
    }

    // Alone.
    let layers = conv.clone() + &text("scale", "Scale", "conv", both);
    let blobs = [conv_blobs.clone(), ("scale", vec![scale.clone(), shift.clone()])];
    check(dims, &layers, &blobs, |v| shifted(&scaled(&x(v))));
    let layers = conv.clone() + &text("scale", "Scale", "conv", "");
    let blobs = [conv_blobs.clone(), ("scale", vec![scale.clone()])];
    check(dims, &layers, &blobs, |v| scaled(&x(v)));
    let layers = conv.clone() + &text("bias", "Bias", "conv", "");
    let blobs = [conv_blobs.clone(), ("bias", vec![shift.clone()])];
    check(dims, &layers, &blobs, |v| shifted(&x(v)));

    let slope = |x: f64, slope: f32| if x > 0.0 { x } else { x * f64::from(slope) };
    let layers = conv.clone() + &text("slopes", "PReLU", "conv", "");
    let blobs = [conv_blobs.clone(), ("slopes", vec![scale.clone()])];
    check(dims, &layers, &blobs, |v| x(v).channels(|x, c| slope(x, scale.1[c])));
    let layers = conv + &text("slopes", "PReLU", "conv", "prelu_param { channel_shared: true }");
    let blobs = [conv_blobs, ("slopes", vec![(Vec::new(), vec![0.3])])];
    check(dims, &layers, &blobs, |v| x(v).map(|x| slope(x, 0.3)));
}

#[test]
fn layers_of_several_inputs_and_outputs() {
    let conv = |name: &str, count: usize| {
        let own =
            format!("convolution_param {{ num_output: {count} kernel_size: 1 bias_term: false }}");
        text(name, "Convolution", "data", &own)
    };
    let (a, b) = (numbers(1, &[4, 3, 1, 1]), numbers(2, &[4, 3, 1, 1]));
    let blobs = [("a", vec![a.clone()]), ("b", vec![b.clone()])];
    let joined = |kind: &str, parameters: &str| {
        conv("a", 4)
            + &conv("b", 4)
            + &format!(
                "layer {{ name: 'y' type: '{kind}' bottom: 'a' bottom: 'b' top: 'y' {parameters} }}"
            )
    };
    let seen = |x: &Image| (convolve(x, &a, &[], SIMPLE), convolve(x, &b, &[], SIMPLE));
    let dims = [3, 2, 3];
    let both = |x: &Image, f: fn(f64, f64) -> f64| {
        let (a, b) = seen(x);
        a.zip(&b, f)
    };
    check(dims, &joined("Eltwise", ""), &blobs, |x| both(x, |a, b| a + b));
    let factors = "eltwise_param { operation: SUM coeff: 1 coeff: -1 }";
    check(dims, &joined("Eltwise", factors), &blobs, |x| both(x, |a, b| a - b));
    check(dims, &joined("Eltwise", "eltwise_param { operation: PROD }"), &blobs, |x| {
        both(x, |a, b| a * b)
    });
    for axis in [
        "",
        "concat_param { axis: 1 }",
        "concat_param { concat_dim: 1 }",
        "concat_param { axis: -3 }",
    ] {
        check(dims, &joined("Concat", axis), &blobs, |x| {
            let (a, b) = seen(x);
            a.join(&b)
        });
    }

    let sliced = |points: &str| {
        conv("a", 4)
            + &format!(
                "layer {{ name: 's' type: 'Slice' bottom: 'a' top: 'p' top: 'q' slice_param {{ {points} }} }}\n\
                 layer {{ name: 'y' type: 'Concat' bottom: 'q' bottom: 'p' top: 'y' }}"
            )
    };
    let turned = |x: &Image, at: usize| {
        let a = convolve(x, &a, &[], SIMPLE);
        a.part(at, 4 - at).join(&a.part(0, at))
    };
    check(dims, &sliced("slice_point: 1"), &blobs[..1], |x| turned(x, 1));
    check(dims, &sliced("axis: 1"), &blobs[..1], |x| turned(x, 2));

    // What Split and Silence do is nothing.
    let layers = conv("a", 4)
        + "layer { name: 'a_split' type: 'Split' bottom: 'a' top: 'a_0' top: 'a_1' }\n\
           layer { name: 'r' type: 'ReLU' bottom: 'a_0' top: 'r' }\n\
           layer { name: 'y' type: 'Eltwise' bottom: 'r' bottom: 'a_1' top: 'y' }\n\
           layer { name: 'z' type: 'Silence' bottom: 'a_0' }";
    check(dims, &layers, &blobs[..1], |x| convolve(x, &a, &[], SIMPLE).map(|a| a + a.max(0.0)));
}

/// A definition as files for training have it: layers for both phases, losses, a second end.
const TRAINED: &str = "
name: 'trained'
layer { name: 'data' type: 'Data' top: 'data' top: 'label' include { phase: TRAIN }
  transform_param { mirror: true crop_size: 4 mean_value: 90 mean_value: 100 mean_value: 110 scale: 0.5 } }
layer { name: 'data' type: 'Data' top: 'data' top: 'label' include { phase: TEST } transform_param { crop_size: 4 } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc' inner_product_param { num_output: 2 } }
layer { name: 'noise' type: 'Dropout' bottom: 'fc' top: 'fc' include: { phase: TRAIN } }
layer { name: 'aside' type: 'InnerProduct' bottom: 'fc' top: 'aside' inner_product_param { num_output: 2 } }
layer { name: 'aside_loss' type: 'SoftmaxWithLoss' bottom: 'aside' bottom: 'label' top: 'aside_loss' loss_weight: 0.3 }
layer { name: 'last' type: 'ReLU' bottom: 'fc' top: 'last' exclude { stage: 'never' } }
layer { name: 'odd' type: 'Python' bottom: 'fc' top: 'odd' include { phase: TEST stage: 'never' } }
layer { name: 'accuracy' type: 'Accuracy' bottom: 'last' bottom: 'label' top: 'accuracy' include { phase: TEST } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'last' bottom: 'label' top: 'loss' }
";

#[test]
fn a_definition_for_training_is_taken_as_it_is_tested() {
    let (w, b) = (numbers(1, &[2, 48]), numbers(2, &[2]));
    let network = network(TRAINED, &[("fc", vec![w.clone(), b.clone()])]);
    assert_eq!(network.spec().name, "trained");
    let kinds: Vec<LayerKind> = network.spec().nodes.iter().map(|node| node.kind()).collect();
    assert_eq!(kinds, [LayerKind::FullConnect, LayerKind::Activation]);
    // The factor of pixels is part of the weights, and the mean is red first.
    let x = Image::random(3, [3, 4, 4]);
    let wanted = convolve(&x.map(|x| x * 0.5), &whole(2, [3, 4, 4], &w.1), &b.1, SIMPLE);
    assert_near(&run(&network, &x), &wanted.map(|x| x.max(0.0)), "trained");
    assert_eq!(network.mean().unwrap().to_vec::<f32>().unwrap()[..3], [110.0, 100.0, 90.0]);
    assert_eq!(network.spec().image, [5, 5]);
}

#[test]
fn what_is_done_to_pixels_before_other_layers_is_a_layer() {
    let layers = "layer { name: 'data' type: 'MemoryData' top: 'data' top: 'label'
          memory_data_param { batch_size: 1 channels: 3 height: 2 width: 2 } transform_param { scale: 0.25 } }\n"
        .to_owned()
        + &text("scale", "Scale", "data", "scale_param { bias_term: true }")
        + &text("fc", "InnerProduct", "scale", "inner_product_param { num_output: 2 bias_term: false }");
    let (scale, shift, w) = (numbers(1, &[3]), numbers(2, &[3]), numbers(3, &[2, 12]));
    let blobs = [("scale", vec![scale.clone(), shift.clone()]), ("fc", vec![w.clone()])];
    let network = network(&layers, &blobs);
    let x = Image::random(4, [3, 2, 2]);
    let seen = x.channels(|v, c| v * 0.25 * f64::from(scale.1[c]) + f64::from(shift.1[c]));
    let wanted = convolve(&seen, &whole(2, [3, 2, 2], &w.1), &[], SIMPLE);
    assert_near(&run(&network, &x), &wanted, "scale");
}

#[test]
fn old_files_and_new_ones_say_the_same() {
    let definition = "name: 'old' input: 'data' input_shape { dim: 1 dim: 3 dim: 5 dim: 5 }
        layers { name: 'conv1' type: CONVOLUTION bottom: 'data' top: 'conv1' blobs_lr: 1
                 convolution_param { num_output: 2 kernel_size: 3 } }
        layers { name: 'relu1' type: RELU bottom: 'conv1' top: 'conv1' }
        layers { name: 'fc' type: INNER_PRODUCT bottom: 'conv1' top: 'fc' inner_product_param { num_output: 4 } }
        layers { name: 'prob' type: SOFTMAX bottom: 'fc' top: 'prob' }";
    let conv = [numbers(1, &[2, 3, 3, 3]), numbers(2, &[2])];
    let fc = [numbers(3, &[4, 18]), numbers(4, &[4])];
    let wanted = |x: &Image| {
        let x = convolve(x, &conv[0], &conv[1].1, SIMPLE).map(|x| x.max(0.0));
        convolve(&x, &whole(4, [2, 3, 3], &fc[0].1), &fc[1].1, SIMPLE)
    };
    let x = Image::random(5, [3, 5, 5]);
    let of = |form: fn(&Blob) -> Vec<u8>, blobs: &[Blob]| -> Vec<Vec<u8>> {
        blobs.iter().map(form).collect()
    };
    let old = model(
        "old",
        &[
            v1_layer("conv1", 4, &of(old_blob, &conv), &[]),
            v1_layer("fc", 14, &of(old_blob, &fc), &[]),
        ],
    );
    let new = [
        layer("conv1", "Convolution", &of(blob, &conv), &[]),
        layer("fc", "", &of(double_blob, &fc), &[]),
    ];
    for file in [old, model("new", &new)] {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), definition, &file);
        let network = read(&path, &reference(), &ReadOptions::default()).unwrap();
        assert_near(&run(&network, &x), &wanted(&x), "old and new");
        let inspection = inspect(&path).unwrap();
        assert_eq!(inspection.format, Format::Caffe);
        assert_eq!(inspection.parameters(), 2 * 27 + 2 + 4 * 18 + 4);
        assert!(inspection.mean);
        let note = inspection.metadata.note.unwrap();
        assert_eq!(note, "imported from a Caffe model");
        assert_eq!(inspection.metadata.protocol.as_deref(), Some("tested"));
    }
}

/// A caffemodel that says itself what its layers are.
fn own_definition(parameters: &[u8]) -> Vec<u8> {
    let data = [
        bytes(4, b"data"),
        bytes(4, b"label"),
        // For training alone, as the network was when it was stored.
        bytes(8, &number(1, 0)),
        parameters.to_vec(),
    ];
    let fc = [bytes(3, b"data"), bytes(4, b"fc"), bytes(117, &number(1, 2))].concat();
    let blobs = [blob(&numbers(1, &[2, 27])), blob(&numbers(2, &[2]))];
    let loss = [bytes(3, b"fc"), bytes(3, b"label"), bytes(4, b"loss")].concat();
    model(
        "own",
        &[
            layer("data", "Data", &[], &data.concat()),
            layer("fc", "InnerProduct", &blobs, &fc),
            layer("loss", "SoftmaxWithLoss", &[], &loss),
        ],
    )
}

#[test]
fn the_definition_is_the_one_given_or_beside_the_file_or_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.caffemodel");
    let image = |path: &std::path::Path| inspect(path).map(|inspection| inspection.spec.input);
    // Without extents there is no network.
    fs::write(&path, own_definition(&[])).unwrap();
    let message = chain(&image(&path).unwrap_err());
    assert!(message.contains("deploy.prototxt") && message.contains("--prototxt"), "{message}");
    // The file's own layers.
    fs::write(&path, own_definition(&bytes(100, &number(3, 3)))).unwrap();
    assert_eq!(image(&path).unwrap(), [3, 3, 3]);
    // The only one in the folder, then that of the usual name, then that of the file's name.
    let named = |name: &str, rows: usize, cols: usize| {
        let fc = text("fc", "InnerProduct", "data", "inner_product_param { num_output: 2 }");
        let definition = after([27 / rows / cols, rows, cols], &fc);
        fs::write(folder.path().join(name), definition).unwrap();
    };
    named("train_val.prototxt", 1, 9);
    assert_eq!(image(&path).unwrap(), [1, 9, 3]);
    named("other.prototxt", 3, 1);
    assert_eq!(image(&path).unwrap(), [3, 3, 3]);
    named("deploy.prototxt", 9, 1);
    assert_eq!(image(&path).unwrap(), [9, 1, 3]);
    named("own.prototxt", 3, 9);
    assert_eq!(image(&path).unwrap(), [3, 9, 1]);
    // What is given goes first.
    let other = folder.path().join("other.prototxt");
    let file = ModelFile::open(&path).unwrap().with_prototxt(Some(other.clone())).unwrap();
    assert_eq!(file.inspect().unwrap().spec.input, [3, 1, 9]);
    let options = ReadOptions::default().prototxt(folder.path().join("train_val.prototxt"));
    assert_eq!(file.read(&reference(), &options).unwrap().spec().input, [1, 9, 3]);
    // Through a pipe nothing is beside the file.
    let bytes = fs::read(&path).unwrap();
    let piped = ModelFile::from_reader(&bytes[..], "pipe").unwrap();
    assert_eq!(piped.inspect().unwrap().spec.input, [3, 3, 3]);
    assert_eq!(piped.with_prototxt(Some(other)).unwrap().inspect().unwrap().spec.input, [3, 1, 9]);

    let text = chain(&ModelFile::open(folder.path().join("own.prototxt")).unwrap_err());
    assert!(text.contains("name the .caffemodel"), "{text}");
    fs::write(folder.path().join("own.prototxt"), "net: 'train_val.prototxt'").unwrap();
    assert!(chain(&image(&path).unwrap_err()).contains("with layers; name another as --prototxt"));
}

#[test]
fn files_of_other_kinds_have_no_definition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    striate_importers::write(&path, &common::small(&reference()), &WriteOptions::default())
        .unwrap();
    for options in
        [ReadOptions::default().prototxt("a.prototxt"), ReadOptions::default().mean_file("a")]
    {
        let text = chain(&read(&path, &reference(), &options).unwrap_err());
        assert!(text.contains("x.safetensors") && text.contains("a caffemodel"), "{text}");
    }
    let text =
        chain(&ModelFile::open(&path).unwrap().with_mean_file(Some("m".into())).unwrap_err());
    assert!(text.contains("mean image m"), "{text}");
}

#[test]
fn the_mean_image_is_blue_green_red_in_the_file() {
    let definition = after(
        [3, 2, 2],
        &text(
            "fc",
            "InnerProduct",
            "data",
            "inner_product_param { num_output: 2 bias_term: false }",
        ),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &definition, &weights(&[("fc", vec![numbers(1, &[2, 12])])]));
    let mean = |options: &ReadOptions| {
        let network = read(&path, &reference(), options).unwrap();
        let mean = network.mean().unwrap();
        assert_eq!(mean.shape().dims()[..2], network.spec().image);
        (network.spec().image, mean.to_vec::<f32>().unwrap())
    };
    let usual = mean(&ReadOptions::default());
    assert_eq!((usual.0, &usual.1[..3]), ([3, 3], &[123.0, 117.0, 104.0][..]));

    let file = folder.path().join("mean.binaryproto");
    let values: Vec<f32> = (0..36).map(|v| v as f32).collect();
    fs::write(&file, old_blob(&(vec![1, 3, 3, 4], values))).unwrap();
    let own = mean(&ReadOptions::default().mean_file(&file));
    assert_eq!(own.0, [3, 4]);
    assert_eq!(own.1[..6], [24.0, 12.0, 0.0, 25.0, 13.0, 1.0]);
    fs::write(&file, blob(&(vec![3, 1, 1], vec![1.0, 2.0, 3.0]))).unwrap();
    let one = mean(&ReadOptions::default().mean_file(&file));
    assert_eq!((one.0, &one.1[24..]), ([3, 3], &[3.0, 2.0, 1.0][..]));

    let failed = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let options = ReadOptions::default().mean_file(&file);
        let text = chain(&read(&path, &reference(), &options).unwrap_err());
        assert!(text.contains("mean.binaryproto") && text.contains(what), "{text}");
    };
    failed(b"", "a mean image");
    failed(b"\xff\xff", "a mean image");
    failed(&blob(&(vec![1, 2, 2], vec![0.0; 4])), "expected 3 channels");
    failed(&blob(&(vec![3, 1, 2], vec![0.0; 6])), "at least the 2x2 pixels");
    failed(&blob(&(vec![3, 2, 3], vec![0.0; 6])), "numbers, got 6");
    failed(&blob(&(vec![3, 1, 1], vec![0.0, f32::NAN, 0.0])), "a finite mean");
    failed(&blob(&(vec![3, 1 << 20, 1 << 20], vec![])), "an image of at most");

    // Pixels that another program prepared: red first, to 1.
    let pixels = PixelOptions { range: Some(1.0), ..PixelOptions::default() };
    let network = read(&path, &reference(), &ReadOptions::default().pixels(pixels)).unwrap();
    let x = Image::random(2, [3, 2, 2]);
    let turned = Image::of([3, 2, 2], |c, y, z| x.at(2 - c, y as isize, z as isize) / 255.0);
    let w = whole(2, [3, 2, 2], &numbers(1, &[2, 12]).1);
    assert_near(&run(&network, &x), &convolve(&turned, &w, &[], SIMPLE), "pixels");
    let both = ReadOptions::default().pixels(pixels).mean_file(&file);
    assert!(read(&path, &reference(), &both).is_err());
}

#[test]
fn a_network_of_caffes_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    let (w, b) = (numbers(1, &[2, 3, 3, 3]), numbers(2, &[2]));
    let conv = "convolution_param { num_output: 2 kernel_size: 3 }";
    let layers = text("a/conv", "Convolution", "data", conv);
    let path =
        write(folder.path(), &after([3, 5, 5], &layers), &weights(&[("a/conv", vec![w, b])]));
    let converted = folder.path().join("own.safetensors");
    convert(&path, &converted, &reference(), &WriteOptions::default()).unwrap();
    let device = reference();
    let first = read(&path, &device, &ReadOptions::default()).unwrap();
    let second = read(&converted, &device, &ReadOptions::default()).unwrap();
    assert_eq!(first.spec(), second.spec());
    assert_eq!(first.spec().nodes[0].name, "a.conv");
    assert_eq!(first.metadata(), second.metadata());
    let x = Image::random(5, [3, 5, 5]);
    assert_eq!(run(&first, &x), run(&second, &x));
    let half = read(&path, &device, &ReadOptions::default().dtype(DType::F16)).unwrap();
    assert!(matches!(half.spec().nodes[0].layer, LayerSpec::Conv(_)));
    let (half, whole) = (run(&half, &x), run(&first, &x));
    let apart = half.values.iter().zip(&whole.values).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f64::max);
    assert!(apart > 0.0 && apart < 1e-2, "half precision is apart by {apart}");
    let text = chain(
        &striate_importers::write("x.caffemodel", &first, &WriteOptions::default()).unwrap_err(),
    );
    assert!(text.contains("its extension says no format"), "{text}");
}

#[test]
fn numbers_too_large_for_half_precision_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fc = text(
        "fc",
        "InnerProduct",
        "data",
        "inner_product_param { num_output: 1 bias_term: false }",
    );
    let definition = after([1, 1, 2], &fc);
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
    let definition = after(
        [3, 2, 2],
        &text(
            "fc",
            "InnerProduct",
            "data",
            "inner_product_param { num_output: 2 bias_term: false }",
        ),
    );
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
