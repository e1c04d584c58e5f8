//! What a plan says of memory, against a device that counts it.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Tensors, build, numbers, recipes};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_graph::{Cancel, Error, Graph, NoTensors, Node, NodeOp, ParameterId, Plan, Run};
use striate_tensor::{
    Backend, Buffer, BufferData, Device, DeviceInfo, HostTensor, HostValues, Op, Operand, Pending,
    Reference, Result, Shape, Target, Tensor, TensorType, ops,
};

/// Bytes in use, and the most that they ever were.
#[derive(Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
    executed: AtomicUsize,
}

impl Count {
    /// Begins to count anew: what is in use now is not counted.
    fn restart(&self) -> usize {
        self.executed.store(0, Ordering::SeqCst);
        let now = self.now.load(Ordering::SeqCst);
        self.most.store(now, Ordering::SeqCst);
        now
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// The reference device, counting.
struct Counting {
    inner: Reference,
    count: Arc<Count>,
}

struct Counted {
    inner: Buffer,
    count: Arc<Count>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.now.fetch_sub(self.inner.size_bytes(), Ordering::SeqCst);
    }
}

impl BufferData for Counted {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes()
    }
}

impl Counting {
    fn counted(&self, inner: Buffer) -> Buffer {
        let count = self.count.clone();
        let now = count.now.fetch_add(inner.size_bytes(), Ordering::SeqCst) + inner.size_bytes();
        count.most.fetch_max(now, Ordering::SeqCst);
        Buffer::new(Counted { inner, count })
    }
}

impl Backend for Counting {
    fn info(&self) -> DeviceInfo {
        self.inner.info()
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Ok(self.counted(self.inner.upload(values)?))
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        self.inner.download(&buffer.downcast::<Counted>().unwrap().inner, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        self.count.executed.fetch_add(1, Ordering::SeqCst);
        let inputs: Vec<Operand<'_>> = inputs
            .iter()
            .map(|x| Operand { buffer: &x.buffer.downcast::<Counted>().unwrap().inner, ty: x.ty })
            .collect();
        Ok(self.counted(self.inner.execute(op, &inputs, output)?))
    }

    fn execute_in_place(&self, _: &Op, _: &mut [Target<'_>], _: &[Operand<'_>]) -> Result<()> {
        unimplemented!("graphs update nothing in place")
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        self.inner.supports(op, inputs)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

fn counting() -> (Device, Arc<Count>) {
    let count = Arc::new(Count::default());
    (Device::new(Counting { inner: Reference::new(), count: count.clone() }), count)
}

fn ty(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap())
}

const TANH: ops::Unary = ops::Unary { kind: ops::UnaryKind::Tanh };
const ADD: ops::Binary = ops::Binary { kind: ops::BinaryKind::Add };

/// Eight times tanh, over 100 numbers.
fn chain() -> Plan {
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[100]));
    let mut y = x;
    for i in 0..8 {
        y = graph.push(format!("tanh {i}"), TANH, &[y]).unwrap();
    }
    graph.output("y", y);
    Plan::new(graph)
}

#[test]
fn a_chain_holds_two_activations_at_a_time() {
    let (device, count) = counting();
    let plan = chain();
    assert_eq!(plan.peak_bytes(), 2 * 400);
    let x = numbers(&[100], 0, &device);
    let before = count.restart();
    let outputs = plan.run(&[&x], &NoTensors, &mut Run::default()).unwrap();
    // The input stays with the caller.
    assert_eq!(count.most() - before, 2 * 400);
    assert_eq!(count.restart() - before, 400, "the output");
    drop(outputs);
    assert_eq!(count.restart(), before);
}

#[test]
fn reshapes_share_memory_and_keep_it_alive() {
    let (device, count) = counting();
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[10]));
    let a = graph.push("a", ops::Concatenate { axis: 0 }, &[x; 5]).unwrap();
    let b = NodeOp::Reshape(Shape::new(&[5, 10]).unwrap());
    let b = graph.push_node("b", b, &[a], false).unwrap();
    let c = graph.push("c", TANH, &[b]).unwrap();
    let d = graph.push("d", ADD, &[b, c]).unwrap();
    graph.output("d", d);
    let plan = Plan::new(graph);
    assert_eq!(plan.peak_bytes(), 4 * (50 + 50 + 50), "a, c and d; not b");
    let x = numbers(&[10], 0, &device);
    let before = count.restart();
    plan.run(&[&x], &NoTensors, &mut Run::default()).unwrap();
    assert_eq!((count.most() - before) as u64, plan.peak_bytes());
}

