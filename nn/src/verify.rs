//! Whether a network makes sense, and whether ccv could run it.

use crate::shapes::dims;
use crate::{Error, LayerShape, LayerSpec, NetworkSpec, Result, Summary};

/// A specification that passed [`NetworkSpec::verify`].
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    spec: &'a NetworkSpec,
    shapes: Vec<LayerShape>,
}

impl Verified<'_> {
    /// The specification.
    pub fn spec(&self) -> &NetworkSpec {
        self.spec
    }

    /// The shapes of its layers.
    pub fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    /// A table of its layers: shapes, parameters, products, bytes.
    pub fn summary(&self) -> Summary {
        Summary::new(self.spec, &self.shapes)
    }

    /// What keeps ccv from running or storing this network.
    pub fn ccv_limits(&self) -> Vec<CcvLimit> {
        limits(self.spec, &self.shapes)
    }
}

/// A reason why ccv cannot run or store a network that is fine here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CcvLimit {
    /// The layer that it is about, where it is about one.
    pub layer: Option<usize>,
    /// What ccv wants, and what this network has.
    pub message: String,
}

impl std::fmt::Display for CcvLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "layer {layer}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl NetworkSpec {
    /// Checks that this is a classifier of `classes` classes whose layers fit each other.
    ///
    /// It refuses what would be meaningless: sizes of zero or beyond
    /// [`MAX_ELEMENTS`](crate::MAX_ELEMENTS), windows that do not fit their input, groups that do
    /// not divide channels or outputs, layers that want images after a full-connect one, an end that is
    /// not a row of `classes` numbers without activation and dropout, numbers that are not finite.
    ///
    /// ccv's own verification is narrower. What it refuses and this framework runs is not an error
    /// but listed by [`ccv_limits`](NetworkSpec::ccv_limits): windows that do not end at the
    /// image's edge (the rest is left out, as in PyTorch), even kernels, input channels other than
    /// 3, convolutions without ReLU, outputs of a group that are no multiple of 4.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Network`], with what was expected and what there is.
    pub fn verify(&self, classes: usize) -> Result<Verified<'_>> {
        let shapes = self.shapes()?;
        if self.image[0] < self.input[0] || self.image[1] < self.input[1] {
            let expected =
                format!("a whole image no smaller than the input of {}", dims(&self.input[..2]));
            return Err(Error::network(expected, dims(&self.image)));
        }
        for (layer, node) in self.nodes.iter().enumerate() {
            if let LayerSpec::Conv(conv) = &node.layer
                && (conv.out_groups == 0 || !conv.count.is_multiple_of(conv.out_groups))
            {
                let expected = format!("an output partition that divides {} outputs", conv.count);
                return Err(Error::layer(self, layer, expected, conv.out_groups.to_string()));
            }
        }
        let Some(last) = self.nodes.len().checked_sub(1) else {
            return Err(Error::network("layers", "none"));
        };
        self.verify_end(&shapes[last], classes)?;
        for auxiliary in &self.auxiliary {
            let Some(end) = self.node(&auxiliary.node) else {
                let expected = format!("a node that is the auxiliary output {}", auxiliary.name);
                return Err(Error::network(expected, format!("`{}`", auxiliary.node)));
            };
            if !auxiliary.weight.is_finite() {
                let expected =
                    format!("a finite weight of the auxiliary output {}", auxiliary.name);
                return Err(Error::network(expected, auxiliary.weight.to_string()));
            }
            self.verify_end(&shapes[end], classes)?;
        }
        Ok(Verified { spec: self, shapes })
    }

    /// Checks that a layer's output is one number a class, of which nothing is cut off or muted.
    fn verify_end(&self, end: &LayerShape, classes: usize) -> Result<()> {
        let refuse =
            |layer, expected: &str, got: String| Err(Error::layer(self, layer, expected, got));
        if !end.flat {
            let expected = "a full-connect layer last";
            return refuse(end.layer, expected, format!("a {} layer", end.kind));
        }
        let counted = self.counted(end.layer).unwrap_or(end.layer);
        if end.outputs() != classes as u64 {
            let expected = format!("{classes} outputs, one a class, of the last layer");
            return refuse(counted, &expected, end.outputs().to_string());
        }
        match &self.nodes[end.layer].layer {
            LayerSpec::FullConnect(full) if full.relu => {
                refuse(end.layer, "a last layer without relu", "relu".into())
            }
            LayerSpec::FullConnect(full) if full.dropout != 0.0 => {
                let got = format!("a dropout rate of {}", full.dropout);
                refuse(end.layer, "a last layer without dropout", got)
            }
            LayerSpec::Activation(_) | LayerSpec::Dropout(_) => {
                let expected = "a last layer without activation and dropout";
                refuse(end.layer, expected, format!("a {} layer", end.kind))
            }
            _ => Ok(()),
        }
    }

    /// What keeps ccv from running or storing this network; empty for ccv's own.
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes): where the layers do not fit each other at all.
    pub fn ccv_limits(&self) -> Result<Vec<CcvLimit>> {
        Ok(limits(self, &self.shapes()?))
    }
}

