//! Opening a training: what is checked before it begins or resumes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use striate_data::augment::Augmenter;
use striate_data::loader::{Loader, LoaderOptions, Purpose, Shards};
use striate_data::{Dataset, Geometry};
use striate_nn::NetworkSpec;
use striate_tensor::Device;

use super::{Session, SessionData, SessionOptions};
use crate::begin::{Opening, float_image, same_everywhere};
use crate::beside;
use crate::checkpoint::{self, Identity, Known};
use crate::learning::Judge;
use crate::lock::Lock;
use crate::parallel::{InitialState, Learner, Parallel, Ranks, shards_of};
use crate::side;
use crate::{Error, Result};

/// So many classes without pictures are named.
const NAMED: usize = 5;

impl Session {
    /// Begins a training of this network in a working file, or resumes the one that it holds. A
    /// working file that holds a network but no training gives the weights to begin with.
    ///
    /// At the beginning the mean image and the colours of the training samples are computed, where
    /// the recipe asks for them.
    ///
    /// # Errors
    /// [`Error::Locked`] where another training uses the file; [`Error::Mismatch`] where it holds
    /// another network, or a training of other samples, seed, mini-batch or recipe;
    /// [`Error::SharedBest`] where its best network would overwrite that of another training;
    /// [`Error::Data`] where labels are beyond the network's classes; those of
    /// [`check`](Session::check), and what the parts say.
    pub fn open<'a>(
        working: impl Into<PathBuf>,
        spec: &NetworkSpec,
        data: impl Into<SessionData<'a>>,
        options: SessionOptions,
        device: &Device,
    ) -> Result<Session> {
        let ranks = options.ranks.clone();
        let session = Self::prepare(working.into(), spec, data.into(), options, device);
        if let (Err(error), Some(ranks)) = (&session, ranks) {
            ranks.exchange.abandon(&error.chain());
        }
        session
    }

    /// Whether a network can be trained like this: worth asking before the samples are read.
    ///
    /// # Errors
    /// [`Error::Option`] where options make no sense, [`Error::Network`] where the network is no
    /// classifier, [`Error::Samples`] where it does not take pictures, [`Error::Unstorable`] where the
    /// working file has no place for one of its layers, and [`Error::Option`] for the optimizer's state.
    pub fn check(
        working: impl AsRef<Path>,
        spec: &NetworkSpec,
        options: &SessionOptions,
    ) -> Result<()> {
        options.train.check(spec.nodes.len())?;
        spec.verify(spec.classes())?;
        options.train.check_classes(spec.classes())?;
        geometry_of(spec).check()?;
        checkpoint::check_storable(working.as_ref(), spec, &options.train)
    }

    fn prepare(
        working: PathBuf,
        spec: &NetworkSpec,
        data: SessionData<'_>,
        options: SessionOptions,
        device: &Device,
    ) -> Result<Session> {
        let SessionData { train, test, progress } = data;
        let ranks = options.ranks.as_ref();
        // Checks that need no time come first: an error after hours of reading helps nobody.
        Self::check(&working, spec, &options)?;
        let classes = spec.classes();
        // A class is what the training samples call so.
        let test = test.map(|test| test.aligned_to(&train)).transpose()?;
        for dataset in std::iter::once(&train).chain(&test) {
            if dataset.classes() > classes {
                return Err(Error::Data {
                    expected: format!("labels of the network's {classes} classes"),
                    got: format!(
                        "{} classes in {}{}",
                        dataset.classes(),
                        dataset.origin().display(),
                        without_pictures(dataset)
                    ),
                });
            }
        }
        if !options.allow_empty_classes {
            refuse_empty_classes(&train)?;
        }
        let geometry = geometry_of(spec);
        let mut identity = Identity {
            seed: options.train.seed,
            mini_batch: options.train.mini_batch,
            sgd_frequency: options.train.sgd_frequency,
            samples: train.len(),
            labels: format!("{:016x}", sum_of(train.labels())),
            train: Some(Known::of(&train)),
            test: test.as_ref().map(Known::of),
            recipe: options.recipe.clone(),
            shards: 1,
        };
        let train = Arc::new(train);
        let is_first = ranks.is_none_or(|ranks| ranks.exchange.rank() == 0);
        let lock = if is_first { Some(Lock::take(&working)?) } else { None };
        if is_first && test.is_some() {
            beside::refuse_shared_best(&working)?;
        }
        let judge =
            Judge::new(train.labels(), test.as_ref().map(|test| test.labels()), &options.train);
        let begin = Opening {
            working: &working,
            spec,
            train: &train,
            identity: &identity,
            options: &options,
            geometry: &geometry,
            device,
        };
        let beginning = match ranks {
            None => begin.read(progress)?,
            Some(Ranks { exchange, .. }) => {
                same_everywhere(exchange, &(&identity, &options.train, spec))?;
                let own = if is_first { Some(begin.read(progress)?) } else { None };
                InitialState::broadcast(own, exchange, device)?
            }
        };
        let stored = beginning.resumed.then_some(beginning.shards);
        let (shards, own) = shards_of(ranks, stored)?;
        if let Some(stored) = stored.filter(|&stored| stored != shards) {
            log::info!(
                "mini-batches are cut into {shards} shards; before they were into {stored}: other \
                 dropout and rounding, else the same training"
            );
        }
        let id = side::id_of(&(&identity, &options.train, spec))?;
        if identity.test.is_none() {
            // What the curves are of stays known in a run that tests nothing.
            identity.test = beginning.tested.clone();
        }
        identity.shards =
            if ranks.is_some_and(|r| r.parallel == Parallel::Data) { shards } else { 1 };
        let mean = beginning.network.mean().map(float_image).transpose()?;
        let colours = beginning.colours.clone();
        let augmenter =
            Arc::new(Augmenter::new(&options.recipe, &geometry, mean.as_ref(), colours.as_ref())?);
        let loader = |dataset: Arc<Dataset>, purpose| {
            let loader_options = LoaderOptions {
                batch: options.train.mini_batch,
                workers: options.workers.max(1),
                ahead: options.workers.max(1) + 1,
                cache_bytes: options.cache_bytes,
                shards: Shards { of: shards, own: own.clone() },
                ..LoaderOptions::default()
            };
            Loader::new(dataset, Arc::clone(&augmenter), purpose, loader_options)
        };
        let purpose = Purpose::Train { seed: options.train.seed };
        let train = loader(train, purpose)?;
        let test = test.map(|test| loader(Arc::new(test), Purpose::Test)).transpose()?;
        let (position, resumed) = (beginning.position, beginning.resumed);
        let history = beginning.history.clone();
        if is_first {
            beside::settle_best(&working, position, &history)?;
        }
        let learner = Learner::new(beginning, &options.train, ranks, own)?;
        Ok(Session {
            working,
            learner,
            train,
            test,
            colours,
            identity,
            position,
            history,
            id,
            judge,
            due: false,
            resumed,
            saved: resumed.then_some(position),
            stop: false,
            begun: None,
            diverged: None,
            options,
            _lock: lock,
        })
    }
}

