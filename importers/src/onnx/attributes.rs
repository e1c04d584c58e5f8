//! The attributes of a node.

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A node's attributes by name, and the version of the operators that it is of.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) node: &'a NodeProto,
    pub(crate) opset: i64,
}

impl<'a> Attributes<'a> {
    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, default.into()) != 0
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |attribute| attribute.f)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| &attribute.ints[..])
    }

    pub(crate) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.find(name).map(|attribute| &attribute.floats[..])
    }

    /// A text; what is no UTF-8 is no text that is known here.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> &'a str {
        match self.find(name) {
            Some(attribute) => std::str::from_utf8(&attribute.s).unwrap_or("?"),
            None => default,
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.find(name)?.t.as_deref()
    }

    pub(crate) fn graph(&self, name: &str) -> Option<&'a GraphProto> {
        self.find(name)?.g.as_deref()
    }
}
