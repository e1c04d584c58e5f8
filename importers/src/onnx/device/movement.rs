//! Elements in other places: parts, joins, entries by index.

use std::ops::Range;

use striate_graph::Value;
use striate_tensor::ops::{self, Axes, BinaryKind, BlockOrder, Rearrangement};

use super::Rule;
use super::reshape::dims_of;
use crate::onnx::attributes::Attributes;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, axes, axis, broadcast, extents, invalid};
use crate::onnx::elem::Elem;
use crate::onnx::host::made;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Concat" => concat,
        "Slice" => slice,
        "Split" => split,
        "Gather" => gather,
        "GatherElements" => gather_elements,
        "ScatterElements" | "Scatter" => scatter_elements,
        "Expand" => expand,
        "Tile" => tile,
        "DepthToSpace" => |cx| rearrange(cx, true),
        "SpaceToDepth" => |cx| rearrange(cx, false),
        "Trilu" => trilu,
        _ => return None,
    })
}

fn concat(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let first = cx.dev(0)?;
    let axis = axis(cx.attributes.int("axis", 1), first.rank())?;
    let mut order = first.axes.clone();
    if let Some(Item::Device(dev)) =
        cx.inputs.iter().flatten().find(|i| matches!(i, Item::Device(_)))
    {
        order = dev.axes.clone();
    }
    let mut values: Vec<Value> = Vec::with_capacity(cx.inputs.len());
    let mut extent = 0;
    for place in 0..cx.inputs.len() {
        let x = cx.dev(place)?;
        let fits = x.rank() == first.rank()
            && (0..x.rank()).all(|at| at == axis || x.dims[at] == first.dims[at]);
        if !fits {
            let got = format!("{:?} and {:?}", first.dims, x.dims);
            return invalid(format!("expected shapes that differ at axis {axis} alone, got {got}"));
        }
        extent += x.dims[axis];
        let x = cx.in_order(&x, &order)?;
        values.push(match x.elem {
            Elem::Bool => x.value,
            _ => cx.wide(&x)?.value,
        });
    }
    let mut dims = first.dims.clone();
    dims[axis] = extent;
    let y = Dev { value: values[0], axes: order, dims, elem: first.elem };
    let value = match &values[..] {
        [only] => *only,
        _ => cx.push(ops::Concatenate { axis: y.place(axis) }, &values)?,
    };
    Ok(vec![cx.like(value, &y)])
}

/// A part of each axis, in steps that may go backwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) axis: usize,
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) count: usize,
}

