//! What shapes follow from a specification.

use striate_tensor::{Given, Shape};

use crate::spec::{ConvSpec, FullConnectSpec, LrnSpec, PoolSpec};
use crate::{Error, LayerKind, LayerSpec, NetworkSpec, Result};

/// No activation of one image and no weight may have more elements: 64 GiB in single precision. A
/// specification from a damaged or hostile file stops here, not at the allocator.
///
/// Where `usize` has 32 bits, a size that it cannot count is refused like one beyond this.
pub const MAX_ELEMENTS: u64 = 1 << 34;

/// What goes into a layer, what comes out and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// The layer, counted from 0.
    pub layer: usize,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// Rows, cols and channels of its input.
    pub input: [usize; 3],
    /// Rows, cols and channels of its output; `[1, 1, count]` for a full-connect layer.
    pub output: [usize; 3],
    /// The shape of its weights: `[out, kernel rows, kernel cols, channels / groups]` or `[out,
    /// in]`.
    pub weight: Option<Shape>,
    /// The shape of its biases, `[out]`.
    pub bias: Option<Shape>,
    /// Multiplications with an addition, for one image.
    pub macs: u64,
    /// Whether its windows end exactly at the edge of the padded image. Where they do not, the
    /// rest is never seen, as in PyTorch; ccv refuses such a layer.
    pub exact: bool,
}

impl LayerShape {
    /// The number of weights.
    pub fn weights(&self) -> u64 {
        self.weight.map_or(0, |shape| shape.count() as u64)
    }

    /// The number of weights and biases.
    pub fn parameters(&self) -> u64 {
        self.weights() + self.bias.map_or(0, |shape| shape.count() as u64)
    }

    /// The number of outputs for one image.
    pub fn outputs(&self) -> u64 {
        self.output.iter().map(|&extent| extent as u64).product()
    }
}

/// Where ccv's classification cuts a network in two: the layers up to the last convolution run
/// once over the whole picture, windows of their output go through the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The last convolution.
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
        self.walk(self.input, self.layers.len())
    }

    /// The shapes of the layers before the first full-connect one, over an image of other rows and
    /// cols.
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes); also where the image is too small for a window.
    pub fn shapes_for(&self, input: [usize; 3]) -> Result<Vec<LayerShape>> {
        self.walk(input, self.first_full_connect().unwrap_or(self.layers.len()))
    }

    /// The first full-connect layer.
    pub fn first_full_connect(&self) -> Option<usize> {
        self.layers.iter().position(|layer| layer.kind() == LayerKind::FullConnect)
    }

    /// Outputs of the last layer that changes their number; the input's channels where none does.
    pub fn classes(&self) -> usize {
        let counts = self.layers.iter().rev().find_map(|layer| match layer {
            LayerSpec::Conv(conv) => Some(conv.count),
            LayerSpec::FullConnect(full) => Some(full.count),
            _ => None,
        });
        counts.unwrap_or(self.input[2])
    }

    /// Where ccv's classification cuts the network; `None` where there is no convolution or the
    /// layers do not fit each other.
    pub fn scan(&self) -> Option<Scan> {
        let layer = self.layers.iter().rposition(|layer| layer.kind() == LayerKind::Conv)?;
        let shapes = self.walk(self.input, layer + 1).ok()?;
        let [rows, cols, _] = shapes.last()?.output;
        let scale = self.layers[..=layer].iter().try_fold(1usize, |scale, layer| match layer {
            LayerSpec::Conv(conv) => scale.checked_mul(conv.stride),
            LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => scale.checked_mul(pool.stride),
            LayerSpec::Lrn(_) | LayerSpec::FullConnect(_) => Some(scale),
        })?;
        Some(Scan { layer, scale, window: [rows, cols] })
    }

    fn walk(&self, input: [usize; 3], layers: usize) -> Result<Vec<LayerShape>> {
        if let Some(misplaced) = self.misplaced.first() {
            return Err(misplaced.error(&self.layers));
        }
        if input.contains(&0) {
            return Err(Error::network("an input of rows, cols and channels", dims(&input)));
        }
        if elements(&input).is_none() {
            return Err(Error::network(format!("at most {MAX_ELEMENTS} inputs"), dims(&input)));
        }
        let mut shapes: Vec<LayerShape> = Vec::with_capacity(layers);
        let mut input = input;
        let mut flat = false;
        for (layer, spec) in self.layers[..layers].iter().enumerate() {
            let place = Place { layer, kind: spec.kind(), input };
            if flat && place.kind != LayerKind::FullConnect {
                let expected = "only full-connect layers after the first of them";
                return Err(place.error(expected, format!("a {} layer", place.kind)));
            }
            let shape = match spec {
                LayerSpec::Conv(conv) => place.conv(conv),
                LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => place.pool(pool),
                LayerSpec::Lrn(lrn) => place.lrn(lrn),
                LayerSpec::FullConnect(full) => place.full_connect(full),
            }?;
            flat = place.kind == LayerKind::FullConnect;
            input = shape.output;
            shapes.push(shape);
        }
        Ok(shapes)
    }
}

/// A layer's place in the walk: what every rule and every message needs.
struct Place {
    layer: usize,
    kind: LayerKind,
    input: [usize; 3],
}

impl Place {
    fn error(&self, expected: impl Into<String>, got: impl Into<Given>) -> Error {
        Error::layer(self.layer, self.kind, expected, got)
    }

    fn at_least_one(&self, what: &str, value: usize) -> Result<()> {
        if value > 0 {
            return Ok(());
        }
        Err(self.error(format!("{what} of at least 1"), "0"))
    }

