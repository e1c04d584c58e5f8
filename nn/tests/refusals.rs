//! What is wrong with a network is said by the name of its node, with what would fit.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_nn::{
    Context, Inputs, LayerSpec, NetworkSpec, Node, PlainSpec, Seed, conv2d, full_connect, pool,
    prelu,
};
use striate_tensor::{Device, RandomKey, Reference, Tensor};

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_vec::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn slips_in_json_are_found() {
    let text = |layer: &str| {
        format!(
            r#"{{ "input": [4, 4, 2], "layers": [ {{ "kind": "conv", "count": 2, "kernel": [1, 1] }}, {layer} ] }}"#
        )
    };
    for (layer, mention) in [
        (r#"{ "kind": "add", "input": ["0", "input"] }"#, "unknown field `input`"),
        (r#"{ "kind": "add", "inputs": "0" }"#, "invalid type: string"),
        (r#"{ "kind": "add", "inputs": ["0"], "inputs": ["0"] }"#, "`inputs` stands there twice"),
        (r#"{ "kind": "add", "kind": "add" }"#, "`kind` stands there twice"),
        (r#"{ "name": "a", "name": "b", "kind": "add" }"#, "`name` stands there twice"),
        (r#"{ "name": 3, "kind": "add" }"#, "invalid type: integer"),
        (r#"{ "name": "a" }"#, "missing field `kind`"),
        (r#"{ "kind": "sum" }"#, "unknown variant `sum`"),
        (
            r#"{ "kind": "activation", "function": "swoosh" }"#,
            "no function is called `swoosh`: there",
        ),
        (
            r#"{ "kind": "activation", "function": "relu", "slope": 1 }"#,
            "`relu` has no number `slope`",
        ),
        (r#"{ "kind": "dropout", "rate": 0.5, "scale": 2 }"#, "unknown field `scale`"),
        (r#"{ "kind": "batch-norm", "eps": 1 }"#, "unknown field `eps`"),
        (
            r#"{ "kind": "resize", "interpolation": "linear" }"#,
            "a resize layer needs a `size` or a `factor`, and not both",
        ),
        (
            r#"{ "kind": "resize", "size": [2, 2], "interpolation": "lanczos" }"#,
            "no interpolation is called `lanczos`: there are nearest,",
        ),
        (
            r#"{ "kind": "resize", "size": [2, 2], "interpolation": "linear", "rounding": "ceil" }"#,
            "`linear` has no `rounding`",
        ),
        (
            r#"{ "kind": "resize", "size": [2, 2], "interpolation": "area", "coordinates": "x" }"#,
            "no kind of coordinates is called `x`: there are half-pixel,",
        ),
        (r#"{ "kind": "pad", "padding": 1, "border": "mirror" }"#, "unknown variant `mirror`"),
        (r#"{ "kind": "depth-to-space", "block": 2, "order": "rcd" }"#, "expected `dcr` or `crd`"),
        (r#"{ "kind": "prelu", "slope": 0.1 }"#, "unknown field `slope`"),
        ("3", "a layer: an object with its kind"),
    ] {
        let message = NetworkSpec::from_json(&text(layer)).unwrap_err().to_string();
        assert!(message.contains(mention), "{message}\nshould mention\n{mention}");
        assert!(
            message.starts_with("network specification: ") && message.contains("line 1"),
            "{message}"
        );
    }
    let auxiliary =
        r#"{ "kind": "full-connect", "count": 2 } ], "auxiliary": [ { "name": "a", "node": "1" } "#;
    let message =
        NetworkSpec::from_json(&text(auxiliary).replace(" } ] }", " ] }")).unwrap_err().to_string();
    assert!(message.contains("missing field `weight`"), "{message}");
}

fn node(name: &str, layer: LayerSpec, inputs: &[&str]) -> Node {
    let inputs = match inputs {
        [] => Inputs::Previous,
        _ => Inputs::Of(inputs.iter().map(|name| (*name).to_owned()).collect()),
    };
    Node { name: name.into(), layer, inputs }
}

#[test]
fn what_does_not_fit_is_refused_by_name_with_what_would() {
    let add = || LayerSpec::Add(PlainSpec {});
    let multiply = LayerSpec::Multiply(PlainSpec {});
    let concatenate = LayerSpec::Concatenate(PlainSpec {});
    let conv = |count| LayerSpec::Conv(conv2d(count, 1));
    let pooled = LayerSpec::MaxPool(pool(2));
    let with = |nodes: Vec<Node>| {
        let mut spec = NetworkSpec::new([4, 4, 2]);
        spec.nodes = nodes;
        spec.full_connect(3)
    };
    let a = || node("a", conv(2), &[]);
    let b = || node("b", conv(3), &["input"]);
    let near = "the names of nodes before this one as inputs";
    for (spec, expected) in [
        (
            with(vec![a(), node("c", add(), &["a", "B"])]),
            format!("layer 1 (c, add): expected {near} (near: a, input), got `B`, which is no node"),
        ),
        (
            with(vec![a(), node("c", add(), &["a", "d"]), node("d", conv(2), &[])]),
            format!("layer 1 (c, add): expected {near} (near: a, input), got `d`, which comes later"),
        ),
        (with(vec![node("c", add(), &["c", "input"])]), "(near: input), got `c`, itself".to_owned()),
        (with(vec![a(), node("", add(), &["a", "2"])]), "got `2`, which comes later".to_owned()),
        (
            with(vec![a(), node("a", conv(2), &[])]),
            "layer 1 (a, conv): expected a name of its own, got `a`, which stands twice".to_owned(),
        ),
        (
            with(vec![node("input", conv(2), &[])]),
            "a name that is not `input` and no number but its own, got `input`".to_owned(),
        ),
        (with(vec![node("1", conv(2), &[])]), "no number but its own, got `1`".to_owned()),
        (with(vec![a(), node("", conv(2), &["a", "a"])]), "expected one input, got 2 inputs".into()),
        (with(vec![a(), node("", add(), &[])]), "expected two inputs or more, got 1".to_owned()),
        (
            with(vec![a(), b(), node("sum", add(), &["a", "b"])]),
            "layer 2 (sum, add): expected inputs of one shape, as the first, 4x4x2, got 4x4x3".into(),
        ),
        (
            with(vec![a(), b(), node("", multiply, &["a", "b"])]),
            "layer 2 (multiply): expected inputs of one shape, as the first, 4x4x2, or of extents of \
             1, got 4x4x3"
                .into(),
        ),
        (
            with(vec![a(), node("p", pooled, &["input"]), node("", concatenate, &["a", "p"])]),
            "layer 2 (concatenate): expected inputs of as many rows and cols as the first, 4x4x2, got \
             2x2x2"
                .into(),
        ),
        (
            with(vec![a(), b()]),
            "layer 0 (a, conv): expected a layer after it that sees it, or an auxiliary output, got \
             none"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).flatten().conv(conv2d(2, 1)).full_connect(3),
            "layer 1 (conv): expected images of rows, cols and channels, not flattened, got a conv"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).conv(conv2d(3, 1)).global_avg_pool(),
            "layer 1 (global-avg-pool): expected a full-connect layer last, or flatten after this one"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).full_connect(3).relu(),
            "layer 1 (activation): expected a last layer without activation and dropout".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).batch_norm_with(striate_nn::batch_norm().epsilon(0.0)).full_connect(3),
            "layer 0 (batch-norm): expected a finite epsilon above 0, got 0".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).batch_norm_with(striate_nn::batch_norm().momentum(1.5)).full_connect(3),
            "layer 0 (batch-norm): expected a momentum from 0 to 1, got 1.5".into(),
        ),
        (
            NetworkSpec::new([4, 4, 6]).channel_shuffle(4).full_connect(3),
            "layer 0 (channel-shuffle): expected groups that divide the 6 channels evenly, got 4 groups"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).depth_to_space(2).full_connect(3),
            "layer 0 (depth-to-space): expected a block whose pixels divide 2 channels, got a block of 2"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).pixel_unshuffle(3).full_connect(3),
            "layer 0 (space-to-depth): expected a block that divides 4 rows and 4 cols, got a block of 3"
                .into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).space_to_depth(0).full_connect(3),
            "layer 0 (space-to-depth): expected a block of at least 1, got 0".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).stochastic_depth(1.0).full_connect(3),
            "layer 0 (stochastic-depth): expected a rate from 0 to less than 1, got 1".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).prelu_with(prelu().initial(f32::NAN)).full_connect(3),
            "layer 0 (prelu): expected a finite initial slope, got NaN".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).full_connect(3).prelu(),
            "layer 1 (prelu): expected a last layer without activation and dropout".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).adaptive_avg_pool([0, 2]).full_connect(3),
            "layer 0 (adaptive-avg-pool): expected an output of at least 1, got 0".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).resize(striate_nn::resize([3, 0])).full_connect(3),
            "layer 0 (resize): expected an output of at least 1, got 0".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).flatten().pad(striate_nn::pad(1)).full_connect(3),
            "layer 1 (pad): expected images of rows, cols and channels, not flattened".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).leaky_relu(f32::NAN).full_connect(3),
            "layer 0 (activation): expected a finite slope, got NaN".into(),
        ),
        (
            NetworkSpec::new([4, 4, 2]).dropout(1.0).full_connect(3),
            "layer 0 (dropout): expected a dropout rate from 0 to less than 1, got 1".into(),
        ),
    ] {
        let message = spec.verify(3).unwrap_err().to_string();
        assert!(message.contains(&expected), "{message}\nshould contain\n{expected}");
    }
    // A layer's own number is a name that it may have.
    with(vec![node("0", conv(2), &[])]).verify(3).unwrap();
}

