//! Which tensor of a state dict is which layer's.

use std::collections::{HashMap, HashSet};

use striate_models::{alexnet, find, vgg};
use striate_nn::{LayerShape, LayerSpec, NetworkSpec, Node};

use super::timm;
use crate::preset::{Filter, HALVES, LITE, Preset};
use crate::state_dict::StateDict;
use crate::torch::{self, StateTensor};
use crate::{Error, Result};

/// Who named the tensors of a state dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Torchvision,
    Timm,
    /// `efficientnet_pytorch`.
    Flat,
}

impl Names {
    /// Whose a network is said to be. `efficientnet_pytorch` goes with torchvision: the note in the embedded
    /// model says so.
    pub(super) fn maker(self) -> &'static str {
        match self {
            Names::Torchvision | Names::Flat => "torchvision",
            Names::Timm => "timm",
        }
    }
}

/// A network, and what its makers call its layers.
#[derive(Clone)]
pub(super) struct Layout {
    /// torchvision's name of the network, or the catalogue's where torchvision has none.
    pub(super) model: &'static str,
    /// What its makers call it.
    pub(super) name: &'static str,
    pub(super) names: Names,
    pub(super) spec: NetworkSpec,
    /// For each layer with weights, what the names of its tensors begin with.
    pub(super) prefixes: Vec<Option<String>>,
    /// Whether full connects of images stand in files as convolutions of whole images.
    pub(super) is_convolved: bool,
    /// How its makers prepared pictures.
    pub(super) preset: Preset,
    /// Its classes, where the makers named them.
    pub(super) labels: Option<Vec<String>>,
}

/// Where the full connects stand in `classifier`, between its ReLUs and dropouts.
const ALEXNET_CLASSIFIER: [&str; 3] = ["classifier.1", "classifier.4", "classifier.6"];
const VGG_CLASSIFIER: [&str; 3] = ["classifier.0", "classifier.3", "classifier.6"];

/// Networks that `efficientnet_pytorch` names in a way of its own.
const FLAT: [&str; 5] = [
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
];

/// Networks whose nodes are named as torchvision's modules, by their names in the catalogue.
const NAMED: &[&str] = &[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "googlenet",
    "googlenet_no_aux",
    "inception_v3",
    "inception_v3_no_aux",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "squeezenet1_0",
    "squeezenet1_1",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "mnasnet0_75",
    "mnasnet1_0",
    "mnasnet1_3",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "efficientnet_v2_l",
    "regnet_x_400mf",
    "regnet_x_800mf",
    "regnet_x_1_6gf",
    "regnet_x_3_2gf",
    "regnet_x_8gf",
    "regnet_x_16gf",
    "regnet_x_32gf",
    "regnet_y_400mf",
    "regnet_y_800mf",
    "regnet_y_1_6gf",
    "regnet_y_3_2gf",
    "regnet_y_8gf",
    "regnet_y_16gf",
    "regnet_y_32gf",
    "regnet_y_128gf",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
];

/// How the pictures of torchvision's first weights of a network were prepared. The size of the whole picture
/// is the network's own.
fn preset(name: &str) -> Preset {
    let bicubic = Preset { filter: Filter::Bicubic, ..Preset::TORCHVISION };
    match name {
        "efficientnet_v2_l" => Preset { pixels: HALVES, ..bicubic },
        // TensorFlow's weights: torchvision brings its pixels back to -1 to 1 within the network
        // (`transform_input`).
        _ if name.starts_with("googlenet") || name.starts_with("inception_v3") => {
            Preset { pixels: HALVES, ..Preset::TORCHVISION }
        }
        _ if name.starts_with("efficientnet_b") => bicubic,
        _ => Preset::TORCHVISION,
    }
}

/// What a network's name has in common with its family's: `resnet` of `resnet50`, `regnet_x` of
/// `regnet_x_400mf`.
pub(super) fn family(name: &str) -> String {
    let plain = |part: &str| part.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let mut parts = name.split('_');
    let first = plain(parts.next().unwrap_or_default());
    match parts.next() {
        Some(version @ ("v2" | "v3" | "x" | "y")) => format!("{first}_{version}"),
        Some(other) if other.starts_with("lite") || first == "wide" => {
            format!("{first}_{}", plain(other))
        }
        _ => first,
    }
}

