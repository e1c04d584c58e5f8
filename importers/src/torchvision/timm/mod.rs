//! timm's state dicts: other names of torchvision's networks, other constants in some of them, and other
//! pictures.
//!
//! The names and shapes of the tensors tell which network it is, but not always whose: timm's
//! `efficientnet_lite0` and `tf_efficientnet_lite0` have the same, and its `resnet50` those of torchvision.
//! The `config.json` that timm publishes beside its weights decides, and says how pictures were prepared.

mod config;
mod names;
mod table;

use striate_models::{find, regnet};
use striate_nn::{LayerSpec, NetworkSpec, batch_norm};

use super::layout::{Layout, Names};
use crate::preset::Preset;
use crate::source::Beside;
use crate::state_dict::StateDict;
use crate::{Error, Result};
use config::{Config, MAX_CONFIG_BYTES};
use table::{ROWS, Row, Way};

/// What TensorFlow's networks add to the variance.
const TENSORFLOW_EPSILON: f32 = 0.001;

/// The networks whose tensors timm names in a way of its own; `torchvisions` are already built.
pub(super) fn layouts(torchvisions: &[Layout]) -> impl Iterator<Item = Layout> {
    let is_first = |(at, row): &(usize, &'static Row)| {
        row.names == Names::Timm && !ROWS.iter().take(*at).any(|other| other.is_named_as(row))
    };
    ROWS.iter()
        .enumerate()
        .filter(is_first)
        .filter_map(|(_, row)| Some(named(row, spec_of(row.model, torchvisions)?)))
}

/// The network that a row names: one of the catalogue's, or a variant that is not in it.
fn spec_of(model: &str, torchvisions: &[Layout]) -> Option<NetworkSpec> {
    Some(match model {
        "regnet_x_400mf_paper" => regnet::regnet_x_400mf_paper(),
        "regnet_y_800mf_paper" => regnet::regnet_y_800mf_paper(),
        "regnet_y_8gf_paper" => regnet::regnet_y_8gf_paper(),
        _ => match torchvisions.iter().find(|layout| layout.model == model) {
            Some(layout) => layout.spec.clone(),
            None => find(model)?.spec(),
        },
    })
}

/// A network of timm's, by the catalogue's.
fn named(row: &Row, spec: NetworkSpec) -> Layout {
    let is_counted = spec.nodes.iter().any(|node| node.name.is_empty());
    let layout = match is_counted {
        true => Layout::counted(row.model, spec, &names::VGG),
        false => {
            let prefixes = names::names(row.model, &spec);
            Layout::with_prefixes(row.model, spec, prefixes)
        }
    };
    let is_convolved = row.model.starts_with("vgg");
    Layout { name: row.architecture, names: Names::Timm, is_convolved, ..layout }
}

impl Row {
    /// Whether the tensors of both have the same names and shapes.
    fn is_named_as(&self, other: &Row) -> bool {
        self.model == other.model && self.names == other.names
    }
}

/// Picks the network that is meant among those with a file's tensors, and how its makers prepared pictures.
pub(super) fn choose(layout: Layout, file: &dyn StateDict) -> Result<Layout> {
    let is_alike = |row: &&Row| row.model == layout.model && row.names == layout.names;
    let rows: Vec<&Row> = ROWS.iter().filter(is_alike).collect();
    let Some(&first) = rows.first() else { return Ok(layout) };
    let (name, beside) = (file.file(), file.beside());
    if let Some(beside) = &beside
        && let Some((path, config, row)) = config_of(beside, &rows)?
    {
        log::info!("{name}: timm's {}, as {path} says", row.architecture);
        return prepared(layout, row, config, &path);
    }
    if layout.names == Names::Torchvision {
        log::info!(
            "{name}: the tensors of timm's {} have the same names: it is taken for torchvision's, unless \
             timm's config.json is beside it",
            first.architecture
        );
        return Ok(layout);
    }
    let by_stem = beside.as_ref().and_then(|beside| of_stem(beside.stem(), &rows));
    if by_stem.is_none() && rows.len() > 1 {
        log::warn!(
            "{name}: the tensors of timm's {} have the same names, and these networks compute \
             differently: it is taken for {}, unless timm's config.json is beside it, or its name begins \
             with another's",
            list(&rows, " and "),
            first.architecture
        );
    }
    prepared(layout, by_stem.unwrap_or(first), Config::default(), name)
}

fn list(rows: &[&Row], between: &str) -> String {
    rows.iter().map(|row| row.architecture).collect::<Vec<_>>().join(between)
}

/// The network that the name of a file begins with, as timm's own files do.
fn of_stem<'a>(stem: &str, rows: &[&'a Row]) -> Option<&'a Row> {
    let stem = stem.to_ascii_lowercase();
    let begins = rows.iter().filter(|row| stem.starts_with(row.architecture));
    begins.max_by_key(|row| row.architecture.len()).copied()
}

