//! Layers as rows of `layer_params`, both ways.

use rusqlite::types::Value;
use striate_nn::{
    ChainLayer, ConvSpec, FullConnectSpec, Init, LayerShape, LayerSpec, LrnSpec, NetworkSpec, Node,
    conv2d, full_connect, pool,
};

use super::database::{Database, Fields};
use super::schema::{CONVNET_PARAMS, LAYER_PARAMS, kind};
use crate::limits::MAX_LAYERS;
use crate::{Error, Result};

/// A row of `layer_params`: the layer, and what ccv stores beside it about its input.
struct StoredLayer {
    spec: LayerSpec,
    input: [usize; 3],
    node_count: usize,
    /// Channels of a convolution's kernel, before they are divided by the partition.
    kernel_channels: Option<usize>,
}

/// The network that the file describes, checked as ccv checks it.
pub(super) fn read_spec(database: &Database, name: &str) -> Result<NetworkSpec> {
    let file = &database.file;
    let table = LAYER_PARAMS.name;
    let columns = LAYER_PARAMS.columns.join(", ");
    let sql = format!("SELECT {columns} FROM {table} ORDER BY layer LIMIT {}", MAX_LAYERS + 1);
    let mut next = 0;
    let stored = database.query(table, &sql, [], |row| {
        let id = match row.get_ref("layer") {
            Ok(rusqlite::types::ValueRef::Integer(id)) => id,
            _ => -1,
        };
        let fields = Fields { file, table, key: "layer", id, row };
        if id != next {
            let expected = format!("layer {next} (layers are numbered from 0 without a gap)");
            return Err(Error::content(file, table, expected, format!("layer {id}")));
        }
        next += 1;
        read_layer(&fields)
    })?;
    if stored.len() > MAX_LAYERS {
        let got = "more".to_string();
        return Err(Error::content(file, table, format!("at most {MAX_LAYERS} layers"), got));
    }
    let Some(first) = stored.first() else {
        return Err(Error::content(file, table, "a row for each layer", "no row"));
    };
    let spec = NetworkSpec {
        name: name.into(),
        image: read_image_size(database)?,
        nodes: stored.iter().map(|l| Node::from(l.spec.clone())).collect(),
        ..NetworkSpec::new(first.input)
    };
    check_inputs(file, &spec, &stored)?;
    spec.verify(spec.classes()).map_err(|e| Error::network(file, e))?;
    Ok(spec)
}

fn read_layer(fields: &Fields<'_>) -> Result<StoredLayer> {
    let mut kernel_channels = None;
    let groups = fields.optional("input_matrix_partition")?.unwrap_or(1);
    let kind = fields.count("type")? as i64;
    let spec = match kind {
        kind::CONVOLUTION => {
            kernel_channels = Some(fields.positive("output_channels")?);
            let kernel = [fields.positive("output_rows")?, fields.positive("output_cols")?];
            let conv = conv2d(fields.positive("output_count")?, kernel)
                .stride(fields.positive("output_strides")?)
                .padding(fields.count("output_border")?)
                .relu();
            let out_groups = fields.optional("output_partition")?.unwrap_or(1);
            LayerSpec::Conv(ConvSpec { groups, out_groups, ..conv })
        }
        kind::FULL_CONNECT => LayerSpec::FullConnect(FullConnectSpec {
            relu: fields.flag("output_relu")?,
            ..full_connect(fields.positive("output_count")?)
        }),
        kind::MAX_POOL | kind::AVERAGE_POOL => {
            let pool = pool(fields.positive("output_size")?)
                .stride(fields.positive("output_strides")?)
                .padding(fields.count("output_border")?)
                .groups(groups);
            match kind {
                kind::MAX_POOL => LayerSpec::MaxPool(pool),
                _ => LayerSpec::AvgPool(pool),
            }
        }
        kind::LOCAL_RESPONSE_NORM => LayerSpec::Lrn(LrnSpec {
            size: fields.positive("output_size")?,
            kappa: fields.float("output_kappa")?,
            alpha: fields.float("output_alpha")?,
            beta: fields.float("output_beta")?,
            groups,
        }),
        other => {
            let expected = "1 (convolution), 2 (full connect), 3 (max pool), 4 (average pool) \
                            or 5 (local response normalization)";
            return Err(fields.fail("type", expected, other.to_string()));
        }
    };
    let input = [
        fields.positive("input_matrix_rows")?,
        fields.positive("input_matrix_cols")?,
        fields.positive("input_matrix_channels")?,
    ];
    let node_count = fields.optional("input_node_count")?.unwrap_or(0);
    Ok(StoredLayer { spec, input, node_count, kernel_channels })
}

