//! A network as data.

use serde::{Deserialize, Serialize};

use super::{LayerKind, LayerSpec, Misplaced, Node};
use crate::Result;

/// A network as data: its input and its layers, without weights.
///
/// ```
/// use striate_nn::{NetworkSpec, conv2d, pool};
///
/// # fn main() -> striate_nn::Result<()> {
/// let spec = NetworkSpec::new([28, 28, 1])
///     .conv(conv2d(20, 5)).relu().max_pool(pool(2).stride(2))
///     .conv(conv2d(50, 5)).relu().max_pool(pool(2).stride(2))
///     .full_connect(500).relu().dropout(0.5)
///     .full_connect(10);
/// let summary = spec.verify(10)?.summary();
/// assert_eq!(summary.parameters, 431_080);
/// println!("{summary}"); // a table: shapes, parameters, MACs
///
/// assert_eq!(NetworkSpec::from_json(&spec.to_json()?)?, spec);
/// # Ok(())
/// # }
/// ```
///
/// Layers may see more than the one before, and be seen by more than the next: see
/// [`residual`](NetworkSpec::residual) and [`branches`](NetworkSpec::branches).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "StoredNetworkSpec")]
pub struct NetworkSpec {
    /// The name, for people; may be empty.
    pub name: String,
    /// What the network sees: rows, cols, channels.
    pub input: [usize; 3],
    /// Rows and cols of the whole image that views are cut from, and of the mean image.
    pub image: [usize; 2],
    /// The layers, each after those that it sees. The last one's output is the network's.
    #[serde(rename = "layers")]
    pub nodes: Vec<Node>,
    /// Outputs for training alone, beside the network's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auxiliary: Vec<Auxiliary>,
    /// Methods of the builder that were called where they cannot be, such as
    /// [`with_classes`](NetworkSpec::with_classes) after a pooling layer. Empty for a sound network;
    /// one with any is refused by [`shapes`](NetworkSpec::shapes), [`verify`](NetworkSpec::verify),
    /// [`build`](NetworkSpec::build) and as JSON.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "refuse_misplaced")]
    pub misplaced: Vec<Misplaced>,
    /// The node that the builder's next layer sees, where that is not the last one: within a path of
    /// [`branches`](NetworkSpec::branches), or after an auxiliary output.
    #[serde(skip)]
    pub head: Option<String>,
}

/// An output for training alone, such as a classifier in the middle of GoogLeNet: its loss counts
/// beside the network's own. Inference does not compute it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Auxiliary {
    /// Its name.
    pub name: String,
    /// The node whose output it is.
    pub node: String,
    /// What its loss is multiplied by before it is added.
    pub weight: f32,
}

/// What was asked and cannot be has no stored form, and must not be lost in silence.
fn refuse_misplaced<S: serde::Serializer>(
    misplaced: &[Misplaced],
    _: S,
) -> std::result::Result<S::Ok, S::Error> {
    let calls: Vec<String> = (misplaced.iter())
        .map(|call| format!("{} after {} layers", call.method, call.layers))
        .collect();
    Err(serde::ser::Error::custom(format!("the builder was asked for {}", calls.join(" and for "))))
}

/// The stored form: a file may leave out the name, and the image where it is as large as the input.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StoredNetworkSpec {
    #[serde(default)]
    name: String,
    input: [usize; 3],
    image: Option<[usize; 2]>,
    layers: Vec<Node>,
    #[serde(default)]
    auxiliary: Vec<Auxiliary>,
}

impl From<StoredNetworkSpec> for NetworkSpec {
    fn from(stored: StoredNetworkSpec) -> Self {
        let StoredNetworkSpec { name, input, image, layers, auxiliary } = stored;
        let image = image.unwrap_or([input[0], input[1]]);
        NetworkSpec { name, image, nodes: layers, auxiliary, ..NetworkSpec::new(input) }
    }
}

