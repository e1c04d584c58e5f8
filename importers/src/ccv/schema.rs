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

/// Tables that ccv's training leaves in a file, and that classifying does not need.
pub(super) const TRAINING_TABLES: [&str; 3] =
    ["momentum_data", "function_state", "conv_vary_params"];

/// The numbers of the `type` column.
pub(super) mod kind {
    pub(in crate::ccv) const CONVOLUTION: i64 = 1;
    pub(in crate::ccv) const FULL_CONNECT: i64 = 2;
    pub(in crate::ccv) const MAX_POOL: i64 = 3;
    pub(in crate::ccv) const AVERAGE_POOL: i64 = 4;
    pub(in crate::ccv) const LOCAL_RESPONSE_NORM: i64 = 5;
}
