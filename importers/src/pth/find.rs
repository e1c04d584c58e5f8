//! Where in a checkpoint the tensors of a network are.

use std::collections::{HashMap, HashSet};

use super::pickle::{Heap, Node, TensorRef, Value, shortened};
use crate::limits::MAX_TENSORS;
use crate::{Error, Result};

/// Keys under which programs keep a network, the one that is read first if there are several. Averages
/// of the weights come last.
const KEYS: [&str; 16] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
    "model_state",
    "weights",
    "module",
    "ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema_model",
    "params_ema",
    "teacher",
];

/// Entries that are looked at in all: a module may hold others many times over.
const MAX_LOOKS: usize = 8_000_000;

/// Modules within modules.
const MAX_DEPTH: usize = 64;

/// Bytes of a tensor's name, and of a key.
const MAX_NAME_BYTES: usize = 1024;

/// The tensors of one state dict.
#[derive(Debug)]
pub(super) struct Found<'h> {
    /// What it is called in the checkpoint; nothing where it is all of it.
    pub(super) key: String,
    /// Its tensors by name.
    pub(super) tensors: Vec<(String, &'h TensorRef)>,
    /// Names whose values are no tensors that can be read, and what they are.
    pub(super) others: Vec<(String, String)>,
    /// The other state dicts of the checkpoint, with how many tensors each has.
    pub(super) beside: Vec<(String, usize)>,
}

/// A value that may be a state dict.
struct Candidate<'h> {
    key: String,
    /// How many keys lead to it.
    depth: usize,
    tensors: Vec<(String, &'h TensorRef)>,
    others: Vec<(String, String)>,
}

