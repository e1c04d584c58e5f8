//! Memory: transfers, updates in place, and operands that do not fit.

use std::sync::Arc;

use super::cases::{Tolerance, difference};
use super::values::{STORED, Values, tensor};
use super::{Settings, report, samples};
use crate::ops::{
    Algorithm, Axes, BatchNorm, BatchNormGrad, BatchNormSums, Binary, BinaryKind, Concatenate,
    Conv2d, ConvTranspose2d, CrossEntropyGrad, Flip, Gather, GatherGrad, GroupNorm, GroupNormGrad,
    GroupNormSums, Lrn, MatMul, Moments, Permute, Pool2d, Reduce, ReduceKind, ReluGrad,
    SgdMomentum, Slice, Softmax, Unary, UnaryKind,
};
use crate::{
    DType, Device, Error, HostTensor, Op, Reference, SharedBytes, Tensor, TensorType, reference,
};

fn upload(x: &HostTensor, device: &Device) -> Tensor {
    Tensor::from_host(x.clone(), device).expect("an upload")
}

/// Values of every type reach the device and come back with the same bits: by upload, from another
/// device, from shared bytes of any alignment, in another shape.
///
/// # Panics
/// Where they do not.
pub fn transfer(device: &Device, _: &Settings) {
    let elsewhere = Device::new(Reference::new());
    for (dims, dtype) in [&[][..], &[0], &[1], &[3], &[5, 7], &[2, 0, 3], &[33, 65], &[2, 3, 4, 5]]
        .into_iter()
        .flat_map(|dims| STORED.iter().map(move |&dtype| (dims, dtype)))
    {
        let host = tensor(dims, dtype, Values::Words, 1);
        let same = |what: &str, got: &Tensor| {
            assert_eq!(*got.ty(), host.ty(), "{what}");
            let got = got.to_host().expect("a download");
            assert_eq!(got.ty(), host.ty(), "{what}");
            assert_eq!(got.values().bytes(), host.values().bytes(), "{what} of {}", host.ty());
        };
        let there = upload(&host, device);
        same("an upload", &there);
        same("a clone", &there.clone());
        same("the same device", &there.to(device).expect("a move to itself"));
        let moved = upload(&host, &elsewhere).to(device).expect("a move to the device");
        assert!(moved.device().is(device), "a moved tensor says that it is elsewhere");
        same("a move to the device", &moved);
        same("a move from the device", &there.to(&elsewhere).expect("a move from the device"));

        // Shared bytes, aligned and not: a mapped file holds a tensor at any place.
        for before in [0, 1, 2, 4, 16] {
            let mut bytes = vec![0xa5; before];
            bytes.extend_from_slice(host.values().bytes());
            bytes.push(0x5a);
            let size = host.values().bytes().len();
            let all = SharedBytes::new(Arc::new(bytes));
            let shared = all.slice(before, size).expect("a part of the bytes");
            let shared = Tensor::from_shared(shared, host.ty(), device).expect("shared bytes");
            same("shared bytes", &shared);
            // Used as an operand, not only read back.
            let flipped = Op::from(Flip { axes: Axes::default() });
            if device.backend().supports(&flipped, &[host.ty()]) {
                let used = device.execute(&flipped, &[&shared]).expect("an op on shared bytes");
                same("an op on shared bytes", &used);
            }
            let short = all.slice(before, size + 1).expect("a part of the bytes");
            let refused = Tensor::from_shared(short, host.ty(), device);
            assert!(refused.is_err(), "a byte too many for {} was taken", host.ty());
        }

        let count = host.ty().count();
        let flat = there.reshape([count]).expect("a reshape");
        same("there and back", &flat.reshape(there.shape()).expect("a reshape"));
        let concatenate = Op::from(Concatenate { axis: 0 });
        if !device.backend().supports(&concatenate, &[*flat.ty(), *flat.ty()]) {
            continue;
        }
        let twice = Tensor::concatenate(&[&flat, &flat], 0).expect("an op on a reshaped tensor");
        assert_eq!(twice.dims(), [2 * count]);
        assert_eq!(
            twice.to_host().expect("a download").values().bytes(),
            [host.values().bytes(), host.values().bytes()].concat(),
            "an op on a reshaped tensor of {}",
            host.ty()
        );
    }
    device.synchronize().expect("nothing has failed before");
}

