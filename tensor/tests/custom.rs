//! A user's own ops: what they are equal by, what they compute on the reference, how they fail, and
//! their gradients.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use std::collections::HashSet;

use differences::{assert_gradients, assert_half_alike, device, halves};
use striate_tensor::ops::{Backward, Custom, CustomOp, CustomOps, Saved};
use striate_tensor::{
    DType, Error, HostTensor, Op, Result, Shape, Tensor, TensorType, checkpoint, reference,
};

/// `scale · a · b²`
#[derive(Debug)]
struct Weighted {
    scale: f32,
    version: u32,
    differentiable: bool,
}

const WEIGHTED: Weighted = Weighted { scale: 1.5, version: 1, differentiable: true };

impl CustomOp for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn parameters(&self) -> Vec<u8> {
        self.scale.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [a, b] if a == b && a.dtype.is_float() => Ok(*a),
            _ => Err(Error::shape(self.name(), "two alike operands of floats", inputs)),
        }
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        3 * output.count() as u64
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let [a, b] = [0, 1].map(|i| reference::widened(inputs[i]));
        let y = a.iter().zip(&b).map(|(a, b)| f64::from(self.scale) * a * b * b);
        reference::rounded(&inputs[0].ty(), &y.collect::<Vec<_>>())
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        (Saved::operand(0).when(wanted[1])).and(Saved::operand(1))
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        if !self.differentiable {
            return Err(Error::gradient(self.name(), "not this one"));
        }
        let b = cx.wide_operand(1)?;
        let dy = cx.wide_dy()?.affine(self.scale, 0.0)?;
        let da = cx.wanted(0, || dy.mul(&b.square()?))?;
        let db = cx.wanted(1, || dy.mul(&b)?.mul(&cx.wide_operand(0)?)?.affine(2.0, 0.0))?;
        Ok(vec![da, db])
    }
}

/// An op whose reference and gradient rule give what they should not.
#[derive(Debug)]
struct Liar {
    gradients: Option<usize>,
}

impl CustomOp for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        match self.gradients {
            Some(_) => Ok(inputs[0].clone()),
            None => Ok(HostTensor::zeros(&TensorType::f32(Shape::scalar()))),
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        vec![Some(cx.dy().sum_all()); self.gradients.unwrap_or(0)]
            .into_iter()
            .map(Option::transpose)
            .collect()
    }
}

/// An op with nothing but what it must have.
#[derive(Debug)]
struct Least;

impl CustomOp for Least {
    fn name(&self) -> &'static str {
        "least"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        Ok(inputs[0].clone())
    }
}

fn ones() -> Tensor {
    Tensor::ones([2, 3], &device()).unwrap()
}

#[test]
fn ops_are_equal_where_name_version_and_parameters_are() {
    let op =
        |scale, version, differentiable| Custom::from(Weighted { scale, version, differentiable });
    let (a, same) = (op(1.0, 1, true), op(1.0, 1, false));
    let others = [op(2.0, 1, true), op(1.0, 2, true), Custom::from(Least)];
    assert_eq!(a, same);
    assert_eq!(Op::from(a.clone()), Op::from(same.clone()));
    let mut set = HashSet::from([a.clone()]);
    assert!(!set.insert(same) && !set.insert(a.clone()));
    for other in others {
        assert_ne!(a, other);
        assert_ne!(Op::from(a.clone()), Op::from(other.clone()));
        assert!(set.insert(other));
    }
    assert_eq!(format!("{a:?}"), "Custom(weighted 1 [00, 00, 80, 3f])");
    assert_eq!(format!("{:?}", Custom::from(Least)), "Custom(least 1 [])");
}

#[test]
fn an_op_has_its_name_shape_rule_and_cost() {
    let op = Op::from(Custom::from(WEIGHTED));
    let ty = TensorType::f32(Shape::new(&[4, 5]).unwrap());
    assert_eq!((op.name(), op.output(&[ty, ty])), ("weighted", Ok(ty)));
    let cost = op.cost(&[ty, ty]).unwrap();
    assert_eq!((cost.flops, cost.bytes_read, cost.bytes_written), (60, 160, 80));
    let error = op.output(&[ty]).unwrap_err().to_string();
    assert_eq!(error, "weighted: expected two alike operands of floats, got f32[4, 5]");
    let error = Tensor::custom(WEIGHTED, &[&ones()]).unwrap_err().to_string();
    assert_eq!(error, "weighted: expected two alike operands of floats, got f32[2, 3]");
    let error = Tensor::custom(WEIGHTED, &[]).unwrap_err().to_string();
    assert_eq!(error, "weighted: expected 1 or more operands, got 0");
}

#[test]
fn the_reference_says_what_it_computes_in_every_precision() {
    let [a, b] = [halves(&[3, 5], 1), halves(&[3, 5], 2)];
    let want = a.mul(&b).unwrap().mul(&b).unwrap().affine(1.5, 0.0).unwrap();
    let op = Custom::from(WEIGHTED);
    let y = Tensor::custom(op.clone(), &[&a, &b]).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
    let [a, b, want] = [a, b, want].map(|x| x.cast(DType::F16).unwrap());
    let y = Tensor::custom(op, &[&a, &b]).unwrap();
    assert_eq!(y.to_host().unwrap(), want.to_host().unwrap());
    let none = Tensor::ones([0, 3], &device()).unwrap();
    assert_eq!(Tensor::custom(WEIGHTED, &[&none, &none]).unwrap().dims(), [0, 3]);
}