/// The parts that a slice takes.
pub(crate) fn slice_steps(
    dims: &[usize],
    [starts, ends]: [&[i64]; 2],
    list: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Step<Vec<Steps>> {
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let places = axes(list.unwrap_or(&all), dims.len())?;
    let ones = vec![1; starts.len()];
    let steps = steps.unwrap_or(&ones);
    if [ends.len(), places.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return invalid("expected as many ends, axes and steps as starts");
    }
    let mut parts = Vec::with_capacity(places.len());
    for (i, &axis) in places.iter().enumerate() {
        let (extent, step) = (dims[axis] as i64, steps[i]);
        if step == 0 {
            return invalid("expected steps that are not 0");
        }
        let from_end = |x: i64| if x < 0 { x.saturating_add(extent) } else { x };
        let (start, end) = (from_end(starts[i]), from_end(ends[i]));
        let (start, end, span) = match step > 0 {
            true => {
                let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
                (start, end, end - start)
            }
            false => {
                let start = start.clamp(-1, extent - 1);
                let end = end.clamp(-1, extent - 1);
                (start, end, start - end)
            }
        };
        let _ = end;
        let size = step.unsigned_abs();
        let count = u64::try_from(span).map_or(0, |span| span.div_ceil(size));
        parts.push(Steps { axis, start, step, count: count as usize });
    }
    Ok(parts)
}

fn slice(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let (Some(starts), Some(ends)) = (cx.list("starts", 1)?, cx.list("ends", 2)?) else {
        return invalid("expected starts and ends, got none");
    };
    let (list, steps) = (cx.list("axes", 3)?, cx.list("steps", 4)?);
    let parts = slice_steps(&x.dims, [&starts, &ends], list.as_deref(), steps.as_deref())?;
    let mut y = x;
    for part in parts {
        y = stepped(cx, &y, &part)?;
    }
    Ok(vec![Item::Device(y)])
}

/// A part of one axis.
fn stepped(cx: &mut Cx<'_>, x: &Dev, part: &Steps) -> Step<Dev> {
    let Steps { axis, start, step, count } = *part;
    let mut dims = x.dims.clone();
    dims[axis] = count;
    if step != 1 && step != -1 && count > 1 {
        let index = |i: usize| (start + i as i64 * step) as u32;
        let indices = cx.words(&[count], (0..count).map(index).collect())?;
        let value = cx.push(ops::Gather { axis: x.place(axis) }, &[x.value, indices])?;
        return Ok(Dev { value, dims, ..x.clone() });
    }
    let first = match (step < 0, count) {
        (_, 0) => 0,
        (true, _) => (start as usize + 1).saturating_sub(count),
        (false, _) => start as usize,
    };
    let mut y = part_of(cx, x, axis, first..first + count)?;
    if step == -1 && count > 1 {
        let axes = Axes::new(&[y.place(axis)])?;
        y.value = cx.push(ops::Flip { axes }, &[y.value])?;
    }
    Ok(y)
}

/// A range of one axis.
pub(super) fn part_of(cx: &mut Cx<'_>, x: &Dev, axis: usize, range: Range<usize>) -> Step<Dev> {
    if range == (0..x.dims[axis]) {
        return Ok(x.clone());
    }
    let mut ranges: Vec<Range<usize>> = x.physical().iter().map(|&extent| 0..extent).collect();
    let mut dims = x.dims.clone();
    dims[axis] = range.len();
    ranges[x.place(axis)] = range;
    let value = cx.push(ops::Slice { ranges }, &[x.value])?;
    Ok(Dev { value, dims, ..x.clone() })
}

/// How many parts a split has: as many as the node has outputs.
pub(crate) fn split_parts(attributes: Attributes<'_>) -> Step<usize> {
    let outputs = attributes.node.output.len();
    match attributes.int("num_outputs", outputs as i64) {
        parts if parts == outputs as i64 => Ok(outputs),
        parts => invalid(format!("expected {outputs} parts, as many as outputs, got {parts}")),
    }
}

/// The extents of the parts of a split.
pub(crate) fn split_sizes(extent: usize, given: Option<&[i64]>, parts: usize) -> Step<Vec<usize>> {
    if let Some(given) = given {
        let sizes = extents(given)?;
        return match sizes.iter().sum::<usize>() == extent {
            true => Ok(sizes),
            false => invalid(format!("expected parts that make up {extent}, got {sizes:?}")),
        };
    }
    if parts == 0 {
        return invalid("expected outputs, got none");
    }
    // The last part is smaller, where they do not come out even.
    let size = extent.div_ceil(parts);
    let part = |i: usize| extent.saturating_sub(i * size).min(size);
    Ok((0..parts).map(part).collect())
}

fn split(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let axis = axis(cx.attributes.int("axis", 0), x.rank())?;
    let given = cx.list("split", 1)?;
    let parts = split_parts(cx.attributes)?;
    let sizes = split_sizes(x.dims[axis], given.as_deref(), parts)?;
    let mut outputs = Vec::with_capacity(sizes.len());
    let mut first = 0;
    for size in sizes {
        outputs.push(Item::Device(part_of(cx, &x, axis, first..first + size)?));
        first += size;
    }
    Ok(outputs)
}

/// Indices that are known, counted from the beginning.
fn counted(indices: &[i64], extent: usize) -> Step<Vec<u32>> {
    let counted = indices.iter().map(|&i| if i < 0 { i.saturating_add(extent as i64) } else { i });
    let counted: Option<Vec<u32>> =
        counted.map(|i| u32::try_from(i).ok().filter(|&i| (i as usize) < extent)).collect();
    match counted {
        Some(counted) => Ok(counted),
        None => invalid(format!("expected indices into an axis of {extent}")),
    }
}

fn gather(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let axis = axis(cx.attributes.int("axis", 0), x.rank())?;
    let indices = cx.array(1)?.clone();
    let listed = counted(&indices.ints(), x.dims[axis])?;
    if let [index] = listed[..] {
        // One entry: a range, in any order of axes.
        let at = index as usize;
        let part = part_of(cx, &x, axis, at..at + 1)?;
        let part = cx.plain(&part)?;
        let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
        let value = cx.reshape(part.value, &dims)?;
        return Ok(vec![cx.made(value, dims, x.elem)]);
    }
    let places = cx.words(&[listed.len()], listed)?;
    if indices.dims.len() == 1 {
        let value = cx.push(ops::Gather { axis: x.place(axis) }, &[x.value, places])?;
        let mut dims = x.dims.clone();
        dims[axis] = indices.dims[0];
        return Ok(vec![cx.like(value, &Dev { dims, ..x })]);
    }
    let x = cx.plain(&x)?;
    let value = cx.push(ops::Gather { axis }, &[x.value, places])?;
    let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    let value = cx.reshape(value, &dims)?;
    Ok(vec![cx.made(value, dims, x.elem)])
}

/// The first entries of each axis but one, as many as another shape has.
fn cut_to(cx: &mut Cx<'_>, x: &Dev, dims: &[usize], but: usize) -> Step<Dev> {
    let mut x = cx.plain(x)?;
    for axis in (0..x.rank()).filter(|&axis| axis != but) {
        if dims.len() != x.rank() || dims[axis] > x.dims[axis] {
            return invalid(format!("expected indices that fit {:?}, got {dims:?}", x.dims));
        }
        x = part_of(cx, &x, axis, 0..dims[axis])?;
    }
    Ok(x)
}

fn gather_elements(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.dev(0)?;
    let axis = axis(cx.attributes.int("axis", 0), x.rank())?;
    let indices = cx.array(1)?.clone();
    let listed = counted(&indices.ints(), x.dims[axis])?;
    let x = cut_to(cx, &x, &indices.dims, axis)?;
    let places = cx.words(&indices.dims, listed)?;
    let value = cx.push(ops::TakeAlong { axis }, &[x.value, places])?;
    Ok(vec![cx.made(value, indices.dims, x.elem)])
}

fn scatter_elements(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let x = cx.plain(&x)?;
    let axis = axis(cx.attributes.int("axis", 0), x.rank())?;
    let add = match cx.attributes.text("reduction", "none") {
        "none" => false,
        "add" => true,
        _ => return Err(Stop::Host),
    };
    let indices = cx.array(1)?.clone();
    let fits = (0..x.rank()).all(|at| at == axis || indices.dims.get(at) == Some(&x.dims[at]));
    if !fits {
        // Into the first entries of other axes alone.
        return Err(Stop::Host);
    }
    let listed = counted(&indices.ints(), x.dims[axis])?;
    let places = cx.words(&indices.dims, listed)?;
    let source = cx.float(2)?;
    let source = cx.wide(&source)?;
    let source = cx.plain(&source)?;
    let value = cx.push(ops::Scatter { axis, add }, &[x.value, places, source.value])?;
    Ok(vec![cx.like(value, &x)])
}

fn expand(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let wanted = dims_of(cx, 1)?;
    let x = cx.dev(0)?;
    let dims = broadcast(&[&x.dims, &wanted])?;
    if dims == x.dims {
        return Ok(vec![Item::Device(x)]);
    }
    let count = made(&dims)?;
    let value = match x.elem {
        Elem::Bool => cx.words(&dims, vec![1; count])?,
        _ => cx.constant(&dims, vec![1.0; count])?,
    };
    let elem = x.elem;
    let x = if elem == Elem::Bool { x } else { cx.wide(&x)? };
    let ones = Dev { value, axes: Dev::plain(dims.len()), dims, elem };
    let y = cx.broadcast(ops::Binary { kind: BinaryKind::Mul }, &[x, ones], elem)?;
    Ok(vec![Item::Device(y)])
}

fn tile(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let repeats = dims_of(cx, 1)?;
    let mut y = cx.dev(0)?;
    if repeats.len() != y.rank() {
        return invalid(format!("expected {} numbers of repeats, got {repeats:?}", y.rank()));
    }
    for (axis, &count) in repeats.iter().enumerate() {
        if count == 0 {
            y = part_of(cx, &y, axis, 0..0)?;
        } else if count > 1 {
            let mut dims = y.dims.clone();
            dims[axis] = dims[axis].saturating_mul(count);
            made(&dims)?;
            let copies = vec![y.value; count];
            y.value = cx.push(ops::Concatenate { axis: y.place(axis) }, &copies)?;
            y.dims[axis] *= count;
        }
    }
    Ok(vec![Item::Device(y)])
}

/// Images, channels last.
fn images(cx: &mut Cx<'_>) -> Step<Dev> {
    let x = cx.dev(0)?;
    match x.rank() {
        4 => cx.in_order(&x, &Dev::channels_last(4)),
        _ => invalid(format!("expected images [n, channels, rows, cols], got {:?}", x.dims)),
    }
}

/// Channels to blocks of pixels, or back.
fn rearrange(cx: &mut Cx<'_>, to_space: bool) -> Step<Vec<Item>> {
    let block = cx.attributes.int("blocksize", 0).max(0) as usize;
    let order = match cx.attributes.text("mode", "DCR") {
        "CRD" => BlockOrder::Crd,
        _ => BlockOrder::Dcr,
    };
    let x = images(cx)?;
    let shape = cx.graph.ty(x.value).shape;
    let how = match to_space {
        true => Rearrangement::depth_to_space(&shape, block, order)?,
        false => Rearrangement::space_to_depth(&shape, block, order)?,
    };
    let value = cx.reshape(x.value, how.split.dims())?;
    let value = cx.push(ops::Permute { order: how.order }, &[value])?;
    let value = cx.reshape(value, how.output.dims())?;
    let [n, rows, cols, channels] = how.output.nhwc("depth_to_space", "x")?;
    Ok(vec![cx.like(value, &Dev { dims: vec![n, channels, rows, cols], ..x })])
}

/// What is left of each matrix on one side of a diagonal.
pub(crate) fn is_kept(row: usize, col: usize, diagonal: i64, upper: bool) -> bool {
    let distance = (col as i64).saturating_sub(row as i64);
    if upper { distance >= diagonal } else { distance <= diagonal }
}

fn trilu(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let upper = cx.attributes.flag("upper", true);
    let diagonal = match cx.optional(1) {
        Some(_) => cx.number(1)? as i64,
        None => 0,
    };
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let x = cx.plain(&x)?;
    let &[.., rows, cols] = &x.dims[..] else {
        return invalid(format!("expected matrices, got {:?}", x.dims));
    };
    let kept = (0..rows * cols).map(|i| u32::from(is_kept(i / cols, i % cols, diagonal, upper)));
    let mask = cx.words(&[rows, cols], kept.collect())?;
    let zero = cx.scalar(0.0)?;
    let value = cx.push(ops::Select, &[mask, x.value, zero])?;
    Ok(vec![cx.like(value, &x)])
}
