// Vectors of four f16 elements, widened on integers: exact on every device.

@group(0) @binding(2) var<storage, read> a: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> b: array<vec2<u32>>;

fn halves(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(
        half_to_float(words.x & 0xffffu), half_to_float(words.x >> 16u),
        half_to_float(words.y & 0xffffu), half_to_float(words.y >> 16u),
    );
}

fn halves_a(place: u32) -> vec4<f32> {
    return halves(a[place]);
}

fn halves_b(place: u32) -> vec4<f32> {
    return halves(b[place]);
}
