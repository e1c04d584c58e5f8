//! Writing a network down layer by layer.

use striate_tensor::ops::UnaryKind;

use super::node::INPUT;
use super::{
    Activation, Auxiliary, BatchNormSpec, ConvSpec, ConvTransposeSpec, DropoutSpec,
    FullConnectSpec, GroupNormSpec, Inputs, InstanceNormSpec, LayerNormSpec, LayerSpec, LrnSpec,
    NetworkSpec, Node, PlainSpec, PoolSpec, PreluSpec, ScaleSpec, StochasticDepthSpec, batch_norm,
    prelu,
};
use crate::Error;

macro_rules! activations {
    ($($(#[$doc:meta])* $method:ident $kind:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $method(self) -> Self {
            self.activation(Activation::new($kind))
        }
    )*};
}

/// Each method adds a layer after the last one; none edits an earlier layer.
impl NetworkSpec {
    /// A network without layers that sees `[rows, cols, channels]`, cut from whole images of the
    /// same size.
    #[must_use]
    pub fn new(input: [usize; 3]) -> Self {
        NetworkSpec {
            name: String::new(),
            input,
            image: [input[0], input[1]],
            nodes: Vec::new(),
            auxiliary: Vec::new(),
            misplaced: Vec::new(),
            head: None,
        }
    }

