//! What a driver's compiler makes of the shaders, without a card: instructions, branches, registers,
//! spills. For whoever tunes a kernel.
//!
//! `RADV_FORCE_FAMILY=navi31 cargo run -p striate-ops-wgsl --example shader_lab -- gemm/tiled`
//!
//! prints a line for each f32 specialisation of the shaders whose names contain what is given. It
//! takes Mesa's RADV (Debian: `mesa-vulkan-drivers`).

#![allow(clippy::print_stdout)]

#[path = "../tests/common/radv.rs"]
mod radv;

use striate_ops_wgsl::{Specialisation, specialisations};

/// The driver's names of what is printed, and ours.
const COLUMNS: [(&str, &str); 8] = [
    ("Instructions", "instructions"),
    ("Branches", "branches"),
    ("VGPRs", "vgprs"),
    ("SGPRs", "sgprs"),
    ("Spilled VGPRs", "spilled"),
    ("LDS size", "shared"),
    ("Latency", "latency"),
    ("Inverse Throughput", "throughput"),
];

/// Of f32 operands.
fn is_single(shader: &Specialisation) -> bool {
    shader.constants.iter().all(|(name, value)| !name.starts_with("HALF") || *value == 0.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let compiler = radv::Compiler::open()?;
    println!("{}, {}", compiler.name(), compiler.driver());
    let titles: Vec<String> = COLUMNS.iter().map(|(_, own)| format!("{own:>12}")).collect();
    println!("{}  shader", titles.concat());
    for shader in specialisations() {
        let named = wanted.is_empty() || wanted.iter().any(|part| shader.shader.contains(part));
        if !named || !is_single(&shader) {
            continue;
        }
        let statistics = compiler.compile(&shader)?;
        let number = |(name, _): &(&str, &str)| match statistics.get(*name) {
            Some(number) => format!("{number:>12}"),
            None => format!("{:>12}", "-"),
        };
        let numbers: Vec<String> = COLUMNS.iter().map(number).collect();
        let set = shader.constants.iter().filter(|(_, value)| *value != 0.0);
        let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
        println!("{}  {} {}", numbers.concat(), shader.shader, set.join(" "));
    }
    Ok(())
}