/// [`SgdMomentum`]: steps in place, and clones that stay as they were.
///
/// # Panics
/// Where the device disagrees with the reference, or a clone changes.
pub fn sgd_momentum(device: &Device, settings: &Settings) {
    let step = SgdMomentum { rate: 0.01, momentum: 0.9, decay: 5e-4, scale: 1.0 / 128.0 };
    let still = SgdMomentum { rate: 0.0, momentum: 0.0, decay: 0.0, scale: 1.0 };
    let op = Op::from(step);
    let shapes: [&[usize]; 8] =
        [&[], &[0], &[1], &[7], &[17], &[3, 5, 5, 4], &[100, 65], &[70_001]];
    for (dims, seed) in shapes.into_iter().zip(0..) {
        let [w, v, gradient] =
            [0, 1, 2].map(|i| tensor(dims, DType::F32, Values::Range(-2.0, 2.0), 3 * seed + i));
        if !device.backend().supports(&op, &[w.ty(), v.ty(), gradient.ty()]) {
            let declared = settings.declines.contains(&op.name());
            assert!(declared, "the device does not support {op:?}, and does not say so beforehand");
            report::declined(op.name(), &[w.ty(), v.ty(), gradient.ty()], None);
            return;
        }
        report::executed(op.name());
        for step in [step, SgdMomentum { rate: 0.5, scale: 1.0, ..step }, still] {
            let (mut want_w, mut want_v) = (w.clone(), v.clone());
            let [mut got_w, mut got_v, g] = [&w, &v, &gradient].map(|x| upload(x, device));
            let clone = got_w.clone();
            let reshaped = got_v.reshape([got_v.ty().count()]).expect("a reshape");
            for round in 0..3 {
                reference::execute_in_place(
                    &step.into(),
                    &mut [&mut want_w, &mut want_v],
                    &[&gradient],
                )
                .expect("a step of the reference");
                got_w.sgd_momentum(&mut got_v, &g, step).expect("a step");
                for (what, got, want) in [("w", &got_w, &want_w), ("v", &got_v, &want_v)] {
                    let got = got.to_host().expect("a download");
                    // A sum of three terms, each of which is at most of this size.
                    let tolerance = Tolerance::Sum { terms: 4, product: 2.0 };
                    if let Some(difference) = difference(&got, want, tolerance, settings, &[]) {
                        panic!("{step:?}, round {round}, {what} {}: {difference}", want.ty());
                    }
                }
            }
            for (what, clone, before) in [("clone", &clone, &w), ("reshaped", &reshaped, &v)] {
                let clone = clone.to_host().expect("a download");
                assert_eq!(
                    clone.values().bytes(),
                    before.values().bytes(),
                    "a {what} of what is updated in place changed"
                );
            }
        }
        // One tensor as weights, velocity and gradient: still three values before the step.
        let mut got_w = upload(&w, device);
        let (mut got_v, g) = (got_w.clone(), got_w.clone());
        got_w.sgd_momentum(&mut got_v, &g, step).expect("a step on a shared tensor");
        let (mut want_w, mut want_v) = (w.clone(), w.clone());
        reference::execute_in_place(&op, &mut [&mut want_w, &mut want_v], &[&w])
            .expect("a step of the reference");
        for (got, want) in [(&got_w, &want_w), (&got_v, &want_v), (&g, &w)] {
            let got = got.to_host().expect("a download");
            let tolerance = Tolerance::Sum { terms: 4, product: 2.0 };
            if let Some(difference) = difference(&got, want, tolerance, settings, &[]) {
                panic!("{step:?} on one tensor {}: {difference}", want.ty());
            }
        }
    }
}

