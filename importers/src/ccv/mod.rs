//! ccv's model files: sqlite databases with the layers, the weights and the mean image.
//!
//! What is read and written is what ccv itself reads and writes: the same tables, the same NULLs,
//! raw little-endian blobs in the same order, and half precision by cutting toward zero. What a
//! file has no place for is lost when one is written: the network's name, the ranges that fresh
//! weights are drawn from, dropout rates, and the metadata.
//!
//! Where ccv passes over a blob of the wrong length, or reads a text as a 0, reading stops here
//! with an error that names the table, the row and the column.

mod database;
pub(crate) mod half;
mod layers;
mod read;
mod schema;
mod write;

pub(crate) use read::inspect;
pub use read::{read, read_with};
pub use write::write;
