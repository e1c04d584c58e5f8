//! The same elements in another shape, and axes in another order: both cost nothing where the order on the
//! device allows it.

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, axes, axis, counted, extents, invalid};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        _ => return None,
    })
}

/// The dimensions that a reshape asks for: 0 keeps one, -1 is what is left.
pub(crate) fn wanted_dims(dims: &[usize], wanted: &[i64], zero_is_zero: bool) -> Step<Vec<usize>> {
    let count = counted(dims)?;
    let mut out = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (place, &extent) in wanted.iter().enumerate() {
        out.push(match extent {
            -1 if open.is_none() => {
                open = Some(place);
                1
            }
            0 if !zero_is_zero => match dims.get(place) {
                Some(&extent) => extent,
                None => return invalid(format!("expected an extent {place} of {dims:?} to keep")),
            },
            _ => match usize::try_from(extent) {
                Ok(extent) => extent,
                Err(_) => return invalid(format!("expected extents, got {wanted:?}")),
            },
        });
    }
    let known = counted(&out)?;
    if let Some(open) = open {
        if known == 0 || !count.is_multiple_of(known) {
            return invalid(format!("expected a shape for {count} elements, got {wanted:?}"));
        }
        out[open] = count / known;
    } else if known != count {
        return invalid(format!("expected a shape for {dims:?}, got {wanted:?}"));
    }
    Ok(out)
}

/// The two dimensions that a flatten makes.
pub(crate) fn flat_dims(dims: &[usize], at: i64) -> Step<Vec<usize>> {
    let rank = dims.len();
    let at = match at {
        at if at == rank as i64 => rank,
        at => axis(at, rank)?,
    };
    Ok(vec![dims[..at].iter().product(), dims[at..].iter().product()])
}

/// The dimensions without those of 1 that are named, or without all of them.
pub(crate) fn squeezed(dims: &[usize], list: Option<&[i64]>) -> Step<Vec<usize>> {
    let gone = match list {
        Some(list) => axes(list, dims.len())?,
        None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
    };
    if let Some(axis) = gone.iter().find(|&&axis| dims[axis] != 1) {
        return invalid(format!("expected an extent of 1 at axis {axis}, got {dims:?}"));
    }
    Ok((0..dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| dims[axis]).collect())
}

/// The dimensions with one of 1 at each of these places.
pub(crate) fn unsqueezed(dims: &[usize], list: &[i64]) -> Step<Vec<usize>> {
    let rank = dims.len() + list.len();
    let new = axes(list, rank)?;
    let mut old = dims.iter();
    let extent = |axis: usize| match new.contains(&axis) {
        true => 1,
        false => old.next().copied().unwrap_or(1),
    };
    Ok((0..rank).map(extent).collect())
}

fn reshape(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let zero_is_zero = cx.attributes.flag("allowzero", false);
    let wanted = match cx.list("shape", 1)? {
        Some(wanted) => wanted,
        None => return invalid("expected a shape, got none"),
    };
    let dims = wanted_dims(cx.item(0)?.dims(), &wanted, zero_is_zero)?;
    reshaped(cx, dims)
}

fn flatten(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let dims = flat_dims(cx.item(0)?.dims(), cx.attributes.int("axis", 1))?;
    reshaped(cx, dims)
}

fn squeeze(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let list = cx.list("axes", 1)?;
    let dims = squeezed(cx.item(0)?.dims(), list.as_deref())?;
    reshaped(cx, dims)
}

fn unsqueeze(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let list = cx.list("axes", 1)?.unwrap_or_default();
    let dims = unsqueezed(cx.item(0)?.dims(), &list)?;
    reshaped(cx, dims)
}

fn reshaped(cx: &mut Cx<'_>, dims: Vec<usize>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let x = match regrouped(&x, &dims) {
        Some(axes) => Dev { axes, ..x },
        None => Dev { axes: Dev::plain(dims.len()), ..cx.plain(&x)? },
    };
    let physical: Vec<usize> = x.axes.iter().map(|&axis| dims[axis]).collect();
    let value = cx.reshape(x.value, &physical)?;
    Ok(vec![Item::Device(Dev { value, dims, ..x })])
}

/// The order of the new axes, where a reshape splits and joins only axes that lie together on the device.
///
/// Old and new axes fall into groups of equal products. A group may stay where it is if its axes lie next
/// to each other and in order; axes of extent 1 lie anywhere.
fn regrouped(x: &Dev, dims: &[usize]) -> Option<Vec<usize>> {
    if x.count() == 0 {
        return None;
    }
    let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    let (mut old, mut new) = (0, 0);
    while old < x.rank() || new < dims.len() {
        let (mut olds, mut news) = (Vec::new(), Vec::new());
        let (mut left, mut right) = (1usize, 1usize);
        loop {
            if left <= right && old < x.rank() && (left < right || olds.is_empty()) {
                left *= x.dims[old];
                olds.push(old);
                old += 1;
            } else if new < dims.len() && (right < left || news.is_empty()) {
                right *= dims[new];
                news.push(new);
                new += 1;
            } else {
                break;
            }
        }
        if left != right {
            return None;
        }
        groups.push((olds, news));
    }
    let whole: Vec<usize> = x.axes.iter().copied().filter(|&axis| x.dims[axis] != 1).collect();
    let mut placed: Vec<(usize, &[usize])> = Vec::with_capacity(groups.len());
    for (olds, news) in &groups {
        let olds: Vec<usize> = olds.iter().copied().filter(|&axis| x.dims[axis] != 1).collect();
        let Some(&first) = olds.first() else {
            placed.push((0, news));
            continue;
        };
        let at = whole.iter().position(|&axis| axis == first)?;
        if whole.get(at..at + olds.len()) != Some(&olds[..]) {
            return None;
        }
        placed.push((at + 1, news));
    }
    placed.sort_by_key(|(at, _)| *at);
    Some(placed.into_iter().flat_map(|(_, news)| news.iter().copied()).collect())
}

/// The order that a transposition asks for; reversed where it says none.
pub(crate) fn order(list: Option<&[i64]>, rank: usize) -> Step<Vec<usize>> {
    match list {
        None => Ok((0..rank).rev().collect()),
        Some(list) if list.len() == rank => axes(list, rank),
        Some(list) => invalid(format!("expected an order of {rank} axes, got {list:?}")),
    }
}

fn transpose(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let order = order(cx.attributes.ints("perm"), x.rank())?;
    let dims = order.iter().map(|&axis| x.dims[axis]).collect();
    let number = |axis: &usize| order.iter().position(|at| at == axis);
    let axes: Vec<usize> = x.axes.iter().filter_map(number).collect();
    Ok(vec![Item::Device(Dev { axes, dims, ..x })])
}

/// The dimensions that an operand asks for.
pub(super) fn dims_of(cx: &Cx<'_>, place: usize) -> Step<Vec<usize>> {
    match cx.item(place)? {
        Item::Host(array) => extents(&array.ints()),
        Item::Device(_) => Err(Stop::Needs(place)),
    }
}
