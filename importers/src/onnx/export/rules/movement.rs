//! Elements in other places.

use std::ops::Range;

use striate_tensor::ops::{self, Axes, Border};

use super::windows::{IMAGES_AND_CHANNELS, from_images, images, pads};
use super::{Cx, Step};
use crate::onnx::elem::Elem;
use crate::onnx::export::emit::{At, Item, int, refuse, text};

pub(super) fn reshape(cx: &mut Cx<'_>, dims: &[usize]) -> Step<Item> {
    let item = cx.input(0)?;
    if let Some(layout) = item.layout.reshaped(dims) {
        return Ok(Item { layout, ..item });
    }
    let item = cx.solid(item)?;
    match item.layout.reshaped(dims) {
        Some(layout) => Ok(Item { layout, ..item }),
        None => cx.emit.reshape_plain(&item, dims),
    }
}

pub(super) fn permute(cx: &mut Cx<'_>, order: &[usize]) -> Step<Item> {
    let item = cx.input(0)?;
    Ok(Item { layout: item.layout.permuted(order), ..item })
}

/// Where an axis of ours stands in the file.
pub(super) fn place(order: &[usize], axis: usize) -> i64 {
    order.iter().position(|&own| own == axis).unwrap_or(axis) as i64
}

pub(super) fn slice(cx: &mut Cx<'_>, ranges: &[Range<usize>]) -> Step<Item> {
    let dims = cx.input(0)?.layout.dims();
    let is_whole = |axis: usize| ranges[axis] == (0..dims[axis]);
    let cut: Vec<usize> = (0..dims.len()).filter(|&axis| !is_whole(axis)).collect();
    if cut.is_empty() {
        return cx.input(0);
    }
    let (name, x, order) = cx.ordered(0)?;
    if cut.iter().any(|&axis| x.layout.is_open(&x.layout.axes()[axis])) {
        return refuse("it takes some of the images");
    }
    let list = |of: &dyn Fn(usize) -> i64| cut.iter().map(|&axis| of(axis)).collect::<Vec<i64>>();
    let starts = cx.emit.ints(&list(&|axis| ranges[axis].start as i64));
    let ends = cx.emit.ints(&list(&|axis| ranges[axis].end as i64));
    let axes = cx.emit.ints(&list(&|axis| place(&order, axis)));
    let name = cx.emit.push("Slice", &[&name, &starts, &ends, &axes], vec![]);
    let kept: Vec<_> = (0..dims.len()).map(|axis| is_whole(axis).then_some(axis)).collect();
    Ok(cx.next(name, &x, &kept, &order))
}

pub(super) fn flip(cx: &mut Cx<'_>, axes: &Axes) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    let places: Vec<i64> = axes.iter().map(|axis| place(&order, axis)).collect();
    if places.is_empty() {
        return Ok(x);
    }
    let all = |number: i64| vec![number; places.len()];
    let starts = cx.emit.ints(&all(-1));
    let ends = cx.emit.ints(&all(i64::MIN + 1));
    let steps = cx.emit.ints(&all(-1));
    let axes = cx.emit.ints(&places);
    let name = cx.emit.push("Slice", &[&name, &starts, &ends, &axes, &steps], vec![]);
    Ok(Item { at: At::Value(name), ..x })
}

pub(super) fn concatenate(cx: &mut Cx<'_>, axis: usize) -> Step<Item> {
    let is_value = |item: &Item| matches!(item.at, At::Value(_));
    let main = cx.inputs.iter().find(|item| is_value(item)).or(cx.inputs.first()).cloned();
    let Some(main) = main else { return refuse("it has no operands") };
    let order = main.layout.order();
    let mut names = Vec::with_capacity(cx.inputs.len());
    for item in cx.inputs.clone() {
        if item.layout.is_open(&item.layout.axes()[axis]) {
            return refuse("it puts images after each other");
        }
        names.push(cx.emit.realize(&item, &item.layout.groups(&order))?);
    }
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let name = cx.emit.push("Concat", &names, vec![int("axis", place(&order, axis))]);
    let kept: Vec<_> = (0..order.len()).map(|own| (own != axis).then_some(own)).collect();
    Ok(cx.next(name, &main, &kept, &order))
}

