//! Running a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use striate_tensor::{RandomKey, Tensor, no_grad, ops};

use crate::chains::Chains;
use crate::error::missing;
use crate::graph::{BufferId, Node, NodeOp, ParameterId, Source};
use crate::parts::{Joins, Made};
use crate::{Error, Plan, Result, Value};

/// Gives a run its parameters and buffers.
pub trait Bind {
    /// The parameter of this number.
    fn parameter(&self, id: ParameterId) -> Option<&Tensor>;
    /// The buffer of this number.
    fn buffer(&self, id: BufferId) -> Option<&Tensor>;
}

/// For graphs without parameters and buffers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTensors;

impl Bind for NoTensors {
    fn parameter(&self, _: ParameterId) -> Option<&Tensor> {
        None
    }

    fn buffer(&self, _: BufferId) -> Option<&Tensor> {
        None
    }
}

/// Ends a run between two nodes, from any thread. Clones are one switch.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A switch that is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the runs that have this switch, and those that begin with it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is on.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a visitor is shown: a node and its output.
type Visit<'a> = dyn FnMut(&Node, &Tensor) -> Result<()> + 'a;

/// How a graph is run: all of it may be left out.
#[derive(Default)]
pub struct Run<'a> {
    /// The random sequences that dropout takes, by slot; none in inference.
    pub keys: &'a [Option<RandomKey>],
    /// What [`Plan::prepare`] gave for these parameters; without it, fixed nodes are run too.
    pub prepared: Option<&'a [Option<Tensor>]>,
    /// Ends the run early.
    pub cancel: Option<&'a Cancel>,
    /// Bytes that activations may take ([`Plan::peak_bytes`]).
    pub memory_limit: Option<u64>,
    /// Shown every node's output as it is made.
    pub visit: Option<&'a mut Visit<'a>>,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("keys", &self.keys)
            .field("prepared", &self.prepared.is_some())
            .field("cancel", &self.cancel.is_some())
            .field("memory_limit", &self.memory_limit)
            .field("visit", &self.visit.is_some())
            .finish()
    }
}

/// The statistics of a batch, for a buffer.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The buffer.
    pub buffer: BufferId,
    /// Over how many elements they are, for each channel.
    pub count: u64,
    /// Mean and biased variance, `[2, channels]`.
    pub moments: Tensor,
}

/// What a run gives.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The outputs, in the graph's order.
    pub values: Vec<Tensor>,
    /// The statistics that the graph records.
    pub records: Vec<Recorded>,
}

impl Plan {
    /// Runs the graph on these inputs. A value is freed as soon as nothing more reads it. Running is
    /// `&self`: any number of threads may do so at once.
    ///
    /// # Errors
    /// [`Error::Inputs`], [`Error::Input`] or [`Error::Unbound`] where what is given does not fit;
    /// [`Error::Memory`] where it would take more than it may, before anything runs;
    /// [`Error::Cancelled`]; [`Error::Node`] where a device fails; what the visitor says.
    pub fn run(&self, inputs: &[&Tensor], bind: &dyn Bind, run: &mut Run<'_>) -> Result<Outputs> {
        let graph = self.graph();
        let mut values = self.begin(inputs, bind, run)?;
        // A visitor is shown every output, and gradients go through every node: then each stands alone.
        let alone = run.visit.is_some() || values.iter().flatten().any(Tensor::is_tracked);
        let mut joins = Joins::new(self, alone);
        let mut chains = Chains::new(self, alone);
        for (place, node) in graph.nodes().iter().enumerate() {
            if run.cancel.is_some_and(Cancel::is_cancelled) {
                return Err(Error::Cancelled);
            }
            let prepared = run.prepared.and_then(|prepared| prepared.get(place)?.as_ref());
            let output = match prepared {
                Some(prepared) => Some(prepared.clone()),
                // Fixed nodes that only other fixed nodes read are not kept: nobody asks for them.
                None if self.is_fixed(place) && run.prepared.is_some() => continue,
                None if chains.is_done(place) => values[node.output.index()].take(),
                None => match joins.execute(place, &values).map_err(|e| failed(node, e))? {
                    Made::Alone => {
                        let chain = chains.execute(place, &values, run.prepared);
                        match chain.map_err(|error| failed(node, error))? {
                            Some((value, made)) => {
                                values[value.index()] = Some(made);
                                None
                            }
                            None => Some(match self.spare(place).filter(|_| !alone) {
                                Some(spare) => execute_over(node, &mut values, spare)?,
                                None => execute(node, &values, run.keys)?,
                            }),
                        }
                    }
                    Made::Part => None,
                    Made::Joined(output) => Some(output),
                },
            };
            if let (Some(visit), Some(output)) = (&mut run.visit, &output) {
                visit(node, output)?;
            }
            values[node.output.index()] = output;
            for value in self.freed_after(place) {
                values[value.index()] = None;
            }
        }
        let take = |value: Value| match &values[value.index()] {
            Some(tensor) => Ok(tensor.clone()),
            None => Err(missing("an output")),
        };
        let outputs = graph.outputs().iter().map(|(_, value)| take(*value));
        let records = graph.records().iter().map(|record| {
            let (buffer, count) = (record.buffer, record.count);
            Ok(Recorded { buffer, count, moments: take(record.moments)? })
        });
        Ok(Outputs {
            values: outputs.collect::<Result<_>>()?,
            records: records.collect::<Result<_>>()?,
        })
    }

