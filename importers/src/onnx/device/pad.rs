//! Borders.

use striate_tensor::ops::{self, Border};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, axes, invalid, unsupported};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Pad" => pad,
        _ => return None,
    })
}

/// What a pad adds before and after each axis; negative numbers take away.
pub(crate) fn widths(pads: &[i64], list: Option<&[i64]>, rank: usize) -> Step<Vec<[i64; 2]>> {
    let all: Vec<i64> = (0..rank as i64).collect();
    let places = axes(list.unwrap_or(&all), rank)?;
    if pads.len() != 2 * places.len() {
        return invalid(format!("expected {} widths, got {pads:?}", 2 * places.len()));
    }
    let mut widths = vec![[0; 2]; rank];
    for (i, &axis) in places.iter().enumerate() {
        widths[axis] = [pads[i], pads[i + places.len()]];
    }
    Ok(widths)
}

fn pad(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let name = if cx.attributes.has("paddings") { "paddings" } else { "pads" };
    let Some(pads) = cx.list(name, 1)? else { return invalid("expected widths, got none") };
    let list = match cx.optional(3) {
        Some(_) => Some(cx.ints(3)?),
        None => None,
    };
    let widths = widths(&pads, list.as_deref(), x.rank())?;
    let value = match cx.optional(2) {
        Some(_) => cx.number(2)? as f32,
        None => cx.attributes.float("value", 0.0),
    };
    let mut x = x;
    // First what is taken away.
    for (axis, [before, after]) in widths.iter().enumerate() {
        let (before, after) = ((-before).max(0) as usize, (-after).max(0) as usize);
        let Some(end) = x.dims[axis].checked_sub(after).filter(|&end| end >= before) else {
            return invalid(format!("expected to take less from {:?}, got {pads:?}", x.dims));
        };
        x = super::movement::part_of(cx, &x, axis, before..end)?;
    }
    let wide = |[before, after]: [i64; 2]| [before.max(0) as usize, after.max(0) as usize];
    let widths: Vec<[usize; 2]> = widths.into_iter().map(wide).collect();
    if widths.iter().all(|width| *width == [0, 0]) {
        return Ok(vec![Item::Device(x)]);
    }
    let border = match cx.attributes.text("mode", "constant") {
        "constant" => {
            let mut dims = x.dims.clone();
            for (extent, [before, after]) in dims.iter_mut().zip(&widths) {
                *extent = extent.saturating_add(*before).saturating_add(*after);
            }
            let widths = x.axes.iter().map(|&axis| widths[axis]).collect();
            let value = cx.push(ops::Pad { widths, value }, &[x.value])?;
            return Ok(vec![cx.like(value, &Dev { dims, ..x })]);
        }
        "reflect" => Border::Reflect,
        "edge" => Border::Edge,
        "wrap" => Border::Wrap,
        other => return unsupported(format!("mode `{other}`")),
    };
    // Of images the rows and columns.
    if x.rank() != 4 || widths[..2].iter().any(|width| *width != [0, 0]) {
        return Err(Stop::Host);
    }
    let x = cx.wide(&x)?;
    let x = cx.in_order(&x, &Dev::channels_last(4))?;
    let widths = [widths[2], widths[3]];
    let value = cx.push(ops::PadImage { widths, border }, &[x.value])?;
    let mut dims = x.dims.clone();
    for (axis, [before, after]) in widths.iter().enumerate() {
        dims[axis + 2] += before + after;
    }
    Ok(vec![cx.like(value, &Dev { dims, ..x })])
}
