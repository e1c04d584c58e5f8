// Sums over the rows of a workgroup, channel by channel, for kernels that take rows of [rows, channels].

// Columns of a workgroup, each of LANES channels: a power of two, up to 64. Its 256 / COLS lanes take the
// rows in turn.
override COLS: u32;

var<workgroup> first: array<Floats, 256>;
var<workgroup> second: array<Floats, 256>;

struct Pair {
    a: Floats,
    b: Floats,
}

// The sums of two numbers over the lanes, joined in a tree: the order is the same every time. All
// invocations get those of their column.
fn joined(a: Floats, b: Floats, local: u32) -> Pair {
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
    return Pair(first[local % COLS], second[local % COLS]);
}

// Whether numbers are NaN or infinite.
fn are_not_finite(x: Floats) -> Truths {
    return (bitcast<Words>(x) & Words(0x7fffffffu)) >= Words(INFINITY_BITS);
}

// What moments are measured from: an element of the channel, if it is finite.
fn origin(element: Floats) -> Floats {
    return select(element, Floats(0.0), are_not_finite(element));
}

// max(x, 0); NaN stays.
fn not_below_zero(x: Floats) -> Floats {
    let below = bitcast<Words>(x) - Words(0x80000000u) <= Words(INFINITY_BITS);
    return select(x, Floats(0.0), below);
}
