//! Resizing.

use striate_tensor::ops::{self, Coordinates, Interpolation, Nearest};

use super::Rule;
use super::taps::{Axis, Kernel, Taps};
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, axes, counted, extents, invalid, unsupported};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Resize" | "Upsample" => resize,
        _ => return None,
    })
}

/// Entries of an axis that is resized.
const MAX_EXTENT: usize = 1 << 20;

/// What a node asks for: for each axis its new extent and the scale.
fn wanted(cx: &Cx<'_>, dims: &[usize]) -> Step<Vec<(usize, f64)>> {
    let rank = dims.len();
    let places = match cx.attributes.ints("axes") {
        Some(list) => axes(list, rank)?,
        None => Dev::plain(rank),
    };
    let old = cx.opset() < 11;
    let (at_scales, at_sizes) = if old { (1, usize::MAX) } else { (2, 3) };
    let mut all: Vec<(usize, f64)> = dims.iter().map(|&extent| (extent, 1.0)).collect();
    let given = |place: usize| cx.optional(place).is_some_and(|item| item.dims() != [0]);
    if given(at_sizes) {
        let sizes = extents(&cx.ints(at_sizes)?)?;
        if sizes.len() != places.len() {
            return invalid(format!("expected {} sizes, got {sizes:?}", places.len()));
        }
        let scale = |i: usize| sizes[i] as f64 / dims[places[i]] as f64;
        let scales = (0..sizes.len()).map(scale);
        let common = match cx.attributes.text("keep_aspect_ratio_policy", "stretch") {
            "stretch" => None,
            "not_larger" => Some(scales.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(scales.fold(0.0, f64::max)),
            other => return unsupported(format!("keep_aspect_ratio_policy `{other}`")),
        };
        for (i, &axis) in places.iter().enumerate() {
            all[axis] = match common {
                None => (sizes[i], scale(i)),
                Some(common) => ((common * dims[axis] as f64 + 0.5).floor() as usize, common),
            };
        }
        return Ok(all);
    }
    let scales = match cx.attributes.floats("scales") {
        Some(scales) => scales.iter().map(|&scale| f64::from(scale)).collect(),
        None if given(at_scales) => cx.array(at_scales)?.floats().to_vec(),
        None => return invalid("expected scales or sizes, got none"),
    };
    if scales.len() != places.len() || !scales.iter().all(|scale| *scale > 0.0) {
        return invalid(format!("expected {} positive scales, got {scales:?}", places.len()));
    }
    for (&axis, &scale) in places.iter().zip(&scales) {
        // A scale of 0.6 is a little less in single precision.
        let exact = dims[axis] as f64 * scale;
        let near = exact.round();
        let extent = if (exact - near).abs() < 1e-4 * near.max(1.0) { near } else { exact.floor() };
        all[axis] = (extent as usize, scale);
    }
    Ok(all)
}

fn resize(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let all = wanted(cx, &x.dims)?;
    let outputs: Vec<usize> = all.iter().map(|(extent, _)| *extent).collect();
    counted(&outputs)?;
    if let Some(most) = all
        .iter()
        .zip(&x.dims)
        .find(|((output, _), input)| output != *input && (*output).max(**input) > MAX_EXTENT)
    {
        return invalid(format!("expected extents of at most {MAX_EXTENT}, got {:?}", most.0.0));
    }
    let attributes = cx.attributes;
    let old = cx.opset() < 11;
    let coordinates = match old {
        true => "asymmetric",
        false => attributes.text("coordinate_transformation_mode", "half_pixel"),
    };
    let rounding =
        if old { "floor" } else { attributes.text("nearest_mode", "round_prefer_floor") };
    let kernel = match attributes.text("mode", "nearest") {
        "nearest" => Kernel::Nearest(rounding),
        "linear" | "bilinear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(f64::from(attributes.float("cubic_coeff_a", -0.75))),
        other => return unsupported(format!("mode `{other}`")),
    };
    let antialias = attributes.flag("antialias", false);
    let exclude_outside = attributes.flag("exclude_outside", false);
    let spatial = x.rank() == 4 && (0..2).all(|axis| all[axis] == (x.dims[axis], 1.0));
    if spatial && !antialias && x.count() > 0 {
        let form = (kernel, coordinates, exclude_outside);
        if let Some(op) = as_op(form, [all[2], all[3]], [x.dims[2], x.dims[3]]) {
            let x = cx.in_order(&x, &Dev::channels_last(4))?;
            let value = cx.push(op, &[x.value])?;
            let dims = vec![x.dims[0], x.dims[1], all[2].0, all[3].0];
            return Ok(vec![cx.like(value, &Dev { dims, ..x })]);
        }
    }
    let region = match cx.optional(1) {
        Some(_) if coordinates == "tf_crop_and_resize" => cx.array(1)?.floats().to_vec(),
        _ => Vec::new(),
    };
    let places = match attributes.ints("axes") {
        Some(list) => axes(list, x.rank())?,
        None => Dev::plain(x.rank()),
    };
    let outside = attributes.float("extrapolation_value", 0.0);
    let mut y = x;
    for (axis, &(output, scale)) in all.iter().enumerate() {
        let at = places.iter().position(|&place| place == axis);
        let bound = |i: usize, default: f64| region.get(i).copied().unwrap_or(default);
        let region = match at {
            Some(at) => [bound(at, 0.0), bound(at + places.len(), 1.0)],
            None => [0.0, 1.0],
        };
        let input = y.dims[axis];
        if (output, scale, region) == (input, 1.0, [0.0, 1.0]) {
            continue;
        }
        let along = Axis { input, output, scale, coordinates, region };
        let Some(taps) = along.taps(kernel, antialias, exclude_outside) else {
            return unsupported(format!("coordinates `{coordinates}` with `{rounding}`"));
        };
        y = resampled(cx, &y, axis, &taps, outside, matches!(kernel, Kernel::Nearest(_)))?;
    }
    Ok(vec![Item::Device(y)])
}

/// The tensor op that does it, where it has this form.
fn as_op(
    (kernel, coordinates, exclude_outside): (Kernel<'_>, &str, bool),
    wanted: [(usize, f64); 2],
    input: [usize; 2],
) -> Option<ops::Resize> {
    let exact = |i: usize| wanted[i].0 as f64 == wanted[i].1 * input[i] as f64;
    let coordinates = match coordinates {
        "half_pixel" => Coordinates::HalfPixel,
        "align_corners" if exact(0) && exact(1) => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        _ => return None,
    };
    let interpolation = match kernel {
        Kernel::Nearest(mode) => Interpolation::Nearest(match mode {
            "round_prefer_floor" => Nearest::PreferFloor,
            "round_prefer_ceil" => Nearest::PreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            _ => return None,
        }),
        Kernel::Linear => Interpolation::Linear,
        Kernel::Cubic(coefficient) => Interpolation::Cubic { coefficient: coefficient as f32 },
    };
    let output = wanted.map(|(extent, _)| extent);
    if output.contains(&0) {
        return None;
    }
    let scale = (!exact(0) || !exact(1)).then_some(wanted.map(|(_, scale)| scale as f32));
    Some(ops::Resize { output, interpolation, coordinates, exclude_outside, scale })
}

/// An axis made of the entries of another: by index where each is one, else as a product with weights.
fn resampled(
    cx: &mut Cx<'_>,
    x: &Dev,
    axis: usize,
    taps: &[Taps],
    outside: f32,
    single: bool,
) -> Step<Dev> {
    let mut dims = x.dims.clone();
    let (input, output) = (dims[axis], taps.len());
    dims[axis] = output;
    let place = x.place(axis);
    if single && taps.iter().all(Option::is_some) {
        let index = |taps: &Taps| taps.as_ref().and_then(|t| t.first()).map_or(0, |t| t.0 as u32);
        let indices = cx.words(&[output], taps.iter().map(index).collect())?;
        let value = cx.push(ops::Gather { axis: place }, &[x.value, indices])?;
        return Ok(Dev { value, dims, ..x.clone() });
    }
    // The axis last, so that it is that of a product.
    let order: Vec<usize> = x.axes.iter().copied().filter(|&at| at != axis).chain([axis]).collect();
    let moved = cx.in_order(x, &order)?;
    let rows = moved.count().checked_div(input).unwrap_or(0);
    crate::onnx::host::made(&[output, input])?;
    let mut weights = vec![0.0f32; output * input];
    let mut bias = vec![0.0f32; output];
    for (i, taps) in taps.iter().enumerate() {
        match taps {
            Some(taps) => {
                taps.iter().for_each(|&(at, weight)| weights[i * input + at] += weight as f32);
            }
            None => bias[i] = outside,
        }
    }
    let value = cx.reshape(moved.value, &[rows, input])?;
    let weights = cx.constant(&[output, input], weights)?;
    let bias = cx.constant(&[output], bias)?;
    let product = ops::MatMul { transpose_b: true, bias: true, ..ops::MatMul::default() };
    let value = cx.push(product, &[value, weights, bias])?;
    let y = Dev { value, axes: order, dims, elem: x.elem };
    let physical = y.physical();
    let value = cx.reshape(y.value, &physical)?;
    cx.in_order(&Dev { value, ..y }, &x.axes)
}
