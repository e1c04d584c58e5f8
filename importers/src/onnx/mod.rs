//! ONNX models, as they are.
//!
//! [`Model::open`] reads a file of opset 7 to 28, whatever program wrote it; [`Model::run`] runs it on any
//! device. Weights may stand in the file, in its nodes, or in files beside it. Quantized networks in the
//! form of QuantizeLinear and DequantizeLinear are computed in floats.
//!
//! Operators of other domains run where [`Model::open_with`] gets an op for them.
//!
//! [`export`](export()) writes a network as an ONNX file.

mod array;
mod attributes;
mod check;
mod compile;
mod custom;
mod device;
mod elem;
mod export;
mod host;
mod image_model;
mod lift;
mod model;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]
mod node_cases;
mod pictures;
mod port;
mod proto;
mod read;

pub use custom::{CustomNodes, NodeAttributes};
pub use export::{EXPORT_OPSETS, ExportOptions, GraphNames, export, export_graph};
pub use image_model::ImageModel;
pub use model::{Model, RunOptions};
pub use port::{Extent, Port};
