//! What a pickle makes: values, as plain data.
//!
//! All that is not a number is a [`Node`] in one list, and values are small copies that point into it. So
//! values may be shared and may contain themselves, and dropping them never recurses.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::element::Element;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::pth) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer of more than 64 bits.
    Large,
    /// What is in the heap.
    Node(usize),
}

/// What is in the heap.
#[derive(Debug)]
pub(in crate::pth) enum Node {
    Text(Box<str>),
    /// Bytes, or a text that is too long to be kept: nothing that is asked for.
    Bytes,
    Tuple(Vec<Value>),
    /// A list, or a set.
    List(Vec<Value>),
    /// A dict, of whichever class.
    Dict(Vec<(Value, Value)>),
    Global(Arc<Global>),
    Storage(Box<StorageRef>),
    Tensor(Box<TensorRef>),
    Object(Box<Object>),
}

/// Something in a module of Python's, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pth) struct Global {
    pub(in crate::pth) module: String,
    pub(in crate::pth) name: String,
    /// Where the pickle names it.
    pub(in crate::pth) at: u64,
}

impl Global {
    /// Its whole name: `collections.OrderedDict`.
    pub(in crate::pth) fn path(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }
}

/// What is made by a global that is not known here. Nothing of it is executed.
#[derive(Debug)]
pub(in crate::pth) struct Object {
    pub(in crate::pth) class: Arc<Global>,
    /// Its attributes, where the pickle has them.
    pub(in crate::pth) state: Option<Value>,
    /// The entries of one that is a dict.
    pub(in crate::pth) items: Vec<(Value, Value)>,
}

/// Numbers that tensors are views of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pth) struct StorageRef {
    /// The type of its elements; nothing where it has bytes alone.
    pub(in crate::pth) element: Option<Element>,
    /// Its name in the file.
    pub(in crate::pth) key: String,
    /// Elements of the whole, as the pickle says; bytes where there is no type.
    pub(in crate::pth) whole: u64,
    /// The first element and the number of elements of the part of it that this is.
    pub(in crate::pth) first: u64,
    pub(in crate::pth) count: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pth) struct TensorRef {
    /// The storage, by its place in the heap.
    pub(in crate::pth) storage: usize,
    pub(in crate::pth) element: Element,
    /// Its first element within the storage.
    pub(in crate::pth) offset: u64,
    pub(in crate::pth) shape: Vec<usize>,
    /// Elements of the storage from one place to the next, along each axis.
    pub(in crate::pth) strides: Vec<u64>,
}

/// All values of a pickle that are no numbers.
#[derive(Debug, Default)]
pub(in crate::pth) struct Heap {
    pub(in crate::pth) nodes: Vec<Node>,
}

impl Heap {
    pub(in crate::pth) fn get(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(at) => self.nodes.get(at),
            _ => None,
        }
    }

    pub(in crate::pth) fn text(&self, value: Value) -> Option<&str> {
        match self.get(value)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::pth) fn global(&self, value: Value) -> Option<&Arc<Global>> {
        match self.get(value)? {
            Node::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The values of a tuple, or of a list.
    pub(in crate::pth) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.get(value)? {
            Node::Tuple(values) | Node::List(values) => Some(values),
            _ => None,
        }
    }

    /// The entries of a dict; nothing of what is none.
    pub(in crate::pth) fn entries(&self, value: Value) -> &[(Value, Value)] {
        match self.get(value) {
            Some(Node::Dict(entries)) => entries,
            Some(Node::Object(object)) => &object.items,
            _ => &[],
        }
    }

    /// The attributes of an object, where they are plain.
    pub(in crate::pth) fn attributes(&self, value: Value) -> &[(Value, Value)] {
        let Some(Node::Object(object)) = self.get(value) else { return &[] };
        let Some(state) = object.state else { return &[] };
        match self.sequence(state) {
            // With __slots__ there are two dicts.
            Some(&[dict, _]) => self.entries(dict),
            _ => self.entries(state),
        }
    }

    /// What a value is, in words.
    pub(in crate::pth) fn describe(&self, value: Value) -> String {
        let of = |count: usize| format!("of {count} values");
        match value {
            Value::None => "None".into(),
            Value::Bool(value) => if value { "True" } else { "False" }.into(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Large => "an integer of more than 64 bits".into(),
            Value::Node(at) => match self.nodes.get(at) {
                None => "nothing".into(),
                Some(Node::Text(text)) => format!("the text {:?}", shortened(text)),
                Some(Node::Bytes) => "bytes, or a long text".into(),
                Some(Node::Tuple(values)) => format!("a tuple {}", of(values.len())),
                Some(Node::List(values)) => format!("a list {}", of(values.len())),
                Some(Node::Dict(entries)) => format!("a dict {}", of(entries.len())),
                Some(Node::Global(global)) => format!("{} itself", global.path()),
                Some(Node::Storage(storage)) => format!("the storage {:?}", storage.key),
                Some(Node::Tensor(tensor)) => {
                    format!("a tensor {} {:?}", tensor.element.name(), tensor.shape)
                }
                Some(Node::Object(object)) => {
                    format!("what {} makes (offset {})", object.class.path(), object.class.at)
                }
            },
        }
    }

    /// The globals by which objects are made that are not known here, each once, in the order of the file.
    pub(in crate::pth) fn unknown(&self) -> Vec<&Global> {
        let mut seen = HashSet::new();
        let objects = self.nodes.iter().filter_map(|node| match node {
            Node::Object(object) => Some(&*object.class),
            _ => None,
        });
        let mut unknown: Vec<&Global> =
            objects.filter(|class| seen.insert((&class.module, &class.name))).collect();
        unknown.sort_by_key(|class| class.at);
        unknown
    }
}

/// The beginning of a text, for a message.
pub(in crate::pth) fn shortened(text: &str) -> &str {
    text.char_indices().nth(48).map_or(text, |(end, _)| &text[..end])
}
