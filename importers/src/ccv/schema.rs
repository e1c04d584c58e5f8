//! The tables of a ccv model file.

/// A table: its name, the statement that ccv creates it with, and the columns that it reads.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) create: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// The layers: one row each, with NULL where a column makes no sense for the type.
pub(super) const LAYER_PARAMS: Table = Table {
    name: "layer_params",
    create: "CREATE TABLE layer_params (layer INTEGER PRIMARY KEY ASC, type INTEGER, \
             input_matrix_rows INTEGER, input_matrix_cols INTEGER, \
             input_matrix_channels INTEGER, input_matrix_partition INTEGER, \
             input_node_count INTEGER, output_rows INTEGER, output_cols INTEGER, \
             output_channels INTEGER, output_partition INTEGER, output_count INTEGER, \
             output_strides INTEGER, output_border INTEGER, output_size INTEGER, \
             output_kappa REAL, output_alpha REAL, output_beta REAL, output_relu INTEGER)",
    columns: &[
        "layer",
        "type",
        "input_matrix_rows",
        "input_matrix_cols",
        "input_matrix_channels",
        "input_matrix_partition",
        "input_node_count",
        "output_rows",
        "output_cols",
        "output_channels",
        "output_partition",
        "output_count",
        "output_strides",
        "output_border",
        "output_size",
        "output_kappa",
        "output_alpha",
        "output_beta",
        "output_relu",
    ],
};

/// The network: one row, 0, with the size of the whole image and the mean image.
pub(super) const CONVNET_PARAMS: Table = Table {
    name: "convnet_params",
    create: "CREATE TABLE convnet_params (convnet INTEGER PRIMARY KEY ASC, \
             input_height INTEGER, input_width INTEGER, mean_activity BLOB)",
    columns: &["convnet", "input_height", "input_width", "mean_activity"],
};

/// The weights: a row for each convolution and each full connect.
pub(super) const LAYER_DATA: Table = Table {
    name: "layer_data",
    create: "CREATE TABLE layer_data (layer INTEGER PRIMARY KEY ASC, weight BLOB, bias BLOB, \
             half_precision INTEGER)",
    columns: &["layer", "weight", "bias", "half_precision"],
};

/// In the order that ccv creates them in.
pub(super) const TABLES: [&Table; 3] = [&LAYER_PARAMS, &CONVNET_PARAMS, &LAYER_DATA];

/// Where a training is: one row, 0. `line_no` is ccv's place within its own training function.
pub(super) const FUNCTION_STATE: Table = Table {
    name: "function_state",
    create: "CREATE TABLE function_state (fsid INTEGER PRIMARY KEY ASC, t INTEGER, i INTEGER, \
             inum INTEGER, line_no INTEGER, idx BLOB, eigenvectors BLOB, eigenvalues BLOB)",
    columns: &["fsid", "t", "i", "inum", "line_no", "idx", "eigenvectors", "eigenvalues"],
};

/// The velocities of the weights: a row for each convolution and each full connect, f32.
pub(super) const MOMENTUM_DATA: Table = Table {
    name: "momentum_data",
    create: "CREATE TABLE momentum_data (layer INTEGER PRIMARY KEY ASC, weight BLOB, bias BLOB)",
    columns: &["layer", "weight", "bias"],
};

/// Ours: what ccv never stored, as texts. A checkpoint has them, and a model that is more than ccv's
/// tables say.
pub(super) const NOTES: Table = Table {
    name: "striate_notes",
    create: "CREATE TABLE striate_notes (key TEXT PRIMARY KEY, value TEXT)",
    columns: &["key", "value"],
};

/// Ours: the weights of some layers as training has them, f32, where `layer_data` has them scaled.
pub(super) const EXACT_WEIGHTS: Table = Table {
    name: "striate_weights",
    create: "CREATE TABLE striate_weights (layer INTEGER PRIMARY KEY ASC, weight BLOB, bias BLOB)",
    columns: &["layer", "weight", "bias"],
};

/// The tables that a checkpoint has beside those of a model, and [`NOTES`].
pub(super) const TRAINING_TABLES: [&Table; 3] = [&FUNCTION_STATE, &MOMENTUM_DATA, &EXACT_WEIGHTS];

/// Where ccv notes how it tuned its GPU kernels: of no meaning here, and never written.
const CONV_VARY_PARAMS: &str = "conv_vary_params";

/// Whether a table is one that only training needs.
pub(super) fn is_training_table(name: &str) -> bool {
    let mut names = TRAINING_TABLES.iter().map(|table| table.name).chain([CONV_VARY_PARAMS]);
    names.any(|known| known.eq_ignore_ascii_case(name))
}

/// The numbers of the `type` column.
pub(super) mod kind {
    pub(in crate::ccv) const CONVOLUTION: i64 = 1;
    pub(in crate::ccv) const FULL_CONNECT: i64 = 2;
    pub(in crate::ccv) const MAX_POOL: i64 = 3;
    pub(in crate::ccv) const AVERAGE_POOL: i64 = 4;
    pub(in crate::ccv) const LOCAL_RESPONSE_NORM: i64 = 5;
}
