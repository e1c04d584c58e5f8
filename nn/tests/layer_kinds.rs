//! Every kind of layer in a small network: its shape rule, its form in JSON, and its gradients against
//! differences.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::collections::BTreeSet;

use common::Shifted;
use striate_nn::{
    Activation, Context, LayerKind, Module, Network, NetworkSpec, ResizeSpec, Seed,
    StochasticDepth, Target, batch_norm, conv_transpose2d, conv2d, full_connect, group_norm,
    instance_norm, layer_norm, lrn, pad, parameter_gradients, parameters_mut, pool, prelu,
    require_grad, resize, squeeze_excite, upsample,
};
use striate_tensor::ops::{Coordinates, Interpolation, Nearest, UnaryKind};
use striate_tensor::{Device, RandomKey, Reference, Tensor, no_grad};

fn device() -> Device {
    Device::new(Reference::new())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

fn tensor(values: Vec<f32>, like: &Tensor) -> Tensor {
    Tensor::from_vec(values, *like.shape(), like.device()).unwrap_or_else(|error| panic!("{error}"))
}

/// Sees `[5, 4, 4]`, positive numbers from 0.2 to 1.2.
fn start() -> NetworkSpec {
    NetworkSpec::new([5, 4, 4])
}

/// A weighted sum of what the network puts out for `x` in training, always by the same random numbers.
fn loss(network: &Network, x: &Tensor) -> Tensor {
    let cx = Context::training(RandomKey::new(7, 1));
    let y = network.forward_with(x, &cx).unwrap_or_else(|error| panic!("{error}"));
    let key = RandomKey::new(7, 2);
    let weights = Tensor::uniform(*y.shape(), -1.0, 1.0, key, y.device());
    y.mul(&weights.unwrap()).and_then(|y| y.sum_all()).unwrap_or_else(|error| panic!("{error}"))
}

/// Compares gradients with central differences, in the L2 norm over all elements.
fn check(what: &str, gradient: &[f32], mut loss: impl FnMut(usize, f32) -> f32) {
    const STEP: f32 = 5e-4;
    let (mut error, mut norm) = (0.0f64, 0.0f64);
    for (place, &gradient) in gradient.iter().enumerate() {
        let difference = f64::from(loss(place, STEP) - loss(place, -STEP)) / f64::from(2.0 * STEP);
        error += (f64::from(gradient) - difference).powi(2);
        norm += difference.powi(2);
    }
    // Single precision leaves about 1e-6 / STEP of each difference uncertain; the seeds keep
    // outputs away from the kinks of ReLU and of maxima.
    let allowed = 2e-2 * norm.sqrt() + 3e-3 * (gradient.len() as f64).sqrt();
    assert!(error.sqrt() <= allowed, "{what}: off by {} of {}", error.sqrt(), norm.sqrt());
}

/// Gradients in the input and in every parameter.
fn check_gradients(spec: &NetworkSpec, what: &str) {
    let device = device();
    let mut network =
        spec.build(&device, Seed(3)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let [rows, cols, channels] = spec.input;
    let key = RandomKey::new(7, 3);
    let x = Tensor::uniform([2, rows, cols, channels], 0.2, 1.2, key, &device).unwrap();
    let x = x.require_grad();
    require_grad(&mut network);
    let mut gradients = loss(&network, &x).backward().unwrap();
    let dx = gradients.take(&x).map(|dx| values(&dx));
    let dx = dx.unwrap_or_else(|| vec![0.0; x.ty().count()]);
    let parameters = parameter_gradients(&network, gradients);
    no_grad(|| {
        check(&format!("{what}, input"), &dx, |place, step| {
            let mut moved = values(&x);
            moved[place] += step;
            loss(&network, &tensor(moved, &x)).to_scalar::<f32>().unwrap()
        });
        assert_eq!(parameters.len(), network.parameters().len(), "{what}");
        for (id, gradient) in &parameters {
            let before = network.parameters()[id.index()].clone();
            let name = format!("{what}, {}", network.parameter_infos()[id.index()].name);
            let mut moved = network.clone();
            check(&name, &values(gradient), |place, step| {
                let mut values = values(&before);
                values[place] += step;
                *parameters_mut(&mut moved as &mut dyn Module)[id.index()].1 =
                    tensor(values, &before);
                loss(&moved, &x).to_scalar::<f32>().unwrap()
            });
        }
    });
}

fn by(factor: [f32; 2], interpolation: Interpolation) -> ResizeSpec {
    let coordinates = Coordinates::PytorchHalfPixel;
    ResizeSpec { to: Target::Factor(factor), interpolation, coordinates, ..resize(1) }
}

fn cases() -> Vec<(NetworkSpec, Vec<usize>)> {
    let same = |count| conv2d(count, 3).padding(1);
    let mut cases = vec![
        (start().conv(conv2d(3, 3)), vec![3, 2, 3]),
        (start().conv(conv2d(6, 1).groups(2).without_bias()), vec![5, 4, 6]),
        (start().conv(conv2d(2, [2, 3]).stride([2, 1]).padding([1, 0])), vec![3, 2, 2]),
        (start().conv(same(4).groups(4).relu().bias(0.25)), vec![5, 4, 4]),
        (start().conv(conv2d(2, 3).bias(1.0)).max_pool(pool(2)), vec![1, 1, 2]),
        (start().conv_transpose(conv_transpose2d(3, 2).stride(2)), vec![10, 8, 3]),
        (
            start().conv_transpose(
                conv_transpose2d(6, 3).stride([2, 3]).padding(1).output_padding([1, 2]).groups(2),
            ),
            vec![10, 12, 6],
        ),
        (
            start().conv_transpose(
                conv_transpose2d(2, [2, 3]).dilation(2).padding([[1, 0], [0, 2]]).without_bias(),
            ),
            vec![6, 6, 2],
        ),
        (start().max_pool(pool(2).ceil()), vec![3, 2, 4]),
        (
            start().max_pool(pool([3, 2]).stride([2, 1]).padding([1, 0]).first_maximum()),
            vec![3, 3, 4],
        ),
        (start().avg_pool(pool(3).stride(2).padding(1)), vec![3, 2, 4]),
        (start().avg_pool(pool(3).stride(2).padding(1).count_padding()), vec![3, 2, 4]),
        // A window that would begin in the padding after the image is none, as in PyTorch.
        (start().avg_pool(pool(2).padding([[1, 0], [0, 1]]).ceil()), vec![3, 2, 4]),
        (start().global_avg_pool(), vec![1, 1, 4]),
        (start().global_max_pool(), vec![1, 1, 4]),
        (start().lrn(lrn(3).alpha(0.5)), vec![5, 4, 4]),
        (start().lrn(lrn(3).alpha(0.5).groups(2).kappa(1.0).beta(0.5)), vec![5, 4, 4]),
        (start().conv(same(3)).batch_norm(), vec![5, 4, 3]),
        (start().batch_norm_with(batch_norm().epsilon(0.1)).full_connect(2), vec![2]),
        (start().full_connect(3).batch_norm(), vec![3]),
        (start().conv(same(6)).layer_norm(layer_norm().epsilon(1e-2)), vec![5, 4, 6]),
        (start().full_connect(5).layer_norm(layer_norm().epsilon(0.1)), vec![5]),
        (start().conv(same(6)).group_norm(group_norm(3)), vec![5, 4, 6]),
        (start().group_norm(group_norm(1).epsilon(0.1)), vec![5, 4, 4]),
        (start().conv(same(3)).instance_norm(instance_norm()), vec![5, 4, 3]),
        (start().instance_norm(instance_norm().epsilon(0.1)).full_connect(2), vec![2]),
        (start().layer_scale(0.25).full_connect(3).layer_scale(-1.0), vec![3]),
        (start().full_connect(full_connect(3).relu().dropout(0.3)), vec![3]),
        (start().full_connect(full_connect(3).without_bias()), vec![3]),
        (start().flatten().full_connect(2), vec![2]),
        (start().conv(same(2)).stochastic_depth(0.4), vec![5, 4, 2]),
        (start().residual(|x| x.conv(same(4)).stochastic_depth(0.5)), vec![5, 4, 4]),
        (start().full_connect(6).stochastic_depth(0.4).channel_shuffle(3), vec![6]),
        (start().channel_shuffle(2), vec![5, 4, 4]),
        (start().adaptive_avg_pool([2, 3]), vec![2, 3, 4]),
        (start().adaptive_avg_pool([5, 4]), vec![5, 4, 4]),
        (start().adaptive_max_pool([2, 3]), vec![2, 3, 4]),
        (start().adaptive_max_pool([1, 2]), vec![1, 2, 4]),
        (start().upsample(2), vec![10, 8, 4]),
        (start().resize(upsample([1, 3]).linear().align_corners()), vec![5, 12, 4]),
        (start().resize(resize([3, 6]).cubic()), vec![3, 6, 4]),
        (start().resize(resize(3).area()), vec![3, 3, 4]),
        (start().resize(by([1.5, 0.6], Interpolation::Linear)), vec![7, 2, 4]),
        (
            start().resize(by([0.7, 2.5], Interpolation::Nearest(Nearest::PreferCeil))),
            vec![3, 10, 4],
        ),
        (
            start().resize(ResizeSpec {
                exclude_outside: true,
                ..by([2.0, 2.0], Interpolation::Cubic { coefficient: -0.5 })
            }),
            vec![10, 8, 4],
        ),
        (start().pad(pad(1)), vec![7, 6, 4]),
        (start().pad(pad([[0, 1], [2, 0]]).value(0.5)), vec![6, 6, 4]),
        (start().pad(pad([2, 1]).reflect()), vec![9, 6, 4]),
        (start().pad(pad([1, 3]).edge()), vec![7, 10, 4]),
        (start().pad(pad([[0, 0], [4, 5]]).wrap()), vec![5, 13, 4]),
        (start().conv(same(3)).prelu(), vec![5, 4, 3]),
        (start().conv(same(3)).prelu_with(prelu().shared().initial(0.1)), vec![5, 4, 3]),
        (start().full_connect(3).prelu(), vec![3]),
        (start().depth_to_space(2), vec![10, 8, 1]),
        (start().conv(same(18)).pixel_shuffle(3), vec![15, 12, 2]),
        (start().conv(conv2d(3, 2)).space_to_depth(1), vec![4, 3, 3]),
        (start().max_pool(pool([2, 1]).stride(1)).space_to_depth(2), vec![2, 2, 16]),
        (start().max_pool(pool([2, 1]).stride(1)).pixel_unshuffle(2), vec![2, 2, 16]),
        (start().conv(same(3)).channels(1..3), vec![5, 4, 2]),
        (start().full_connect(5).channels(0..2), vec![2]),
        (start().conv(same(4)).squeeze_excite(squeeze_excite(4, 2)), vec![5, 4, 4]),
        (start().conv(same(2)).dropout(0.4), vec![5, 4, 2]),
        (start().conv(same(4)).sigmoid().residual(|x| x.conv(same(4)).relu()), vec![5, 4, 4]),
        (
            start().residual_with(|x| x.conv(same(2)), |x| x.conv(conv2d(2, 1))).relu(),
            vec![5, 4, 2],
        ),
        (
            start().branches(|b| b.path(|x| x).path(|x| x.conv(same(4))).path(|x| x.tanh()).add()),
            vec![5, 4, 4],
        ),
        (
            start().branches(|b| {
                b.path(|x| x).path(|x| x.global_avg_pool().conv(conv2d(4, 1)).sigmoid()).multiply()
            }),
            vec![5, 4, 4],
        ),
        (start().branches(|b| b.path(|x| x).path(|x| x).multiply()), vec![5, 4, 4]),
        (
            start().branches(|b| {
                b.path(|x| x.conv(same(2))).path(|x| x).path(|x| x.relu()).concatenate()
            }),
            vec![5, 4, 10],
        ),
        (
            start().branches(|b| b.path(|x| x.full_connect(2)).path(|x| x.flatten()).concatenate()),
            vec![82],
        ),
        (start().conv(same(3)).custom(Shifted { shift: 0.5 }), vec![5, 4, 3]),
        (start().full_connect(3).custom(Shifted { shift: -1.0 }), vec![3]),
        (
            start().branches(|b| {
                b.path(|x| x).path(|x| x.conv(same(4))).custom(Shifted { shift: 0.25 })
            }),
            vec![5, 4, 4],
        ),
    ];
    // The steps have a test of their own.
    let steps = ["sign", "floor", "ceil", "round"];
    let smooth = UnaryKind::ALL.iter().copied().filter(|kind| !steps.contains(&kind.name()));
    let more = [
        UnaryKind::LeakyRelu { slope: 0.2 },
        UnaryKind::Elu { alpha: 0.7 },
        UnaryKind::Affine { scale: 2.0, shift: -0.5 },
        UnaryKind::Powf { exponent: 1.5 },
        UnaryKind::Clamp { min: f32::NEG_INFINITY, max: 2.5 },
        UnaryKind::Clamp { min: 0.3, max: 0.9 },
    ];
    for kind in smooth.chain(more) {
        cases.push((start().activation(Activation::new(kind)), vec![5, 4, 4]));
    }
    // Of both signs.
    for kind in
        [UnaryKind::LeakyRelu { slope: 0.2 }, UnaryKind::Elu { alpha: 0.7 }, UnaryKind::Relu]
    {
        cases.push((start().conv(same(2)).activation(Activation::new(kind)), vec![5, 4, 2]));
    }
    cases
}

#[test]
fn every_kind_has_its_shape_and_its_gradients() {
    let mut kinds = BTreeSet::new();
    for (spec, expected) in cases() {
        let what = spec.to_json().unwrap();
        kinds.extend(spec.nodes.iter().map(|node| node.kind().name()));
        let shapes = spec.shapes().unwrap_or_else(|error| panic!("{what}: {error}"));
        let last = shapes.last().unwrap();
        let output = match last.flat {
            true => last.output[2..].to_vec(),
            false => last.output.to_vec(),
        };
        assert_eq!(output, expected, "{what}");
        assert_eq!(NetworkSpec::from_json(&what).unwrap(), spec, "{what}");
        // What runs has the shape that was foretold, of no images too.
        let network = spec.build(&device(), Seed(1)).unwrap();
        for images in [0, 3] {
            let x = Tensor::ones([images, 5, 4, 4], network.device()).unwrap();
            let y = network.forward(&x).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((y.dims()[0], &y.dims()[1..]), (images, &expected[..]), "{what}");
        }
        check_gradients(&spec, &what);
    }
    let all: BTreeSet<&str> = LayerKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(kinds, all);
}

/// PyTorch's `channel_shuffle`, `pixel_shuffle` and `pixel_unshuffle`, and ONNX's `DepthToSpace` and
/// `SpaceToDepth`, of which one undoes the other, by their definitions.
#[test]
fn channels_and_pixels_change_places() {
    let run = |spec: &NetworkSpec| {
        let [rows, cols, channels] = spec.input;
        let x = (0..2 * rows * cols * channels).map(|i| i as f32).collect();
        let x = Tensor::from_vec(x, [2, rows, cols, channels], &device()).unwrap();
        spec.build(&device(), Seed(1)).unwrap().forward(&x).unwrap()
    };
    let first = |spec: &NetworkSpec, count| values(&run(spec))[..count].to_vec();
    let shuffled = NetworkSpec::new([1, 1, 6]).channel_shuffle(2);
    assert_eq!(values(&run(&shuffled))[..6], [0., 3., 1., 4., 2., 5.]);
    assert_eq!(values(&run(&shuffled))[6..], [6., 9., 7., 10., 8., 11.]);
    // A pixel of 8 channels becomes 2 rows of 2 pixels of 2 channels.
    let dcr = NetworkSpec::new([1, 1, 8]).depth_to_space(2);
    assert_eq!(first(&dcr, 8), [0., 1., 2., 3., 4., 5., 6., 7.]);
    let crd = NetworkSpec::new([1, 1, 8]).pixel_shuffle(2);
    assert_eq!(first(&crd, 8), [0., 4., 1., 5., 2., 6., 3., 7.]);
    let start = || NetworkSpec::new([6, 4, 8]);
    let unchanged = values(&run(&start()));
    assert_eq!(values(&run(&start().depth_to_space(2).space_to_depth(2))), unchanged);
    assert_eq!(values(&run(&start().pixel_shuffle(2).pixel_unshuffle(2))), unchanged);
    assert_eq!(values(&run(&start().channel_shuffle(2).channel_shuffle(4))), unchanged);
    let rows = values(&run(&start().depth_to_space(2)));
    // Row 1 of the image begins with the channels 4 to 7 of pixel (0, 0), then of (0, 1).
    assert_eq!(rows[16..24], [4., 5., 6., 7., 12., 13., 14., 15.]);
}

/// A small image by hand, as PyTorch's `interpolate`, `pad` and adaptive pooling give it.
#[test]
fn images_of_another_size_and_with_a_border() {
    let run = |spec: NetworkSpec, x: &[f32]| {
        let [rows, cols, channels] = spec.input;
        let x = Tensor::from_vec(x.to_vec(), [1, rows, cols, channels], &device()).unwrap();
        values(&spec.build(&device(), Seed(1)).unwrap().forward(&x).unwrap())
    };
    let line = |cols: usize| NetworkSpec::new([1, cols, 1]);
    assert_eq!(run(line(2).upsample([1, 2]), &[1., 2.]), [1., 1., 2., 2.]);
    let linear = upsample([1, 2]).linear();
    assert_eq!(run(line(2).resize(linear), &[0., 4.]), [0., 1., 3., 4.]);
    let cubic = line(2).resize(upsample([1, 2]).cubic());
    assert_eq!(run(cubic, &[0., 64.]), [-6.75, 14.5, 49.5, 70.75]);
    assert_eq!(run(line(5).adaptive_avg_pool([1, 2]), &[1., 2., 6., 4., 5.]), [3., 5.]);
    assert_eq!(run(line(5).adaptive_max_pool([1, 2]), &[1., 2., 6., 4., 5.]), [6., 6.]);
    let sides = pad([[0, 0], [2, 2]]);
    assert_eq!(run(line(3).pad(sides), &[1., 2., 3.]), [0., 0., 1., 2., 3., 0., 0.]);
    assert_eq!(run(line(3).pad(sides.reflect()), &[1., 2., 3.]), [3., 2., 1., 2., 3., 2., 1.]);
    assert_eq!(run(line(3).pad(sides.edge()), &[1., 2., 3.]), [1., 1., 1., 2., 3., 3., 3.]);
    assert_eq!(run(line(3).pad(sides.wrap()), &[1., 2., 3.]), [2., 3., 1., 2., 3., 1., 2.]);
}

/// Each image as a whole, about as often as the rate says; the others keep the mean.
#[test]
fn stochastic_depth_drops_images_in_training_alone() {
    let rate = 0.25;
    let spec = NetworkSpec::new([2, 3, 4]).stochastic_depth(rate);
    let network = spec.build(&device(), Seed(1)).unwrap();
    let x = Tensor::ones([400, 2, 3, 4], &device()).unwrap();
    assert_eq!(values(&network.forward(&x).unwrap()), values(&x));
    let module = StochasticDepth::new(rate).unwrap();
    let key = RandomKey::new(3, 4);
    let of = |module: &dyn Module| {
        let y = module.forward(&x, &Context::training(key)).unwrap();
        assert_eq!(values(&module.forward(&x, &Context::inference()).unwrap()), values(&x));
        values(&y)
    };
    let y = of(&network);
    assert_eq!(y, of(&module), "a network and a module draw the same numbers");
    let kept = y.chunks(24).filter(|image| image[0] != 0.0).count();
    assert!((280..=320).contains(&kept), "{kept} of 400 images kept");
    for image in y.chunks(24) {
        let expected = if image[0] == 0.0 { 0.0 } else { 1.0 / (1.0 - rate) };
        assert!(image.iter().all(|&x| x == expected), "{image:?}");
    }
    let message = StochasticDepth::new(1.0).unwrap_err().to_string();
    assert!(message.contains("from 0 to less than 1"), "{message}");
}

/// Functions without a gradient worth the name: their form and their values.
#[test]
fn steps_are_functions_too() {
    let device = device();
    let x = Tensor::from_vec(vec![-1.5f32, -0.5, 0.5, 2.5], [1, 1, 1, 4], &device).unwrap();
    for (kind, expected) in [
        (UnaryKind::Sign, [-1.0, -1.0, 1.0, 1.0]),
        (UnaryKind::Floor, [-2.0, -1.0, 0.0, 2.0]),
        (UnaryKind::Ceil, [-1.0, 0.0, 1.0, 3.0]),
        (UnaryKind::Round, [-2.0, 0.0, 0.0, 2.0]),
    ] {
        let spec = NetworkSpec::new([1, 1, 4]).activation(Activation::new(kind));
        assert_eq!(NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
        let network = spec.build(&device, Seed(1)).unwrap();
        assert_eq!(values(&network.forward(&x).unwrap()), expected, "{kind:?}");
        let module = Activation::new(kind);
        assert_eq!(values(&module.forward(&x, &Context::inference()).unwrap()), expected);
    }
    let json = |json: &str| serde_json::from_str::<Activation>(json).map(|f| f.kind());
    assert_eq!(json(r#"{"function":"leaky-relu"}"#).unwrap(), UnaryKind::LeakyRelu { slope: 0.01 });
    assert_eq!(json(r#"{"function":"elu"}"#).unwrap(), UnaryKind::Elu { alpha: 1.0 });
    let message = json(r#"{"function":"powf"}"#).unwrap_err().to_string();
    assert!(message.contains("`powf` needs a number `exponent`"), "{message}");
    assert_eq!(Activation::new(UnaryKind::LeakyRelu { slope: 0.2 }), {
        serde_json::from_str(r#"{"function":"leaky-relu","slope":0.2}"#).unwrap()
    });
}

/// Padding that differs on each side, and kernels with gaps.
#[test]
fn convolutions_pad_four_sides_and_spread_their_kernel() {
    for (conv, expected) in [
        (conv2d(2, 3).padding([[1, 0], [2, 1]]), [4, 5, 2]),
        (conv2d(2, 2).dilation(2), [3, 2, 2]),
        (conv2d(2, [2, 3]).dilation([3, 1]).padding([[0, 1], [1, 0]]).stride([1, 2]), [3, 2, 2]),
        (conv2d(4, 2).groups(2).dilation([2, 3]).relu(), [3, 1, 4]),
    ] {
        let spec = start().conv(conv);
        assert_eq!(spec.shapes().unwrap()[0].output, expected, "{conv:?}");
        assert_eq!(NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
        check_gradients(&spec, &format!("{conv:?}"));
    }
}
