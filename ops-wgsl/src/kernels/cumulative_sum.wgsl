// y = for each entry of x [outer, extent, inner] the sum of those up to it. An invocation goes along a
// stretch of a line. What a sum in f32 loses is kept beside it.

// The bits are integers, not floats.
override WORDS: bool;
override HALF: bool;
override EXCLUSIVE: bool;
override REVERSE: bool;

struct Params {
    // Lines.
    count: u32,
    extent: u32,
    inner: u32,
    // The stretch: steps from `first` on, `steps` of them.
    first: u32,
    steps: u32,
    skip: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// The entry that comes after so many others.
fn entry(step: u32) -> u32 {
    return select(step, params.extent - 1u - step, REVERSE);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let start = (i / params.inner) * params.extent * params.inner + i % params.inner;
    var sum = 0.0;
    var lost = 0.0;
    var words = 0u;
    if (params.first > 0u) {
        // What the stretch before has come to.
        let place = start + entry(params.first - 1u) * params.inner;
        let at = params.skip + place;
        words = y[params.skip_y + place];
        sum = bitcast<f32>(words);
        if (EXCLUSIVE) {
            if (WORDS) { words += x[at]; } else { sum += widen(x[word_of(at, HALF)], at, HALF); }
        }
    }
    for (var step = 0u; step < params.steps; step++) {
        let place = start + entry(params.first + step) * params.inner;
        let at = params.skip + place;
        let before = select(bitcast<u32>(sum + lost), words, WORDS);
        if (WORDS) {
            words += x[at];
        } else {
            let value = widen(x[word_of(at, HALF)], at, HALF);
            let next = sum + value;
            // The smaller of both lost digits; an infinite sum has none to keep.
            let rest = select((value - next) + sum, (sum - next) + value, abs(sum) >= abs(value));
            if (!is_nan(rest) && !is_infinite(rest)) { lost += rest; }
            sum = next;
        }
        let including = select(bitcast<u32>(sum + lost), words, WORDS);
        y[params.skip_y + place] = select(including, before, EXCLUSIVE);
    }
}
