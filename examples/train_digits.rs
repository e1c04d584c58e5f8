//! Trains the digits model that this program embeds, from MNIST's files:
//!
//! ```sh
//! cargo run --release --example train_digits -- FOLDER digits.safetensors
//! ```
//!
//! FOLDER holds `train-images-idx3-ubyte`, `t10k-images-idx3-ubyte` and their labels. Interrupted,
//! the same command goes on where it was. The test digits choose nothing: what is written is the
//! network of the last epoch.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use striate::image::Dataset;
use striate::image::augment::{CropPosition, MeanPatch, Recipe, Side};
use striate::nn::{Metadata, Rates};
use striate::prelude::*;
use striate::train::{
    self, Decay, EpochReport, LayerRates, Observer, Schedule, Session, SessionData, SessionOptions,
    TrainOptions,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: train_digits FOLDER OUT.safetensors".into());
    };
    let train = Dataset::open(folder.join("train-images-idx3-ubyte"))?;
    let test = Dataset::open(folder.join("t10k-images-idx3-ubyte"))?;

    // Digits as people photograph them: shifted, turned, larger or smaller, dark on light or light
    // on dark.
    let recipe = Recipe {
        side: Side::Drawn { min: 28, max: 32 },
        crop: CropPosition::Random,
        mean: MeanPatch::Elsewhere,
        turn: 10.0,
        invert: true,
        ..Recipe::default()
    };
    let options = TrainOptions {
        mini_batch: 64,
        max_epoch: 60,
        schedule: Schedule { warm_up: 1.0, decay: Decay::Cosine { last: 0.0 } },
        weights: Rates { rate: 0.03, momentum: 0.9, decay: 0.0005 },
        biases: Rates { rate: 0.03, momentum: 0.9, decay: 0.0 },
        layers: BTreeMap::from([(0, first_layer())]),
        ccv_dropout: false,
        ..TrainOptions::default()
    };
    let digits = (0..10).map(|digit| digit.to_string()).collect();
    let note = "LeNet for handwritten digits, trained on 8,004 digits of MNIST, shifted, turned, \
                scaled and inverted at random; it knows digits only";
    let metadata =
        Metadata { labels: Some(digits), note: Some(note.into()), ..Metadata::default() };
    let options = SessionOptions { train: options, recipe, metadata, ..SessionOptions::default() };
    let working = target.with_extension("training.sqlite3");
    let device = Device::cpu(None)?;
    let mut session =
        Session::open(working, &spec(), SessionData::new(train).test(test), options, &device)?;
    session.run(&mut Report, &AtomicBool::new(false))?;

    let network = session.network().cast(DType::F16)?;
    importers::write(&target, &network, &WriteOptions::default())?;
    println!("wrote {}", target.display());
    Ok(())
}

/// LeNet, its first weights small: pixels are 0..255, and what comes after expects about one.
fn spec() -> NetworkSpec {
    let mut spec = models::lenet::lenet();
    let gains = [0.02, 2.0, 2.0, 1.0];
    let mut gains = gains.into_iter();
    for node in &mut spec.nodes {
        let init = match &mut node.layer {
            LayerSpec::Conv(conv) => &mut conv.init,
            LayerSpec::FullConnect(full) => &mut full.init,
            _ => continue,
        };
        init.gain = gains.next().unwrap_or(init.gain);
    }
    spec
}

/// Weights a hundred times smaller under inputs a hundred times larger: gradients are a hundred
/// times larger, and steps must be a hundred times smaller.
fn first_layer() -> LayerRates {
    let weights = Rates { rate: 3e-6, momentum: 0.9, decay: 0.0 };
    let biases = Rates { rate: 0.01, momentum: 0.9, decay: 0.0 };
    LayerRates { weights: Some(weights), biases: Some(biases) }
}

struct Report;

impl Observer for Report {
    fn epoch(&mut self, report: &EpochReport, time: Duration) -> train::Result<()> {
        let test = report.test.unwrap_or_default();
        println!(
            "epoch {}: loss {:.4}, misses {} of {} test digits, {:.1} s",
            report.epoch,
            report.loss,
            test.misses,
            test.samples,
            time.as_secs_f64()
        );
        Ok(())
    }
}
