//! Weights as integers of 8 bits.

/// The largest integer. -128 is not used, so that both signs reach equally far.
const LARGEST: f32 = 127.0;
/// 1.5 · 2^52: adding it to a small number, and taking it away, rounds that to the nearest integer, ties to
/// even. A call of the C library for each weight would take longer than all else that reading a model does.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

/// Finite weights `[outputs, …]` as integers of -127 to 127, and what an integer stands for in each output:
/// its largest magnitude over 127. The integers of an output have the sum of its weights, as nearly as
/// integers can.
///
/// ```
/// let (integers, scales) = striate_tensor::ops::int8_weights(&[1.27, -0.5, 0.0, 0.0], 2);
/// assert_eq!((integers, scales), (vec![127, -50, 0, 0], vec![0.01, 0.0]));
/// ```
pub fn int8_weights(weights: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let row = (weights.len() / outputs.max(1)).max(1);
    let mut integers = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(outputs);
    for weights in weights.chunks(row) {
        let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let scale = largest / LARGEST;
        let factor = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let exact: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * factor).collect();
        integers.extend(rounded(&exact).iter().map(|integer| *integer as i8));
        scales.push(scale);
    }
    scales.resize(outputs, 0.0);
    (integers, scales)
}

/// The nearest integers whose sum is that of the numbers: where rounding moves the sum, those move to
/// their second nearest integer for which that costs least. What a layer sees is mostly of one sign, so
/// that a sum which is off would shift all outputs of the channel.
fn rounded(exact: &[f64]) -> Vec<f64> {
    let limit = f64::from(LARGEST);
    let round = |value: &f64| ((value + ROUNDING) - ROUNDING).clamp(-limit, limit);
    let mut nearest: Vec<f64> = exact.iter().map(round).collect();
    let off: f64 = nearest.iter().zip(exact).map(|(near, exact)| near - exact).sum();
    let (moves, step) = (off.abs().round() as usize, -off.signum());
    // Weights that were integers before are so again, without a search.
    if moves == 0 {
        return nearest;
    }
    let error = |place: usize, nearest: &[f64]| (nearest[place] - exact[place]) * step;
    // The most of the error that is to be undone first; ties by their place, for the same bits.
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|a, b| error(*a, &nearest).total_cmp(&error(*b, &nearest)));
    let is_free = |place: &usize| (nearest[*place] + step).abs() <= limit;
    let moved: Vec<usize> = order.into_iter().filter(is_free).take(moves).collect();
    for place in moved {
        nearest[place] += step;
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_the_sum_of_the_weights_and_are_found_again() {
        // All a little above a half, so that each alone is rounded up.
        let mut weights: Vec<f32> = (0..200).map(|i| ((i % 90) as f32 + 0.51) / 127.0).collect();
        weights[7] = -1.0;
        let (integers, scales) = int8_weights(&weights, 1);
        let sum: f64 = integers.iter().map(|integer| f64::from(*integer)).sum();
        let exact: f64 = weights.iter().map(|weight| f64::from(*weight) * 127.0).sum();
        assert!((sum - exact).abs() <= 0.5001, "{sum} for {exact}");
        assert_eq!((integers[7], scales[0]), (-127, 1.0 / 127.0));
        for (integer, weight) in integers.iter().zip(&weights) {
            assert!((f32::from(*integer) - weight * 127.0).abs() < 1.0);
        }
        let wide: Vec<f32> =
            integers.iter().map(|integer| f32::from(*integer) * scales[0]).collect();
        assert_eq!(int8_weights(&wide, 1), (integers, scales));
        assert_eq!(int8_weights(&[], 3), (vec![], vec![0.0; 3]));
    }
}
