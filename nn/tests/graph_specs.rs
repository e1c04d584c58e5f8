//! Networks that are no chains: how they are written down and stored, what is refused, where they can be
//! cut, and that they compute what their layers say.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_nn::{Auxiliary, Error, Inputs, NetworkSpec, Seed, conv2d, full_connect, pool};
use striate_tensor::ops::Conv2d;
use striate_tensor::{Device, RandomKey, Reference, Tensor};

fn device() -> Device {
    Device::new(Reference::new())
}

fn random<const N: usize>(shape: [usize; N], stream: u64, device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, stream), device)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (values(a), values(b));
    let scale = b.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    assert!(scale > 0.0);
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() <= 1e-5 * scale, "{a} {b}, scale {scale}");
    }
}

/// Every sort of block: residual, with a shortcut, nested, branches, an auxiliary output.
fn blocks() -> NetworkSpec {
    let same = |count| conv2d(count, 3).padding(1);
    NetworkSpec::new([8, 8, 3])
        .with_name("blocks")
        .named("stem", |x| x.conv(same(4)).relu())
        .named("layer1.0", |x| {
            x.residual(|x| x.conv(same(4)).relu().conv(same(4).without_bias())).relu()
        })
        .residual_with(|x| x.conv(same(6).stride(2)).relu(), |x| x.conv(conv2d(6, 1).stride(2)))
        .auxiliary("aux", 0.3, |x| x.global_avg_pool().flatten().full_connect(5))
        .branches(|b| {
            b.path(|x| x.conv(conv2d(3, 1)).relu())
                .path(|x| {
                    x.residual(|x| x.conv(same(6)).sigmoid()).max_pool(pool(3).stride(1).padding(1))
                })
                .path(|x| x)
                .concatenate()
        })
        .branches(|b| {
            b.path(|x| x).path(|x| x.global_avg_pool().conv(conv2d(15, 1)).sigmoid()).multiply()
        })
        .avg_pool(pool(2))
        .full_connect(full_connect(7).relu())
        .dropout(0.5)
        .full_connect(5)
}

fn names_of(spec: &NetworkSpec, node: usize) -> Vec<String> {
    match &spec.nodes[node].inputs {
        Inputs::Previous => Vec::new(),
        Inputs::Of(names) => names.clone(),
    }
}

#[test]
fn blocks_are_written_down_with_what_they_see() {
    let spec = blocks();
    let verified = spec.verify(5).unwrap();
    let seen: Vec<Vec<Option<usize>>> = verified.shapes().iter().map(|s| s.from.clone()).collect();
    assert_eq!(seen[0], [None]);
    // The first block: its end adds up the last convolution and what stood before.
    assert_eq!(spec.node_name(0), "stem.0");
    assert_eq!(spec.node_name(2), "layer1.0.0");
    assert_eq!(names_of(&spec, 2), ["stem.1"]);
    assert_eq!(
        (spec.nodes[5].kind().name(), names_of(&spec, 5)),
        ("add", vec!["layer1.0.2".to_owned(), "stem.1".into(),])
    );
    assert_eq!(seen[5], [Some(4), Some(1)]);
    // The second: both paths see the ReLU after the first.
    assert_eq!(
        (&seen[7], &seen[9], &seen[10]),
        (&vec![Some(6)], &vec![Some(6)], &vec![Some(8), Some(9)])
    );
    // What comes after an auxiliary output sees what its layers saw.
    assert_eq!(spec.auxiliary, [Auxiliary { name: "aux".into(), node: "13".into(), weight: 0.3 }]);
    assert_eq!((&seen[11], &seen[14]), (&vec![Some(10)], &vec![Some(10)]));
    // A path without layers is its input.
    assert_eq!(seen[20], [Some(15), Some(19), Some(10)]);
    assert_eq!(verified.shapes()[20].output, [4, 4, 15]);
    assert_eq!(spec.classes(), 5);
    assert!(!spec.is_chain());
    assert!(spec.head.is_none());
    // The last layers of all outputs get another number of classes.
    let other = spec.clone().with_classes(9);
    other.verify(9).unwrap();
    let message = spec.verify(9).unwrap_err().to_string();
    assert!(
        message.contains("expected 9 outputs, one a class, of the last layer, got 5"),
        "{message}"
    );
}

