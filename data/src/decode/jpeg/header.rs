//! The segments of a JPEG file: frame, scans, tables, and what says how the colours are stored.

use super::huffman::Huffman;
use super::{Fault, damaged, unsupported};

/// Where the `k`th coefficient of the file's diagonal order stands in a block of 8 rows x 8
/// columns. A damaged run may step up to 16 past the end: those land on the last one, and the
/// caller reports them.
pub(super) const ZIGZAG: [u8; 80] = {
    let mut order = [63; 80];
    let (mut row, mut col, mut k) = (0i32, 0i32, 0);
    while k < 64 {
        order[k] = (row * 8 + col) as u8;
        // Up and right on even diagonals, down and left on odd ones.
        if (row + col) % 2 == 0 {
            if col == 7 {
                row += 1;
            } else if row == 0 {
                col += 1;
            } else {
                row -= 1;
                col += 1;
            }
        } else if row == 7 {
            col += 1;
        } else if col == 0 {
            row += 1;
        } else {
            row += 1;
            col -= 1;
        }
        k += 1;
    }
    order
};

/// How the components' values become red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Colours {
    /// One component.
    Grey,
    /// Luma and two chroma components.
    YCbCr,
    /// Stored as they are shown.
    Rgb,
    /// Four inks.
    Cmyk,
    /// Cyan, magenta and yellow as luma and chroma, and black.
    Ycck,
}

/// One component of the frame.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors `[vertical, horizontal]`, 1 to 4.
    pub(super) factors: [usize; 2],
    /// The number of its quantisation table.
    pub(super) table: usize,
    /// Its own rows and columns of values.
    pub(super) size: [usize; 2],
    /// Rows and columns of blocks that hold them: what a scan of this component alone codes.
    pub(super) blocks: [usize; 2],
    /// Rows and columns of blocks that scans of several components code: whole units of the frame.
    pub(super) padded: [usize; 2],
}

/// What the frame header says.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) progressive: bool,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The largest sampling factors `[vertical, horizontal]`.
    pub(super) most: [usize; 2],
    /// Rows and columns of coding units.
    pub(super) units: [usize; 2],
    pub(super) components: Vec<Component>,
}

/// Tables and settings that segments define, and later segments may replace.
#[derive(Default)]
pub(super) struct Tables {
    /// Quantisation tables in the file's diagonal order.
    pub(super) quantisers: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<Box<Huffman>>; 4],
    pub(super) ac: [Option<Box<Huffman>>; 4],
    /// Coding units between two restart markers, 0 for none.
    pub(super) restart: usize,
}

/// What a scan header says.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// Each component's index in the frame, and the numbers of its DC and AC tables.
    pub(super) parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient, in the file's order.
    pub(super) band: [usize; 2],
    /// The bit position that earlier scans reached (0 for the first scan), and that of this one.
    pub(super) bits: [u32; 2],
}

/// Markers one after the other.
pub(super) struct Segments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Segments<'a> {
    /// The next marker and its segment's body. Padding, junk between segments and stray restart
    /// markers are passed over, as viewers do.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let bytes = self.bytes;
        loop {
            let from = bytes.get(self.at..).unwrap_or_default();
            let Some(offset) = memchr::memchr(0xff, from) else {
                return Err(damaged("the file ends without an end-of-image marker"));
            };
            self.at += offset + 1;
            match bytes.get(self.at) {
                Some(0x00 | 0x01 | 0xd0..=0xd8) => self.at += 1,
                Some(0xff) => {}
                Some(0xd9) => return Ok((0xd9, &[])),
                Some(&marker) => {
                    let length = match bytes.get(self.at + 1..self.at + 3) {
                        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
                        _ => return Err(damaged("the file ends within a segment's length")),
                    };
                    let body = bytes.get(self.at + 3..(self.at + 1 + length).max(self.at + 3));
                    let Some(body) = body.filter(|_| length >= 2) else {
                        return Err(damaged(format!(
                            "segment {marker:02x} of {length} bytes does not fit into the file"
                        )));
                    };
                    self.at += 1 + length;
                    return Ok((marker, body));
                }
                None => return Err(damaged("the file ends within a marker")),
            }
        }
    }
}

