//! Steps of optimizers, in place.

use super::cases::{Tolerance, difference};
use super::values::{Values, tensor};
use super::{Settings, report};
use crate::ops::{Optimize, SgdMomentum};
use crate::{DType, Device, HostTensor, Op, Tensor, TensorUpdate, reference};

/// One of each kind, and of each way in which it can be asked for.
pub(super) const STEPS: [Optimize; 9] = [
    Optimize::Sgd { rate: 0.1, momentum: 0.9, decay: 0.01, nesterov: false, scale: 0.5 },
    Optimize::Sgd { rate: 0.1, momentum: 0.9, decay: 0.01, nesterov: true, scale: 0.5 },
    Optimize::Sgd { rate: 0.1, momentum: 0.0, decay: 0.0, nesterov: false, scale: 1.0 },
    adam(false, 1),
    adam(true, 1),
    adam(true, 1_000),
    Optimize::RmsProp {
        rate: 0.01,
        alpha: 0.9,
        epsilon: 1e-8,
        momentum: 0.0,
        decay: 0.01,
        scale: 0.5,
    },
    Optimize::RmsProp {
        rate: 0.01,
        alpha: 0.99,
        epsilon: 1e-3,
        momentum: 0.5,
        decay: 0.0,
        scale: 1.0,
    },
    Optimize::Average { keep: 0.9 },
];

const fn adam(decoupled: bool, step: u64) -> Optimize {
    let (betas, epsilon) = ([0.9, 0.999], 1e-8);
    Optimize::Adam { rate: 0.01, betas, epsilon, decay: 0.05, decoupled, scale: 0.5, step }
}

/// [`Optimize`]: steps in place, and clones that stay as they were; many together as one by one.
///
/// # Panics
/// Where the device disagrees with the reference, or a clone changes; where steps together have other bits.
pub fn optimize(device: &Device, settings: &Settings) {
    let shapes: [&[usize]; 8] =
        [&[], &[0], &[1], &[7], &[17], &[3, 5, 5, 4], &[100, 65], &[70_001]];
    for (step, first) in STEPS.into_iter().zip(0u64..) {
        for (dims, seed) in shapes.into_iter().zip(0u64..) {
            let seed = 100 * first + 10 * seed;
            let random = |values, i: u64| tensor(dims, DType::F32, values, seed + i);
            let mut targets = vec![random(Values::Range(-2.0, 2.0), 0)];
            // Mean squares are positive; nothing is lost where a velocity is too.
            let state = (1..).map(|i| random(Values::Range(0.25, 2.0), i));
            targets.extend(state.take(step.states()));
            let gradient = random(Values::Range(-2.0, 2.0), 9);
            if !one(device, settings, step, targets, &gradient) {
                return;
            }
        }
    }
    together(device);
}

