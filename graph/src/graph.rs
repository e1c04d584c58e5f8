//! What a graph consists of.

use striate_tensor::ops::Algorithm;
use striate_tensor::{Cost, Op, Shape, Tensor, TensorType};

use crate::{Error, Result};

/// A parameter of the network that a graph was made from: its number there. What is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId(pub u32);

/// A buffer of the network that a graph was made from: its number there. State that is no parameter,
/// such as running statistics: saved and loaded, never learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

impl ParameterId {
    /// Its place in a list of all parameters.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl BufferId {
    /// Its place in a list of all buffers.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A value of a graph: an input, a parameter, a constant, or what a node puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(crate) u32);

impl Value {
    /// Its place in the order of the graph's values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An input, counted from 0: see [`Graph::inputs`].
    Input(usize),
    /// A parameter, given when the graph runs.
    Parameter(ParameterId),
    /// A buffer, given when the graph runs.
    Buffer(BufferId),
    /// A constant of the graph.
    Constant(Tensor),
    /// The output of a node, counted from 0: see [`Graph::nodes`].
    Node(usize),
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeOp {
    /// A tensor op.
    Op(Op),
    /// The same elements in another shape; costs nothing.
    Reshape(Shape),
    /// Zeroes elements, or whole images, at random and scales the others. `slot` says which of the run's random
    /// sequences it takes; without one, its input passes unchanged.
    Dropout {
        /// The probability of a zero.
        rate: f32,
        /// What other elements are multiplied by.
        scale: f32,
        /// Which of the [run](crate::Run)'s keys it takes.
        slot: usize,
        /// Each image (whatever has one index of axis 0) is zeroed as a whole, or not at all.
        images: bool,
    },
}

impl<T: Into<Op>> From<T> for NodeOp {
    fn from(op: T) -> Self {
        NodeOp::Op(op.into())
    }
}

impl NodeOp {
    /// The name of the op: `conv2d`.
    pub fn name(&self) -> &'static str {
        match self {
            NodeOp::Op(op) => op.name(),
            NodeOp::Reshape(_) => "reshape",
            NodeOp::Dropout { .. } => "dropout",
        }
    }

    /// The type of the output: the shape rule.
    ///
    /// # Errors
    /// Where operands or parameters do not fit.
    pub fn output(&self, inputs: &[TensorType]) -> striate_tensor::Result<TensorType> {
        let one = || match inputs {
            [x] => Ok(*x),
            _ => Err(striate_tensor::Error::Operands {
                op: self.name(),
                expected: "1".into(),
                got: inputs.len(),
            }),
        };
        match self {
            NodeOp::Op(op) => op.output(inputs),
            NodeOp::Dropout { .. } => one(),
            NodeOp::Reshape(shape) => {
                let x = one()?;
                if x.count() == shape.count() {
                    return Ok(TensorType::new(*shape, x.dtype));
                }
                let expected = format!("{} elements", x.count());
                Err(striate_tensor::Error::shape("reshape", expected, shape))
            }
        }
    }

    /// Arithmetic and memory traffic.
    ///
    /// # Errors
    /// As [`output`](NodeOp::output).
    pub fn cost(&self, inputs: &[TensorType]) -> striate_tensor::Result<Cost> {
        match self {
            NodeOp::Op(op) => op.cost(inputs),
            NodeOp::Reshape(_) => Ok(Cost::default()),
            NodeOp::Dropout { .. } => {
                let bytes = self.output(inputs)?.size_bytes() as u64;
                let flops = self.output(inputs)?.count() as u64;
                Ok(Cost { flops, bytes_read: bytes, bytes_written: bytes })
            }
        }
    }
}

/// A step of a graph: an op on values, which makes one value.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name, for people: that of the layer it was made from, as a rule.
    pub name: String,
    /// What it does.
    pub op: NodeOp,
    /// What it reads, in the op's order.
    pub inputs: Vec<Value>,
    /// What it makes.
    pub output: Value,
    /// What it was made from, where its maker says so: the number of a layer.
    pub origin: Option<usize>,
    /// Whether its inputs count as constants for gradients: nothing goes back through it.
    pub detached: bool,
}

/// A value that a run in training shows beside its outputs: the statistics of a batch, from which a
/// buffer is updated when the mini-batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The buffer that they are for.
    pub buffer: BufferId,
    /// Over how many elements they are, for each channel.
    pub count: u64,
    /// Mean and biased variance, `[2, channels]`.
    pub moments: Value,
}

#[derive(Clone, Debug)]
pub(crate) struct ValueInfo {
    pub(crate) ty: TensorType,
    pub(crate) source: Source,
}

/// Ops with shapes, in an order to run them in.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<ValueInfo>,
    nodes: Vec<Node>,
    inputs: Vec<(String, Value)>,
    outputs: Vec<(String, Value)>,
    records: Vec<Record>,
    origin: Option<usize>,
}

