//! Progressive scans: each brings a band of the coefficients, or one more bit of it.

use super::super::header::{Scan, Tables, ZIGZAG};
use super::super::huffman::{Bits, Huffman, extended};
use super::super::{Fault, damaged};
use super::{Coded, Decoder};

impl Decoder<'_> {
    /// Decodes one progressive scan into coefficients.
    pub(super) fn progressive(
        &mut self,
        scan: &Scan,
        tables: &Tables,
        coded: Coded,
    ) -> Result<(), Fault> {
        let (across, total) = self.layout(scan);
        let alone = scan.parts.len() == 1;
        let components = &self.frame.components;
        let progress = &mut self.progress;
        let [before, now] = scan.bits;
        if scan.band[0] == 0 {
            let mut tables_of = Vec::with_capacity(scan.parts.len());
            for &(_, dc, _) in &scan.parts {
                // Later bits are not Huffman coded.
                let table = tables.dc[dc].as_deref();
                if table.is_none() && before == 0 {
                    return Err(damaged(format!("DC Huffman table {dc} is missing")));
                }
                tables_of.push(table);
            }
            let mut previous = [0i32; 4];
            return Self::units(&mut self.clean, coded, total, |bits, index, first| {
                if first {
                    previous = [0; 4];
                }
                let (unit_row, unit_col) = (index / across, index % across);
                for (part, &(component, ..)) in scan.parts.iter().enumerate() {
                    let [v, h] = if alone { [1; 2] } else { components[component].factors };
                    let stride = components[component].padded[1];
                    let values = &mut progress[component].coefficients;
                    for row in unit_row * v..(unit_row + 1) * v {
                        for col in unit_col * h..(unit_col + 1) * h {
                            let dc = &mut values[(row * stride + col) * 64];
                            match tables_of[part] {
                                Some(table) if before == 0 => {
                                    let size = u32::from(table.symbol(bits)?);
                                    let difference = extended(bits.take(size), size);
                                    previous[part] = previous[part].wrapping_add(difference);
                                    *dc = previous[part].wrapping_shl(now) as i16;
                                }
                                _ => *dc |= (bits.take(1) as i16) << now,
                            }
                        }
                    }
                }
                Ok(())
            });
        }
        let (component, _, ac) = scan.parts[0];
        let table = tables.ac[ac]
            .as_deref()
            .ok_or_else(|| damaged(format!("AC Huffman table {ac} is missing")))?;
        let stride = components[component].padded[1];
        let values = &mut progress[component].coefficients;
        // Blocks that are yet to come and have no new coefficients in this band.
        let mut run = 0u32;
        Self::units(&mut self.clean, coded, total, |bits, index, first| {
            if first {
                run = 0;
            }
            let at = (index / across * stride + index % across) * 64;
            let block = &mut values[at..at + 64];
            if before == 0 {
                first_pass(bits, table, scan.band, now, &mut run, block)
            } else {
                refine(bits, table, scan.band, now, &mut run, block)
            }
        })
    }
}

/// A block's first bits of a band of AC coefficients.
#[inline(always)]
fn first_pass(
    bits: &mut Bits,
    table: &Huffman,
    [first, last]: [usize; 2],
    bit: u32,
    run: &mut u32,
    block: &mut [i16],
) -> Result<(), Fault> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut k = first;
    while k <= last {
        let symbol = table.symbol(bits)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size > 0 {
            k += zeros as usize;
            let value = extended(bits.take(size), size);
            if k > last {
                return Err(damaged("the coded data holds more coefficients than its band has"));
            }
            block[usize::from(ZIGZAG[k] & 63)] = (value << bit) as i16;
            k += 1;
        } else if zeros == 15 {
            k += 16;
        } else {
            *run = (1 << zeros) + bits.take(zeros) - 1;
            break;
        }
    }
    Ok(())
}

/// A block's next bit of a band of AC coefficients.
#[inline(always)]
fn refine(
    bits: &mut Bits,
    table: &Huffman,
    [first, last]: [usize; 2],
    bit: u32,
    run: &mut u32,
    block: &mut [i16],
) -> Result<(), Fault> {
    let (plus, minus) = (1i16 << bit, -1i16 << bit);
    let correct = |bits: &mut Bits, value: &mut i16| {
        if bits.take(1) == 1 && *value & plus == 0 {
            *value = value.wrapping_add(if *value >= 0 { plus } else { minus });
        }
    };
    let mut k = first;
    if *run == 0 {
        while k <= last {
            let symbol = table.symbol(bits)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut new = 0;
            if size > 0 {
                new = if bits.take(1) == 1 { plus } else { minus };
            } else if zeros != 15 {
                *run = (1 << zeros) + bits.take(zeros);
                break;
            }
            // Past the zeros; what is set already gets its next bit on the way.
            while k <= last {
                let value = &mut block[usize::from(ZIGZAG[k] & 63)];
                if *value != 0 {
                    correct(bits, value);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if new != 0 {
                if k > last {
                    return Err(damaged(
                        "the coded data holds more coefficients than its band has",
                    ));
                }
                block[usize::from(ZIGZAG[k] & 63)] = new;
            }
            k += 1;
        }
    }
    if *run > 0 {
        for &at in &ZIGZAG[k..=last.max(k)] {
            let value = &mut block[usize::from(at & 63)];
            if k <= last && *value != 0 {
                correct(bits, value);
            }
            k += 1;
        }
        *run -= 1;
    }
    Ok(())
}