/// Names of modules in older files: what the networks' names begin with, and for each ending of a module's
/// name the one that such files have.
const OLDER: &[(&str, &[(&str, &str)])] = &[(
    "densenet",
    &[(".norm1", ".norm.1"), (".conv1", ".conv.1"), (".norm2", ".norm.2"), (".conv2", ".conv.2")],
)];

/// The networks that can be imported: torchvision's first, so that they are meant where names do not tell.
pub(super) fn known() -> Vec<Layout> {
    let counted: [(_, fn() -> NetworkSpec, _); 5] = [
        ("alexnet", alexnet::alexnet_2014, ALEXNET_CLASSIFIER),
        ("vgg11", vgg::vgg11, VGG_CLASSIFIER),
        ("vgg13", vgg::vgg13, VGG_CLASSIFIER),
        ("vgg16", vgg::vgg16, VGG_CLASSIFIER),
        ("vgg19", vgg::vgg19, VGG_CLASSIFIER),
    ];
    let counted = counted
        .into_iter()
        .map(|(name, spec, classifier)| Layout::counted(name, spec(), &classifier));
    let named = NAMED.iter().filter_map(|name| Some(Layout::named(name, find(name)?.spec())));
    // Building a network takes longer than copying it.
    let mut layouts: Vec<Layout> = counted.chain(named).collect();
    let older = OLDER.iter().flat_map(|(family, names)| {
        let of_family = layouts.iter().filter(move |layout| layout.model.starts_with(family));
        of_family.map(|layout| layout.clone().renamed(names))
    });
    let flat =
        FLAT.iter().filter_map(|name| Some(Layout::named(name, find(name)?.spec()).flat_blocks()));
    let others: Vec<Layout> = older.chain(timm::layouts(&layouts)).chain(flat).collect();
    layouts.extend(others);
    layouts
}

impl Layout {
    /// A network whose nodes are named as its makers' modules.
    pub(super) fn named(name: &'static str, spec: NetworkSpec) -> Self {
        let has = |node: &Node| node.layer.has_parameters().then(|| node.name.clone());
        let prefixes = spec.nodes.iter().map(has).collect();
        Layout::with_prefixes(name, spec, prefixes)
    }

    /// A network of torchvision's whose layers have these names.
    pub(super) fn with_prefixes(
        name: &'static str,
        spec: NetworkSpec,
        prefixes: Vec<Option<String>>,
    ) -> Self {
        let names = Names::Torchvision;
        let (preset, labels, is_convolved) = (preset(name), None, false);
        Layout { model: name, name, names, spec, prefixes, is_convolved, preset, labels }
    }

