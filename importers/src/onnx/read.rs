//! Reading an ONNX file: its nodes, and its weights as arrays.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use super::array::Array;
use super::compile::is_standard;
use super::elem::Elem;
use super::proto::{GraphProto, ModelProto, NodeProto, StringEntry, TensorProto, ValueInfo};
use crate::source::Source;
use crate::wire::Wire;
use crate::{Error, Result};

/// Nodes of a graph, and tensors of one. The largest published networks have some ten thousand.
const MAX_NODES: usize = 500_000;

/// Axes of a tensor.
const MAX_RANK: usize = 16;

/// The numbers of the fields that are read one by one.
mod field {
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const GRAPH_NODE: u32 = 1;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const TENSOR_RAW: u32 = 9;
}

/// The contents of an ONNX file.
#[derive(Debug)]
pub(crate) struct File {
    /// What stands for it in messages.
    pub(crate) name: String,
    /// The version of the standard operators.
    pub(crate) opset: i64,
    pub(crate) producer: String,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) graph: Arc<Block>,
}

impl File {
    /// The name of the value that is the first output, before nodes that only pass it on.
    pub(crate) fn result(&self) -> String {
        let mut name = self.graph.outputs.first().map(|output| output.name.clone());
        for node in self.graph.nodes.iter().rev() {
            if node.op_type == "Identity"
                && is_standard(node)
                && node.output.first() == name.as_ref()
            {
                name = node.input.first().cloned();
            }
        }
        name.unwrap_or_default()
    }
}

/// A graph, or the branch of an `If`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: HashMap<String, Array>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
}

/// Where weights outside of the file are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Option<PathBuf>);

/// Reads a file.
pub(crate) fn read(source: &Source) -> Result<File> {
    let name = source.name().to_owned();
    let folder = Folder::of(source);
    let mut header = Vec::new();
    let mut graph = GraphParts::default();
    let mut wire = Wire::new(source, 0, source.bytes());
    while let Some(field) = wire.field()? {
        if field.number == field::MODEL_GRAPH && field.wire_type == 2 {
            graph.read(source, field.contents, field.end, &folder)?;
        } else {
            header.extend_from_slice(&wire.bytes(field.begin, field.end)?);
        }
    }
    source.check_unchanged()?;
    let decode = |e| Error::parse(&name, "header", "an ONNX model", e);
    let model = ModelProto::decode(Bytes::from(header)).map_err(decode)?;
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opset_import.iter().find(|set| standard(&set.domain));
    // A file of the first versions has none.
    let opset = opset.map_or(1, |set| set.version);
    let texts = |entry: StringEntry| (entry.key, entry.value);
    let producer = [model.producer_name, model.producer_version].join(" ").trim().to_owned();
    Ok(File {
        graph: Arc::new(graph.finish(&name)?),
        opset,
        producer,
        metadata: model.metadata_props.into_iter().map(texts).collect(),
        name,
    })
}

/// A graph that is being read.
#[derive(Default)]
struct GraphParts {
    header: Vec<u8>,
    nodes: Vec<NodeProto>,
    initializers: HashMap<String, Array>,
}

impl GraphParts {
    fn read(&mut self, source: &Source, at: u64, end: u64, folder: &Folder) -> Result<()> {
        let name = source.name();
        let mut wire = Wire::new(source, at, end);
        while let Some(field) = wire.field()? {
            match (field.number, field.wire_type) {
                (field::GRAPH_NODE, 2) => {
                    let bytes = wire.bytes(field.contents, field.end)?;
                    let place = format!("node {}", self.nodes.len());
                    let node = NodeProto::decode(bytes)
                        .map_err(|e| Error::parse(name, place, "a node", e))?;
                    match constant(name, &node, folder)? {
                        Some((output, array)) => self.weight(output, array),
                        None => self.nodes.push(node),
                    }
                }
                (field::GRAPH_INITIALIZER, 2) => {
                    let place = format!("tensor {}", self.initializers.len());
                    let (header, elements) = tensor_parts(source, field.contents, field.end)?;
                    let tensor = TensorProto::decode(Bytes::from(header))
                        .map_err(|e| Error::parse(name, place, "a tensor", e))?;
                    let array = match elements {
                        None => array(name, &tensor, folder)?,
                        Some([from, to]) => stored(source, &tensor, from, to)?,
                    };
                    self.weight(tensor.name, array);
                }
                _ => self.header.extend_from_slice(&wire.bytes(field.begin, field.end)?),
            }
            if self.nodes.len() > MAX_NODES || self.initializers.len() > MAX_NODES {
                let expected = format!("at most {MAX_NODES} nodes and tensors");
                return Err(Error::content(name, "graph", expected, "more"));
            }
        }
        Ok(())
    }

