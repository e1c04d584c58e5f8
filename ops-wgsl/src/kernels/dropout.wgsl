// y = 0 at random, x times a factor elsewhere; four elements of a Philox block at a time.

override HALF: bool;

struct Params {
    // The elements of this window: from `first` on (a multiple of 4), `count` of them.
    first: u32,
    count: u32,
    rate: f32,
    scale: f32,
    seed: vec2<u32>,
    stream: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

fn kept(bits: u32, value: f32) -> f32 {
    // What is dropped is 0, whatever it was.
    if (less(unit_float(bits), params.rate)) { return 0.0; }
    return value * params.scale;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = flat_group(group, groups) * 256u + local;
    let start = block * 4u;
    if (start >= params.count) { return; }
    let here = min(params.count - start, 4u);
    var bits = philox(params.first / 4u + block, params.stream, params.seed);
    if (HALF) {
        for (var pair = 0u; pair * 2u < here; pair++) {
            let word = start / 2u + pair;
            let old = x[word];
            let low = float_to_half(kept(bits[pair * 2u], half_to_float(old & 0xffffu)));
            let high = float_to_half(kept(bits[pair * 2u + 1u], half_to_float(old >> 16u)));
            y[word] = low | (high << 16u);
        }
    } else {
        for (var i = 0u; i < here; i++) {
            y[start + i] = bitcast<u32>(kept(bits[i], bitcast<f32>(x[start + i])));
        }
    }
}
