//! Entries by index on the host.

use super::shape::moved;
use super::walk::{coordinates, each, place, strides};
use super::{Host, Rule, made};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, axis, invalid, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Gather" => gather,
        "GatherElements" => gather_elements,
        "GatherND" => gather_nd,
        "ScatterElements" | "Scatter" => scatter_elements,
        "ScatterND" => scatter_nd,
        "OneHot" => one_hot,
        "NonZero" => non_zero,
        "Compress" => compress,
        _ => return None,
    })
}

/// An index from the beginning.
fn counted(index: i64, extent: usize) -> Step<usize> {
    let at = if index < 0 { index.saturating_add(extent as i64) } else { index };
    match usize::try_from(at) {
        Ok(at) if at < extent => Ok(at),
        _ => invalid(format!("expected an index into {extent} entries, got {index}")),
    }
}

fn all_counted(indices: &[i64], extent: usize) -> Step<Vec<usize>> {
    indices.iter().map(|&index| counted(index, extent)).collect()
}

fn gather(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, indices) = (host.input(0)?, host.input(1)?);
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    let listed = all_counted(&indices.ints(), x.dims[axis])?;
    let rank = indices.dims.len();
    let dims = [&x.dims[..axis], &indices.dims[..], &x.dims[axis + 1..]].concat();
    let steps = strides(&indices.dims);
    let y = moved(x, dims, |at, source| {
        let index = place(&at[axis..axis + rank], &steps);
        source.clear();
        source.extend_from_slice(&at[..axis]);
        source.push(listed[index]);
        source.extend_from_slice(&at[axis + rank..]);
    })?;
    Ok(vec![y])
}

fn gather_elements(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, indices) = (host.input(0)?, host.input(1)?);
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    check_inside(&x.dims, &indices.dims, axis)?;
    let listed = all_counted(&indices.ints(), x.dims[axis])?;
    let steps = strides(&indices.dims);
    let y = moved(x, indices.dims.clone(), |at, source| source[axis] = listed[place(at, &steps)])?;
    Ok(vec![y])
}

/// Refuses indices of a shape that reaches beyond `x` at an axis other than theirs.
fn check_inside(x: &[usize], indices: &[usize], axis: usize) -> Step<()> {
    let fits =
        x.len() == indices.len() && (0..x.len()).all(|at| at == axis || indices[at] <= x[at]);
    match fits {
        true => Ok(()),
        false => invalid(format!("expected indices that fit {x:?}, got {indices:?}")),
    }
}

/// The rows of indices that are coordinates into the first axes, and how many axes.
fn tuples(indices: &Array, dims: &[usize]) -> Step<(Vec<Vec<usize>>, usize)> {
    let Some(&width) = indices.dims.last().filter(|&&width| width <= dims.len() && width > 0)
    else {
        return invalid(format!("expected coordinates into {dims:?}, got {:?}", indices.dims));
    };
    let rows = indices.ints();
    let rows = rows
        .chunks_exact(width)
        .map(|row| row.iter().zip(dims).map(|(&index, &extent)| counted(index, extent)).collect());
    Ok((rows.collect::<Step<_>>()?, width))
}

fn gather_nd(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, indices) = (host.input(0)?, host.input(1)?);
    let batch = host.attributes.int("batch_dims", 0).max(0) as usize;
    if batch >= indices.dims.len() || batch >= x.dims.len() {
        return invalid(format!("expected fewer batch axes than {:?}", indices.dims));
    }
    let (rows, width) = tuples(indices, &x.dims[batch..])?;
    let leading = &indices.dims[..indices.dims.len() - 1];
    let dims = [leading, &x.dims[batch + width..]].concat();
    let steps = strides(leading);
    let y = moved(x, dims, |at, source| {
        let row = place(&at[..leading.len()], &steps);
        source.clear();
        source.extend_from_slice(&at[..batch]);
        source.extend_from_slice(&rows[row]);
        source.extend_from_slice(&at[leading.len()..]);
    })?;
    Ok(vec![y])
}