/// Steps of every kind, of tensors of every size, in one [call](Device::update) and one by one.
fn together(device: &Device) {
    let sgd = |momentum| SgdMomentum { rate: 0.01, momentum, decay: 5e-4, scale: 0.125 };
    let mut ops: Vec<Op> = STEPS.into_iter().map(Op::from).collect();
    ops.extend([sgd(0.9).into(), sgd(0.0).into()]);
    // Numbers of those that come together, so that devices meet wholes and rests of what they join.
    for count in [1, 2, 3, 7, 8, 9, 21] {
        let mut tensors: Vec<(Op, Vec<Tensor>, Tensor)> = Vec::new();
        for (place, op) in (0..count).flat_map(|place| ops.iter().map(move |op| (place, op))) {
            let targets = match op {
                Op::Optimize(step) => 1 + step.states(),
                _ => 2,
            };
            // Vectors, their edges, more than a workgroup, none.
            let dims = [[5], [1_024], [64], [3_001], [0], [1]][place % 6];
            let random = |i: usize| {
                let seed = (1_000 * tensors.len() + i) as u64;
                let values = tensor(&dims, DType::F32, Values::Range(0.25, 2.0), seed);
                Tensor::from_host(values, device).expect("an upload")
            };
            let values = (0..targets).map(random).collect();
            let gradient = random(9);
            tensors.push((op.clone(), values, gradient));
        }
        // Neighbours of one kind, and neighbours of others.
        let by_turns = count % 2 == 0;
        if !by_turns {
            tensors.sort_by_key(|(op, ..)| op.name());
        }
        let mut alone: Vec<Vec<Tensor>> = tensors.iter().map(|(_, w, _)| w.clone()).collect();
        let mut joined = alone.clone();
        for _ in 0..2 {
            for ((op, _, gradient), targets) in tensors.iter().zip(&mut alone) {
                let (op, targets) = (op.clone(), targets.iter_mut().collect());
                let mut one = [TensorUpdate { op, targets, inputs: vec![gradient] }];
                device.update(&mut one).expect("a step");
            }
            let updates = tensors.iter().zip(&mut joined).map(|((op, _, gradient), targets)| {
                let (op, targets) = (op.clone(), targets.iter_mut().collect());
                TensorUpdate { op, targets, inputs: vec![gradient] }
            });
            device.update(&mut updates.collect::<Vec<_>>()).expect("steps");
        }
        let bytes =
            |tensor: &Tensor| tensor.to_host().expect("a download").values().bytes().to_vec();
        for (((op, ..), alone), joined) in tensors.iter().zip(&alone).zip(&joined) {
            for (place, (alone, joined)) in alone.iter().zip(joined).enumerate() {
                let ty = alone.ty();
                assert_eq!(
                    bytes(alone),
                    bytes(joined),
                    "{op:?} on {ty}, target {place}: other bits among {} steps",
                    tensors.len()
                );
            }
        }
    }
}

/// Whether the device takes such a step.
fn one(
    device: &Device,
    settings: &Settings,
    step: Optimize,
    targets: Vec<HostTensor>,
    gradient: &HostTensor,
) -> bool {
    let op = Op::from(step);
    let types: Vec<_> = targets.iter().chain([gradient]).map(HostTensor::ty).collect();
    if !device.backend().supports(&op, &types) {
        let declared = settings.declines.contains(&op.name());
        assert!(declared, "the device does not support {op:?}, and does not say so beforehand");
        report::declined(op.name(), &types, None);
        return false;
    }
    report::executed(op.name());
    let upload = |x: &HostTensor| Tensor::from_host(x.clone(), device).expect("an upload");
    let (mut want, mut got) = (targets.clone(), targets.iter().map(upload).collect::<Vec<_>>());
    let clones = got.clone();
    let g = upload(gradient);
    let tolerance = Tolerance::Sum { terms: 8, product: 2.0 };
    let same = |what: &str, got: &[Tensor], want: &[HostTensor]| {
        for (place, (got, want)) in got.iter().zip(want).enumerate() {
            let got = got.to_host().expect("a download");
            if let Some(difference) = difference(&got, want, tolerance, settings, &[]) {
                panic!("{step:?}, {what}, target {place} {}: {difference}", want.ty());
            }
        }
    };
    for round in 0..3 {
        let mut all: Vec<&mut HostTensor> = want.iter_mut().collect();
        reference::execute_in_place(&op, &mut all, &[gradient]).expect("a step of the reference");
        stepped(&mut got, &g, step);
        same(&format!("round {round}"), &got, &want);
    }
    for (clone, before) in clones.iter().zip(&targets) {
        let clone = clone.to_host().expect("a download");
        let same = clone.values().bytes() == before.values().bytes();
        assert!(same, "{step:?}: a clone of what is updated in place changed");
    }
    // One tensor as all of them: still so many values before the step.
    let state = targets.last().unwrap_or(gradient);
    let (mut got, mut want) =
        (vec![upload(state); targets.len()], vec![state.clone(); targets.len()]);
    let g = upload(state);
    stepped(&mut got, &g, step);
    let mut all: Vec<&mut HostTensor> = want.iter_mut().collect();
    reference::execute_in_place(&op, &mut all, &[state]).expect("a step of the reference");
    same("on one tensor", &got, &want);
    true
}

fn stepped(targets: &mut [Tensor], gradient: &Tensor, step: Optimize) {
    let Some((w, state)) = targets.split_first_mut() else { return };
    let mut state: Vec<&mut Tensor> = state.iter_mut().collect();
    w.optimize(&mut state, gradient, step).expect("a step");
}
