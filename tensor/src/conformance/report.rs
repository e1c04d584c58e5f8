//! What a run of the suite executed, and what the backend declined.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{FAMILIES, Settings};
use crate::{DType, Device, TensorType};

/// What one family of the suite asked of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyReport {
    /// The family, as in [`FAMILIES`].
    pub family: &'static str,
    /// Cases that the device executed as the reference does.
    pub executed: usize,
    /// The [names](crate::Op::name) of the ops of these cases.
    pub ops: BTreeSet<&'static str>,
    /// Cases that the device declined, counted by op and element types: `conv2d of f16, f32`, or `cast of
    /// f32 to i64` where the output has another type than the operands.
    pub declined: BTreeMap<String, usize>,
}

impl std::fmt::Display for FamilyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} cases executed", self.family, self.executed)?;
        for (what, count) in &self.declined {
            write!(f, ", {count} declined of {what}")?;
        }
        Ok(())
    }
}

thread_local! {
    /// Of the family that this thread runs. (A family runs on one thread.)
    static CURRENT: RefCell<FamilyReport> = RefCell::new(FamilyReport::default());
}

/// Counts a case that was executed.
pub(super) fn executed(op: &'static str) {
    CURRENT.with_borrow_mut(|report| {
        report.executed += 1;
        report.ops.insert(op);
    });
}

/// Counts a case that was declined.
pub(super) fn declined(op: &str, types: &[TensorType], output: Option<DType>) {
    let dtypes: Vec<&str> = types.iter().map(|ty| ty.dtype.name()).collect();
    let mut what = match &dtypes[..] {
        [] => op.to_owned(),
        dtypes => format!("{op} of {}", dtypes.join(", ")),
    };
    if let Some(output) = output.filter(|output| !dtypes.contains(&output.name())) {
        what = format!("{what} to {output}");
    }
    CURRENT.with_borrow_mut(|report| *report.declined.entry(what).or_default() += 1);
}

/// Runs the family of this name, and reports what was executed and what the device declined.
///
/// # Panics
/// Where the device disagrees with the reference, or declines what its
/// [`Settings::declines`] does not name; also where there is no such family.
pub fn run_family(name: &str, device: &Device, settings: &Settings) -> FamilyReport {
    let Some((family, run)) = FAMILIES.iter().find(|(family, _)| *family == name) else {
        panic!("the conformance suite has no family `{name}`");
    };
    CURRENT.set(FamilyReport { family, ..FamilyReport::default() });
    run(device, settings);
    CURRENT.take()
}

/// Runs every family, and reports what was executed and what the device declined.
///
/// # Panics
/// As [`run_family`], at the first failure.
pub fn run(device: &Device, settings: &Settings) -> Vec<FamilyReport> {
    FAMILIES.iter().map(|(name, _)| run_family(name, device, settings)).collect()
}