/// The state dict of this key, or the one that is meant most likely.
pub(super) fn find<'h>(
    file: &str,
    heap: &'h Heap,
    root: Value,
    key: Option<&str>,
) -> Result<Found<'h>> {
    let mut search = Search { file, heap, looks: 0, seen: HashSet::new(), candidates: Vec::new() };
    search.candidates(root)?;
    let mut candidates = search.candidates;
    let names = |candidates: &[Candidate<'_>]| {
        let names = candidates.iter().take(8).map(|c| match c.key.as_str() {
            "" => "the whole".to_owned(),
            key => format!("{key:?}"),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let chosen = match key {
        Some(key) => candidates.iter().position(|candidate| candidate.key == key),
        None => obvious(&candidates),
    };
    let Some(chosen) = chosen else {
        if let Some(key) = key {
            let got = match candidates.as_slice() {
                [] => "no state dict at all".to_owned(),
                some => format!("those of {}", names(some)),
            };
            let place = format!("state dict {:?}", shortened(key));
            return Err(Error::content(file, place, "tensors under this key", got));
        }
        return Err(nothing(file, heap, root));
    };
    let Candidate { key, tensors, others, .. } = candidates.swap_remove(chosen);
    let mut beside: Vec<_> = candidates.into_iter().map(|c| (c.key, c.tensors.len())).collect();
    beside.sort();
    Ok(Found { key, tensors, others, beside })
}

/// The one that is meant most likely: by its key, unless what is around it has more tensors.
fn obvious(candidates: &[Candidate<'_>]) -> Option<usize> {
    let whole = candidates.iter().find(|candidate| candidate.key.is_empty());
    let whole = whole.map_or(0, |whole| whole.tensors.len());
    let rank = |candidate: &Candidate<'_>| {
        // Of `model.state_dict` and `ema.state_dict` the first key decides.
        let first = candidate.key.split('.').next().unwrap_or_default();
        let known = KEYS.iter().position(|key| *key == first);
        known.filter(|_| candidate.tensors.len() > whole).unwrap_or(KEYS.len())
    };
    let all = candidates.iter().enumerate();
    let best = all.min_by_key(|(place, c)| {
        (rank(c), c.depth.min(2), std::cmp::Reverse(c.tensors.len()), *place)
    });
    // Among keys that say nothing, the largest.
    let largest = candidates.iter().enumerate();
    let largest = largest.max_by_key(|(place, c)| (c.tensors.len(), std::cmp::Reverse(*place)));
    match best {
        Some((place, candidate)) if rank(candidate) < KEYS.len() => Some(place),
        _ => largest.map(|(place, _)| place),
    }
}

/// Why there is no state dict.
fn nothing(file: &str, heap: &Heap, root: Value) -> Error {
    let mut got = heap.describe(root);
    if matches!(heap.get(root), Some(Node::Object(object)) if object.class.module.starts_with("__torch__"))
    {
        got = "a TorchScript program without parameters by name, such as a frozen one".into();
    }
    let unknown: Vec<String> = heap.unknown().iter().take(4).map(|c| c.path()).collect();
    if !unknown.is_empty() {
        got = format!("{got}; what these make is not read: {}", unknown.join(", "));
    }
    let keys: Vec<&str> =
        heap.entries(root).iter().filter_map(|(key, _)| heap.text(*key)).take(6).collect();
    if !keys.is_empty() {
        let keys: Vec<&str> = keys.into_iter().map(shortened).collect();
        got = format!("{got}; its keys: {}", keys.join(", "));
    }
    let expected = "tensors by name, as torch.save(model.state_dict(), FILE) writes";
    Error::content(file, "the checkpoint", expected, got)
}

struct Search<'h, 'a> {
    file: &'a str,
    heap: &'h Heap,
    looks: usize,
    /// Values that were looked at.
    seen: HashSet<usize>,
    candidates: Vec<Candidate<'h>>,
}

impl<'h> Search<'h, '_> {
    /// The value itself, what it holds, and what that holds where it is no state dict.
    fn candidates(&mut self, root: Value) -> Result<()> {
        let found = self.candidate(root, String::new(), 0)?;
        if found && matches!(self.heap.get(root), Some(Node::Object(_))) {
            // The modules of a module are parts of it.
            return Ok(());
        }
        let mut within = Vec::new();
        for (key, value) in self.children(root)? {
            if !self.candidate(value, key.clone(), 1)? {
                within.push((key, value));
            }
        }
        for (outer, value) in within {
            for (key, value) in self.children(value)? {
                self.candidate(value, format!("{outer}.{key}"), 2)?;
            }
        }
        Ok(())
    }

    /// Whether a value is a state dict, which is noted.
    fn candidate(&mut self, value: Value, key: String, depth: usize) -> Result<bool> {
        let Value::Node(place) = value else { return Ok(false) };
        if !self.seen.insert(place) {
            return Ok(false);
        }
        let mut candidate = Candidate { key, depth, tensors: Vec::new(), others: Vec::new() };
        self.collect(value, "", 0, &mut candidate)?;
        let found = !candidate.tensors.is_empty();
        if found {
            last_of_each(&mut candidate.tensors);
            self.candidates.push(candidate);
        }
        Ok(found)
    }

    /// What a value holds by name: entries of a dict, attributes of an object, places in a list.
    fn children(&mut self, value: Value) -> Result<Vec<(String, Value)>> {
        let heap = self.heap;
        if let Some(values) = heap.sequence(value) {
            // A list of tensors, or of anything else, is longer than one of state dicts.
            let values = if values.len() <= 16 { values } else { &[] };
            return Ok(values.iter().enumerate().map(|(i, v)| (i.to_string(), *v)).collect());
        }
        let entries = [heap.entries(value), heap.attributes(value)].into_iter().flatten();
        let mut children = Vec::new();
        for (key, value) in entries {
            self.look()?;
            let is_more = matches!(
                heap.get(*value),
                Some(Node::Dict(_) | Node::Object(_) | Node::Tuple(_) | Node::List(_))
            );
            match heap.text(*key) {
                Some(key) if is_more && key.len() <= MAX_NAME_BYTES => {
                    children.push((key.to_owned(), *value));
                }
                _ => {}
            }
        }
        Ok(children)
    }

    fn look(&mut self) -> Result<()> {
        self.looks += 1;
        if self.looks <= MAX_LOOKS {
            return Ok(());
        }
        let expected = format!("at most {MAX_LOOKS} entries");
        Err(Error::content(self.file, "the checkpoint", expected, "more, each module's counted"))
    }

    /// The tensors of a value by name: those of a dict, or of a module and the modules in it.
    fn collect(
        &mut self,
        value: Value,
        prefix: &str,
        depth: usize,
        into: &mut Candidate<'h>,
    ) -> Result<()> {
        let heap = self.heap;
        if depth == 0 {
            self.entries(heap.entries(value), prefix, false, into)?;
        }
        let Some(Node::Object(object)) = heap.get(value) else { return Ok(()) };
        let attributes = heap.attributes(value);
        self.looks += attributes.len();
        self.look()?;
        if object.class.module.starts_with("__torch__") {
            // TorchScript: parameters, buffers and modules are attributes alike.
            self.entries(attributes, prefix, true, into)?;
            return self.modules(attributes, prefix, depth, into);
        }
        let part = |name: &str| {
            let found = attributes.iter().find(|(key, _)| heap.text(*key) == Some(name));
            found.map(|(_, value)| *value)
        };
        let Some(modules) = part("_modules") else { return Ok(()) };
        if let Some(parameters) = part("_parameters") {
            self.entries(heap.entries(parameters), prefix, true, into)?;
        }
        if let Some(buffers) = part("_buffers") {
            let unsaved = part("_non_persistent_buffers_set");
            let unsaved = unsaved.and_then(|set| heap.sequence(set)).unwrap_or(&[]);
            self.looks += unsaved.len();
            let unsaved: HashSet<_> = unsaved.iter().filter_map(|name| heap.text(*name)).collect();
            let saved = heap.entries(buffers).iter().copied();
            let saved: Vec<_> = saved
                .filter(|(key, _)| heap.text(*key).is_none_or(|name| !unsaved.contains(name)))
                .collect();
            self.entries(&saved, prefix, true, into)?;
        }
        self.modules(heap.entries(modules), prefix, depth, into)
    }

    fn modules(
        &mut self,
        entries: &[(Value, Value)],
        prefix: &str,
        depth: usize,
        into: &mut Candidate<'h>,
    ) -> Result<()> {
        for (key, value) in entries {
            let is_module = matches!(self.heap.get(*value), Some(Node::Object(_)));
            let Some(name) = self.heap.text(*key).filter(|_| is_module) else { continue };
            self.look()?;
            if depth == MAX_DEPTH {
                let expected = format!("modules of at most {MAX_DEPTH} levels");
                return Err(Error::content(self.file, shortened(prefix), expected, "more"));
            }
            let prefix = self.join(prefix, name)? + ".";
            self.collect(*value, &prefix, depth + 1, into)?;
        }
        Ok(())
    }

    /// Notes the tensors among entries.
    fn entries(
        &mut self,
        entries: &[(Value, Value)],
        prefix: &str,
        is_module: bool,
        into: &mut Candidate<'h>,
    ) -> Result<()> {
        for (key, value) in entries {
            self.look()?;
            let Some(name) = self.heap.text(*key) else { continue };
            match self.heap.get(*value) {
                Some(Node::Tensor(tensor)) => {
                    if into.tensors.len() == MAX_TENSORS {
                        let expected = format!("at most {MAX_TENSORS} tensors");
                        return Err(Error::content(self.file, "the checkpoint", expected, "more"));
                    }
                    into.tensors.push((self.join(prefix, name)?, tensor));
                }
                Some(Node::Object(object)) if !is_module && into.others.len() < 16 => {
                    let (name, class) = (shortened(name), &object.class);
                    let what = format!("{} (offset {})", class.path(), class.at);
                    into.others.push((name.to_owned(), what));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn join(&self, prefix: &str, name: &str) -> Result<String> {
        let whole = format!("{prefix}{name}");
        match whole.len() {
            0..=MAX_NAME_BYTES => Ok(whole),
            bytes => {
                let expected = format!("names of at most {MAX_NAME_BYTES} bytes");
                let place = format!("tensor {}", shortened(&whole));
                Err(Error::content(self.file, place, expected, bytes.to_string()))
            }
        }
    }
}

/// Of two entries of one key a dict has the last.
fn last_of_each(tensors: &mut Vec<(String, &TensorRef)>) {
    let last: HashMap<String, usize> =
        tensors.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
    let mut place = 0;
    tensors.retain(|(name, _)| {
        place += 1;
        last.get(name) == Some(&(place - 1))
    });
}
