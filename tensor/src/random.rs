//! Random numbers by counting: the same bits on every device, in any order.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! 2011) is a keyed function of a counter. Number `i` of a sequence is word `i % 4` of block
//! `i / 4`, so any element can be made without those before it.

/// Which random sequence: a seed for the run, a stream for the use within it.
///
/// ```
/// use striate_tensor::RandomKey;
///
/// let key = RandomKey::new(7, 0);
/// assert_eq!(key.number(1000), RandomKey::new(7, 0).number(1000));
/// assert_ne!(key.number(1000), RandomKey::new(7, 1).number(1000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RandomKey {
    /// What the user chose.
    pub seed: u64,
    /// Which sequence of that seed: a layer, a step, a worker.
    pub stream: u64,
}

impl RandomKey {
    /// A key.
    pub const fn new(seed: u64, stream: u64) -> Self {
        RandomKey { seed, stream }
    }

    /// Block `index` of the sequence: its numbers `4 · index ..= 4 · index + 3`.
    pub fn block(&self, index: u64) -> [u32; 4] {
        let counter =
            [index as u32, (index >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32];
        philox4x32_10(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// Number `i` of the sequence.
    pub fn number(&self, i: u64) -> u32 {
        self.block(i / 4)[(i % 4) as usize]
    }

    /// Number `i` as a float in `[0, 1)`: see [`unit_float`].
    pub fn unit(&self, i: u64) -> f32 {
        unit_float(self.number(i))
    }
}

/// The upper 24 bits of a random number as a float in `[0, 1)`; every result is exact.
pub fn unit_float(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two random numbers as two independent normal ones (Box and Muller 1958).
pub fn normal_pair(a: u32, b: u32) -> [f32; 2] {
    // 1 - u lies in (0, 1], so the logarithm is finite.
    let radius = (-2.0 * (1.0 - unit_float(a)).ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * unit_float(b)).sin_cos();
    [radius * cos, radius * sin]
}

/// Philox4x32 with 10 rounds.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9E37_79B9);
            key[1] = key[1].wrapping_add(0xBB67_AE85);
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their Random123 library.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32_10(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn numbers_depend_on_seed_stream_and_place_only() {
        let key = RandomKey::new(7, 3);
        assert_eq!(key.number(9), key.block(2)[1]);
        assert_ne!(key.number(0), RandomKey::new(7, 4).number(0));
        assert_ne!(key.number(0), RandomKey::new(8, 3).number(0));
    }

    #[test]
    fn unit_floats_are_uniform_and_normals_are_normal() {
        let key = RandomKey::new(1, 0);
        let n = 40_000u64;
        let units: Vec<f64> = (0..n).map(|i| f64::from(key.unit(i))).collect();
        assert!(units.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = units.iter().sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let normals: Vec<f64> = (0..n / 2)
            .flat_map(|i| normal_pair(key.number(2 * i), key.number(2 * i + 1)))
            .map(f64::from)
            .collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        assert_eq!(unit_float(u32::MAX), 1.0 - 1.0 / 16_777_216.0);
    }
}
