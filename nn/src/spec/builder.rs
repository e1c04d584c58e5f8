//! Writing a specification down layer by layer.

use super::{ConvSpec, FullConnectSpec, Init, LayerSpec, LrnSpec, NetworkSpec, PoolSpec};
use crate::Error;

/// A convolution of `count` square kernels: stride 1, no padding, one group, ReLU.
pub fn conv(count: usize, kernel: usize) -> ConvSpec {
    ConvSpec {
        count,
        kernel: [kernel; 2],
        stride: 1,
        padding: 0,
        groups: 1,
        out_groups: 1,
        relu: true,
        init: Init::default(),
    }
}

/// Pooling over windows of `size` side by side (stride `size`), no padding.
pub fn pool(size: usize) -> PoolSpec {
    PoolSpec { size, stride: size, padding: 0, groups: 1 }
}

/// Local response normalization over `size` channels, with the constants of AlexNet: kappa 2, alpha
/// 0.0001 (not divided by the size), beta 0.75; one group.
pub fn lrn(size: usize) -> LrnSpec {
    LrnSpec { size, kappa: 2.0, alpha: 1e-4, beta: 0.75, groups: 1 }
}

/// A full-connect layer of `count` outputs, without ReLU and dropout.
pub fn full_connect(count: usize) -> FullConnectSpec {
    FullConnectSpec { count, relu: false, dropout: 0.0, init: Init::default() }
}

impl From<usize> for FullConnectSpec {
    fn from(count: usize) -> Self {
        full_connect(count)
    }
}

impl ConvSpec {
    /// With a kernel of other rows and cols.
    #[must_use]
    pub fn kernel(self, rows_cols: [usize; 2]) -> Self {
        ConvSpec { kernel: rows_cols, ..self }
    }

    /// With another stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        ConvSpec { stride, ..self }
    }

    /// With zeros around the image.
    #[must_use]
    pub fn padding(self, padding: usize) -> Self {
        ConvSpec { padding, ..self }
    }

    /// In groups (ccv's input partition). The output partition follows, unless it was set to
    /// something else.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        let follows = self.out_groups == self.groups;
        let out_groups = if follows { groups } else { self.out_groups };
        ConvSpec { groups, out_groups, ..self }
    }

    /// With another output partition, which ccv stores and nothing uses.
    #[must_use]
    pub fn out_groups(self, out_groups: usize) -> Self {
        ConvSpec { out_groups, ..self }
    }

    /// Without the ReLU that ends a convolution. ccv has no such layer.
    #[must_use]
    pub fn linear(self) -> Self {
        ConvSpec { relu: false, ..self }
    }

    /// With biases that start at this.
    #[must_use]
    pub fn bias(self, bias: f32) -> Self {
        ConvSpec { init: Init { bias, ..self.init }, ..self }
    }
}

impl PoolSpec {
    /// With another stride.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        PoolSpec { stride, ..self }
    }

    /// With windows that reach over the edge.
    #[must_use]
    pub fn padding(self, padding: usize) -> Self {
        PoolSpec { padding, ..self }
    }

    /// With a partition, which ccv stores and nothing uses.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        PoolSpec { groups, ..self }
    }
}

impl LrnSpec {
    /// With another constant in the denominator.
    #[must_use]
    pub fn kappa(self, kappa: f32) -> Self {
        LrnSpec { kappa, ..self }
    }

    /// With another factor of the sum of squares. Caffe and PyTorch divide theirs by the size:
    /// divide it here.
    #[must_use]
    pub fn alpha(self, alpha: f32) -> Self {
        LrnSpec { alpha, ..self }
    }

    /// With another power.
    #[must_use]
    pub fn beta(self, beta: f32) -> Self {
        LrnSpec { beta, ..self }
    }

    /// In groups: a window stays inside its own.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        LrnSpec { groups, ..self }
    }
}

impl FullConnectSpec {
    /// With ReLU.
    #[must_use]
    pub fn relu(self) -> Self {
        FullConnectSpec { relu: true, ..self }
    }

    /// With outputs muted at this rate in training.
    #[must_use]
    pub fn dropout(self, rate: f32) -> Self {
        FullConnectSpec { dropout: rate, ..self }
    }

