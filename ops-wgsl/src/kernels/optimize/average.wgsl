// A moving average.

struct Moved {
    w: vec4<f32>,
}

fn stepped(w: vec4<f32>, x: vec4<f32>, own: Own) -> Moved {
    return Moved(w + params.first_takes * (x - w));
}
