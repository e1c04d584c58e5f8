// y [outer, parts, inner] = x [outer, extent, inner] reduced over parts of the extent; a part may be
// shorter at the end. Where the extent lies next in memory (inner = 1) a workgroup makes an element,
// its invocations taking turns; else each invocation makes one. The order is the same every time.

// REDUCE_SUM and so on: the numbers come from the table of kinds. A mean is a sum that is divided.
override KIND: u32;
override HALF: bool;
// inner = 1.
override TOGETHER: bool;
// The bits are integers, not floats.
override WORDS: bool;

struct Params {
    // Elements of y.
    count: u32,
    extent: u32,
    inner: u32,
    // Elements of a part, and how many parts there are.
    part: u32,
    parts: u32,
    skip: u32,
    // What the result is divided by, for a mean, and whether it is.
    scale: f32,
    scales: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// Values are bits, of floats or of integers.

fn start_value() -> u32 {
    if (WORDS) {
        switch (KIND) {
            case REDUCE_PRODUCT: { return 1u; }
            case REDUCE_MIN: { return 0xffffffffu; }
            default: { return 0u; }
        }
    }
    switch (KIND) {
        case REDUCE_SUM: { return 0u; }
        case REDUCE_PRODUCT: { return 0x3f800000u; }
        case REDUCE_MAX: { return INFINITY_BITS | 0x80000000u; }
        case REDUCE_MIN: { return INFINITY_BITS; }
        default: { return QUIET_NAN; }
    }
}

fn combine_words(a: u32, b: u32) -> u32 {
    switch (KIND) {
        case REDUCE_PRODUCT: { return a * b; }
        case REDUCE_MAX: { return max(a, b); }
        case REDUCE_MIN: { return min(a, b); }
        default: { return a + b; }
    }
}

fn combine_floats(a: f32, b: f32) -> f32 {
    switch (KIND) {
        case REDUCE_SUM: { return a + b; }
        case REDUCE_PRODUCT: { return a * b; }
        case REDUCE_MAX: { return maximum(a, b); }
        case REDUCE_MIN: { return minimum(a, b); }
        default: { return float_of(QUIET_NAN); }
    }
}

fn combine(a: u32, b: u32) -> u32 {
    if (WORDS) { return combine_words(a, b); }
    return bitcast<u32>(combine_floats(float_of(a), float_of(b)));
}

fn load(i: u32) -> u32 {
    let at = i + params.skip;
    if (WORDS) { return x[at]; }
    return bitcast<u32>(widen(x[word_of(at, HALF)], at, HALF));
}

fn finished(value: u32) -> u32 {
    if (params.scales != 0u) {
        // The mean of nothing.
        if (params.scale == 0.0) { return QUIET_NAN; }
        return bitcast<u32>(float_of(value) / params.scale);
    }
    return value;
}

var<workgroup> partial: array<u32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var i = flat_group(group, groups);
    if (!TOGETHER) { i = i * 64u + local; }
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let place = min(i, params.count - 1u);
    let inner = place % params.inner;
    let line = place / params.inner;
    let first = (line % params.parts) * params.part;
    let end = min(first + params.part, params.extent);
    let base = (line / params.parts) * params.extent;
    var value = start_value();
    if (TOGETHER) {
        for (var j = first + local; j < end; j += 64u) { value = combine(value, load(base + j)); }
        partial[local] = value;
        for (var half = 32u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if (local < half) { partial[local] = combine(partial[local], partial[local + half]); }
        }
        if (local == 0u && i < params.count) { y[params.skip_y + i] = finished(partial[0]); }
    } else {
        for (var j = first; j < end; j++) {
            value = combine(value, load((base + j) * params.inner + inner));
        }
        if (i < params.count) { y[params.skip_y + i] = finished(value); }
    }
}
