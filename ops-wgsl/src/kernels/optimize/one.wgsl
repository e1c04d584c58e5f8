// Optimizers that keep one tensor of state: gradient descent (a velocity) and RMSprop (a mean square).

override NESTEROV: bool;
override RMS: bool;

struct Moved {
    w: vec4<f32>,
    one: vec4<f32>,
}

fn stepped(w: vec4<f32>, state: vec4<f32>, gradient: vec4<f32>, own: Own) -> Moved {
    let g = own.scale * gradient + own.decay * w;
    if (RMS) {
        let s = params.second * state + params.second_takes * g * g;
        return Moved(w - own.rate * (g / (sqrt(s) + params.epsilon)), s);
    }
    let v = own.kept * state + g;
    return Moved(w - own.rate * select(v, g + own.kept * v, NESTEROV), v);
}