impl Frame {
    /// Whether a marker starts a frame, of whatever kind.
    pub(super) fn is_start(marker: u8) -> bool {
        matches!(marker, 0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc)) || marker == 0xde
    }

    /// Reads a frame header.
    pub(super) fn read(marker: u8, body: &[u8]) -> Result<Self, Fault> {
        let kind = match marker {
            0xc0..=0xc2 => None,
            0xc3 => Some("lossless JPEG"),
            0xc5..=0xc7 | 0xde => Some("hierarchical JPEG"),
            0xcb | 0xcf => Some("lossless JPEG with arithmetic coding"),
            _ => Some("JPEG with arithmetic coding"),
        };
        if let Some(kind) = kind {
            return Err(unsupported(kind));
        }
        let &[precision, r1, r0, c1, c0, count, ref parts @ ..] = body else {
            return Err(damaged("the frame header is too short"));
        };
        match precision {
            8 => {}
            12 => return Err(unsupported("JPEG with 12 bits a sample")),
            bits => return Err(damaged(format!("the frame header says {bits} bits a sample"))),
        }
        let rows = usize::from(u16::from_be_bytes([r1, r0]));
        let cols = usize::from(u16::from_be_bytes([c1, c0]));
        let count = usize::from(count);
        if parts.len() != count * 3 || count == 0 {
            return Err(damaged(format!(
                "a frame header of {} bytes for {count} components",
                body.len()
            )));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {count} components")));
        }
        let mut components: Vec<Component> = Vec::with_capacity(count);
        for part in parts.chunks_exact(3) {
            let factors = [usize::from(part[1] & 15), usize::from(part[1] >> 4)];
            if factors.iter().any(|factor| !(1..=4).contains(factor)) || part[2] > 3 {
                return Err(damaged(format!(
                    "component {} has sampling factors {} x {} and quantisation table {}",
                    part[0], factors[1], factors[0], part[2]
                )));
            }
            if components.iter().any(|other| other.id == part[0]) {
                return Err(damaged(format!("two components have the number {}", part[0])));
            }
            let [id, table] = [part[0], part[2]];
            let zero = [0; 2];
            components.push(Component {
                id,
                factors,
                table: usize::from(table),
                size: zero,
                blocks: zero,
                padded: zero,
            });
        }
        let mut most = [1; 2];
        for component in &components {
            for (most, factor) in most.iter_mut().zip(component.factors) {
                *most = factor.max(*most);
            }
        }
        let units = [rows.div_ceil(8 * most[0]), cols.div_ceil(8 * most[1])];
        for component in &mut components {
            for axis in 0..2 {
                let factor = component.factors[axis];
                component.size[axis] = ([rows, cols][axis] * factor).div_ceil(most[axis]);
                component.blocks[axis] = component.size[axis].div_ceil(8);
                component.padded[axis] = units[axis] * factor;
            }
        }
        Ok(Self { progressive: marker == 0xc2, rows, cols, most, units, components })
    }

    /// Refuses sampling that libjpeg does not decode either: factors of 3 and 2, for example.
    pub(super) fn check_sampling(&self) -> Result<(), Fault> {
        for component in &self.components {
            let [v, h] = component.factors;
            if !self.most[0].is_multiple_of(v) || !self.most[1].is_multiple_of(h) {
                return Err(unsupported(format!(
                    "JPEG with a component sampled {h} x {v} where another one has {} x {}",
                    self.most[1], self.most[0]
                )));
            }
        }
        Ok(())
    }
}

