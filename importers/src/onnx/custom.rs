//! Operators that are no standard ones, as a user's own ops.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use striate_tensor::DType;
use striate_tensor::ops::Custom;

use super::attributes::Attributes;
use super::compile::cx::Cx;
use super::compile::item::{Item, Step, invalid};
use super::compile::{has_rule, is_standard};
use super::elem::Elem;
use super::proto::{AttributeProto, NodeProto};

type Constructor = Arc<dyn Fn(&NodeAttributes<'_>) -> striate_tensor::Result<Custom> + Send + Sync>;

/// Operators of ONNX files as [custom ops](striate_tensor::ops::CustomOp), by domain and name: what
/// [`Model::open_with`](super::Model::open_with) takes.
///
/// The op gets the node's inputs in the file's own order of axes, `[n, channels, rows, cols]` for images:
/// floats and integers as f32, truth values as u32. It makes the node's one output, of floats.
///
/// ```no_run
/// use striate_importers::onnx::{CustomNodes, Model};
/// # use striate_tensor::ops::CustomOp;
/// # use striate_tensor::{HostTensor, Result, TensorType};
/// # #[derive(Debug)]
/// # struct Squareplus { bend: f32 }
/// # impl CustomOp for Squareplus {
/// #     fn name(&self) -> &'static str { "squareplus" }
/// #     fn output(&self, inputs: &[TensorType]) -> Result<TensorType> { Ok(inputs[0]) }
/// #     fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> { Ok(inputs[0].clone()) }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = CustomNodes::new().with("com.example", "Squareplus", |attributes| {
///     Ok(Squareplus { bend: attributes.float("bend").unwrap_or(0.25) })
/// });
/// let model = Model::open_with("net.onnx", &nodes)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct CustomNodes {
    /// By domain, then by operator.
    constructors: BTreeMap<String, BTreeMap<String, Constructor>>,
}

impl CustomNodes {
    /// Without any operator.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And an operator of a domain: what makes the op of a node's attributes. It replaces one that was
    /// there. Of the standard's domain, `""`, operators that are known here keep their meaning.
    ///
    /// The attributes may come from a damaged or hostile file: the constructor refuses what it does not
    /// expect.
    #[must_use]
    pub fn with<T: Into<Custom>>(
        mut self,
        domain: impl Into<String>,
        operator: impl Into<String>,
        constructor: impl Fn(&NodeAttributes<'_>) -> striate_tensor::Result<T> + Send + Sync + 'static,
    ) -> Self {
        let constructor =
            move |attributes: &NodeAttributes<'_>| Ok(constructor(attributes)?.into());
        let operators = self.constructors.entry(domain.into()).or_default();
        operators.insert(operator.into(), Arc::new(constructor));
        self
    }

    /// The constructor for a node, where it is no operator of the standard that is known here.
    pub(super) fn find(&self, node: &NodeProto) -> Option<&Constructor> {
        if has_rule(node) {
            return None;
        }
        let domain = if is_standard(node) { "" } else { &node.domain };
        self.constructors.get(domain)?.get(&node.op_type)
    }
}

impl fmt::Debug for CustomNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operators = self.constructors.iter().map(|(domain, of)| (domain, of.keys()));
        f.debug_map().entries(operators).finish()
    }
}

/// The attributes of a node that is no standard one, by name: nothing where there is none of this name and
/// kind.
#[derive(Clone, Copy)]
pub struct NodeAttributes<'a> {
    node: &'a NodeProto,
}

/// The numbers that a file gives the kinds of attributes.
mod kind {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const TEXT: i32 = 3;
    pub(super) const FLOATS: i32 = 6;
    pub(super) const INTS: i32 = 7;
}

impl<'a> NodeAttributes<'a> {
    /// The names of all attributes, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.node.attribute.iter().map(|attribute| &*attribute.name)
    }

    fn find(&self, name: &str, kind: i32) -> Option<&'a AttributeProto> {
        // Files of the first versions do not say the kind.
        let is_kind = |attribute: &AttributeProto| attribute.kind == 0 || attribute.kind == kind;
        let mut attributes = self.node.attribute.iter();
        attributes.find(|attribute| attribute.name == name && is_kind(attribute))
    }

    /// An integer; truth values are 0 and 1.
    pub fn int(&self, name: &str) -> Option<i64> {
        Some(self.find(name, kind::INT)?.i)
    }

    /// A number.
    pub fn float(&self, name: &str) -> Option<f32> {
        Some(self.find(name, kind::FLOAT)?.f)
    }

    /// A text, as bytes: mostly UTF-8.
    pub fn text(&self, name: &str) -> Option<&'a [u8]> {
        Some(&self.find(name, kind::TEXT)?.s)
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        Some(&self.find(name, kind::INTS)?.ints)
    }

    /// A list of numbers.
    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        Some(&self.find(name, kind::FLOATS)?.floats)
    }
}

impl fmt::Debug for NodeAttributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A node as the op that its constructor makes.
pub(super) fn compile(cx: &mut Cx<'_>, constructor: &Constructor) -> Step<Vec<Item>> {
    let Attributes { node, .. } = cx.attributes;
    let outputs = node.output.iter().filter(|name| !name.is_empty()).count();
    if outputs != 1 || node.output[0].is_empty() {
        return invalid(format!("expected one output of a custom op, got {outputs}"));
    }
    let op = constructor(&NodeAttributes { node })?;
    // Inputs at the end that are left out may have an empty name.
    let count = cx.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if count == 0 {
        return invalid("expected inputs of a custom op, got none");
    }
    let mut operands = Vec::with_capacity(count);
    for place in 0..count {
        let x = cx.dev(place)?;
        let x = cx.plain(&x)?;
        let x = if x.elem == Elem::Bool { x } else { cx.wide(&x)? };
        operands.push(x.value);
    }
    let name = op.op().name();
    let y = cx.push(op, &operands)?;
    let ty = *cx.graph.ty(y);
    let elem = match ty.dtype {
        DType::F32 => Elem::F32,
        DType::F16 => Elem::F16,
        _ => return invalid(format!("expected the custom op `{name}` to make floats, got {ty}")),
    };
    Ok(vec![cx.made(y, ty.shape.dims().to_vec(), elem)])
}
