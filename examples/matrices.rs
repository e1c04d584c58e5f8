//! A small matrix calculation: the main axis of a cloud of points, and the points that lie farthest out on
//! it.
//!
//!     cargo run --release --example matrices

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::auto()?;
    // Points around a line through the origin, `[points, 2]`.
    let along = Tensor::normal([100, 1], 0.0, 3.0, RandomKey::new(1, 0), &device)?;
    let line = Tensor::from_vec(vec![0.8f32, 0.6], [1, 2], &device)?;
    let noise = Tensor::normal([100, 2], 0.0, 0.2, RandomKey::new(1, 1), &device)?;
    let points = (along.matmul(&line)? + noise)?;

    let centred = (&points - points.mean_keepdims(0)?)?;
    let covariance = (Tensor::einsum("ni,nj->ij", &[&centred, &centred])? / 99.0)?;
    println!("covariance\n{covariance}");

    // The matrix, applied again and again, turns any vector into its main axis.
    let mut axis = Tensor::ones([2], &device)?;
    for _ in 0..20 {
        axis = covariance.matmul(&axis)?;
        axis = (&axis / axis.norm(2.0, ..)?)?;
    }
    println!("main axis {axis}");

    let (_, farthest) = centred.matmul(&axis)?.abs()?.top_k(3, 0)?;
    println!("the farthest points {farthest}\n{}", points.i(&farthest)?);
    let off = (&axis - line.i(0)?)?.abs()?.max(..)?.to_scalar::<f32>()?;
    assert!(off < 0.05, "the line is found, but for {off}");
    Ok(())
}

/// `cargo test --example matrices`
#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }
}
