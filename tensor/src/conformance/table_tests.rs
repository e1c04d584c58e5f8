//! Nothing is left out: every list of ops has every op of the table, or says why not.

use std::collections::BTreeSet;

use super::*;
use crate::ops::Differentiable;
use crate::reference::Floats;
use crate::{DType, Error, HostTensor, HostValues, Op, Reference, Tensor, TensorType, reference};

const QUICK: Settings =
    Settings { cases: 4, tolerance: 1e-5, subnormals: true, declines: &[], regressions: false };

/// Fails, naming them, where some of `all` are neither in `listed` nor excused, or are both.
#[track_caller]
fn all_are_listed<'a>(
    all: impl IntoIterator<Item = &'a str>,
    listed: &BTreeSet<&'a str>,
    excused: &[(&'a str, &str)],
    list: &str,
) {
    let excused: BTreeSet<&str> = excused.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<&str> = all.into_iter().collect();
    let missing: Vec<&&str> =
        all.iter().filter(|name| !listed.contains(**name) && !excused.contains(**name)).collect();
    assert!(missing.is_empty(), "{list} leaves out {missing:?}");
    let twice: Vec<&&str> = listed.intersection(&excused).collect();
    assert!(twice.is_empty(), "{list} has {twice:?}, which need no excuse");
    let unknown: Vec<&&str> = excused.difference(&all).collect();
    assert!(unknown.is_empty(), "there are no ops {unknown:?}, which {list} excuses");
}

#[test]
fn names_are_given_once() {
    let mut seen = BTreeSet::new();
    for name in Op::names() {
        assert!(seen.insert(name), "two ops are called `{name}`");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain), "`{name}` is not a name as shaders and files have it");
    }
}

#[test]
fn every_op_has_a_sample_with_the_name_that_the_table_says() {
    let samples = samples();
    for sample in &samples {
        let facts = sample.op.facts();
        let name = sample.op.name();
        assert!(facts.names.contains(&name), "{} is called `{name}`", facts.variant);
    }
    let listed = samples.iter().map(|sample| sample.op.name()).collect();
    all_are_listed(Op::names(), &listed, &[], "`samples`");
}

#[test]
fn every_op_and_kind_has_a_family() {
    let device = Device::new(Reference::new());
    let reports = run(&device, &QUICK);
    let executed = reports.iter().flat_map(|report| report.ops.iter().copied()).collect();
    all_are_listed(Op::names(), &executed, &[], "the conformance suite");
}

#[test]
fn every_op_is_asked_for_the_same_bits() {
    const MOVES: &str =
        "each element is moved, chosen or compared alone: there is no order to keep";
    let excused = [
        ("Compare", MOVES),
        ("Select", MOVES),
        ("ArgSort", "of equals the first first, whatever the order: the family asks for that"),
        ("TakeAlong", MOVES),
        ("ArgReduce", "of equals the first, whatever the order: the family asks for that"),
        ("Permute", MOVES),
        ("Slice", MOVES),
        ("Concatenate", MOVES),
        ("Pad", MOVES),
        ("PadImage", MOVES),
        ("Gather", MOVES),
        ("Cast", MOVES),
        ("Fill", MOVES),
        ("Flip", MOVES),
        ("SgdMomentum", "element by element, and in place"),
        ("Optimize", "element by element, and in place"),
    ];
    let ops = super::bits::cases().into_iter().map(|case| case.op.facts().variant);
    let variants = Op::TABLE.iter().filter(|facts| !facts.names.is_empty());
    let listed = ops.collect();
    all_are_listed(variants.map(|facts| facts.variant), &listed, &excused, "`same_bits_twice`");
}

