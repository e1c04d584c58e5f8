//! timm's names of the layers of our networks, whose nodes are named as torchvision's modules.

use striate_nn::{LayerSpec, NetworkSpec, Node};

/// What timm calls the full connects of VGG.
pub(super) const VGG: [&str; 3] = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"];

/// For each layer with weights, what timm calls it. `model` is the catalogue's name of the network.
pub(super) fn names(model: &str, spec: &NetworkSpec) -> Vec<Option<String>> {
    if model.starts_with("mobilenet") || model.starts_with("efficientnet_b") {
        return inverted_residuals(spec);
    }
    let rename: fn(&str) -> Option<String> = match model {
        _ if model.starts_with("convnext") => convnext,
        _ if model.starts_with("regnet") => regnet,
        _ if model.starts_with("vgg") => vgg,
        // Their nodes are named as timm's modules.
        _ => |name| Some(name.to_owned()),
    };
    // A name that is not known stays, so that a file is said to lack it.
    let named = |node: &Node| rename(&node.name).unwrap_or_else(|| node.name.clone());
    spec.nodes.iter().map(|node| node.layer.has_parameters().then(|| named(node))).collect()
}

/// VGG with batch normalization: the sequence of convolutions is as torchvision's.
fn vgg(name: &str) -> Option<String> {
    let place = match name {
        "classifier.0" => 0,
        "classifier.3" => 1,
        "classifier.6" => 2,
        _ => return Some(name.to_owned()),
    };
    VGG.get(place).map(|&name| name.to_owned())
}

/// torchvision counts the stem, stages and what halves pixels between them through.
fn convnext(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    Some(match *parts.as_slice() {
        ["features", "0", part] => format!("stem.{part}"),
        ["features", place, part] => {
            format!("stages.{}.downsample.{part}", place.parse::<usize>().ok()? / 2)
        }
        ["features", place, layer, ref rest @ ..] => {
            let part = match rest {
                ["block", "0"] => "conv_dw",
                ["block", "2"] => "norm",
                ["block", "3"] => "mlp.fc1",
                ["block", "5"] => "mlp.fc2",
                ["layer_scale"] => "gamma",
                _ => return None,
            };
            format!("stages.{}.blocks.{layer}.{part}", place.parse::<usize>().ok()? / 2)
        }
        ["classifier", "0"] => "head.norm".into(),
        ["classifier", _] => "head.fc".into(),
        _ => return None,
    })
}

fn regnet(name: &str) -> Option<String> {
    // A convolution and its normalization.
    let pair = |place: &str| if place == "0" { "conv" } else { "bn" };
    let parts: Vec<&str> = name.split('.').collect();
    Some(match *parts.as_slice() {
        ["stem", place] => format!("stem.{}", pair(place)),
        ["trunk_output", _, block, ref rest @ ..] => {
            let (stage, layer) = block.strip_prefix("block")?.split_once('-')?;
            let layer = layer.parse::<usize>().ok()?.checked_add(1)?;
            let part = match *rest {
                ["f", "se", part] => format!("se.{part}"),
                ["f", "a", place] => format!("conv1.{}", pair(place)),
                ["f", "b", place] => format!("conv2.{}", pair(place)),
                ["f", "c", place] => format!("conv3.{}", pair(place)),
                ["proj", place] => format!("downsample.{}", pair(place)),
                _ => return None,
            };
            format!("s{stage}.b{layer}.{part}")
        }
        ["fc"] => "head.fc".into(),
        _ => return None,
    })
}

/// The nodes of a block have names that begin so, as far as the block's own list of parts.
fn block_of(node: &Node) -> Option<&str> {
    let at = [".block.", ".conv."].into_iter().find_map(|list| node.name.find(list))?;
    node.name.get(..at)
}

