//! Colours for numbers.

/// Colours of 0, 1/4, 1/2, 3/4 and 1: each brighter than the one before, so that they keep their
/// order in grey too.
const WARM: [[f32; 3]; 5] = [
    [0.0, 0.0, 0.0],
    [72.0, 14.0, 106.0],
    [187.0, 42.0, 84.0],
    [249.0, 128.0, 30.0],
    [252.0, 245.0, 170.0],
];

/// The same for 0 to -1.
const COLD: [[f32; 3]; 5] = [
    [0.0, 0.0, 0.0],
    [14.0, 34.0, 84.0],
    [24.0, 88.0, 168.0],
    [64.0, 160.0, 224.0],
    [190.0, 236.0, 255.0],
];

/// The colour of a number of -1..=1: black for 0, by way of red to a light yellow for 1, by way of
/// blue to a light one for -1. What lies beyond gets the colour of the end, what is no number
/// black.
pub fn heat_color(value: f32) -> [u8; 3] {
    let stops = if value < 0.0 { &COLD } else { &WARM };
    let last = stops.len() - 1;
    let strength = if value.is_nan() { 0.0 } else { value.abs().min(1.0) };
    let place = strength * last as f32;
    let stop = (place as usize).min(last - 1);
    let part = place - stop as f32;
    std::array::from_fn(|c| {
        let (from, to) = (stops[stop][c], stops[stop + 1][c]);
        (from + (to - from) * part).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_grow_brighter_both_ways() {
        let brightness = |value: f32| heat_color(value).map(u32::from).iter().sum::<u32>();
        for sign in [1.0, -1.0] {
            let all: Vec<u32> = (0..=32).map(|i| brightness(sign * i as f32 / 32.0)).collect();
            assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
        }
        assert_eq!(heat_color(f32::NAN), [0; 3]);
        assert_eq!(heat_color(f32::INFINITY), heat_color(1.0));
        assert_eq!(heat_color(-7.0), heat_color(-1.0));
    }
}
