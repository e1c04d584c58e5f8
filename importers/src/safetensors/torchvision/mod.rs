//! torchvision's state dicts, recognised by names and shapes, imported.

mod import;
mod layout;

use striate_nn::Network;
use striate_tensor::Device;

use super::file::TensorFile;
use super::model::SPEC;
use crate::inspection::{Inspection, StoredParameters};
use crate::options::ReadOptions;
use crate::{Error, Format, Result};
use layout::Layout;

/// Reads a state dict, its weights permuted, torchvision's normalisation folded in.
pub(super) fn read(file: &TensorFile, device: &Device, options: &ReadOptions) -> Result<Network> {
    let layout = recognise(file)?;
    import::import(file, &layout, &import::IMAGENET, device, options)
}

/// What the network will be, without its weights.
pub(super) fn inspect(file: &TensorFile) -> Result<Inspection> {
    let layout = recognise(file)?;
    let mut layers = Vec::new();
    for (shape, prefix) in layout.shapes(file.name())?.iter().zip(&layout.prefixes) {
        let Some(prefix) = prefix else {
            layers.push(None);
            continue;
        };
        let mut stored = None;
        for parameter in &shape.parameters {
            let (_, floats) = file.floats(&format!("{prefix}.{}", parameter.role.name()))?;
            stored = Some(StoredParameters::with(stored, floats.dtype(), parameter.shape.count()));
        }
        layers.push(stored);
    }
    Ok(Inspection {
        file: file.name().into(),
        format: Format::Torchvision,
        bytes: file.size(),
        mean: true,
        training_state: Vec::new(),
        training: None,
        training_options: None,
        metadata: import::metadata(&layout),
        layers,
        spec: layout.spec,
    })
}

/// What the names of torchvision's tensors begin with.
const BEGINNINGS: [&str; 6] =
    ["features.", "classifier.", "conv1.", "layer1.", "inception3a.", "fc."];

/// What comes before the names of torchvision's tensors, such as `module.` where the network was trained
/// on several devices, or `state_dict.model.`: nothing for a plain state dict. `None` where no name is
/// like one of torchvision's.
fn beginning(file: &TensorFile) -> Option<&str> {
    let first = |name: &'_ str| {
        let of_torchvision = |at: &usize| BEGINNINGS.iter().any(|b| name[*at..].starts_with(b));
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        std::iter::once(0).chain(starts).find(of_torchvision)
    };
    file.names().find_map(|name| Some(&name[..first(name)?]))
}

/// The network whose names and shapes these are.
fn recognise(file: &TensorFile) -> Result<Layout> {
    let fail = |place: &str, expected: &str, got: String| {
        Err(Error::content(file.name(), place, expected, got))
    };
    let Some(beginning) = beginning(file) else {
        let first: Vec<&str> = file.names().take(3).collect();
        let got = match first.as_slice() {
            [] => "no tensors".into(),
            first => format!("neither it, nor such tensors: {}, …", first.join(", ")),
        };
        let names: Vec<&str> = layout::known().map(|layout| layout.name).collect();
        let expected = format!(
            "the network's specification, or the tensors of torchvision's networks \
             (features.0.weight, …): {}",
            names.join(", ")
        );
        return fail(&format!("metadata {SPEC}"), &expected, got);
    };
    let differences =
        layout::known().map(|layout| layout.with_beginning(beginning)).map(|layout| {
            let differences = layout.differences(file);
            (layout, differences)
        });
    let Some((layout, differences)) = differences.min_by_key(|(_, d)| d.distance()) else {
        return fail("tensors", "a known network", "none".into());
    };
    match differences.describe() {
        None => {
            if !beginning.is_empty() {
                let file = file.name();
                log::warn!(
                    "{file}: all tensors' names begin with `{beginning}`, which is left out"
                );
            }
            layout.for_classes_of(file)
        }
        Some(differences) => {
            let expected = format!("those of torchvision's {}, the nearest", layout.name);
            fail("tensors", &expected, differences)
        }
    }
}
