//! Shapes, and elements that move by their places.

use super::walk::{broadcast_places, coordinates, each, place, strides};
use super::{Host, Rule, made};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, axis, broadcast, extents, invalid, unsupported};
use crate::onnx::device::{
    flat_dims, is_kept, order, pad_widths, slice_steps, split_parts, split_sizes, squeezed,
    unsqueezed, wanted_dims,
};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Shape" => shape,
        "Size" => |host| {
            let count = host.input(0)?.count() as i64;
            Ok(vec![Array::of_ints(Elem::I64, Vec::new(), vec![count])])
        },
        "Identity" => |host| Ok(vec![host.input(0)?.clone()]),
        "Reshape" => reshape,
        "Flatten" => |host| {
            let x = host.input(0)?;
            let dims = flat_dims(&x.dims, host.attributes.int("axis", 1))?;
            Ok(vec![x.with_dims(dims)])
        },
        "Squeeze" => |host| {
            let x = host.input(0)?;
            let dims = squeezed(&x.dims, host.list("axes", 1).as_deref())?;
            Ok(vec![x.with_dims(dims)])
        },
        "Unsqueeze" => |host| {
            let x = host.input(0)?;
            let dims = unsqueezed(&x.dims, &host.list("axes", 1).unwrap_or_default())?;
            Ok(vec![x.with_dims(dims)])
        },
        "Transpose" => transpose,
        "Concat" => concat,
        "Slice" => slice,
        "Split" => split,
        "Expand" => expand,
        "Tile" => tile,
        "Pad" => pad,
        "Trilu" => trilu,
        "Range" => range,
        "ConstantOfShape" => constant_of_shape,
        "EyeLike" => eye_like,
        _ => return None,
    })
}

fn shape(host: &Host<'_>) -> Step<Vec<Array>> {
    let dims: Vec<i64> = host.input(0)?.dims.iter().map(|&extent| extent as i64).collect();
    Ok(vec![shape_of(host, &dims)])
}

/// The part of a shape that a node asks for.
fn shape_of(host: &Host<'_>, dims: &[i64]) -> Array {
    let rank = dims.len() as i64;
    let from_end = |x: i64| if x < 0 { x.saturating_add(rank) } else { x }.clamp(0, rank);
    let start = from_end(host.attributes.int("start", 0));
    let end = from_end(host.attributes.int("end", rank));
    Array::list(dims.get(start as usize..end.max(start) as usize).unwrap_or_default().to_vec())
}

fn reshape(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let Some(wanted) = host.list("shape", 1) else { return invalid("expected a shape, got none") };
    let dims = wanted_dims(&x.dims, &wanted, host.attributes.flag("allowzero", false))?;
    Ok(vec![x.with_dims(dims)])
}

fn transpose(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let order = order(host.attributes.ints("perm"), x.dims.len())?;
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims[axis]).collect();
    let own = strides(&x.dims);
    let steps: Vec<usize> = order.iter().map(|&axis| own[axis]).collect();
    let places = each(&dims, |at| Some(place(at, &steps)));
    Ok(vec![x.pick(dims, &places)])
}

fn concat(host: &Host<'_>) -> Step<Vec<Array>> {
    let first = host.input(0)?;
    let axis = axis(host.attributes.int("axis", 1), first.dims.len())?;
    let outer: usize = first.dims[..axis].iter().product();
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    let mut parts = Vec::with_capacity(host.inputs.len());
    for place in 0..host.inputs.len() {
        let x = host.input(place)?;
        let fits = x.dims.len() == dims.len()
            && (0..dims.len()).all(|at| at == axis || x.dims[at] == first.dims[at]);
        if !fits {
            let got = format!("{:?} and {:?}", first.dims, x.dims);
            return invalid(format!("expected shapes that differ at axis {axis} alone, got {got}"));
        }
        dims[axis] += x.dims[axis];
        parts.push((x, x.dims[axis..].iter().product::<usize>()));
    }
    made(&dims)?;
    Ok(vec![match first.elem.is_float() {
        true => {
            let all: Vec<_> = parts.iter().map(|(x, row)| (x.floats(), *row)).collect();
            let rows =
                (0..outer).flat_map(|i| all.iter().map(move |(x, row)| &x[i * row..][..*row]));
            Array::of_floats(first.elem, dims, rows.flatten().copied().collect())
        }
        false => {
            let all: Vec<_> = parts.iter().map(|(x, row)| (x.ints(), *row)).collect();
            let rows =
                (0..outer).flat_map(|i| all.iter().map(move |(x, row)| &x[i * row..][..*row]));
            Array::of_ints(first.elem, dims, rows.flatten().copied().collect())
        }
    }])
}

