//! A compiled part of a model, and running it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use striate_graph::{Cancel, NoTensors, Plan, Run};
use striate_tensor::{HostValues, Tensor, TensorType};

use super::{Compiler, State};
use crate::onnx::array::Array;
use crate::onnx::elem::Elem;
use crate::{Error, Result};

/// As many continuations of a stage are kept, for what was read after it.
const KEPT: usize = 4;

/// What is known of a value between stages.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Host(Array),
    Device(Feed),
}

/// A value on the device: how it lies there.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) ty: TensorType,
    pub(crate) axes: Vec<usize>,
    pub(crate) dims: Vec<usize>,
    pub(crate) elem: Elem,
}

/// A part of a model, ready to run.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(super) prepared: Vec<Option<Tensor>>,
    /// The graph's inputs, and its outputs, by their names in the file.
    pub(super) feeds: Vec<String>,
    pub(super) shown: Vec<String>,
    pub(super) end: End,
}

/// What comes after a stage.
#[derive(Debug)]
pub(super) enum End {
    /// The outputs of the model.
    Done(Vec<(String, Known)>),
    More(Box<More>),
}

/// Another stage, which needs some values on the host.
#[derive(Debug)]
pub(super) struct More {
    wanted: Vec<String>,
    state: State,
    next: Mutex<Vec<(Vec<Array>, Arc<Stage>)>>,
}

impl More {
    pub(super) fn new(wanted: Vec<String>, state: State) -> Self {
        More { wanted, state, next: Mutex::default() }
    }
}

/// Values of a run by their names: on the device as the feeds say.
pub(crate) type Values = HashMap<String, Tensor>;

/// An output of a model.
pub(crate) enum Output {
    Host(Array),
    Device(Tensor, Elem),
}

/// What limits a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits<'a> {
    pub(crate) cancel: Option<&'a Cancel>,
    pub(crate) memory: Option<u64>,
}

impl Stage {
    /// Whether all of the model is in this stage.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.end, End::Done(_))
    }

    /// Runs it and what comes after it.
    pub(crate) fn run(
        self: &Arc<Self>,
        compiler: &Compiler<'_>,
        mut values: Values,
        limits: Limits<'_>,
    ) -> Result<Vec<(String, Output)>> {
        let mut stage = Arc::clone(self);
        loop {
            stage.compute(compiler, &mut values, limits)?;
            let more = match &stage.end {
                End::Done(results) => return outputs(results, &values),
                End::More(more) => more,
            };
            let next = more.continued(compiler, &mut values)?;
            stage = next;
        }
    }

    /// Replaces the values by those that are there after this stage.
    fn compute(
        &self,
        compiler: &Compiler<'_>,
        values: &mut Values,
        limits: Limits<'_>,
    ) -> Result<()> {
        let graph_error = |error| Error::graph(&compiler.file.name, error);
        let mut inputs = Vec::with_capacity(self.feeds.len());
        for name in &self.feeds {
            match values.get(name) {
                Some(tensor) => inputs.push(tensor),
                None => return Err(missing(compiler, name)),
            }
        }
        let mut run = Run {
            prepared: Some(&self.prepared),
            cancel: limits.cancel,
            memory_limit: limits.memory,
            ..Run::default()
        };
        let outputs = striate_tensor::no_grad(|| self.plan.run(&inputs, &NoTensors, &mut run));
        let outputs = outputs.map_err(graph_error)?;
        *values = self.shown.iter().cloned().zip(outputs.values).collect();
        Ok(())
    }
}

fn missing(compiler: &Compiler<'_>, name: &str) -> Error {
    Error::content(&compiler.file.name, format!("input `{name}`"), "a tensor", "none")
}

fn outputs(results: &[(String, Known)], values: &Values) -> Result<Vec<(String, Output)>> {
    let output = |(name, known): &(String, Known)| {
        let output = match (known, values.get(name)) {
            (Known::Host(array), _) => Output::Host(array.clone()),
            (Known::Device(feed), Some(tensor)) => Output::Device(tensor.clone(), feed.elem),
            (Known::Device(_), None) => {
                return Err(Error::content("model", "outputs", "a tensor", name.clone()));
            }
        };
        Ok((name.clone(), output))
    };
    results.iter().map(output).collect()
}

impl More {
    /// Reads what the next stage needs, and makes it or finds it.
    fn continued(&self, compiler: &Compiler<'_>, values: &mut Values) -> Result<Arc<Stage>> {
        let mut read = Vec::with_capacity(self.wanted.len());
        for name in &self.wanted {
            let (Some(Known::Device(feed)), Some(tensor)) =
                (self.state.known.get(name), values.remove(name))
            else {
                return Err(missing(compiler, name));
            };
            read.push(
                to_array(&tensor, feed).map_err(|e| {
                    Error::tensor(&compiler.file.name, format!("value `{name}`"), e)
                })?,
            );
        }
        let known = || self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stage)) = known().iter().find(|(arrays, _)| *arrays == read) {
            return Ok(Arc::clone(stage));
        }
        let mut state = self.state.clone();
        for (name, array) in self.wanted.iter().zip(&read) {
            state.known.insert(name.clone(), Known::Host(array.clone()));
        }
        let stage = Arc::new(compiler.compile(&state)?);
        let mut kept = known();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((read, Arc::clone(&stage)));
        Ok(stage)
    }
}

/// The contents of a value, in the file's order of axes.
pub(crate) fn to_array(tensor: &Tensor, feed: &Feed) -> striate_tensor::Result<Array> {
    let order: Vec<usize> = (0..feed.dims.len())
        .map(|axis| feed.axes.iter().position(|&at| at == axis).unwrap_or(axis))
        .collect();
    let tensor = match order.is_sorted() {
        true => tensor.clone(),
        false => tensor.permute(&order)?,
    };
    of_tensor(&tensor, feed.elem, feed.dims.clone())
}

/// The contents of a tensor as elements of a type.
pub(crate) fn of_tensor(
    tensor: &Tensor,
    elem: Elem,
    dims: Vec<usize>,
) -> striate_tensor::Result<Array> {
    let values = tensor.to_host()?.into_values();
    if elem.is_float() {
        return Ok(Array::of_floats(elem, dims, values.to_f64()));
    }
    let ints = match values {
        HostValues::I64(values) => values,
        // All others are exact in f64.
        others => others.to_f64().into_iter().map(|x| x as i64).collect(),
    };
    Ok(Array::of_ints(elem, dims, ints))
}
