// Kernels along channels, one channel an invocation: for any number of channels, of any type of floats.

alias Floats = f32;
alias Words = u32;
alias Truths = bool;

// Channels of an invocation.
const LANES = 1u;

// Where an element lies.
fn place_of(i: u32, half: bool) -> u32 {
    return word_of(i, half);
}

fn loaded(word: Words, i: u32, half: bool) -> Floats {
    return widen(word, i, half);
}

fn roots(x: Floats) -> Floats {
    return square_root(x);
}