#[test]
fn nodes_on_parameters_alone_run_once() {
    let (device, count) = counting();
    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[3]));
    let parameter = graph.parameter(ParameterId(0), ty(&[3]));
    let inner = graph.push("inner", TANH, &[parameter]).unwrap();
    let fixed = graph.push("fixed", TANH, &[inner]).unwrap();
    let y = graph.push("y", ADD, &[x, fixed]).unwrap();
    let dropped = NodeOp::Dropout { rate: 0.5, scale: 2.0, slot: 0, images: false };
    let dropped = graph.push_node("dropped", dropped, &[fixed], false).unwrap();
    let y = graph.push("z", ADD, &[y, dropped]).unwrap();
    graph.output("y", y);
    graph.output("fixed", fixed);
    let plan = Plan::new(graph);
    let fixed: Vec<bool> = (0..5).map(|place| plan.is_fixed(place)).collect();
    assert_eq!(fixed, [true, true, false, false, false], "dropout is anew in each run");

    let tensors = Tensors { parameters: vec![numbers(&[3], 1, &device)], ..Tensors::default() };
    let x = numbers(&[3], 2, &device);
    count.restart();
    let prepared = plan.prepare(&tensors).unwrap();
    assert_eq!(count.executed.load(Ordering::SeqCst), 2);
    let kept: Vec<bool> = prepared.iter().map(Option::is_some).collect();
    assert_eq!(kept, [false, true, false, false, false], "what only fixed nodes read is not kept");
    count.restart();
    let mut visited = Vec::new();
    let mut visit = |node: &Node, _: &Tensor| {
        visited.push(node.name.clone());
        Ok(())
    };
    let mut run = Run { prepared: Some(&prepared), visit: Some(&mut visit), ..Run::default() };
    let with = plan.run(&[&x], &tensors, &mut run).unwrap();
    assert_eq!(count.executed.load(Ordering::SeqCst), 2, "the additions");
    assert_eq!(visited, ["fixed", "y", "dropped", "z"]);
    let without = plan.run(&[&x], &tensors, &mut Run::default()).unwrap();
    for (a, b) in with.values.iter().zip(&without.values) {
        assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    }
}

/// Plans of one network for batches of several sizes hold its folded weights once.
#[test]
fn a_plan_takes_what_another_one_has_prepared() {
    let (device, count) = counting();
    let of = |batch: usize, parameter: u32, more: bool| {
        let mut graph = Graph::new();
        let x = graph.input("x", ty(&[batch, 3]));
        let parameter = graph.parameter(ParameterId(parameter), ty(&[3]));
        let inner = graph.push("inner", TANH, &[parameter]).unwrap();
        let fixed = graph.push("fixed", TANH, &[inner]).unwrap();
        let mut y = graph.push("y", ADD, &[x, fixed]).unwrap();
        if more {
            let own = graph.push("own", TANH, &[inner]).unwrap();
            y = graph.push("z", ADD, &[y, own]).unwrap();
        }
        graph.output("y", y);
        Plan::new(graph)
    };
    let parameters = vec![numbers(&[3], 1, &device), numbers(&[3], 3, &device)];
    let tensors = Tensors { parameters, ..Tensors::default() };
    let first = of(1, 0, false);
    let prepared = first.prepare(&tensors).unwrap();
    let known = [(&first, &prepared[..])];
    for (batch, parameter, more, executed) in
        [(1, 0, false, 0), (5, 0, false, 0), (5, 0, true, 2), (5, 1, false, 2)]
    {
        let plan = of(batch, parameter, more);
        count.restart();
        let beside = plan.prepare_beside(&tensors, &known).unwrap();
        assert_eq!(count.executed.load(Ordering::SeqCst), executed, "{batch} {parameter} {more}");
        let x = numbers(&[batch, 3], 2, &device);
        let alone = plan.prepare(&tensors).unwrap();
        let [beside, alone] = [beside, alone].map(|prepared| {
            let mut run = Run { prepared: Some(&prepared), ..Run::default() };
            let outputs = plan.run(&[&x], &tensors, &mut run).unwrap();
            outputs.values[0].to_vec::<f32>().unwrap()
        });
        assert_eq!(beside, alone);
    }
}

#[test]
fn a_run_that_needs_too_much_is_refused_before_it_starts() {
    let (device, count) = counting();
    let plan = chain();
    let x = numbers(&[100], 0, &device);
    count.restart();
    let mut run = Run { memory_limit: Some(799), ..Run::default() };
    let refused = plan.run(&[&x], &NoTensors, &mut run).unwrap_err();
    assert!(matches!(refused, Error::Memory { needed: 800, limit: 799 }), "{refused}");
    assert_eq!(count.executed.load(Ordering::SeqCst), 0);
    let mut run = Run { memory_limit: Some(800), ..Run::default() };
    plan.run(&[&x], &NoTensors, &mut run).unwrap();
}

