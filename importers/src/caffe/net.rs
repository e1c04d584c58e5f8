//! The network that a definition describes at inference: which of its layers are part of it, and what
//! each of them sees.

use std::collections::{BTreeSet, HashMap};

use super::proto::{Extents, Layer, Net, Rule, State, TEST, Transform};
use crate::limits::check_layers;
use crate::{Error, Result};

/// Layers that make nothing for inference, besides losses: what they alone read is no output.
const ENDS: [&str; 3] = ["Accuracy", "Silence", "HDF5Output"];

/// A definition of a network: a prototxt, or what a caffemodel says of itself.
pub(super) struct Definition {
    /// What stands for the file in messages.
    pub(super) file: String,
    pub(super) name: String,
    /// What the network sees: the name, and channels, rows and cols.
    pub(super) input: Option<(String, [usize; 3])>,
    /// What was done to pictures.
    pub(super) transform: Option<Transform>,
    layers: Vec<Layer>,
    state: State,
}

/// A layer in its place.
pub(super) struct Step {
    pub(super) layer: Layer,
    /// The values that it sees.
    pub(super) inputs: Vec<usize>,
    /// Those that it makes.
    pub(super) outputs: Vec<usize>,
}

/// The layers of a network at inference, in their order. What the network sees is value 0.
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    /// The value that the network gives.
    pub(super) output: usize,
    /// How many layers see each value.
    pub(super) uses: Vec<usize>,
}

impl Definition {
    pub(super) fn new(file: &str, net: Net) -> Result<Self> {
        check_layers(file, "layers", net.layer.len().saturating_add(net.v1.len()))?;
        if let Some(old) = net.v1.iter().find(|layer| layer.v0.is_some()) {
            let name = old.v0.as_ref().and_then(|layer| layer.name.clone()).unwrap_or_default();
            let expected = "layers in a form of 2013 or later";
            let got = "an older one, which Caffe's `upgrade_net_proto_text` converts";
            return Err(Error::content(file, format!("layer `{name}`"), expected, got));
        }
        let mut layers: Vec<Layer> = net.v1.into_iter().map(Layer::from).collect();
        layers.extend(net.layer);
        let transforms = layers.iter().filter(|layer| is_data(layer));
        let transform = transforms.filter_map(|layer| layer.transform_param.clone()).next();
        let named = layers.iter().filter(|layer| layer.kind() == "Input");
        let mut inputs: Vec<(String, Option<Extents>)> = Vec::new();
        for (at, name) in net.input.iter().enumerate() {
            let four = net.input_dim.get(at.saturating_mul(4)..).unwrap_or_default();
            let dims = four.get(..4).map(|dims| dims.iter().map(|&dim| dim.into()).collect());
            let shape = net.input_shape.get(at).cloned().or(dims.map(|dim| Extents { dim }));
            inputs.push((name.clone(), shape));
        }
        for layer in named {
            let shapes = layer.input_param.as_ref().map_or(&[][..], |input| &input.shape);
            for (at, top) in layer.top.iter().enumerate() {
                // One shape may stand for all.
                let shape = shapes.get(at).or(shapes.first());
                inputs.push((top.clone(), shape.cloned()));
            }
        }
        let input = match &inputs[..] {
            [] => data(&layers),
            [(name, Some(shape))] => Some((name.clone(), image(file, name, shape)?)),
            [(name, None)] => {
                let expected = "its extents (input_dim, input_shape or input_param)";
                return Err(Error::content(file, format!("input `{name}`"), expected, "none"));
            }
            more => {
                let names: Vec<&str> = more.iter().map(|(name, _)| &**name).collect();
                return Err(Error::content(file, "inputs", "one image", names.join(", ")));
            }
        };
        let state = net.state.unwrap_or_default();
        let name = net.name.unwrap_or_default();
        Ok(Definition { file: file.to_owned(), name, input, transform, layers, state })
    }

    /// The layers that are part of the network at inference, and what they see.
    pub(super) fn steps(&self, input: &str) -> Result<Steps> {
        let mut values: HashMap<&str, usize> = HashMap::from([(input, 0)]);
        let (mut steps, mut uses) = (Vec::<Step>::new(), vec![0usize]);
        // Values that a loss or one of ENDS reads.
        let mut ended = BTreeSet::new();
        let kept = self.layers.iter().filter(|layer| self.keeps(layer));
        for layer in kept.filter(|layer| layer.kind() != "Input" && !is_data(layer)) {
            if ENDS.contains(&layer.kind()) || layer.kind().ends_with("Loss") {
                ended.extend(layer.bottom.iter().filter_map(|name| values.get(&**name)));
                continue;
            }
            let mut inputs = Vec::with_capacity(layer.bottom.len());
            for name in &layer.bottom {
                let Some(&value) = values.get(&**name) else {
                    let problem = format!("what it sees, `{name}`, is made by no layer before it");
                    return Err(self.error(layer, problem));
                };
                inputs.push(value);
            }
            if inputs.is_empty() || layer.top.is_empty() {
                return Err(self.error(layer, "it sees nothing or makes nothing".into()));
            }
            if layer.kind() == "Split" {
                values.extend(layer.top.iter().map(|name| (&**name, inputs[0])));
                continue;
            }
            inputs.iter().for_each(|&value| uses[value] += 1);
            let mut outputs = Vec::with_capacity(layer.top.len());
            for name in &layer.top {
                values.insert(name, uses.len());
                outputs.push(uses.len());
                uses.push(0);
            }
            steps.push(Step { layer: layer.clone(), inputs, outputs });
        }
        let Some(output) = steps.last().map(|step| step.outputs[0]) else {
            return Err(Error::content(&self.file, "layers", "layers of a network", "none"));
        };
        self.check_ends(&steps, &uses, output, &ended)?;
        Ok(Steps::reaching(steps, output, uses.len()))
    }

