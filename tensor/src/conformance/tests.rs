//! The suite accepts the definition, allows what f32 is off by, and finds faults.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::reference::Floats;
use crate::{
    Backend, Buffer, DeviceInfo, HostTensor, HostValues, Op, Operand, Reference, Result, Target,
    TensorType,
};

const QUICK: Settings = Settings { cases: 16, tolerance: 1e-5, subnormals: true };

/// What this shows is that the suite holds together, and accepts the definition.
mod reference {
    use super::*;

    conformance_tests!(Device::new(Reference::new()), QUICK);
}

/// The reference, with something done to every output.
struct Altered(fn(&mut HostTensor));

impl Backend for Altered {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { name: "altered".into(), ..Reference.info() }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Reference.upload(values)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<HostTensor> {
        Reference.download(buffer, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let buffer = Reference.execute(op, inputs, output)?;
        let mut y = self.download(&buffer, output)?;
        (self.0)(&mut y);
        self.upload(y.into_values())
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        Reference.execute_in_place(op, targets, inputs)?;
        for target in targets {
            let mut y = self.download(target.buffer, target.ty)?;
            (self.0)(&mut y);
            *target.buffer = self.upload(y.into_values())?;
        }
        Ok(())
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        Reference.supports(op, inputs)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

fn refuses(alter: fn(&mut HostTensor), family: fn(&Device, &Settings)) -> bool {
    let device = Device::new(Altered(alter));
    catch_unwind(AssertUnwindSafe(|| family(&device, &QUICK))).is_err()
}

/// The families that refuse a device whose outputs are altered so.
fn refused_by(alter: fn(&mut HostTensor)) -> Vec<&'static str> {
    let refusing = FAMILIES.iter().filter(|(_, family)| refuses(alter, *family));
    refusing.map(|(name, _)| *name).collect()
}

fn families_but(without: &[&str]) -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, _)| *name).filter(|name| !without.contains(name)).collect()
}

fn for_floats(y: &mut HostTensor, change: impl Fn(f32) -> f32) {
    match y.values_mut() {
        HostValues::F32(v) => v.iter_mut().for_each(|x| *x = change(*x)),
        HostValues::F16(_) | HostValues::U32(_) => {}
    }
}

#[test]
fn a_lost_last_element_is_found() {
    // What a kernel does that forgets the remainder of a vector.
    let found = refused_by(|y| {
        let size = y.ty().dtype.size_bytes();
        let bytes = y.values_mut().bytes_mut();
        let end = bytes.len();
        bytes[end.saturating_sub(size)..].fill(0);
    });
    assert_eq!(found, families_but(&["bad_operands", "same_bits_twice"]));
}

#[test]
fn an_error_of_a_ten_thousandth_is_found() {
    let found = refused_by(|y| for_floats(y, |x| x * 1.0001));
    let without_arithmetic = ["compare", "arg_reduce", "bad_operands", "same_bits_twice"];
    assert_eq!(found, families_but(&without_arithmetic));
}

#[test]
fn a_nan_that_vanishes_is_found() {
    let found = refused_by(|y| for_floats(y, |x| if x.is_nan() { 0.0 } else { x }));
    // These are asked with finite operands only, or give integers.
    let finite = [
        "compare",
        "arg_reduce",
        "conv2d_input_grad",
        "conv2d_weight_grad",
        "max_pool2d_grad",
        "avg_pool2d_grad",
        "lrn_grad",
        "uniform",
        "normal",
        "sgd_momentum",
        "bad_operands",
        "same_bits_twice",
    ];
    assert_eq!(found, families_but(&finite));
}

#[test]
fn the_rounding_errors_of_f32_are_allowed() {
    // A millionth: eight units in the last place.
    let alter = |y: &mut HostTensor| for_floats(y, |x| x * 1.000_001);
    let inexact: [fn(&Device, &Settings); 6] =
        [matmul, softmax, conv2d, avg_pool2d, lrn_grad, normal];
    for (i, family) in inexact.into_iter().enumerate() {
        assert!(!refuses(alter, family), "inexact family {i} asks for too much");
    }
    let exact: [fn(&Device, &Settings); 5] = [permute, gather, max_pool2d, cast, uniform];
    for (i, family) in exact.into_iter().enumerate() {
        assert!(refuses(alter, family), "exact family {i} takes what is not the same");
    }
}

#[test]
fn a_failure_says_what_where_and_by_how_much() {
    let device = Device::new(Altered(|y| for_floats(y, |x| x + 1.0)));
    let panic = catch_unwind(AssertUnwindSafe(|| matmul(&device, &QUICK))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    for part in ["MatMul", "transpose_a", "f32[", "element [", "the reference", "tolerance"] {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

#[test]
fn the_operands_are_what_they_say() {
    let x = values::tensor(&[1000], crate::DType::F32, values::Values::Range(-3.0, 5.0), 1);
    let x = Floats::of(&x).values;
    assert!(x.iter().all(|x| (-3.0..5.0).contains(x)));
    assert!(x.iter().any(|&x| x < -2.5) && x.iter().any(|&x| x > 4.5));
    let y = values::tensor(&[1000], crate::DType::F32, values::Values::Range(-3.0, 5.0), 2);
    assert_ne!(x, Floats::of(&y).values);
}
