// y = a where the condition is not 0, b elsewhere, with broadcasting. It moves bits.

override HALF: bool;

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    // The first elements that are bound of the condition, a and b.
    first_condition: u32,
    first_a: u32,
    first_b: u32,
    rank: u32,
    // The axes of y, the last one first: extent, strides in the condition, a and b.
    axes: array<vec4<u32>, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> condition: array<u32>;
@group(0) @binding(3) var<storage, read> a: array<u32>;
@group(0) @binding(4) var<storage, read> b: array<u32>;

fn element(i: u32) -> u32 {
    var rest = params.first + i;
    var at = vec3<u32>(0u, 0u, 0u)
        - vec3<u32>(params.first_condition, params.first_a, params.first_b);
    for (var axis = 0u; axis + 1u < params.rank; axis++) {
        let extent = params.axes[axis].x;
        at += (rest % extent) * params.axes[axis].yzw;
        rest /= extent;
    }
    at += rest * params.axes[params.rank - 1u].yzw;
    let word_a = a[word_of(at.y, HALF)];
    let word_b = b[word_of(at.z, HALF)];
    let first = condition[at.x] != 0u;
    if (HALF) { return select(half_of(word_b, at.z), half_of(word_a, at.y), first); }
    return select(word_b, word_a, first);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_group(group, groups) * 256u + local;
    if (HALF) {
        if (word * 2u >= params.count) { return; }
        let low = element(word * 2u);
        let high = element(min(word * 2u + 1u, params.count - 1u));
        y[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[word] = element(word);
    }
}
