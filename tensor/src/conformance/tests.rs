//! The suite accepts the definition, allows what f32 is off by, and finds faults.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::reference::Floats;
use crate::{
    Backend, Buffer, DeviceInfo, HostTensor, HostValues, Op, Operand, Pending, Reference, Result,
    Target, TensorType,
};

/// Most devices here fail on purpose: nobody wants to keep how.
const QUICK: Settings =
    Settings { cases: 16, tolerance: 1e-5, subnormals: true, declines: &[], regressions: false };

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

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Reference.download(buffer, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let buffer = Reference.execute(op, inputs, output)?;
        let mut y = self.download(&buffer, output)?.wait()?;
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
            let mut y = self.download(target.buffer, target.ty)?.wait()?;
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
    if let HostValues::F32(v) = y.values_mut() {
        v.iter_mut().for_each(|x| *x = change(*x));
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
    let without_arithmetic =
        ["compare", "arg_reduce", "arg_sort", "bad_operands", "same_bits_twice"];
    assert_eq!(found, families_but(&without_arithmetic));
}

#[test]
fn a_nan_that_vanishes_is_found() {
    let found = refused_by(|y| for_floats(y, |x| if x.is_nan() { 0.0 } else { x }));
    // These are asked with finite operands only, or give integers, or round to them first.
    let finite = [
        "compare",
        "arg_reduce",
        "arg_sort",
        "pad_image_grad",
        "conv2d_int8",
        "uniform",
        "normal",
        "sgd_momentum",
        "optimize",
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

/// The reference, but for what it does not support or execute.
#[derive(Clone, Copy)]
struct Declining {
    supports: fn(&Op, &[TensorType]) -> bool,
    executes: fn(&Op, &[TensorType]) -> bool,
}

impl Declining {
    /// Supports what it executes.
    fn honest(supports: fn(&Op, &[TensorType]) -> bool) -> Device {
        Device::new(Declining { supports, executes: supports })
    }

    fn check(&self, op: &Op, types: &[TensorType]) -> Result<()> {
        if (self.executes)(op, types) {
            return Ok(());
        }
        let device = "declining".into();
        Err(crate::Error::Unsupported { device, op: op.name(), reason: "no kernel".into() })
    }
}

impl Backend for Declining {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { name: "declining".into(), ..Reference.info() }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Reference.upload(values)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Reference.download(buffer, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        self.check(op, &inputs.iter().map(|x| *x.ty).collect::<Vec<_>>())?;
        Reference.execute(op, inputs, output)
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        self.check(op, &inputs.iter().map(|x| *x.ty).collect::<Vec<_>>())?;
        Reference.execute_in_place(op, targets, inputs)
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        (self.supports)(op, inputs)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

fn failure(device: &Device, family: &str, settings: &Settings) -> Option<String> {
    let failed = catch_unwind(AssertUnwindSafe(|| run_family(family, device, settings))).err()?;
    failed.downcast_ref::<String>().cloned()
}

#[test]
fn a_backend_that_supports_nothing_fails_every_family_of_ops() {
    let idle = Declining { supports: |_, _| false, executes: |_, _| true };
    // These ask for no op that may be declined.
    let never = ["transfer", "bad_operands"];
    // And this one for a type that no device has to take: to decline it is no failure, but to say so of what
    // is executed.
    let honest = ["transfer", "bad_operands", "conv2d_int8"];
    for (idle, without) in
        [(Device::new(idle), &never[..]), (Declining::honest(|_, _| false), &honest[..])]
    {
        let refusing = (FAMILIES.iter().map(|(name, _)| *name))
            .filter(|name| failure(&idle, name, &QUICK).is_some_and(|m| m.contains("support")));
        let expected = families_but(without);
        assert_eq!(refusing.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_op_may_be_declined_where_the_settings_say_so() {
    let device = Declining::honest(|op, _| op.name() != "conv2d");
    let message = failure(&device, "conv2d", &QUICK).unwrap();
    assert!(message.contains("conv2d unless its `Settings::declines` names it"), "{message}");
    let declared = Settings { declines: &["conv2d"], ..QUICK };
    let report = run_family("conv2d", &device, &declared);
    assert_eq!(report.executed, 0);
    assert!(report.declined["conv2d of f32, f32"] > 100, "{report}");
    assert!(run_family("matmul", &device, &declared).declined.is_empty());
}

#[test]
fn half_precision_may_be_declined_and_is_reported() {
    let device = Declining::honest(|_, types| types.iter().all(|ty| ty.dtype != crate::DType::F16));
    let report = run_family("matmul", &device, &QUICK);
    assert!(report.executed > 100, "{report}");
    assert!(report.declined.contains_key("matmul of f16, f32"), "{report}");
    assert!(report.to_string().contains("declined of matmul of f16, f32"), "{report}");
}

#[test]
fn what_a_backend_says_of_its_support_must_be_true() {
    let claims = Declining { supports: |_, _| true, executes: |op, _| op.name() != "lrn" };
    let message = failure(&Device::new(claims), "lrn", &QUICK).unwrap();
    assert!(message.contains("the device says") && message.contains("no kernel"), "{message}");

    let hides = Declining { supports: |op, _| op.name() != "lrn", executes: |_, _| true };
    let declared = Settings { declines: &["lrn"], ..QUICK };
    let message = failure(&Device::new(hides), "lrn", &declared).unwrap();
    assert!(message.contains("does not support it, and executes it"), "{message}");
}
