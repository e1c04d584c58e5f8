// What the steps of optimizers share. A dispatch moves SLOTS tensors of any sizes, whose workgroups come one
// after another: for small ones a dispatch is dearer than what it computes. Each shader has `stepped`, and
// bindings and `step` made for its number of tensors. Four elements an invocation: what is bound ends with
// whole vectors, and nobody reads beyond the last element.

// What differs from tensor to tensor; four numbers of `Params`, since uniforms align structs to vectors.
struct Own {
    scale: f32,
    decay: f32,
    rate: f32,
    // Of the velocity; of Adam's weights.
    kept: f32,
}

struct Params {
    // Elements of each tensor.
    counts: array<vec4<u32>, 2>,
    first: f32,
    first_takes: f32,
    second: f32,
    second_takes: f32,
    root: f32,
    epsilon: f32,
    own: array<vec4<f32>, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var rest = flat_group(group, groups);
    for (var slot = 0u; slot < SLOTS; slot++) {
        let count = params.counts[slot >> 2u][slot & 3u];
        let own = (count + 1023u) / 1024u;
        if (rest < own) {
            let i = rest * 256u + local;
            if (4u * i < count) { step(slot, i); }
            return;
        }
        rest -= own;
    }
}
