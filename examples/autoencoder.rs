//! An autoencoder: pictures through a narrow middle and back, with upsampling on the way.
//!
//!     cargo run --release --example autoencoder

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::nn::{self, Method, Optimizer, Rates, parameter_gradients, require_grad};
use striate::prelude::*;

/// Pictures of one bright square each, of 4 to 7 pixels a side: `[n, 16, 16, 1]`.
fn squares(n: usize, device: &Device) -> striate::tensor::Result<Tensor> {
    let inside = |i: usize, at: usize| (i % 9..i % 9 + 4 + i % 4).contains(&at);
    let pixel = |i: usize, row: usize, col: usize| inside(i, row) && inside(i * 5, col);
    let pixels = (0..n * 256).map(|at| pixel(at / 256, at % 256 / 16, at % 16));
    Tensor::from_vec(pixels.map(|lit| f32::from(u8::from(lit))).collect(), [n, 16, 16, 1], device)
}

#[rustfmt::skip]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    let half = |count| conv2d(count, 3).stride(2).padding(1);
    let spec = NetworkSpec::new([16, 16, 1])
        .conv(half(8)).silu().conv(half(16)).silu().conv(conv2d(4, 1))
        .upsample(2).conv(conv2d(16, 3).padding(1)).silu()
        .upsample(2).conv(conv2d(1, 3).padding(1)).sigmoid();
    let mut network = spec.build(&device, Seed(3))?;
    require_grad(&mut network);
    let pictures = squares(36, &device)?;
    let mut optimizer = Optimizer::new(Method::adam());
    let rates = Rates { rate: 0.01, ..Method::adam().usual_rates() };
    let (mut first, mut last) = (None, f32::INFINITY);
    for step in 0..80 {
        let back = network.forward_with(&pictures, &Context::training(RandomKey::new(1, step)))?;
        let loss = nn::loss::mse(&back, &pictures)?;
        last = loss.to_scalar::<f32>()?;
        first.get_or_insert(last);
        let gradients = parameter_gradients(&network, loss.backward()?);
        optimizer.step(&mut network, &gradients, |_| rates)?;
    }
    println!("mean squared error {} at first, {last} at last", first.unwrap_or(last));
    assert!(last < 0.25 * first.unwrap_or(0.0));
    Ok(())
}

/// `cargo test --example autoencoder`
#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }
}
