//! A layer in its place: its name, and what it sees.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LayerKind, LayerSpec};

/// The name of what the network sees, where a layer's [inputs](Inputs) name it.
pub(crate) const INPUT: &str = "input";

/// A layer in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name that other nodes, files and messages call it by: `layer1.0.conv1`. Empty, it is
    /// called by its number: see [`NetworkSpec::node_name`](super::NetworkSpec::node_name).
    pub name: String,
    /// What it does.
    pub layer: LayerSpec,
    /// What it sees.
    pub inputs: Inputs,
}

/// What a layer sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inputs {
    /// The output of the node before; of the first node, what the network sees.
    #[default]
    Previous,
    /// The outputs of these nodes, by name (`input` is what the network sees). They stand before it.
    Of(Vec<String>),
}

impl Node {
    /// What kind of layer it is.
    pub fn kind(&self) -> LayerKind {
        self.layer.kind()
    }
}

impl From<LayerSpec> for Node {
    /// Without a name, after the node before.
    fn from(layer: LayerSpec) -> Self {
        Node { name: String::new(), layer, inputs: Inputs::Previous }
    }
}

/// As stored: the layer's own fields, with `name` and `inputs` beside them where there are any.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(flatten)]
    layer: &'a LayerSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<&'a [String]>,
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let inputs = match &self.inputs {
            Inputs::Previous => None,
            Inputs::Of(names) => Some(&names[..]),
        };
        Stored { name: &self.name, layer: &self.layer, inputs }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // `flatten` would let unknown fields pass: what is not the node's own goes to the layer,
        // which refuses what it does not know.
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Node;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a layer: an object with its kind")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let (mut name, mut inputs) = (None, None);
                let mut layer = serde_json::Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    let is_new = match key.as_str() {
                        "name" => name.replace(map.next_value()?).is_none(),
                        "inputs" => inputs.replace(map.next_value()?).is_none(),
                        _ => layer.insert(key.clone(), map.next_value()?).is_none(),
                    };
                    if !is_new {
                        return Err(A::Error::custom(format!("field `{key}` stands there twice")));
                    }
                }
                let layer = serde_json::Value::Object(layer);
                let layer = LayerSpec::deserialize(layer).map_err(A::Error::custom)?;
                let inputs = inputs.map_or(Inputs::Previous, Inputs::Of);
                Ok(Node { name: name.unwrap_or_default(), layer, inputs })
            }
        }
        from.deserialize_map(Fields)
    }
}
