//! State dicts of torchvision's and timm's, recognised by names and shapes, imported.

mod import;
mod layout;
mod timm;

use std::collections::HashSet;

use striate_nn::Network;
use striate_tensor::Device;

use crate::inspection::{Inspection, StoredParameters};
use crate::options::ReadOptions;
use crate::safetensors::SPEC;
use crate::state_dict::StateDict;
use crate::torch::StateSlot;
use crate::{Error, Format, Result};
use layout::{Differences, Layout, Modules};

/// Reads a state dict, its weights permuted, its makers' normalisation folded in.
pub(crate) fn read(
    file: &dyn StateDict,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    let layout = recognise(file)?;
    import::import(file, &layout, device, options)
}

/// What the network will be, without its weights.
pub(crate) fn inspect(file: &dyn StateDict) -> Result<Inspection> {
    let layout = recognise(file)?;
    let shapes = layout.shapes(file.file())?;
    let mut layers = vec![None; shapes.len()];
    for tensor in layout.tensors(&shapes) {
        if let StateSlot::Parameter(_) = tensor.slot {
            let floats = file.stored(&tensor.name)?;
            let count = tensor.shape.iter().product();
            let stored = &mut layers[tensor.layer];
            *stored = Some(StoredParameters::with(stored.take(), floats.dtype(), count));
        }
    }
    Ok(Inspection {
        file: file.file().into(),
        format: file.format(),
        bytes: file.bytes(),
        mean: true,
        training_state: Vec::new(),
        training: None,
        training_options: None,
        metadata: import::metadata(&layout),
        layers,
        spec: layout.spec,
    })
}

/// What comes before the names of the tensors, such as `module.` where the network was trained
/// on several devices, or `state_dict.model.`: nothing for a plain state dict. `None` where no name is
/// known.
fn beginning<'a>(file: &'a dyn StateDict, layouts: &[Layout]) -> Option<&'a str> {
    let prefixes = layouts.iter().flat_map(|layout| layout.prefixes.iter().flatten());
    let known: HashSet<&str> = prefixes.map(String::as_str).collect();
    let first = |name: &'_ str| {
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        let end = name.rfind('.')?;
        let is_known = |at: &usize| *at < end && known.contains(&name[*at..end]);
        std::iter::once(0).chain(starts).find(is_known)
    };
    file.all_names().find_map(|name| Some(&name[..first(name)?]))
}

/// The network that differs least from a file, the first of several, and how it differs.
fn nearest(
    file: &dyn StateDict,
    layouts: Vec<Layout>,
    beginning: &str,
) -> Option<(Layout, Differences)> {
    // Computing all shapes of a network takes long. Its modules' names alone give a lower bound of the
    // distance, so that few networks are compared in full.
    let modules = Modules::of(file);
    let bounded = layouts.into_iter().enumerate().map(|(place, layout)| {
        let layout = layout.with_beginning(beginning);
        (modules.least_distance(&layout), place, layout)
    });
    let mut bounded: Vec<_> = bounded.collect();
    bounded.sort_by_key(|(bound, place, _)| (*bound, *place));
    let mut least = (usize::MAX, usize::MAX);
    let compared = bounded.into_iter().map_while(|(bound, place, layout)| {
        if bound > least {
            return None;
        }
        let differences = layout.differences(file);
        let distance = differences.distance();
        least = least.min(distance);
        Some(((distance, place), (layout, differences)))
    });
    compared.min_by_key(|(key, _)| *key).map(|(_, nearest)| nearest)
}

/// The network whose names and shapes these are.
fn recognise(file: &dyn StateDict) -> Result<Layout> {
    let fail = |place: &str, expected: &str, got: String| {
        Err(Error::content(file.file(), place, expected, got))
    };
    let layouts = layout::known();
    let Some(beginning) = beginning(file, &layouts) else {
        let first: Vec<&str> = file.all_names().take(3).collect();
        let got = match first.as_slice() {
            [] => "no tensors".into(),
            first => format!("{}, …", first.join(", ")),
        };
        let mut names: Vec<String> =
            layouts.iter().map(|layout| layout::family(layout.model)).collect();
        names.sort_unstable();
        names.dedup();
        let names = names.join(", ");
        let ours = format!(
            "the tensors of torchvision's networks, or of timm's (features.0.weight, …; {names})"
        );
        // Only safetensors have a place for a specification of ours.
        return match file.format() {
            Format::Torchvision => {
                let expected = format!("the network's specification, or {ours}");
                let got = format!("neither it, nor such tensors: {got}");
                fail(&format!("metadata {SPEC}"), &expected, got)
            }
            _ => fail("tensors", &ours, format!("others: {got}")),
        };
    };
    let Some((layout, differences)) = nearest(file, layouts, beginning) else {
        return fail("tensors", "a known network", "none".into());
    };
    match differences.describe() {
        None => {
            if !beginning.is_empty() {
                let file = file.file();
                log::warn!(
                    "{file}: all tensors' names begin with `{beginning}`, which is left out"
                );
            }
            timm::choose(layout, file)?.for_classes_of(file)
        }
        Some(differences) => {
            let expected =
                format!("those of {}'s {}, the nearest", layout.names.maker(), layout.name);
            fail("tensors", &expected, differences)
        }
    }
}