fn read_image_size(database: &Database) -> Result<[usize; 2]> {
    let file = &database.file;
    let table = CONVNET_PARAMS.name;
    let sql = format!("SELECT input_height, input_width FROM {table} WHERE convnet = 0");
    let sizes = database.query(table, &sql, [], |row| {
        let fields = Fields { file, table, key: "convnet", id: 0, row };
        Ok([fields.positive("input_height")?, fields.positive("input_width")?])
    })?;
    let missing = || Error::content(file, table, "a row for convnet 0", "none");
    database.at_most_one(table, "convnet 0", sizes)?.ok_or_else(missing)
}

/// What the tables hold of a specification: no name, no dropout rates, no ranges of fresh weights.
pub(super) fn stored_part(spec: &NetworkSpec) -> NetworkSpec {
    let mut spec = NetworkSpec { name: String::new(), ..spec.clone() };
    // What is no chain of ccv's layers is no table's specification either: it stays what it is.
    let Ok(chain) = spec.chain() else { return spec };
    let stored = |layer: &ChainLayer| {
        let mut layer = layer.layer.clone();
        match &mut layer {
            LayerSpec::Conv(conv) => conv.init = Init::default(),
            LayerSpec::FullConnect(full) => {
                full.dropout = 0.0;
                full.init = Init::default();
            }
            LayerSpec::MaxPool(pool) => pool.first_maximum = false,
            _ => {}
        }
        Node::from(layer)
    };
    spec.nodes = chain.iter().map(stored).collect();
    spec
}

/// The number that each node's layer has in the tables, where ReLU and dropout nodes have joined the
/// layer before them.
pub(super) fn table_layers(spec: &NetworkSpec) -> Vec<Option<usize>> {
    let mut numbers = vec![None; spec.nodes.len()];
    for (number, layer) in spec.chain().unwrap_or_default().iter().enumerate() {
        numbers[layer.node] = Some(number);
    }
    numbers
}

/// The input that each layer must have: rows, columns and channels of what comes before it, and
/// for full connects after the first the count and two ones, as ccv writes it.
fn inputs(input: [usize; 3], chain: &[ChainLayer], shapes: &[LayerShape]) -> Vec<[usize; 3]> {
    let mut inputs = Vec::with_capacity(chain.len());
    let mut input = input;
    for layer in chain {
        inputs.push(input);
        input = match layer.layer {
            LayerSpec::FullConnect(full) => [full.count, 1, 1],
            _ => shapes[layer.node].output,
        };
    }
    inputs
}