#[test]
fn auxiliary_outputs_are_checked() {
    let good = || {
        NetworkSpec::new([4, 4, 2])
            .conv(conv2d(2, 1))
            .auxiliary("aux", 0.5, |x| x.full_connect(3))
            .full_connect(3)
    };
    good().verify(3).unwrap();
    let with = |change: &dyn Fn(&mut NetworkSpec)| {
        let mut spec = good();
        change(&mut spec);
        spec.verify(3).unwrap_err().to_string()
    };
    for (message, expected) in [
        (
            with(&|spec| spec.auxiliary[0].node = "x".into()),
            "network: expected a node that is the auxiliary output aux, got `x`, which is no node",
        ),
        (
            with(&|spec| spec.auxiliary[0].weight = f32::INFINITY),
            "network: expected a finite weight of the auxiliary output aux, got inf",
        ),
        (
            with(&|spec| spec.auxiliary[0].node = "2".into()),
            "network: expected a layer beside the network's own end of the auxiliary output aux, got \
             `2`, the network's last",
        ),
        (
            with(&|spec| spec.auxiliary.extend_from_within(..)),
            "network: expected a name of its own of the auxiliary output aux, got one that stands twice",
        ),
        (
            with(&|spec| spec.nodes[1].layer = LayerSpec::FullConnect(full_connect(4))),
            "layer 1 (full-connect): expected 3 outputs, one a class, of the last layer, got 4",
        ),
    ] {
        assert_eq!(message, expected);
    }
    // After an auxiliary output something has to come.
    let end =
        NetworkSpec::new([4, 4, 2]).full_connect(3).auxiliary("aux", 0.5, |x| x.full_connect(3));
    assert!(end.verify(3).unwrap_err().to_string().contains("the network's last"));
    // Its layers belong to training alone.
    let device = Device::new(Reference::new());
    let network = good().build(&device, Seed(1)).unwrap();
    let x = Tensor::uniform([2, 4, 4, 2], -1.0, 1.0, RandomKey::new(1, 1), &device).unwrap();
    let cx = Context::training(RandomKey::new(1, 1));
    let outputs = network.forward_outputs(&x, &cx).unwrap();
    assert_eq!(outputs.len(), 2);
    assert_eq!(bits(&outputs[0]), bits(&network.forward(&x).unwrap()));
    let body = network.forward_layers(0..1, &x).unwrap();
    assert_ne!(bits(&outputs[1]), bits(&outputs[0]));
    let [weight, bias] = [2, 3].map(|id: usize| network.parameters()[id].clone());
    let by_hand = striate_nn::FullConnect::from_tensors(weight, Some(bias), false);
    let expected = striate_nn::Module::forward(&by_hand, &body, &cx).unwrap();
    assert_eq!(bits(&outputs[1]), bits(&expected));
    assert_eq!(network.forward_outputs(&x, &Context::inference()).unwrap().len(), 1);
    assert_eq!(network.forward_recomputed(&x, &cx).unwrap().len(), 2);
    let plan = network.plan(2).unwrap();
    assert_eq!(plan.graph().nodes().len(), 3, "a convolution, a reshape and a product");
}