    fn weight(&mut self, name: String, mut array: Array) {
        array.id = u32::try_from(self.initializers.len()).ok();
        self.initializers.insert(name, array);
    }

    fn finish(self, name: &str) -> Result<Block> {
        let graph = GraphProto::decode(Bytes::from(self.header))
            .map_err(|e| Error::parse(name, "graph", "an ONNX graph", e))?;
        if graph.output.is_empty() {
            return Err(Error::content(name, "graph", "an ONNX graph with outputs", "none"));
        }
        let GraphProto { input, output, .. } = graph;
        let GraphParts { nodes, initializers, .. } = self;
        Ok(Block { nodes, initializers, inputs: input, outputs: output })
    }
}

/// The output of a node that is a constant tensor: that is one more weight of the file.
fn constant(name: &str, node: &NodeProto, folder: &Folder) -> Result<Option<(String, Array)>> {
    let value = || node.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_deref();
    let (true, [output]) = (node.op_type == "Constant" && is_standard(node), &node.output[..])
    else {
        return Ok(None);
    };
    value().map(|tensor| Ok((output.clone(), array(name, tensor, folder)?))).transpose()
}

/// Elements of more bytes are read straight to where they stay.
const LARGE_BYTES: u64 = 1 << 16;

/// The fields of a tensor but for its elements, where these are many: and where they are.
fn tensor_parts(source: &Source, at: u64, end: u64) -> Result<(Vec<u8>, Option<[u64; 2]>)> {
    let mut header = Vec::new();
    let mut elements = None;
    let mut wire = Wire::new(source, at, end);
    while let Some(field) = wire.field()? {
        let is_raw = field.number == field::TENSOR_RAW && field.wire_type == 2;
        match is_raw && field.end - field.contents > LARGE_BYTES {
            true => elements = Some([field.contents, field.end]),
            false => header.extend_from_slice(&wire.bytes(field.begin, field.end)?),
        }
    }
    Ok((header, elements))
}

/// The array of a tensor whose elements are at this place of the file.
fn stored(source: &Source, tensor: &TensorProto, from: u64, to: u64) -> Result<Array> {
    let name = source.name();
    let Sized { elem, dims, bytes } = sized(name, tensor)?;
    if to - from != bytes as u64 {
        let place = format!("tensor {}", tensor.name);
        let expected = format!("{} elements of {elem}", bytes / elem.size_bytes());
        return Err(Error::content(name, place, expected, format!("{} bytes", to - from)));
    }
    Array::filled(elem, dims, bytes, |target| source.read_exact_at(target, from))
}

impl Block {
    /// A graph that was read with its node.
    pub(crate) fn of(name: &str, graph: &GraphProto, folder: &Folder) -> Result<Self> {
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            initializers.insert(tensor.name.clone(), array(name, tensor, folder)?);
        }
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in &graph.node {
            match constant(name, node, folder)? {
                Some((output, array)) => drop(initializers.insert(output, array)),
                None => nodes.push(node.clone()),
            }
        }
        Ok(Block {
            nodes,
            initializers,
            inputs: graph.input.clone(),
            outputs: graph.output.clone(),
        })
    }
}

impl Folder {
    pub(crate) fn of(source: &Source) -> Self {
        Folder(source.folder().map(Path::to_path_buf))
    }

    /// A file of the folder by the name that a model gives it: never one outside.
    fn open(&self, name: &str, tensor: &str, location: &str) -> Result<std::fs::File> {
        let place = format!("tensor {tensor}");
        let refuse = |got: String| {
            Error::content(name, &place, "its elements in a file of the model's folder", got)
        };
        let path = Path::new(location);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || location.is_empty() {
            return Err(refuse(format!("`{location}`")));
        }
        let Some(folder) = &self.0 else {
            return Err(refuse(format!("`{location}`, and the model came through a pipe")));
        };
        let io = |e| Error::io(&format!("{name}: {place}: {location}"), "open", e);
        let folder = folder.canonicalize().map_err(io)?;
        // A link may lead elsewhere.
        let found = folder.join(path).canonicalize().map_err(io)?;
        if !found.starts_with(&folder) {
            return Err(refuse(format!("`{location}`, a link out of it")));
        }
        let file = std::fs::File::open(found).map_err(io)?;
        match file.metadata().map_err(io)?.is_file() {
            true => Ok(file),
            false => Err(refuse(format!("`{location}`, which is no regular file"))),
        }
    }
}

/// What a tensor's header says of its size.
struct Sized {
    elem: Elem,
    dims: Vec<usize>,
    bytes: usize,
}

