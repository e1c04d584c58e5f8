//! Chains: what older versions wrote, what ccv writes down, and which specifications are the same.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_nn::{
    Context, Inputs, LayerSpec, Network, NetworkSpec, Node, PlainSpec, Seed, conv2d, full_connect,
    lrn, named_gradients, pool, require_grad,
};
use striate_tensor::{Device, RandomKey, Reference, Tensor};

fn device() -> Device {
    Device::new(Reference::new())
}

fn random<const N: usize>(shape: [usize; N], stream: u64, device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, stream), device)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"));
    values.into_iter().map(f32::to_bits).collect()
}

/// Written by the version in which a network was a list of five kinds of layers.
#[test]
fn old_files_are_read_and_written_byte_for_byte() {
    let text = include_str!("old_spec.json").trim_end();
    let spec = NetworkSpec::from_json(text).unwrap();
    let expected = NetworkSpec::new([33, 21, 4])
        .with_name("every kind")
        .with_image([40, 30])
        .conv(conv2d(8, 3).relu().groups(2).bias(0.1).stride(2).padding(1))
        .max_pool(pool(3).stride(2).padding(1))
        .lrn(lrn(5).groups(2))
        .conv(conv2d(6, 1).kernel([1, 3]).out_groups(2))
        .avg_pool(pool(2).stride(1))
        .full_connect(full_connect(7).relu().dropout(0.3))
        .full_connect(3);
    assert_eq!(spec, expected);
    assert_eq!(spec.to_json().unwrap(), text);
}

/// Outputs and gradients that the same version computed, on the reference device.
#[test]
fn old_networks_give_the_same_bits() {
    let device = device();
    let spec = NetworkSpec::new([9, 7, 4])
        .conv(conv2d(8, 3).relu().groups(2).bias(0.1).padding(1))
        .max_pool(pool(3).stride(2))
        .lrn(lrn(5).groups(2))
        .conv(conv2d(6, 1))
        .avg_pool(pool(2).stride(1))
        .full_connect(full_connect(7).relu().dropout(0.3))
        .full_connect(3);
    let mut network = spec.build(&device, Seed(5)).unwrap();
    let x = random([2, 9, 7, 4], 2, &device);
    let expected = [3179170673, 3180634084, 1028755385, 3179586933, 3182597045, 1029159090];
    assert_eq!(bits(&network.forward(&x).unwrap()), expected);
    require_grad(&mut network);
    let cx = Context::training(RandomKey::new(3, 4));
    let y = network.forward_with(&x, &cx).unwrap();
    let expected = [3182797722, 3184808482, 1033220046, 3172286706, 3182416486, 1021321575];
    assert_eq!(bits(&y), expected);
    let gradients = named_gradients(&network, y.sum_all().unwrap().backward().unwrap());
    for (name, expected) in [
        ("0.bias", [1041446717, 3191327697]),
        ("0.weight", [1017205287, 1030444463]),
        ("3.bias", [3190039620, 1016714141]),
        ("3.weight", [3179642026, 3181340787]),
        ("5.bias", [0, 3199277525]),
        ("6.weight", [0, 1046454859]),
    ] {
        assert_eq!(bits(&gradients[name])[..2], expected, "{name}");
    }
    // Layers of their own for ReLU and dropout compute the same, and count as the same network.
    let apart = NetworkSpec::new([9, 7, 4])
        .conv(conv2d(8, 3).groups(2).bias(0.1).padding(1))
        .relu()
        .max_pool(pool(3).stride(2))
        .lrn(lrn(5).groups(2))
        .conv(conv2d(6, 1))
        .avg_pool(pool(2).stride(1))
        .flatten()
        .full_connect(7)
        .relu()
        .dropout(0.3)
        .full_connect(3);
    assert_eq!(spec.difference(&apart), None);
    assert_eq!(apart.difference(&spec), None);
    let apart = Network::of(apart, network.parameters().to_vec(), Vec::new(), &device).unwrap();
    assert_eq!(bits(&apart.forward(&x).unwrap()), bits(&network.forward(&x).unwrap()));
    let again = Context::training(RandomKey::new(3, 4));
    assert_eq!(bits(&apart.forward_with(&x, &again).unwrap()), bits(&y));
}

