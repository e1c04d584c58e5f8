//! Writing checkpoints.

use std::path::Path;

use rusqlite::types::Value;
use striate_nn::{LayerParameters, LayerShape, Network};
use striate_tensor::{DType, Shape, Tensor};

use super::TrainingState;
use super::read::check_order;
use crate::ccv::database::MAX_COUNT;
use crate::ccv::layers::table_layers;
use crate::ccv::notes::{MAX_NOTES, RESERVED, place, write_notes};
use crate::ccv::schema::{
    EXACT_WEIGHTS, FUNCTION_STATE, MOMENTUM_DATA, NOTES, TRAINING_TABLES, Table,
};
use crate::ccv::write::{MAX_ROW_BYTES, Writer, unrepresentable, write_model};
use crate::options::WriteOptions;
use crate::{Error, Result};

/// Writes a network and the state of its training, into a temporary file that then takes the
/// target's place: a crash, a kill or a full disk leaves the checkpoint that was there.
///
/// The weights are written in the precision they are held in, the state in f32. What a killed
/// writer leaves beside the target, [`remove_stale_temporaries`](crate::remove_stale_temporaries)
/// takes away.
///
/// # Errors
/// As [`write`](crate::ccv::write), which [`check_representable`](crate::ccv::check_representable)
/// tells beforehand; [`Error::Content`] where the state does not fit the network: an entry missing
/// or of another shape, a sample beyond their number, a note of a name that is taken. Then nothing
/// has changed.
pub fn write_checkpoint(
    path: impl AsRef<Path>,
    network: &Network,
    state: &TrainingState,
) -> Result<()> {
    write_checkpoint_with(path, network, state, &WriteOptions::default())
}

/// As [`write_checkpoint`], with another precision of the network's weights. The state stays f32,
/// and f32 weights that are to be halved are kept in it as well, so that training goes on as before.
/// `strip` leaves the state out, as [`write`](crate::ccv::write) does.
///
/// # Errors
/// As [`write_checkpoint`].
pub fn write_checkpoint_with(
    path: impl AsRef<Path>,
    network: &Network,
    state: &TrainingState,
    options: &WriteOptions,
) -> Result<()> {
    if options.strip {
        return crate::ccv::write(path, network, options);
    }
    let path = path.as_ref();
    check_state(&path.display().to_string(), network, state)?;
    if options.dtype != Some(DType::F16) {
        return write_model(path, network, Some(state), options);
    }
    let mut state = state.clone();
    for (exact, held) in state.exact.iter_mut().zip(network.layer_parameters()) {
        let wide = held.as_ref().filter(|held| {
            [&held.weight, &held.bias].iter().any(|tensor| tensor.dtype() != DType::F16)
        });
        if exact.is_none() {
            *exact = wide.cloned();
        }
    }
    write_model(path, network, Some(&state), options)
}

/// Refuses a state that is not of this network, before anything is written.
fn check_state(file: &str, network: &Network, state: &TrainingState) -> Result<()> {
    for (table, all) in [(&MOMENTUM_DATA, &state.velocities), (&EXACT_WEIGHTS, &state.exact)] {
        let shapes = network.shapes();
        if all.len() != shapes.len() {
            let expected = format!("an entry for each of {} layers", shapes.len());
            return Err(Error::content(file, table.name, expected, all.len().to_string()));
        }
        for (shape, parameters) in shapes.iter().zip(all) {
            check_layer(file, table, shape, parameters.as_ref())?;
        }
    }
    let numbers = [("t", state.epoch), ("i", state.iteration), ("line_no", state.line)];
    for (column, n) in numbers {
        if n > MAX_COUNT as u64 {
            let place = format!("{}, fsid 0, column {column}", FUNCTION_STATE.name);
            return Err(Error::content(file, place, format!("at most {MAX_COUNT}"), n.to_string()));
        }
    }
    let samples = state.order.len();
    if samples > MAX_ROW_BYTES / size_of::<u32>() {
        let reason = format!("an order of {samples} samples is more than sqlite has in a row");
        return Err(unrepresentable(file, reason));
    }
    check_order(file, &state.order)?;
    if let Some(key) = state.notes.keys().find(|key| RESERVED.contains(&key.as_str())) {
        let expected = format!("another name than {}", RESERVED.join(", "));
        return Err(Error::content(file, place(key), expected, "this one"));
    }
    if state.notes.len() + RESERVED.len() > MAX_NOTES {
        let got = state.notes.len().to_string();
        let expected = format!("at most {} notes", MAX_NOTES - RESERVED.len());
        return Err(Error::content(file, NOTES.name, expected, got));
    }
    Ok(())
}

fn check_layer(
    file: &str,
    table: &Table,
    shape: &LayerShape,
    parameters: Option<&LayerParameters>,
) -> Result<()> {
    let layer = shape.layer;
    let refuse = |column: &str, expected: String, got: String| {
        let place = format!("{}, layer {layer}{column}", table.name);
        Err(Error::content(file, place, expected, got))
    };
    let (weight, bias) = (shape.weight(), shape.bias());
    let (weight, bias) = match (&weight, &bias, parameters) {
        (Some(weight), Some(bias), Some(given)) => {
            ((", column weight", weight, &given.weight), (", column bias", bias, &given.bias))
        }
        // The exact weights are of some layers, the velocities of all.
        (Some(weight), ..) if table.name == MOMENTUM_DATA.name => {
            return refuse("", format!("velocities of {weight}"), "none".into());
        }
        (None, _, Some(given)) => {
            let expected = "nothing for a layer without weights";
            return refuse("", expected.into(), given.weight.ty().to_string());
        }
        _ => return Ok(()),
    };
    let fits = |(column, shape, tensor): (&str, &Shape, &Tensor)| {
        if tensor.shape() == shape && tensor.dtype().is_float() {
            return Ok(());
        }
        refuse(column, format!("floats of {shape}"), tensor.ty().to_string())
    };
    fits(weight)?;
    fits(bias)
}

/// Fills the tables of a training.
pub(in crate::ccv) fn write_state(
    writer: &Writer<'_>,
    network: &Network,
    state: &TrainingState,
) -> Result<()> {
    for table in TRAINING_TABLES {
        writer.create(table)?;
    }
    let integer = |n: u64| Value::Integer(n as i64);
    let floats = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let (vectors, values) = match &state.colour {
        Some(colour) => (
            Value::Blob(floats(colour.vectors.as_flattened())),
            Value::Blob(floats(&colour.values)),
        ),
        None => (Value::Null, Value::Null),
    };
    let order = state.order.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    writer.insert(
        &FUNCTION_STATE,
        vec![
            integer(0),
            integer(state.epoch),
            integer(state.iteration),
            integer(state.order.len() as u64),
            integer(state.line),
            Value::Blob(order),
            vectors,
            values,
        ],
    )?;
    for (table, all) in [(&MOMENTUM_DATA, &state.velocities), (&EXACT_WEIGHTS, &state.exact)] {
        for (layer, parameters) in table_layers(network.spec()).into_iter().zip(all) {
            if let (Some(layer), Some(parameters)) = (layer, parameters) {
                writer.write_parameters(table, layer, parameters, DType::F32, Vec::new())?;
            }
        }
    }
    write_notes(writer, network, &state.notes)
}
