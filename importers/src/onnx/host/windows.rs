//! Convolutions and pools with any number of axes, dilated pools, and pools that say where they found a
//! maximum: plain loops, since devices have no ops for them.

use super::walk::{coordinates, each, place, strides};
use super::{Host, Rule, made};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, invalid};
use crate::onnx::device::{Windows, transposed, window};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Conv" => conv,
        "ConvTranspose" => conv_transpose,
        "MaxPool" | "AveragePool" | "LpPool" => pool,
        "GlobalLpPool" => global_lp,
        _ => return None,
    })
}

/// Images `[n, channels, spatial…]`.
fn images<'a>(host: &'a Host<'_>) -> Step<(&'a Array, usize, usize, &'a [usize])> {
    let x = host.input(0)?;
    match &x.dims[..] {
        &[n, channels, ref spatial @ ..] if !spatial.is_empty() => Ok((x, n, channels, spatial)),
        dims => invalid(format!("expected images [n, channels, …], got {dims:?}")),
    }
}

/// How many windows there are along each axis, and how many entries lie before the first.
fn outputs(windows: &Windows, spatial: &[usize], ceil: bool) -> Step<Vec<usize>> {
    made(&windows.kernel)?;
    let mut dims = Vec::with_capacity(spatial.len());
    for (axis, &extent) in spatial.iter().enumerate() {
        let [before, after] = windows.pads[axis];
        let padded = extent.saturating_add(before).saturating_add(after);
        let window = window(windows.kernel[axis], windows.dilations[axis]);
        let Some(span) = padded.checked_sub(window) else {
            return invalid(format!("expected windows of at most {padded}, got {window}"));
        };
        let stride = windows.strides[axis];
        let mut count = if ceil { span.div_ceil(stride) } else { span / stride } + 1;
        // Each window begins inside the image or the border before it.
        if ceil && (count - 1).saturating_mul(stride) >= extent.saturating_add(before) {
            count -= 1;
        }
        dims.push(count);
    }
    Ok(dims)
}

/// The place in the image of a tap of a window; none where it lies in the border.
fn tap(windows: &Windows, spatial: &[usize], out: &[usize], at: &[usize]) -> Option<Vec<usize>> {
    (0..spatial.len())
        .map(|axis| {
            let start = at[axis]
                .checked_mul(windows.dilations[axis])?
                .checked_add(out[axis].checked_mul(windows.strides[axis])?)?;
            start.checked_sub(windows.pads[axis][0]).filter(|&place| place < spatial[axis])
        })
        .collect()
}

fn conv(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, n, channels, spatial) = images(host)?;
    let weights = host.input(1)?;
    let windows = Windows::of(host.attributes, spatial, weights.dims.get(2..))?;
    let groups = host.attributes.int("group", 1).max(0) as usize;
    let &[out, per_group, ..] = &weights.dims[..] else {
        return invalid(format!("expected weights, got {:?}", weights.dims));
    };
    if groups == 0 || per_group.checked_mul(groups) != Some(channels) || out % groups != 0 {
        let got = format!("weights {:?} in {groups} groups", weights.dims);
        return invalid(format!("expected weights for {channels} channels, got {got}"));
    }
    let positions = outputs(&windows, spatial, false)?;
    let dims = [&[n, out], &positions[..]].concat();
    made(&dims)?;
    let (values, kernel) = (x.floats(), weights.floats());
    let bias = host.optional(2).map(Array::floats);
    let (own, taps) = (strides(spatial), each(&windows.kernel, <[usize]>::to_vec));
    let (pixels, size): (usize, usize) = (spatial.iter().product(), taps.len());
    let result = each(&dims, |at| {
        let (image, output) = (at[0], at[1]);
        let first = output / (out / groups) * per_group;
        let bias = bias.as_ref().and_then(|bias| bias.get(output)).copied().unwrap_or(0.0);
        let mut sum = bias;
        for (i, tap_at) in taps.iter().enumerate() {
            let Some(pixel) = tap(&windows, spatial, &at[2..], tap_at) else { continue };
            let pixel = place(&pixel, &own);
            for channel in 0..per_group {
                let x = values[(image * channels + first + channel) * pixels + pixel];
                sum += x * kernel[(output * per_group + channel) * size + i];
            }
        }
        sum
    });
    Ok(vec![Array::of_floats(x.elem, dims, result)])
}

