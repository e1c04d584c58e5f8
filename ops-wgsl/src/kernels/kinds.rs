//! What shaders know of kinds: text made from the tables of [`striate_tensor::ops`], so that a kind
//! has its number and its name in one place.

use std::fmt::Write;

use striate_tensor::ops::{BinaryKind, CompareKind, ReduceKind, UnaryKind};

/// `const REDUCE_SUM: u32 = 0u;` and so on.
fn constants(op: &str, kinds: impl Iterator<Item = (&'static str, u32)>) -> String {
    kinds.fold("\n".into(), |mut text, (name, number)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "const {op}_{}: u32 = {number}u;", name.to_uppercase());
        text
    })
}

/// `apply`: the function of `unary.wgsl` that has the name of the kind.
pub(super) fn unary() -> String {
    let mut text = String::from("\nfn apply(x: f32) -> f32 {\n    switch (KIND) {\n");
    for kind in UnaryKind::ALL {
        let (name, number) = (kind.name(), kind.number());
        let _ = writeln!(text, "        case {number}u: {{ return unary_{name}(x); }}");
    }
    text + "        default: { return float_of(QUIET_NAN); }\n    }\n}\n"
}

/// The numbers of the kinds of `binary.wgsl`.
pub(super) fn binary() -> String {
    constants("BINARY", BinaryKind::ALL.iter().map(|kind| (kind.name(), kind.number())))
}

/// The numbers of the comparisons of `binary.wgsl`.
pub(super) fn compare() -> String {
    constants("COMPARE", CompareKind::ALL.iter().map(|kind| (kind.name(), kind.number())))
}

/// The numbers of the kinds of `reduce.wgsl`.
pub(super) fn reduce() -> String {
    constants("REDUCE", ReduceKind::ALL.iter().map(|kind| (kind.name(), kind.number())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/");

    fn file(name: &str) -> String {
        std::fs::read_to_string(format!("{DIRECTORY}{name}")).unwrap()
    }

    #[test]
    fn every_unary_function_is_written_and_no_other() {
        let text = file("unary.wgsl");
        let written: Vec<&str> =
            text.split("fn unary_").skip(1).filter_map(|s| s.split('(').next()).collect();
        for name in UnaryKind::NAMES {
            assert!(written.contains(name), "unary.wgsl has no function `unary_{name}`");
        }
        assert_eq!(written.len(), UnaryKind::NAMES.len(), "functions of no kind: {written:?}");
    }

    /// A switch has a default that no kind is meant to reach, so the compiler of shaders does not see
    /// that a case is missing.
    #[test]
    fn every_switch_has_a_case_for_every_kind() {
        let asked = |file_name: &str, constants: String, beside: &[&str]| {
            let text = file(file_name);
            for name in
                constants.lines().filter_map(|l| l.strip_prefix("const ")?.split(':').next())
            {
                let case = format!("case {name}:");
                let written = text.contains(&case);
                assert!(written || beside.contains(&name), "{file_name} has no `{case}`");
            }
        };
        asked("binary.wgsl", binary(), &[]);
        asked("binary.wgsl", compare(), &[]);
        // A sum that is divided.
        asked("reduce.wgsl", reduce(), &["REDUCE_MEAN"]);
    }
}
