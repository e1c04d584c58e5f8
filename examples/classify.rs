//! Ranks the classes of a photo.
//!
//!     cargo run --release --example classify -- samples/digit-7.png [MODEL]
//!
//! Without a model, the embedded one is used: it knows photos with `--features embedded-photos`, else
//! handwritten digits.

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let photo = arguments.next().unwrap_or_else(|| "samples/digit-7.png".into());
    let device = Device::auto()?;
    let network = match arguments.next() {
        Some(model) => importers::read(model, &device, &ReadOptions::default())?,
        None => Embedded::usual().network(&device)?,
    };
    let ranks = Classifier::new(network)?.classify(&image::open(photo)?)?;
    for class in ranks.top(5) {
        println!("{class}");
    }
    Ok(())
}
