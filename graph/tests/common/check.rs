//! What passes must keep of a graph.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use proptest::prelude::*;
use striate_graph::passes::{self, Passes};
use striate_graph::{Graph, Node, Plan, Run};
use striate_tensor::{DType, Tensor};

use super::Built;

/// Each pass alone, and whether it keeps every bit.
pub fn alone() -> [(&'static str, Passes, bool); 6] {
    let none = Passes::none();
    [
        ("constants", Passes { constants: true, ..none }, true),
        ("permutes", Passes { permutes: true, ..none }, true),
        ("fold_batch_norm", Passes { fold_batch_norm: true, ..none }, false),
        ("epilogues", Passes { epilogues: true, ..none }, false),
        ("activations", Passes { epilogues: true, activations: true, ..none }, false),
        ("dead", Passes { dead: true, ..none }, true),
    ]
}

/// What a pass that is not exact may change, of the largest magnitude in the graph.
const TOLERANCE: f32 = 1e-5;

/// The outputs, each with its name, and the largest magnitude of any value.
fn outputs(graph: &Graph, built: &Built) -> (Vec<(String, Vec<f32>)>, f32) {
    let plan = Plan::new(graph.clone());
    let prepared = plan.prepare(&built.tensors).unwrap();
    let mut largest = 1f32;
    let mut visit = |_: &Node, value: &Tensor| {
        if let Ok(values) = value.to_vec::<f32>() {
            largest = values.iter().fold(largest, |m, v| m.max(v.abs()));
        }
        Ok(())
    };
    let mut run = Run { prepared: Some(&prepared), visit: Some(&mut visit), ..Run::default() };
    let inputs: Vec<&Tensor> = built.inputs.iter().collect();
    let outputs = plan.run(&inputs, &built.tensors, &mut run).unwrap();
    let unprepared = plan.run(&inputs, &built.tensors, &mut Run::default()).unwrap();
    let values = |values: &[Tensor]| -> Vec<Vec<f32>> {
        values.iter().map(|value| value.to_vec().unwrap()).collect()
    };
    assert_eq!(values(&outputs.values), values(&unprepared.values), "prepared or not, the same");
    let names = graph.outputs().iter().map(|(name, _)| name.clone());
    (names.zip(values(&outputs.values)).collect(), largest)
}

/// Compares a graph with itself after some passes.
pub fn check(
    what: &str,
    passes: Passes,
    is_exact: bool,
    built: &Built,
) -> Result<(), TestCaseError> {
    let passed = passes::apply(&built.graph, &passes).unwrap();
    let (before, largest) = outputs(&built.graph, built);
    let (after, _) = outputs(&passed, built);
    let tolerance = if is_exact { 0.0 } else { TOLERANCE * largest };
    prop_assert_eq!(before.len(), after.len());
    for ((name, before), (name_after, after)) in before.iter().zip(&after) {
        prop_assert_eq!(name, name_after);
        prop_assert_eq!(before.len(), after.len());
        for (a, b) in before.iter().zip(after) {
            prop_assert!((a - b).abs() <= tolerance, "{what}: {a} became {b} in `{name}`");
        }
    }
    let inputs = |graph: &Graph| -> Vec<String> {
        graph.inputs().iter().map(|(name, _)| name.clone()).collect()
    };
    prop_assert_eq!(inputs(&built.graph), inputs(&passed));
    let (before, after) = (Plan::new(built.graph.clone()), Plan::new(passed.clone()));
    prop_assert!(after.peak_bytes() <= before.peak_bytes(), "{what}: more memory");
    if passes.dead {
        let uses = passed.uses();
        prop_assert!(passed.nodes().iter().all(|node| uses[node.output.index()] > 0));
    }
    let again = passes::apply(&passed, &passes).unwrap();
    prop_assert_eq!(again.nodes().len(), passed.nodes().len(), "{}: not done at once", what);
    Ok(())
}

/// The gradients of all parameters in a loss of all outputs.
fn gradients(graph: &Graph, built: &Built) -> Vec<Option<Vec<f32>>> {
    let mut tensors = built.tensors.clone();
    for parameter in &mut tensors.parameters {
        *parameter = parameter.clone().require_grad();
    }
    let inputs: Vec<&Tensor> = built.inputs.iter().collect();
    let outputs =
        Plan::new(graph.clone()).run(&inputs, &tensors, &mut Run::default()).unwrap().values;
    let mut loss = Tensor::zeros([], built.inputs[0].device()).unwrap();
    for output in &outputs {
        let axes: Vec<usize> = (0..output.shape().rank()).collect();
        loss = loss.add(&output.square().unwrap().mean(&axes).unwrap()).unwrap();
    }
    if !loss.is_tracked() {
        return vec![None; tensors.parameters.len()];
    }
    let gradients = loss.backward().unwrap();
    let of = |parameter: &Tensor| {
        let gradient = gradients.get(parameter)?.cast(DType::F32).unwrap();
        Some(gradient.to_vec().unwrap())
    };
    tensors.parameters.iter().map(of).collect()
}

pub fn check_gradients(built: &Built) -> Result<(), TestCaseError> {
    let passed = passes::apply(&built.graph, &Passes::training()).unwrap();
    let (before, after) = (gradients(&built.graph, built), gradients(&passed, built));
    let all = before.iter().chain(&after).flatten().flatten();
    let largest = all.fold(1f32, |m, v| m.max(v.abs()));
    for (i, (before, after)) in before.iter().zip(&after).enumerate() {
        let zeros;
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (None, None) => continue,
            // Nothing goes there: as good as zero.
            (Some(one), None) | (None, Some(one)) => {
                zeros = vec![0.0; one.len()];
                (one, &zeros)
            }
        };
        for (a, b) in before.iter().zip(after) {
            // Weights in half precision have gradients in half precision.
            let rounding =
                if built.tensors.parameters[i].dtype() == DType::F32 { TOLERANCE } else { 2e-3 };
            prop_assert!((a - b).abs() <= rounding * largest, "parameter {i}: {a} became {b}");
        }
    }
    Ok(())
}

/// All of it: each pass alone, and those for training and inference together.
pub fn check_all(built: &Built) -> Result<(), TestCaseError> {
    check("none", Passes::none(), true, built)?;
    for (name, passes, is_exact) in alone() {
        check(name, passes, is_exact, built)?;
    }
    check("training", Passes::training(), false, built)?;
    check("inference", Passes::inference(), false, built)
}
