//! A user's own ops.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Backward, OpRule, Saved};
use crate::{Error, HostTensor, Result, Tensor, TensorType};

/// An op made outside of this crate: its shape rule and its plain version, and where wanted a gradient
/// rule and kernels for the devices.
///
/// Two ops are the same where [`name`](CustomOp::name), [`version`](CustomOp::version) and
/// [`parameters`](CustomOp::parameters) are: caches go by these three. So change the version with what
/// the op computes, and have all that it depends on in the parameters.
///
/// What a device does:
///
/// | device | runs | without that |
/// |---|---|---|
/// | [`Reference`](crate::Reference) | [`reference`](CustomOp::reference) | |
/// | CPU | [`cpu`](CustomOp::cpu) | `reference`, on one thread |
/// | GPU | [`wgsl`](CustomOp::wgsl) | [`Error::Unsupported`] |
///
/// The square of the part above a threshold, with its gradient:
///
/// ```
/// use striate_tensor::ops::{Backward, CustomOp, Saved};
/// use striate_tensor::{Device, Error, HostTensor, Reference, Result, Tensor, TensorType, reference};
///
/// #[derive(Debug)]
/// struct SquaredHinge {
///     threshold: f32,
/// }
///
/// impl CustomOp for SquaredHinge {
///     fn name(&self) -> &'static str {
///         "squared_hinge"
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
///         let y: Vec<f64> = reference::widened(inputs[0]).into_iter().map(|x| above(x).powi(2)).collect();
///         reference::rounded(&inputs[0].ty(), &y)
///     }
///
///     fn saved(&self, _wanted: &[bool]) -> Saved {
///         Saved::operand(0)
///     }
///
///     fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
///         let slope = cx.wide_operand(0)?.affine(2.0, -2.0 * self.threshold)?.relu()?;
///         Ok(vec![Some(cx.wide_dy()?.mul(&slope)?)])
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![0.0f32, 2.0, 4.0], [3], &device)?.require_grad();
/// let y = Tensor::custom(SquaredHinge { threshold: 1.0 }, &[&x])?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 9.0]);
/// let gradients = y.sum_all()?.backward()?;
/// assert_eq!(gradients.get(&x).map(|dx| dx.to_vec::<f32>()).transpose()?, Some(vec![0.0, 2.0, 6.0]));
/// # Ok(())
/// # }
/// ```
pub trait CustomOp: fmt::Debug + Send + Sync + 'static {
    /// The name in errors, profiles and benchmarks: `squared_hinge`. It stays the same for ever.
    fn name(&self) -> &'static str;

    /// The number of what the op computes by its parameters: another one where that changes.
    fn version(&self) -> u32 {
        1
    }

    /// All that the op depends on beside its operands, as bytes.
    fn parameters(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The type of the output for such operands: the shape rule. Nothing else is called for operands
    /// that it refuses.
    ///
    /// # Errors
    /// Where operands or parameters do not fit: say what was expected.
    fn output(&self, inputs: &[TensorType]) -> Result<TensorType>;

    /// Arithmetic operations for operands that the shape rule accepted.
    fn flops(&self, _inputs: &[TensorType], _output: &TensorType) -> u64 {
        0
    }

    /// The plain version, which says what the op means: in host memory, for operands that the shape rule
    /// accepted. [`widened`](crate::reference::widened) and [`rounded`](crate::reference::rounded) take
    /// the element types off its hands.
    ///
    /// # Errors
    /// Where it cannot be computed.
    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor>;

    /// What [`gradient`](CustomOp::gradient) needs of the forward pass, where these operands want a
    /// gradient; nothing else is kept.
    fn saved(&self, _wanted: &[bool]) -> Saved {
        Saved::NOTHING
    }

    /// The gradient rule: for each operand its gradient, made of other ops from that of the output;
    /// none where it is 0 everywhere, or [not wanted](Backward::wants).
    ///
    /// # Errors
    /// [`Error::Gradient`] where there is no rule; what the ops say.
    fn gradient(&self, _cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let reason = "this op has no gradient rule: give it one by CustomOp::gradient";
        Err(Error::gradient(self.name(), reason))
    }

    /// The CPU's kernel, if there is one. It is used where all operands and the output are floats.
    fn cpu(&self) -> Option<&dyn CpuKernel> {
        None
    }

    /// The GPU's kernel, if there is one: a whole WGSL module. It depends on nothing but name, version
    /// and parameters, by which the compiled shader is kept: numbers of the parameters are written into
    /// the text.
    ///
    /// Its entry point is `fn main`, and its bindings are of group 0:
    ///
    /// | binding | variable |
    /// |---|---|
    /// | 0 | `var<uniform>`, see below |
    /// | 1 | `var<storage, read_write> y: array<f32>`, the output |
    /// | 2 and on | `var<storage, read> x: array<f32>`, the operands in their order |
    ///
    /// Elements lie as everywhere, the last axis fastest. f16 is widened before and rounded afterwards;
    /// tensors of u32 are `array<u32>`. There are at most [`MAX_SHADER_OPERANDS`] operands. Each
    /// tensor must fit into one binding of the adapter. An array may be longer than its tensor. So the
    /// counts come in binding 0, which may be left out, or be declared up to what is used of it:
    ///
    /// ```wgsl
    /// struct Sizes {
    ///     // The number of elements: [0].x of the output, [0].y of the first operand, and so on.
    ///     counts: array<vec4<u32>, 2>,
    ///     // The extents, two vectors a tensor in the same order: the last axis is at [2 * i + 1].w.
    ///     // Axes that a tensor does not have are 1.
    ///     extents: array<vec4<u32>, 14>,
    /// }
    /// ```
    ///
    /// So many [`workgroups`](CustomOp::workgroups) run. Beyond the adapter's limit they go on in the
    /// second axis of the grid, and there may be a few more than asked for. The usual shader computes an
    /// element an invocation:
    ///
    /// ```wgsl
    /// struct Sizes { count: u32 }
    /// @group(0) @binding(0) var<uniform> sizes: Sizes;
    /// @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    /// @group(0) @binding(2) var<storage, read> x: array<f32>;
    ///
    /// @compute @workgroup_size(256)
    /// fn main(
    ///     @builtin(workgroup_id) group: vec3<u32>,
    ///     @builtin(num_workgroups) groups: vec3<u32>,
    ///     @builtin(local_invocation_index) local: u32,
    /// ) {
    ///     let i = (group.y * groups.x + group.x) * 256u + local;
    ///     if (i < sizes.count) {
    ///         let above = max(x[i] - 1.0, 0.0);
    ///         y[i] = above * above;
    ///     }
    /// }
    /// ```
    ///
    /// It writes every element of the output. A shader that the driver refuses is an error of the op, with what the compiler said.
    fn wgsl(&self) -> Option<String> {
        None
    }

    /// How many workgroups of the shader run: by default as many as there are 256 elements of the
    /// output.
    fn workgroups(&self, _inputs: &[TensorType], output: &TensorType) -> usize {
        output.count().div_ceil(256)
    }
}

