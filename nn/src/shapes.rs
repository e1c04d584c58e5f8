//! What shapes follow from a specification.

use std::ops::Range;

use striate_graph::Graph;
use striate_tensor::{DType, Op, Shape, TensorType};

use crate::lower::{Lowered, Wanted, is_local, lower, needed};
use crate::parameters::{BufferInfo, Layout, ParameterInfo, Role};
use crate::spec::{LayerSpec, NetworkSpec};
use crate::{Error, LayerKind, Result};

/// No activation of one image and no weight may have more elements: 64 GiB in single precision. A
/// specification from a damaged or hostile file stops here, not at the allocator.
///
/// Where `usize` has 32 bits, a size that it cannot count is refused like one beyond this.
pub const MAX_ELEMENTS: u64 = 1 << 34;

/// What goes into a layer, what comes out and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerShape {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Its name: its number where it has none of its own.
    pub name: String,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// The layers that it sees; none for what the network sees.
    pub from: Vec<Option<usize>>,
    /// Rows, cols and channels of its (first) input; `[1, 1, count]` of a row of numbers.
    pub input: [usize; 3],
    /// Rows, cols and channels of its output; `[1, 1, count]` for a row of numbers, such as a
    /// full-connect layer's.
    pub output: [usize; 3],
    /// Whether its output is a row of numbers for each image: `[n, count]`.
    pub flat: bool,
    /// Its parameters.
    pub parameters: Vec<ParameterInfo>,
    /// Its buffers: running statistics.
    pub buffers: Vec<BufferInfo>,
    /// Multiplications with an addition, for one image.
    pub macs: u64,
    /// Arithmetic operations of all its ops, for one image.
    pub flops: u64,
    /// Whether its windows end exactly at the edge of the padded image. Where they do not, the
    /// rest is never seen, as in PyTorch; ccv refuses such a layer.
    pub exact: bool,
}

impl LayerShape {
    /// The shape of its weights: `[out, kernel rows, kernel cols, channels / groups]` or `[out,
    /// in]`; of a normalization's scale, `[channels]`.
    pub fn weight(&self) -> Option<Shape> {
        self.of(&[Role::Weight, Role::Scale])
    }

    /// The shape of its biases, `[out]`; of a normalization's shift, `[channels]`.
    pub fn bias(&self) -> Option<Shape> {
        self.of(&[Role::Bias, Role::Shift])
    }

    fn of(&self, roles: &[Role]) -> Option<Shape> {
        let parameter = self.parameters.iter().find(|known| roles.contains(&known.role))?;
        Some(parameter.shape)
    }

    /// The number of weights.
    pub fn weights(&self) -> u64 {
        self.weight().map_or(0, |shape| shape.count() as u64)
    }

    /// The number of weights and biases.
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().map(|parameter| parameter.shape.count() as u64).sum()
    }

    /// The number of outputs for one image.
    pub fn outputs(&self) -> u64 {
        self.output.iter().map(|&extent| extent as u64).product()
    }
}

/// Where ccv's classification cuts a network in two: the layers up to this one run once over the whole
/// picture, windows of their output go through the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The last layer of the first part: the last convolution, or the first [cut](NetworkSpec::cuts)
    /// after it where it is none itself.
    pub layer: usize,
    /// Pixels of the picture from one of its outputs to the next: the product of all strides up to
    /// and including it.
    pub scale: usize,
    /// Rows and cols that the layer after it expects.
    pub window: [usize; 2],
}

impl NetworkSpec {
    /// The shapes of every layer, for the input that the network is made for.
    ///
    /// # Errors
    /// [`Error::Layer`] at the first layer that does not fit its input or whose parameters make no
    /// sense, where a method of the builder cannot follow a layer
    /// ([`misplaced`](NetworkSpec::misplaced)), and where a size is beyond [`MAX_ELEMENTS`];
    /// [`Error::Network`] where the input is empty.
    pub fn shapes(&self) -> Result<Vec<LayerShape>> {
        Ok(self.walk(self.input, self.nodes.len())?.0)
    }

