// A moving average.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

fn step(i: u32) {
    w[i] += params.first_takes * (x[i] - w[i]);
}
