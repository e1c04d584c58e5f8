//! Light and colour: what ccv calls image manipulation, and colour gain.

use super::draw::{Draw, below};
use crate::statistics::ColorComponents;

/// The weights of red, green and blue in luma.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// The orders of three steps.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Multiplies brightness, saturation and contrast by factors within `1 - range ..= 1 + range`, in a
/// random order. Nothing is cut off at 0 or 255. Of grey pictures saturation is left out.
pub(super) fn jitter(values: &mut [f32], channels: usize, range: f32, draw: &mut Draw) {
    let order = ORDERS[below(draw.unit(), ORDERS.len())];
    let factors = [(); 3].map(|()| 1.0 + range * (2.0 * draw.unit() - 1.0));
    if range == 0.0 {
        return;
    }
    for step in order {
        let factor = factors[step];
        match step {
            0 => values.iter_mut().for_each(|value| *value *= factor),
            1 if channels == 3 => saturate(values, factor),
            2 => contrast(values, channels, factor),
            _ => {}
        }
    }
}

/// Moves each pixel from (or to) the grey of its luma.
fn saturate(values: &mut [f32], factor: f32) {
    for pixel in values.as_chunks_mut::<3>().0 {
        let grey = pixel.iter().zip(LUMA).map(|(value, weight)| value * weight).sum::<f32>();
        *pixel = pixel.map(|value| grey + (value - grey) * factor);
    }
}

/// Moves each value from (or to) the average of its channel.
fn contrast(values: &mut [f32], channels: usize, factor: f32) {
    let pixels = (values.len() / channels).max(1) as f64;
    let mut sums = vec![0f64; channels];
    for pixel in values.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(value);
        }
    }
    let shifts: Vec<f32> =
        sums.iter().map(|sum| ((sum / pixels) * (1.0 - f64::from(factor))) as f32).collect();
    for pixel in values.chunks_exact_mut(channels) {
        for (value, shift) in pixel.iter_mut().zip(&shifts) {
            *value = *value * factor + shift;
        }
    }
}

/// Adds to every pixel the sum over the components of a normal number of deviation `gain`, times
/// eigenvalue, times eigenvector (Krizhevsky et al. 2012).
pub(super) fn gain(values: &mut [f32], colors: &ColorComponents, gain: f32, draw: &mut Draw) {
    let ([a, b], [c, _]) = (draw.normal_pair(), draw.normal_pair());
    let mut shift = [0f32; 3];
    for (factor, (value, vector)) in [a, b, c].iter().zip(colors.values.iter().zip(&colors.vectors))
    {
        for (shift, part) in shift.iter_mut().zip(vector) {
            *shift += factor * gain * value * part;
        }
    }
    for pixel in values.as_chunks_mut::<3>().0 {
        for (value, shift) in pixel.iter_mut().zip(shift) {
            *value += shift;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_keeps_the_average_and_saturation_the_luma() {
        let mut values = vec![10.0, 20.0, 30.0, 50.0, 60.0, 110.0];
        contrast(&mut values, 3, 0.5);
        assert_eq!(values, [20.0, 30.0, 50.0, 40.0, 50.0, 90.0]);
        let luma = |pixel: &[f32]| pixel.iter().zip(LUMA).map(|(v, w)| v * w).sum::<f32>();
        let before = luma(&values[..3]);
        saturate(&mut values, 0.0);
        assert!(values[..3].iter().all(|v| (v - before).abs() < 1e-4), "{values:?}");
    }
}
