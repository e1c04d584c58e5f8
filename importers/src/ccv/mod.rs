//! ccv's model files: sqlite databases with the layers, the weights and the mean image.
//!
//! What is read and written is what ccv itself reads and writes: the same tables, the same NULLs,
//! raw little-endian blobs in the same order, and half precision by cutting toward zero. What ccv's
//! tables have no place for (class names and other metadata, dropout rates, the ranges that fresh
//! weights are drawn from) is kept in a table of ours beside them, which ccv passes over. A network
//! without any of these has no such table.
//!
//! Where ccv passes over a blob of the wrong length, or reads a text as a 0, reading stops here
//! with an error that names the table, the row and the column.
//!
//! Reading writes nothing beside the file, not even where sqlite would, and sees the changes that another
//! program has left beside it (`-wal`, `-journal`).
//!
//! [`write_checkpoint`] and [`read_checkpoint`] add the state of a training, in the tables that ccv's
//! own training keeps in the file and in two of ours, which hold the name, the dropout rates, the
//! ranges and the metadata as well.

mod checkpoint;
mod database;
pub(crate) mod half;
mod large;
mod layers;
mod notes;
mod opened;
mod pages;
mod read;
mod schema;
mod stored;
mod write;

pub use checkpoint::{
    Checkpoint, ColourStatistics, TrainingState, read_checkpoint, read_training_notes,
    write_checkpoint, write_checkpoint_with,
};
pub(crate) use checkpoint::{read_checkpoint_source, read_training_notes_source};
pub(crate) use read::{inspect, read_source};
pub use read::{read, read_with};
pub use write::{check_representable, write};
