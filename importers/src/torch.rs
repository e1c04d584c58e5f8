//! PyTorch's state dicts: which tensor is where in a network, and in which order its elements stand.
//!
//! All that differs between PyTorch's order and ours is here, as data; what reads, writes or compares
//! state dicts takes it from [`state_dict`].

use striate_nn::{LayerShape, LayerSpec, NetworkSpec, ParameterId, Role};

/// A tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTensor {
    /// Its name: `layer1.0.conv1.weight`.
    pub name: String,
    /// Its shape in PyTorch. A convolution of 1x1 may stand there as a matrix: see
    /// [`fits`](StateTensor::fits).
    pub shape: Vec<usize>,
    /// Where it is in the network.
    pub slot: StateSlot,
    /// The order of its elements.
    pub order: ElementOrder,
    /// The layer that has it.
    pub layer: usize,
}

/// Where a tensor of a state dict is in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateSlot {
    /// It is a parameter.
    Parameter(ParameterId),
    /// It is a row of a buffer: 0 of the running mean, 1 of the variance.
    Buffer {
        /// The buffer, by its place among the network's.
        buffer: usize,
        /// The row.
        row: usize,
    },
}

/// The order of a tensor's elements: `[out, channels, spatial]` in PyTorch is `[out, spatial, channels]`
/// here, where `spatial` are the positions of a kernel, or of an image that a full-connect layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementOrder {
    /// Channels that an output sees.
    pub channels: usize,
    /// Positions of each channel.
    pub spatial: usize,
}

impl ElementOrder {
    /// Both orders are the same.
    pub const SAME: ElementOrder = ElementOrder { channels: 1, spatial: 1 };

    /// Whether both orders are the same.
    pub fn is_same(&self) -> bool {
        self.channels == 1 || self.spatial == 1
    }

    /// Elements of an output.
    pub fn row(&self) -> usize {
        self.channels * self.spatial
    }

    /// Where PyTorch has the element that has this place here.
    pub fn in_torch(&self, ours: usize) -> usize {
        let (out, element) = (ours / self.row(), ours % self.row());
        out * self.row() + element % self.channels * self.spatial + element / self.channels
    }

    /// Where the element that PyTorch has at this place is here.
    pub fn from_torch(&self, torch: usize) -> usize {
        let (out, element) = (torch / self.row(), torch % self.row());
        out * self.row() + element % self.spatial * self.channels + element / self.spatial
    }
}

/// The tensors of a network's state dict, layer by layer: parameters, then buffers. Their names are those
/// of the nodes; PyTorch's where these are.
///
/// # Errors
/// As [`NetworkSpec::shapes`].
///
/// ```
/// let spec = striate_models::by_name("resnet18")?;
/// let first = &striate_importers::torch::state_dict(&spec)?[0];
/// assert_eq!((&*first.name, &*first.shape), ("conv1.weight", &[64, 3, 7, 7][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn state_dict(spec: &NetworkSpec) -> striate_nn::Result<Vec<StateTensor>> {
    Ok(tensors(spec, &spec.shapes()?, |layer| Some(spec.node_name(layer))))
}

