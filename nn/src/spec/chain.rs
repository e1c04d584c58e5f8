//! A network as a list of ccv's layers, where it is one.

use super::{Inputs, LayerKind, LayerSpec, NetworkSpec};
use crate::{Error, Result};

/// A layer of a chain: one of ccv's five kinds, with the activation and the dropout that follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainLayer {
    /// The node that has its parameters.
    pub node: usize,
    /// The layer, with ReLU and dropout where nodes of their own follow it.
    pub layer: LayerSpec,
}

impl NetworkSpec {
    /// The network as ccv writes it down: one layer after another, each a convolution, pooling, local
    /// response normalization or full-connect layer. ReLU and dropout nodes join the layer before
    /// them.
    ///
    /// # Errors
    /// [`Error::Layer`] names the first node that does not fit; [`Error::Network`] names an auxiliary
    /// output.
    pub fn chain(&self) -> Result<Vec<ChainLayer>> {
        let refuse =
            |node: usize, expected: &str, got: String| Err(Error::layer(self, node, expected, got));
        if let Some(auxiliary) = self.auxiliary.first() {
            let got = format!("the auxiliary output {}", auxiliary.name);
            return Err(Error::network("one output", got));
        }
        let sources = self.sources()?;
        let mut chain: Vec<ChainLayer> = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            if let Inputs::Of(names) = &node.inputs
                && sources[place] != [place.checked_sub(1)]
            {
                let got = format!("inputs {}", names.join(", "));
                return refuse(place, "a layer that sees the one before it", got);
            }
            let last = chain.last_mut().map(|last| &mut last.layer);
            match (&node.layer, last) {
                (
                    LayerSpec::Conv(_)
                    | LayerSpec::MaxPool(_)
                    | LayerSpec::AvgPool(_)
                    | LayerSpec::Lrn(_)
                    | LayerSpec::FullConnect(_),
                    _,
                ) => chain.push(ChainLayer { node: place, layer: node.layer.clone() }),
                (LayerSpec::Activation(function), Some(LayerSpec::Conv(conv)))
                    if function.is_relu() =>
                {
                    conv.relu = true;
                }
                (LayerSpec::Activation(function), Some(LayerSpec::FullConnect(full)))
                    if function.is_relu() =>
                {
                    full.relu = true;
                }
                (LayerSpec::Dropout(dropout), Some(LayerSpec::FullConnect(full)))
                    if full.dropout == 0.0 =>
                {
                    full.dropout = dropout.rate;
                }
                (LayerSpec::Flatten(_), _)
                    if self.nodes.get(place + 1).map(|n| n.kind())
                        == Some(LayerKind::FullConnect) => {}
                _ => {
                    let expected = "a conv, max-pool, avg-pool, lrn or full-connect layer, or a \
                                    ReLU or dropout that can join the layer before it";
                    return refuse(place, expected, format!("{} here", node.kind()));
                }
            }
        }
        Ok(chain)
    }
}
