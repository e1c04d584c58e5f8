// ccv's gradient descent: v = momentum v - decay rate w - rate scale gradient, then w = w + v.

struct Moved {
    w: vec4<f32>,
    one: vec4<f32>,
}

// `decay` is decay * rate, and `rate` is rate * scale.
fn stepped(w: vec4<f32>, v: vec4<f32>, gradient: vec4<f32>, own: Own) -> Moved {
    let step = own.kept * v - own.decay * w - own.rate * gradient;
    return Moved(w + step, step);
}
