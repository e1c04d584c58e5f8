// Optimizers that keep one tensor of state: gradient descent (a velocity) and RMSprop (a mean square).

override NESTEROV: bool;
override RMS: bool;

@group(0) @binding(2) var<storage, read_write> state: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;

fn step(i: u32) {
    let g = params.scale * gradient[i] + params.decay * w[i];
    if (RMS) {
        let s = params.second * state[i] + params.second_takes * g * g;
        state[i] = s;
        w[i] -= params.rate * (g / (sqrt(s) + params.epsilon));
    } else {
        let v = params.first * state[i] + g;
        state[i] = v;
        w[i] -= params.rate * select(v, g + params.first * v, NESTEROV);
    }
}
