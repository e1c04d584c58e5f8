//! Writes a classic network with weights that follow a formula: a model file of full size to try
//! and to time things with, the same one for everybody.
//!
//!     cargo run --release --example formula_model -- vgg-d vgg-d.sqlite3 [f16]

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::prelude::*;

#[path = "../tests/common/formula.rs"]
mod formula;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, file, half) = match arguments.as_slice() {
        [name, file] => (name, file, false),
        [name, file, dtype] if dtype == "f16" => (name, file, true),
        _ => return Err("usage: formula_model NETWORK FILE [f16]".into()),
    };
    let constants = (formula::RECORDED.iter().find(|(recorded, ..)| recorded == name))
        .map_or(formula::RECORDED[0].2, |(.., constants)| *constants);
    let network = formula::network(models::by_name(name)?, constants, &Device::cpu(None)?)?;
    let dtype = half.then_some(DType::F16);
    importers::write(file, &network, &WriteOptions::default().dtype(dtype))?;
    println!("{name} with formula weights: {file}");
    Ok(())
}
