// Cross-entropy against smoothed labels with weights of classes: of log p [n, classes] the loss
// sum(q * -log p), or of p its gradient dy * (p * sum(q) - q). A workgroup takes a row.

override GRADIENT: bool;
override HALF_DY: bool;

struct Params {
    // n.
    count: u32,
    classes: u32,
    skip: u32,
    skip_labels: u32,
    skip_weights: u32,
    skip_dy: u32,
    skip_y: u32,
    ignores: u32,
    ignored: u32,
    smoothing: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<u32>;

var<workgroup> partial: array<f32, 64>;

// The sum of what all invocations of the workgroup have, in one order.
fn joined(value: f32, local: u32) -> f32 {
    workgroupBarrier();
    partial[local] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) { partial[local] += partial[local + half]; }
    }
    workgroupBarrier();
    return partial[0];
}

fn wanted(k: u32, label: u32) -> f32 {
    let spread = params.smoothing / f32(params.classes);
    let own = select(0.0, 1.0 - params.smoothing, k == label);
    return weights[params.skip_weights + k] * (own + spread);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_group(group, groups);
    let inside = row < params.count;
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let place = min(row, params.count - 1u);
    let label = labels[params.skip_labels + place];
    let start = place * params.classes;
    var sum = 0.0;
    for (var k = local; k < params.classes; k += 64u) {
        let q = wanted(k, label);
        if (GRADIENT) {
            sum += q;
        } else if (q != 0.0) {
            sum -= q * p[params.skip + start + k];
        }
    }
    sum = joined(sum, local);
    let is_ignored = params.ignores != 0u && label == params.ignored;
    let is_wrong = label >= params.classes;
    if (!inside) { return; }
    if (!GRADIENT) {
        if (local != 0u) { return; }
        if (is_wrong) { sum = float_of(QUIET_NAN); }
        if (is_ignored) { sum = 0.0; }
        y[params.skip_y + place] = sum;
        return;
    }
    let at = params.skip_dy + place;
    let factor = widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
    for (var k = local; k < params.classes; k += 64u) {
        var slope = factor * (p[params.skip + start + k] * sum - wanted(k, label));
        if (is_wrong) { slope = float_of(QUIET_NAN); }
        if (is_ignored) { slope = 0.0; }
        y[params.skip_y + start + k] = slope;
    }
}
