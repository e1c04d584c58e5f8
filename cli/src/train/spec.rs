//! Which network is meant.

use striate::image::Dataset;
use striate::nn::NetworkSpec;

use crate::error::{Error, Result};
use crate::model;
use crate::output::Output;

/// A network by name, with as many classes as the samples have; or out of a file.
pub(super) fn resolve(text: &str, train: &Dataset, output: &Output) -> Result<NetworkSpec> {
    let (spec, is_named) = model::spec(text)?;
    let classes = train.classes();
    if !is_named || classes == spec.classes() {
        return Ok(spec);
    }
    let from = train.origin().display();
    if classes < 2 {
        return Err(Error::message(format!("{from}: one class is nothing to learn")));
    }
    output.note(&format!("{text} gets {classes} classes, as {from} has"));
    Ok(spec.with_classes(classes))
}
