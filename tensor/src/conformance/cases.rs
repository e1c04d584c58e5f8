//! A case, and the comparison of what a device makes of it with the reference.

use std::sync::OnceLock;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner,
};

use super::{Settings, over, parts, report};
use crate::reference::{self, Floats};
use crate::{
    DType, Device, Error, HostTensor, HostValues, MAX_RANK, Op, Shape, Tensor, TensorType,
};

/// An op, its operands, and how close a device has to come to the reference.
pub(super) struct Case {
    pub(super) op: Op,
    pub(super) inputs: Vec<HostTensor>,
    pub(super) tolerance: Tolerance,
    /// For each element of the output: whether it may be NaN or infinite where the reference is
    /// finite. Empty where no element may.
    pub(super) spread: Vec<bool>,
}

/// How close a device has to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tolerance {
    /// The same bits; NaN for NaN.
    Bits,
    /// Equal numbers: the sign of zero is free.
    Equal,
    /// Relative to each element, and to `floor` where it is smaller.
    Each { floor: f64 },
    /// Relative to the root of `terms` times `product`, or to the largest element.
    Sum { terms: usize, product: f64 },
}

impl Case {
    pub(super) fn new(
        op: impl Into<Op>,
        inputs: impl Into<Vec<HostTensor>>,
        tolerance: Tolerance,
    ) -> Self {
        Case { op: op.into(), inputs: inputs.into(), tolerance, spread: Vec::new() }
    }

    pub(super) fn types(&self) -> Vec<TensorType> {
        self.inputs.iter().map(HostTensor::ty).collect()
    }

    /// Uploads the operands and executes the op; none where the device does not support it.
    pub(super) fn execute(&self, device: &Device) -> crate::Result<Option<HostTensor>> {
        match device.backend().supports(&self.op, &self.types()) {
            true => run(&self.op, &self.inputs, device).map(Some),
            false => Ok(None),
        }
    }

    fn check(&self, device: &Device, settings: &Settings) -> Result<(), String> {
        let fail = |what: String| Err(format!("{:?} on {:?}: {what}", self.op, self.types()));
        let inputs: Vec<&HostTensor> = self.inputs.iter().collect();
        let want = match reference::execute(&self.op, &inputs) {
            Ok(want) => want,
            Err(error) => return fail(format!("not a case, the reference says: {error}")),
        };
        let got = match self.execute(device) {
            Ok(Some(got)) => got,
            Ok(None) => return self.declined(device, settings).or_else(fail),
            Err(error) => return fail(format!("the device says: {error}")),
        };
        report::executed(self.op.name());
        if got.ty() != want.ty() {
            return fail(format!("the device gives {}, the reference {}", got.ty(), want.ty()));
        }
        match difference(&got, &want, self.tolerance, settings, &self.spread) {
            Some(difference) => fail(difference),
            None => parts::check(&self.op, &self.inputs, &got, device)
                .and_then(|()| over::check(&self.op, &self.inputs, &got, device))
                .or_else(fail),
        }
    }

    /// The device says that it does not support this case: it must have declared so, where the case
    /// is an ordinary one, and it must keep to it.
    pub(super) fn declined(&self, device: &Device, settings: &Settings) -> Result<(), String> {
        let types = self.types();
        let output = self.op.output(&types).map(|ty| ty.dtype);
        let stored = |dtype| !matches!(dtype, DType::F32 | DType::U32);
        let output = output.ok();
        let ordinary = !types.iter().any(|ty| stored(ty.dtype)) && !output.is_some_and(stored);
        let name = self.op.name();
        if ordinary && !settings.declines.contains(&name) {
            return Err(format!(
                "the device does not support it, though every backend executes {name} unless its \
                 `Settings::declines` names it"
            ));
        }
        report::declined(name, &types, output);
        match run(&self.op, &self.inputs, device) {
            Err(Error::Unsupported { .. }) => Ok(()),
            Err(error) => {
                Err(format!("the device does not support it, and executing it says: {error}"))
            }
            Ok(_) => Err("the device says that it does not support it, and executes it".into()),
        }
    }
}

/// Uploads operands, executes an op on them, and downloads the output.
fn run(op: &Op, inputs: &[HostTensor], device: &Device) -> crate::Result<HostTensor> {
    let inputs = inputs.iter().map(|x| Tensor::from_host(x.clone(), device));
    let inputs = inputs.collect::<crate::Result<Vec<Tensor>>>()?;
    device.execute(op, &inputs.iter().collect::<Vec<_>>())?.to_host()
}

