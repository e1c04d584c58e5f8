//! Lists the graphics adapters of this machine, and what the first one offers.

#![allow(clippy::print_stdout)]

use striate_ops_wgsl::{AdapterChoice, Options, Wgpu, adapters};
use striate_tensor::Backend;

fn main() -> striate_tensor::Result<()> {
    for adapter in adapters() {
        println!("gpu:{} {} ({:?}, {})", adapter.index, adapter.name, adapter.kind, adapter.driver);
    }
    let gpu = Wgpu::new(&AdapterChoice::Gpu, Options::default())?;
    for (name, value) in gpu.info().properties {
        println!("  {name}: {value}");
    }
    for variant in gpu.variants() {
        let enabled = if variant.enabled { "on" } else { "off" };
        println!("  {} {enabled}: {}", variant.name, variant.why);
    }
    Ok(())
}