/// The elements at coordinates that a function makes of those of the result.
pub(super) fn moved(
    x: &Array,
    dims: Vec<usize>,
    mut from: impl FnMut(&[usize], &mut Vec<usize>),
) -> Step<Array> {
    made(&dims)?;
    let own = strides(&x.dims);
    let mut source = Vec::new();
    let places = each(&dims, |at| {
        source.clear();
        source.extend_from_slice(at);
        from(at, &mut source);
        Some(place(&source, &own))
    });
    Ok(x.pick(dims, &places))
}

fn slice(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let (Some(starts), Some(ends)) = (host.list("starts", 1), host.list("ends", 2)) else {
        return invalid("expected starts and ends, got none");
    };
    let (list, steps) = (host.list("axes", 3), host.list("steps", 4));
    let parts = slice_steps(&x.dims, [&starts, &ends], list.as_deref(), steps.as_deref())?;
    let mut dims = x.dims.clone();
    parts.iter().for_each(|part| dims[part.axis] = part.count);
    let y = moved(x, dims, |at, source| {
        for part in &parts {
            source[part.axis] = (part.start + at[part.axis] as i64 * part.step) as usize;
        }
    })?;
    Ok(vec![y])
}

fn split(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let axis = axis(host.attributes.int("axis", 0), x.dims.len())?;
    let parts = split_parts(host.attributes)?;
    let sizes = split_sizes(x.dims[axis], host.list("split", 1).as_deref(), parts)?;
    let mut all = Vec::with_capacity(sizes.len());
    let mut first = 0;
    for size in sizes {
        let mut dims = x.dims.clone();
        dims[axis] = size;
        all.push(moved(x, dims, |at, source| source[axis] = first + at[axis])?);
        first += size;
    }
    Ok(all)
}

fn expand(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let dims = broadcast(&[&x.dims, &extents(&host.ints(1)?)?])?;
    made(&dims)?;
    let places: Vec<Option<usize>> =
        broadcast_places(&x.dims, &dims).into_iter().map(Some).collect();
    Ok(vec![x.pick(dims, &places)])
}

fn tile(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let repeats = extents(&host.ints(1)?)?;
    if repeats.len() != x.dims.len() {
        return invalid(format!("expected {} numbers of repeats, got {repeats:?}", x.dims.len()));
    }
    let dims: Vec<usize> = x.dims.iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect();
    let own = x.dims.clone();
    let wrap = |_: &[usize], source: &mut Vec<usize>| {
        source.iter_mut().zip(&own).for_each(|(at, extent)| *at %= (*extent).max(1));
    };
    Ok(vec![moved(x, dims, wrap)?])
}

fn pad(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let Some(pads) = host.list("pads", 1) else { return invalid("expected widths, got none") };
    let list = host.optional(3).map(|array| array.ints().to_vec());
    let widths = pad_widths(&pads, list.as_deref(), x.dims.len())?;
    let mode = host.attributes.text("mode", "constant");
    if !matches!(mode, "constant" | "reflect" | "edge" | "wrap") {
        return unsupported(format!("mode `{mode}`"));
    }
    let wide = x.dims.iter().zip(&widths);
    let dims: Vec<i64> = wide
        .map(|(&extent, [a, b])| (extent as i64).saturating_add(*a).saturating_add(*b))
        .collect();
    let dims = extents(&dims)?;
    let count = made(&dims)?;
    if mode != "constant" && x.count() == 0 && count > 0 {
        return invalid("expected elements to make a border of, got none");
    }
    let own = strides(&x.dims);
    let along = |axis: usize, at: usize| {
        let extent = x.dims[axis] as i64;
        let at = at as i64 - widths[axis][0];
        if (0..extent).contains(&at) {
            return Some(at as usize);
        }
        let at = match mode {
            "constant" => return None,
            "edge" => at.clamp(0, extent - 1),
            "wrap" => at.rem_euclid(extent),
            _ => {
                let period = (2 * (extent - 1)).max(1);
                let at = at.rem_euclid(period);
                at.min(period - at).min(extent - 1)
            }
        };
        Some(at as usize)
    };
    let places = each(&dims, |at| {
        let mut whole = 0;
        for (axis, &at) in at.iter().enumerate() {
            whole += along(axis, at)? * own[axis];
        }
        Some(whole)
    });
    let value = match host.optional(2) {
        Some(value) => value.floats().first().copied().unwrap_or(0.0),
        None => f64::from(host.attributes.float("value", 0.0)),
    };
    let padded = x.pick(dims.clone(), &places);
    if value == 0.0 {
        return Ok(vec![padded]);
    }
    // The border is of another value.
    let values = padded.floats();
    let filled = values.iter().zip(&places).map(|(&x, place)| place.map_or(value, |_| x));
    Ok(vec![match x.elem.is_float() {
        true => Array::of_floats(x.elem, dims, filled.collect()),
        false => {
            let (ints, value) = (padded.ints(), value as i64);
            let filled = ints.iter().zip(&places).map(|(&x, place)| place.map_or(value, |_| x));
            Array::of_ints(x.elem, dims, filled.collect())
        }
    }])
}

