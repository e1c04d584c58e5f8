//! What the decoder does with a processor's vectors, chosen when it runs. Without them the portable
//! code does the same; all of it is whole numbers, so the pixels are the same to the bit.

use super::header::{Colours, Frame};
use super::scan::Plane;
use super::{idct, upsample};

/// The instructions that the decoder uses: a proof that the processor has them, for only detection
/// makes the faster ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Vectors {
    /// The best that this processor has.
    pub(super) fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self(Kind::Avx2);
        }
        Self(Kind::Portable)
    }

    /// What every processor has.
    #[cfg(test)]
    pub(super) fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// [`idct::block`].
    #[inline(always)]
    pub(super) fn block(
        self,
        coefficients: &[i32; 64],
        last: usize,
        pixels: &mut [u8],
        stride: usize,
    ) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kind is only made where AVX2 was detected.
            Kind::Avx2 if last > 0 => unsafe { x86_64::block(coefficients, pixels, stride) },
            _ => idct::block(coefficients, last, pixels, stride),
        }
    }

    /// [`upsample::pixels`].
    pub(super) fn pixels(self, frame: &Frame, planes: &[Plane], colours: Colours) -> Vec<u8> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kind is only made where AVX2 was detected.
            Kind::Avx2 => unsafe { x86_64::pixels(frame, planes, colours) },
            Kind::Portable => upsample::pixels(frame, planes, colours),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::super::header::{Colours, Frame};
    use super::super::idct::{Whole, fixed};
    use super::super::scan::Plane;
    use super::super::upsample;

    /// [`upsample::pixels`], compiled for AVX2: it is inlined, with all that it calls.
    #[target_feature(enable = "avx2")]
    pub(super) fn pixels(frame: &Frame, planes: &[Plane], colours: Colours) -> Vec<u8> {
        upsample::pixels(frame, planes, colours)
    }

    /// [`super::Vectors::block`], a vector for each row of coefficients.
    #[target_feature(enable = "avx2")]
    pub(super) fn block(coefficients: &[i32; 64], pixels: &mut [u8], stride: usize) {
        let mut lines = [_mm256_setzero_si256(); 8];
        for (line, c) in lines.iter_mut().zip(coefficients.as_chunks::<8>().0) {
            *line = _mm256_setr_epi32(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]);
        }
        let half = _mm256_set1_epi32(1 << 10);
        let between = axis(lines).map(|sum| _mm256_srai_epi32::<11>(_mm256_add_epi32(sum, half)));
        let half = _mm256_set1_epi32(1 << 17);
        let columns = axis(transposed(between))
            .map(|sum| _mm256_srai_epi32::<18>(_mm256_add_epi32(sum, half)));
        // Columns side by side: four of the values of rows 0 to 3 in the lower half, of 4 to 7 in
        // the upper one. Both steps clamp, the second one to -128..=127.
        let pair = |at: usize| _mm256_packs_epi32(columns[at], columns[at + 1]);
        let left = _mm256_packs_epi16(pair(0), pair(2));
        let right = _mm256_packs_epi16(pair(4), pair(6));
        // Rows side by side, and -128..=127 to 0..=255.
        let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
        ));
        let shift = _mm256_set1_epi8(-128);
        let left = _mm256_xor_si256(_mm256_shuffle_epi8(left, order), shift);
        let right = _mm256_xor_si256(_mm256_shuffle_epi8(right, order), shift);
        let low = _mm256_unpacklo_epi32(left, right);
        let high = _mm256_unpackhi_epi32(left, right);
        let rows = [
            _mm256_extract_epi64::<0>(low),
            _mm256_extract_epi64::<1>(low),
            _mm256_extract_epi64::<0>(high),
            _mm256_extract_epi64::<1>(high),
            _mm256_extract_epi64::<2>(low),
            _mm256_extract_epi64::<3>(low),
            _mm256_extract_epi64::<2>(high),
            _mm256_extract_epi64::<3>(high),
        ];
        for (into, row) in pixels.chunks_mut(stride).zip(rows) {
            into[..8].copy_from_slice(&row.to_le_bytes());
        }
    }

    /// One axis of eight blocks' lines side by side, as the portable code has it.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn axis(c: [__m256i; 8]) -> [__m256i; 8] {
        let plus = |a, b| _mm256_add_epi32(a, b);
        let minus = |a, b| _mm256_sub_epi32(a, b);
        let times = |a, b: Whole| _mm256_mullo_epi32(a, _mm256_set1_epi32(b.0));
        // Even part.
        let shared = times(plus(c[2], c[6]), fixed(0.541196100));
        let low = minus(shared, times(c[6], fixed(1.847759065)));
        let high = plus(shared, times(c[2], fixed(0.765366865)));
        let sum = _mm256_slli_epi32::<13>(plus(c[0], c[4]));
        let difference = _mm256_slli_epi32::<13>(minus(c[0], c[4]));
        let even =
            [plus(sum, high), plus(difference, low), minus(difference, low), minus(sum, high)];
        // Odd part.
        let z = [plus(c[7], c[1]), plus(c[5], c[3]), plus(c[7], c[3]), plus(c[5], c[1])];
        let shared = times(plus(z[2], z[3]), fixed(1.175875602));
        let z1 = times(z[0], fixed(0.899976223));
        let z2 = times(z[1], fixed(2.562915447));
        let z3 = minus(shared, times(z[2], fixed(1.961570560)));
        let z4 = minus(shared, times(z[3], fixed(0.390180644)));
        let odd = [
            plus(minus(times(c[1], fixed(1.501321110)), z1), z4),
            plus(minus(times(c[3], fixed(3.072711026)), z2), z3),
            plus(minus(times(c[5], fixed(2.053119869)), z2), z4),
            plus(minus(times(c[7], fixed(0.298631336)), z1), z3),
        ];
        [
            plus(even[0], odd[0]),
            plus(even[1], odd[1]),
            plus(even[2], odd[2]),
            plus(even[3], odd[3]),
            minus(even[3], odd[3]),
            minus(even[2], odd[2]),
            minus(even[1], odd[1]),
            minus(even[0], odd[0]),
        ]
    }

    /// Rows to columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn transposed(v: [__m256i; 8]) -> [__m256i; 8] {
        let low = |a, b| _mm256_unpacklo_epi32(v[a], v[b]);
        let high = |a, b| _mm256_unpackhi_epi32(v[a], v[b]);
        // Of rows a and a + 1: columns 0 and 1 (and 4 and 5), then 2 and 3 (and 6 and 7).
        let pairs = [
            [low(0, 1), high(0, 1)],
            [low(2, 3), high(2, 3)],
            [low(4, 5), high(4, 5)],
            [low(6, 7), high(6, 7)],
        ];
        // Of four rows: column `at` (and `at` + 4).
        let four = |first: usize, at: usize| {
            let [a, b] = [pairs[first][at / 2], pairs[first + 1][at / 2]];
            if at.is_multiple_of(2) {
                _mm256_unpacklo_epi64(a, b)
            } else {
                _mm256_unpackhi_epi64(a, b)
            }
        };
        let [a0, a1, a2, a3] = [four(0, 0), four(0, 1), four(0, 2), four(0, 3)];
        let [b0, b1, b2, b3] = [four(2, 0), four(2, 1), four(2, 2), four(2, 3)];
        [
            _mm256_permute2x128_si256::<0x20>(a0, b0),
            _mm256_permute2x128_si256::<0x20>(a1, b1),
            _mm256_permute2x128_si256::<0x20>(a2, b2),
            _mm256_permute2x128_si256::<0x20>(a3, b3),
            _mm256_permute2x128_si256::<0x31>(a0, b0),
            _mm256_permute2x128_si256::<0x31>(a1, b1),
            _mm256_permute2x128_si256::<0x31>(a2, b2),
            _mm256_permute2x128_si256::<0x31>(a3, b3),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_block(coefficients: [i32; 64], last: usize) {
        // A block within rows of 11 values, the last of which is cut off.
        let mut want = [7; 7 * 11 + 8];
        let mut got = want;
        Vectors::portable().block(&coefficients, last, &mut want, 11);
        Vectors::detected().block(&coefficients, last, &mut got, 11);
        assert_eq!(got, want, "last {last} of {coefficients:?}");
    }

    /// A picture of random values, with its first component sampled by `factors`.
    fn check_pixels(size: [u8; 2], factors: u8, seed: u32, colours: Colours) {
        let [rows, cols] = size;
        let channels = match colours {
            Colours::Grey => 1,
            Colours::YCbCr | Colours::Rgb => 3,
            Colours::Cmyk | Colours::Ycck => 4,
        };
        let mut header = vec![8, 0, rows, 0, cols, channels];
        for id in 1..=channels {
            header.extend([id, if id == 1 { factors } else { 0x11 }, 0]);
        }
        let frame = Frame::read(0xc0, &header).unwrap();
        let mut state = seed;
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let planes: Vec<Plane> = frame
            .components
            .iter()
            .map(|component| {
                let [rows, cols] = component.padded;
                let values = (0..rows * cols * 64).map(|_| value()).collect();
                Plane { values, stride: cols * 8 }
            })
            .collect();
        let want = Vectors::portable().pixels(&frame, &planes, colours);
        let got = Vectors::detected().pixels(&frame, &planes, colours);
        assert!(got == want, "{rows} x {cols}, factors {factors:x}, {colours:?}");
    }

    proptest! {
        #[test]
        fn vectors_give_the_same_pixels(
            size in prop::array::uniform2(1u8..100),
            factors in prop::sample::select(vec![0x11, 0x21, 0x12, 0x22, 0x41, 0x44, 0x31]),
            seed: u32,
        ) {
            use Colours::{Cmyk, Grey, Rgb, YCbCr, Ycck};
            for colours in [Grey, YCbCr, Rgb, Cmyk, Ycck] {
                check_pixels(size, factors, seed, colours);
            }
        }

        #[test]
        fn vectors_give_the_same_blocks(
            few in prop::collection::vec((0usize..64, -2000i32..2000), 0..12),
            many in prop::array::uniform32(-300i32..300),
            any in prop::array::uniform32(any::<i32>()),
        ) {
            let mut block = [0; 64];
            for (at, value) in few {
                block[at] = value;
            }
            check_block(block, 63);
            let mut corner = [0; 64];
            for (row, col) in (0..4).flat_map(|row| (0..4).map(move |col| (row, col))) {
                corner[row * 8 + col] = block[row * 8 + col];
            }
            check_block(corner, 9);
            check_block(block, 0);
            for half in [many, any] {
                for (into, value) in block.iter_mut().zip(half.iter().chain(half.iter().rev())) {
                    *into = *value;
                }
                check_block(block, 63);
            }
        }
    }
}
