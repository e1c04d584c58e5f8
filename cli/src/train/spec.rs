//! Which network is meant.

use std::path::Path;

use striate::image::Dataset;
use striate::models;
use striate::nn::NetworkSpec;
use striate::train::{self, Session, SessionOptions};

use crate::error::{Error, Result};
use crate::output::Output;

/// Learning rates with which networks of the catalogue learn, where the usual one is too high for
/// them: Caffe trains LeNet with 0.01 on pixels from 0 to 1, and here they are from 0 to 255.
const LEARN_RATES: &[(&str, f32)] = &[("lenet", 0.001)];

/// The learning rate that a named network is trained with unless another one is asked for.
pub(super) fn learn_rate(text: &str) -> Option<f32> {
    let network = models::find(text)?;
    let known = |(name, _): &&(&str, f32)| *name == network.name;
    LEARN_RATES.iter().find(known).map(|&(_, rate)| rate)
}

/// Checks, before the samples are read, that a network can be trained with these options. An error
/// about the network has its name.
pub(super) fn check(
    working: &Path,
    name: &str,
    spec: &NetworkSpec,
    options: &SessionOptions,
) -> Result<()> {
    Session::check(working, spec, options).map_err(|error| match error {
        train::Error::Option { .. } => error.into(),
        _ => Error::because(name, error),
    })
}

/// A network of the catalogue with as many classes as the samples have.
pub(super) fn fit(
    name: &str,
    spec: NetworkSpec,
    train: &Dataset,
    output: &Output,
) -> Result<NetworkSpec> {
    let classes = train.classes();
    if classes == spec.classes() {
        return Ok(spec);
    }
    let from = train.origin().display();
    if classes < 2 {
        return Err(Error::message(format!("{from}: one class is nothing to learn")));
    }
    output.note(&format!("{name} gets {classes} classes, as {from} has"));
    Ok(spec.with_classes(classes))
}