/// The most operands of an op that [a shader](CustomOp::wgsl) takes.
pub const MAX_SHADER_OPERANDS: usize = 6;

/// A kernel of a [`CustomOp`] on the CPU.
pub trait CpuKernel: Sync {
    /// Computes the elements from `first` on of the output into `y`, which holds any numbers before:
    /// each element is to be written, from the operands alone. The output is cut into parts,
    /// and threads compute a part each; how it is cut does not depend on their number. Operands come
    /// whole, the last axis fastest; f16 is widened before and rounded afterwards.
    fn run(&self, types: &[TensorType], inputs: &[&[f32]], first: usize, y: &mut [f32]);

    /// Elements of the output that are computed together, a row say: parts are whole multiples of it,
    /// but for the last. The number of all elements is for a kernel that must see them all at once.
    fn together(&self, _output: &TensorType) -> usize {
        1
    }
}

/// A [`CustomOp`] as an [`Op`](crate::Op): a cheap handle. Equal where name, version and parameters are.
#[derive(Clone)]
pub struct Custom(Arc<dyn CustomOp>);

impl Custom {
    /// The user's op.
    pub fn op(&self) -> &dyn CustomOp {
        &*self.0
    }

    fn identity(&self) -> (&'static str, u32, Vec<u8>) {
        (self.0.name(), self.0.version(), self.0.parameters())
    }

    /// The plain version of the op, checked against its shape rule.
    ///
    /// # Errors
    /// What the op says; [`Error::Shape`] where it gives another type than its shape rule.
    pub(crate) fn reference(
        &self,
        inputs: &[&HostTensor],
        output: &TensorType,
    ) -> Result<HostTensor> {
        let y = self.0.reference(inputs)?;
        if y.ty() != *output {
            let expected = format!("{output} of its reference, as its shape rule says");
            return Err(Error::shape(self.0.name(), expected, y.ty()));
        }
        Ok(y)
    }
}

impl<T: CustomOp> From<T> for Custom {
    fn from(op: T) -> Self {
        Custom(Arc::new(op))
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.identity() == other.identity()
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version, parameters) = self.identity();
        write!(f, "Custom({name} {version} {parameters:02x?})")
    }
}

impl OpRule for Custom {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        self.0.output(inputs)
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        self.0.flops(inputs, output)
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        self.0.saved(wanted)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let gradients = self.0.gradient(cx)?;
        if gradients.len() != cx.types().len() {
            let (got, operands) = (gradients.len(), cx.types().len());
            let reason = format!("its rule gives {got} gradients for {operands} operands");
            return Err(Error::gradient(self.0.name(), reason));
        }
        for (i, (gradient, ty)) in gradients.iter().zip(cx.types()).enumerate() {
            let Some(gradient) = gradient else { continue };
            if *gradient.shape() != ty.shape {
                let shape = gradient.shape();
                let reason = format!("its rule gives {shape} for operand {i}, which is {ty}");
                return Err(Error::gradient(self.0.name(), reason));
            }
        }
        Ok(gradients)
    }
}

impl Tensor {
    /// The output of a user's own op, on the device of its operands.
    ///
    /// # Errors
    /// What the op's shape rule says; [`Error::Operands`] without operands (which say where to compute);
    /// [`Error::Unsupported`] where the device needs a kernel that the op does not have.
    pub fn custom(op: impl Into<Custom>, inputs: &[&Tensor]) -> Result<Tensor> {
        let op = op.into();
        let Some(first) = inputs.first() else {
            return Err(Error::Operands { op: op.name(), expected: "1 or more".into(), got: 0 });
        };
        first.device().execute(&op.into(), inputs)
    }
}
