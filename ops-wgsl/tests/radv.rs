//! Budgets of the shaders: what Mesa's RADV makes of them, without a card.
//!
//! Where there is no RADV the test says so and passes. It judges the numbers of one version of Mesa alone;
//! in any version nothing may spill.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "common/radv.rs"]
mod radv;

use std::process::Command;

use striate_ops_wgsl::{Specialisation, specialisations};

/// RDNA3, by the name of either generation of Mesa.
const FAMILIES: [&str; 2] = ["navi31", "GFX1100"];

/// The most instructions of the largest tile, with vectors of both operands: Mesa 22.3 makes 2,082 of a
/// convolution's and 2,120 of a weight gradient's.
const MOST_INSTRUCTIONS: u64 = 2_150;
const JUDGED: &str = "22.3.";

fn constant(shader: &Specialisation, name: &str) -> f64 {
    let found = shader.constants.iter().find(|(own, _)| *own == name);
    found.map_or(0.0, |(_, value)| *value)
}

/// The products of f32 by the largest tile that read vectors, and do nothing else at the end.
fn is_largest_tile(shader: &Specialisation) -> bool {
    let is = |name, value| constant(shader, name) == value;
    let plain = ["HALF_A", "HALF_B", "BIAS", "RESIDUAL", "ACCUMULATE"];
    shader.shader == "gemm/tiled.wgsl"
        && shader.activation.is_none()
        && plain.into_iter().all(|name| is(name, 0.0))
        && (is("DOWN", 16.0) && is("TALL", 1.0) && is("WIDE", 1.0))
        && (!is("VECTOR_A", 0.0) && !is("VECTOR_B", 0.0))
}

/// Those for drivers on a processor keep their sums on the stack on purpose.
fn is_for_cards(shader: &Specialisation) -> bool {
    !shader.shader.contains("wide")
        && shader.constants.iter().all(|(name, value)| !name.starts_with("HALF") || *value == 0.0)
        && ["conv2d/", "gemm/", "matmul/"]
            .into_iter()
            .any(|folder| shader.shader.starts_with(folder))
}

/// Prints what is over its budget.
fn judge(compiler: &radv::Compiler) -> bool {
    let judged = compiler.driver().contains(JUDGED);
    let mut good = true;
    // The epilogues of one tile are much alike: those without any stand for them.
    let plain = |shader: &Specialisation| {
        let added = ["BIAS", "RESIDUAL", "ACCUMULATE"];
        shader.activation.is_none() && added.into_iter().all(|name| constant(shader, name) == 0.0)
    };
    for shader in specialisations().iter().filter(|shader| is_for_cards(shader) && plain(shader)) {
        let statistics = compiler.compile(shader).unwrap();
        let number = |name: &str| statistics.get(name).copied().unwrap_or_default();
        let spilled = number("Spilled VGPRs") + number("Scratch size");
        let long = judged && is_largest_tile(shader) && number("Instructions") > MOST_INSTRUCTIONS;
        if spilled > 0 || long {
            println!("{} {:?}: {statistics:?}", shader.shader, shader.constants);
            good = false;
        }
    }
    good
}

#[test]
fn shaders_stay_within_their_budgets() {
    if std::env::var_os("RADV_FORCE_FAMILY").is_some() {
        match radv::Compiler::open() {
            Ok(compiler) => {
                println!("judged on {} {}", compiler.name(), compiler.driver());
                assert!(judge(&compiler), "over budget");
            }
            Err(error) => println!("skipped: {error}"),
        }
        return;
    }
    // The driver reads the variable when it is loaded, and ends the process where it knows no such family.
    for family in FAMILIES {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shaders_stay_within_their_budgets", "--nocapture"])
            .env("RADV_FORCE_FAMILY", family)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if told.contains("judged on") {
            println!("{told}");
            assert!(output.status.success(), "{family}: {told}");
            return;
        }
    }
    println!("skipped: no RADV here");
}
