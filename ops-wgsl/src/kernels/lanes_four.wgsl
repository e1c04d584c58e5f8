// Kernels along channels, a vector of four channels an invocation: where their number is a multiple of
// four, of f32. The same functions as for one channel.

alias Floats = vec4<f32>;
alias Words = vec4<u32>;
alias Truths = vec4<bool>;

// Channels of an invocation.
const LANES = 4u;

// Where the vector that begins with an element lies.
fn place_of(i: u32, half: bool) -> u32 {
    return i / 4u;
}

fn loaded(word: Words, i: u32, half: bool) -> Floats {
    return bitcast<vec4<f32>>(word);
}

fn roots(x: Floats) -> Floats {
    return vec4<f32>(square_root(x.x), square_root(x.y), square_root(x.z), square_root(x.w));
}
