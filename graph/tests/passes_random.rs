//! Passes on random graphs: what comes out is what came out before.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use common::check::{alone, check_all, check_gradients};
use common::{build, recipes};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_graph::{NodeOp, passes};
use striate_tensor::{Device, Op, Reference};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_pass_keeps_what_a_graph_computes(recipe in recipes()) {
        check_all(&build(&recipe, &Device::new(Reference::new())))?;
    }

    #[test]
    fn passes_for_training_keep_gradients(recipe in recipes()) {
        check_gradients(&build(&recipe, &Device::new(Reference::new())))?;
    }
}

/// The properties above say nothing where the passes find nothing to do.
#[test]
fn random_graphs_give_every_pass_something_to_do() {
    use proptest::strategy::ValueTree;
    let device = Device::new(Reference::new());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut changed, mut residuals) = ([0; 5], 0);
    for _ in 0..200 {
        let recipe = recipes().new_tree(&mut runner).unwrap().current();
        let graph = build(&recipe, &device).graph;
        for (changed, (_, passes, _)) in changed.iter_mut().zip(alone()) {
            let passed = passes::apply(&graph, &passes).unwrap();
            *changed += usize::from(passed.nodes().len() != graph.nodes().len());
            let is_residual =
                |op: &NodeOp| matches!(op, NodeOp::Op(Op::Conv2d(conv)) if conv.residual);
            residuals += passed.nodes().iter().filter(|node| is_residual(&node.op)).count();
        }
    }
    for (changed, (name, ..)) in changed.into_iter().zip(alone()) {
        assert!(changed >= 20, "{name}: {changed} of 200");
    }
    assert!(residuals >= 20, "{residuals} residuals in 200");
}
