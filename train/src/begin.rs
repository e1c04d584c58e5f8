//! Where a training begins: from what the working file holds, or anew.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use striate_data::augment::{Recipe, TestView};
use striate_data::statistics::{ColorComponents, Statistics};
use striate_data::{Dataset, FloatImage, Geometry, Protocol, resize_mean};
use striate_nn::{Metadata, NetworkSpec, OptimizerState, Seed};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use crate::beside::best_of;
use crate::checkpoint::{self, Identity, Known, Position, Saved};
use crate::parallel::{Exchange, InitialState};
use crate::session::SessionOptions;
use crate::{Error, History, Result, TrainOptions};

/// What a training is opened with, which decides what it starts from.
pub(crate) struct Opening<'a> {
    pub(crate) working: &'a Path,
    pub(crate) spec: &'a NetworkSpec,
    pub(crate) train: &'a Arc<Dataset>,
    pub(crate) identity: &'a Identity,
    pub(crate) options: &'a SessionOptions,
    pub(crate) geometry: &'a Geometry,
    pub(crate) device: &'a Device,
}

impl Opening<'_> {
    /// Reads the working file where it is there; computes what it does not say. Who calls this
    /// holds the file's lock.
    pub(crate) fn read(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<InitialState> {
        let Opening { working, spec, train, identity, options, geometry, device } = *self;
        // What a killed process left while it was writing a checkpoint: nobody else writes here.
        for file in [working, &best_of(working)] {
            striate_importers::remove_stale_temporaries(file)?;
        }
        let stored = match working.try_exists() {
            Ok(true) => Some(checkpoint::read(working, spec, device)?),
            Ok(false) => None,
            Err(e) => return Err(Error::io(working, "open", e)),
        };
        let (network, saved) = match stored {
            Some((network, saved)) => {
                if network.is_quantized() {
                    return Err(Error::Mismatch {
                        file: working.display().to_string(),
                        expected: "a network of floats, which alone can be trained".into(),
                        got:
                            "one of integers of 8 bits (train the model that it was quantized from)"
                                .into(),
                    });
                }
                same_network(working, spec, network.spec())?;
                (network, saved)
            }
            None => (spec.build(device, Seed(options.train.seed))?, None),
        };
        let resumed = saved.is_some();
        let start = match saved {
            Some(saved) => {
                let labels = network.metadata().labels.as_deref();
                // What the caller named itself is not what the samples are called.
                let labels = labels.filter(|_| options.metadata.labels.is_none());
                same_names(working, train, labels, &saved)?;
                Progress::resumed(working, saved, identity, &options.train)?
            }
            None => Progress::default(),
        };

        let network = match (options.recipe.wants_mean(), network.mean()) {
            (false, Some(_)) => {
                log::info!("the recipe subtracts no mean image: the one of the network is dropped");
                network.without_mean()
            }
            _ => network,
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
            match mean {
                Some(mean) => Some(mean),
                None if options.recipe.wants_mean() => {
                    Some(resize_mean(&statistics.mean, rows, cols)?)
                }
                // The colours alone were asked for.
                None => None,
            }
        } else {
            mean
        };
        let metadata = self.metadata(network.metadata())?;
        let mut network = network.with_metadata(metadata);
        if let Some(mean) = &mean {
            network = network.with_mean(mean_tensor(mean, device)?)?;
        }
        Ok(InitialState {
            network,
            state: start.state,
            position: start.position,
            history: start.history,
            colours,
            resumed,
            shards: start.shards,
            tested: start.tested,
        })
    }

    /// What the model files say of the network: what was asked for, then what this training knows,
    /// then what the working file said before.
    fn metadata(&self, stored: &Metadata) -> Result<Metadata> {
        let Opening { spec, train, options, geometry, .. } = *self;
        let asked = options.metadata.clone();
        let names = train.class_names();
        if let Some(names) = names.filter(|names| names.len() != spec.classes()) {
            log::warn!(
                "{}: names of {} classes for a network of {}: not stored",
                train.origin().display(),
                names.len(),
                spec.classes()
            );
        }
        // Names that the model had before are those of other classes, where the samples name theirs.
        let names = match names {
            Some(names) if names.len() == spec.classes() => Some(names.to_vec()),
            Some(_) => None,
            None => stored.labels.clone(),
        };
        let view = as_json(&TestView::of(&options.recipe, geometry))?;
        let mut extra = stored.extra.clone();
        extra.extend(asked.extra);
        Ok(Metadata {
            labels: asked.labels.or(names),
            protocol: asked.protocol.or_else(|| Some(Protocol::Tested.name().into())),
            view: asked.view.or(Some(view)),
            recipe: asked.recipe.or(Some(as_json(&options.recipe)?)),
            note: asked.note.or_else(|| stored.note.clone()),
            extra,
        })
    }
}