#[test]
fn gradients_are_those_of_differences() {
    let operands = [halves(&[3, 4], 1), halves(&[3, 4], 2)];
    let function = |x: &[Tensor]| Tensor::custom(WEIGHTED, &[&x[0], &x[1]]);
    assert_gradients(&operands, function, 1.0 / 16.0, 1e-6);
    assert_half_alike(&operands, function);
    // In a part that is run again too.
    let again = |x: &[Tensor]| {
        checkpoint(&[&x[0], &x[1]], move |x| Tensor::custom(WEIGHTED, &[&x[0], &x[1]]))
    };
    assert_gradients(&operands, again, 1.0 / 16.0, 1e-6);
}

#[test]
fn what_an_op_gives_wrongly_is_an_error_that_names_it() {
    let error = Tensor::custom(Liar { gradients: None }, &[&ones()]).unwrap_err().to_string();
    let want = "liar: expected f32[2, 3] of its reference, as its shape rule says, got f32[]";
    assert_eq!(error, want);
    let back = |op: Custom| {
        let y = Tensor::custom(op, &[&ones().require_grad()]).unwrap();
        y.sum_all().unwrap().backward().unwrap_err().to_string()
    };
    assert_eq!(
        back(Least.into()),
        "least: no gradient: this op has no gradient rule: give it one by CustomOp::gradient"
    );
    assert_eq!(
        back(Liar { gradients: Some(2) }.into()),
        "liar: no gradient: its rule gives 2 gradients for 1 operands"
    );
    assert_eq!(
        back(Liar { gradients: Some(1) }.into()),
        "liar: no gradient: its rule gives [] for operand 0, which is f32[2, 3]"
    );
}

/// Makes [`Weighted`] of 4 bytes.
fn weighted(bytes: &[u8]) -> Result<Weighted> {
    match bytes.try_into() {
        Ok(bytes) => Ok(Weighted { scale: f32::from_le_bytes(bytes), ..WEIGHTED }),
        Err(_) => Err(Error::parameter("weighted", "parameters", "of 4 bytes", bytes.len())),
    }
}

#[test]
fn a_registry_makes_ops_by_name_version_and_parameters() {
    let ops = CustomOps::new().with_constructor("weighted", 1, weighted).with_op(Least);
    let two = 2.0f32.to_le_bytes();
    let op = ops.make("weighted", 1, &two).unwrap();
    assert_eq!(op, Custom::from(Weighted { scale: 2.0, ..WEIGHTED }));
    assert_eq!(ops.make("least", 1, &[]).unwrap(), Custom::from(Least));
    assert_eq!(ops.names().collect::<Vec<_>>(), [("least", 1), ("weighted", 1)]);
    assert_eq!(format!("{ops:?}"), r#"[("least", 1), ("weighted", 1)]"#);
    assert!(CustomOps::new().is_empty() && !ops.is_empty());
    // By what is registered: another constructor may make another op.
    assert_eq!(ops, ops.clone());
    assert_ne!(ops, CustomOps::new().with_constructor("weighted", 1, weighted).with_op(Least));
    assert_eq!(CustomOps::new().with_op(Least), CustomOps::new().with_op(Least).with_op(Least));
}

#[test]
fn a_registry_says_what_it_cannot_make() {
    let ops = CustomOps::new()
        .with_constructor("weighted", 1, weighted)
        .with_constructor("weighted", 3, |bytes| {
            weighted(bytes).map(|op| Weighted { version: 3, ..op })
        })
        .with_constructor("other", 1, weighted)
        .with_constructor("least", 1, |_| Ok(Least))
        .with_op(Weighted { version: 4, ..WEIGHTED });
    let refused = |name, version, parameters: &[u8]| {
        ops.make(name, version, parameters).unwrap_err().to_string()
    };
    let four = 1.0f32.to_le_bytes();
    let name = "weighted";
    assert_eq!(ops.make(name, 3, &four).unwrap().op().version(), 3);
    let cases = [
        (
            ("heavy", 1, &four[..]),
            "custom op `heavy`, version 1: the name is not registered; the registry has `least` 1, \
             `other` 1, `weighted` 1, `weighted` 3, `weighted` 4",
        ),
        (
            (name, 2, &four),
            "custom op `weighted`, version 2: of this op the registry has version 1, 3, 4",
        ),
        ((name, 1, &[1, 2]), "weighted: parameters must be of 4 bytes, got 2"),
        (
            ("other", 1, &four),
            "custom op `other`, version 1: its constructor makes `weighted`, version 1",
        ),
        (
            ("least", 1, &[0]),
            "custom op `least`, version 1: its constructor makes an op of other parameters",
        ),
        (
            (name, 4, &four),
            "custom op `weighted`, version 4: it is registered with other parameters, without a \
             constructor",
        ),
    ];
    for ((name, version, parameters), expected) in cases {
        assert_eq!(refused(name, version, parameters), expected);
    }
    let empty = CustomOps::new().make("least", 1, &[]).unwrap_err().to_string();
    assert!(empty.ends_with("the registry is empty"), "{empty}");
}