    /// The shapes of the layers before the first that does not look at neighbourhoods alone (a
    /// full-connect layer or global pooling), over an image of other rows and cols.
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes); also where the image is too small for a window.
    pub fn shapes_for(&self, input: [usize; 3]) -> Result<Vec<LayerShape>> {
        Ok(self.walk(input, self.local_layers())?.0)
    }

    /// The network as a graph, for a batch of so many images in single precision: what
    /// [`Network`](crate::Network) runs, before any [pass](striate_graph).
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes).
    pub fn graph(&self, batch: usize) -> Result<Graph> {
        let [rows, cols, channels] = self.check_input(self.input)?;
        let input = TensorType::f32(Shape::new(&[batch, rows, cols, channels])?);
        let dtypes = |_| DType::F32;
        let nodes = 0..self.nodes.len();
        let wanted =
            Wanted { nodes, input, training: false, dtypes: &dtypes, all: false, shapes: None };
        Ok(lower(self, &wanted, None)?.graph)
    }

    /// How many layers stand before the first that does not look at neighbourhoods alone. Auxiliary
    /// outputs do not count: inference does not compute them.
    pub fn local_layers(&self) -> usize {
        let all = 0..self.nodes.len();
        let needed = self.sources().map(|sources| needed(&sources, all.clone()));
        let needed = needed.unwrap_or_else(|_| vec![true; all.len()]);
        let mut nodes = self.nodes.iter().zip(needed);
        let local = nodes.position(|(node, needed)| needed && !is_local(&node.layer));
        local.unwrap_or(self.nodes.len())
    }

    /// The first full-connect layer that sees all that what follows it sees: not one of an auxiliary
    /// output, nor one within branches.
    pub fn first_full_connect(&self) -> Option<usize> {
        let cuts = self.cuts().unwrap_or_default();
        let follows_cut = |layer: usize| layer == 0 || cuts.contains(&(layer - 1));
        (0..self.nodes.len())
            .find(|&layer| self.nodes[layer].kind() == LayerKind::FullConnect && follows_cut(layer))
    }

    /// Outputs of the network: of its last layer, or of the last one that changes their number; the
    /// input's channels where none does.
    pub fn classes(&self) -> usize {
        let last = self.nodes.len().checked_sub(1).and_then(|last| self.counted(last));
        let counts = |layer: &LayerSpec| match layer {
            LayerSpec::Conv(conv) => Some(conv.count),
            LayerSpec::FullConnect(full) => Some(full.count),
            _ => None,
        };
        let named = last.and_then(|last| counts(&self.nodes[last].layer));
        let any = || self.nodes.iter().rev().find_map(|node| counts(&node.layer));
        named.or_else(any).unwrap_or(self.input[2])
    }

    /// The cuts: layers after which their output alone is seen by what follows. A network may be
    /// scanned, recomputed, split or frozen there. Of a chain each layer is one.
    ///
    /// # Errors
    /// As [`sources`](NetworkSpec::sources).
    pub fn cuts(&self) -> Result<Vec<usize>> {
        let sources = self.sources()?;
        let mut last_seen = vec![0; self.nodes.len() + 1];
        for (place, inputs) in sources.iter().enumerate() {
            for input in inputs {
                // The network's input counts as the place before the first.
                last_seen[input.map_or(0, |input| input + 1)] = place + 1;
            }
        }
        let ends = self.auxiliary.iter().filter_map(|auxiliary| self.node(&auxiliary.node));
        for end in ends {
            last_seen[end + 1] = last_seen[end + 1].max(end + 1);
        }
        let mut alive_until = 0;
        let mut cuts = Vec::new();
        for place in 0..self.nodes.len() {
            // What stands before this layer and is seen after it.
            alive_until = alive_until.max(last_seen[place]);
            let is_seen = last_seen[place + 1] > place + 1 || place + 1 == self.nodes.len();
            if alive_until <= place + 1 && is_seen {
                cuts.push(place);
            }
        }
        Ok(cuts)
    }

    /// Where ccv's classification cuts the network; `None` where there is no convolution, no cut after
    /// the last one before layers that see the whole image, or the layers do not fit each other.
    pub fn scan(&self) -> Option<Scan> {
        let last = self.nodes.iter().rposition(|node| node.kind() == LayerKind::Conv)?;
        let local = self.local_layers();
        let layer = self.cuts().ok()?.into_iter().find(|cut| (last..local).contains(cut))?;
        let (shapes, _) = self.walk(self.input, layer + 1).ok()?;
        let [rows, cols, _] = shapes.last()?.output;
        let mut scales: Vec<usize> = Vec::with_capacity(layer + 1);
        for (node, shape) in self.nodes.iter().zip(&shapes) {
            let before = |input: &Option<usize>| input.map_or(1, |input| scales[input]);
            let seen = shape.from.first().map_or(1, before);
            if shape.from.iter().any(|input| before(input) != seen) {
                return None;
            }
            let [stride_rows, stride_cols] = match &node.layer {
                LayerSpec::Conv(conv) => conv.stride,
                LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => pool.stride,
                _ => [1, 1],
            };
            if stride_rows != stride_cols {
                return None;
            }
            scales.push(seen.checked_mul(stride_rows)?);
        }
        Some(Scan { layer, scale: *scales.last()?, window: [rows, cols] })
    }

    /// What the network holds: its parameters and buffers in their order.
    pub(crate) fn layout(&self) -> Result<(Vec<LayerShape>, Layout)> {
        self.walk(self.input, self.nodes.len())
    }

    fn check_input(&self, input: [usize; 3]) -> Result<[usize; 3]> {
        if input.contains(&0) {
            return Err(Error::network("an input of rows, cols and channels", dims(&input)));
        }
        if elements(&input).is_none() {
            return Err(Error::network(format!("at most {MAX_ELEMENTS} inputs"), dims(&input)));
        }
        Ok(input)
    }

    fn walk(&self, input: [usize; 3], layers: usize) -> Result<(Vec<LayerShape>, Layout)> {
        if let Some(misplaced) = self.misplaced.first() {
            return Err(misplaced.error(self));
        }
        let [rows, cols, channels] = self.check_input(input)?;
        let input = TensorType::f32(Shape::new(&[1, rows, cols, channels])?);
        let dtypes = |_| DType::F32;
        let wanted = Wanted {
            nodes: 0..layers,
            input,
            training: false,
            dtypes: &dtypes,
            all: true,
            shapes: None,
        };
        let lowered = lower(self, &wanted, None)?;
        let sources = self.sources()?;
        let shapes = (0..layers).map(|layer| self.shape(&lowered, &sources, layer));
        let shapes = shapes.collect::<Result<Vec<_>>>()?;
        Ok((shapes, lowered.layout))
    }

    /// A layer's shape, out of the lowered network.
    fn shape(
        &self,
        lowered: &Lowered,
        sources: &[Vec<Option<usize>>],
        layer: usize,
    ) -> Result<LayerShape> {
        let Lowered { graph, values, exact, layout, .. } = lowered;
        let of = |value| image(graph.ty(value).shape.dims());
        let (_, seen) = graph.inputs()[0];
        let from = sources[layer].clone();
        let input = from.first().copied().flatten().map_or(seen, |source| values[source]);
        let (mut macs, mut flops) = (0u64, 0u64);
        let own = |origin: Option<usize>| origin == Some(layer);
        for node in graph.nodes().iter().filter(|node| own(node.origin)) {
            let cost = graph.cost(node);
            flops = flops.saturating_add(cost.flops);
            if let striate_graph::NodeOp::Op(
                Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::MatMul(_),
            ) = node.op
            {
                // The op's own count stops where a number of 64 bits does.
                if cost.flops / 2 >= u64::MAX / 2 {
                    let got = format!("{} outputs", dims(graph.ty(node.output).shape.dims()));
                    let expected = "a number of products that can be counted";
                    return Err(Error::layer(self, layer, expected, got));
                }
                macs = macs.saturating_add(cost.flops / 2);
            }
        }
        let parameters = layout.parameters.iter().filter(|known| known.layer == layer).cloned();
        let buffers = layout.buffers.iter().filter(|known| known.layer == layer);
        Ok(LayerShape {
            layer,
            name: self.node_name(layer),
            kind: self.nodes[layer].kind(),
            from,
            input: of(input),
            output: of(values[layer]),
            flat: graph.ty(values[layer]).shape.rank() == 2,
            parameters: parameters.collect(),
            buffers: buffers.cloned().collect(),
            macs,
            flops,
            exact: exact[layer],
        })
    }

    /// A range of layers that may be run apart: what it sees is one value.
    ///
    /// # Errors
    /// [`Error::Range`] where there are no such layers; [`Error::Layer`] naming the layer before them,
    /// where that is no cut.
    pub(crate) fn check_range(&self, layers: &Range<usize>) -> Result<()> {
        if layers.start > layers.end || layers.end > self.nodes.len() {
            return Err(Error::Range { layers: self.nodes.len(), range: layers.clone() });
        }
        let cuts = self.cuts()?;
        let Some(end) = layers.start.checked_sub(1) else { return Ok(()) };
        if layers.is_empty() || cuts.contains(&end) {
            return Ok(());
        }
        let near = [cuts.iter().rev().find(|&&cut| cut < end), cuts.iter().find(|&&cut| cut > end)];
        let near: Vec<String> =
            near.into_iter().flatten().map(|&cut| self.node_name(cut)).collect();
        let expected =
            format!("a layer that the network can be cut after (near: {})", near.join(", "));
        let got = "a layer within branches that come together later";
        Err(Error::layer(self, end, expected, got))
    }
}

/// Rows, cols and channels of a value; a row of numbers is one pixel.
fn image(dims: &[usize]) -> [usize; 3] {
    match dims {
        [_, rows, cols, channels] => [*rows, *cols, *channels],
        [_, rest @ ..] => [1, 1, rest.iter().product()],
        [] => [1, 1, 1],
    }
}

/// The number of elements, where it is within [`MAX_ELEMENTS`].
pub(crate) fn elements(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))?;
    (count as u64 <= MAX_ELEMENTS).then_some(count)
}

/// `225x225x3`
pub(crate) fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
