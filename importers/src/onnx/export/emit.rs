//! The file's graph under construction: nodes, weights and how values are brought into other orders.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use prost::bytes::Bytes;
use striate_tensor::Tensor;

use super::layout::{Group, Layout};
use crate::onnx::elem::Elem;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// Why a node was not written.
#[derive(Debug)]
pub(super) enum Stop {
    /// It has no form in the file: why not.
    Refused(String),
    /// A tensor could not be read.
    Tensor(striate_tensor::Error),
}

impl From<striate_tensor::Error> for Stop {
    fn from(error: striate_tensor::Error) -> Self {
        Stop::Tensor(error)
    }
}

pub(super) type Step<T> = Result<T, Stop>;

pub(super) fn refuse<T>(why: impl Into<String>) -> Step<T> {
    Err(Stop::Refused(why.into()))
}

/// A weight: what is written once, when a node needs it, in the order that it needs.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// Which one: of the graph's values, and of the rows of one.
    pub(super) key: (usize, usize),
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// Which of its elements, in order.
    pub(super) range: Range<usize>,
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// A value of the file by name.
    Value(String),
    Weight(Weight),
}

/// A value of the graph, in the file.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) at: At,
    pub(super) layout: Layout,
    pub(super) elem: Elem,
}

/// Numbers of the file.
#[derive(Debug)]
pub(super) struct Initializer {
    pub(super) name: String,
    pub(super) elem: Elem,
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// Where the elements of an initializer come from.
#[derive(Debug)]
pub(super) enum Data {
    Bytes(Vec<u8>),
    /// These elements of a tensor, as axes of these extents, in another order of axes.
    Tensor {
        tensor: Tensor,
        range: Range<usize>,
        extents: Vec<usize>,
        order: Vec<usize>,
    },
}

/// A node that only moves elements, or changes their type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Movement {
    Reshape(Vec<i64>),
    Flatten,
    Transpose(Vec<i64>),
    Cast(i32),
}

/// How a weight lies in the file: extents of its parts, their order, and the axes made of them.
type Form = (Vec<usize>, Vec<usize>, Vec<usize>);

/// The graph so far.
#[derive(Debug)]
pub(super) struct Emitter {
    pub(super) opset: i64,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: Vec<Initializer>,
    /// What the nodes that are being made are named after.
    pub(super) scope: String,
    taken: HashSet<String>,
    /// Values that are outputs of the graph, and the names of these.
    shown: Vec<(String, String)>,
    moved: HashMap<(String, Movement), String>,
    constants: HashMap<(i32, Vec<usize>, Vec<u8>), String>,
    weights: HashMap<((usize, usize), Form), String>,
}

impl Emitter {
    /// A graph of nothing, whose inputs and outputs have these names.
    pub(super) fn new(opset: i64, taken: HashSet<String>) -> Self {
        Emitter {
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            scope: String::new(),
            taken,
            shown: Vec::new(),
            moved: HashMap::new(),
            constants: HashMap::new(),
            weights: HashMap::new(),
        }
    }

    /// A name that no value has yet.
    fn unique(&mut self, name: String) -> String {
        let mut free = name.clone();
        let mut count = 0;
        while !self.taken.insert(free.clone()) {
            count += 1;
            free = format!("{name}_{count}");
        }
        free
    }

