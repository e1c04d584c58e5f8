//! What is made of what a pickle asks to be called: tensors, storages and dicts, and objects of the rest.

use std::sync::Arc;

use super::super::element::Element;
use super::{Global, Machine, Node, Object, StorageRef, TensorRef, Value};
use crate::Result;

/// Axes of a tensor.
const MAX_AXES: usize = 16;

/// Bytes of a storage's name: a number, in all files so far.
const MAX_KEY_BYTES: usize = 128;

/// Classes whose values are dicts.
const DICTS: [&str; 5] = [
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.dict",
    "__builtin__.dict",
];

/// Classes whose values are lists, or sets.
const LISTS: [&str; 6] = [
    "builtins.set",
    "__builtin__.set",
    "builtins.frozenset",
    "__builtin__.frozenset",
    "builtins.list",
    "__builtin__.list",
];

impl Machine<'_, '_> {
    /// What `callable` makes of a tuple of arguments.
    pub(super) fn call(&mut self, callable: Value, arguments: Value) -> Result<Value> {
        let Some(class) = self.class(callable) else {
            let got = self.heap.describe(callable);
            return self.fail("the name of something to call", got);
        };
        let path = class.path();
        match path.as_str() {
            // A subclass of tensors, by the function that makes the tensor itself.
            "torch._tensor._rebuild_from_type_v2" => {
                let &[function, _, arguments, ..] = self.heap.sequence(arguments).unwrap_or(&[])
                else {
                    return self.fail(format!("the arguments of {path}"), "others");
                };
                match self.class(function) {
                    Some(inner) if inner.path() != path => {
                        self.make(&inner, &inner.path(), arguments)
                    }
                    _ => self.object(class),
                }
            }
            _ => self.make(&class, &path, arguments),
        }
    }

    /// The global that a callable is, or that has made it.
    fn class(&self, callable: Value) -> Option<Arc<Global>> {
        match self.heap.get(callable)? {
            Node::Global(global) => Some(Arc::clone(global)),
            Node::Object(object) => Some(Arc::clone(&object.class)),
            _ => None,
        }
    }

