//! Which network is meant.

use std::path::Path;

use striate::image::Dataset;
use striate::importers;
use striate::models;
use striate::nn::NetworkSpec;

use crate::error::{Error, Result};
use crate::output::Output;

/// A network by name, out of a JSON file, or of a model file.
pub(super) fn resolve(text: &str, train: &Dataset, output: &Output) -> Result<NetworkSpec> {
    if let Ok(spec) = models::by_name(text) {
        let classes = train.classes();
        if classes == spec.classes() {
            return Ok(spec);
        }
        if classes < 2 {
            let from = train.origin().display();
            return Err(Error::message(format!("{from}: one class is nothing to learn")));
        }
        output.note(&format!("{text} gets {classes} classes, as {} has", train.origin().display()));
        return Ok(spec.with_classes(classes));
    }
    let path = Path::new(text);
    if !path.exists() {
        let names: Vec<_> = models::names().iter().map(|model| model.name).collect();
        let names = names.join(", ");
        return Err(Error::Usage(format!("no network or file '{text}'; networks: {names}")));
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        let json = std::fs::read_to_string(path)
            .map_err(|e| Error::because(format!("cannot read {text}"), e))?;
        return NetworkSpec::from_json(&json)
            .map_err(|e| Error::because(format!("{text}: no network"), e));
    }
    Ok(importers::inspect(path)?.spec)
}
