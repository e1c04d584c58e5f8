// The weights that saw a phase of the input, with their taps in opposite order, and outputs and
// inputs exchanged in each group: [channels, taps down, taps across, outputs of a group].

override HALF_W: bool;

struct Params {
    // Elements of the result.
    count: u32,
    // Where the words of this launch begin in `non_finite`.
    first_flag: u32,
    // Of the weights: rows and columns of the kernel, channels and outputs of a group.
    kernel: vec2<u32>,
    group_channels: u32,
    group_out: u32,
    skip_w: u32,
    // The first tap, how many, and from one to the next.
    first: vec2<u32>,
    taps: vec2<u32>,
    step: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
// A word for each workgroup: not 0 where it saw a weight that is NaN or infinite.
@group(0) @binding(2) var<storage, read_write> non_finite: array<u32>;
@group(0) @binding(3) var<storage, read> w: array<u32>;

var<workgroup> seen: atomic<u32>;

// An element of the result.
fn turn(i: u32) {
    var rest = i / params.group_out;
    let across = params.taps.y - 1u - rest % params.taps.y;
    rest /= params.taps.y;
    let down = params.taps.x - 1u - rest % params.taps.x;
    let channel = rest / params.taps.x;
    let out = channel / params.group_channels * params.group_out + i % params.group_out;
    let tap = params.first + vec2<u32>(down, across) * params.step;
    let at = params.skip_w
        + ((out * params.kernel.x + tap.x) * params.kernel.y + tap.y) * params.group_channels
        + channel % params.group_channels;
    let weight = widen(w[word_of(at, HALF_W)], at, HALF_W);
    if (is_nan(weight) || is_infinite(weight)) { atomicStore(&seen, 1u); }
    to[i] = weight;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if (local == 0u) { atomicStore(&seen, 0u); }
    workgroupBarrier();
    let number = flat_group(group, groups);
    let all = groups.x * groups.y * 64u;
    for (var i = number * 64u + local; i < params.count; i += all) { turn(i); }
    workgroupBarrier();
    if (local == 0u) { non_finite[params.first_flag + number] = atomicLoad(&seen); }
}
