// Optimizers that keep two tensors of state: Adam (a mean gradient and a mean square) and RMSprop with
// momentum (a mean square and a velocity).

override RMS: bool;

struct Moved {
    w: vec4<f32>,
    one: vec4<f32>,
    two: vec4<f32>,
}

fn stepped(
    w: vec4<f32>,
    one: vec4<f32>,
    two: vec4<f32>,
    gradient: vec4<f32>,
    own: Own,
) -> Moved {
    let g = own.scale * gradient + own.decay * w;
    if (RMS) {
        let s = params.second * one + params.second_takes * g * g;
        let v = own.kept * two + g / (sqrt(s) + params.epsilon);
        return Moved(w - own.rate * v, s, v);
    }
    let m = params.first * one + params.first_takes * g;
    let s = params.second * two + params.second_takes * g * g;
    let moved = own.kept * w - own.rate * (m / (sqrt(s) * params.root + params.epsilon));
    return Moved(moved, m, s);
}
