//! Layers as modules, for networks composed by hand.
//!
//! Every layer looks alike: a constructor from its specification (fresh weights) or from its
//! tensors, `forward`, `parameters`.

mod conv2d;
mod dropout;
mod full_connect;
mod module;
mod plain;
mod sequential;

pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use full_connect::FullConnect;
pub use module::{Context, Module, Visitor, VisitorMut, named_parameters, require_grad};
pub use plain::{AvgPool2d, Flatten, Lrn, MaxPool2d, Relu};
pub use sequential::Sequential;