    /// The outputs of the nodes that depend on parameters, buffers and constants alone and that other
    /// nodes read, by node: computed once for any number of runs, until a parameter changes.
    ///
    /// # Errors
    /// [`Error::Unbound`] where a parameter is missing; [`Error::Node`] where a device fails.
    pub fn prepare(&self, bind: &dyn Bind) -> Result<Vec<Option<Tensor>>> {
        self.prepare_beside(bind, &[])
    }

    /// As [`prepare`](Plan::prepare). What other plans have prepared of the same parameters and buffers by
    /// the same ops is taken from them, so that plans for inputs of several sizes hold it once.
    ///
    /// # Errors
    /// As [`prepare`](Plan::prepare).
    pub fn prepare_beside(
        &self,
        bind: &dyn Bind,
        others: &[(&Plan, &[Option<Tensor>])],
    ) -> Result<Vec<Option<Tensor>>> {
        let graph = self.graph();
        let nodes = graph.nodes();
        let mut kept = vec![None; nodes.len()];
        let shown = graph.outputs().iter().map(|(_, value)| *value);
        let shown = shown.chain(graph.records().iter().map(|record| record.moments));
        let read = (nodes.iter().enumerate())
            .filter(|(place, _)| !self.is_fixed(*place))
            .flat_map(|(_, node)| node.inputs.iter().copied());
        let fixed = |value: Value| match graph.source(value) {
            Source::Node(place) if self.is_fixed(*place) => Some(*place),
            _ => None,
        };
        let wanted: BTreeSet<usize> = read.chain(shown).filter_map(fixed).collect();
        for (other, prepared) in others {
            let same = self.same_fixed(other);
            for &place in &wanted {
                if kept[place].is_none()
                    && let Some(of) = same[place]
                {
                    kept[place] = prepared.get(of).cloned().flatten();
                }
            }
        }
        // What must be computed: from the last node to the first, what those need that are wanted.
        let mut computed = vec![false; nodes.len()];
        for place in (0..nodes.len()).rev() {
            computed[place] |= wanted.contains(&place) && kept[place].is_none();
            if computed[place] {
                let inputs = nodes[place].inputs.iter().copied();
                inputs.filter_map(fixed).for_each(|input| computed[input] = true);
            }
        }
        if !computed.contains(&true) {
            return Ok(kept);
        }
        no_grad(|| {
            let mut values = self.bound(bind, false)?;
            for (node, _) in nodes.iter().zip(&computed).filter(|(_, computed)| **computed) {
                values[node.output.index()] = Some(execute(node, &values, &[])?);
            }
            for &place in &wanted {
                if kept[place].is_none() {
                    kept[place] = values[nodes[place].output.index()].take();
                }
            }
            Ok(kept)
        })
    }