/// Blocks by stage and layer, and their parts by what they do: the mobile networks and EfficientNet.
///
/// torchvision counts some of them through; a stage of the papers' tables is what has the same number of
/// outputs.
fn inverted_residuals(spec: &NetworkSpec) -> Vec<Option<String>> {
    let mut names = vec![None; spec.nodes.len()];
    let full_connects =
        spec.nodes.iter().filter(|node| matches!(node.layer, LayerSpec::FullConnect(_))).count();
    // MobileNetV3 has the last convolution as a stage, and the first full connect in its place.
    let has_two = full_connects > 1;
    let mut seen_full_connects = 0;
    let mut block = Block::default();
    for (place, node) in spec.nodes.iter().enumerate() {
        if !node.layer.has_parameters() {
            continue;
        }
        let owner = block_of(node);
        if let Some(owner) = owner.filter(|owner| block.owner != *owner) {
            let rest = spec.nodes.iter().skip(place);
            let nodes: Vec<&Node> = rest.take_while(|node| belongs(node, owner)).collect();
            block = block.next(owner, &nodes);
        }
        let is_conv = matches!(node.layer, LayerSpec::Conv(_));
        let next_stage = block.stage + 1;
        let name = match (owner, &node.layer) {
            (Some(_), _) => block.part(node),
            (None, LayerSpec::FullConnect(_)) => {
                seen_full_connects += 1;
                let is_last = seen_full_connects == full_connects;
                if is_last { "classifier".into() } else { "conv_head".into() }
            }
            _ if block.owner.is_empty() => if is_conv { "conv_stem" } else { "bn1" }.to_owned(),
            _ if has_two => {
                format!("blocks.{next_stage}.0.{}", if is_conv { "conv" } else { "bn1" })
            }
            _ => if is_conv { "conv_head" } else { "bn2" }.to_owned(),
        };
        if let Some(slot) = names.get_mut(place) {
            *slot = Some(name);
        }
    }
    names
}

/// Whether a node is of a block; those without weights may have any name.
fn belongs(node: &Node, owner: &str) -> bool {
    !node.layer.has_parameters() || block_of(node) == Some(owner)
}

/// A block, and how many of its parts have names by now.
#[derive(Default)]
struct Block<'a> {
    owner: &'a str,
    stage: usize,
    layer: usize,
    outputs: usize,
    /// Whether a 1x1 convolution comes before the depthwise one.
    expands: bool,
    pointwise: usize,
    norms: usize,
}

impl<'a> Block<'a> {
    /// The block after this one, of these nodes.
    fn next(&self, owner: &'a str, nodes: &[&Node]) -> Block<'a> {
        let convs: Vec<_> = nodes
            .iter()
            .filter_map(|node| match node.layer {
                LayerSpec::Conv(conv) => Some(conv),
                _ => None,
            })
            .collect();
        let outputs = convs.last().map_or(0, |conv| conv.count);
        let expands = convs.first().is_some_and(|conv| conv.groups == 1);
        let (stage, layer) = match (self.owner, outputs == self.outputs) {
            ("", _) => (0, 0),
            (_, true) => (self.stage, self.layer + 1),
            (_, false) => (self.stage + 1, 0),
        };
        Block { owner, stage, layer, outputs, expands, pointwise: 0, norms: 0 }
    }

    /// What the block's next part is called.
    fn part(&mut self, node: &Node) -> String {
        let part = match node.layer {
            LayerSpec::Conv(_) if node.name.ends_with(".fc1") => "se.conv_reduce".into(),
            LayerSpec::Conv(_) if node.name.ends_with(".fc2") => "se.conv_expand".into(),
            LayerSpec::Conv(conv) if conv.groups > 1 => "conv_dw".into(),
            LayerSpec::Conv(_) => {
                self.pointwise += 1;
                // Where nothing expands, the last one is the only one.
                let is_last = self.expands && self.pointwise > 1;
                if is_last { "conv_pwl".into() } else { "conv_pw".into() }
            }
            _ => {
                self.norms += 1;
                format!("bn{}", self.norms)
            }
        };
        format!("blocks.{}.{}.{part}", self.stage, self.layer)
    }
}
