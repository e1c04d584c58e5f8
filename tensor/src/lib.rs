//! Striate's tensors.
//!
//! A [`Tensor`] is a contiguous block of numbers on a [`Device`], with a
//! [`Shape`] and a [`DType`]. Everything that computes is an [`Op`]: a value
//! that knows its shape rule and its cost, and that a [`Backend`] executes.
//! This crate knows no backend but the plain [`reference`](mod@reference) one,
//! which defines what every op means.
//!
//! [`Tensor::require_grad`] marks a variable, and [`Tensor::backward`] gives the gradients of a loss
//! in all variables that it came of: see [`autograd`].
//!
//! Images and activations are channels last, `[n, rows, cols, channels]`;
//! convolution weights are `[out, kernel rows, kernel cols, in / groups]`;
//! full-connect weights are `[out, in]`.
//!
//! ```
//! use striate_tensor::{Device, Reference, Tensor};
//!
//! # fn main() -> striate_tensor::Result<()> {
//! let device = Device::new(Reference::new());
//! let a = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], [2, 2], &device)?;
//! let b = Tensor::ones([2, 2], &device)?;
//! let c = a.matmul(&b)?.relu()?;
//! assert_eq!(c.to_vec::<f32>()?, [3.0, 3.0, 7.0, 7.0]);
//! # Ok(())
//! # }
//! ```

pub mod autograd;
mod axis;
mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
mod device;
mod dtype;
mod error;
mod host;
mod huge_pages;
mod joined;
pub mod methods;
pub mod ops;
mod pending;
pub mod random;
pub mod reference;
mod shape;
mod tensor;

pub use autograd::{Gradients, LeafId, checkpoint, no_grad};
pub use axis::{Axis, AxisList};
pub use backend::{
    Backend, Buffer, BufferData, DeviceInfo, DeviceKind, Link, Operand, Part, Spare, Target,
    Update, execute_each,
};
pub use device::{Device, TensorUpdate};
pub use dtype::{DType, Element};
pub use error::{Error, Given, Result};
pub use half::f16;
pub use host::{HostTensor, HostValues, SharedBytes};
pub use huge_pages::prefer_huge_pages;
pub use joined::Joined;
pub use methods::{Index, Indices, NEW_AXIS, REST};
pub use ops::{Cost, Op};
pub use pending::{Coming, Pending};
pub use random::RandomKey;
pub use reference::Reference;
pub use shape::{MAX_RANK, Shape, TensorType};
pub use tensor::Tensor;
