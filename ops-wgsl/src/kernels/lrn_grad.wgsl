// The gradient of local response normalization:
// dx = dy s^-beta - 2 alpha beta x * sum over the window of the terms dy x s^(-beta - 1).

// dy is f16.
override HALF_DY: bool;

@group(0) @binding(3) var<storage, read> dy: array<u32>;

fn load_dy(i: u32) -> f32 {
    let at = i + params.skip_dy;
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

// Of 256 elements: their terms, and s^-beta.
var<workgroup> terms: array<f32, 256>;
var<workgroup> scales: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let start = flat_group(group, groups) * params.own;
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let i = min(start + local, params.count - 1u);
    let window = window_of(i);
    // The windows of the workgroup's own elements lie next to these: one block of 256 elements, or several
    // where windows are wide.
    let begin = start - min(start, params.reach);
    let end = min(start + params.own + params.reach, params.count);
    var sum = 0.0;
    var scale_here = 0.0;
    for (var block = begin; block < end; block += 256u) {
        let j = block + local;
        // Those of the block before have been read.
        workgroupBarrier();
        if (j < end) {
            let s = denominator(window_of(j));
            let scale_j = scale(s);
            scales[local] = scale_j;
            terms[local] = load_dy(j) * load(j) * scale_j / s;
        }
        workgroupBarrier();
        if (i >= block && i - block < 256u) { scale_here = scales[i - block]; }
        let above = min(window.y + 1u, block + 256u);
        for (var at = max(window.x, block); at < above; at++) { sum += terms[at - block]; }
    }
    if (local < params.own && start + local < params.count) {
        let direct = load_dy(i) * scale_here;
        y[params.skip_y + i] = direct - 2.0 * params.alpha * params.beta * load(i) * sum;
    }
}