    /// The same network, where modules whose names end so end otherwise.
    fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        for prefix in self.prefixes.iter_mut().flatten() {
            for (end, other) in names {
                if let Some(before) = prefix.strip_suffix(end) {
                    *prefix = format!("{before}{other}");
                    break;
                }
            }
        }
        self
    }

    /// The same network as `efficientnet_pytorch` names it: blocks are counted through, and their parts are
    /// called by what they do. Its pictures are TensorFlow's.
    fn flat_blocks(mut self) -> Self {
        let (mut block, mut last) = (0, None);
        for prefix in self.prefixes.iter_mut().flatten() {
            let of_block = prefix.strip_prefix("blocks.").and_then(|rest| rest.rsplit_once('.'));
            let Some((place, part)) = of_block else {
                let other = match prefix.as_str() {
                    "conv_stem" => "_conv_stem",
                    "bn1" => "_bn0",
                    "conv_head" => "_conv_head",
                    "bn2" => "_bn1",
                    _ => "_fc",
                };
                *prefix = other.to_owned();
                continue;
            };
            if last.as_deref().is_some_and(|last| last != place) {
                block += 1;
            }
            // A block of the first stage does not expand, so its parts begin one later.
            let is_first = place.starts_with("0.");
            let other = match (part, is_first) {
                ("conv_dw", _) => "_depthwise_conv",
                ("conv_pw", false) => "_expand_conv",
                ("conv_pw", true) | ("conv_pwl", _) => "_project_conv",
                ("bn1", false) => "_bn0",
                ("bn1", true) | ("bn2", false) => "_bn1",
                _ => "_bn2",
            };
            last = Some(place.to_owned());
            *prefix = format!("_blocks.{block}.{other}");
        }
        self.names = Names::Flat;
        let (maker, filter) = ("TensorFlow", Filter::Bicubic);
        self.preset = Preset { maker, pixels: LITE, filter, stretch: false };
        self
    }

    /// A network whose sequence `features` counts a convolution, its ReLU, and a pooling layer as one each.
    /// `classifier` are the full connects.
    pub(super) fn counted(name: &'static str, spec: NetworkSpec, classifier: &[&str]) -> Self {
        let mut feature = 0;
        let mut classifier = classifier.iter();
        let prefixes = spec.nodes.iter().map(|node| match node.layer {
            LayerSpec::Conv(_) => {
                feature += 2;
                Some(format!("features.{}", feature - 2))
            }
            LayerSpec::FullConnect(_) => classifier.next().map(|&name| name.to_owned()),
            _ => {
                feature += 1;
                None
            }
        });
        let prefixes = prefixes.collect();
        Layout::with_prefixes(name, spec, prefixes)
    }

    /// The same network, where the names of all tensors have this before them.
    pub(super) fn with_beginning(mut self, beginning: &str) -> Self {
        for prefix in self.prefixes.iter_mut().flatten() {
            prefix.insert_str(0, beginning);
        }
        self
    }

    pub(super) fn shapes(&self, file: &str) -> Result<Vec<LayerShape>> {
        self.spec.shapes().map_err(|e| Error::network(file, e))
    }

    /// All tensors, as its makers have them.
    pub(super) fn tensors(&self, shapes: &[LayerShape]) -> Vec<StateTensor> {
        let prefix = |layer: usize| self.prefixes.get(layer).cloned().flatten();
        let mut tensors = torch::tensors(&self.spec, shapes, prefix);
        if !self.is_convolved {
            return tensors;
        }
        for tensor in &mut tensors {
            let full = |node: &Node| matches!(node.layer, LayerSpec::FullConnect(_));
            let is_full = self.spec.nodes.get(tensor.layer).is_some_and(full);
            if let (true, Some(shape)) = (is_full, shapes.get(tensor.layer))
                && let [out, _] = *tensor.shape
            {
                let [rows, cols, channels] = torch::flattened(shapes, shape);
                // Of one pixel, both have the same shape but for extents of 1.
                if rows * cols > 1 {
                    tensor.shape = vec![out, channels, rows, cols];
                }
            }
        }
        tensors
    }

    /// What distinguishes a file's tensors from this network's.
    pub(super) fn differences(&self, file: &dyn StateDict) -> Differences {
        let tensors = self.tensors(&self.spec.shapes().unwrap_or_default());
        let ends = self.ends();
        let mut differences = Differences::default();
        for tensor in &tensors {
            // The last layer's first extent is the number of classes, which any state dict may choose.
            let is_end = ends.contains(&tensor.layer);
            let name = &tensor.name;
            match file.dims(name) {
                None => differences.missing.push(name.clone()),
                Some(shape) if !fits(tensor, is_end, shape) => {
                    let mut wanted: Vec<String> =
                        tensor.shape.iter().map(usize::to_string).collect();
                    if is_end && let Some(classes) = wanted.first_mut() {
                        *classes = "classes".into();
                    }
                    let wanted = wanted.join(", ");
                    differences.shapes.push(format!("{name} {shape:?} instead of [{wanted}]"));
                }
                Some(_) => {}
            }
        }
        let known: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let is_extra = |name: &&str| !known.contains(name);
        differences.extra = weights_of(file).filter(is_extra).map(Into::into).collect();
        differences
    }

    /// The layers that have an output for each class, the network's own last.
    fn ends(&self) -> Vec<usize> {
        let auxiliary = self.spec.auxiliary.iter().filter_map(|out| self.spec.node(&out.node));
        let last = self.prefixes.iter().rposition(Option::is_some);
        auxiliary.chain(last).collect()
    }

    /// The same network with as many classes as the file's last layer has.
    pub(super) fn for_classes_of(mut self, file: &dyn StateDict) -> Result<Layout> {
        let last = self.ends().last().and_then(|&end| self.prefixes[end].clone());
        let last = last.unwrap_or_default();
        let classes = file.dims(&format!("{last}.weight")).and_then(|s| s.first().copied());
        if let Some(classes) = classes {
            self.spec = self.spec.with_classes(classes);
        }
        let classes = self.spec.classes();
        self.spec.verify(classes).map_err(|e| Error::network(file.file(), e))?;
        if let Some(labels) = self.labels.take_if(|labels| labels.len() != classes) {
            let (file, count) = (file.file(), labels.len());
            log::warn!(
                "{file}: its {classes} classes stay without the {count} names of timm's config.json"
            );
        }
        Ok(self)
    }
}