/// A layer within a block may have the name that a layer outside has.
#[test]
fn names_within_a_block_are_not_those_outside() {
    let same = || conv2d(3, 3).padding(1);
    let spec = NetworkSpec::new([4, 4, 3])
        .named("conv", |x| x.conv(same()))
        .named("block", |x| {
            x.residual(|x| x.named("conv", |x| x.conv(same())).named("relu", |x| x.relu()))
        })
        .named("conv2", |x| {
            x.named("inner", |x| x.residual(|x| x.named("conv", |x| x.conv(same()))))
        });
    let names: Vec<String> = (0..6).map(|node| spec.node_name(node)).collect();
    let expected =
        ["conv", "block.conv", "block.relu", "block.2", "conv2.inner.conv", "conv2.inner.1"];
    assert_eq!(names, expected);
    assert_eq!(names_of(&spec, 1), ["conv"]);
    assert_eq!(names_of(&spec, 3), ["block.relu", "conv"]);
    assert_eq!(names_of(&spec, 5), ["conv2.inner.conv", "block.2"]);
    let sources = spec.sources().unwrap();
    assert_eq!((&sources[1], &sources[3]), (&vec![Some(0)], &vec![Some(2), Some(0)]));
    // A block of one layer has the name itself, and an auxiliary output follows its layer's name.
    let spec = NetworkSpec::new([4, 4, 3]).named("body", |x| {
        x.conv(same()).auxiliary("aux", 1.0, |x| x.named("fc", |x| x.full_connect(2)))
    });
    assert_eq!(spec.auxiliary[0].node, "body.fc");
    assert_eq!(spec.head.as_deref(), Some("body.0"));
    let spec = spec.full_connect(2);
    assert_eq!(names_of(&spec, 2), ["body.0"]);
    spec.verify(2).unwrap();
}

#[test]
fn json_keeps_names_and_inputs() {
    let spec = blocks();
    let text = spec.to_json().unwrap();
    assert_eq!(NetworkSpec::from_json(&text).unwrap(), spec);
    let block = NetworkSpec::new([4, 4, 2])
        .named("a", |x| x.relu())
        .residual(|x| x.batch_norm())
        .global_avg_pool()
        .flatten();
    let expected = serde_json::json!([
        { "name": "a", "kind": "activation", "function": "relu" },
        { "kind": "batch-norm", "epsilon": 1e-5f32, "momentum": 0.1f32, "inputs": ["a"] },
        { "kind": "add", "inputs": ["1", "a"] },
        { "kind": "global-avg-pool" },
        { "kind": "flatten" },
    ]);
    assert_eq!(serde_json::to_value(&block).unwrap()["layers"], expected);
}

#[test]
fn the_summary_says_what_a_layer_sees() {
    let summary = blocks().summary().unwrap();
    let text = summary.to_string();
    let head = text.lines().nth(1).unwrap();
    let words: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(words, ["layer", "name", "kind", "from", "output", "parameters", "MACs", "bytes"]);
    let line = |layer: usize| text.lines().nth(2 + layer).unwrap();
    let from = head.find("from").unwrap();
    assert!(line(5)[from..].starts_with("layer1.0.2, stem.1"), "{text}");
    assert!(line(14)[from..].starts_with("10 "), "{text}");
    assert!(line(20)[from..].starts_with("15, 19, 10 "), "{text}");
    // The layer before alone is not worth a word.
    assert!(line(3)[from..].starts_with(' '), "{text}");
    assert_eq!(summary.layers[5].from, ["layer1.0.2", "stem.1"]);
    assert!(summary.layers[3].from.is_empty());
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["layers"][5]["from"], serde_json::json!(["layer1.0.2", "stem.1"]));
    assert_eq!(json["layers"][3].get("from"), None);
    // 4 · 27 + 4 and so on: the layers' own counts add up.
    assert_eq!(
        summary.parameters,
        summary.layers.iter().map(|layer| layer.parameters).sum::<u64>()
    );
    let input = NetworkSpec::new([4, 4, 2]).residual(|x| x.batch_norm()).summary().unwrap();
    assert_eq!(input.layers[1].from, ["0", "input"]);
}