fn sized(name: &str, tensor: &TensorProto) -> Result<Sized> {
    let place = format!("tensor {}", tensor.name);
    let content = |expected: String, got: String| Error::content(name, &place, expected, got);
    let Some(elem) = Elem::of_code(tensor.data_type) else {
        let got = Elem::name_of_code(tensor.data_type);
        return Err(content("numbers of 8 to 64 bits or truth values".into(), got));
    };
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let dims = dims.filter(|dims| dims.len() <= MAX_RANK);
    // An extent of 0 hides no others.
    let whole = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    let counted = dims.and_then(|dims| {
        whole(&dims)?.checked_mul(elem.size_bytes())?;
        Some((dims.iter().product::<usize>() * elem.size_bytes(), dims))
    });
    match counted {
        Some((bytes, dims)) => Ok(Sized { elem, dims, bytes }),
        None => {
            let got = format!("{:?}", tensor.dims);
            Err(content("extents of a tensor that fits into memory".into(), got))
        }
    }
}

/// The array of a tensor.
pub(crate) fn array(name: &str, tensor: &TensorProto, folder: &Folder) -> Result<Array> {
    let place = format!("tensor {}", tensor.name);
    let content = |expected: String, got: String| Error::content(name, &place, expected, got);
    let Sized { elem, dims, bytes } = sized(name, tensor)?;
    let count = bytes / elem.size_bytes();
    let wrong = |got: usize, what: &str| {
        Err(content(format!("{count} elements of {elem}"), format!("{got} {what}")))
    };
    if tensor.data_location == 1 {
        let mut file = external(name, tensor, bytes, folder)?;
        let io = |e| Error::io(&format!("{name}: {place}"), "read", e);
        return Array::filled(elem, dims, bytes, |target| file.read_exact(target).map_err(io));
    }
    if let Some(raw) = &tensor.raw_data {
        return match raw.len() == bytes {
            true => Ok(Array::of_bytes(elem, dims, raw)),
            false => wrong(raw.len(), "bytes"),
        };
    }
    let ints = |values: Vec<i64>| match values.len() == count {
        true => Ok(Array::of_ints(elem, dims.clone(), values)),
        false => wrong(values.len(), "elements"),
    };
    let floats = |values: Vec<f64>| match values.len() == count {
        true => Ok(Array::of_floats(elem, dims.clone(), values)),
        false => wrong(values.len(), "elements"),
    };
    match elem {
        Elem::F32 if tensor.float_data.len() == count => {
            Ok(Array::of_bytes(elem, dims, bytemuck::cast_slice(&tensor.float_data)))
        }
        Elem::F32 => wrong(tensor.float_data.len(), "elements"),
        Elem::F64 => floats(tensor.double_data.clone()),
        Elem::F16 | Elem::Bf16 => {
            let bits = tensor.int32_data.iter().map(|&x| x as u16);
            floats(match elem {
                Elem::F16 => bits.map(|b| half::f16::from_bits(b).to_f64()).collect(),
                _ => bits.map(|b| half::bf16::from_bits(b).to_f64()).collect(),
            })
        }
        Elem::I64 => ints(tensor.int64_data.clone()),
        Elem::U64 | Elem::U32 => ints(tensor.uint64_data.iter().map(|&x| x as i64).collect()),
        _ => ints(tensor.int32_data.iter().map(|&x| x.into()).collect()),
    }
}

/// The array of a tensor whose elements stand in it.
pub(crate) fn inline(tensor: &TensorProto) -> Option<Array> {
    array("model", tensor, &Folder(None)).ok()
}

/// The file that a tensor's elements are in, where they begin, once it is known to have as many bytes.
fn external(
    name: &str,
    tensor: &TensorProto,
    bytes: usize,
    folder: &Folder,
) -> Result<std::fs::File> {
    use std::io::{Seek, SeekFrom};
    let place = format!("tensor {}", tensor.name);
    let get = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value)
    };
    let number = |key: &str| match get(key) {
        None => Ok(None),
        Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| {
            Error::content(name, &place, format!("a number as `{key}`"), format!("`{text}`"))
        }),
    };
    let location = get("location").unwrap_or_default();
    let offset = number("offset")?.unwrap_or(0);
    if let Some(length) = number("length")?
        && length != bytes as u64
    {
        let got = format!("a length of {length}");
        return Err(Error::content(name, &place, format!("{bytes} bytes"), got));
    }
    let mut file = folder.open(name, &tensor.name, location)?;
    let io = |e| Error::io(&format!("{name}: {place}: {location}"), "read", e);
    let there = file.metadata().map_err(io)?.len();
    if offset.checked_add(bytes as u64).is_none_or(|end| end > there) {
        let got = format!("a file of {there} bytes");
        let expected = format!("{bytes} bytes from byte {offset} of `{location}`");
        return Err(Error::content(name, &place, expected, got));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    Ok(file)
}