fn limits(spec: &NetworkSpec, shapes: &[LayerShape]) -> Vec<CcvLimit> {
    let mut limits = Vec::new();
    let mut say = |layer: Option<usize>, message: String| limits.push(CcvLimit { layer, message });
    if spec.input[2] != 3 {
        let channels = spec.input[2];
        say(None, format!("ccv's networks see 3 input channels, this one {channels}"));
    }
    let chain: Vec<(usize, LayerSpec)> = match spec.chain() {
        Ok(chain) => chain.into_iter().map(|layer| (layer.node, layer.layer)).collect(),
        Err(error) => {
            let layer = if let Error::Layer { layer, .. } = &error { Some(*layer) } else { None };
            let kind = layer.map_or_else(String::new, |layer| spec.nodes[layer].kind().to_string());
            say(layer, format!("ccv's networks are chains of its own layers, this one has {kind}"));
            return limits;
        }
    };
    for (layer, ccv) in &chain {
        let (here, shape) = (Some(*layer), &shapes[*layer]);
        if !shape.exact {
            let message = "ccv's windows end exactly at the padded image's edge, these fall short";
            say(here, message.into());
        }
        let LayerSpec::Conv(conv) = ccv else { continue };
        if conv.kernel.iter().any(|extent| extent.is_multiple_of(2)) {
            say(here, format!("ccv's kernels are odd, this one is {}", dims(&conv.kernel)));
        }
        if !conv.relu {
            say(here, "ccv's convolutions end in a ReLU, this one does not".into());
        }
        let per_group = conv.count / conv.groups;
        if !per_group.is_multiple_of(4) {
            say(
                here,
                format!(
                    "ccv's CPU code computes outputs by fours, this one has {per_group} a group"
                ),
            );
        }
        if !conv.out_groups.is_multiple_of(conv.groups) {
            let (out, groups) = (conv.out_groups, conv.groups);
            say(
                here,
                format!(
                    "ccv's output partition is a multiple of the input's, {out} not of {groups}"
                ),
            );
        }
    }
    if let Some(scan) = spec.scan() {
        let next = chain.iter().find(|(layer, _)| *layer > scan.layer);
        if let Some((layer, LayerSpec::FullConnect(_))) = next {
            let message =
                "ccv cannot classify where a full-connect layer follows the last convolution";
            say(Some(*layer), message.into());
        }
        let fits =
            |whole: usize, seen: usize| whole.saturating_sub(seen).is_multiple_of(scan.scale);
        if !fits(spec.image[0], spec.input[0]) || !fits(spec.image[1], spec.input[1]) {
            let (image, input) = (dims(&spec.image), dims(&spec.input[..2]));
            let scale = scan.scale;
            say(
                None,
                format!(
                    "ccv classifies where image and input ({image}, {input}) differ by multiples \
                     of the strides' product, {scale}"
                ),
            );
        }
    }
    limits
}
