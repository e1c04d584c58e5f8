// Activations whose slope is 1 or 0, of one number or of a vector of them. They compare bits, which no
// device takes to be without NaN.

// 0 none, 1 ReLU, 2 a clamp.
override ACTIVATION: u32;

fn are_nan(x: Floats) -> Truths {
    return (bitcast<Words>(x) & Words(0x7fffffffu)) > Words(INFINITY_BITS);
}

// As `order`.
fn orders(x: Floats) -> Words {
    let bits = bitcast<Words>(x);
    let joined = select(bits, Words(0u), bits == Words(0x80000000u));
    return select(joined | Words(0x80000000u), ~joined, joined > Words(0x7fffffffu));
}

// What the activation makes of y; NaN stays.
fn activated(y: Floats, low: f32, high: f32) -> Floats {
    if (ACTIVATION == 1u) {
        let below = bitcast<Words>(y) - Words(0x80000000u) <= Words(INFINITY_BITS);
        return select(y, Floats(0.0), below);
    }
    if (ACTIVATION == 2u) {
        let place = orders(y);
        let above = select(y, Floats(high), place > Words(order(high)));
        return select(select(above, Floats(low), place < Words(order(low))), y, are_nan(y));
    }
    return y;
}

// dy where the activation of y has a slope of 1, and 0 elsewhere. It moves the bits of dy. ReLU passes NaN, a
// clamp does not.
fn passed(dy: Floats, y: Floats, low: f32, high: f32) -> Floats {
    if (ACTIVATION == 1u) {
        let bits = bitcast<Words>(y);
        let closed = (bits == Words(0u)) | (bits - Words(0x80000000u) <= Words(INFINITY_BITS));
        return select(dy, Floats(0.0), closed);
    }
    if (ACTIVATION == 2u) {
        let place = orders(y);
        let beyond = (place < Words(order(low))) | (place > Words(order(high)));
        return select(dy, Floats(0.0), beyond | are_nan(y));
    }
    return dy;
}