#[test]
fn a_run_is_cancelled_between_two_nodes() {
    let (device, count) = counting();
    let plan = chain();
    let x = numbers(&[100], 0, &device);
    let before = count.restart();
    let cancel = Cancel::new();
    let switch = cancel.clone();
    let mut visit = |node: &Node, _: &Tensor| {
        if node.name == "tanh 2" {
            switch.cancel();
        }
        Ok(())
    };
    let mut run = Run { cancel: Some(&cancel), visit: Some(&mut visit), ..Run::default() };
    let cancelled = plan.run(&[&x], &NoTensors, &mut run).unwrap_err();
    assert!(matches!(cancelled, Error::Cancelled), "{cancelled}");
    assert_eq!(count.executed.load(Ordering::SeqCst), 3);
    assert_eq!(count.restart(), before, "everything is freed");
    let mut run = Run { cancel: Some(&cancel), ..Run::default() };
    assert!(plan.run(&[&x], &NoTensors, &mut run).is_err(), "it stays on");
}

#[test]
fn four_threads_run_one_plan_to_the_same_bits() {
    use proptest::strategy::ValueTree;
    let device = Device::new(Reference::new());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..20 {
        let built = build(&recipes().new_tree(&mut runner).unwrap().current(), &device);
        let plan = Plan::new(built.graph);
        let prepared = plan.prepare(&built.tensors).unwrap();
        let run = || -> Vec<Vec<u32>> {
            let inputs: Vec<&Tensor> = built.inputs.iter().collect();
            let mut run = Run { prepared: Some(&prepared), ..Run::default() };
            let outputs = plan.run(&inputs, &built.tensors, &mut run).unwrap();
            let bits =
                |t: &Tensor| t.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
            outputs.values.iter().map(bits).collect()
        };
        let alone = run();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), alone);
            }
        });
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (device, _) = counting();
    let plan = chain();
    let run = |inputs: &[&Tensor]| plan.run(inputs, &NoTensors, &mut Run::default()).unwrap_err();
    let message = run(&[]).to_string();
    assert!(message.contains("expected 1 inputs, got 0"), "{message}");
    let message = run(&[&numbers(&[99], 0, &device)]).to_string();
    assert!(message.contains("f32[100] as input `x`, got f32[99]"), "{message}");

    let mut graph = Graph::new();
    let x = graph.input("x", ty(&[3]));
    let parameter = graph.parameter(ParameterId(4), ty(&[3]));
    let y = graph.push("y", ADD, &[x, parameter]).unwrap();
    graph.output("y", y);
    let x = numbers(&[3], 0, &device);
    let missing = Plan::new(graph).run(&[&x], &NoTensors, &mut Run::default()).unwrap_err();
    let message = missing.to_string();
    assert!(message.contains("expected parameter 4 of shape f32[3], got none"), "{message}");
}

#[test]
fn a_value_of_another_graph_is_refused() {
    let plan = chain();
    let foreign = plan.graph().outputs()[0].1;
    let mut graph = Graph::new();
    let refused = graph.push("y", TANH, &[foreign]).unwrap_err();
    assert!(matches!(&refused, Error::Node { node, .. } if node == "y"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_run_takes_more_than_its_plan_says(recipe in recipes()) {
        let (device, count) = counting();
        let built = build(&recipe, &device);
        let plan = Plan::new(built.graph);
        let prepared = plan.prepare(&built.tensors).unwrap();
        let own: usize = built.inputs.iter().map(|input| input.ty().size_bytes()).sum();
        let inputs: Vec<&Tensor> = built.inputs.iter().collect();
        let before = count.restart();
        let mut run = Run { prepared: Some(&prepared), ..Run::default() };
        let outputs = plan.run(&inputs, &built.tensors, &mut run).unwrap();
        // A plan frees its inputs, where a caller keeps them.
        let most = count.most() - before;
        prop_assert!(most as u64 <= plan.peak_bytes(), "{most} > {}", plan.peak_bytes());
        // Dropout copies nothing in inference, which a plan does not rely on.
        let is_dropout = |node: &Node| matches!(node.op, NodeOp::Dropout { .. });
        if !plan.graph().nodes().iter().any(is_dropout) {
            let least = plan.peak_bytes() as usize;
            prop_assert!(most + own >= least, "{most} and inputs of {own} < {least}");
        }
        drop(outputs);
        prop_assert_eq!(count.restart(), before);
    }

    #[test]
    fn parts_written_where_they_belong_change_no_bits(recipe in recipes()) {
        let device = Device::new(Reference::new());
        let built = build(&recipe, &device);
        let plan = Plan::new(built.graph);
        let inputs: Vec<&Tensor> = built.inputs.iter().collect();
        let joined = plan.run(&inputs, &built.tensors, &mut Run::default()).unwrap();
        // A visitor is shown every output, so that each stands alone.
        let mut visit = |_: &Node, _: &Tensor| Ok(());
        let mut run = Run { visit: Some(&mut visit), ..Run::default() };
        let alone = plan.run(&inputs, &built.tensors, &mut run).unwrap();
        for (a, b) in joined.values.iter().zip(&alone.values) {
            let [a, b] = [a, b].map(|t| t.to_host().unwrap());
            prop_assert_eq!(a.values().bytes(), b.values().bytes());
        }
    }
}