/// Operands that do not fit give an error that names the op, and leave the device working.
///
/// # Panics
/// Where one is accepted, or the error does not name the op.
pub fn bad_operands(device: &Device, _: &Settings) {
    let f32 = |dims: &[usize]| tensor(dims, DType::F32, Values::Range(-1.0, 1.0), 1);
    let u32 = |dims: &[usize]| tensor(dims, DType::U32, Values::Range(0.0, 3.0), 1);
    let conv = Conv2d::default();
    let image = || f32(&[1, 5, 5, 4]);
    let sum = |axes: &[usize]| Reduce {
        kind: ReduceKind::Sum,
        axes: Axes::new(axes).expect("axes"),
        keep_axes: false,
    };
    let lrn = Lrn { size: 5, kappa: 1.0, alpha: 1.0, beta: 0.75, groups: 3 };
    let norm = BatchNorm::default();
    let relu = Op::from(Unary { kind: UnaryKind::Relu });
    let bad: Vec<(Op, Vec<HostTensor>)> = vec![
        (relu.clone(), vec![]),
        (relu.clone(), vec![f32(&[2]), f32(&[2])]),
        (relu.clone(), vec![u32(&[2])]),
        (MatMul::default().into(), vec![f32(&[2, 3]), f32(&[4, 5])]),
        (MatMul::default().into(), vec![f32(&[2, 3]), f32(&[3])]),
        (MatMul { bias: true, ..MatMul::default() }.into(), vec![f32(&[2, 3]), f32(&[3, 4])]),
        (conv.into(), vec![image(), f32(&[6, 3, 3, 5])]),
        (conv.into(), vec![image(), f32(&[6, 6, 3, 4])]),
        (conv.into(), vec![f32(&[5, 5, 4]), f32(&[6, 3, 3, 4])]),
        (Conv2d { stride: [0, 1], ..conv }.into(), vec![image(), f32(&[6, 3, 3, 4])]),
        (Conv2d { dilation: [1, 0], ..conv }.into(), vec![image(), f32(&[6, 3, 3, 4])]),
        (Conv2d { groups: 3, ..conv }.into(), vec![image(), f32(&[6, 3, 3, 4])]),
        (Conv2d { residual: true, ..conv }.into(), vec![image(), f32(&[6, 3, 3, 4])]),
        (
            Conv2d { algorithm: Algorithm::Direct, groups: 0, ..conv }.into(),
            vec![image(), f32(&[6, 3, 3, 4])],
        ),
        (
            Conv2d { padding: [[usize::MAX; 2]; 2], ..conv }.into(),
            vec![image(), f32(&[6, 3, 3, 4])],
        ),
        (ConvTranspose2d::default().into(), vec![image(), f32(&[5, 3, 3, 4])]),
        (
            ConvTranspose2d { groups: 3, ..ConvTranspose2d::default() }.into(),
            vec![image(), f32(&[4, 3, 3, 4])],
        ),
        (
            ConvTranspose2d { padding: [[usize::MAX; 2]; 2], ..ConvTranspose2d::default() }.into(),
            vec![image(), f32(&[4, 3, 3, 4])],
        ),
        (Pool2d::square(3, 1, 3).into(), vec![image()]),
        (Pool2d::square(usize::MAX, 1, 0).into(), vec![image()]),
        (lrn.into(), vec![image()]),
        (sum(&[4]).into(), vec![image()]),
        (Softmax { axis: 1, log: false }.into(), vec![f32(&[3])]),
        (Permute { order: vec![0, 0] }.into(), vec![f32(&[2, 3])]),
        (Slice { ranges: vec![0..2, 0..4] }.into(), vec![f32(&[2, 3])]),
        (Concatenate { axis: 0 }.into(), vec![f32(&[3]), u32(&[3])]),
        (Concatenate { axis: 0 }.into(), vec![f32(&[3, 1]), f32(&[3, 2])]),
        (Gather { axis: 0 }.into(), vec![f32(&[3]), f32(&[3])]),
        (ReluGrad.into(), vec![f32(&[3]), f32(&[2])]),
        (Moments.into(), vec![f32(&[3])]),
        (norm.into(), vec![f32(&[5, 3]), f32(&[2, 3]), f32(&[3]), f32(&[4])]),
        (norm.into(), vec![f32(&[5, 3]), f32(&[3]), f32(&[3]), f32(&[3])]),
        (BatchNormSums::default().into(), vec![f32(&[5, 3]), f32(&[3, 5]), f32(&[2, 3])]),
        (
            BatchNormGrad { epsilon: -1.0, ..BatchNormGrad::default() }.into(),
            vec![f32(&[5, 3]), f32(&[5, 3]), f32(&[2, 3]), f32(&[2, 3]), f32(&[3])],
        ),
        (GroupNorm::group(1, 1e-5).into(), vec![f32(&[3]), f32(&[3]), f32(&[3])]),
        (GroupNorm::group(2, 1e-5).into(), vec![f32(&[5, 3]), f32(&[3]), f32(&[3])]),
        (GroupNorm::layer(1e-5).into(), vec![f32(&[5, 3]), f32(&[3]), f32(&[5])]),
        (GroupNormSums(GroupNorm::layer(1e-5)).into(), vec![f32(&[5, 3]), f32(&[3, 5])]),
        (GroupNormGrad(GroupNorm::layer(-1.0)).into(), vec![f32(&[2, 3]), f32(&[2, 3]), f32(&[3])]),
        (CrossEntropyGrad.into(), vec![f32(&[2, 3]), u32(&[2]), f32(&[3])]),
        (GatherGrad { axis: 0, extent: 4 }.into(), vec![u32(&[2]), f32(&[3])]),
        // It updates in place, and has no output to give.
        (
            SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0.0, scale: 1.0 }.into(),
            vec![f32(&[3]), f32(&[3]), f32(&[3])],
        ),
    ];
    // Of every op, the wrong number of operands.
    let counts = samples().into_iter().map(|sample| match sample.inputs.is_empty() {
        true => (sample.op, vec![f32(&[2])]),
        false => (sample.op, vec![]),
    });
    for (op, inputs) in &bad.into_iter().chain(counts).collect::<Vec<_>>() {
        let types: Vec<TensorType> = inputs.iter().map(HostTensor::ty).collect();
        let tensors: Vec<Tensor> = inputs.iter().map(|x| upload(x, device)).collect();
        match device.execute(op, &tensors.iter().collect::<Vec<_>>()) {
            Ok(output) => panic!("{op:?} on {types:?} gave {}, not an error", output.ty()),
            Err(error) => assert!(error.to_string().contains(op.name()), "{op:?}: {error}"),
        }
    }
    let here = upload(&f32(&[3]), device);
    let there = upload(&f32(&[3]), &Device::new(Reference::new()));
    for mixed in [here.add(&there), there.add(&here)] {
        assert!(matches!(mixed, Err(Error::Devices { op: "add", .. })), "{mixed:?}");
    }
    let step = SgdMomentum { rate: 1.0, momentum: 1.0, decay: 1.0, scale: 1.0 };
    let before = here.to_vec::<f32>().expect("a download");
    for other in [there, upload(&f32(&[4]), device), upload(&u32(&[3]), device)] {
        for (mut w, mut v, g) in [(&here, &here, &other), (&here, &other, &here)]
            .map(|(w, v, g)| (w.clone(), v.clone(), g))
        {
            let error = w.sgd_momentum(&mut v, g, step).expect_err("a step on misfits");
            assert!(error.to_string().contains("sgd_momentum"), "{error}");
            assert_eq!(w.to_vec::<f32>().expect("a download"), before, "a refused step changed w");
        }
    }
    let add = Op::from(Binary { kind: BinaryKind::Add });
    if device.backend().supports(&add, &[*here.ty(), *here.ty()]) {
        here.add(&here).and_then(|sum| sum.to_host()).expect("the device still works");
    }
}