impl Tables {
    /// Takes in a segment that defines tables or the restart interval; others are passed over.
    pub(super) fn read(&mut self, marker: u8, body: &[u8]) -> Result<(), Fault> {
        match marker {
            0xdb => self.read_quantisers(body),
            0xc4 => self.read_huffman(body),
            0xdd => {
                let &[high, low] = body else {
                    return Err(damaged(
                        "the restart interval's segment has another length than 4",
                    ));
                };
                self.restart = usize::from(u16::from_be_bytes([high, low]));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_quantisers(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        while let Some((&kind, rest)) = body.split_first() {
            let (wide, number) = (kind >> 4, usize::from(kind & 15));
            let length = if wide == 0 { 64 } else { 128 };
            let (Some(values), true) = (rest.get(..length), wide <= 1 && number <= 3) else {
                return Err(damaged(format!(
                    "quantisation table {kind:02x} is cut off or unknown"
                )));
            };
            let mut table = [0; 64];
            for (k, entry) in table.iter_mut().enumerate() {
                *entry = match wide {
                    0 => u16::from(values[k]),
                    _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
                };
            }
            self.quantisers[number] = Some(table);
            body = &rest[length..];
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        while let Some((&kind, rest)) = body.split_first() {
            let (class, number) = (kind >> 4, usize::from(kind & 15));
            let cut = || damaged(format!("Huffman table {kind:02x} is cut off or unknown"));
            let counts: &[u8; 16] = rest.first_chunk().ok_or_else(cut)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            let values = rest.get(16..16 + total).ok_or_else(cut)?;
            let table = Some(Box::new(Huffman::new(counts, values, class == 0)?));
            match (class, number) {
                (0, 0..=3) => self.dc[number] = table,
                (1, 0..=3) => self.ac[number] = table,
                _ => return Err(cut()),
            }
            body = &rest[16 + total..];
        }
        Ok(())
    }
}

impl Scan {
    /// Reads a scan header.
    pub(super) fn read(body: &[u8], frame: &Frame) -> Result<Self, Fault> {
        let count = usize::from(body.first().copied().unwrap_or_default());
        if !(1..=4).contains(&count) || body.len() != 4 + 2 * count {
            return Err(damaged(format!(
                "a scan header of {} bytes for {count} components",
                body.len()
            )));
        }
        let mut parts: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for part in body[1..1 + 2 * count].chunks_exact(2) {
            let index = frame.components.iter().position(|component| component.id == part[0]);
            let index = index.filter(|index| parts.iter().all(|other| other.0 != *index));
            let (dc, ac) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            let (Some(index), true) = (index, dc <= 3 && ac <= 3) else {
                return Err(damaged(format!(
                    "a scan of component {}, which is unknown, named twice or has unknown tables",
                    part[0]
                )));
            };
            parts.push((index, dc, ac));
        }
        let &[.., first, last, bits] = body else { return Err(damaged("a short scan header")) };
        let scan = Self {
            parts,
            band: [usize::from(first), usize::from(last)],
            bits: [u32::from(bits >> 4), u32::from(bits & 15)],
        };
        if frame.progressive {
            scan.check_progressive()?;
        }
        Ok(scan)
    }

    fn check_progressive(&self) -> Result<(), Fault> {
        let [first, last] = self.band;
        let [before, now] = self.bits;
        let band = if first == 0 {
            last == 0
        } else {
            first <= last && last <= 63 && self.parts.len() == 1
        };
        if !band || now > 13 || (before != 0 && now + 1 != before) {
            return Err(damaged(format!(
                "a progressive scan of coefficients {first} to {last}, bits {before} to {now}, \
                 of {} components",
                self.parts.len()
            )));
        }
        Ok(())
    }
}

/// What the segments before the first scan say of the colours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColourMarks {
    /// A JFIF segment is there.
    pub(super) jfif: bool,
    /// An Adobe segment is there, and its transform.
    pub(super) adobe: Option<u8>,
}

impl ColourMarks {
    /// Takes in a segment.
    pub(super) fn read(&mut self, marker: u8, body: &[u8]) {
        match marker {
            0xe0 if body.len() >= 14 && body.starts_with(b"JFIF\0") => self.jfif = true,
            0xee if body.len() >= 12 && body.starts_with(b"Adobe") => self.adobe = Some(body[11]),
            _ => {}
        }
    }

    /// The colours, by libjpeg's rules: JFIF says YCbCr whatever the components are called, Adobe's
    /// transform is next, and without both only components called R, G, B are RGB.
    pub(super) fn colours(self, frame: &Frame) -> Colours {
        let ids = frame.components.iter().map(|component| component.id);
        match (frame.components.len(), self.jfif, self.adobe) {
            (1, ..) => Colours::Grey,
            (3, true, _) => Colours::YCbCr,
            (3, false, Some(0)) => Colours::Rgb,
            (3, false, None) if ids.eq(*b"RGB") => Colours::Rgb,
            (3, ..) => Colours::YCbCr,
            (_, _, None | Some(0)) => Colours::Cmyk,
            _ => Colours::Ycck,
        }
    }
}
