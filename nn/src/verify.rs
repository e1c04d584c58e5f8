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
    /// not a row of `classes` numbers without activation and dropout, numbers that are not finite, layers
    /// that nothing sees, auxiliary outputs without a layer or a name of their own.
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
        for (place, auxiliary) in self.auxiliary.iter().enumerate() {
            let of = |what: &str| format!("{what} of the auxiliary output {}", auxiliary.name);
            let end = self.node(&auxiliary.node).unwrap_or(last);
            if end == last {
                let got = format!("`{}`, the network's last", auxiliary.node);
                return Err(Error::network(of("a layer beside the network's own end"), got));
            }
            if self.auxiliary[..place].iter().any(|other| other.name == auxiliary.name) {
                return Err(Error::network(of("a name of its own"), "one that stands twice"));
            }
            if !auxiliary.weight.is_finite() {
                let got = auxiliary.weight.to_string();
                return Err(Error::network(of("a finite weight"), got));
            }
            self.verify_end(&shapes[end], classes)?;
        }
        self.verify_seen(&shapes)?;
        Ok(Verified { spec: self, shapes })
    }

    /// Checks that every layer has a part in an output: one that nothing sees is a slip of the pen.
    fn verify_seen(&self, shapes: &[LayerShape]) -> Result<()> {
        let mut seen = vec![false; shapes.len()];
        let ends = self.auxiliary.iter().filter_map(|auxiliary| self.node(&auxiliary.node));
        for end in ends.chain(shapes.len().checked_sub(1)) {
            seen[end] = true;
        }
        for shape in shapes {
            for source in shape.from.iter().flatten() {
                seen[*source] = true;
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(layer) => {
                let expected = "a layer after it that sees it, or an auxiliary output";
                Err(Error::layer(self, layer, expected, "none"))
            }
            None => Ok(()),
        }
    }

    /// Checks that a layer's output is one number a class, of which nothing is cut off or muted.
    fn verify_end(&self, end: &LayerShape, classes: usize) -> Result<()> {
        let refuse =
            |layer, expected: &str, got: String| Err(Error::layer(self, layer, expected, got));
        if !end.flat {
            let expected = match end.output {
                [1, 1, _] => "a full-connect layer last, or flatten after this one",
                _ => "a full-connect layer last",
            };
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
            LayerSpec::Activation(_)
            | LayerSpec::Prelu(_)
            | LayerSpec::Dropout(_)
            | LayerSpec::StochasticDepth(_) => {
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

/// What a layer has that ccv's layers of its kind cannot say.
fn beyond_ccv(layer: &LayerSpec) -> Vec<&'static str> {
    let uneven = |stride: [usize; 2], padding: [[usize; 2]; 2]| {
        stride[0] != stride[1] || padding.iter().flatten().any(|side| *side != padding[0][0])
    };
    let beyond = match layer {
        LayerSpec::Conv(conv) => vec![
            (uneven(conv.stride, conv.padding), "ccv has one stride and one padding for both axes"),
            (conv.dilation != [1, 1], "ccv's kernels are dense, this one is dilated"),
            (!conv.bias, "ccv's convolutions have a bias, this one has none"),
        ],
        LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => vec![
            (
                pool.size[0] != pool.size[1] || uneven(pool.stride, pool.padding),
                "ccv has one size, one stride and one padding for both axes",
            ),
            (pool.ceil, "ccv rounds the number of windows down, this layer up"),
            (pool.count_padding, "ccv's means leave out the padding, this one counts it"),
            (pool.first_maximum, "ccv gives every maximum the gradient, this layer the first"),
        ],
        LayerSpec::FullConnect(full) => {
            vec![(!full.bias, "ccv's full-connect layers have a bias, this one has none")]
        }
        _ => Vec::new(),
    };
    beyond.into_iter().filter_map(|(is, message)| is.then_some(message)).collect()
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
        for beyond in beyond_ccv(ccv) {
            say(here, beyond.into());
        }
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
