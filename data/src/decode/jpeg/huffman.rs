//! Huffman codes and the bits that they are read from.

use super::{Fault, damaged};

/// Codes up to this length are looked up at once.
const LOOK: u32 = 9;
/// Codes and the value that follows them, together up to this length, are looked up at once.
const FAST: u32 = 10;

/// Zeros, and the coefficient that follows them. A coefficient of 0 is the end of the block, or one
/// more zero after 15.
pub(super) struct Coefficient {
    pub(super) zeros: usize,
    pub(super) value: i32,
}

#[cold]
fn unknown_code() -> Fault {
    damaged("the coded data holds a code that is not in the table")
}

/// A Huffman table, made for decoding.
pub(super) struct Huffman {
    /// By the next [`LOOK`] bits: the code's length * 256 + its symbol, 0 for a longer code.
    look: [u16; 1 << LOOK],
    /// By the next [`FAST`] bits: coefficient * 65536 + zeros before it * 256 + length of code and
    /// coefficient; 0 where that is longer.
    fast: [i32; 1 << FAST],
    /// By length: the first code that is longer, aligned to 16 bits.
    limits: [u32; 17],
    /// By length: the index of a code's symbol minus the code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table from how many codes there are of each length, 1 to 16, and the symbols in order.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], dc: bool) -> Result<Self, Fault> {
        let mut table = Self {
            look: [0; 1 << LOOK],
            fast: [0; 1 << FAST],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        if symbols.len() > 256 || (dc && symbols.iter().any(|&symbol| symbol > 15)) {
            return Err(damaged("a Huffman table has symbols that do not exist"));
        }
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = index as i32 - code as i32;
            for &symbol in &symbols[index..index + count] {
                table.add(code, length, symbol);
                code += 1;
            }
            index += count;
            if code > 1 << length {
                return Err(damaged("a Huffman table has more codes than there can be"));
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// Enters a code into the two lookup tables.
    fn add(&mut self, code: u32, length: u32, symbol: u8) {
        if length <= LOOK {
            let first = (code << (LOOK - length)) as usize;
            let entry = (length as u16) << 8 | u16::from(symbol);
            let end = first + (1 << (LOOK - length));
            // A code past the end belongs to a table that is refused.
            if let Some(entries) = self.look.get_mut(first..end) {
                entries.fill(entry);
            }
        }
        let (zeros, size) = (i32::from(symbol >> 4), u32::from(symbol & 15));
        let whole = length + size;
        if whole > FAST {
            return;
        }
        for value in 0..1u32 << size {
            let first = ((code << size | value) << (FAST - whole)) as usize;
            let entry = extended(value, size) << 16 | zeros << 8 | whole as i32;
            if let Some(entries) = self.fast.get_mut(first..first + (1 << (FAST - whole))) {
                entries.fill(entry);
            }
        }
    }

    /// The next symbol.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits) -> Result<u8, Fault> {
        bits.ensure();
        let entry = self.look[bits.peek(LOOK) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        match self.long_code(bits.peek(16)) {
            Some((length, symbol)) => {
                bits.skip(length);
                Ok(symbol)
            }
            None => Err(unknown_code()),
        }
    }

    /// The length and the symbol of a code that is longer than [`LOOK`], by the `next` 16 bits.
    // It takes no `Bits`, which thereby stay in registers.
    #[cold]
    #[inline(never)]
    fn long_code(&self, next: u32) -> Option<(u32, u8)> {
        let length = (LOOK + 1..=16).find(|&length| next < self.limits[length as usize])?;
        let index = (next >> (16 - length)) as i32 + self.offsets[length as usize];
        self.symbols.get(index as usize).map(|&symbol| (length, symbol))
    }

    /// The next AC coefficient of a sequential scan.
    #[inline(always)]
    pub(super) fn coefficient(&self, bits: &mut Bits) -> Result<Coefficient, Fault> {
        bits.ensure();
        let entry = self.fast[bits.peek(FAST) as usize];
        if entry != 0 {
            bits.skip((entry & 15) as u32);
            let zeros = (entry >> 8 & 15) as usize;
            return Ok(Coefficient { zeros, value: entry >> 16 });
        }
        let symbol = self.symbol(bits)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        Ok(Coefficient { zeros, value: extended(bits.take(size), size) })
    }

    /// The tables that files without any (frames of Motion JPEG) mean: for DC and AC of luma and of
    /// chroma, from annex K of the standard.
    pub(super) fn standard(dc: bool, chroma: bool) -> Result<Self, Fault> {
        let mut symbols = Vec::with_capacity(162);
        let counts: [u8; 16] = match (dc, chroma) {
            (true, false) => [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            (true, true) => [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
            (false, false) => [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
            (false, true) => [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        };
        if dc {
            symbols.extend(0..12);
        } else {
            symbols.extend(if chroma { CHROMA_START } else { LUMA_START });
            // What is left is in order: by zeros before, then by size.
            for zeros in 0..16u8 {
                for size in 1..11u8 {
                    let symbol = zeros << 4 | size;
                    if !symbols.contains(&symbol) {
                        symbols.push(symbol);
                    }
                }
            }
        }
        Self::new(&counts, &symbols, dc)
    }
}

/// The standard AC tables' symbols of the short codes, which are not in order.
const LUMA_START: &[u8] = &[
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82,
];
const CHROMA_START: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
];

/// A coefficient from its `size` bits: those that begin with 0 are negative.
#[inline(always)]
pub(super) fn extended(value: u32, size: u32) -> i32 {
    let value = value as i32;
    if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
}

/// Bits of one stretch of coded data, without stuffing. Past its end come zeros; [`Bits::overrun`]
/// tells.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0 }
    }

    /// Makes at least 32 bits available.
    #[inline(always)]
    pub(super) fn ensure(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline(always)]
    fn refill(&mut self) {
        let next = match self.data.get(self.at..).and_then(|data| data.first_chunk()) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => last_bytes(self.data, self.at),
        };
        // Bits that are in the buffer already come again, and are the same.
        self.buffer |= next >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// The next 1 to 32 bits, which stay. [`Bits::ensure`] comes first.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    /// Takes up to 32 bits.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// The next 0 to 16 bits.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        self.ensure();
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// Whether more bits were taken than there are.
    pub(super) fn overrun(&self) -> bool {
        self.at * 8 - self.count as usize > self.data.len() * 8
    }
}

/// Up to eight bytes from `at` on, and zeros.
// It takes no `Bits`, which thereby stay in registers.
#[cold]
#[inline(never)]
fn last_bytes(data: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = data.get(at..).unwrap_or_default();
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}
