// Softmax or its logarithm along the extent of x [outer, extent, inner]; or, for x [n, classes] and
// labels [n], minus the logarithm at the label. Where the extent lies next in memory (inner = 1) a
// workgroup takes a line, its invocations taking turns; else each invocation takes one.

// 0 softmax, 1 its logarithm, 2 cross-entropy.
override KIND: u32;
override HALF: bool;
// inner = 1.
override TOGETHER: bool;

struct Params {
    // Lines: outer * inner.
    count: u32,
    extent: u32,
    inner: u32,
    skip: u32,
    skip_y: u32,
    skip_labels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

var<workgroup> partial: array<f32, 64>;

// What all invocations of the workgroup have, combined in one order.
fn joined(value: f32, local: u32, sums: bool) -> f32 {
    workgroupBarrier();
    partial[local] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            let other = partial[local + half];
            let own = partial[local];
            if (sums) { partial[local] = own + other; } else { partial[local] = maximum(own, other); }
        }
    }
    workgroupBarrier();
    return partial[0];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var line = flat_group(group, groups);
    if (!TOGETHER) { line = line * 64u + local; }
    let inside = line < params.count;
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let place = min(line, params.count - 1u);
    let start = (place / params.inner) * params.extent * params.inner + place % params.inner;
    let start_at = select(0u, local, TOGETHER);
    let step = select(1u, 64u, TOGETHER);

    var top = -float_of(INFINITY_BITS);
    for (var j = start_at; j < params.extent; j += step) {
        top = maximum(top, load(start + j * params.inner));
    }
    if (TOGETHER) { top = joined(top, local, false); }
    // By the letter infinity less infinity is NaN, and so is all of the line.
    let nothing = is_nan(top) || is_infinite(top);
    var sum = 0.0;
    for (var j = start_at; j < params.extent; j += step) {
        sum += exponent(load(start + j * params.inner) - top);
    }
    if (TOGETHER) { sum = joined(sum, local, true); }
    if (nothing) { sum = float_of(QUIET_NAN); }
    if (KIND == 2u) {
        if (!inside || (TOGETHER && local != 0u)) { return; }
        let label = labels[params.skip_labels + place];
        if (label >= params.extent) {
            y[params.skip_y + place] = float_of(QUIET_NAN);
        } else {
            y[params.skip_y + place] = logarithm(sum) - (load(start + label) - top);
        }
        return;
    }
    if (!inside) { return; }
    let logarithm_of_sum = logarithm(sum);
    for (var j = start_at; j < params.extent; j += step) {
        let at = start + j * params.inner;
        let difference = load(at) - top;
        if (KIND == 1u) {
            y[params.skip_y + at] = difference - logarithm_of_sum;
        } else {
            y[params.skip_y + at] = exponent(difference) / sum;
        }
    }
}