    /// Refuses a network of several outputs.
    fn check_ends(
        &self,
        steps: &[Step],
        uses: &[usize],
        output: usize,
        ended: &BTreeSet<usize>,
    ) -> Result<()> {
        let mut open = Vec::new();
        for step in steps {
            for (name, value) in step.layer.top.iter().zip(&step.outputs) {
                if uses[*value] == 0 && *value != output && !ended.contains(value) {
                    open.push(name.as_str());
                }
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        open.truncate(8);
        let got = format!("others that nothing sees: {}", open.join(", "));
        Err(Error::content(&self.file, "layers", "one output, of the last layer", got))
    }

    /// An error of a layer.
    pub(super) fn error(&self, layer: &Layer, problem: String) -> Error {
        let place = format!("layer `{}` ({})", layer.name(), layer.kind());
        Error::Node { file: self.file.clone(), place, problem }
    }

    /// Whether a layer is part of the network in tests.
    fn keeps(&self, layer: &Layer) -> bool {
        let meets = |rule: &Rule| {
            let level = self.state.level.unwrap_or(0);
            let has = |stage: &String| self.state.stage.contains(stage);
            rule.phase.is_none_or(|phase| phase == TEST)
                && rule.min_level.is_none_or(|least| level >= least)
                && rule.max_level.is_none_or(|most| level <= most)
                && rule.stage.iter().all(has)
                && !rule.not_stage.iter().any(has)
        };
        match layer.include.is_empty() {
            true => !layer.exclude.iter().any(meets),
            false => layer.include.iter().any(meets),
        }
    }
}

impl Steps {
    /// Keeps the steps that the output depends on.
    fn reaching(steps: Vec<Step>, output: usize, values: usize) -> Self {
        let mut wanted = vec![false; values];
        wanted[output] = true;
        let mut kept = Vec::with_capacity(steps.len());
        for step in steps.into_iter().rev() {
            if step.outputs.iter().any(|&value| wanted[value]) {
                step.inputs.iter().for_each(|&value| wanted[value] = true);
                kept.push(step);
            } else {
                log::info!("layer `{}`: the output does not depend on it", step.layer.name());
            }
        }
        kept.reverse();
        let mut uses = vec![0; values];
        kept.iter().flat_map(|step| &step.inputs).for_each(|&value| uses[value] += 1);
        uses[output] += 1;
        Steps { steps: kept, output, uses }
    }
}

/// Whether a layer reads pictures, or makes them up.
fn is_data(layer: &Layer) -> bool {
    layer.kind().ends_with("Data")
}

/// The extents of an image that a network sees.
fn image(file: &str, name: &str, shape: &Extents) -> Result<[usize; 3]> {
    let extent = |at: usize| shape.dim.get(at).and_then(|&dim| usize::try_from(dim).ok());
    let dims = [extent(1), extent(2), extent(3)];
    match (shape.dim.len(), dims) {
        (4, [Some(c @ 1..), Some(h @ 1..), Some(w @ 1..)]) => Ok([c, h, w]),
        _ => {
            let shown: Vec<i64> = shape.dim.iter().copied().take(8).collect();
            let expected = "an image, [n, channels, rows, cols]";
            Err(Error::content(file, format!("input `{name}`"), expected, format!("{shown:?}")))
        }
    }
}

/// What the layers that read pictures give, where they say how large it is.
fn data(layers: &[Layer]) -> Option<(String, [usize; 3])> {
    let known = |layer: &Layer| {
        let top = layer.top.first()?.clone();
        let transform = layer.transform_param.clone().unwrap_or_default();
        let number = |number: Option<u32>| usize::try_from(number?).ok().filter(|&n| n > 0);
        let crop = number(transform.crop_size);
        if let Some(memory) = &layer.memory_data_param {
            let channels = number(memory.channels)?;
            let (rows, cols) = (number(memory.height)?, number(memory.width)?);
            return Some((top, [channels, crop.unwrap_or(rows), crop.unwrap_or(cols)]));
        }
        let channels = if transform.force_gray == Some(true) { 1 } else { 3 };
        Some((top, [channels, crop?, crop?]))
    };
    layers.iter().filter(|layer| is_data(layer)).find_map(known)
}
