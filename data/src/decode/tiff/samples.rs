//! Samples of TIFF to bytes of grey or RGB.

/// Samples of 1, 2, 4 or 8 bits, packed in rows of whole bytes with `across` samples, to one each.
pub(super) fn unpack(packed: &[u8], bits: u64, across: usize) -> Vec<u16> {
    if bits == 8 {
        return packed.iter().map(|&value| u16::from(value)).collect();
    }
    let bits = bits as usize;
    let mask = (1u16 << bits) - 1;
    let mut values = Vec::with_capacity(packed.len() * 8 / bits.max(1));
    for row in packed.chunks_exact((across * bits).div_ceil(8).max(1)) {
        values.extend((0..across).map(|index| {
            let at = index * bits;
            u16::from(row[at / 8]) >> (8 - bits - at % 8) & mask
        }));
    }
    values
}

/// The first of every `samples` samples as a byte: few bits are spread over 0..255, the low byte of
/// 16 bits is dropped.
pub(super) fn grey(values: &[u16], bits: u64, samples: usize, invert: bool) -> Vec<u8> {
    let scale = match bits {
        1 => 255,
        2 => 85,
        4 => 17,
        _ => 1,
    };
    let byte = |value: u16| if bits == 16 { (value >> 8) as u8 } else { (value * scale) as u8 };
    let light = |value: u16| if invert { 255 - byte(value) } else { byte(value) };
    values.iter().step_by(samples.max(1)).map(|&value| light(value)).collect()
}

/// Palette indices to RGB. `map` holds all reds, then all greens, then all blues, in 16 bits; some
/// writers stored 8, which is taken to be so where no value is larger.
pub(super) fn palette(values: &[u16], map: &[u64], bits: u64) -> Result<Vec<u8>, String> {
    let entries = 1usize << bits;
    if map.len() != 3 * entries {
        return Err(format!(
            "a palette of {} values, where {bits} bits a pixel need {}",
            map.len(),
            3 * entries
        ));
    }
    let shift = if map.iter().all(|&value| value < 256) { 0 } else { 8 };
    let byte =
        |channel: usize, index: u16| (map[channel * entries + usize::from(index)] >> shift) as u8;
    Ok(values.iter().flat_map(|&index| [0, 1, 2].map(|channel| byte(channel, index))).collect())
}

/// How luma and chroma become red, green and blue.
pub(super) struct Equations {
    /// Shares of red, green and blue in the luma.
    shares: [f64; 3],
    /// Black and white of the luma, zero and most of the two chromas.
    reference: [f64; 6],
}

impl Equations {
    /// From the two tags; the format's defaults where they are missing or make no sense.
    pub(super) fn of(shares: &[f64], reference: &[f64]) -> Self {
        let mut equations = Self {
            shares: [0.299, 0.587, 0.114],
            reference: [0.0, 255.0, 128.0, 255.0, 128.0, 255.0],
        };
        if let Ok(shares) = <[f64; 3]>::try_from(shares)
            && shares.iter().all(|share| (0.01..1.0).contains(share))
        {
            equations.shares = shares;
        }
        if let Ok(reference) = <[f64; 6]>::try_from(reference)
            && reference.chunks_exact(2).all(|pair| pair[1] - pair[0] >= 1.0)
        {
            equations.reference = reference;
        }
        equations
    }

    /// One pixel.
    pub(super) fn rgb(&self, luma: u8, cb: u8, cr: u8) -> [u8; 3] {
        let [black, white, cb_zero, cb_most, cr_zero, cr_most] = self.reference;
        let luma = (f64::from(luma) - black) * 255.0 / (white - black);
        let cb = (f64::from(cb) - cb_zero) * 127.0 / (cb_most - cb_zero);
        let cr = (f64::from(cr) - cr_zero) * 127.0 / (cr_most - cr_zero);
        let [red_share, green_share, blue_share] = self.shares;
        let red = luma + cr * (2.0 - 2.0 * red_share);
        let blue = luma + cb * (2.0 - 2.0 * blue_share);
        let green = (luma - red_share * red - blue_share * blue) / green_share;
        [red, green, blue].map(|value| value.round().clamp(0.0, 255.0) as u8)
    }
}
