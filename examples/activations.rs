//! What a network computes on the way: the shape, mean and sparsity of every layer's output.
//!
//!     cargo run --release --example activations

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    let network = models::by_name("alexnet")?.build(&device, Seed(1))?;
    let [rows, cols, channels] = network.spec().input;
    let key = RandomKey::new(2, 0);
    let picture = Tensor::uniform([1, rows, cols, channels], -128.0, 128.0, key, &device)?;
    network.activations(&picture, |layer, activation| {
        let zero = Tensor::zeros([1], &device)?;
        let mean = activation.mean_all()?.to_scalar::<f32>()?;
        let zeros = activation.eq(&zero)?.cast(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
        println!(
            "layer {layer:2}  {:18} mean {mean:12.4}  zeros {:5.1} %",
            activation.shape().to_string(),
            100.0 * zeros
        );
        Ok(())
    })?;
    Ok(())
}
