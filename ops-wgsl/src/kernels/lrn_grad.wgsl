// The gradient of local response normalization:
// dx = dy s^-beta - 2 alpha beta x * sum over the window of the terms dy x s^(-beta - 1).

// dy is f16.
override HALF_DY: bool;

@group(0) @binding(3) var<storage, read> dy: array<u32>;

fn load_dy(i: u32) -> f32 {
    let at = i + params.skip_dy;
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

var<workgroup> terms: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let start = flat_group(group, groups) * 256u;
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let i = min(start + local, params.count - 1u);
    let window = window_of(i);
    // The terms of all windows of the workgroup lie next to its elements: a block of them at a time.
    let begin = start - min(start, params.reach);
    let end = min(start + 256u + params.reach, params.count);
    var sum = 0.0;
    for (var block = begin; block < end; block += 256u) {
        let j = block + local;
        // Those of the block before have been read.
        workgroupBarrier();
        if (j < end) {
            let s = denominator(window_of(j));
            terms[local] = load_dy(j) * load(j) * scale(s) / s;
        }
        workgroupBarrier();
        let above = min(window.y + 1u, block + 256u);
        for (var at = max(window.x, block); at < above; at++) { sum += terms[at - block]; }
    }
    if (start + local < params.count) {
        let direct = load_dy(i) * scale(denominator(window));
        y[params.skip_y + i] = direct - 2.0 * params.alpha * params.beta * load(i) * sum;
    }
}
