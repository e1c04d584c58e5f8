//! Where results go: every command that writes asks here, before it writes anything.
//!
//! * [`Files`] names what a command reads and writes, and refuses an output that is one of the
//!   inputs or a second output: by the file itself, not by how its name is spelled.
//! * [`Destination`] is where one output goes: standard output for `-`, straight into a pipe or a
//!   device, and into a regular file whole or not at all.

mod destination;
mod file_target;
mod files;

use std::path::Path;

pub(crate) use destination::{Destination, is_stdout, stream_error};
pub(crate) use file_target::target_of;
pub(crate) use files::{Files, is_same_file};

/// Whether the name of a file ends in this extension, whatever the case.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
}