    /// For each fixed node the one of another plan that computes the same, if there is one: by the same op
    /// of the same parameters and buffers. Constants are taken to differ.
    fn same_fixed(&self, other: &Plan) -> Vec<Option<usize>> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, node) in other.graph().nodes().iter().enumerate() {
            if other.is_fixed(place) {
                by_name.entry(&node.name).or_default().push(place);
            }
        }
        let graph = self.graph();
        let mut same: Vec<Option<usize>> = vec![None; graph.nodes().len()];
        for (place, node) in graph.nodes().iter().enumerate() {
            if !self.is_fixed(place) {
                continue;
            }
            let is_same = |input: (&Value, &Value)| {
                let of = (graph.source(*input.0), other.graph().source(*input.1));
                match of {
                    (Source::Parameter(a), Source::Parameter(b)) => a == b,
                    (Source::Buffer(a), Source::Buffer(b)) => a == b,
                    (Source::Node(a), Source::Node(b)) => same[*a] == Some(*b),
                    _ => false,
                }
            };
            let candidates = by_name.get(&*node.name).map_or(&[][..], Vec::as_slice);
            let found = candidates.iter().copied().find(|&of| {
                let of = &other.graph().nodes()[of];
                of.op == node.op
                    && of.inputs.len() == node.inputs.len()
                    && node.inputs.iter().zip(&of.inputs).all(is_same)
            });
            same[place] = found;
        }
        same
    }

    /// The values that are there before the first node.
    fn begin(
        &self,
        inputs: &[&Tensor],
        bind: &dyn Bind,
        run: &Run<'_>,
    ) -> Result<Vec<Option<Tensor>>> {
        let graph = self.graph();
        if inputs.len() != graph.inputs().len() {
            return Err(Error::Inputs { expected: graph.inputs().len(), got: inputs.len() });
        }
        for (input, (name, value)) in inputs.iter().zip(graph.inputs()) {
            if input.ty() != graph.ty(*value) {
                let (expected, got) = (Box::new(*graph.ty(*value)), Box::new(*input.ty()));
                return Err(Error::Input { input: name.clone(), expected, got });
            }
        }
        if let Some(limit) = run.memory_limit.filter(|&limit| limit < self.peak_bytes()) {
            return Err(Error::Memory { needed: self.peak_bytes(), limit });
        }
        let mut values = self.bound(bind, run.prepared.is_some())?;
        for (input, (_, value)) in inputs.iter().zip(graph.inputs()) {
            values[value.index()] = Some((*input).clone());
        }
        Ok(values)
    }

    /// Parameters, buffers and constants; where fixed nodes are `prepared`, those that other nodes read.
    fn bound(&self, bind: &dyn Bind, prepared: bool) -> Result<Vec<Option<Tensor>>> {
        let graph = self.graph();
        let given = |what, index, value: Value, tensor: Option<&Tensor>| {
            let expected = *graph.ty(value);
            match tensor {
                Some(tensor) if tensor.ty() == &expected => Ok(Some(tensor.clone())),
                other => {
                    let got = other.map_or_else(|| "none".into(), |t| t.ty().to_string());
                    Err(Error::Unbound { what, index, expected: Box::new(expected), got })
                }
            }
        };
        let bound = graph.values().map(|value| match graph.source(value) {
            _ if prepared && !self.is_read(value) => Ok(None),
            Source::Parameter(id) => given("parameter", id.0, value, bind.parameter(*id)),
            Source::Buffer(id) => given("buffer", id.0, value, bind.buffer(*id)),
            Source::Constant(tensor) => Ok(Some(tensor.clone())),
            Source::Input(_) | Source::Node(_) => Ok(None),
        });
        bound.collect()
    }
}

/// The output of a node, of values that are there.
fn execute(node: &Node, values: &[Option<Tensor>], keys: &[Option<RandomKey>]) -> Result<Tensor> {
    let operand = |input: &Value| {
        values.get(input.index()).and_then(Option::as_ref).ok_or_else(|| missing(&node.name))
    };
    let operands: Vec<&Tensor> = node.inputs.iter().map(operand).collect::<Result<_>>()?;
    let key = match node.op {
        NodeOp::Dropout { slot, .. } => keys.get(slot).copied().flatten(),
        _ => None,
    };
    compute(node, &operands, key)
}

/// As [`execute`], where nothing reads the operand at `spare` afterwards.
fn execute_over(node: &Node, values: &mut [Option<Tensor>], spare: usize) -> Result<Tensor> {
    let taken = node.inputs.get(spare).and_then(|input| values.get_mut(input.index())?.take());
    let NodeOp::Op(op) = &node.op else { return Err(missing(&node.name)) };
    let others = node.inputs.iter().enumerate().filter(|(place, _)| *place != spare);
    let others = others.map(|(_, input)| values.get(input.index()).and_then(Option::as_ref));
    let (Some(taken), Some(others)) = (taken, others.collect::<Option<Vec<_>>>()) else {
        return Err(missing(&node.name));
    };
    let device = taken.device().clone();
    device.execute_over(op, &others, taken, spare).map_err(|source| failed(node, source))
}

/// The output of a node, of these operands.
pub(crate) fn compute(node: &Node, operands: &[&Tensor], key: Option<RandomKey>) -> Result<Tensor> {
    let [first, ..] = operands[..] else { return Err(missing(&node.name)) };
    let compute = || match &node.op {
        NodeOp::Op(op) => first.device().execute(op, operands),
        NodeOp::Reshape(shape) => first.reshape(*shape),
        NodeOp::Dropout { rate, scale, images, .. } => match key {
            Some(key) if *images => first.dropout_images(*rate, *scale, key),
            Some(key) => {
                let op = ops::Dropout { rate: *rate, scale: *scale, key }.into();
                first.device().execute(&op, operands)
            }
            None if node.detached => Ok(first.detach()),
            None => Ok(first.clone()),
        },
    };
    let output = if node.detached { no_grad(compute) } else { compute() };
    output.map_err(|source| failed(node, source))
}

/// The error of a node.
fn failed(node: &Node, source: striate_tensor::Error) -> Error {
    Error::Node { node: node.name.clone(), origin: node.origin, source: source.into() }
}
