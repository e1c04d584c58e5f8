//! Turning a view about its centre.

/// Turns `[rows, cols, channels]` by an angle, to the left for a positive one; between pixels values
/// are interpolated along both axes, and beyond the edge they are those of the edge.
pub(super) fn turn(values: &mut [f32], [rows, cols, channels]: [usize; 3], degrees: f32) {
    let before = values.to_vec();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = [rows, cols].map(|extent| (extent as f32 - 1.0) / 2.0);
    let pixels = values.chunks_exact_mut(channels).enumerate();
    for (index, pixel) in pixels {
        let (down, right) = ((index / cols) as f32 - middle[0], (index % cols) as f32 - middle[1]);
        let row = Between::new(middle[0] + cos * down + sin * right, rows);
        let col = Between::new(middle[1] + cos * right - sin * down, cols);
        for (channel, value) in pixel.iter_mut().enumerate() {
            let at = |row: usize, col: usize| before[(row * cols + col) * channels + channel];
            let line =
                |row: usize| at(row, col.low) + col.part * (at(row, col.high) - at(row, col.low));
            *value = line(row.low) + row.part * (line(row.high) - line(row.low));
        }
    }
}

/// A place between two pixels.
struct Between {
    low: usize,
    high: usize,
    /// How far it is from the first to the second.
    part: f32,
}

impl Between {
    fn new(place: f32, extent: usize) -> Self {
        let place = place.clamp(0.0, (extent - 1) as f32);
        let low = place as usize;
        Between { low, high: (low + 1).min(extent - 1), part: place - low as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 x 5 pixels of two channels: a bright one right of the middle, and all of one value.
    fn view() -> Vec<f32> {
        (0..25).flat_map(|i| [if i == 14 { 100.0 } else { 0.0 }, 7.0]).collect()
    }

    fn turned(degrees: f32) -> Vec<f32> {
        let mut values = view();
        turn(&mut values, [5, 5, 2], degrees);
        values
    }

    #[test]
    fn a_quarter_turn_to_the_left_puts_right_on_top() {
        let values = turned(90.0);
        for (i, pixel) in values.as_chunks::<2>().0.iter().enumerate() {
            let expected = if i == 2 { 100.0 } else { 0.0 };
            assert!((pixel[0] - expected).abs() < 1e-3, "{i}: {pixel:?}");
            assert!((pixel[1] - 7.0).abs() < 1e-5, "{i}: {pixel:?}");
        }
    }

    #[test]
    fn a_turn_and_its_reverse_keep_the_middle() {
        let mut values: Vec<f32> =
            (0..9 * 9).map(|i| (i / 9) as f32 * 3.0 - (i % 9) as f32).collect();
        let before = values.clone();
        turn(&mut values, [9, 9, 1], 20.0);
        assert!(values.iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.5));
        turn(&mut values, [9, 9, 1], -20.0);
        for row in 3..6 {
            for col in 3..6 {
                let i = row * 9 + col;
                assert!((values[i] - before[i]).abs() < 1e-3, "{row}, {col}");
            }
        }
    }
}