/// As [`state_dict`], where names begin with other prefixes than the nodes'; layers without one are left
/// out.
pub(crate) fn tensors(
    spec: &NetworkSpec,
    shapes: &[LayerShape],
    prefix: impl Fn(usize) -> Option<String>,
) -> Vec<StateTensor> {
    let mut tensors = Vec::new();
    let (mut parameters, mut buffers) = (0, 0);
    for shape in shapes {
        let layer = shape.layer;
        let prefix = prefix(layer);
        for parameter in &shape.parameters {
            let slot = StateSlot::Parameter(ParameterId(parameters));
            parameters += 1;
            let Some(prefix) = &prefix else { continue };
            let order = match parameter.role {
                Role::Weight => order(spec, shapes, shape),
                _ => ElementOrder::SAME,
            };
            let dims = match *parameter.shape.dims() {
                [out, rows, cols, channels] => vec![out, channels, rows, cols],
                ref dims => dims.to_vec(),
            };
            let name = match spec.nodes[layer].layer {
                // PyTorch has it as a parameter of the module around it.
                LayerSpec::Scale(_) => prefix.clone(),
                _ => format!("{prefix}.{}", parameter.role.name()),
            };
            tensors.push(StateTensor { name, shape: dims, slot, order, layer });
        }
        for buffer in &shape.buffers {
            let channels = buffer.shape.dims().get(1).copied().unwrap_or(0);
            for (row, part) in ["running_mean", "running_var"].into_iter().enumerate() {
                let Some(prefix) = &prefix else { continue };
                tensors.push(StateTensor {
                    name: format!("{prefix}.{part}"),
                    shape: vec![channels],
                    slot: StateSlot::Buffer { buffer: buffers, row },
                    order: ElementOrder::SAME,
                    layer,
                });
            }
            buffers += 1;
        }
    }
    tensors
}

impl StateTensor {
    /// Whether a tensor of this shape in a file is this one: extents of 1 at the end do not count, so that
    /// a convolution of 1x1 may stand there as a matrix.
    pub fn fits(&self, shape: &[usize]) -> bool {
        fn trimmed(shape: &[usize]) -> &[usize] {
            let end = shape.iter().skip(1).rposition(|&extent| extent != 1).map_or(1, |at| at + 2);
            shape.get(..end).unwrap_or(shape)
        }
        trimmed(&self.shape) == trimmed(shape)
    }
}

/// The order of a layer's weights.
fn order(spec: &NetworkSpec, shapes: &[LayerShape], shape: &LayerShape) -> ElementOrder {
    match &spec.nodes[shape.layer].layer {
        LayerSpec::Conv(conv) => {
            let channels = shape.input[2] / conv.groups.max(1);
            ElementOrder { channels, spatial: conv.kernel.iter().product() }
        }
        LayerSpec::FullConnect(_) => {
            let [rows, cols, channels] = flattened(shapes, shape);
            ElementOrder { channels, spatial: rows * cols }
        }
        _ => ElementOrder::SAME,
    }
}

/// The image that a layer sees, where it may be a row of numbers by now: PyTorch flattens channel, row,
/// col.
pub(crate) fn flattened(shapes: &[LayerShape], shape: &LayerShape) -> [usize; 3] {
    let mut seen = shape;
    while let Some(Some(before)) = seen.from.first() {
        let before = &shapes[*before];
        if !before.flat {
            return before.output;
        }
        if before.weight().is_some() {
            break;
        }
        seen = before;
    }
    seen.input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_inverse() {
        let order = ElementOrder { channels: 3, spatial: 4 };
        for ours in 0..24 {
            assert_eq!(order.from_torch(order.in_torch(ours)), ours);
        }
        // The second output's second pixel, third channel.
        assert_eq!(order.in_torch(12 + 5), 12 + 2 * 4 + 1);
        assert!(!order.is_same() && ElementOrder::SAME.is_same());
        assert_eq!(
            (0..4).map(|i| ElementOrder::SAME.in_torch(i)).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn extents_of_one_at_the_end_do_not_count() {
        let tensor = |shape: &[usize]| StateTensor {
            name: String::new(),
            shape: shape.to_vec(),
            slot: StateSlot::Parameter(ParameterId(0)),
            order: ElementOrder::SAME,
            layer: 0,
        };
        assert!(tensor(&[8, 4, 1, 1]).fits(&[8, 4]) && tensor(&[8, 4]).fits(&[8, 4, 1, 1]));
        assert!(tensor(&[8]).fits(&[8, 1, 1]) && tensor(&[1]).fits(&[1]));
        assert!(!tensor(&[8, 4, 3, 3]).fits(&[8, 4]) && !tensor(&[8]).fits(&[]));
        assert!(!tensor(&[8]).fits(&[4]) && !tensor(&[8, 1, 3, 3]).fits(&[8]));
    }
}
