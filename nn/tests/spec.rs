//! Specifications: their form on disk, their shapes, what verification refuses and what it does
//! not.

use striate_nn::{
    Error, Init, LayerSpec, MAX_ELEMENTS, NetworkSpec, Seed, conv2d, full_connect, lrn, pool,
};
use striate_tensor::{Device, Reference};

/// A network that makes sense: 8x8 to 6x6 to 3x3.
fn small() -> NetworkSpec {
    NetworkSpec::new([8, 8, 3])
        .conv(conv2d(4, 3).relu())
        .lrn(lrn(5).groups(2))
        .max_pool(pool(2))
        .full_connect(full_connect(10).relu().dropout(0.25))
        .full_connect(5)
}

#[test]
fn the_builder_writes_down_what_it_is_told() {
    let spec = small();
    assert_eq!(spec.nodes[0].layer, LayerSpec::Conv(conv2d(4, 3).relu()));
    assert_eq!(spec.nodes[3].layer, LayerSpec::FullConnect(full_connect(10).relu().dropout(0.25)));
    assert_eq!(spec.nodes[4].layer, LayerSpec::FullConnect(full_connect(5)));
    assert_eq!(spec.image, [8, 8]);
    assert_eq!(spec.classes(), 5);
    let grouped = conv2d(8, 3).groups(2).relu();
    assert_eq!((grouped.groups, grouped.out_groups), (2, 2));
    // The output partition follows the groups, unless it was set.
    let own = conv2d(8, 3).out_groups(4).groups(2).relu();
    assert_eq!((own.groups, own.out_groups), (2, 4));
    // What a layer specification says may come in any order.
    assert_eq!(full_connect(6).dropout(0.5).relu(), full_connect(6).relu().dropout(0.5));
    assert!(!conv2d(4, 3).relu && conv2d(4, 3).relu().relu && !conv2d(4, 3).relu().linear().relu);
    #[allow(deprecated, reason = "the old name keeps its ReLU as long as it is there")]
    let old = striate_nn::conv(4, 3);
    assert_eq!(old, conv2d(4, 3).relu());
}

