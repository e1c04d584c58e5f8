// The transform of weights: GgGᵀ, columns first; an invocation an output and channel.

override HALF_W: bool;

struct Params {
    // Outputs times channels of a group.
    count: u32,
    channels: u32,
    // Elements before the first one of each, as bound.
    skip_w: u32,
    skip_to: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;

struct Six { a: f32, b: f32, c: f32, d: f32, e: f32, f: f32 }

// Gg
fn line(g: vec3<f32>) -> Six {
    let outer = g.x + g.z;
    let far = fma(4.0, g.z, g.x);
    return Six(
        0.25 * g.x, (-outer - g.y) / 6.0, (g.y - outer) / 6.0,
        fma(2.0, g.y, far) / 24.0, fma(-2.0, g.y, far) / 24.0, g.z,
    );
}

fn weight(i: u32) -> f32 {
    return widen(w[word_of(i, HALF_W)], i, HALF_W);
}

fn column(first: u32, col: u32) -> Six {
    let at = first + col * params.channels;
    let step = 3u * params.channels;
    return line(vec3<f32>(weight(at), weight(at + step), weight(at + 2u * step)));
}

fn store(row: u32, pair: u32, values: vec3<f32>) {
    let v = line(values);
    let at = params.skip_to + 6u * row * params.count + pair;
    to[at] = v.a;
    to[at + params.count] = v.b;
    to[at + 2u * params.count] = v.c;
    to[at + 3u * params.count] = v.d;
    to[at + 4u * params.count] = v.e;
    to[at + 5u * params.count] = v.f;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let pair = flat_group(group, groups) * 64u + index;
    if (pair >= params.count) { return; }
    let out = pair / params.channels;
    let first = params.skip_w + out * 9u * params.channels + pair % params.channels;
    let c0 = column(first, 0u);
    let c1 = column(first, 1u);
    let c2 = column(first, 2u);
    store(0u, pair, vec3<f32>(c0.a, c1.a, c2.a));
    store(1u, pair, vec3<f32>(c0.b, c1.b, c2.b));
    store(2u, pair, vec3<f32>(c0.c, c1.c, c2.c));
    store(3u, pair, vec3<f32>(c0.d, c1.d, c2.d));
    store(4u, pair, vec3<f32>(c0.e, c1.e, c2.e));
    store(5u, pair, vec3<f32>(c0.f, c1.f, c2.f));
}