impl NetworkSpec {
    /// The name of a node: its own, or its number where it has none.
    pub fn node_name(&self, node: usize) -> String {
        match self.nodes.get(node) {
            Some(node) if !node.name.is_empty() => node.name.clone(),
            _ => node.to_string(),
        }
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<usize> {
        let own = self.nodes.iter().position(|node| !node.name.is_empty() && node.name == name);
        own.or_else(|| {
            let number: usize = name.parse().ok()?;
            self.nodes.get(number).filter(|node| node.name.is_empty())?;
            Some(number)
        })
    }

    /// Where another specification computes something else: what this one has there, and what the
    /// other has. Names, dropout and what fresh weights are drawn from do not count; nor does whether
    /// a ReLU stands in its layer or after it, and whether what a full-connect layer sees is flattened
    /// before. Of a specification with names that are not there, its layers are compared as they stand.
    pub fn difference(&self, other: &NetworkSpec) -> Option<(String, String)> {
        let sizes = |spec: &NetworkSpec, layers: usize| {
            format!("input {:?}, image {:?}, {layers} layers", spec.input, spec.image)
        };
        let (own, others) = (self.computed(), other.computed());
        let both = (sizes(self, own.len()), sizes(other, others.len()));
        if both.0 != both.1 {
            return Some(both);
        }
        for (number, (own, other)) in own.iter().zip(&others).enumerate() {
            if own != other {
                let text = |(layer, inputs): &(LayerSpec, Vec<Option<usize>>)| {
                    let json = serde_json::to_string(layer).unwrap_or_default();
                    let seen = match inputs[..] {
                        [Some(before)] if before + 1 == number => String::new(),
                        [None] if number == 0 => String::new(),
                        [] => String::new(),
                        _ => format!(" after {inputs:?}"),
                    };
                    format!("layer {number} as {json}{seen}")
                };
                return Some((text(own), text(other)));
            }
        }
        None
    }

    /// What inference computes: layers with the nodes that they see (none for the network's input),
    /// without dropout, and with each ReLU in the layer before it where it can stand there.
    fn computed(&self) -> Vec<(LayerSpec, Vec<Option<usize>>)> {
        let Ok(sources) = self.sources() else {
            return self.nodes.iter().map(|node| (node.layer.clone(), Vec::new())).collect();
        };
        let readers = self.readers(&sources);
        let is_row = |readers: &[usize]| {
            let full = |&reader: &usize| self.nodes.get(reader).map(Node::kind);
            !readers.is_empty()
                && readers.iter().all(|reader| full(reader) == Some(LayerKind::FullConnect))
        };
        let mut places: Vec<Option<usize>> = Vec::with_capacity(self.nodes.len());
        let mut computed: Vec<(LayerSpec, Vec<Option<usize>>)> = Vec::new();
        for (place, (node, inputs)) in self.nodes.iter().zip(&sources).enumerate() {
            let seen: Vec<Option<usize>> =
                inputs.iter().map(|input| input.and_then(|input| places[input])).collect();
            let joined = match (&node.layer, &inputs[..]) {
                (layer, [input]) if layer.is_for_training() => {
                    Some(input.and_then(|input| places[input]))
                }
                (LayerSpec::Flatten(_), [input]) if is_row(&readers[place]) => {
                    Some(input.and_then(|input| places[input]))
                }
                (LayerSpec::Activation(function), [Some(input)])
                    if function.is_relu()
                        && readers[self.undropped(&sources, *input)].len() == 1 =>
                {
                    places[*input]
                        .filter(|&place| match &mut computed[place].0 {
                            LayerSpec::Conv(conv) => {
                                conv.relu = true;
                                true
                            }
                            LayerSpec::FullConnect(full) => {
                                full.relu = true;
                                true
                            }
                            _ => false,
                        })
                        .map(Some)
                }
                _ => None,
            };
            places.push(joined.unwrap_or_else(|| {
                computed.push((node.layer.as_computed(), seen));
                Some(computed.len() - 1)
            }));
        }
        computed
    }

    /// The nodes that see each node in inference, be it through dropout; one past the last for the
    /// network's output.
    fn readers(&self, sources: &[Vec<Option<usize>>]) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (reader, inputs) in sources.iter().enumerate() {
            if !self.nodes[reader].layer.is_for_training() {
                for input in inputs.iter().flatten() {
                    readers[self.undropped(sources, *input)].push(reader);
                }
            }
        }
        if let Some(last) = self.nodes.len().checked_sub(1) {
            readers[self.undropped(sources, last)].push(self.nodes.len());
        }
        readers
    }

    /// The node itself; of dropout the node whose output it passes on in inference.
    fn undropped(&self, sources: &[Vec<Option<usize>>], mut node: usize) -> usize {
        while let (true, [Some(before)]) =
            (self.nodes[node].layer.is_for_training(), &sources[node][..])
        {
            node = *before;
        }
        node
    }

    /// For each node the nodes that it sees: none for the network's input.
    ///
    /// # Errors
    /// [`Error::Layer`](crate::Error::Layer) where a name is unknown, stands twice, or is that of a
    /// later node.
    pub fn sources(&self) -> Result<Vec<Vec<Option<usize>>>> {
        crate::lower::sources(self)
    }

    /// The specification that this JSON text holds. Only its form is checked:
    /// [`verify`](NetworkSpec::verify) says whether it makes sense.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) with the line and column where it is not one.
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// The specification as JSON text, indented.
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) where it cannot be written: where it was built of methods
    /// that cannot be where they were called.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Whether every node sees the node before it alone, and the last one's output is the only one.
    pub fn is_chain(&self) -> bool {
        let is_next =
            |(place, inputs): (usize, &Vec<Option<usize>>)| inputs[..] == [place.checked_sub(1)];
        self.auxiliary.is_empty()
            && self.sources().is_ok_and(|sources| sources.iter().enumerate().all(is_next))
    }
}