pub(super) fn pad(cx: &mut Cx<'_>, op: &ops::Pad) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    let mut kept: Vec<Option<usize>> = (0..order.len()).map(Some).collect();
    for (axis, widths) in op.widths.iter().enumerate().filter(|(_, widths)| **widths != [0, 0]) {
        if x.layout.is_open(&x.layout.axes()[axis]) {
            return refuse(format!("it adds {widths:?} images"));
        }
        kept[axis] = None;
    }
    if kept.iter().all(Option::is_some) {
        return Ok(x);
    }
    let widths = (0..2).flat_map(|side| order.iter().map(move |&axis| (axis, side)));
    let widths: Vec<i64> = widths.map(|(axis, side)| op.widths[axis][side] as i64).collect();
    let widths = cx.emit.ints(&widths);
    let value = cx.emit.scalar(op.value, x.elem)?;
    let name = cx.emit.push("Pad", &[&name, &widths, &value], vec![]);
    Ok(cx.next(name, &x, &kept, &order))
}

pub(super) fn pad_image(cx: &mut Cx<'_>, op: &ops::PadImage) -> Step<Item> {
    let (name, x) = images(cx, 0)?;
    let [_, rows, cols, _] = x.layout.dims()[..] else { return refuse("expected images") };
    let inside = |axis: usize, extent: usize| op.widths[axis].iter().all(|&width| width < extent);
    let mode = match op.border {
        Border::Edge => Some("edge"),
        // Further than the opposite edge few programs go.
        Border::Reflect if inside(0, rows) && inside(1, cols) => Some("reflect"),
        _ => None,
    };
    let name = match mode {
        Some(mode) => {
            let around = pads(op.widths);
            let list = [0, 0, around[0], around[1], 0, 0, around[2], around[3]];
            let list = cx.emit.ints(&list);
            cx.emit.push("Pad", &[&name, &list], vec![text("mode", mode)])
        }
        None => {
            let axes = [rows, cols].into_iter().enumerate();
            let cells = axes.map(|(axis, extent)| op.taps(axis, extent).cells().to_vec());
            let cells: Vec<Vec<u32>> = cells.collect();
            picked(cx, name, &cells, [rows, cols])
        }
    };
    Ok(from_images(cx, name, &x, &IMAGES_AND_CHANNELS))
}

/// Images, channels first, whose rows and cols are those of these numbers.
pub(super) fn picked(
    cx: &mut Cx<'_>,
    mut name: String,
    cells: &[Vec<u32>],
    extents: [usize; 2],
) -> String {
    for (axis, cells) in cells.iter().enumerate() {
        if (0..extents[axis] as u32).eq(cells.iter().copied()) {
            continue;
        }
        let cells: Vec<i64> = cells.iter().map(|&cell| i64::from(cell)).collect();
        let cells = cx.emit.ints(&cells);
        name = cx.emit.push("Gather", &[&name, &cells], vec![int("axis", axis as i64 + 2)]);
    }
    name
}

pub(super) fn gather(cx: &mut Cx<'_>, axis: usize) -> Step<Item> {
    let (name, x, order) = cx.ordered(0)?;
    if x.layout.is_open(&x.layout.axes()[axis]) {
        return refuse("it picks images");
    }
    let (indices, from) = cx.value(1)?;
    if from.layout.axes().iter().any(|group| from.layout.is_open(group)) {
        return refuse("its indices are as many as the images");
    }
    let indices = cx.emit.cast(indices, from.elem, Elem::I64);
    let name = cx.emit.push("Gather", &[&name, &indices], vec![int("axis", place(&order, axis))]);
    let kept: Vec<_> = (0..order.len()).map(|own| (own != axis).then_some(own)).collect();
    Ok(cx.next(name, &x, &kept, &order))
}