/// Compares the input sizes that the file stores for every layer with those that follow from
/// the layers before.
fn check_inputs(file: &str, spec: &NetworkSpec, stored: &[StoredLayer]) -> Result<()> {
    let failed = |e| Error::network(file, e);
    let (shapes, chain) = (spec.shapes().map_err(failed)?, spec.chain().map_err(failed)?);
    let inputs = inputs(spec.input, &chain, &shapes);
    for (index, (layer, input)) in stored.iter().zip(inputs).enumerate() {
        let place = |column: &str| format!("{}, layer {index}, column {column}", LAYER_PARAMS.name);
        let columns = ["input_matrix_rows", "input_matrix_cols", "input_matrix_channels"];
        for (column, (got, wanted)) in columns.iter().zip(layer.input.iter().zip(input)) {
            if *got != wanted {
                let expected = format!("{wanted}, which is what the layer before gives");
                return Err(Error::content(file, place(column), expected, got.to_string()));
            }
        }
        if let Some(channels) = layer.kernel_channels
            && channels != input[2]
        {
            let expected = format!("{}, the channels of the input", input[2]);
            let got = channels.to_string();
            return Err(Error::content(file, place("output_channels"), expected, got));
        }
        // Three numbers of 31 bits need more than the usual width.
        let nodes = input.iter().map(|n| *n as u128).product::<u128>();
        if matches!(layer.spec, LayerSpec::FullConnect(_)) && layer.node_count as u128 != nodes {
            let expected = format!("{nodes} (rows x columns x channels of the input)");
            let got = layer.node_count.to_string();
            return Err(Error::content(file, place("input_node_count"), expected, got));
        }
    }
    Ok(())
}

/// The rows of `layer_params`, their values in the order of the columns.
pub(super) fn rows(spec: &NetworkSpec, shapes: &[LayerShape]) -> Vec<Vec<Value>> {
    let chain = spec.chain().unwrap_or_default();
    let inputs = inputs(spec.input, &chain, shapes);
    let layers = chain.iter().zip(inputs).enumerate();
    layers.map(|(index, (layer, input))| row(index, &layer.layer, input)).collect()
}

fn row(index: usize, layer: &LayerSpec, input: [usize; 3]) -> Vec<Value> {
    let integer = |n: usize| Value::Integer(n as i64);
    // ccv's floats become doubles without a change.
    let real = |v: f32| Value::Real(f64::from(v));
    let (kind, groups, nodes) = match layer {
        LayerSpec::Conv(conv) => (kind::CONVOLUTION, conv.groups, 0),
        LayerSpec::FullConnect(_) => (kind::FULL_CONNECT, 1, input.iter().product()),
        LayerSpec::MaxPool(pool) => (kind::MAX_POOL, pool.groups, 0),
        LayerSpec::AvgPool(pool) => (kind::AVERAGE_POOL, pool.groups, 0),
        LayerSpec::Lrn(lrn) => (kind::LOCAL_RESPONSE_NORM, lrn.groups, 0),
        // A chain has no others.
        _ => (0, 1, 0),
    };
    let fixed = [
        ("layer", integer(index)),
        ("type", Value::Integer(kind)),
        ("input_matrix_rows", integer(input[0])),
        ("input_matrix_cols", integer(input[1])),
        ("input_matrix_channels", integer(input[2])),
        ("input_matrix_partition", integer(groups)),
        ("input_node_count", integer(nodes)),
    ];
    let own = match layer {
        LayerSpec::Conv(conv) => vec![
            ("output_rows", integer(conv.kernel[0])),
            ("output_cols", integer(conv.kernel[1])),
            ("output_channels", integer(input[2])),
            ("output_partition", integer(conv.out_groups)),
            ("output_count", integer(conv.count)),
            ("output_strides", integer(conv.stride[0])),
            ("output_border", integer(conv.padding[0][0])),
        ],
        LayerSpec::FullConnect(full) => vec![
            ("output_count", integer(full.count)),
            ("output_relu", Value::Integer(full.relu.into())),
        ],
        LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => vec![
            ("output_strides", integer(pool.stride[0])),
            ("output_border", integer(pool.padding[0][0])),
            ("output_size", integer(pool.size[0])),
        ],
        LayerSpec::Lrn(lrn) => vec![
            ("output_size", integer(lrn.size)),
            ("output_kappa", real(lrn.kappa)),
            ("output_alpha", real(lrn.alpha)),
            ("output_beta", real(lrn.beta)),
        ],
        _ => Vec::new(),
    };
    let value = |column: &&str| {
        let named = fixed.iter().chain(&own).find(|(name, _)| name == column);
        named.map_or(Value::Null, |(_, value)| value.clone())
    };
    LAYER_PARAMS.columns.iter().map(value).collect()
}
