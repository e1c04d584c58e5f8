// Optimizers that keep two tensors of state: Adam (a mean gradient and a mean square) and RMSprop with
// momentum (a mean square and a velocity).

override RMS: bool;

@group(0) @binding(2) var<storage, read_write> one: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> two: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> gradient: array<vec4<f32>>;

fn step(i: u32) {
    let g = params.scale * gradient[i] + params.decay * w[i];
    if (RMS) {
        let s = params.second * one[i] + params.second_takes * g * g;
        let v = params.first * two[i] + g / (sqrt(s) + params.epsilon);
        one[i] = s;
        two[i] = v;
        w[i] -= params.rate * v;
    } else {
        let m = params.first * one[i] + params.first_takes * g;
        let s = params.second * two[i] + params.second_takes * g * g;
        one[i] = m;
        two[i] = s;
        w[i] = params.shrink * w[i] - params.rate * (m / (sqrt(s) * params.root + params.epsilon));
    }
}