impl Graph {
    /// A graph of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An input of this type.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        let value = self.value(ty, Source::Input(self.inputs.len()));
        self.inputs.push((name.into(), value));
        value
    }

    /// A parameter of this type. A parameter that is there already is the same value.
    pub fn parameter(&mut self, id: ParameterId, ty: TensorType) -> Value {
        let known = self.find(|source| matches!(source, Source::Parameter(known) if *known == id));
        known.unwrap_or_else(|| self.value(ty, Source::Parameter(id)))
    }

    /// A buffer of this type. A buffer that is there already is the same value.
    pub fn buffer(&mut self, id: BufferId, ty: TensorType) -> Value {
        let known = self.find(|source| matches!(source, Source::Buffer(known) if *known == id));
        known.unwrap_or_else(|| self.value(ty, Source::Buffer(id)))
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        self.value(*tensor.ty(), Source::Constant(tensor))
    }

    /// And then this op on these values; its output.
    ///
    /// # Errors
    /// [`Error::Node`] where the operands do not fit the op.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[Value],
    ) -> Result<Value> {
        self.push_node(name, NodeOp::Op(op.into()), inputs, false)
    }

    /// As [`push`](Graph::push), for any kind of node; `detached` where nothing goes back through it.
    ///
    /// # Errors
    /// [`Error::Node`] where the operands do not fit.
    pub fn push_node(
        &mut self,
        name: impl Into<String>,
        op: NodeOp,
        inputs: &[Value],
        detached: bool,
    ) -> Result<Value> {
        let name = name.into();
        let ty = |input: &Value| match self.values.get(input.index()) {
            Some(value) => Ok(value.ty),
            None => Err(striate_tensor::Error::parameter(
                op.name(),
                "inputs",
                format!("values of this graph, which has {}", self.values.len()),
                input.index(),
            )),
        };
        let types: striate_tensor::Result<Vec<TensorType>> = inputs.iter().map(ty).collect();
        let ty = types.and_then(|types| op.output(&types)).map_err(|source| Error::Node {
            node: name.clone(),
            origin: self.origin,
            source: source.into(),
        })?;
        let output = self.value(ty, Source::Node(self.nodes.len()));
        let inputs = inputs.to_vec();
        self.nodes.push(Node { name, op, inputs, output, origin: self.origin, detached });
        Ok(output)
    }

    /// Nodes pushed from here on were made from this: see [`Node::origin`].
    pub fn set_origin(&mut self, origin: Option<usize>) {
        self.origin = origin;
    }

    /// Makes every convolution one that is computed so.
    pub fn set_algorithm(&mut self, algorithm: Algorithm) {
        for node in &mut self.nodes {
            match &mut node.op {
                NodeOp::Op(Op::Conv2d(conv)) => conv.algorithm = algorithm,
                NodeOp::Op(Op::ConvTranspose2d(conv)) => conv.algorithm = algorithm,
                _ => {}
            }
        }
    }

    /// Makes a value an output.
    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((name.into(), value));
    }

    /// Makes a value the statistics that a run shows for a buffer.
    pub fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The nodes, each after those that it reads.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The inputs by name.
    pub fn inputs(&self) -> &[(String, Value)] {
        &self.inputs
    }

    /// The outputs by name, the first the graph's own.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// The statistics that a run shows.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many values there are.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// All values, in order.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..self.values.len() as u32).map(Value)
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// Where a value comes from.
    pub fn source(&self, value: Value) -> &Source {
        &self.values[value.index()].source
    }

    /// The node that makes a value; none of inputs, parameters, buffers and constants.
    pub fn maker(&self, value: Value) -> Option<&Node> {
        match self.source(value) {
            Source::Node(node) => self.nodes.get(*node),
            _ => None,
        }
    }

    /// The types of what a node reads.
    pub fn input_types(&self, node: &Node) -> Vec<TensorType> {
        node.inputs.iter().map(|&input| *self.ty(input)).collect()
    }

    /// Arithmetic and memory traffic of a node.
    pub fn cost(&self, node: &Node) -> Cost {
        // The shape rule accepted it when it was pushed.
        node.op.cost(&self.input_types(node)).unwrap_or_default()
    }

    /// How often each value is read, outputs and records included.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let reads = self.nodes.iter().flat_map(|node| node.inputs.iter().copied());
        let shown = self.outputs.iter().map(|(_, value)| *value);
        let recorded = self.records.iter().map(|record| record.moments);
        for value in reads.chain(shown).chain(recorded) {
            uses[value.index()] += 1;
        }
        uses
    }

    fn find(&self, is: impl Fn(&Source) -> bool) -> Option<Value> {
        let place = self.values.iter().position(|value| is(&value.source))?;
        Some(Value(place as u32))
    }

    fn value(&mut self, ty: TensorType, source: Source) -> Value {
        // Far fewer values than 2^32 fit into memory: each takes more than 16 bytes.
        let value = Value(self.values.len() as u32);
        self.values.push(ValueInfo { ty, source });
        value
    }
}