/// Residual, branches and product, op by op.
#[test]
fn a_graph_is_what_its_layers_say() {
    let device = device();
    let same = |count| conv2d(count, 3).padding(1);
    let spec = NetworkSpec::new([6, 5, 3])
        .conv(same(4))
        .relu()
        .residual(|x| x.conv(same(4)).relu().conv(same(4)))
        .relu()
        .branches(|b| {
            b.path(|x| x.conv(conv2d(2, 1)).relu())
                .path(|x| x.max_pool(pool(3).stride(1).padding(1)))
                .concatenate()
        })
        .branches(|b| {
            b.path(|x| x).path(|x| x.global_avg_pool().conv(conv2d(6, 1)).sigmoid()).multiply()
        })
        .global_max_pool()
        .flatten();
    let network = spec.build(&device, Seed(3)).unwrap();
    let p = network.parameters();
    let x = random([2, 6, 5, 3], 9, &device);
    let conv = |x: &Tensor, place: usize| {
        let options = match p[2 * place].dims()[1] {
            3 => Conv2d { padding: same(1).op().padding, ..Conv2d::default() },
            _ => Conv2d::default(),
        };
        x.conv2d(&p[2 * place], None, options).unwrap().add(&p[2 * place + 1]).unwrap()
    };
    let stem = conv(&x, 0).relu().unwrap();
    let main = conv(&conv(&stem, 1).relu().unwrap(), 2);
    let block = main.add(&stem).unwrap().relu().unwrap();
    let left = conv(&block, 3).relu().unwrap();
    let right = block.max_pool2d(pool(3).stride(1).padding(1).op(6, 5)).unwrap();
    let joined = Tensor::concatenate(&[&left, &right], 3).unwrap();
    let mean = joined.reduce(striate_tensor::ops::ReduceKind::Mean, [1, 2], true).unwrap();
    let factor = conv(&mean, 4).sigmoid().unwrap();
    let scaled = joined.mul(&factor).unwrap();
    let expected = scaled
        .reduce(striate_tensor::ops::ReduceKind::Max, [1, 2], true)
        .unwrap()
        .flatten()
        .unwrap();
    assert_close(&network.forward(&x).unwrap(), &expected);

    let mut seen = Vec::new();
    let last = network
        .activations(&x, |layer, activation| {
            let by_hand = match layer {
                1 => &stem,
                5 => &main.add(&stem).unwrap(),
                10 => &joined,
                14 => &scaled,
                _ => activation,
            };
            assert_close(activation, by_hand);
            seen.push(layer);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, (0..spec.nodes.len()).collect::<Vec<_>>());
    assert_close(&last, &expected);
}

/// A layer that passes on what an earlier one puts out is shown in its own place.
#[test]
fn activations_come_in_the_order_of_the_layers() {
    let device = device();
    let spec = NetworkSpec::new([2, 2, 1])
        .dropout(0.5)
        .conv(conv2d(2, 1))
        .branches(|b| b.path(|x| x.relu().relu()).path(|x| x.dropout(0.5)).add())
        .dropout(0.5);
    let network = spec.build(&device, Seed(1)).unwrap();
    let x = random([1, 2, 2, 1], 3, &device);
    let mut seen = Vec::new();
    let mut shown = Vec::new();
    network
        .activations(&x, |layer, activation| {
            seen.push(layer);
            shown.push(bits(activation));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!((&shown[0], &shown[4], &shown[6]), (&bits(&x), &shown[1], &shown[5]));
}

#[test]
fn a_network_is_cut_between_its_blocks() {
    let device = device();
    let spec = blocks();
    let cuts = spec.cuts().unwrap();
    let names: Vec<String> = cuts.iter().map(|&cut| spec.node_name(cut)).collect();
    let expected =
        ["stem.0", "stem.1", "layer1.0.3", "layer1.0.4", "10", "20", "24", "25", "26", "27", "28"];
    assert_eq!(names, expected);
    let network = spec.build(&device, Seed(3)).unwrap();
    let x = random([2, 8, 8, 3], 9, &device);
    let whole = network.forward(&x).unwrap();
    for &cut in &cuts {
        let first = network.forward_layers(0..cut + 1, &x).unwrap();
        let rest = network.forward_layers(cut + 1..spec.nodes.len(), &first).unwrap();
        assert_eq!(bits(&rest), bits(&whole), "after {cut}");
    }
    // From one cut to the next, with parameters of their own.
    let mut current = x.clone();
    let mut start = 0;
    for &cut in &cuts {
        current = network.forward_layers(start..cut + 1, &current).unwrap();
        start = cut + 1;
    }
    assert_eq!(bits(&current), bits(&whole));

    // What a layer in the middle of a block puts out can be had; what follows it cannot be run from
    // there, and the error says where the next cuts are.
    let mut inner = None;
    network
        .activations(&x, |layer, y| {
            inner = if layer == 3 { Some(y.clone()) } else { inner.take() };
            Ok(())
        })
        .unwrap();
    let inner = inner.unwrap();
    assert_close(&network.forward_layers(0..4, &x).unwrap(), &inner);
    for (range, expected) in [
        (
            4..29,
            "layer 3 (layer1.0.1, activation): expected a layer that the network can be cut after \
             (near: stem.1, layer1.0.3), got a layer within branches that come together later",
        ),
        (
            13..29,
            "layer 12 (flatten): expected a layer that the network can be cut after (near: 10, 20)",
        ),
    ] {
        let error = network.forward_layers(range, &inner).unwrap_err();
        assert!(matches!(error, Error::Layer { .. }));
        let message = error.to_string();
        assert!(message.starts_with(expected), "{message}\nshould start with\n{expected}");
    }
    assert!(matches!(network.forward_layers(0..30, &x), Err(Error::Range { layers: 29, .. })));
    // Of a chain every layer is one.
    let chain = NetworkSpec::new([8, 8, 3]).conv(conv2d(2, 3)).relu().dropout(0.5).full_connect(2);
    assert_eq!(chain.cuts().unwrap(), [0, 1, 2, 3]);
    // The input is seen past the first layer.
    let skip = NetworkSpec::new([4, 4, 2]).residual(|x| x.relu().conv(conv2d(2, 1))).relu();
    assert_eq!(skip.cuts().unwrap(), [2, 3]);
}

/// Global pooling ends what may be scanned over a larger picture; a residual block does not.
#[test]
fn a_scan_goes_to_a_cut() {
    let same = |count| conv2d(count, 3).padding(1);
    let spec = NetworkSpec::new([16, 16, 3])
        .conv(same(4).stride(2))
        .residual_with(
            |x| x.conv(same(6).stride(2)).relu().conv(same(6)),
            |x| x.conv(conv2d(6, 1).stride(2)),
        )
        .relu()
        .global_avg_pool()
        .flatten()
        .full_connect(2);
    let scan = spec.scan().unwrap();
    assert_eq!((scan.layer, scan.scale, scan.window), (5, 4, [4, 4]));
    assert_eq!(spec.local_layers(), 7);
    assert_eq!(spec.shapes_for([32, 24, 3]).unwrap()[6].output, [8, 6, 6]);
    let device = device();
    let network = spec.build(&device, Seed(1)).unwrap();
    let picture = random([1, 32, 24, 3], 3, &device);
    assert_eq!(network.forward_layers(0..6, &picture).unwrap().dims(), [1, 8, 6, 6]);
    // Paths of different strides have no one scale.
    let uneven = NetworkSpec::new([8, 8, 3])
        .branches(|b| {
            b.path(|x| x.conv(conv2d(3, 1).stride(8)))
                .path(|x| x.global_avg_pool().conv(conv2d(3, 1)))
                .add()
        })
        .full_connect(2);
    assert_eq!(uneven.scan(), None);
}
