//! A user's own ops in a network.

use striate_tensor::ops::{Custom, CustomOps};

use super::{Branches, CustomSpec, LayerSpec, NetworkSpec};
use crate::{Error, Result};

impl NetworkSpec {
    /// And then a user's own op: see [`CustomSpec`].
    ///
    /// A file names the op. Whoever reads it passes a registry that has it: see
    /// [`with_custom_ops`](NetworkSpec::with_custom_ops).
    #[must_use]
    pub fn custom(self, op: impl Into<Custom>) -> Self {
        self.layer(LayerSpec::Custom(CustomSpec::from(op)))
    }

    /// The same network, its custom layers with their ops: what a specification that was read needs
    /// before it can be used. Layers that have theirs keep them.
    ///
    /// ```
    /// use striate_nn::NetworkSpec;
    /// use striate_tensor::ops::{CustomOp, CustomOps};
    /// # use striate_tensor::{HostTensor, Result, TensorType};
    /// # #[derive(Debug)]
    /// # struct Same;
    /// # impl CustomOp for Same {
    /// #     fn name(&self) -> &'static str { "same" }
    /// #     fn output(&self, inputs: &[TensorType]) -> Result<TensorType> { Ok(inputs[0]) }
    /// #     fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> { Ok(inputs[0].clone()) }
    /// # }
    ///
    /// let spec = NetworkSpec::new([8, 8, 3]).custom(Same).full_connect(10);
    /// let read = NetworkSpec::from_json(&spec.to_json()?)?;
    /// assert_eq!(read, spec);
    /// assert!(read.shapes().is_err());
    /// let ops = CustomOps::new().with_op(Same);
    /// assert_eq!(read.with_custom_ops(&ops)?.shapes()?, spec.shapes()?);
    /// # Ok::<(), striate_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Op`] with the first layer whose op the registry cannot make, and why.
    pub fn with_custom_ops(mut self, ops: &CustomOps) -> Result<Self> {
        for place in 0..self.nodes.len() {
            if let LayerSpec::Custom(custom) = &mut self.nodes[place].layer
                && let Err(source) = custom.make(ops)
            {
                return Err(Error::op(&self, place, source));
            }
        }
        Ok(self)
    }

    /// A registry of the ops that its layers have: for reading a file of the same network.
    pub fn custom_ops(&self) -> CustomOps {
        let mut ops = CustomOps::new();
        for node in &self.nodes {
            if let LayerSpec::Custom(custom) = &node.layer
                && let Some(op) = custom.op()
            {
                ops = ops.with_op(op.clone());
            }
        }
        ops
    }

    /// The first layer whose op is not there: in a specification that was read, before
    /// [`with_custom_ops`](NetworkSpec::with_custom_ops).
    pub fn missing_op(&self) -> Option<usize> {
        let is_missing =
            |layer: &LayerSpec| matches!(layer, LayerSpec::Custom(custom) if custom.op().is_none());
        self.nodes.iter().position(|node| is_missing(&node.layer))
    }
}

impl Branches {
    /// The output of a user's own op, whose operands are the paths in their order.
    #[must_use]
    pub fn custom(self, op: impl Into<Custom>) -> NetworkSpec {
        self.join(LayerSpec::Custom(CustomSpec::from(op)))
    }
}
