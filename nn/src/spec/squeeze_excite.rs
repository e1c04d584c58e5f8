//! Squeeze and excitation (Hu, Shen and Sun, "Squeeze-and-excitation networks", 2018).

use striate_tensor::ops::UnaryKind;

use super::{Activation, NetworkSpec, conv2d};

/// Squeeze and excitation: each channel times a factor that two 1x1 convolutions compute from the means
/// of all channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqueezeExcite {
    /// Channels of the image, and so the factors.
    pub channels: usize,
    /// Outputs of the first convolution.
    pub squeezed: usize,
    /// The function between the convolutions.
    pub activation: Activation,
    /// The function that makes factors.
    pub gate: Activation,
}

/// Squeeze and excitation of an image of so many channels, `squeezed` in between; with ReLU and the
/// sigmoid, as in the paper.
pub fn squeeze_excite(channels: usize, squeezed: usize) -> SqueezeExcite {
    SqueezeExcite {
        channels,
        squeezed,
        activation: Activation::new(UnaryKind::Relu),
        gate: Activation::new(UnaryKind::Sigmoid),
    }
}

impl SqueezeExcite {
    /// With another function between the convolutions.
    #[must_use]
    pub fn activation(self, kind: UnaryKind) -> Self {
        SqueezeExcite { activation: Activation::new(kind), ..self }
    }

    /// With another function that makes factors.
    #[must_use]
    pub fn gate(self, kind: UnaryKind) -> Self {
        SqueezeExcite { gate: Activation::new(kind), ..self }
    }
}

impl NetworkSpec {
    /// And then squeeze and excitation: nodes called `avgpool`, `fc1`, `activation`, `fc2` and
    /// `scale_activation`, as in torchvision, and the product.
    ///
    /// ```
    /// use striate_nn::{NetworkSpec, squeeze_excite};
    ///
    /// let spec = NetworkSpec::new([8, 8, 16]).squeeze_excite(squeeze_excite(16, 4));
    /// assert_eq!(spec.shapes()?.last().map(|shape| shape.output), Some([8, 8, 16]));
    /// # Ok::<(), striate_nn::Error>(())
    /// ```
    #[must_use]
    pub fn squeeze_excite(self, spec: SqueezeExcite) -> Self {
        let SqueezeExcite { channels, squeezed, activation, gate } = spec;
        let factors = |x: NetworkSpec| {
            x.named("avgpool", NetworkSpec::global_avg_pool)
                .named("fc1", |x| x.conv(conv2d(squeezed, 1)))
                .named("activation", |x| x.activation(activation))
                .named("fc2", |x| x.conv(conv2d(channels, 1)))
                .named("scale_activation", |x| x.activation(gate))
        };
        self.branches(|b| b.path(|x| x).path(factors).multiply())
    }
}
