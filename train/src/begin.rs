//! Where a training begins: from what the working file holds, or anew.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use striate_data::augment::Recipe;
use striate_data::statistics::{ColorComponents, Statistics};
use striate_data::{Dataset, FloatImage, Geometry, resize_mean};
use striate_nn::{NetworkSpec, Seed};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use crate::beside::best_of;
use crate::checkpoint::{self, Identity, Position, Saved};
use crate::parallel::{Beginning, Exchange};
use crate::session::SessionOptions;
use crate::{Error, History, Result, TrainOptions};

/// What decides where a training begins.
pub(crate) struct Begin<'a> {
    pub(crate) working: &'a Path,
    pub(crate) spec: &'a NetworkSpec,
    pub(crate) train: &'a Arc<Dataset>,
    pub(crate) identity: &'a Identity,
    pub(crate) options: &'a SessionOptions,
    pub(crate) geometry: &'a Geometry,
    pub(crate) device: &'a Device,
}

impl Begin<'_> {
    /// Reads the working file where it is there; computes what it does not say. Who calls this
    /// holds the file's lock.
    pub(crate) fn read(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<Beginning> {
        let Begin { working, spec, train, identity, options, geometry, device } = *self;
        // What a killed process left while it was writing a checkpoint: nobody else writes here.
        for file in [working, &best_of(working)] {
            striate_importers::remove_stale_temporaries(file)?;
        }
        let stored = match working.try_exists() {
            Ok(true) => Some(checkpoint::read(working, device)?),
            Ok(false) => None,
            Err(e) => return Err(Error::io(working, "open", e)),
        };
        let (network, saved) = match stored {
            Some((network, saved)) => {
                same_network(working, spec, network.spec())?;
                (network, saved)
            }
            None => (spec.build(device, Seed(options.train.seed))?, None),
        };
        let resumed = saved.is_some();
        let start = match saved {
            Some(saved) => Start::resumed(working, saved, identity, &options.train)?,
            None => Start::default(),
        };

        let mean = network.mean().map(float_image).transpose()?;
        let mut colours = start.colours;
        let needs_mean = options.recipe.wants_mean() && mean.is_none();
        let needs_colours = options.recipe.wants_colors(geometry.channels) && colours.is_none();
        let mean = if needs_mean || needs_colours {
            log::info!("computing the mean image and colours of {} samples", train.len());
            let limits = Default::default();
            let statistics =
                Statistics::compute(train, &options.recipe, geometry, &limits, progress)?;
            colours = colours.or(statistics.colors);
            // In the network's own size, as the file holds it: what goes on must see the same.
            let [rows, cols] = spec.image;
            Some(match mean {
                Some(mean) => mean,
                None => resize_mean(&statistics.mean, rows, cols)?,
            })
        } else {
            mean
        };
        let mut metadata = options.metadata.clone();
        if metadata.labels.is_none() {
            metadata.labels = network.metadata().labels.clone();
        }
        if metadata.labels.is_none() {
            let names = train.class_names().filter(|names| names.len() == spec.classes());
            metadata.labels = names.map(Into::into);
        }
        let mut network = network.with_metadata(metadata);
        if let Some(mean) = &mean {
            network = network.with_mean(mean_tensor(mean, device)?)?;
        }
        Ok(Beginning {
            network,
            velocities: start.velocities,
            position: start.position,
            history: start.history,
            colours,
            resumed,
            shards: start.shards,
        })
    }
}

/// Refuses ranks that were not started with the same command on the same samples.
pub(crate) fn same_everywhere(exchange: &Exchange, what: &impl Serialize) -> Result<()> {
    let own = serde_json::to_vec(what).map_err(|source| Error::Encode { source })?;
    let all = exchange.gather_bytes(&own).wait()?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::Option {
            expected: "the same network, options and samples on all ranks".into(),
            got: format!("others on rank {rank} than on rank 0"),
        }),
    }
}

/// Where a training begins.
#[derive(Default)]
struct Start {
    velocities: std::collections::BTreeMap<String, Tensor>,
    position: Position,
    history: History,
    colours: Option<ColorComponents>,
    /// In which the mini-batches were cut.
    shards: usize,
}

impl Start {
    fn resumed(
        file: &Path,
        saved: Saved,
        identity: &Identity,
        options: &TrainOptions,
    ) -> Result<Self> {
        let file = file.display().to_string();
        let Some(notes) = saved.notes else {
            let expected = "a training of this program's (its order of samples is not ccv's)";
            let got =
                "one that ccv left; `striate convert --strip` keeps its network to begin with";
            return Err(Error::Mismatch { file, expected: expected.into(), got: got.into() });
        };
        let before = &notes.identity;
        let mismatch = |what: &str, expected: String, got: String| {
            let expected = format!("{what} {expected}");
            Err(Error::Mismatch { file: file.clone(), expected, got })
        };
        for (what, expected, got) in [
            ("seed", identity.seed, before.seed),
            ("mini-batch", identity.mini_batch as u64, before.mini_batch as u64),
            ("sgd-frequency", identity.sgd_frequency as u64, before.sgd_frequency as u64),
            ("a number of training samples of", identity.samples as u64, before.samples as u64),
        ] {
            if expected != got {
                return mismatch(what, expected.to_string(), got.to_string());
            }
        }
        if identity.labels != before.labels {
            return mismatch(
                "the same training samples",
                "in the same order".into(),
                "others".into(),
            );
        }
        if identity.recipe != before.recipe {
            let text = |recipe: &Recipe| serde_json::to_string(recipe).unwrap_or_default();
            return mismatch("the recipe", text(&identity.recipe), text(&before.recipe));
        }
        if notes.options != *options {
            log::info!("{file}: resumes with other rates, another schedule or length than before");
        }
        let colours = saved.colour.map(|colour| ColorComponents {
            values: colour.values.map(|v| v as f32),
            vectors: colour.vectors.map(|vector| vector.map(|v| v as f32)),
        });
        Ok(Start {
            velocities: saved.velocities,
            position: saved.position,
            history: notes.history,
            colours,
            shards: before.shards,
        })
    }
}

/// Refuses a working file of another network. Names, initial weights and dropout rates may differ.
fn same_network(file: &Path, spec: &NetworkSpec, stored: &NetworkSpec) -> Result<()> {
    if let Some(difference) = spec.difference(stored) {
        let (expected, got) = difference;
        return Err(Error::Mismatch { file: file.display().to_string(), expected, got });
    }
    Ok(())
}

pub(crate) fn float_image(mean: &Tensor) -> Result<FloatImage> {
    let values = mean.to_vec::<f32>()?;
    match *mean.dims() {
        [rows, cols, channels] => Ok(FloatImage::new(rows, cols, channels, values)?),
        _ => Err(Error::Data {
            expected: "a mean image [rows, cols, channels]".into(),
            got: mean.shape().to_string(),
        }),
    }
}

fn mean_tensor(mean: &FloatImage, device: &Device) -> Result<Tensor> {
    let shape = Shape::new(&[mean.rows(), mean.cols(), mean.channels()])?;
    Ok(Tensor::from_host(HostTensor::new(shape, mean.values().to_vec())?, device)?)
}
