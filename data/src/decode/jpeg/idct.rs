//! Blocks of coefficients to pixels, to the bit as libjpeg's accurate integer method (`islow`).
//!
//! The method is that of Loeffler, Ligtenberg and Moschytz with 11 multiplications an axis, in
//! fixed point: 13 bits of fraction for constants, 2 extra bits between columns and rows.

use std::num::Wrapping;

pub(super) type Whole = Wrapping<i32>;

/// A constant with 13 bits of fraction.
pub(super) const fn fixed(value: f64) -> Whole {
    Wrapping((value * 8192.0 + 0.5) as i32)
}

/// One axis: eight coefficients to eight sums with 13 bits of fraction more than they had.
#[inline(always)]
fn axis(c: [Whole; 8]) -> [Whole; 8] {
    // Even part.
    let shared = (c[2] + c[6]) * fixed(0.541196100);
    let low = shared - c[6] * fixed(1.847759065);
    let high = shared + c[2] * fixed(0.765366865);
    let sum = (c[0] + c[4]) << 13;
    let difference = (c[0] - c[4]) << 13;
    let even = [sum + high, difference + low, difference - low, sum - high];
    // Odd part.
    let z = [c[7] + c[1], c[5] + c[3], c[7] + c[3], c[5] + c[1]];
    let shared = (z[2] + z[3]) * fixed(1.175875602);
    let z1 = z[0] * fixed(0.899976223);
    let z2 = z[1] * fixed(2.562915447);
    let z3 = shared - z[2] * fixed(1.961570560);
    let z4 = shared - z[3] * fixed(0.390180644);
    let odd = [
        c[1] * fixed(1.501321110) - z1 + z4,
        c[3] * fixed(3.072711026) - z2 + z3,
        c[5] * fixed(2.053119869) - z2 + z4,
        c[7] * fixed(0.298631336) - z1 + z3,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

/// A sum to a pixel: rounded, moved from -128..127 to 0..255.
#[inline(always)]
fn pixel(sum: Whole, fraction: usize) -> u8 {
    let rounded = (sum + Wrapping(1 << (fraction - 1))) >> fraction;
    (rounded.0.saturating_add(128)).clamp(0, 255) as u8
}

/// Turns a block of coefficients (multiplied by their quantisers, rows of 8) into 8 x 8 pixels, rows
/// `stride` apart. `last` is the last coefficient in the file's order that may not be 0.
pub(super) fn block(coefficients: &[i32; 64], last: usize, pixels: &mut [u8], stride: usize) {
    match last {
        0 => {
            let value = pixel(Wrapping(coefficients[0]) << 2, 5);
            for row in pixels.chunks_mut(stride).take(8) {
                row[..8].fill(value);
            }
        }
        // The first ten lie within 4 x 4.
        1..=9 => transform::<4>(coefficients, pixels, stride),
        _ => transform::<8>(coefficients, pixels, stride),
    }
}

/// The transform of a block whose coefficients lie within `SIDE` x `SIDE`.
#[inline(always)]
fn transform<const SIDE: usize>(coefficients: &[i32; 64], pixels: &mut [u8], stride: usize) {
    let mut between = [[Wrapping(0); 8]; SIDE];
    for (col, into) in between.iter_mut().enumerate() {
        let mut column = [Wrapping(0); 8];
        for row in 0..SIDE {
            column[row] = Wrapping(coefficients[row * 8 + col]);
        }
        if column[1..].iter().all(|c| c.0 == 0) {
            // Not `<< 2`, so that a damaged file overflows as below.
            *into = [((column[0] << 13) + Wrapping(1 << 10)) >> 11; 8];
        } else {
            // 13 bits of fraction less the 2 that stay.
            *into = axis(column).map(|sum| (sum + Wrapping(1 << 10)) >> 11);
        }
    }
    for (row, pixels) in pixels.chunks_mut(stride).take(8).enumerate() {
        let mut line = [Wrapping(0); 8];
        for col in 0..SIDE {
            line[col] = between[col][row];
        }
        // The 2 bits, 13 more, and 3 of the two axes' scale.
        let sums = axis(line);
        for (pixel_at, sum) in pixels[..8].iter_mut().zip(sums) {
            *pixel_at = pixel(sum, 18);
        }
    }
}
