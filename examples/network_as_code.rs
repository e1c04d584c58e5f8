//! A network of one's own, as code: residual blocks in a module written by hand.
//!
//!     cargo run --release --example network_as_code

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::nn::Conv2d;
use striate::prelude::*;
use striate::tensor::Result;

/// `relu(x + b(relu(a(x))))`
struct Block {
    a: Conv2d,
    b: Conv2d,
}

impl Block {
    fn new(channels: usize, device: &Device, seed: u64) -> Result<Self> {
        let same = conv2d(channels, 3).padding(1);
        Ok(Block {
            a: Conv2d::new(same.relu(), channels, RandomKey::new(seed, 0), device)?,
            b: Conv2d::new(same, channels, RandomKey::new(seed, 1), device)?,
        })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.b.forward(&self.a.forward(x, cx)?, cx)?.add(x)?.relu()
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        visit.child("a", &self.a);
        visit.child("b", &self.b);
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    let network =
        Sequential::new().then(Block::new(16, &device, 1)?).then(Block::new(16, &device, 2)?);
    let x = Tensor::normal([1, 8, 8, 16], 0.0, 1.0, RandomKey::new(3, 0), &device)?;
    let y = network.forward(&x, &Context::inference())?;
    println!("{} -> {}", x.shape(), y.shape());
    Ok(())
}
