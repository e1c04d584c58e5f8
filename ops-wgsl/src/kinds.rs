//! What shaders know of kinds: text made from the tables of [`striate_tensor::ops`], so that a kind
//! has its number and its name in one place.

use std::fmt::Write;

use striate_tensor::ops::{Activation, BinaryKind, CompareKind, ReduceKind, UnaryGrad, UnaryKind};

/// `const REDUCE_SUM: u32 = 0u;` and so on.
fn constants(op: &str, kinds: impl Iterator<Item = (&'static str, u32)>) -> String {
    kinds.fold("\n".into(), |mut text, (name, number)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "const {op}_{}: u32 = {number}u;", name.to_uppercase());
        text
    })
}

/// `apply`: the function of `functions.wgsl` that has the name of the kind.
pub(crate) fn unary() -> String {
    apply("x: f32", |kind| call(kind, &["a", "b"]), UnaryKind::ALL.iter())
}

/// A call of a function of `functions.wgsl`, with the kind's parameters where the shader has them.
fn call(kind: &UnaryKind, parameters: &[&str]) -> String {
    let mut text = format!("unary_{}(x", kind.name());
    for (_, parameter) in kind.parameters().iter().zip(parameters) {
        let _ = write!(text, ", params.{parameter}");
    }
    text + ")"
}

/// `activate`: what a product or a convolution ends in; and the same for vectors of four.
pub(crate) fn activate(activation: Activation) -> String {
    let value = match activation.kind() {
        Some(kind) => call(&kind, &["low", "high"]),
        None => "x".into(),
    };
    format!(
        "
fn activate(x: f32) -> f32 {{
    return {value};
}}

fn activate4(x: vec4<f32>) -> vec4<f32> {{
    return vec4<f32>(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}}
"
    )
}

/// `apply`: the function of `unary_grad.wgsl` that has the name of the kind.
pub(crate) fn unary_grad() -> String {
    let kinds = UnaryKind::ALL.iter().filter(|kind| UnaryGrad::takes(kind));
    apply("kept: f32, dy: f32", |kind| format!("grad_{}(kept, dy)", kind.name()), kinds)
}

/// A function that calls that of the kind.
fn apply<'a>(
    parameters: &str,
    call: impl Fn(&UnaryKind) -> String,
    kinds: impl Iterator<Item = &'a UnaryKind>,
) -> String {
    let mut text = format!("\nfn apply({parameters}) -> f32 {{\n    switch (KIND) {{\n");
    for kind in kinds {
        let (call, number) = (call(kind), kind.number());
        let _ = writeln!(text, "        case {number}u: {{ return {call}; }}");
    }
    text + "        default: { return float_of(QUIET_NAN); }\n    }\n}\n"
}

/// The numbers of the kinds of `binary.wgsl`.
pub(crate) fn binary() -> String {
    constants("BINARY", BinaryKind::ALL.iter().map(|kind| (kind.name(), kind.number())))
}

/// The numbers of the comparisons of `binary.wgsl`.
pub(crate) fn compare() -> String {
    constants("COMPARE", CompareKind::ALL.iter().map(|kind| (kind.name(), kind.number())))
}

/// The numbers of the kinds of `reduce.wgsl`.
pub(crate) fn reduce() -> String {
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
    fn every_function_is_written_and_no_other() {
        let has = |file_name: &str, prefix: &str, names: Vec<&str>| {
            let text = file(file_name);
            let start = format!("fn {prefix}");
            let written = text.split(&start).skip(1);
            let written: Vec<&str> = written.filter_map(|s| s.split('(').next()).collect();
            for name in &names {
                assert!(written.contains(name), "{file_name} has no function `{prefix}{name}`");
            }
            assert_eq!(written.len(), names.len(), "functions of no kind: {written:?}");
        };
        has("functions.wgsl", "unary_", UnaryKind::NAMES.to_vec());
        let graded = UnaryKind::ALL.iter().filter(|kind| UnaryGrad::takes(kind));
        has("unary_grad.wgsl", "grad_", graded.map(UnaryKind::name).collect());
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
