// Sums over the rows of a workgroup, channel by channel, for kernels that take rows of [rows, channels].

// Channels of a workgroup: a power of two, up to 64. Its 256 / COLS lanes take the rows in turn.
override COLS: u32;

var<workgroup> first: array<f32, 256>;
var<workgroup> second: array<f32, 256>;

// The sums of two numbers over the lanes, joined in a tree: the order is the same every time. All
// invocations get those of their channel.
fn joined(a: f32, b: f32, local: u32) -> vec2<f32> {
    // Those of a call before this have been read.
    workgroupBarrier();
    first[local] = a;
    second[local] = b;
    for (var half = 128u / COLS; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local / COLS < half) {
            first[local] += first[local + half * COLS];
            second[local] += second[local + half * COLS];
        }
    }
    workgroupBarrier();
    return vec2<f32>(first[local % COLS], second[local % COLS]);
}

// What moments are measured from: an element of the channel, if it is finite.
fn origin(element: f32) -> f32 {
    return select(element, 0.0, is_nan(element) || is_infinite(element));
}
