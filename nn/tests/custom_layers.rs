//! A user's own op as a layer: how it is stored, made again from a registry, shown and refused. Its shape
//! and gradients are tested with those of every kind.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::error::Error as _;

use common::Shifted;
use striate_nn::{CustomSpec, LayerKind, LayerSpec, NetworkSpec, Seed, conv2d};
use striate_tensor::ops::{CustomOp, CustomOps};
use striate_tensor::{
    DType, Device, Error, HostTensor, Reference, Result, Shape, Tensor, TensorType,
};

const OP: Shifted = Shifted { shift: 0.5 };

fn device() -> Device {
    Device::new(Reference::new())
}

fn shifted(bytes: &[u8]) -> Result<Shifted> {
    match bytes.try_into() {
        Ok(bytes) => Ok(Shifted { shift: f32::from_le_bytes(bytes) }),
        Err(_) => Err(Error::parameter("shifted", "parameters", "of 4 bytes", bytes.len())),
    }
}

fn registry() -> CustomOps {
    CustomOps::new().with_constructor("shifted", 1, shifted)
}

fn spec() -> NetworkSpec {
    NetworkSpec::new([4, 4, 2]).conv(conv2d(3, 3)).named("bend", |x| x.custom(OP)).full_connect(2)
}

/// What a program prints: an error and its sources.
fn chain(error: &striate_nn::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn the_stored_form_is_name_version_and_parameters() {
    let json = serde_json::to_string(&spec().nodes[1]).unwrap();
    assert_eq!(
        json,
        r#"{"name":"bend","kind":"custom","op":"shifted","version":1,"parameters":"0000003f"}"#
    );
    let read = NetworkSpec::from_json(&spec().to_json().unwrap()).unwrap();
    // Equal by these three, but the op is not there before a registry makes it.
    assert_eq!((&read, read.missing_op(), spec().missing_op()), (&spec(), Some(1), None));
    assert_eq!(read.difference(&spec()), None);
    let other = NetworkSpec::new([4, 4, 2])
        .conv(conv2d(3, 3))
        .custom(Shifted { shift: 0.25 })
        .full_connect(2);
    assert!(read.difference(&other).unwrap().0.contains("0000003f"));
    let LayerSpec::Custom(custom) = &read.nodes[1].layer else { panic!("another layer") };
    assert_eq!((custom.name(), custom.version()), ("shifted", 1));
    assert_eq!(custom.parameters(), 0.5f32.to_le_bytes());
    assert_eq!(*custom, CustomSpec::from(OP));
    // Without parameters.
    let json = r#"{"kind":"custom","op":"a","version":7}"#;
    let layer: LayerSpec = serde_json::from_str(json).unwrap();
    assert_eq!(layer.kind(), LayerKind::Custom);
    assert_eq!(serde_json::to_string(&layer).unwrap(), json);
}

#[test]
fn the_stored_form_is_checked() {
    let long = "ab".repeat((1 << 20) + 1);
    let name = "a".repeat(257);
    for (field, value, expected) in [
        ("op", "", "a name of a custom op"),
        ("op", "a\\u001b[31m", "of 1 to 256 bytes that can be printed"),
        ("op", &name, "of 1 to 256 bytes that can be printed"),
        ("parameters", "0", "two hexadecimal digits each, got a text of 1 bytes"),
        ("parameters", "0g", "two hexadecimal digits each"),
        ("parameters", "é", "two hexadecimal digits each"),
        ("parameters", &long, "of at most 1048576 bytes"),
        ("parametres", "00", "unknown field `parametres`"),
    ] {
        let op = if field == "op" { "" } else { r#""op":"a","# };
        let json = format!(r#"{{"kind":"custom",{op}"version":1,"{field}":"{value}"}}"#);
        let text = serde_json::from_str::<LayerSpec>(&json).unwrap_err().to_string();
        assert!(text.contains(expected), "{field}: {text}");
    }
    let missing = serde_json::from_str::<LayerSpec>(r#"{"kind":"custom","op":"a"}"#);
    assert!(missing.unwrap_err().to_string().contains("missing field `version`"));
}

#[test]
fn a_layer_without_its_op_is_refused_by_name() {
    let read = NetworkSpec::from_json(&spec().to_json().unwrap()).unwrap();
    let expected = "layer 1 (bend, custom): expected the custom op `shifted`, version 1, from a \
                    registry (NetworkSpec::with_custom_ops, or ReadOptions::custom_ops where a file \
                    is read), got none";
    assert_eq!(read.shapes().unwrap_err().to_string(), expected);
    assert_eq!(read.verify(2).unwrap_err().to_string(), expected);
    assert_eq!(read.graph(1).unwrap_err().to_string(), expected);
    assert_eq!(read.summary().unwrap_err().to_string(), expected);
    assert_eq!(read.build(&device(), Seed(1)).unwrap_err().to_string(), expected);
    let error = read.clone().with_custom_ops(&CustomOps::new()).unwrap_err();
    assert_eq!(
        chain(&error),
        "layer 1 (bend, custom): custom op `shifted`, version 1: the name is not registered; the \
         registry is empty"
    );
    let later = CustomOps::new().with_constructor("shifted", 2, shifted);
    let error = read.clone().with_custom_ops(&later).unwrap_err();
    assert!(chain(&error).ends_with("of this op the registry has version 2"), "{error}");
    let mut short = read.to_json().unwrap();
    short = short.replace("0000003f", "00");
    let error = NetworkSpec::from_json(&short).unwrap().with_custom_ops(&registry()).unwrap_err();
    assert!(chain(&error).ends_with("parameters must be of 4 bytes, got 1"), "{error}");
}

#[test]
fn what_a_registry_made_computes_the_same() {
    let read = NetworkSpec::from_json(&spec().to_json().unwrap()).unwrap();
    let device = device();
    for ops in [registry(), spec().custom_ops()] {
        let made = read.clone().with_custom_ops(&ops).unwrap();
        assert_eq!(made.missing_op(), None);
        let x = Tensor::ones([2, 4, 4, 2], &device).unwrap();
        let run = |spec: &NetworkSpec| {
            spec.build(&device, Seed(1)).unwrap().forward(&x).unwrap().to_vec::<f32>().unwrap()
        };
        assert_eq!(run(&made), run(&spec()));
    }
}

#[test]
fn it_is_shown_counted_and_not_scanned() {
    let verified = spec();
    let verified = verified.verify(2).unwrap();
    let row = &verified.summary().layers[1];
    assert_eq!((row.kind.name(), &*row.detail, row.output), ("custom", "shifted", [2, 2, 3]));
    assert_eq!(verified.shapes()[1].flops, 2 * 2 * 2 * 3);
    let limits = verified.ccv_limits();
    assert!(limits.iter().any(|limit| limit.to_string().contains("has custom")), "{limits:?}");
    assert_eq!(spec().local_layers(), 1);
    // The windows behind the op see what it saw of a whole image.
    let behind = NetworkSpec::new([4, 4, 2]).custom(OP).conv(conv2d(3, 3)).full_connect(2);
    assert_eq!(behind.scan(), None);
    assert!(spec().chain().unwrap_err().to_string().contains("layer 1 (bend, custom)"));
}

/// Makes what it is told to.
#[derive(Debug)]
struct Makes(&'static [usize], DType);

impl CustomOp for Makes {
    fn name(&self) -> &'static str {
        "makes"
    }

    fn version(&self) -> u32 {
        3
    }

    fn output(&self, _: &[TensorType]) -> Result<TensorType> {
        Ok(TensorType::new(Shape::new(self.0)?, self.1))
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        Ok(inputs[0].clone())
    }
}

#[test]
fn outputs_that_no_layer_can_see_are_refused() {
    let shapes = |dims, dtype| NetworkSpec::new([2, 2, 1]).custom(Makes(dims, dtype)).shapes();
    assert_eq!(shapes(&[1, 3], DType::F32).unwrap()[0].output, [1, 1, 3]);
    assert_eq!(shapes(&[1, 3, 4, 5], DType::F32).unwrap()[0].output, [3, 4, 5]);
    for (dims, dtype) in [
        (&[1, 2, 3][..], DType::F32),
        (&[], DType::F32),
        (&[1], DType::F32),
        (&[2, 3], DType::F32),
        (&[1, 0], DType::F32),
        (&[1, 3], DType::U32),
    ] {
        let text = shapes(dims, dtype).unwrap_err().to_string();
        assert!(
            text.starts_with(
                "layer 0 (custom): expected an op that makes floats [1, rows, cols, channels] or [1, \
                 count], got "
            ),
            "{text}"
        );
    }
    let large = shapes(&[1, 1 << 20, 1 << 20], DType::F32).unwrap_err().to_string();
    assert!(large.contains("layer 0 (custom)"), "{large}");
    let none = LayerSpec::Custom(OP.into());
    let mut spec = NetworkSpec::new([2, 2, 1]).layer(none);
    spec.nodes[0].inputs = striate_nn::Inputs::Of(Vec::new());
    let text = spec.shapes().unwrap_err().to_string();
    assert_eq!(text, "layer 0 (custom): expected one input or more, got none");
    let three =
        NetworkSpec::new([2, 2, 1]).branches(|b| b.path(|x| x).path(|x| x).path(|x| x).custom(OP));
    assert!(chain(&three.shapes().unwrap_err()).contains("shifted: expected one or two alike"));
    let row = NetworkSpec::new([2, 2, 1]).custom(Makes(&[1, 3], DType::F32));
    assert_eq!(row.summary().unwrap().layers[0].detail, "makes version 3");
}
