// Weighted sums over rows and cols: x [n, rows, cols, channels] to y [n, out rows, out cols, channels].
// Images of another size or with a border, and the gradients.

override HALF: bool;

struct Params {
    // Elements of y.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    // Where in the table what follows begins.
    col_starts: u32,
    row_entries: u32,
    col_entries: u32,
    skip: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
// Where the entries of each output row begin, and one more; of each output col; then the entries of rows
// and of cols: a row or col of x, and its weight.
@group(0) @binding(3) var<storage, read> table: array<u32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let channel = i % params.channels;
    let pixel = i / params.channels;
    let out_col = pixel % params.out_cols;
    let out_row = (pixel / params.out_cols) % params.out_rows;
    let image = pixel / (params.out_cols * params.out_rows);
    let first_col = table[params.col_starts + out_col];
    let past_col = table[params.col_starts + out_col + 1u];
    var sum = 0.0;
    for (var r = table[out_row]; r < table[out_row + 1u]; r++) {
        let row = table[params.row_entries + 2u * r];
        let by_row = bitcast<f32>(table[params.row_entries + 2u * r + 1u]);
        var line = 0.0;
        for (var c = first_col; c < past_col; c++) {
            let col = table[params.col_entries + 2u * c];
            let by_col = bitcast<f32>(table[params.col_entries + 2u * c + 1u]);
            let at = ((image * params.rows + row) * params.cols + col) * params.channels + channel;
            line += by_col * load(at);
        }
        sum += by_row * line;
    }
    y[params.skip_y + i] = sum;
}
