//! Writing a specification down layer by layer.

use super::{ConvSpec, FullConnectSpec, Init, LayerSpec, LrnSpec, NetworkSpec, PoolSpec};

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

    /// In groups (ccv's input partition); the output partition follows.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        ConvSpec { groups, out_groups: groups, ..self }
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
        NetworkSpec { name: String::new(), input, image, layers: Vec::new() }
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

    /// With ReLU on the latest layer that has weights (convolutions have it from the start).
    #[must_use]
    pub fn relu(mut self) -> Self {
        match self.layers.iter_mut().rev().find(|layer| layer.has_parameters()) {
            Some(LayerSpec::FullConnect(full)) => full.relu = true,
            Some(LayerSpec::Conv(conv)) => conv.relu = true,
            _ => {}
        }
        self
    }

    /// With outputs muted at this rate in training, on the latest full-connect layer. Only
    /// full-connect layers have dropout: before the first one this changes nothing.
    #[must_use]
    pub fn dropout(mut self, rate: f32) -> Self {
        let latest = self.layers.iter_mut().rev().find_map(|layer| match layer {
            LayerSpec::FullConnect(full) => Some(full),
            _ => None,
        });
        if let Some(full) = latest {
            full.dropout = rate;
        }
        self
    }
}
