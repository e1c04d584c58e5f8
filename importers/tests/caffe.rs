//! What networks of Caffe's compute, layer by layer, beside a plain computation.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

mod common;

use common::caffe::{Blob, after, check, network, numbers, refused, text, weights};
use common::plain::{Image, SIMPLE, Windows, convolve, deconvolve, pool, whole};

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

/// A type of layer, its parameters, and what it does to a number.
type Function = (&'static str, &'static str, fn(f64) -> f64);

#[test]
fn functions_of_each_element() {
    let cases: [Function; 15] = [
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
