//! A user's own op as a layer.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::TensorType;
use striate_tensor::ops::{Custom, CustomOp, CustomOps};

use crate::Result;
use crate::lower::{Layer, Lowering};

/// A user's own op as a layer, without parameters that are learnt. It sees images as
/// `[n, rows, cols, channels]` and rows of numbers as `[n, count]`, and makes one of the two.
///
/// Stored, it is the op's name, version and bytes of parameters. A specification that was read holds no
/// op yet: [`NetworkSpec::with_custom_ops`](crate::NetworkSpec::with_custom_ops) makes it. Two of the
/// same name, version and parameters are equal, with an op or without.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct CustomSpec {
    name: String,
    version: u32,
    parameters: Vec<u8>,
    op: Option<Custom>,
}

/// Bytes of a custom layer's parameters: what a network learns belongs into weights.
const MAX_PARAMETERS: usize = 1 << 20;

/// Bytes of an op's name.
const MAX_NAME: usize = 256;

/// As stored: bytes as two hexadecimal digits each.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stored {
    op: String,
    version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    parameters: String,
}

impl CustomSpec {
    /// The name of the op.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the op.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All that the op depends on beside its operands.
    pub fn parameters(&self) -> &[u8] {
        &self.parameters
    }

    /// The op; none in a specification that was read, before a registry has made it.
    pub fn op(&self) -> Option<&Custom> {
        self.op.as_ref()
    }

    /// Has the op made, where there is none yet.
    pub(crate) fn make(&mut self, ops: &CustomOps) -> striate_tensor::Result<()> {
        if self.op.is_none() {
            self.op = Some(ops.make(&self.name, self.version, &self.parameters)?);
        }
        Ok(())
    }
}

impl<T: Into<Custom>> From<T> for CustomSpec {
    fn from(op: T) -> Self {
        let op = op.into();
        let of: &dyn CustomOp = op.op();
        let (name, version, parameters) = (of.name().to_owned(), of.version(), of.parameters());
        CustomSpec { name, version, parameters, op: Some(op) }
    }
}

impl PartialEq for CustomSpec {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.version, &self.parameters)
            == (&other.name, other.version, &other.parameters)
    }
}

impl Eq for CustomSpec {}

impl From<CustomSpec> for Stored {
    fn from(spec: CustomSpec) -> Self {
        let parameters = spec.parameters.iter().map(|byte| format!("{byte:02x}")).collect();
        Stored { op: spec.name, version: spec.version, parameters }
    }
}

impl TryFrom<Stored> for CustomSpec {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { op: name, version, parameters } = stored;
        if !is_name(&name) {
            let (bytes, begin) = (name.len(), name.chars().take(40).collect::<String>());
            return Err(format!("expected {}, got {begin:?} ({bytes} bytes)", expected_name()));
        }
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let bytes = match parameters.as_bytes().as_chunks::<2>() {
            (pairs, []) if pairs.len() <= MAX_PARAMETERS => {
                pairs.iter().map(byte).collect::<Option<Vec<u8>>>()
            }
            _ => None,
        };
        let parameters = bytes.ok_or_else(|| {
            format!(
                "expected parameters of the custom op `{name}` of at most {MAX_PARAMETERS} bytes, two \
                 hexadecimal digits each, got a text of {} bytes",
                parameters.len()
            )
        })?;
        Ok(CustomSpec { name, version, parameters, op: None })
    }
}

/// Whether a name can be read in a message.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

fn expected_name() -> String {
    format!("a name of a custom op, of 1 to {MAX_NAME} bytes that can be printed")
}

impl Layer for CustomSpec {
    fn detail(&self) -> String {
        match self.version {
            1 => self.name.clone(),
            version => format!("{} version {version}", self.name),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> Result<Value> {
        if !is_name(&self.name) {
            return Err(cx.error(expected_name(), format!("{:?}", self.name)));
        }
        if self.parameters.len() > MAX_PARAMETERS {
            let expected = format!("at most {MAX_PARAMETERS} bytes of parameters");
            return Err(cx.error(expected, format!("{} bytes", self.parameters.len())));
        }
        let Some(op) = &self.op else {
            let expected = format!(
                "the custom op `{}`, version {}, from a registry (NetworkSpec::with_custom_ops, or \
                 ReadOptions::custom_ops where a file is read)",
                self.name, self.version
            );
            return Err(cx.error(expected, "none"));
        };
        let Some(&first) = inputs.first() else {
            return Err(cx.error("one input or more", "none"));
        };
        let images = cx.shape(first).dims().first().copied();
        let output = cx.push(op.clone(), inputs)?;
        let dtype = cx.dtype(output);
        match *cx.shape(output).dims() {
            [n, ref extents @ ..]
                if Some(n) == images
                    && dtype.is_float()
                    && matches!(extents.len(), 1 | 3)
                    && !extents.contains(&0) =>
            {
                Ok(output)
            }
            _ => {
                let n = images.unwrap_or(1);
                let expected =
                    format!("an op that makes floats [{n}, rows, cols, channels] or [{n}, count]");
                let shape = cx.shape(output);
                Err(cx.error(expected, TensorType::new(shape, dtype)))
            }
        }
    }
}