/// The names of a file's tensors, without PyTorch's counts of the batches of training: nothing here uses
/// them.
fn weights_of(file: &dyn StateDict) -> impl Iterator<Item = &str> {
    file.all_names().filter(|name| !name.ends_with(".num_batches_tracked"))
}

/// How many of a file's tensors each module may have, by the module's name.
pub(super) struct Modules<'a> {
    counts: HashMap<&'a str, usize>,
    all: usize,
}

impl<'a> Modules<'a> {
    pub(super) fn of(file: &'a dyn StateDict) -> Self {
        let mut modules = Modules { counts: HashMap::new(), all: 0 };
        for name in weights_of(file) {
            modules.all += 1;
            // A scale's only tensor has the name of the module itself.
            let module = name.rsplit_once('.').map(|(module, _)| module);
            for module in module.into_iter().chain([name]) {
                *modules.counts.entry(module).or_default() += 1;
            }
        }
        modules
    }

    /// A lower bound of the [`distance`](Differences::distance): all tensors of a module that is in both
    /// the network and the file are taken to fit.
    pub(super) fn least_distance(&self, layout: &Layout) -> (usize, usize) {
        let (mut present, mut missing) = (0, 0);
        for prefix in layout.prefixes.iter().flatten() {
            match self.counts.get(prefix.as_str()) {
                Some(count) => present += count,
                None => missing += 1,
            }
        }
        (self.all.saturating_sub(present), missing)
    }
}

fn fits(tensor: &StateTensor, is_end: bool, shape: &[usize]) -> bool {
    let Some((&classes, rest)) = shape.split_first().filter(|_| is_end) else {
        return tensor.fits(shape);
    };
    let outputs = tensor.shape.first().copied().unwrap_or(classes);
    tensor.fits(&[&[outputs], rest].concat())
}

/// What distinguishes a file's tensors from a network's.
#[derive(Default)]
pub(super) struct Differences {
    missing: Vec<String>,
    extra: Vec<String>,
    shapes: Vec<String>,
}

impl Differences {
    /// How far the file is from the network: what the network does not have counts more than what the
    /// file leaves out.
    pub(super) fn distance(&self) -> (usize, usize) {
        (self.extra.len() + self.shapes.len(), self.missing.len())
    }

    /// In words, the first few of each kind; nothing where there are none.
    pub(super) fn describe(&self) -> Option<String> {
        let kinds = [("missing", &self.missing), ("extra", &self.extra), ("shapes", &self.shapes)];
        let described: Vec<String> = kinds
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| {
                let shown: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
                let more = names.len() - shown.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{kind}: {}{more}", shown.join(", "))
            })
            .collect();
        (!described.is_empty()).then(|| described.join("; "))
    }
}