    /// And then this node; the name of its output.
    pub(super) fn push(
        &mut self,
        op: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let name = match self.scope.is_empty() {
            true => op.to_owned(),
            false => format!("{}/{op}", self.scope),
        };
        let name = self.unique(name);
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute,
            domain: String::new(),
        });
        name
    }

    fn constant(&mut self, elem: Elem, dims: Vec<usize>, bytes: Vec<u8>, name: String) -> String {
        let key = (elem.code(), dims.clone(), bytes.clone());
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let name = self.unique(name);
        let data = Data::Bytes(bytes);
        self.initializers.push(Initializer { name: name.clone(), elem, dims, data });
        self.constants.insert(key, name.clone());
        name
    }

    /// Whole numbers, `[n]`.
    pub(super) fn ints(&mut self, list: &[i64]) -> String {
        let bytes = list.iter().flat_map(|x| x.to_le_bytes()).collect();
        let text: Vec<String> = list.iter().map(ToString::to_string).collect();
        let text = if list.len() <= 8 { text.join(",") } else { format!("{}", list.len()) };
        self.constant(Elem::I64, vec![list.len()], bytes, format!("i64[{text}]"))
    }

    /// A number without axes.
    pub(super) fn scalar(&mut self, value: f32, elem: Elem) -> Step<String> {
        let bytes = float_bytes(&[value], elem)?;
        Ok(self.constant(elem, vec![], bytes, format!("{elem}({value})")))
    }

    /// Floats of a shape that no weight has.
    pub(super) fn floats(
        &mut self,
        dims: &[usize],
        values: &[f32],
        elem: Elem,
        what: &str,
    ) -> Step<String> {
        let bytes = float_bytes(values, elem)?;
        let name = format!("{}/{what}", self.scope);
        Ok(self.constant(elem, dims.to_vec(), bytes, name))
    }

    fn moved(&mut self, name: &str, movement: Movement) -> String {
        let key = (name.to_owned(), movement);
        if let Some(known) = self.moved.get(&key) {
            return known.clone();
        }
        let made = match &key.1 {
            Movement::Flatten => self.push("Flatten", &[name], vec![int("axis", 1)]),
            Movement::Transpose(order) => {
                self.push("Transpose", &[name], vec![ints("perm", order)])
            }
            Movement::Cast(to) => self.push("Cast", &[name], vec![int("to", i64::from(*to))]),
            Movement::Reshape(dims) => {
                let dims = self.ints(dims);
                self.push("Reshape", &[name, &dims], vec![])
            }
        };
        self.moved.insert(key, made.clone());
        made
    }

    /// A value as elements of another type.
    pub(super) fn cast(&mut self, name: String, from: Elem, to: Elem) -> String {
        match from == to {
            true => name,
            false => self.moved(&name, Movement::Cast(to.code())),
        }
    }

    /// A value whose axes in the file are these: its name.
    pub(super) fn realize(&mut self, item: &Item, wanted: &[Group]) -> Step<String> {
        let layout = &item.layout;
        let name = match &item.at {
            At::Weight(weight) => return Ok(self.weight(weight, item, wanted)),
            At::Value(name) => name.clone(),
        };
        let from = layout.file();
        if from == wanted {
            return Ok(name);
        }
        let flat = |groups: &[Group]| groups.iter().flatten().copied().collect::<Vec<usize>>();
        let (before, after) = (flat(from), flat(wanted));
        if before == after {
            return self.reshape(&name, layout, from, wanted);
        }
        if before.len() != after.len() {
            return refuse("its axes do not fit its input's");
        }
        // What stays together becomes one axis, but not beyond the axes on either side.
        let group_of = |groups: &[Group], atom| groups.iter().position(|g| g.contains(&atom));
        let mut runs: Vec<Group> = Vec::new();
        for &atom in &before {
            let follows = runs.last_mut().filter(|run| {
                let last = run.last().copied().unwrap_or(atom);
                let place = after.iter().position(|&a| a == last);
                group_of(from, last) == group_of(from, atom)
                    && group_of(wanted, last) == group_of(wanted, atom)
                    && place.and_then(|place| after.get(place + 1)) == Some(&atom)
            });
            match follows {
                Some(run) => run.push(atom),
                None => runs.push(vec![atom]),
            }
        }
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|&run| after.iter().position(|&atom| runs[run].first() == Some(&atom)));
        let sorted: Vec<Group> = order.iter().map(|&run| runs[run].clone()).collect();
        let name = self.reshape(&name, layout, from, &runs)?;
        let order = order.iter().map(|&axis| axis as i64).collect();
        let name = self.moved(&name, Movement::Transpose(order));
        self.reshape(&name, layout, &sorted, wanted)
    }

    /// The same elements in the same order as other axes.
    fn reshape(
        &mut self,
        name: &str,
        layout: &Layout,
        from: &[Group],
        to: &[Group],
    ) -> Step<String> {
        if from == to {
            return Ok(name.to_owned());
        }
        if let ([first, _], Some(same)) = (to, from.first())
            && first == same
        {
            return Ok(self.moved(name, Movement::Flatten));
        }
        let mut dims = Vec::with_capacity(to.len());
        for (place, group) in to.iter().enumerate() {
            dims.push(match layout.is_open(group) {
                true if layout.is_batch(group) && from.get(place) == Some(group) => 0,
                true => -1,
                false => layout.extent(group) as i64,
            });
        }
        Ok(self.moved(name, Movement::Reshape(dims)))
    }

    /// A value in the order that is ours, in another shape that its axes do not divide into.
    pub(super) fn reshape_plain(&mut self, item: &Item, dims: &[usize]) -> Step<Item> {
        if item.layout.axes().iter().any(|group| item.layout.is_open(group)) {
            let from = item.layout.dims();
            return refuse(format!("a reshape from {from:?} to {dims:?} mixes images"));
        }
        let name = self.realize(item, item.layout.axes())?;
        let list: Vec<i64> = dims.iter().map(|&extent| extent as i64).collect();
        let name = self.moved(&name, Movement::Reshape(list));
        let order: Vec<usize> = (0..dims.len()).collect();
        let layout = Layout::new(dims, false, &order);
        Ok(Item { at: At::Value(name), layout, elem: item.elem })
    }

    fn weight(&mut self, weight: &Weight, item: &Item, wanted: &[Group]) -> String {
        let layout = &item.layout;
        let parts: Vec<usize> = layout.file().iter().flatten().copied().collect();
        let extents: Vec<usize> = parts.iter().map(|&atom| layout.extents()[atom]).collect();
        let place = |atom: &usize| parts.iter().position(|part| part == atom).unwrap_or(0);
        let order: Vec<usize> = wanted.iter().flatten().map(place).collect();
        let dims: Vec<usize> = wanted.iter().map(|group| layout.extent(group)).collect();
        let key = (weight.key, (extents.clone(), order.clone(), dims.clone()));
        if let Some(known) = self.weights.get(&key) {
            return known.clone();
        }
        let name = self.unique(weight.name.clone());
        let (tensor, range) = (weight.tensor.clone(), weight.range.clone());
        let data = Data::Tensor { tensor, range, extents, order };
        self.initializers.push(Initializer { name: name.clone(), elem: item.elem, dims, data });
        self.weights.insert(key, name.clone());
        name
    }

    /// Makes a value of the file an output of this name.
    pub(super) fn output(&mut self, name: String, output: &str) {
        self.shown.push((name, output.to_owned()));
    }

    /// Gives the nodes that make outputs their names.
    pub(super) fn finish(&mut self) {
        let made: HashSet<&String> = self.nodes.iter().flat_map(|node| &node.output).collect();
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut copies = Vec::new();
        for (name, output) in std::mem::take(&mut self.shown) {
            match made.contains(&name) && !renamed.contains_key(&name) {
                true => drop(renamed.insert(name, output)),
                // An input, a weight, or what is an output already.
                false => copies.push((name, output)),
            }
        }
        let known = |name: &String| renamed.get(name).cloned();
        for node in &mut self.nodes {
            for value in node.input.iter_mut().chain(&mut node.output) {
                if let Some(name) = known(value) {
                    *value = name;
                }
            }
        }
        for (name, output) in copies {
            self.nodes.push(NodeProto {
                input: vec![known(&name).unwrap_or(name)],
                name: format!("{output}/Identity"),
                output: vec![output],
                op_type: "Identity".into(),
                ..NodeProto::default()
            });
        }
    }
}

fn float_bytes(values: &[f32], elem: Elem) -> Step<Vec<u8>> {
    Ok(match elem {
        Elem::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Elem::F64 => values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
        Elem::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        other => return refuse(format!("numbers of {other}, where floats are expected")),
    })
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, kind: 2, ..AttributeProto::default() }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, kind: 1, ..AttributeProto::default() }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let ints = ints.to_vec();
    AttributeProto { name: name.into(), ints, kind: 7, ..AttributeProto::default() }
}

pub(super) fn text(name: &str, text: &str) -> AttributeProto {
    let s = Bytes::copy_from_slice(text.as_bytes());
    AttributeProto { name: name.into(), s, kind: 3, ..AttributeProto::default() }
}
