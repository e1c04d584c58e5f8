//! A user's own op as a node: passes keep it, or compute it where it is of constants; it is drawn, runs,
//! and gradients go through it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use striate_graph::passes::{self, Passes};
use striate_graph::{Bind, BufferId, Graph, NodeOp, ParameterId, Plan, Run};
use striate_tensor::ops::{self, Backward, Custom, CustomOp};
use striate_tensor::{
    Device, Error, HostTensor, Op, Reference, Result, Shape, Tensor, TensorType, reference,
};

#[derive(Debug)]
struct Triple;

impl CustomOp for Triple {
    fn name(&self) -> &'static str {
        "triple"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [x] if x.dtype.is_float() => Ok(*x),
            _ => Err(Error::shape(self.name(), "one operand of floats", inputs)),
        }
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        output.count() as u64
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let y: Vec<f64> = reference::widened(inputs[0]).iter().map(|x| 3.0 * x).collect();
        reference::rounded(&inputs[0].ty(), &y)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cx.dy().affine(3.0, 0.0)?)])
    }
}

struct Parameter(Tensor);

impl Bind for Parameter {
    fn parameter(&self, _: ParameterId) -> Option<&Tensor> {
        Some(&self.0)
    }

    fn buffer(&self, _: BufferId) -> Option<&Tensor> {
        None
    }
}

#[test]
fn a_users_op_is_a_node_like_others() {
    let device = Device::new(Reference::new());
    let ty = TensorType::f32(Shape::new(&[2]).unwrap());
    let triple = || Op::from(Custom::from(Triple));
    let mut graph = Graph::new();
    let x = graph.input("x", ty);
    let weights = graph.parameter(ParameterId(0), ty);
    let one = graph.constant(Tensor::ones([2], &device).unwrap());
    let fixed = graph.push("fixed", triple(), &[one]).unwrap();
    let product = graph.push("product", ops::Binary { kind: ops::BinaryKind::Mul }, &[x, weights]);
    let y = graph.push("own", triple(), &[product.unwrap()]).unwrap();
    let y = graph.push("relu", ops::Unary { kind: ops::UnaryKind::Relu }, &[y]).unwrap();
    let y = graph.push("sum", ops::Binary { kind: ops::BinaryKind::Add }, &[y, fixed]).unwrap();
    graph.output("y", y);
    let error = graph.push("wrong", triple(), &[x, x]).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "triple: expected one operand of floats, got f32[2] and f32[2]");

    let x = Tensor::from_vec(vec![1.0f32, 2.0], [2], &device).unwrap();
    let weights = Tensor::from_vec(vec![5.0f32, -1.0], [2], &device).unwrap().require_grad();
    for (passes, nodes) in [(Passes::none(), 5), (Passes::inference(), 4), (Passes::training(), 5)]
    {
        let passed = passes::apply(&graph, &passes).unwrap();
        assert_eq!(passed.nodes().len(), nodes, "the one of a constant is computed before");
        let own = passed.nodes().iter().find(|node| node.name == "own").unwrap();
        assert_eq!((&own.op, own.op.name()), (&NodeOp::Op(triple()), "triple"));
        assert_eq!(passed.cost(own).flops, 2);
        assert!(passed.to_dot().contains("triple"));

        let bound = Parameter(weights.clone());
        let outputs = Plan::new(passed).run(&[&x], &bound, &mut Run::default()).unwrap();
        let [y] = <[Tensor; 1]>::try_from(outputs.values).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [18.0, 3.0]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&weights).unwrap();
        assert_eq!(gradient.to_vec::<f32>().unwrap(), [3.0, 0.0]);
    }
}