#[test]
fn the_difference_is_what_is_computed() {
    let start = || NetworkSpec::new([8, 8, 3]).conv(conv2d(4, 3));
    let end = |spec: NetworkSpec| spec.full_connect(2);
    let one = end(start().relu());
    assert_eq!(one.difference(&end(start().relu().dropout(0.5))), None);
    assert_eq!(
        one.difference(&end(NetworkSpec::new([8, 8, 3]).conv(conv2d(4, 3).relu().bias(1.0)))),
        None
    );
    assert_eq!(one.difference(&end(start().relu().flatten())), None);
    assert_eq!(one.difference(&end(start().dropout(0.1).relu())), None);
    assert_eq!(
        one.difference(&end(
            NetworkSpec::new([8, 8, 3]).named("a", |x| x.conv(conv2d(4, 3)).relu())
        )),
        None
    );
    let differs = |a: &NetworkSpec, b: &NetworkSpec| a.difference(b).expect("they differ");
    let (own, other) = differs(&one, &end(start()));
    assert!(own.starts_with("layer 0 as ") && own.contains("\"relu\":true"), "{own}");
    assert!(other.contains("\"relu\":false"), "{other}");
    let (own, other) = differs(&one, &end(start().relu().batch_norm()));
    assert!(own.ends_with("2 layers") && other.ends_with("3 layers"), "{own} {other}");
    // A ReLU that others do not see is not theirs, be it behind dropout.
    let two = |before: fn(NetworkSpec) -> NetworkSpec, inside: fn(NetworkSpec) -> NetworkSpec| {
        before(start()).branches(|b| b.path(inside).path(|x| x).add())
    };
    let outside = two(|x| x.relu(), |x| x);
    for inside in [two(|x| x, |x| x.relu()), two(|x| x, |x| x.dropout(0.5).relu())] {
        assert!(outside.difference(&inside).is_some(), "{inside:?}");
    }
    // Another input of the same layer.
    let paths = |first: bool| {
        let b = start().named("a", |x| x.sigmoid()).named("b", |x| x.tanh());
        let mut spec = b.residual(|x| x.sigmoid());
        if first {
            let inputs = vec!["3".to_owned(), "a".into()];
            spec.nodes.truncate(4);
            spec.nodes.push(Node {
                name: String::new(),
                layer: LayerSpec::Add(PlainSpec {}),
                inputs: Inputs::Of(inputs),
            });
        }
        spec
    };
    let (own, other) = differs(&paths(false), &paths(true));
    assert!(
        own.ends_with("after [Some(3), Some(2)]") && other.ends_with("after [Some(3), Some(1)]"),
        "{own} {other}"
    );
    // Specifications that cannot be built are compared as they stand.
    let broken = |count| {
        let mut spec = end(NetworkSpec::new([8, 8, 3]).conv(conv2d(count, 3)));
        spec.nodes[1].inputs = Inputs::Of(vec!["nowhere".into()]);
        spec
    };
    assert!(broken(1).difference(&broken(2)).is_some());
    assert_eq!(broken(1).difference(&broken(1)), None);
}

#[test]
fn a_chain_is_what_ccv_writes_down() {
    let spec = NetworkSpec::new([8, 8, 3])
        .conv(conv2d(4, 3))
        .relu()
        .lrn(lrn(3))
        .max_pool(pool(2))
        .flatten()
        .full_connect(6)
        .dropout(0.5)
        .relu()
        .full_connect(2);
    let chain = spec.chain().unwrap();
    let nodes: Vec<usize> = chain.iter().map(|layer| layer.node).collect();
    assert_eq!(nodes, [0, 2, 3, 5, 8]);
    assert_eq!(chain[0].layer, LayerSpec::Conv(conv2d(4, 3).relu()));
    assert_eq!(chain[3].layer, LayerSpec::FullConnect(full_connect(6).relu().dropout(0.5)));
    // Inputs that are written out may still be those of a chain.
    let mut named = spec.clone();
    named.nodes[2].inputs = Inputs::Of(vec!["1".into()]);
    named.nodes[0].inputs = Inputs::Of(vec!["input".into()]);
    assert!(named.is_chain());
    assert_eq!(named.chain().unwrap(), chain);
    let refused = |spec: NetworkSpec| spec.chain().unwrap_err().to_string();
    let start = || NetworkSpec::new([8, 8, 3]).conv(conv2d(3, 3).padding(1));
    let kinds = "a conv, max-pool, avg-pool, lrn or full-connect layer";
    for (spec, expected) in [
        (start().sigmoid(), format!("layer 1 (activation): expected {kinds}")),
        (start().max_pool(pool(2)).relu(), format!("layer 2 (activation): expected {kinds}")),
        (start().dropout(0.5), format!("layer 1 (dropout): expected {kinds}")),
        (
            start().named("bn", |x| x.batch_norm()),
            format!("layer 1 (bn, batch-norm): expected {kinds}"),
        ),
        (start().flatten(), format!("layer 1 (flatten): expected {kinds}")),
        (
            start().residual(|x| x.conv(conv2d(3, 1))),
            "layer 2 (add): expected a layer that sees the one before it, got inputs 1, 0"
                .to_owned(),
        ),
        (
            start().auxiliary("aux", 1.0, |x| x).full_connect(2),
            "network: expected one output, got the auxiliary output aux".to_owned(),
        ),
    ] {
        let message = refused(spec);
        assert!(message.starts_with(&expected), "{message}\nshould start with\n{expected}");
    }
}

/// What ccv's layers cannot say is listed.
#[test]
fn limits_of_ccv_name_what_its_layers_cannot_say() {
    let limits = |conv: striate_nn::ConvSpec, pool: striate_nn::PoolSpec| -> Vec<String> {
        let spec = NetworkSpec::new([9, 9, 3])
            .conv(conv.relu())
            .max_pool(pool)
            .conv(conv2d(4, 1).relu())
            .full_connect(full_connect(2).without_bias());
        spec.ccv_limits().unwrap().iter().map(ToString::to_string).collect()
    };
    let has = |limits: &[String], text: &str| {
        assert!(limits.iter().any(|limit| limit.contains(text)), "{limits:?}")
    };
    let good = || (conv2d(4, 3).padding(1), pool(3).stride(2));
    has(&limits(good().0.without_bias(), good().1), "layer 0: ccv's convolutions have a bias");
    has(&limits(good().0.stride([1, 2]), good().1), "layer 0: ccv has one stride and one padding");
    has(
        &limits(good().0.padding([[1, 1], [0, 2]]), good().1),
        "layer 0: ccv has one stride and one padding",
    );
    has(&limits(good().0, good().1.ceil()), "layer 1: ccv rounds the number of windows down");
    has(&limits(good().0, pool([3, 1])), "layer 1: ccv has one size, one stride");
    has(&limits(good().0, good().1.first_maximum()), "layer 1: ccv gives every maximum");
    has(&limits(good().0, good().1), "layer 3: ccv's full-connect layers have a bias");
    let residual = NetworkSpec::new([8, 8, 3]).residual(|x| x.conv(conv2d(3, 1))).full_connect(2);
    has(
        &residual.ccv_limits().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "layer 1: ccv's networks are chains of its own layers, this one has add",
    );
}
