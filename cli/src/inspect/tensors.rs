//! The tensors of a file that is no network known here.

use std::path::Path;

use serde::Serialize;
use striate::importers::{Error, StoredTensor};

use crate::args::Format;
use crate::error::{Result, chain};
use crate::inputs::shown;
use crate::output::{self, Output, dims, grouped};

/// A file's tensors, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    /// Why it is no network.
    network: String,
    tensors: &'a [StoredTensor],
}

/// Prints names, shapes and types; `error` says why there is no network.
pub(super) fn run(
    file: &Path,
    tensors: &[StoredTensor],
    error: &Error,
    output: &mut Output,
) -> Result<()> {
    if output.format() == Format::Json {
        let (file, network) = (shown(file).to_string(), chain(error));
        return output.json(&Report { file, network, tensors });
    }
    output.note(&format!("{}; its tensors are", chain(error)));
    let mut table = output::table(&["name", "type", "shape", "elements"], &[3]);
    let mut total = 0u64;
    for tensor in tensors {
        let count = tensor.shape.iter().fold(1u64, |n, &extent| n.saturating_mul(extent as u64));
        total = total.saturating_add(count);
        let count = grouped(count);
        table.add_row([&*tensor.name, &*tensor.dtype, &dims(&tensor.shape), &*count]);
    }
    table.add_row(["total", "", "", &grouped(total)]);
    output.table(&table)
}
