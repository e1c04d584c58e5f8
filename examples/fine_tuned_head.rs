//! A new head on a trained network: what the digits model sees tells upright strokes from level ones.
//!
//!     cargo run --release --example fine_tuned_head

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::nn::{self, FullConnect, Method, Optimizer, Rates, parameter_gradients, require_grad};
use striate::prelude::*;

/// 24 pictures of one stroke each, and whether it is upright.
fn strokes(device: &Device) -> striate::tensor::Result<(Tensor, Tensor)> {
    let within = |place: usize, at: usize| (place..place + 4).contains(&at);
    let pixel = |i: usize, row: usize, col: usize| within(i, if i % 2 == 1 { col } else { row });
    let pixels = (0..24 * 28 * 28).map(|at| pixel(at / 784, at % 784 / 28, at % 28));
    let pictures = pixels.map(|inside| if inside { 255.0f32 } else { 0.0 }).collect();
    let labels = (0..24u32).map(|i| i % 2).collect();
    Ok((
        Tensor::from_vec(pictures, [24, 28, 28, 1], device)?,
        Tensor::from_vec(labels, [24], device)?,
    ))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    let network = digits_model(&device)?;
    let (pictures, labels) = strokes(&device)?;
    // The trunk is frozen: its features are computed once.
    let trunk = network.spec().first_full_connect().ok_or("no full-connect layer")?;
    let features = network.forward_layers(0..trunk, &pictures)?.flatten()?.affine(0.01, 0.0)?;

    let key = RandomKey::new(7, 0);
    let mut head = FullConnect::new(full_connect(2), features.dims()[1], key, &device)?;
    require_grad(&mut head);
    let mut optimizer = Optimizer::new(Method::adamw());
    let rates = Rates { rate: 0.001, ..Method::adamw().usual_rates() };
    for _ in 0..50 {
        let logits = head.forward(&features, &Context::inference())?;
        let loss = nn::loss::cross_entropy(&logits, &labels)?;
        let gradients = parameter_gradients(&head, loss.backward()?);
        optimizer.step(&mut head, &gradients, |_| rates)?;
    }
    let told = head.forward(&features, &Context::inference())?.arg_max(-1)?;
    let right = told.eq(&labels)?.sum(..)?.to_scalar::<u32>()?;
    println!("{right} of 24 strokes are told right");
    assert!(right >= 23);
    Ok(())
}

/// `cargo test --example fine_tuned_head`
#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }
}
