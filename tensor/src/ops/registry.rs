//! A user's own ops by name, for what reads files that name them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Custom;
use crate::{Error, Result};

type Constructor = Arc<dyn Fn(&[u8]) -> Result<Custom> + Send + Sync>;

/// [Custom ops](super::CustomOp) by name and version: what a reader makes the ops of a file from.
///
/// It is a value that is passed in where something is read; there is no global one.
///
/// ```
/// use striate_tensor::ops::{CustomOp, CustomOps};
/// use striate_tensor::{Error, HostTensor, Result, TensorType, reference};
///
/// #[derive(Debug)]
/// struct Hinge {
///     threshold: f32,
/// }
///
/// impl Hinge {
///     fn of_parameters(bytes: &[u8]) -> Result<Self> {
///         match bytes.try_into() {
///             Ok(bytes) => Ok(Hinge { threshold: f32::from_le_bytes(bytes) }),
///             Err(_) => Err(Error::parameter("hinge", "parameters", "of 4 bytes", bytes.len())),
///         }
///     }
/// }
///
/// impl CustomOp for Hinge {
///     fn name(&self) -> &'static str {
///         "hinge"
///     }
///
///     fn parameters(&self) -> Vec<u8> {
///         self.threshold.to_le_bytes().to_vec()
///     }
///
///     fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
///         match inputs {
///             [x] if x.dtype.is_float() => Ok(*x),
///             _ => Err(Error::shape(self.name(), "one operand of floats", inputs)),
///         }
///     }
///
///     fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
///         let above = |x: f64| (x - f64::from(self.threshold)).max(0.0);
///         let y: Vec<f64> = reference::widened(inputs[0]).into_iter().map(above).collect();
///         reference::rounded(&inputs[0].ty(), &y)
///     }
/// }
///
/// let ops = CustomOps::new().with_constructor("hinge", 1, Hinge::of_parameters);
/// let op = ops.make("hinge", 1, &2.0f32.to_le_bytes())?;
/// assert_eq!(op.op().parameters(), 2.0f32.to_le_bytes());
/// assert!(ops.make("hinge", 2, &[]).is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CustomOps {
    by_name: BTreeMap<String, BTreeMap<u32, Entry>>,
}

/// What is registered under a name and a version.
#[derive(Clone, Default)]
struct Entry {
    /// Ops at hand, which differ in their parameters.
    ops: Vec<Custom>,
    /// Makes the op of any other parameters.
    constructor: Option<Constructor>,
}

impl CustomOps {
    /// Without any op.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And a constructor of the ops of this name and version, from the bytes of their
    /// [parameters](super::CustomOp::parameters). It replaces one that was there.
    ///
    /// The bytes may come from a damaged or hostile file: the constructor refuses what it does not
    /// expect.
    #[must_use]
    pub fn with_constructor<T: Into<Custom>>(
        mut self,
        name: impl Into<String>,
        version: u32,
        constructor: impl Fn(&[u8]) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let constructor = move |parameters: &[u8]| Ok(constructor(parameters)?.into());
        self.entry(name.into(), version).constructor = Some(Arc::new(constructor));
        self
    }

    /// And this op itself, for its name, version and parameters.
    #[must_use]
    pub fn with_op(mut self, op: impl Into<Custom>) -> Self {
        let op = op.into();
        let entry = self.entry(op.op().name().to_owned(), op.op().version());
        if !entry.ops.contains(&op) {
            entry.ops.push(op);
        }
        self
    }

    fn entry(&mut self, name: String, version: u32) -> &mut Entry {
        self.by_name.entry(name).or_default().entry(version).or_default()
    }

    /// Whether there is no op.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The names and versions that are registered, in their order.
    pub fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.by_name
            .iter()
            .flat_map(|(name, versions)| versions.keys().map(move |&version| (&**name, version)))
    }

    /// The op of this name, version and parameters.
    ///
    /// # Errors
    /// [`Error::CustomOp`] where the name or the version is not registered, with what is, or where the
    /// constructor makes an op of another name, version or parameters; what the constructor says.
    pub fn make(&self, name: &str, version: u32, parameters: &[u8]) -> Result<Custom> {
        let refuse =
            |reason: String| Err(Error::CustomOp { name: name.to_owned(), version, reason });
        let Some(versions) = self.by_name.get(name) else {
            return refuse(format!("the name is not registered; {}", self.registered()));
        };
        let Some(entry) = versions.get(&version) else {
            let known: Vec<String> = versions.keys().map(ToString::to_string).collect();
            return refuse(format!("of this op the registry has version {}", known.join(", ")));
        };
        let known = entry.ops.iter().find(|op| op.op().parameters() == parameters);
        let op = match (known, &entry.constructor) {
            (Some(op), _) => return Ok(op.clone()),
            (None, Some(constructor)) => constructor(parameters)?,
            (None, None) => {
                let reason = "it is registered with other parameters, without a constructor";
                return refuse(reason.to_owned());
            }
        };
        let made = op.op();
        if (made.name(), made.version()) != (name, version) {
            let (name, version) = (made.name(), made.version());
            return refuse(format!("its constructor makes `{name}`, version {version}"));
        }
        if made.parameters() != parameters {
            return refuse("its constructor makes an op of other parameters".to_owned());
        }
        Ok(op)
    }

    fn registered(&self) -> String {
        let names: Vec<String> =
            self.names().map(|(name, version)| format!("`{name}` {version}")).collect();
        match names.is_empty() {
            true => "the registry is empty".to_owned(),
            false => format!("the registry has {}", names.join(", ")),
        }
    }
}

/// Equal where the same ops and the very same constructors are registered.
impl PartialEq for CustomOps {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.constructor, &other.constructor) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        same && self.ops == other.ops
    }
}

impl fmt::Debug for CustomOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