    fn finite(&self, what: &str, value: f32) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(self.error(format!("a finite {what}"), value.to_string()))
    }

    fn divides(&self, groups: usize, what: &str, count: usize) -> Result<()> {
        if groups > 0 && count.is_multiple_of(groups) {
            return Ok(());
        }
        let got = format!("{groups} groups");
        Err(self.error(format!("groups that divide the {count} {what} evenly"), got))
    }

    /// The number of windows along an axis, and whether the last one ends at the edge.
    fn windows(
        &self,
        axis: usize,
        size: usize,
        stride: usize,
        padding: usize,
    ) -> Result<(usize, bool)> {
        let extent = self.input[axis];
        let padded = padding.checked_mul(2).and_then(|both| both.checked_add(extent));
        match padded.and_then(|padded| padded.checked_sub(size)) {
            Some(span) => Ok((span / stride + 1, span.is_multiple_of(stride))),
            None => {
                let axis = if axis == 0 { "rows" } else { "cols" };
                let got = format!("{size} {axis} over {extent} with padding {padding}");
                Err(self.error("a window no larger than its padded input", got))
            }
        }
    }

    fn shape(
        &self,
        output: [usize; 3],
        exact: bool,
        weight: Option<&[usize]>,
    ) -> Result<LayerShape> {
        let Some(outputs) = elements(&output) else {
            return Err(self.error(format!("at most {MAX_ELEMENTS} outputs"), dims(&output)));
        };
        let mut shape = LayerShape {
            layer: self.layer,
            kind: self.kind,
            input: self.input,
            output,
            weight: None,
            bias: None,
            macs: 0,
            exact,
        };
        if let Some(weight) = weight {
            let Some(weights) = elements(weight) else {
                return Err(self.error(format!("at most {MAX_ELEMENTS} weights"), dims(weight)));
            };
            let per_output = (weights / output[2]) as u64;
            let Some(macs) = per_output.checked_mul(outputs as u64) else {
                let got = format!("{outputs} outputs of {per_output} products each");
                return Err(self.error("a number of products that can be counted", got));
            };
            shape.macs = macs;
            shape.weight = Some(Shape::new(weight).map_err(|e| self.op(e))?);
            shape.bias = Some(Shape::new(&[output[2]]).map_err(|e| self.op(e))?);
        }
        Ok(shape)
    }

    fn op(&self, source: striate_tensor::Error) -> Error {
        Error::Op { layer: self.layer, kind: self.kind, source }
    }

    fn conv(&self, conv: &ConvSpec) -> Result<LayerShape> {
        let [_, _, channels] = self.input;
        let [kernel_rows, kernel_cols] = conv.kernel;
        self.at_least_one("a count", conv.count)?;
        self.at_least_one("kernel rows", kernel_rows)?;
        self.at_least_one("kernel cols", kernel_cols)?;
        self.at_least_one("a stride", conv.stride)?;
        self.divides(conv.groups, "input channels", channels)?;
        self.divides(conv.groups, "outputs", conv.count)?;
        self.init(conv.init.gain, conv.init.bias)?;
        let (rows, exact_rows) = self.windows(0, kernel_rows, conv.stride, conv.padding)?;
        let (cols, exact_cols) = self.windows(1, kernel_cols, conv.stride, conv.padding)?;
        let weight = [conv.count, kernel_rows, kernel_cols, channels / conv.groups];
        self.shape([rows, cols, conv.count], exact_rows && exact_cols, Some(&weight))
    }

    fn pool(&self, pool: &PoolSpec) -> Result<LayerShape> {
        self.at_least_one("a window", pool.size)?;
        self.at_least_one("a stride", pool.stride)?;
        if pool.padding >= pool.size {
            let expected = format!("a padding less than the window of {}", pool.size);
            return Err(self.error(expected, pool.padding.to_string()));
        }
        let (rows, exact_rows) = self.windows(0, pool.size, pool.stride, pool.padding)?;
        let (cols, exact_cols) = self.windows(1, pool.size, pool.stride, pool.padding)?;
        self.shape([rows, cols, self.input[2]], exact_rows && exact_cols, None)
    }

    fn lrn(&self, lrn: &LrnSpec) -> Result<LayerShape> {
        self.at_least_one("a window", lrn.size)?;
        self.divides(lrn.groups, "input channels", self.input[2])?;
        for (what, value) in [("kappa", lrn.kappa), ("alpha", lrn.alpha), ("beta", lrn.beta)] {
            self.finite(what, value)?;
        }
        self.shape(self.input, true, None)
    }

    fn full_connect(&self, full: &FullConnectSpec) -> Result<LayerShape> {
        self.at_least_one("a count", full.count)?;
        self.init(full.init.gain, full.init.bias)?;
        if !(0.0..1.0).contains(&full.dropout) {
            let expected = "a dropout rate from 0 to less than 1";
            return Err(self.error(expected, full.dropout.to_string()));
        }
        let inputs = self.input.iter().product();
        self.shape([1, 1, full.count], true, Some(&[full.count, inputs]))
    }

    fn init(&self, gain: f32, bias: f32) -> Result<()> {
        self.finite("initial gain", gain)?;
        self.finite("initial bias", bias)
    }
}

/// The number of elements, where it is within [`MAX_ELEMENTS`].
fn elements(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))?;
    (count as u64 <= MAX_ELEMENTS).then_some(count)
}

/// `225x225x3`
pub(crate) fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