/// Only what moves elements, or casts them, takes the types that are storage only.
#[test]
fn arithmetic_refuses_the_types_that_are_storage_only() {
    const MOVES: &[&str] = &[
        "select",
        "permute",
        "slice",
        "concatenate",
        "pad",
        "gather",
        "take_along",
        "scatter",
        "cast",
        "flip",
    ];
    let storage = [DType::F64, DType::I64, DType::I32, DType::I8, DType::U8, DType::Bool];
    let mut taken = BTreeSet::new();
    for sample in samples().into_iter().filter(|sample| !sample.inputs.is_empty()) {
        let name = sample.op.name();
        for dtype in storage {
            // Each operand alone, and all that are of one type together.
            let own = sample.types();
            let alone = (0..own.len()).map(|which| {
                let mut types = own.clone();
                types[which].dtype = dtype;
                types
            });
            let mut all: Vec<Vec<TensorType>> = alone.collect();
            for of in [DType::F32, DType::U32] {
                let mut types = own.clone();
                types.iter_mut().filter(|ty| ty.dtype == of).for_each(|ty| ty.dtype = dtype);
                all.push(types);
            }
            for types in all.into_iter().filter(|types| *types != own) {
                match sample.op.output(&types) {
                    Ok(_) => {
                        assert!(MOVES.contains(&name), "{name} takes {types:?}");
                        taken.insert(name);
                    }
                    Err(Error::DType { op, .. }) => assert_eq!(op, name, "{types:?}"),
                    Err(error) => panic!("{name} on {types:?}: {error}"),
                }
            }
        }
    }
    assert_eq!(taken, MOVES.iter().copied().collect(), "what moves elements takes every type");
}

/// `Σ y · dy`, with weights `dy` that differ.
fn weights(count: usize) -> Vec<f32> {
    (0..count).map(|i| 0.5 + 0.25 * (i * 5 % 7) as f32).collect()
}

fn values(x: &HostTensor) -> Vec<f64> {
    Floats::of(x).values
}

/// The derivative of `Σ y · dy` in each element of an operand, by central differences.
fn differences(sample: &Sample, which: usize, dy: &[f32]) -> Vec<f64> {
    let step = 1.0 / 256.0;
    let moved = |place: usize, by: f32| {
        let mut inputs = sample.inputs.clone();
        if let HostValues::F32(values) = inputs[which].values_mut() {
            values[place] += by;
        }
        let y = reference::execute(&sample.op, &inputs.iter().collect::<Vec<_>>()).unwrap();
        values(&y).iter().zip(dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
    };
    (0..sample.inputs[which].ty().count())
        .map(|place| (moved(place, step) - moved(place, -step)) / (2.0 * f64::from(step)))
        .collect()
}

/// Every op either has a gradient in the operands that the table names, which is that of the
/// function, or says in the table why it has none, and is refused by a backward pass.
#[test]
fn every_op_has_the_gradients_that_the_table_says() {
    let device = Device::new(Reference::new());
    for sample in samples() {
        let what = format!("{:?} on {:?}", sample.op, sample.types());
        let gradient = sample.op.facts().gradient;
        if !sample.executes() {
            assert!(matches!(gradient, Differentiable::Without(_)), "{what}");
            continue;
        }
        for which in 0..sample.inputs.len() {
            let leaves = (sample.inputs.iter().enumerate()).map(|(i, x)| {
                let x = Tensor::from_host(x.clone(), &device).unwrap();
                if i == which && x.dtype().is_float() { x.require_grad() } else { x }
            });
            let leaves: Vec<Tensor> = leaves.collect();
            let y = device.execute(&sample.op, &leaves.iter().collect::<Vec<_>>()).unwrap();
            let float = leaves[which].dtype().is_float();
            if !gradient.contains(which) || !float {
                assert!(
                    !float || !y.is_tracked() || {
                        let dy = Tensor::ones(y.shape(), &device).unwrap().cast(y.dtype()).unwrap();
                        matches!(y.backward_with(&dy), Err(Error::Gradient { .. }))
                    },
                    "{what} has a gradient in operand {which}, which the table does not say"
                );
                assert!(
                    !gradient.contains(which) || !float,
                    "{what}: operand {which} is not of floats"
                );
                continue;
            }
            if !y.dtype().is_float() {
                continue;
            }
            let dy = weights(y.ty().count());
            let dtype = y.dtype();
            let given = Tensor::from_vec(dy.clone(), y.shape(), &device).unwrap();
            let gradients = y
                .backward_with(&given.cast(dtype).unwrap())
                .unwrap_or_else(|error| panic!("{what}, operand {which}: {error}"));
            let want = differences(&sample, which, &dy);
            let got = match gradients.get(&leaves[which]) {
                Some(got) => values(&got.to_host().unwrap()),
                None => vec![0.0; want.len()],
            };
            let scale = want.iter().fold(1.0f64, |scale, x| scale.max(x.abs()));
            // Half precision rounds what is 1/256 apart.
            let tolerance = if dtype == DType::F16 { 0.3 } else { 2e-3 };
            for (place, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(
                    (got - want).abs() <= tolerance * scale,
                    "{what}, operand {which}, element {place}: {got}, differences {want}"
                );
            }
        }
    }
}
