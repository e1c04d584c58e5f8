enable f16;

// Vectors of four f16 elements, widened by the device, which may flush subnormal ones.

@group(0) @binding(2) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> b: array<vec4<f16>>;

fn halves_a(place: u32) -> vec4<f32> {
    return vec4<f32>(a[place]);
}

fn halves_b(place: u32) -> vec4<f32> {
    return vec4<f32>(b[place]);
}
