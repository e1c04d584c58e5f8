// Elements made by counting, four of a Philox block at a time: fill, uniform, normal.

// 0 fill, 1 uniform, 2 normal.
override KIND: u32;

struct Params {
    // The elements of this window: from `first` on (a multiple of 4), `count` of them.
    first: u32,
    count: u32,
    // fill: the bits of a word. uniform: low, high. normal: mean, deviation.
    a: u32,
    b: u32,
    seed: vec2<u32>,
    stream: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// Two numbers as two independent normal ones (Box and Muller).
fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    // 1 - u lies in (0, 1], so the logarithm is finite.
    let radius = square_root(-2.0 * logarithm(1.0 - unit_float(a)));
    let angle = 6.28318530718 * unit_float(b);
    return radius * vec2<f32>(sine(angle, 1), sine(angle, 0));
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
    if (KIND == 0u) {
        for (var i = 0u; i < here; i++) { y[start + i] = params.a; }
        return;
    }
    let bits = philox(params.first / 4u + block, params.stream, params.seed);
    let a = bitcast<f32>(params.a);
    let b = bitcast<f32>(params.b);
    var made: vec4<f32>;
    if (KIND == 1u) {
        let unit = vec4<f32>(
            unit_float(bits.x), unit_float(bits.y), unit_float(bits.z), unit_float(bits.w));
        made = a + (b - a) * unit;
    } else {
        made = a + b * vec4<f32>(normal_pair(bits.x, bits.y), normal_pair(bits.z, bits.w));
    }
    for (var i = 0u; i < here; i++) { y[start + i] = bitcast<u32>(made[i]); }
}
