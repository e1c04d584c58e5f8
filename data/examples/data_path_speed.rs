//! How many pictures a second the data path makes: `prepare`, and the loader alone.
//!
//! ```sh
//! cargo run --release -p striate-data --example data_path_speed -- DATASET WORK_FOLDER [THREADS]
//! ```
//!
//! DATASET is whatever training takes; WORK_FOLDER gets the prepared pictures.

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use striate_data::prepare::{PrepareOptions, prepare};
use striate_data::{
    Augmenter, BatchPosition, Dataset, Geometry, Loader, LoaderOptions, Purpose, Recipe, Statistics,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, folder, rest @ ..] = &arguments[..] else {
        return Err("usage: data_path_speed DATASET WORK_FOLDER [THREADS]".into());
    };
    let threads = rest.first().map_or(Ok(2), |n| n.parse())?;
    let rate = |what: &str, pictures: usize, started: Instant| {
        let rate = pictures as f64 / started.elapsed().as_secs_f64();
        println!("{what}: {pictures} pictures, {rate:.0} a second with {threads} threads");
    };

    let dataset = Dataset::open(source)?;
    let options = PrepareOptions { threads: Some(threads), ..Default::default() };
    let started = Instant::now();
    let report = prepare(&dataset, folder, "speed", &options, &|_| {})?;
    rate("prepare", report.written, started);
    let started = Instant::now();
    let again = prepare(&dataset, folder, "speed", &options, &|_| {})?;
    rate("prepare, all kept", again.kept, started);

    let prepared = Arc::new(Dataset::open(&report.list)?);
    let geometry = Geometry { image: [257; 2], net: [225; 2], channels: 3, scan_scale: 16 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    for name in Recipe::NAMES {
        let recipe = Recipe::by_name(name)?;
        let started = Instant::now();
        let limits = Default::default();
        let statistics =
            pool.install(|| Statistics::compute(&prepared, &recipe, &geometry, &limits, &|_| {}))?;
        rate(&format!("statistics, {name}"), prepared.len(), started);
        let (mean, colors) = (Some(&statistics.mean), statistics.colors.as_ref());
        let augmenter = Arc::new(Augmenter::new(&recipe, &geometry, mean, colors)?);
        for (how, cache_bytes) in [("from files", 0), ("second epoch, cached", 4 << 30)] {
            let options = LoaderOptions {
                batch: 32,
                workers: threads,
                ahead: threads + 1,
                cache_bytes,
                ..Default::default()
            };
            let (data, former) = (Arc::clone(&prepared), Arc::clone(&augmenter));
            let loader = Loader::new(data, former, Purpose::Train { seed: 1 }, options)?;
            let epoch = |epoch: u32| -> Result<usize, striate_data::Error> {
                let mut batches = loader.batches(BatchPosition { epoch, batch: 0 }, epoch + 1)?;
                let mut pictures = 0;
                while let Some(batch) = batches.next_batch()? {
                    pictures += batch.len();
                    batches.recycle(batch.images);
                }
                Ok(pictures)
            };
            if cache_bytes > 0 {
                epoch(0)?;
            }
            let started = Instant::now();
            rate(&format!("loader, {name}, {how}"), epoch(1)?, started);
        }
    }
    Ok(())
}
