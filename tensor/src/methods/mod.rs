//! Methods of [`Tensor`](crate::Tensor) that are made of several ops, on every device and with gradients
//! from those of the ops.
//!
//! Those of one op stand with their op in [`ops`](crate::ops).
//!
//! ```
//! # use striate_tensor::{Device, Reference, Tensor};
//! # fn main() -> striate_tensor::Result<()> {
//! # let device = Device::new(Reference::new());
//! let x = Tensor::arange(0.0, 6.0, 1.0, &device)?.reshape([2, 3])?;
//! let centred = (&x - x.mean_keepdims(-1)?)?;
//! let first = centred.i((.., 0))?;
//! assert_eq!(first.to_string(), "[-1. -1.]");
//! # Ok(())
//! # }
//! ```

mod create;
mod display;
mod einsum;
mod index;
mod join;
mod operators;
mod shape;
mod statistics;

pub use index::{Index, Indices, NEW_AXIS, REST};