    fn make(&mut self, class: &Arc<Global>, path: &str, arguments: Value) -> Result<Value> {
        let all = self.heap.sequence(arguments).unwrap_or(&[]);
        match (path, all) {
            ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2", _) => {
                self.tensor(path, arguments, None)
            }
            ("torch._utils._rebuild_tensor_v3", &[_, _, _, _, _, _, dtype, ..]) => {
                let dtype = self.heap.global(dtype).filter(|dtype| dtype.module == "torch");
                match dtype.map(|dtype| (Element::of_name(&dtype.name), Arc::clone(dtype))) {
                    Some((Some(element), _)) => self.tensor(path, arguments, Some(element)),
                    Some((None, dtype)) => self.object(dtype),
                    None => self.object(Arc::clone(class)),
                }
            }
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.nn.parameter.Parameter"
                | "torch.Size",
                &[value, ..],
            ) => Ok(value),
            (path, all) if DICTS.contains(&path) => {
                // Python 2 hands the entries over at once, as pairs.
                let pairs = all.first().and_then(|first| self.heap.sequence(*first));
                let pairs = pairs.unwrap_or(&[]);
                let entries: Vec<_> = pairs
                    .iter()
                    .filter_map(|pair| match self.heap.sequence(*pair) {
                        Some(&[key, value]) => Some((key, value)),
                        _ => None,
                    })
                    .collect();
                self.spend(pairs.len())?;
                self.add(Node::Dict(entries))
            }
            (path, &[values]) if LISTS.contains(&path) && self.heap.sequence(values).is_some() => {
                let values = self.heap.sequence(values).unwrap_or(&[]).to_vec();
                self.spend(values.len())?;
                self.add(Node::List(values))
            }
            _ => self.object(Arc::clone(class)),
        }
    }

    fn object(&mut self, class: Arc<Global>) -> Result<Value> {
        self.add(Node::Object(Box::new(Object { class, state: None, items: Vec::new() })))
    }

    /// A view: storage, offset, shape and strides are the first arguments.
    fn tensor(&mut self, path: &str, arguments: Value, typed: Option<Element>) -> Result<Value> {
        let all = self.heap.sequence(arguments).unwrap_or(&[]);
        let &[storage, offset, shape, strides, ..] = all else {
            let expected = format!("a storage, an offset, a shape and strides for {path}");
            return self.fail(expected, self.heap.describe(arguments));
        };
        let place = match (storage, self.heap.get(storage)) {
            (Value::Node(place), Some(Node::Storage(_))) => place,
            // A storage of a type that is not known here.
            (_, Some(Node::Object(object))) => {
                let class = Arc::clone(&object.class);
                return self.object(class);
            }
            _ => {
                return self.fail(format!("a storage for {path}"), self.heap.describe(storage));
            }
        };
        let numbers = |value: Value, what: &str| {
            let values = self.heap.sequence(value).filter(|values| values.len() <= MAX_AXES);
            let number = |value: &Value| match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                _ => None,
            };
            let numbers = values.and_then(|all| all.iter().map(number).collect::<Option<Vec<_>>>());
            let expected = format!("{what} of at most {MAX_AXES} numbers that are not negative");
            numbers.map_or_else(|| self.fail(expected, self.heap.describe(value)), Ok)
        };
        let (shape, strides) = (numbers(shape, "a shape")?, numbers(strides, "strides")?);
        let Value::Int(offset @ 0..) = offset else {
            return self.fail("an offset that is not negative", self.heap.describe(offset));
        };
        if shape.len() != strides.len() {
            return self.fail(format!("a stride for each of {shape:?}"), format!("{strides:?}"));
        }
        let Some(Node::Storage(storage)) = self.heap.nodes.get(place) else {
            return self.fail("a storage", "none");
        };
        let Some(element) = typed.or(storage.element) else {
            return self.fail(format!("a storage with a type for {path}"), "bytes");
        };
        // The storage of a tensor that says its own type counts bytes.
        let count = match storage.element {
            Some(_) => storage.count,
            None => storage.count / element.size(),
        };
        let offset = offset.unsigned_abs();
        let end = end(offset, &shape, &strides);
        if end.is_none_or(|end| end > count) {
            return self.fail(
                format!("a tensor within the {count} elements of storage {:?}", storage.key),
                format!("the shape {shape:?} with strides {strides:?} from {offset} on"),
            );
        }
        let extents = shape.iter().map(|extent| usize::try_from(*extent).ok());
        let Some(shape) = extents.collect::<Option<Vec<_>>>() else {
            return self.fail("a shape that this machine can address", format!("{shape:?}"));
        };
        let tensor = TensorRef { storage: place, element, offset, shape, strides };
        self.add(Node::Tensor(Box::new(tensor)))
    }

    /// A storage, by the id that the pickle gives it: `("storage", class, key, device, elements)`, and for
    /// the legacy form what part of it.
    pub(super) fn persistent(&mut self, id: Value) -> Result<Value> {
        let all = self.heap.sequence(id).unwrap_or(&[]);
        let (&[kind, class, key, _, count, ..], part) = (all, all.get(5)) else {
            // A module with its source: the module's class.
            if let &[kind, class, ..] = all
                && self.heap.text(kind) == Some("module")
            {
                return Ok(class);
            }
            return self.fail("the id of a storage", self.heap.describe(id));
        };
        if self.heap.text(kind) == Some("module") {
            return Ok(class);
        }
        let (Some("storage"), Some(class)) = (self.heap.text(kind), self.heap.global(class)) else {
            return self.fail("the id of a storage", self.heap.describe(kind));
        };
        let is_torch = matches!(class.module.as_str(), "torch" | "torch.cuda" | "torch.storage");
        let element = Element::of_storage(&class.name).filter(|_| is_torch);
        if element.is_none() && !(is_torch && class.name == "UntypedStorage") {
            let class = Arc::clone(class);
            return self.object(class);
        }
        let key = match key {
            Value::Int(number) => Some(number.to_string()),
            other => self.heap.text(other).map(str::to_owned),
        };
        let Some(key) = key.filter(|key| key.len() <= MAX_KEY_BYTES) else {
            return self.fail("the name of a storage", "something else");
        };
        let Value::Int(whole @ 0..) = count else {
            return self.fail("the number of a storage's elements", self.heap.describe(count));
        };
        let whole = whole.unsigned_abs();
        let (first, count) = match part.and_then(|part| self.heap.sequence(*part)) {
            None => (0, whole),
            Some(&[_, Value::Int(first @ 0..), Value::Int(count @ 0..)])
                if first.checked_add(count).is_some_and(|end| end.unsigned_abs() <= whole) =>
            {
                (first.unsigned_abs(), count.unsigned_abs())
            }
            Some(_) => {
                return self.fail(format!("a part of the {whole} elements of {key}"), "another");
            }
        };
        self.add(Node::Storage(Box::new(StorageRef { element, key, whole, first, count })))
    }
}

/// The element behind the last of a view.
fn end(offset: u64, shape: &[u64], strides: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |count, extent| count.checked_mul(*extent))?;
    if elements == 0 {
        return Some(0);
    }
    let mut steps = shape.iter().zip(strides).map(|(n, stride)| (n - 1).checked_mul(*stride));
    steps.try_fold(offset, |sum, step| sum.checked_add(step?))?.checked_add(1)
}