    /// With biases that start at this.
    #[must_use]
    pub fn bias(self, bias: f32) -> Self {
        FullConnectSpec { init: Init { bias, ..self.init }, ..self }
    }
}

impl NetworkSpec {
    /// A network without layers that sees `[rows, cols, channels]`, cut from whole images of the
    /// same size.
    #[must_use]
    pub fn new(input: [usize; 3]) -> Self {
        let image = [input[0], input[1]];
        NetworkSpec { name: String::new(), input, image, layers: Vec::new(), misplaced: Vec::new() }
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

    /// And then this layer.
    #[must_use]
    pub fn layer(mut self, layer: LayerSpec) -> Self {
        self.layers.push(layer);
        self
    }

    /// And then a convolution.
    #[must_use]
    pub fn conv(self, conv: ConvSpec) -> Self {
        self.layer(LayerSpec::Conv(conv))
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

    /// And then local response normalization.
    #[must_use]
    pub fn lrn(self, lrn: LrnSpec) -> Self {
        self.layer(LayerSpec::Lrn(lrn))
    }

    /// And then a full-connect layer: a number of outputs, or a whole [`FullConnectSpec`].
    #[must_use]
    pub fn full_connect(self, full: impl Into<FullConnectSpec>) -> Self {
        self.layer(LayerSpec::FullConnect(full.into()))
    }

    /// With ReLU on the layer before, which must be a convolution or full-connect: what these put
    /// out becomes at least 0. (Convolutions have it from the start, so there it changes nothing
    /// unless the layer is [linear](ConvSpec::linear).)
    ///
    /// After any other layer, or first, there is nothing that it could be put on: that is kept in
    /// [`misplaced`](NetworkSpec::misplaced), and [`shapes`](NetworkSpec::shapes),
    /// [`verify`](NetworkSpec::verify) and [`build`](NetworkSpec::build) refuse the network.
    #[must_use]
    pub fn relu(mut self) -> Self {
        match self.layers.last_mut() {
            Some(LayerSpec::FullConnect(full)) => full.relu = true,
            Some(LayerSpec::Conv(conv)) => conv.relu = true,
            _ => return self.misplace("relu", "a conv or full-connect layer right before relu"),
        }
        self
    }

    /// With outputs muted at this rate in training, on the layer before, which must be full-connect
    /// and have no dropout yet. (A [ReLU](NetworkSpec::relu) before or after it gives the same.)
    ///
    /// After any other layer, or first, it cannot be: see [`relu`](NetworkSpec::relu).
    #[must_use]
    pub fn dropout(mut self, rate: f32) -> Self {
        match self.layers.last_mut() {
            Some(LayerSpec::FullConnect(full)) if full.dropout == 0.0 => full.dropout = rate,
            Some(LayerSpec::FullConnect(_)) => {
                return self.misplace("dropout", "one dropout on a full-connect layer");
            }
            _ => return self.misplace("dropout", "a full-connect layer right before dropout"),
        }
        self
    }

    /// With another number of classes: of outputs of the last layer, which must be full-connect.
    ///
    /// After any other layer, or without layers, it cannot be: see [`relu`](NetworkSpec::relu).
    ///
    /// ```
    /// use striate_nn::NetworkSpec;
    ///
    /// let spec = NetworkSpec::new([8, 8, 3]).full_connect(1000).with_classes(20);
    /// assert_eq!(spec.classes(), 20);
    /// ```
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        match self.layers.last_mut() {
            Some(LayerSpec::FullConnect(last)) => last.count = classes,
            _ => return self.misplace("with_classes", "a full-connect layer last"),
        }
        self
    }

    /// Keeps that a method was called where it cannot be.
    fn misplace(mut self, method: &'static str, expected: &'static str) -> Self {
        self.misplaced.push(Misplaced { method, expected, layers: self.layers.len() });
        self
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
    pub(crate) fn error(&self, layers: &[LayerSpec]) -> Error {
        let Misplaced { method, expected, layers: count } = *self;
        match count.checked_sub(1).and_then(|layer| Some((layer, layers.get(layer)?.kind()))) {
            Some((layer, kind)) => {
                Error::layer(layer, kind, expected, format!("{method} after this {kind} layer"))
            }
            None => Error::network(expected, format!("{method} before any layer")),
        }
    }
}
