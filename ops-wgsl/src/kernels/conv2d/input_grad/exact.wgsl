// The gradient of a convolution in its input x [n, rows, cols, channels] as it is defined: each pixel
// sums over the outputs that saw it, and over nothing else.

override HALF_DY: bool;
override HALF_W: bool;
override HALF_BIAS: bool;
// A transposed convolution adds one.
override BIAS: bool;
// Only where a weight is NaN or infinite.
override NON_FINITE: bool;

struct Params {
    // Elements of dx.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    out: u32,
    group_channels: u32,
    group_out: u32,
    skip_dy: u32,
    skip_w: u32,
    skip_bias: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    skip_dx: u32,
    // Words of `non_finite`.
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<u32>;
@group(0) @binding(3) var<storage, read> w: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
// Not all 0 where a weight is NaN or infinite.
@group(0) @binding(5) var<storage, read> non_finite: array<u32>;

var<workgroup> seen: atomic<u32>;

// An element of dx.
fn element(i: u32) {
    let channel = i % params.channels;
    let pixel = i / params.channels;
    let place = vec2<u32>((pixel / params.cols) % params.rows, pixel % params.cols) + params.padding;
    let image = pixel / (params.cols * params.rows);
    let first_out = (channel / params.group_channels) * params.group_out;
    let per_out = params.kernel.x * params.kernel.y * params.group_channels;
    var sum = 0.0;
    for (var kernel_row = 0u; kernel_row < params.kernel.x; kernel_row++) {
        // The output row that saw this one under that row of the kernel, if any did.
        let down = kernel_row * params.dilation.x;
        let row = (place.x - down) / params.stride.x;
        if (down > place.x || row >= params.out_rows
            || row * params.stride.x + down != place.x) { continue; }
        for (var kernel_col = 0u; kernel_col < params.kernel.y; kernel_col++) {
            let right = kernel_col * params.dilation.y;
            let col = (place.y - right) / params.stride.y;
            if (right > place.y || col >= params.out_cols
                || col * params.stride.y + right != place.y) { continue; }
            var at_dy = params.skip_dy
                + ((image * params.out_rows + row) * params.out_cols + col) * params.out + first_out;
            var at_w = params.skip_w + first_out * per_out
                + (kernel_row * params.kernel.y + kernel_col) * params.group_channels
                + channel % params.group_channels;
            for (var out = 0u; out < params.group_out; out++) {
                let gradient = widen(dy[word_of(at_dy, HALF_DY)], at_dy, HALF_DY);
                sum += gradient * widen(w[word_of(at_w, HALF_W)], at_w, HALF_W);
                at_dy += 1u;
                at_w += per_out;
            }
        }
    }
    if (BIAS) {
        let at = params.skip_bias + channel;
        sum += widen(bias[word_of(at, HALF_BIAS)], at, HALF_BIAS);
    }
    dx[params.skip_dx + i] = sum;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if (NON_FINITE) {
        if (local == 0u) { atomicStore(&seen, 0u); }
        workgroupBarrier();
        for (var at = local; at < params.flags; at += 64u) {
            if (non_finite[at] != 0u) { atomicStore(&seen, 1u); }
        }
        workgroupBarrier();
        if (atomicLoad(&seen) == 0u) { return; }
    }
    var i = flat_group(group, groups) * 64u + local;
    if (i >= params.count) { return; }
    // There are few invocations where most often none of them has work.
    let all = groups.x * groups.y * 64u;
    loop {
        element(i);
        if (!NON_FINITE || params.count - i <= all) { break; }
        i += all;
    }
}