fn trilu(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let upper = host.attributes.flag("upper", true);
    let diagonal = match host.optional(1) {
        Some(_) => host.number(1)?,
        None => 0,
    };
    let rank = x.dims.len();
    if rank < 2 {
        return invalid(format!("expected matrices, got {:?}", x.dims));
    }
    let own = strides(&x.dims);
    let places = each(&x.dims, |at| {
        is_kept(at[rank - 2], at[rank - 1], diagonal, upper).then(|| place(at, &own))
    });
    Ok(vec![x.pick(x.dims.clone(), &places)])
}

fn range(host: &Host<'_>) -> Step<Vec<Array>> {
    let start = host.input(0)?;
    let number = |place: usize| host.input(place).map(|array| array.floats().first().copied());
    if start.elem.is_float() {
        let (Some(first), Some(limit), Some(step)) = (number(0)?, number(1)?, number(2)?) else {
            return invalid("expected three numbers");
        };
        let count = ((limit - first) / step).ceil().max(0.0);
        if !count.is_finite() {
            return invalid(format!("expected a step that ends, got {step}"));
        }
        let count = made(&[count as usize])?;
        let values = (0..count).map(|i| first + i as f64 * step).collect();
        return Ok(vec![Array::of_floats(start.elem, vec![count], values)]);
    }
    let (first, limit, step) = (host.number(0)?, host.number(1)?, host.number(2)?);
    if step == 0 {
        return invalid("expected a step that is not 0");
    }
    let span = i128::from(limit) - i128::from(first);
    let (span, size) = if step < 0 { (-span, -i128::from(step)) } else { (span, step.into()) };
    let count = if span <= 0 { 0 } else { (span + size - 1) / size };
    let count = made(&[usize::try_from(count).unwrap_or(usize::MAX)])?;
    let values = (0..count as i64).map(|i| first.wrapping_add(i.wrapping_mul(step))).collect();
    Ok(vec![Array::of_ints(start.elem, vec![count], values)])
}

fn constant_of_shape(host: &Host<'_>) -> Step<Vec<Array>> {
    let dims = extents(&host.ints(0)?)?;
    let count = made(&dims)?;
    let value = match host.attributes.tensor("value") {
        None => Array::of_floats(Elem::F32, vec![1], vec![0.0]),
        Some(tensor) => match crate::onnx::read::inline(tensor) {
            Some(array) => array,
            None => return invalid("expected one number as value"),
        },
    };
    let one = |known: bool| if known { count } else { 0 };
    Ok(vec![match (value.elem.is_float(), value.floats().first(), value.ints().first()) {
        (true, Some(&x), _) => Array::of_floats(value.elem, dims, vec![x; one(true)]),
        (false, _, Some(&x)) => Array::of_ints(value.elem, dims, vec![x; one(true)]),
        _ => return invalid("expected one number as value, got none"),
    }])
}

fn eye_like(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let shift = host.attributes.int("k", 0);
    let elem = match host.attributes.has("dtype") {
        true => Elem::of_code(host.attributes.int("dtype", 1) as i32).unwrap_or(x.elem),
        false => x.elem,
    };
    let &[_, cols] = &x.dims[..] else {
        return invalid(format!("expected a matrix, got {:?}", x.dims));
    };
    let one = |i: usize| {
        let at = coordinates(i, &x.dims);
        cols > 0 && at[1] as i64 == (at[0] as i64).saturating_add(shift)
    };
    let values: Vec<bool> = (0..x.count()).map(one).collect();
    Ok(vec![match elem.is_float() {
        true => {
            let values = values.iter().map(|&x| f64::from(u8::from(x))).collect();
            Array::of_floats(elem, x.dims.clone(), values)
        }
        false => {
            let values = values.iter().map(|&x| i64::from(x)).collect();
            Array::of_ints(elem, x.dims.clone(), values)
        }
    }])
}