/// Elements put into a copy, each by its place, with a reduction of what was there.
fn put(x: &Array, places: &[usize], updates: &Array, reduction: &str) -> Step<Array> {
    if places.len() != updates.count() {
        let got = updates.count();
        return invalid(format!("expected {} updates, got {got}", places.len()));
    }
    if !matches!(reduction, "none" | "add" | "mul" | "max" | "min") {
        return unsupported(format!("reduction `{reduction}`"));
    }
    if x.elem.is_float() {
        let (mut values, updates) = (x.floats().to_vec(), updates.floats());
        for (&at, &update) in places.iter().zip(updates.iter()) {
            let Some(value) = values.get_mut(at) else { continue };
            *value = match reduction {
                "add" => *value + update,
                "mul" => *value * update,
                "max" => value.max(update),
                "min" => value.min(update),
                _ => update,
            };
        }
        return Ok(Array::of_floats(x.elem, x.dims.clone(), values));
    }
    let (mut values, updates) = (x.ints().to_vec(), updates.ints());
    for (&at, &update) in places.iter().zip(updates.iter()) {
        let Some(value) = values.get_mut(at) else { continue };
        *value = match reduction {
            "add" => value.wrapping_add(update),
            "mul" => value.wrapping_mul(update),
            "max" => (*value).max(update),
            "min" => (*value).min(update),
            _ => update,
        };
    }
    Ok(Array::of_ints(x.elem, x.dims.clone(), values))
}

fn scatter_elements(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, indices) = (host.input(0)?, host.input(1)?);
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    check_inside(&x.dims, &indices.dims, axis)?;
    let listed = all_counted(&indices.ints(), x.dims[axis])?;
    let (own, steps) = (strides(&x.dims), strides(&indices.dims));
    let places = each(&indices.dims, |at| {
        let mut to = at.to_vec();
        to[axis] = listed[place(at, &steps)];
        place(&to, &own)
    });
    let reduction = host.attributes.text("reduction", "none");
    Ok(vec![put(x, &places, host.input(2)?, reduction)?])
}

fn scatter_nd(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, indices) = (host.input(0)?, host.input(1)?);
    let (rows, width) = tuples(indices, &x.dims)?;
    let own = strides(&x.dims);
    let inner: usize = x.dims[width..].iter().product();
    let mut places = Vec::with_capacity(rows.len().saturating_mul(inner));
    for row in &rows {
        let first = place(row, &own);
        places.extend(first..first + inner);
    }
    let reduction = host.attributes.text("reduction", "none");
    Ok(vec![put(x, &places, host.input(2)?, reduction)?])
}

fn one_hot(host: &Host<'_>) -> Step<Vec<Array>> {
    let (indices, values) = (host.input(0)?, host.input(2)?);
    let depth = match host.input(1)?.ints()[..] {
        [depth] if depth >= 0 => depth as usize,
        ref got => return invalid(format!("expected a depth, got {got:?}")),
    };
    let axis = axis(host.attributes.int("axis", -1), indices.dims.len() + 1)?;
    let mut dims = indices.dims.clone();
    dims.insert(axis, depth);
    made(&dims)?;
    if values.count() != 2 {
        return invalid(format!("expected an off and an on value, got {}", values.count()));
    }
    let listed = indices.ints();
    let steps = strides(&indices.dims);
    let places = each(&dims, |at| {
        let mut row = at.to_vec();
        let column = row.remove(axis) as i64;
        let index = listed.get(place(&row, &steps)).copied().unwrap_or(0);
        let index = if index < 0 { index.saturating_add(depth as i64) } else { index };
        Some(usize::from(index == column))
    });
    Ok(vec![values.pick(dims, &places)])
}

fn non_zero(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let found: Vec<usize> = match x.elem.is_float() {
        true => (0..).zip(x.floats().iter()).filter(|(_, x)| **x != 0.0).map(|(i, _)| i).collect(),
        false => (0..).zip(x.ints().iter()).filter(|(_, x)| **x != 0).map(|(i, _)| i).collect(),
    };
    let at: Vec<Vec<usize>> = found.iter().map(|&i| coordinates(i, &x.dims)).collect();
    let rank = x.dims.len();
    let values = (0..rank).flat_map(|axis| at.iter().map(move |at| at[axis] as i64)).collect();
    Ok(vec![Array::of_ints(Elem::I64, vec![rank, found.len()], values)])
}

fn compress(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, condition) = (host.input(0)?, host.ints(1)?);
    let kept = |extent: usize| -> Vec<usize> {
        (0..extent).filter(|&i| condition.get(i).is_some_and(|&yes| yes != 0)).collect()
    };
    if !host.attributes.has("axis") {
        let kept = kept(x.count());
        let places: Vec<Option<usize>> = kept.iter().copied().map(Some).collect();
        return Ok(vec![x.pick(vec![kept.len()], &places)]);
    }
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    let kept = kept(x.dims[axis]);
    let mut dims = x.dims.clone();
    dims[axis] = kept.len();
    Ok(vec![moved(x, dims, |at, source| source[axis] = kept[at[axis]])?])
}
