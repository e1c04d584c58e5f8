// The end of a product whose depth was computed in parts: their sum, from the first to the last, and
// what is added to it. The parts are the depth of a: they lie `step_a` elements apart.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Four columns of a row an invocation.
    let i = flat_group(group, groups) * 64u + local;
    let fours = (params.n + 3u) / 4u;
    let line = i / fours;
    let at = places(line / params.m);
    if (at.beyond) { return; }
    let row = line % params.m;
    let own = columns(at, i % fours * 4u);
    let last = own.count - 1u;
    var place = at.a + row * params.pixel_a + own.first;
    var sums = vec4<f32>();
    for (var part = 0u; part < params.depth; part++) {
        sums += bitcast<vec4<f32>>(vec4<u32>(
            a[place], a[place + min(1u, last)], a[place + min(2u, last)], a[place + last],
        ));
        place += params.step_a;
    }
    finish4(at.y + row_of_y(row), own, sums);
}