/// Says where two tensors of one type differ by more than the tolerance.
pub(super) fn difference(
    got: &HostTensor,
    want: &HostTensor,
    tolerance: Tolerance,
    settings: &Settings,
    spread: &[bool],
) -> Option<String> {
    let (g, w) = (Floats::of(got).values, Floats::of(want).values);
    let dtype = want.ty().dtype;
    let scale = match tolerance {
        Tolerance::Sum { terms, product } => (terms as f64).sqrt() * product,
        _ => 0.0,
    };
    let scale = scale.max(finite_max(want));
    let place = (0..w.len()).find(|&i| {
        let (g, w) = (g[i], w[i]);
        let allowed = match tolerance {
            _ if g.is_nan() && w.is_nan() => return false,
            _ if !g.is_finite() && spread.get(i) == Some(&true) => return false,
            Tolerance::Bits => return !same_bits(got, want, i),
            Tolerance::Equal => return g != w,
            _ if dtype == DType::U32 => return g != w,
            Tolerance::Each { floor } => settings.tolerance * (w.abs() + floor),
            Tolerance::Sum { .. } => settings.tolerance * scale,
        };
        // Rounding is allowed to reach infinity where the exact number is as good as there.
        let (g, w) = (bounded(g, dtype), bounded(w, dtype));
        let close = (g - w).abs() <= allowed + last_place(g.abs().max(w.abs()), dtype);
        // NaN on one side only is close to nothing.
        !close
    })?;
    Some(format!(
        "element {:?} is {}, the reference {} (tolerance {tolerance:?})",
        index(want.shape(), place),
        show(got, place),
        show(want, place),
    ))
}

fn same_bits(a: &HostTensor, b: &HostTensor, i: usize) -> bool {
    let size = a.ty().dtype.size_bytes();
    let bits = |x: &HostTensor| x.values().bytes()[i * size..][..size].to_vec();
    bits(a) == bits(b)
}

/// Infinity as the number that follows the largest of the type.
fn bounded(x: f64, dtype: DType) -> f64 {
    let infinity = if dtype == DType::F16 { 65_536.0 } else { 2f64.powi(128) };
    x.clamp(-infinity, infinity)
}

/// What rounding to the type may add: a unit in the last place of f16, beside which that of f32 is
/// nothing. In f32, results below its normal numbers may be flushed to zero.
fn last_place(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi((x.log2().floor() as i32).clamp(-14, 15) - 10),
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

fn index(shape: &Shape, place: usize) -> Vec<usize> {
    let strides: [usize; MAX_RANK] = shape.strides();
    (shape.dims().iter().zip(strides)).map(|(&extent, stride)| place / stride % extent).collect()
}

fn show(x: &HostTensor, i: usize) -> String {
    match x.values() {
        HostValues::F32(v) => format!("{:e} ({:#010x})", v[i], v[i].to_bits()),
        HostValues::F16(v) => format!("{:e} ({:#06x})", v[i].to_f32(), v[i].to_bits()),
        HostValues::F64(v) => format!("{:e} ({:#018x})", v[i], v[i].to_bits()),
        HostValues::U32(v) => format!("{}", v[i]),
        HostValues::I64(v) => format!("{}", v[i]),
        HostValues::I32(v) => format!("{}", v[i]),
        HostValues::I8(v) => format!("{}", v[i]),
        HostValues::U8(v) | HostValues::Bool(v) => format!("{}", v[i]),
    }
}

/// The largest finite magnitude.
pub(super) fn finite_max(x: &HostTensor) -> f64 {
    let magnitudes = Floats::of(x).values.into_iter().map(f64::abs);
    magnitudes.filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// Checks every case of a table.
pub(super) fn table(device: &Device, settings: &Settings, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        if let Err(message) = case.check(device, settings) {
            panic!("{message}");
        }
    }
}

/// Checks random cases, the same ones every time, and shows the smallest that fails. Its seed is
/// kept in a file, and tried first from then on: see [`Settings::regressions`].
pub(super) fn random<S: Strategy>(
    device: &Device,
    settings: &Settings,
    parameters: S,
    make: impl Fn(S::Value) -> Case,
) {
    let kept = regressions().filter(|_| settings.regressions);
    let config = Config {
        cases: settings.cases,
        failure_persistence: kept.map(|path| Box::new(FileFailurePersistence::Direct(path)) as _),
        max_shrink_iters: 256,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let checked = TestRunner::new_with_rng(config, rng).run(&parameters, |parameters| {
        make(parameters).check(device, settings).map_err(TestCaseError::fail)
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// Where failures are kept: in the crate that is tested, which is not always this one.
fn regressions() -> Option<&'static str> {
    static PATH: OnceLock<Option<String>> = OnceLock::new();
    let path = || {
        let crate_folder = std::env::var("CARGO_MANIFEST_DIR").ok()?;
        Some(format!("{crate_folder}/proptest-regressions/conformance.txt"))
    };
    PATH.get_or_init(path).as_deref()
}
