//! A network of one's own, as data: verified, shown, built, run, saved and read again.
//!
//!     cargo run --release --example network_as_data

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = NetworkSpec::new([32, 32, 3])
        .with_name("small")
        .conv(conv2d(32, 3).padding(1))
        .relu()
        .lrn(lrn(5))
        .max_pool(pool(2).stride(2))
        .conv(conv2d(64, 3).padding(1))
        .relu()
        .max_pool(pool(2).stride(2))
        .full_connect(128)
        .relu()
        .dropout(0.5)
        .full_connect(10);

    // Shapes, parameters and multiplications, before anything is allocated.
    println!("{}", spec.verify(10)?.summary());

    let device = Device::auto()?;
    let network = spec.build(&device, Seed(7))?;
    let images = Tensor::uniform([4, 32, 32, 3], -128.0, 128.0, RandomKey::new(1, 0), &device)?;
    let logits = network.forward(&images)?;
    println!("logits {}: best classes {:?}", logits.shape(), logits.arg_max(1)?.to_vec::<u32>()?);

    let file = std::env::temp_dir().join("striate-small.safetensors");
    importers::write(&file, &network, &WriteOptions::default())?;
    let again = importers::read(&file, &device, &ReadOptions::default())?;
    assert_eq!(again.forward(&images)?.to_vec::<f32>()?, logits.to_vec::<f32>()?);
    println!("saved to {} and read again: the same logits", file.display());
    std::fs::remove_file(file)?;
    Ok(())
}
