//! A residual network in a few lines, twice: in Rust here, as data in `residual_network.json`. Both are
//! the same network. A step of gradient descent trains it.
//!
//!     cargo run --release --example residual_network

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::nn::{self, Rates, Sgd, parameter_gradients, require_grad, update_statistics};
use striate::prelude::*;

#[rustfmt::skip]
fn residual_network() -> NetworkSpec {
    let conv = |count, stride| conv2d(count, 3).stride(stride).padding(1).without_bias();
    NetworkSpec::new([32, 32, 3])
        .conv(conv(16, 1)).batch_norm().relu()
        .residual(|x| x.conv(conv(16, 1)).batch_norm().relu().conv(conv(16, 1)).batch_norm()).relu()
        .residual_with(
            |x| x.conv(conv(32, 2)).batch_norm().relu().conv(conv(32, 1)).batch_norm(),
            |x| x.conv(conv2d(32, 1).stride(2).without_bias()).batch_norm(),
        ).relu()
        .global_avg_pool().full_connect(10)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = residual_network();
    println!("{}", spec.verify(10)?.summary());
    let stored = NetworkSpec::from_json(include_str!("residual_network.json"))?;
    assert_eq!(spec.difference(&stored), None, "as data it is another network");

    let device = Device::auto()?;
    let mut network = stored.build(&device, Seed(7))?;
    require_grad(&mut network);
    let images = Tensor::normal([8, 32, 32, 3], 0.0, 1.0, RandomKey::new(1, 0), &device)?;
    let labels = Tensor::from_vec((0..8u32).collect(), [8], &device)?;
    let loss = |network: &Network| -> Result<_, Box<dyn std::error::Error>> {
        let context = Context::training(RandomKey::new(2, 0));
        let logits = network.forward_with(&images, &context)?;
        Ok((nn::loss::cross_entropy(&logits, &labels)?, context.take_records()))
    };
    let (at_first, records) = loss(&network)?;
    let before = at_first.to_scalar::<f32>()?;
    let gradients = parameter_gradients(&network, at_first.backward()?);
    update_statistics(&mut network, &records)?;
    let rates = Rates { rate: 0.05, momentum: 0.9, decay: 0.0 };
    Sgd::new().step(&mut network, &gradients, |_| rates.step(1.0))?;
    let after = loss(&network)?.0.to_scalar::<f32>()?;
    println!("loss {before}, after a step {after}");
    assert!(after < before);
    Ok(())
}

/// `cargo test --example residual_network`
#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }

    #[test]
    fn is_short() {
        let code = include_str!("residual_network.rs");
        let function = code.split_once("\nfn residual_network()").unwrap().1;
        assert!(function.split_once("\n}\n").unwrap().0.lines().count() < 12);
        assert!(include_str!("residual_network.json").lines().count() <= 20);
    }
}