/// The classes that have no pictures, as the end of a sentence: an empty folder is easily overlooked.
fn without_pictures(dataset: &Dataset) -> String {
    let empty = dataset.empty_classes();
    if empty.is_empty() {
        return String::new();
    }
    let more = if empty.len() > NAMED { ", …" } else { "" };
    format!("; without pictures: {}{more}", empty[..empty.len().min(NAMED)].join(", "))
}

fn geometry_of(spec: &NetworkSpec) -> Geometry {
    let [rows, cols, channels] = spec.input;
    Geometry { image: spec.image, net: [rows, cols], channels, scan_scale: 1 }
}

/// Refuses training samples of which a class has none: mostly a folder that was left empty, or a
/// label that is never used.
fn refuse_empty_classes(train: &Dataset) -> Result<()> {
    let empty = train.empty_classes();
    if empty.is_empty() {
        return Ok(());
    }
    let more = if empty.len() > NAMED { ", …" } else { "" };
    Err(Error::Data {
        expected: format!("pictures of each class in {}", train.origin().display()),
        got: format!(
            "none of {} of its {} classes: {}{more} (--allow-empty-classes, or \
             `SessionOptions::allow_empty_classes`, permits that)",
            empty.len(),
            train.classes(),
            empty[..empty.len().min(NAMED)].join(", ")
        ),
    })
}

/// A sum over labels that notices another order.
fn sum_of(labels: &[u32]) -> u64 {
    // FNV-1a, over words.
    labels.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &label| {
        (sum ^ u64::from(label)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