    /// With a name.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        NetworkSpec { name: name.into(), ..self }
    }

    /// With whole images of `[rows, cols]`, from which the input is cut.
    #[must_use]
    pub fn with_image(self, image: [usize; 2]) -> Self {
        NetworkSpec { image, ..self }
    }

    /// For inputs of `[rows, cols]`, and for whole images that are larger than these in the proportion
    /// in which they were before. Whether the layers fit, [`verify`](NetworkSpec::verify) says.
    ///
    /// ```
    /// use striate_nn::NetworkSpec;
    ///
    /// let spec = NetworkSpec::new([224, 224, 3]).with_image([256, 256]).with_input_size([64, 64]);
    /// assert_eq!((spec.input, spec.image), ([64, 64, 3], [73, 73]));
    /// ```
    #[must_use]
    pub fn with_input_size(self, size: [usize; 2]) -> Self {
        let [rows, cols, channels] = self.input;
        // Rounded to the nearest; an input of nothing is refused later.
        let scaled = |image: usize, from: usize, to: usize| {
            let exact = image as f64 * to as f64 / from.max(1) as f64;
            (exact.round() as usize).max(to)
        };
        let image = [scaled(self.image[0], rows, size[0]), scaled(self.image[1], cols, size[1])];
        NetworkSpec { input: [size[0], size[1], channels], image, ..self }
    }

    /// And then this layer.
    #[must_use]
    pub fn layer(mut self, layer: impl Into<LayerSpec>) -> Self {
        let inputs = self.head.take().map_or(Inputs::Previous, |head| Inputs::Of(vec![head]));
        self.nodes.push(Node { name: String::new(), layer: layer.into(), inputs });
        self
    }

    /// And then a convolution.
    #[must_use]
    pub fn conv(self, conv: ConvSpec) -> Self {
        self.layer(LayerSpec::Conv(conv))
    }

    /// And then a transposed convolution.
    #[must_use]
    pub fn conv_transpose(self, conv: ConvTransposeSpec) -> Self {
        self.layer(LayerSpec::ConvTranspose(conv))
    }

    /// And then max pooling.
    #[must_use]
    pub fn max_pool(self, pool: PoolSpec) -> Self {
        self.layer(LayerSpec::MaxPool(pool))
    }

    /// And then average pooling.
    #[must_use]
    pub fn avg_pool(self, pool: PoolSpec) -> Self {
        self.layer(LayerSpec::AvgPool(pool))
    }

    /// And then the mean of all pixels, for each channel: `[n, 1, 1, channels]`.
    #[must_use]
    pub fn global_avg_pool(self) -> Self {
        self.layer(LayerSpec::GlobalAvgPool(PlainSpec {}))
    }

    /// And then the maximum of all pixels, for each channel: `[n, 1, 1, channels]`.
    #[must_use]
    pub fn global_max_pool(self) -> Self {
        self.layer(LayerSpec::GlobalMaxPool(PlainSpec {}))
    }

    /// And then local response normalization.
    #[must_use]
    pub fn lrn(self, lrn: LrnSpec) -> Self {
        self.layer(LayerSpec::Lrn(lrn))
    }

    /// And then batch normalization with the usual constants.
    #[must_use]
    pub fn batch_norm(self) -> Self {
        self.batch_norm_with(batch_norm())
    }

    /// And then batch normalization.
    #[must_use]
    pub fn batch_norm_with(self, norm: BatchNormSpec) -> Self {
        self.layer(LayerSpec::BatchNorm(norm))
    }

    /// And then layer normalization: each pixel over its channels.
    #[must_use]
    pub fn layer_norm(self, norm: LayerNormSpec) -> Self {
        self.layer(LayerSpec::LayerNorm(norm))
    }

    /// And then group normalization: groups of channels, each image by itself.
    #[must_use]
    pub fn group_norm(self, norm: GroupNormSpec) -> Self {
        self.layer(LayerSpec::GroupNorm(norm))
    }

    /// And then instance normalization: each channel of an image by itself.
    #[must_use]
    pub fn instance_norm(self, norm: InstanceNormSpec) -> Self {
        self.layer(LayerSpec::InstanceNorm(norm))
    }

    /// And then a learnt factor for each channel, which is `initial` at first.
    #[must_use]
    pub fn layer_scale(self, initial: f32) -> Self {
        self.layer(LayerSpec::Scale(ScaleSpec { initial }))
    }

    /// And then a full-connect layer: a number of outputs, or a whole [`FullConnectSpec`].
    #[must_use]
    pub fn full_connect(self, full: impl Into<FullConnectSpec>) -> Self {
        self.layer(LayerSpec::FullConnect(full.into()))
    }

    /// And then a function of each element.
    #[must_use]
    pub fn activation(self, function: Activation) -> Self {
        self.layer(LayerSpec::Activation(function))
    }

    activations! {
        /// And then ReLU: negative elements become 0.
        relu UnaryKind::Relu;
        /// And then the sigmoid, `1 / (1 + e⁻ˣ)`.
        sigmoid UnaryKind::Sigmoid;
        /// And then the hyperbolic tangent.
        tanh UnaryKind::Tanh;
        /// And then SiLU, `x · sigmoid(x)`.
        silu UnaryKind::Silu;
        /// And then GELU by its tanh approximation.
        gelu UnaryKind::Gelu;
        /// And then GELU as it is defined, `x · (1 + erf(x / √2)) / 2`: PyTorch's.
        gelu_exact UnaryKind::GeluErf;
        /// And then hard swish, `x · min(max(x + 3, 0), 6) / 6`.
        hard_swish UnaryKind::HardSwish;
        /// And then the hard sigmoid, `min(max(x + 3, 0), 6) / 6`.
        hard_sigmoid UnaryKind::HardSigmoid;
        /// And then ReLU up to 6, `min(max(x, 0), 6)`.
        relu6 UnaryKind::RELU6;
        /// And then softplus, `ln(1 + eˣ)`.
        softplus UnaryKind::Softplus;
        /// And then Mish, `x · tanh(ln(1 + eˣ))`.
        mish UnaryKind::Mish;
    }

    /// And then leaky ReLU: negative elements are multiplied by the slope.
    #[must_use]
    pub fn leaky_relu(self, slope: f32) -> Self {
        self.activation(Activation::new(UnaryKind::LeakyRelu { slope }))
    }

    /// And then PReLU: ReLU with a slope below zero for each channel, which is learnt.
    #[must_use]
    pub fn prelu(self) -> Self {
        self.prelu_with(prelu())
    }

    /// And then PReLU, with one slope for all channels or other slopes at first.
    #[must_use]
    pub fn prelu_with(self, prelu: PreluSpec) -> Self {
        self.layer(LayerSpec::Prelu(prelu))
    }

    /// And then no element is below `min` or above `max`.
    #[must_use]
    pub fn clamp(self, min: f32, max: f32) -> Self {
        self.activation(Activation::new(UnaryKind::Clamp { min, max }))
    }

    /// And then ELU: negative elements become `alpha · (eˣ - 1)`.
    #[must_use]
    pub fn elu(self, alpha: f32) -> Self {
        self.activation(Activation::new(UnaryKind::Elu { alpha }))
    }

    /// And then dropout: training mutes elements at this rate, and scales the others so that sums
    /// keep their size.
    #[must_use]
    pub fn dropout(self, rate: f32) -> Self {
        self.layer(LayerSpec::Dropout(DropoutSpec { rate }))
    }

    /// And then stochastic depth: training mutes the branch of whole images at this rate, and scales
    /// that of others so that sums keep their size.
    ///
    /// ```
    /// use striate_nn::{NetworkSpec, conv2d};
    ///
    /// let block = NetworkSpec::new([8, 8, 4])
    ///     .residual(|x| x.conv(conv2d(4, 3).padding(1)).batch_norm().stochastic_depth(0.1));
    /// # assert!(block.shapes().is_ok());
    /// ```
    #[must_use]
    pub fn stochastic_depth(self, rate: f32) -> Self {
        self.layer(LayerSpec::StochasticDepth(StochasticDepthSpec { rate }))
    }

    /// And then each image as one row of numbers.
    #[must_use]
    pub fn flatten(self) -> Self {
        self.layer(LayerSpec::Flatten(PlainSpec {}))
    }

    /// A residual connection (He, Zhang, Ren and Sun, "Deep residual learning for image recognition",
    /// 2016): the sum of `main`'s output and its input.
    ///
    /// ```
    /// use striate_nn::{NetworkSpec, conv2d};
    ///
    /// let block = NetworkSpec::new([8, 8, 4])
    ///     .residual(|x| x.conv(conv2d(4, 3).padding(1)).batch_norm().relu()
    ///                    .conv(conv2d(4, 3).padding(1)).batch_norm())
    ///     .relu();
    /// assert_eq!(block.shapes()?.last().map(|shape| shape.output), Some([8, 8, 4]));
    /// # Ok::<(), striate_nn::Error>(())
    /// ```
    #[must_use]
    pub fn residual(self, main: impl FnOnce(Self) -> Self) -> Self {
        self.residual_with(main, |x| x)
    }

    /// A residual connection whose input goes through a `shortcut` of its own, such as a 1x1
    /// convolution where `main` changes the shape.
    #[must_use]
    pub fn residual_with(
        self,
        main: impl FnOnce(Self) -> Self,
        shortcut: impl FnOnce(Self) -> Self,
    ) -> Self {
        self.branches(|b| b.path(main).path(shortcut).add())
    }

    /// Paths that all see the same input, and come together again.
    ///
    /// ```
    /// use striate_nn::{NetworkSpec, conv2d};
    ///
    /// let spec = NetworkSpec::new([8, 8, 3])
    ///     .branches(|b| b.path(|x| x.conv(conv2d(4, 1)).relu())
    ///                    .path(|x| x.conv(conv2d(6, 3).padding(1)).relu())
    ///                    .concatenate());
    /// assert_eq!(spec.shapes()?.last().map(|shape| shape.output), Some([8, 8, 10]));
    /// # Ok::<(), striate_nn::Error>(())
    /// ```
    #[must_use]
    pub fn branches(mut self, paths: impl FnOnce(Branches) -> Self) -> Self {
        let from = self.head_name();
        self.head = None;
        paths(Branches { spec: self, from, ends: Vec::new() })
    }

    /// The layers that `block` adds are named below this: a block of one layer has the name itself,
    /// layers with names of their own have `name.own`, others `name.0`, `name.1`, … by their place.
    #[must_use]
    pub fn named(mut self, name: &str, block: impl FnOnce(Self) -> Self) -> Self {
        // What does not depend on the block is compiled once: networks have hundreds of blocks.
        let opened = self.open_block();
        let mut spec = block(self);
        spec.close_block(name, opened);
        spec
    }

    /// Within a block a layer may be called as the one that the block sees, until it gets its full
    /// name. So that they are not taken for each other, the one outside goes by another name.
    fn open_block(&mut self) -> OpenBlock {
        let start = self.nodes.len();
        let seen = self.head_name();
        let outside = self.node(&seen).filter(|&node| !self.nodes[node].name.is_empty());
        let mut aside = format!("../{seen}");
        while self.node(&aside).is_some() {
            aside.insert_str(0, "../");
        }
        if let Some(node) = outside {
            self.nodes[node].name.clone_from(&aside);
            self.rename(&seen, &aside);
        }
        OpenBlock { start, seen, outside, aside }
    }

    /// Gives the layers of a block their full names, and the one outside its own again.
    fn close_block(&mut self, name: &str, opened: OpenBlock) {
        let OpenBlock { start, seen, outside, aside } = opened;
        let added = self.nodes.len().saturating_sub(start);
        let mut renamed = Vec::with_capacity(added);
        for place in start..self.nodes.len() {
            let before = self.node_name(place);
            let own = &mut self.nodes[place].name;
            *own = match (own.is_empty(), added) {
                (true, 1) => name.to_owned(),
                (true, _) => format!("{name}.{}", place - start),
                (false, _) => format!("{name}.{own}"),
            };
            renamed.push((before, own.clone()));
        }
        let rename = |reference: &mut String| {
            if let Some((_, after)) = renamed.iter().find(|(before, _)| before == reference) {
                reference.clone_from(after);
            }
        };
        for node in &mut self.nodes[start..] {
            if let Inputs::Of(names) = &mut node.inputs {
                names.iter_mut().for_each(rename);
            }
        }
        self.auxiliary.iter_mut().for_each(|auxiliary| rename(&mut auxiliary.node));
        self.head.iter_mut().for_each(rename);
        if let Some(node) = outside {
            self.nodes[node].name.clone_from(&seen);
            self.rename(&aside, &seen);
        }
    }

    /// What is called by the one name is called by the other.
    fn rename(&mut self, from: &str, to: &str) {
        let inputs = self.nodes.iter_mut().filter_map(|node| match &mut node.inputs {
            Inputs::Of(names) => Some(names),
            Inputs::Previous => None,
        });
        let ends = self.auxiliary.iter_mut().map(|auxiliary| &mut auxiliary.node);
        for name in inputs.flatten().chain(ends).chain(&mut self.head) {
            if name == from {
                to.clone_into(name);
            }
        }
    }

    /// An output for training alone, made by the layers that `head` adds: its loss, times `weight`, is
    /// added to the network's. The next layer sees what `head` saw.
    #[must_use]
    pub fn auxiliary(mut self, name: &str, weight: f32, head: impl FnOnce(Self) -> Self) -> Self {
        let from = self.head_name();
        self.head = Some(from.clone());
        let mut spec = head(self);
        let node = spec.head_name();
        spec.auxiliary.push(Auxiliary { name: name.to_owned(), node, weight });
        spec.head = Some(from);
        spec
    }

    /// With another number of classes: of outputs of the last layer that has a number of outputs, where
    /// only activations, dropout, global pooling and flattening follow it. The last layers of auxiliary
    /// outputs get the same number.
    ///
    /// Without such a layer it cannot be: that is kept in [`misplaced`](NetworkSpec::misplaced), and
    /// [`shapes`](NetworkSpec::shapes), [`verify`](NetworkSpec::verify) and
    /// [`build`](NetworkSpec::build) refuse the network.
    ///
    /// ```
    /// use striate_nn::NetworkSpec;
    ///
    /// let spec = NetworkSpec::new([8, 8, 3]).full_connect(1000).with_classes(20);
    /// assert_eq!(spec.classes(), 20);
    /// ```
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        let last = self.nodes.len().checked_sub(1);
        let auxiliary: Vec<_> = self.auxiliary.iter().map(|out| self.node(&out.node)).collect();
        for end in auxiliary.into_iter().chain([last]) {
            let Some(counted) = end.and_then(|end| self.counted(end)) else {
                return self.misplace("with_classes", "a layer of as many outputs as classes last");
            };
            match &mut self.nodes[counted].layer {
                LayerSpec::FullConnect(full) => full.count = classes,
                LayerSpec::Conv(conv) => conv.count = classes,
                _ => {}
            }
        }
        self
    }

    /// The node that decides how many outputs this one has: itself, or what it sees through layers
    /// that keep the number.
    pub(crate) fn counted(&self, end: usize) -> Option<usize> {
        let sources = self.sources().ok()?;
        let mut place = end;
        loop {
            match self.nodes.get(place)?.layer {
                LayerSpec::Conv(_) | LayerSpec::FullConnect(_) => return Some(place),
                LayerSpec::Activation(_)
                | LayerSpec::Prelu(_)
                | LayerSpec::Dropout(_)
                | LayerSpec::GlobalAvgPool(_)
                | LayerSpec::GlobalMaxPool(_)
                | LayerSpec::AdaptiveAvgPool(_)
                | LayerSpec::AdaptiveMaxPool(_)
                | LayerSpec::Flatten(_) => match sources.get(place)?[..] {
                    [Some(before)] => place = before,
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// What the next layer would see, by name.
    fn head_name(&self) -> String {
        match (&self.head, self.nodes.len().checked_sub(1)) {
            (Some(head), _) => head.clone(),
            (None, Some(last)) => self.node_name(last),
            (None, None) => INPUT.to_owned(),
        }
    }

    /// Keeps that a method was called where it cannot be.
    fn misplace(mut self, method: &'static str, expected: &'static str) -> Self {
        self.misplaced.push(Misplaced { method, expected, layers: self.nodes.len() });
        self
    }
}

/// A block whose layers are being added.
struct OpenBlock {
    /// The first of them.
    start: usize,
    /// What the block sees, by name and, where that name was given, by number.
    seen: String,
    outside: Option<usize>,
    /// The name that it has meanwhile.
    aside: String,
}

/// Paths that see the same input: what [`NetworkSpec::branches`] hands out. It ends in a method that
/// brings them together.
#[derive(Debug)]
#[must_use]
pub struct Branches {
    spec: NetworkSpec,
    /// What all of them see.
    from: String,
    /// Their last nodes.
    ends: Vec<String>,
}

impl Branches {
    /// And a path. One that adds no layer is the input itself.
    pub fn path(mut self, path: impl FnOnce(NetworkSpec) -> NetworkSpec) -> Self {
        self.spec.head = Some(self.from.clone());
        self.spec = path(self.spec);
        self.ends.push(self.spec.head_name());
        self.spec.head = None;
        self
    }

    /// Their channels, one path's after another's.
    #[must_use]
    pub fn concatenate(self) -> NetworkSpec {
        self.join(LayerSpec::Concatenate(PlainSpec {}))
    }

    /// Their sum.
    #[must_use]
    pub fn add(self) -> NetworkSpec {
        self.join(LayerSpec::Add(PlainSpec {}))
    }

    /// Their product, such as of an image and a factor for each of its channels.
    #[must_use]
    pub fn multiply(self) -> NetworkSpec {
        self.join(LayerSpec::Multiply(PlainSpec {}))
    }

    pub(super) fn join(self, layer: LayerSpec) -> NetworkSpec {
        let Branches { mut spec, ends, .. } = self;
        spec.head = None;
        spec.nodes.push(Node { name: String::new(), layer, inputs: Inputs::Of(ends) });
        spec
    }
}

/// A method of the builder that was called where it cannot be: see
/// [`NetworkSpec::misplaced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// The method.
    pub method: &'static str,
    /// What it needs.
    pub expected: &'static str,
    /// How many layers there were when it was called.
    pub layers: usize,
}

impl Misplaced {
    /// The error that it is.
    pub(crate) fn error(&self, spec: &NetworkSpec) -> Error {
        let Misplaced { method, expected, layers } = *self;
        match layers.checked_sub(1).and_then(|layer| Some((layer, spec.nodes.get(layer)?.kind()))) {
            Some((layer, kind)) => {
                Error::layer(spec, layer, expected, format!("{method} after this {kind} layer"))
            }
            None => Error::network(expected, format!("{method} before any layer")),
        }
    }
}