/// The `config.json` beside a file, or the one of its own name, and which of `rows` it names. A file that is
/// not timm's, or is another network's, is left out.
fn config_of<'a>(beside: &Beside, rows: &[&'a Row]) -> Result<Option<(String, Config, &'a Row)>> {
    let ours = list(rows, " or ");
    for name in [format!("{}.json", beside.stem()), "config.json".to_owned()] {
        let path = beside.path(&name).display().to_string();
        let text = match beside.read(&name, MAX_CONFIG_BYTES) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(e) => {
                log::warn!("{path}: left out, since it cannot be read: {e}");
                continue;
            }
        };
        let config = match Config::parse(&path, &text) {
            Ok(Some(config)) => config,
            Ok(None) => {
                log::debug!("{path}: left out: it names no architecture");
                continue;
            }
            Err(Error::Parse { source, .. }) => {
                log::warn!("{path}: left out, since it is no JSON: {source}");
                continue;
            }
            Err(e) => return Err(e),
        };
        let architecture = &config.architecture;
        if let Some(&row) = rows.iter().find(|row| row.architecture == architecture) {
            return Ok(Some((path, config, row)));
        }
        let is_known = ROWS.iter().any(|row| row.architecture == architecture);
        if !is_known && rows.iter().any(|row| architecture.contains(family(row.architecture))) {
            // A variant with the same tensors may compute something else: `resnetblur50`.
            let expected = format!("{ours}, whose tensors these are");
            return Err(Error::content(&path, "architecture", expected, architecture));
        }
        log::warn!(
            "{path}: left out: it is of {architecture:?}, and the tensors are those of {ours}"
        );
    }
    Ok(None)
}

/// The letters that the names of a family have in common: `resnet`.
fn family(architecture: &str) -> &str {
    let architecture = architecture.strip_prefix("tf_").unwrap_or(architecture);
    let end = architecture.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(architecture.len());
    architecture.get(..end).unwrap_or(architecture)
}

/// The network of a row as `config` describes it, with the row's own values for what `config` leaves out;
/// `file` stands for the configuration in messages.
fn prepared(layout: Layout, row: &Row, config: Config, file: &str) -> Result<Layout> {
    let failed = |e| Error::network(file, e);
    let input = config.input.unwrap_or([row.side; 2]);
    let image = config::whole(file, input, config.crop.unwrap_or(row.crop))?;
    let mut spec = in_way(layout.spec.clone(), row.way).map_err(failed)?;
    if spec.nodes != layout.spec.nodes {
        // It is not the catalogue's any more.
        spec.name = format!("timm-{}", row.architecture.replace('_', "-"));
    }
    (spec.input[0], spec.input[1], spec.image) = (input[0], input[1], image);
    // Uneven pads are another size's.
    spec = in_way(spec, row.way).map_err(failed)?;
    if parameter_shapes(&spec).map_err(failed)? != parameter_shapes(&layout.spec).map_err(failed)? {
        let [rows, cols, _] = layout.spec.input;
        let expected =
            format!("{rows}x{cols}, which the full connects of {} need", row.architecture);
        let got = format!("{}x{}", input[0], input[1]);
        return Err(Error::content(file, "pretrained_cfg.input_size", expected, got));
    }
    let preset = Preset {
        maker: "timm",
        pixels: config.pixels(row.pixels),
        filter: config.filter.unwrap_or(row.filter),
        stretch: config.stretch.unwrap_or(row.stretch),
    };
    let (name, labels) = (row.architecture, config.labels);
    Ok(Layout { name, names: Names::Timm, spec, preset, labels, ..layout })
}

/// The same network, computed in a row's way. All its convolutions have odd kernels where the way is not
/// the catalogue's.
fn in_way(mut spec: NetworkSpec, way: Way) -> striate_nn::Result<NetworkSpec> {
    if way == Way::AsIs {
        return Ok(spec);
    }
    for node in &mut spec.nodes {
        match &mut node.layer {
            LayerSpec::Conv(conv) => conv.padding = conv.kernel.map(|kernel| [kernel / 2; 2]),
            LayerSpec::BatchNorm(norm) if way == Way::Own => *norm = batch_norm(),
            LayerSpec::BatchNorm(norm) => norm.epsilon = TENSORFLOW_EPSILON,
            _ => {}
        }
    }
    if way == Way::TensorFlow {
        // The extents are the same with either pads.
        for shape in spec.shapes()? {
            let Some(node) = spec.nodes.get_mut(shape.layer) else { continue };
            let LayerSpec::Conv(conv) = &mut node.layer else { continue };
            for axis in [0, 1] {
                let (extent, stride) = (shape.input[axis], conv.stride[axis]);
                let steps = extent.div_ceil(stride.max(1)).saturating_sub(1);
                let all = (steps * stride + conv.kernel[axis]).saturating_sub(extent);
                conv.padding[axis] = [all / 2, all - all / 2];
            }
        }
    }
    Ok(spec)
}

fn parameter_shapes(spec: &NetworkSpec) -> striate_nn::Result<Vec<striate_tensor::Shape>> {
    let shapes = spec.shapes()?;
    Ok(shapes.iter().flat_map(|shape| &shape.parameters).map(|info| info.shape).collect())
}

#[cfg(test)]
mod tests;