/// A value as JSON. By way of text: single-precision numbers stay as short as they were written.
fn as_json(value: &impl Serialize) -> Result<serde_json::Value> {
    let text = serde_json::to_string(value).and_then(|text| serde_json::from_str(&text));
    text.map_err(|e| Error::Option { expected: "a recipe in JSON".into(), got: e.to_string() })
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

/// How far a training has come, by its working file; nothing of a new one.
#[derive(Default)]
struct Progress {
    state: OptimizerState,
    position: Position,
    history: History,
    colours: Option<ColorComponents>,
    /// In which the mini-batches were cut.
    shards: usize,
    /// The test samples of before.
    tested: Option<Known>,
}

impl Progress {
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
        let changed = |which: &str, difference: String| {
            Err(Error::Mismatch {
                file: file.clone(),
                expected: format!("the {which} samples that it began with"),
                got: format!("others: {difference}"),
            })
        };
        for (what, expected, got) in [
            ("seed", identity.seed, before.seed),
            ("mini-batch", identity.mini_batch as u64, before.mini_batch as u64),
            ("sgd-frequency", identity.sgd_frequency as u64, before.sgd_frequency as u64),
        ] {
            if expected != got {
                return mismatch(what, expected.to_string(), got.to_string());
            }
        }
        if let (Some(now), Some(then)) = (&identity.train, &before.train)
            && let Some(difference) = now.difference(then)
        {
            return changed("training", difference);
        }
        // Files of the first form know no more.
        if identity.samples != before.samples {
            let (now, then) = (identity.samples, before.samples);
            return changed("training", format!("{now} now, {then} before"));
        }
        if identity.labels != before.labels {
            return changed("training", "other labels, or another order".into());
        }
        if let (Some(now), Some(then)) = (&identity.test, &before.test)
            && let Some(difference) = now.difference(then)
        {
            // A miss rate of others says nothing about which network is the best.
            return changed("test", difference);
        }
        if identity.recipe != before.recipe {
            let text = |recipe: &Recipe| serde_json::to_string(recipe).unwrap_or_default();
            return mismatch("the recipe", text(&identity.recipe), text(&before.recipe));
        }
        let (now, then) = (options.optimizer.name(), notes.options.optimizer.name());
        if now != then {
            let expected = format!("the optimizer {now}");
            let got = format!(
                "{then}, whose state is another; go on with that, or begin anew with the network that \
                 `striate convert --strip` keeps"
            );
            return Err(Error::Mismatch { file, expected, got });
        }
        if notes.options.ema.is_some() && options.ema.is_none() {
            log::warn!(
                "{file}: the average of the weights ends here: no ema is asked for any more"
            );
        }
        if notes.options != *options {
            log::info!("{file}: resumes with other rates, another schedule or length than before");
        }
        let colours = saved.colour.map(|colour| ColorComponents {
            values: colour.values.map(|v| v as f32),
            vectors: colour.vectors.map(|vector| vector.map(|v| v as f32)),
        });
        Ok(Progress {
            state: saved.state,
            position: saved.position,
            history: notes.history,
            colours,
            shards: before.shards,
            tested: notes.identity.test,
        })
    }
}

/// Refuses samples whose classes have other names than the working file's, which the first form of
/// its notes does not know better.
fn same_names(
    file: &Path,
    train: &Dataset,
    stored: Option<&[String]>,
    saved: &Saved,
) -> Result<()> {
    let known = saved.notes.as_ref().is_some_and(|notes| notes.identity.train.is_some());
    let (Some(now), Some(then)) = (train.class_names(), stored) else { return Ok(()) };
    let other = now.iter().zip(then).find(|(now, then)| now != then);
    let Some((now, then)) = other.filter(|_| !known && now.len() == then.len()) else {
        return Ok(());
    };
    Err(Error::Mismatch {
        file: file.display().to_string(),
        expected: "the class names that it began with".into(),
        got: format!("others: `{now}` now, `{then}` before"),
    })
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
