// dx = 0 where y <= 0, dy elsewhere. It moves the bits of dy: four words an invocation. What is bound ends
// with whole vectors, and nobody reads beyond the last element.

override HALF_Y: bool;
override HALF: bool;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<u32>>;

// Zeros, and what is below: on bits, which no device flushes, and of which NaN is no part.
fn is_inactive(bits: vec4<u32>) -> vec4<bool> {
    let sign = select(0x80000000u, 0x8000u, HALF_Y);
    let infinity = select(INFINITY_BITS, 0x7c00u, HALF_Y);
    return (bits == vec4<u32>()) | (bits - vec4<u32>(sign) <= vec4<u32>(infinity));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i * select(4u, 8u, HALF) >= params.count) { return; }
    let words = dy[i];
    if (HALF) {
        // Eight elements, those in the lower halves and those in the upper ones.
        var low = y[i];
        var high = low >> vec4<u32>(16u);
        low &= vec4<u32>(0xffffu);
        if (!HALF_Y) {
            let first = y[2u * i];
            let second = y[min(2u * i + 1u, (params.count - 1u) / 4u)];
            low = vec4<u32>(first.xz, second.xz);
            high = vec4<u32>(first.yw, second.yw);
        }
        let kept = select(words & vec4<u32>(0xffffu), vec4<u32>(), is_inactive(low));
        dx[i] = kept | select(words & vec4<u32>(0xffff0000u), vec4<u32>(), is_inactive(high));
    } else {
        var bits = y[i];
        if (HALF_Y) {
            let pairs = y[i / 2u];
            let own = select(pairs.xy, pairs.zw, i % 2u == 1u);
            bits = vec4<u32>(own.x & 0xffffu, own.x >> 16u, own.y & 0xffffu, own.y >> 16u);
        }
        dx[i] = select(words, vec4<u32>(), is_inactive(bits));
    }
}