/// A method adds a layer and edits none: ReLU and dropout are nodes of their own, anywhere.
#[test]
fn methods_add_layers() {
    let spec = NetworkSpec::new([8, 8, 1])
        .relu()
        .conv(conv2d(4, 3))
        .relu()
        .dropout(0.25)
        .max_pool(pool(2))
        .relu()
        .full_connect(full_connect(6).dropout(0.5))
        .dropout(0.5)
        .full_connect(3);
    let kinds: Vec<&str> = spec.nodes.iter().map(|node| node.kind().name()).collect();
    let expected = [
        "activation",
        "conv",
        "activation",
        "dropout",
        "max-pool",
        "activation",
        "full-connect",
        "dropout",
        "full-connect",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(spec.nodes[1].layer, LayerSpec::Conv(conv2d(4, 3)));
    assert!(spec.is_chain() && spec.misplaced.is_empty());
    spec.verify(3).unwrap();
    assert_eq!(NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
}

/// A method that cannot be where it is called does not vanish: nothing can be made of the network, and
/// the error says which layer and which method.
#[test]
fn what_cannot_follow_is_refused() {
    let device = Device::new(Reference::new());
    let start = || NetworkSpec::new([8, 8, 2]).conv(conv2d(4, 3));
    let end = |spec: NetworkSpec| spec.full_connect(3);
    let expected = "expected a layer of as many outputs as classes last, got with_classes";
    for (spec, expected) in [
        (
            end(start().max_pool(pool(2)).with_classes(3)),
            format!("layer 1 (max-pool): {expected} after this max-pool layer"),
        ),
        (
            end(start().lrn(lrn(3)).relu().with_classes(3)),
            format!("layer 2 (activation): {expected} after this activation layer"),
        ),
        (
            end(NetworkSpec::new([8, 8, 2]).with_classes(3)),
            format!("network: {expected} before any layer"),
        ),
    ] {
        let built = spec.build(&device, Seed(1)).map(|_| ());
        let verified = spec.verify(3).map(|_| ());
        let stored = spec.to_json().map(|_| ());
        for refused in [verified, spec.shapes().map(|_| ()), built, spec.summary().map(|_| ())] {
            let message = refused.expect_err("a misplaced method was taken").to_string();
            assert!(message.contains(&expected), "{message}\nshould contain\n{expected}");
        }
        assert!(stored.unwrap_err().to_string().contains("the builder was asked for"));
        let mut forgotten = spec.clone();
        forgotten.misplaced.clear();
        assert_ne!(spec, forgotten);
    }
}

#[test]
fn json_is_stable() {
    let spec = NetworkSpec::new([4, 4, 2])
        .with_name("two")
        .with_image([6, 5])
        .conv(conv2d(4, 3).groups(2).bias(1.0).relu())
        .avg_pool(pool(2))
        .lrn(lrn(5))
        .full_connect(full_connect(3).relu().dropout(0.5));
    let init = |bias: f32| serde_json::json!({ "gain": std::f32::consts::SQRT_2, "bias": bias });
    let expected = serde_json::json!({
        "name": "two",
        "input": [4, 4, 2],
        "image": [6, 5],
        "layers": [
            { "kind": "conv", "count": 4, "kernel": [3, 3], "stride": 1, "padding": 0,
              "groups": 2, "out-groups": 2, "relu": true, "init": init(1.0) },
            { "kind": "avg-pool", "size": 2, "stride": 2, "padding": 0, "groups": 1 },
            { "kind": "lrn", "size": 5, "kappa": 2.0f32, "alpha": 1e-4f32, "beta": 0.75f32,
              "groups": 1 },
            { "kind": "full-connect", "count": 3, "relu": true, "dropout": 0.5,
              "init": init(0.0) },
        ],
    });
    assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
    assert_eq!(NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
}

#[test]
fn json_by_hand_may_be_short_but_not_wrong() {
    let text = r#"{ "input": [28, 28, 1], "layers": [
        { "kind": "conv", "count": 4, "kernel": [5, 5] },
        { "kind": "max-pool", "size": 2, "stride": 2 },
        { "kind": "full-connect", "count": 10 } ] }"#;
    let expected =
        NetworkSpec::new([28, 28, 1]).conv(conv2d(4, 5).relu()).max_pool(pool(2)).full_connect(10);
    assert_eq!(NetworkSpec::from_json(text).unwrap(), expected);

    for (slip, mention) in [
        (text.replace("\"count\": 10", "\"count\": 10, \"realu\": true"), "realu"),
        (text.replace("max-pool", "maxpool"), "maxpool"),
        (text.replace("[5, 5]", "[5]"), "length"),
        (text.replace("\"count\": 4", "\"count\": -4"), "-4"),
        (text.replace("28, 28, 1", "28, 28, 1, 1"), "line 1"),
        (text[..40].to_owned(), "EOF"),
    ] {
        let message = NetworkSpec::from_json(&slip).unwrap_err().to_string();
        assert!(message.starts_with("network specification: "), "{message}");
        assert!(message.contains(mention), "{message} should mention {mention}");
    }
}

#[test]
fn shapes_follow_from_the_layers() {
    let shapes = small().shapes().unwrap();
    let outputs: Vec<[usize; 3]> = shapes.iter().map(|shape| shape.output).collect();
    assert_eq!(outputs, [[6, 6, 4], [6, 6, 4], [3, 3, 4], [1, 1, 10], [1, 1, 5]]);
    assert_eq!(shapes[0].weight().unwrap().dims(), [4, 3, 3, 3]);
    assert_eq!(shapes[3].weight().unwrap().dims(), [10, 36]);
    assert_eq!(shapes[3].bias().unwrap().dims(), [10]);
    let macs: Vec<u64> = shapes.iter().map(|shape| shape.macs).collect();
    assert_eq!(macs, [36 * 4 * 27, 0, 0, 360, 50]);
    assert_eq!(shapes[0].parameter_count(), 4 * 27 + 4);
    assert_eq!(shapes[2].outputs(), 36);

    // 217 pixels in steps of 4: one is left over, as in torchvision's AlexNet.
    let odd = NetworkSpec::new([224, 224, 3]).conv(conv2d(64, 11).stride(4).padding(2).relu());
    assert_eq!(odd.shapes().unwrap()[0].output, [55, 55, 64]);
    assert!(!odd.shapes().unwrap()[0].exact);
}

#[test]
fn the_scan_is_up_to_the_last_convolution() {
    let spec = NetworkSpec::new([33, 21, 3])
        .conv(conv2d(4, 3).stride(2).relu())
        .max_pool(pool(2).stride(2))
        .conv(conv2d(4, 3).padding(1).relu())
        .max_pool(pool(2).stride(2))
        .full_connect(5);
    let scan = spec.scan().unwrap();
    assert_eq!((scan.layer, scan.scale, scan.window), (2, 4, [8, 5]));
    assert_eq!(spec.shapes_for([41, 21, 3]).unwrap()[2].output, [10, 5, 4]);
    assert_eq!(spec.shapes_for([41, 21, 3]).unwrap().len(), 4);
    assert!(spec.shapes_for([2, 2, 3]).is_err());
    assert_eq!(NetworkSpec::new([1, 1, 8]).full_connect(2).scan(), None);
    assert_eq!(NetworkSpec::new([2, 2, 8]).conv(conv2d(4, 3).relu()).scan(), None);
}

#[test]
fn verify_refuses_what_makes_no_sense_and_says_where() {
    small().verify(5).unwrap();
    let with = |layer: usize, change: &dyn Fn(&mut LayerSpec)| {
        let mut spec = small();
        change(&mut spec.nodes[layer].layer);
        spec
    };
    let conv0 = |f: fn(&mut striate_nn::ConvSpec)| {
        with(0, &|layer| {
            if let LayerSpec::Conv(conv) = layer {
                f(conv)
            }
        })
    };
    let lrn1 = |f: fn(&mut striate_nn::LrnSpec)| {
        with(1, &|layer| {
            if let LayerSpec::Lrn(lrn) = layer {
                f(lrn)
            }
        })
    };
    let pool2 = |f: fn(&mut striate_nn::PoolSpec)| {
        with(2, &|layer| {
            if let LayerSpec::MaxPool(pool) = layer {
                f(pool)
            }
        })
    };
    let full = |layer, f: fn(&mut striate_nn::FullConnectSpec)| {
        with(layer, &|layer| {
            if let LayerSpec::FullConnect(full) = layer {
                f(full)
            }
        })
    };
    let network = |f: fn(&mut NetworkSpec)| {
        let mut spec = small();
        f(&mut spec);
        spec
    };
    for (spec, expected) in [
        (conv0(|c| c.count = 0), "layer 0 (conv): expected a count of at least 1, got 0"),
        (conv0(|c| c.kernel = [3, 0]), "layer 0 (conv): expected kernel cols of at least 1, got 0"),
        (conv0(|c| c.stride = [0, 1]), "layer 0 (conv): expected a stride of at least 1, got 0"),
        (
            conv0(|c| c.kernel = [9, 3]),
            "layer 0 (conv): expected a window no larger than its padded input, got 9 rows over 8 \
             with padding 0",
        ),
        (
            conv0(|c| c.groups = 2),
            "layer 0 (conv): expected groups that divide the 3 input channels evenly, got 2 groups",
        ),
        (conv0(|c| c.groups = 0), "got 0 groups"),
        (conv0(|c| (c.groups, c.count) = (3, 4)), "divide the 4 outputs evenly, got 3 groups"),
        (conv0(|c| c.out_groups = 3), "expected an output partition that divides 4 outputs, got 3"),
        (conv0(|c| c.out_groups = 0), "expected an output partition that divides 4 outputs, got 0"),
        (conv0(|c| c.init.gain = f32::NAN), "expected a finite initial gain, got NaN"),
        (
            conv0(|c| c.padding = [[usize::MAX; 2]; 2]),
            "layer 0 (conv): expected a window no larger",
        ),
        (
            conv0(|c| c.padding = [[usize::MAX / 4; 2]; 2]),
            "layer 0 (conv): expected at most 17179869184",
        ),
        (conv0(|c| c.count = 1 << 40), "layer 0 (conv): expected at most 17179869184 outputs"),
        (conv0(|c| c.count = usize::MAX), "layer 0 (conv): expected at most 17179869184 outputs"),
        (lrn1(|l| l.size = 0), "layer 1 (lrn): expected a window of at least 1, got 0"),
        (lrn1(|l| l.groups = 3), "layer 1 (lrn): expected groups that divide the 4 input channels"),
        (lrn1(|l| l.beta = f32::INFINITY), "layer 1 (lrn): expected a finite beta, got inf"),
        (pool2(|p| p.size = [0, 2]), "layer 2 (max-pool): expected a window of at least 1, got 0"),
        (
            pool2(|p| p.stride = [2, 0]),
            "layer 2 (max-pool): expected a stride of at least 1, got 0",
        ),
        (
            pool2(|p| p.padding = [[0, 0], [0, 2]]),
            "layer 2 (max-pool): expected a padding less than the window of 2, got 2",
        ),
        (full(3, |f| f.count = 0), "layer 3 (full-connect): expected a count of at least 1, got 0"),
        (full(3, |f| f.dropout = 1.0), "expected a dropout rate from 0 to less than 1, got 1"),
        (full(3, |f| f.dropout = f32::NAN), "expected a dropout rate from 0 to less than 1"),
        (full(3, |f| f.count = 1 << 33), "layer 3 (full-connect): expected at most 17179869184 we"),
        (
            full(4, |f| f.relu = true),
            "layer 4 (full-connect): expected a last layer without relu, got relu",
        ),
        (full(4, |f| f.dropout = 0.5), "expected a last layer without dropout, got a dropout rate"),
        (full(4, |f| f.count = 6), "expected 5 outputs, one a class, of the last layer, got 6"),
        (network(|n| n.nodes.clear()), "network: expected layers, got none"),
        (
            network(|n| n.nodes.truncate(3)),
            "layer 2 (max-pool): expected a full-connect layer last, got a max-pool layer",
        ),
        (
            network(|n| n.nodes.swap(2, 3)),
            "layer 3 (max-pool): expected only full-connect layers after the first of them, got a \
             max-pool layer",
        ),
        (
            network(|n| n.input = [8, 0, 3]),
            "network: expected an input of rows, cols and channels, got 8x0x3",
        ),
        (network(|n| n.input = [usize::MAX; 3]), "network: expected at most 17179869184 inputs"),
        (
            network(|n| n.image = [8, 7]),
            "network: expected a whole image no smaller than the input of 8x8, got 8x7",
        ),
    ] {
        let message = spec.verify(5).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nshould contain\n{expected}");
    }
    assert_eq!(MAX_ELEMENTS, 17_179_869_184);
    assert!(matches!(small().verify(6), Err(Error::Layer { layer: 4, .. })));
}

/// What ccv refuses and we run is no error.
#[test]
fn limits_of_ccv_are_listed() {
    let fine = NetworkSpec::new([9, 9, 3])
        .with_image([11, 11])
        .conv(conv2d(8, 3).stride(2).padding(1).relu())
        .max_pool(pool(3).stride(2))
        .full_connect(10);
    assert_eq!(fine.verify(10).unwrap().ccv_limits(), []);

    let odd = NetworkSpec::new([10, 10, 1])
        .with_image([11, 11])
        .conv(conv2d(6, 2).stride(3))
        .conv(conv2d(8, 1).groups(2).out_groups(1).relu())
        .full_connect(2);
    let limits: Vec<String> =
        odd.verify(2).unwrap().ccv_limits().iter().map(ToString::to_string).collect();
    let expected = [
        "ccv's networks see 3 input channels, this one 1",
        "layer 0: ccv's windows end exactly at the padded image's edge, these fall short",
        "layer 0: ccv's kernels are odd, this one is 2x2",
        "layer 0: ccv's convolutions end in a ReLU, this one does not",
        "layer 0: ccv's CPU code computes outputs by fours, this one has 6 a group",
        "layer 1: ccv's output partition is a multiple of the input's, 1 not of 2",
        "layer 2: ccv cannot classify where a full-connect layer follows the last convolution",
        "ccv classifies where image and input (11x11, 10x10) differ by multiples of the strides' \
         product, 3",
    ];
    assert_eq!(limits, expected);
    assert_eq!(odd.ccv_limits().unwrap().len(), expected.len());
}

/// ccv's tables print their `glorot` with 9 digits.
#[test]
fn fresh_layers_start_as_ccvs() {
    let Init { gain, bias } = Init::default();
    assert_eq!((format!("{gain:.8}").as_str(), bias), ("1.41421354", 0.0));
}

/// The output partition has no effect, so that nobody should have to write it down.
#[test]
fn groups_alone_are_a_whole_specification() {
    let json = |more: &str| {
        let conv = format!(r#"{{"kind":"conv","count":9,"kernel":[3,3]{more}}}"#);
        let full = r#"{"kind":"full-connect","count":4}"#;
        NetworkSpec::from_json(&format!(r#"{{"input":[28,28,3],"layers":[{conv},{full}]}}"#))
    };
    let groups = |more: &str| match json(more).unwrap().nodes[0].layer {
        LayerSpec::Conv(conv) => (conv.groups, conv.out_groups),
        _ => panic!("no convolution"),
    };
    assert_eq!(groups(""), (1, 1));
    assert_eq!(groups(r#","groups":3"#), (3, 3));
    assert_eq!(groups(r#","groups":3,"out-groups":9"#), (3, 9));
    assert_eq!(groups(r#","groups":3,"out-groups":1"#), (3, 1));
    assert_eq!(
        json(r#","groups":3"#).unwrap().nodes[0].layer,
        LayerSpec::Conv(conv2d(9, 3).groups(3).relu())
    );
    json(r#","groups":3"#).unwrap().verify(4).unwrap();
    let error = json(r#","group":3"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `group`"), "{error}");
}