fn conv_transpose(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, n, channels, spatial) = images(host)?;
    let weights = host.input(1)?;
    let (windows, extra) = transposed(host.attributes, spatial, weights.dims.get(2..))?;
    made(&windows.kernel)?;
    let groups = host.attributes.int("group", 1).max(0) as usize;
    let per_group = weights.dims.get(1).copied().unwrap_or(0);
    if groups == 0 || weights.dims.first() != Some(&channels) || channels % groups != 0 {
        let got = format!("weights {:?} in {groups} groups", weights.dims);
        return invalid(format!("expected weights for {channels} channels, got {got}"));
    }
    let mut dims = vec![n, per_group.saturating_mul(groups)];
    for axis in 0..spatial.len() {
        let window = window(windows.kernel[axis], windows.dilations[axis]);
        let reach = (spatial[axis].max(1) - 1).saturating_mul(windows.strides[axis]);
        let whole = reach.saturating_add(window).saturating_add(extra[axis]);
        let cut = windows.pads[axis][0].saturating_add(windows.pads[axis][1]);
        match whole.checked_sub(cut) {
            Some(extent) => dims.push(extent),
            None => return invalid(format!("expected borders of at most {whole}, got {cut}")),
        }
    }
    let count = made(&dims)?;
    let (values, kernel) = (x.floats(), weights.floats());
    let bias = host.optional(2).map(Array::floats);
    let own = strides(&dims);
    let pixels: usize = dims[2..].iter().product();
    let start = |i: usize| {
        let channel = i / pixels.max(1) % dims[1].max(1);
        bias.as_ref().and_then(|bias| bias.get(channel)).copied().unwrap_or(0.0)
    };
    let mut result: Vec<f64> = (0..count).map(start).collect();
    let taps = each(&windows.kernel, <[usize]>::to_vec);
    let outputs_of_group = per_group;
    for (i, &value) in values.iter().enumerate() {
        let at = coordinates(i, &x.dims);
        let group = at[1] / (channels / groups);
        for (t, tap) in taps.iter().enumerate() {
            let pixel: Option<Vec<usize>> = (0..spatial.len())
                .map(|axis| {
                    let start = at[axis + 2].checked_mul(windows.strides[axis])?;
                    let to = start.checked_add(tap[axis].checked_mul(windows.dilations[axis])?)?;
                    to.checked_sub(windows.pads[axis][0]).filter(|&to| to < dims[axis + 2])
                })
                .collect();
            let Some(pixel) = pixel else { continue };
            for output in 0..outputs_of_group {
                let to = [&[at[0], group * per_group + output], &pixel[..]].concat();
                let weight = kernel[(at[1] * per_group + output) * taps.len() + t];
                result[place(&to, &own)] += value * weight;
            }
        }
    }
    Ok(vec![Array::of_floats(x.elem, dims, result)])
}

fn pool(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, n, channels, spatial) = images(host)?;
    let op = &*host.attributes.node.op_type;
    let windows = Windows::of(host.attributes, spatial, None)?;
    let positions = outputs(&windows, spatial, host.attributes.flag("ceil_mode", false))?;
    let dims = [&[n, channels], &positions[..]].concat();
    made(&dims)?;
    let values = x.floats();
    let own = strides(spatial);
    let pixels: usize = spatial.iter().product();
    let taps = each(&windows.kernel, <[usize]>::to_vec);
    let counts_padding = host.attributes.flag("count_include_pad", false);
    let p = host.attributes.int("p", 2) as f64;
    let by_columns = host.attributes.int("storage_order", 0) == 1;
    let mut indices = Vec::with_capacity(if op == "MaxPool" { dims.iter().product() } else { 0 });
    let result = each(&dims, |at| {
        let first = (at[0] * channels + at[1]) * pixels;
        let inside = taps.iter().filter_map(|t| tap(&windows, spatial, &at[2..], t));
        match op {
            "MaxPool" => {
                let (mut best, mut found) = (f64::NEG_INFINITY, None);
                for pixel in inside {
                    let value = values[first + place(&pixel, &own)];
                    if found.is_none() || value > best || value.is_nan() {
                        (best, found) = (value, Some(pixel));
                    }
                }
                let pixel = found.unwrap_or_else(|| vec![0; spatial.len()]);
                let index = match by_columns {
                    false => place(&pixel, &own),
                    // The first axis is the one whose neighbours are next to each other.
                    true => pixel.iter().zip(spatial).rev().fold(0, |i, (at, d)| i * d + at),
                };
                indices.push((first + index) as i64);
                best
            }
            "AveragePool" => {
                let (mut sum, mut count) = (0.0, 0usize);
                for pixel in inside {
                    sum += values[first + place(&pixel, &own)];
                    count += 1;
                }
                if counts_padding {
                    count =
                        taps.iter().filter(|t| is_padded(&windows, spatial, &at[2..], t)).count();
                }
                sum / count as f64
            }
            _ => {
                let each = inside.map(|pixel| values[first + place(&pixel, &own)].abs().powf(p));
                each.sum::<f64>().powf(1.0 / p)
            }
        }
    });
    let mut outputs = vec![Array::of_floats(x.elem, dims.clone(), result)];
    if op == "MaxPool" {
        outputs.push(Array::of_ints(Elem::I64, dims, indices));
        outputs.truncate(host.attributes.node.output.len().max(1));
    }
    Ok(outputs)
}

/// Whether a tap lies inside the image and its border.
fn is_padded(windows: &Windows, spatial: &[usize], out: &[usize], at: &[usize]) -> bool {
    (0..spatial.len()).all(|axis| {
        let tap = at[axis].saturating_mul(windows.dilations[axis]);
        let place = out[axis].saturating_mul(windows.strides[axis]).saturating_add(tap);
        let [before, after] = windows.pads[axis];
        place < spatial[axis].saturating_add(before).saturating_add(after)
    })
}

fn global_lp(host: &Host<'_>) -> Step<Vec<Array>> {
    let (x, n, channels, spatial) = images(host)?;
    let p = host.attributes.int("p", 2) as f64;
    let pixels: usize = spatial.iter().product();
    let values = x.floats();
    let norm = |i: usize| {
        let all = values.iter().skip(i * pixels).take(pixels);
        all.map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p)
    };
    let dims = [&[n, channels], &vec![1; spatial.len()][..]].concat();
    Ok(vec![Array::of_floats(x.elem, dims, (0..n * channels).map(norm).collect())])
}
