//! Which tensor of a state dict is which layer's.

use std::collections::HashSet;

use striate_models::{alexnet, googlenet, resnet, vgg};
use striate_nn::{LayerShape, LayerSpec, NetworkSpec, Node};

use crate::safetensors::file::TensorFile;
use crate::{Error, Result};

/// A network, and what torchvision calls its layers.
pub(super) struct Layout {
    /// torchvision's name of the network.
    pub(super) name: &'static str,
    pub(super) spec: NetworkSpec,
    /// For each layer with weights, what the names of its tensors begin with.
    pub(super) prefixes: Vec<Option<String>>,
}

/// Where the full connects stand in `classifier`, between its ReLUs and dropouts.
const ALEXNET_CLASSIFIER: [usize; 3] = [1, 4, 6];
const VGG_CLASSIFIER: [usize; 3] = [0, 3, 6];

/// The networks that can be imported.
pub(super) fn known() -> impl Iterator<Item = Layout> {
    let networks: [(_, NetworkSpec, _); 5] = [
        ("alexnet", alexnet::alexnet_2014(), ALEXNET_CLASSIFIER),
        ("vgg11", vgg::vgg11(), VGG_CLASSIFIER),
        ("vgg13", vgg::vgg13(), VGG_CLASSIFIER),
        ("vgg16", vgg::vgg16(), VGG_CLASSIFIER),
        ("vgg19", vgg::vgg19(), VGG_CLASSIFIER),
    ];
    let counted =
        networks.into_iter().map(|(name, spec, classifier)| Layout::new(name, spec, &classifier));
    let named: [(_, NetworkSpec); 8] = [
        ("resnet18", resnet::resnet18()),
        ("resnet34", resnet::resnet34()),
        ("googlenet", googlenet::googlenet()),
        ("googlenet without auxiliary heads", googlenet::googlenet_without_auxiliary()),
        ("vgg11_bn", vgg::vgg11_bn()),
        ("vgg13_bn", vgg::vgg13_bn()),
        ("vgg16_bn", vgg::vgg16_bn()),
        ("vgg19_bn", vgg::vgg19_bn()),
    ];
    counted.chain(named.into_iter().map(|(name, spec)| Layout::named(name, spec)))
}

impl Layout {
    /// A network whose nodes are named as torchvision's modules.
    pub(super) fn named(name: &'static str, spec: NetworkSpec) -> Self {
        let has = |node: &Node| node.layer.has_parameters().then(|| node.name.clone());
        let prefixes = spec.nodes.iter().map(has).collect();
        Layout { name, spec, prefixes }
    }

    /// `features` counts a convolution, its ReLU, and a pooling layer as one each.
    pub(super) fn new(name: &'static str, spec: NetworkSpec, classifier: &[usize]) -> Self {
        let mut feature = 0;
        let mut classifier = classifier.iter();
        let prefixes = spec.nodes.iter().map(|node| match node.layer {
            LayerSpec::Conv(_) => {
                feature += 2;
                Some(format!("features.{}", feature - 2))
            }
            LayerSpec::FullConnect(_) => classifier.next().map(|i| format!("classifier.{i}")),
            _ => {
                feature += 1;
                None
            }
        });
        let prefixes = prefixes.collect();
        Layout { name, spec, prefixes }
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

    /// The names and shapes of all tensors, as torchvision has them. The last layer's first extent
    /// is the number of classes, which any state dict may choose: nothing stands for it.
    fn tensors(&self) -> Vec<(String, Vec<Option<usize>>)> {
        let shapes = self.spec.shapes().unwrap_or_default();
        let mut tensors = Vec::new();
        let ends = self.ends();
        for (layer, (shape, prefix)) in shapes.iter().zip(&self.prefixes).enumerate() {
            let Some(prefix) = prefix else { continue };
            for parameter in &shape.parameters {
                let dims = match *parameter.shape.dims() {
                    [out, rows, cols, channels] => vec![out, channels, rows, cols],
                    ref dims => dims.to_vec(),
                };
                let mut dims: Vec<Option<usize>> = dims.into_iter().map(Some).collect();
                if ends.contains(&layer)
                    && let Some(classes) = dims.first_mut()
                {
                    *classes = None;
                }
                tensors.push((format!("{prefix}.{}", parameter.role.name()), dims));
            }
            for buffer in &shape.buffers {
                let channels = buffer.shape.dims().get(1).copied();
                for part in ["running_mean", "running_var"] {
                    tensors.push((format!("{prefix}.{part}"), vec![channels]));
                }
            }
        }
        tensors
    }

    /// What distinguishes a file's tensors from this network's.
    pub(super) fn differences(&self, file: &TensorFile) -> Differences {
        let tensors = self.tensors();
        let mut differences = Differences::default();
        for (name, wanted) in &tensors {
            match file.shape(name) {
                None => differences.missing.push(name.clone()),
                Some(shape) if !fits(wanted, shape) => {
                    let wanted: Vec<String> = wanted
                        .iter()
                        .map(|d| d.map_or_else(|| "classes".into(), |d| d.to_string()))
                        .collect();
                    let wanted = wanted.join(", ");
                    differences.shapes.push(format!("{name} {shape:?} instead of [{wanted}]"));
                }
                Some(_) => {}
            }
        }
        let known: HashSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        // PyTorch counts the batches of training, which nothing here asks for.
        let is_extra = |n: &&str| !known.contains(n) && !n.ends_with(".num_batches_tracked");
        differences.extra = file.names().filter(is_extra).map(Into::into).collect();
        differences
    }

    /// The layers that have an output for each class, the network's own last.
    fn ends(&self) -> Vec<usize> {
        let auxiliary = self.spec.auxiliary.iter().filter_map(|out| self.spec.node(&out.node));
        let last = self.prefixes.iter().rposition(Option::is_some);
        auxiliary.chain(last).collect()
    }

    /// The same network with as many classes as the file's last layer has.
    pub(super) fn for_classes_of(mut self, file: &TensorFile) -> Result<Layout> {
        let last = self.ends().last().and_then(|&end| self.prefixes[end].clone());
        let last = last.unwrap_or_default();
        let classes = file.shape(&format!("{last}.weight")).and_then(|s| s.first().copied());
        if let Some(classes) = classes {
            self.spec = self.spec.with_classes(classes);
        }
        self.spec.verify(self.spec.classes()).map_err(|e| Error::network(file.name(), e))?;
        Ok(self)
    }
}

fn fits(wanted: &[Option<usize>], shape: &[usize]) -> bool {
    wanted.len() == shape.len() && wanted.iter().zip(shape).all(|(w, s)| w.is_none_or(|w| w == *s))
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
