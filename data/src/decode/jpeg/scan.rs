//! The coded data of scans, to pixels (sequential) or to coefficients that later scans refine
//! (progressive).

mod progressive;

use super::header::{Component, Frame, Scan, Segments, Tables, ZIGZAG};
use super::huffman::{Bits, Coefficient, Huffman, extended};
use super::vectors::Vectors;
use super::{Fault, damaged};

/// One component's decoded values, rows of `stride`; its own size is a part of that.
#[derive(Clone, Default)]
pub(super) struct Plane {
    pub(super) values: Vec<u8>,
    pub(super) stride: usize,
}

impl Plane {
    fn of(component: &Component) -> Self {
        let [rows, cols] = component.padded;
        Self { values: vec![0; rows * cols * 64], stride: cols * 8 }
    }

    /// The pixels from the first one of a block on.
    fn block(&mut self, row: usize, col: usize) -> &mut [u8] {
        &mut self.values[row * 8 * self.stride + col * 8..]
    }
}

/// What is known of one component between the scans.
#[derive(Clone)]
struct Progress {
    /// The quantisation table, taken when the component's first scan began.
    quantiser: Option<[u16; 64]>,
    /// Progressive only: coefficients in rows, block after block of the padded size.
    coefficients: Vec<i16>,
    /// Progressive only: for each coefficient the lowest bit that is known; none before its first
    /// scan.
    known: [Option<u32>; 64],
}

/// Decodes scan after scan.
pub(super) struct Decoder<'a> {
    frame: &'a Frame,
    planes: Vec<Plane>,
    progress: Vec<Progress>,
    /// Coded data between two markers, without stuffing.
    clean: Vec<u8>,
    vectors: Vectors,
}

/// The coded data of one scan.
struct Coded<'s, 'a> {
    segments: &'s mut Segments<'a>,
    /// Coding units between restart markers, 0 for none.
    interval: usize,
}

impl Coded<'_, '_> {
    /// Copies the data up to the next marker, and stands before that.
    fn read(&mut self, clean: &mut Vec<u8>) {
        clean.clear();
        let bytes = self.segments.bytes;
        loop {
            let from = bytes.get(self.segments.at..).unwrap_or_default();
            let length = memchr::memchr(0xff, from).unwrap_or(from.len());
            clean.extend_from_slice(&from[..length]);
            self.segments.at += length;
            // Padding may stand between 0xff and what makes it data or a marker.
            let more = from[length..].iter().take_while(|&&byte| byte == 0xff).count();
            match from.get(length + more) {
                Some(0) => {
                    clean.push(0xff);
                    self.segments.at += more + 1;
                }
                _ => return,
            }
        }
    }

    /// Passes over the restart marker that has to be next.
    fn restart(&mut self, number: usize) -> Result<(), Fault> {
        let bytes = self.segments.bytes.get(self.segments.at..).unwrap_or_default();
        let padding = bytes.iter().take_while(|&&byte| byte == 0xff).count();
        let expected = 0xd0 + (number % 8) as u8;
        match bytes.get(padding) {
            Some(&marker) if marker == expected && padding > 0 => {
                self.segments.at += padding + 1;
                Ok(())
            }
            Some(marker) => Err(damaged(format!(
                "marker {marker:02x} stands where restart marker {expected:02x} is due"
            ))),
            None => Err(damaged("the file ends where a restart marker is due")),
        }
    }
}

impl<'a> Decoder<'a> {
    pub(super) fn new(frame: &'a Frame) -> Self {
        let progress = Progress { quantiser: None, coefficients: Vec::new(), known: [None; 64] };
        let count = frame.components.len();
        Self {
            frame,
            planes: vec![Plane::default(); count],
            progress: vec![progress; count],
            clean: Vec::new(),
            vectors: Vectors::detected(),
        }
    }

    /// Decodes one scan, whose coded data `segments` stands before.
    pub(super) fn scan(
        &mut self,
        scan: &Scan,
        tables: &Tables,
        segments: &mut Segments,
    ) -> Result<(), Fault> {
        for &(index, ..) in &scan.parts {
            self.begin(index, scan, tables)?;
        }
        let coded = Coded { segments, interval: tables.restart };
        if self.frame.progressive {
            self.progressive(scan, tables, coded)
        } else {
            self.sequential(scan, tables, coded)
        }
    }

    /// Prepares a component for a scan, and checks that the scan follows what came before.
    fn begin(&mut self, index: usize, scan: &Scan, tables: &Tables) -> Result<(), Fault> {
        let component = &self.frame.components[index];
        let progress = &mut self.progress[index];
        if progress.quantiser.is_none() {
            let table = tables.quantisers[component.table];
            progress.quantiser = Some(table.ok_or_else(|| {
                damaged(format!("quantisation table {} is missing", component.table))
            })?);
            if self.frame.progressive {
                let [rows, cols] = component.padded;
                progress.coefficients = vec![0; rows * cols * 64];
            } else {
                self.planes[index] = Plane::of(component);
            }
        } else if !self.frame.progressive {
            return Err(damaged(format!("component {} is coded twice", component.id)));
        }
        if !self.frame.progressive {
            return Ok(());
        }
        let [before, now] = scan.bits;
        for known in &mut progress.known[scan.band[0]..=scan.band[1]] {
            let follows = match *known {
                None => before == 0,
                Some(bit) => before == bit && now < bit,
            };
            if !follows {
                return Err(damaged(format!(
                    "a scan of component {} from bit {before} to bit {now} does not follow those \
                     before it",
                    component.id
                )));
            }
            *known = Some(now);
        }
        Ok(())
    }

    /// Runs `unit` on every coding unit of a scan, with its index and the bits to read.
    fn units(
        clean: &mut Vec<u8>,
        mut coded: Coded,
        total: usize,
        mut unit: impl FnMut(&mut Bits, usize, bool) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let interval = if coded.interval == 0 { total } else { coded.interval };
        for (number, first) in (0..total).step_by(interval.max(1)).enumerate() {
            if number > 0 {
                coded.restart(number - 1)?;
            }
            coded.read(clean);
            let mut bits = Bits::new(clean);
            for index in first..total.min(first + interval) {
                unit(&mut bits, index, index == first)?;
                if bits.overrun() {
                    return Err(damaged(format!(
                        "the coded data ends after {index} of {total} units of a scan"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The blocks of a scan: how many units there are in a row and in all.
    fn layout(&self, scan: &Scan) -> (usize, usize) {
        let [rows, cols] = match scan.parts[..] {
            [(index, ..)] => self.frame.components[index].blocks,
            _ => self.frame.units,
        };
        (cols, rows * cols)
    }

    fn sequential(&mut self, scan: &Scan, tables: &Tables, coded: Coded) -> Result<(), Fault> {
        struct ScanComponent<'p> {
            plane: Plane,
            factors: [usize; 2],
            quantiser: [i32; 64],
            dc: &'p Huffman,
            ac: &'p Huffman,
            previous: i32,
        }
        let (across, total) = self.layout(scan);
        let alone = scan.parts.len() == 1;
        // Frames of Motion JPEG leave the standard tables out.
        let standard = Standard::for_missing(tables)?;
        let mut parts = Vec::with_capacity(scan.parts.len());
        for &(index, dc, ac) in &scan.parts {
            let quantiser = self.progress[index].quantiser.unwrap_or([0; 64]).map(i32::from);
            let missing = |kind: &str, number| damaged(format!("{kind} table {number} is missing"));
            parts.push(ScanComponent {
                plane: std::mem::take(&mut self.planes[index]),
                factors: if alone { [1; 2] } else { self.frame.components[index].factors },
                quantiser,
                dc: standard.dc(tables, dc).ok_or_else(|| missing("DC Huffman", dc))?,
                ac: standard.ac(tables, ac).ok_or_else(|| missing("AC Huffman", ac))?,
                previous: 0,
            });
        }
        let mut block = [0i32; 64];
        let vectors = self.vectors;
        Self::units(&mut self.clean, coded, total, |bits, index, first| {
            let (unit_row, unit_col) = (index / across, index % across);
            for part in &mut parts {
                if first {
                    part.previous = 0;
                }
                let [v, h] = part.factors;
                for row in unit_row * v..(unit_row + 1) * v {
                    for col in unit_col * h..(unit_col + 1) * h {
                        let size = u32::from(part.dc.symbol(bits)?);
                        let difference = extended(bits.take(size), size);
                        // What a damaged file adds up may overflow.
                        part.previous = part.previous.wrapping_add(difference);
                        let dc = i32::from(part.previous as i16);
                        block[0] = dc.wrapping_mul(part.quantiser[0]);
                        let last = coefficients(bits, part.ac, &part.quantiser, &mut block)?;
                        let stride = part.plane.stride;
                        vectors.block(&block, last, part.plane.block(row, col), stride);
                        if last > 0 {
                            block = [0; 64];
                        }
                    }
                }
            }
            Ok(())
        })?;
        for (part, &(index, ..)) in parts.into_iter().zip(&scan.parts) {
            self.planes[index] = part.plane;
        }
        Ok(())
    }

    /// The planes, when all scans were read.
    ///
    /// `Fault::Damaged` where a component has no scan, `Fault::Unsupported` where a progressive
    /// file leaves out low coefficients: libjpeg then makes a smooth guess, which depends on its
    /// version.
    pub(super) fn finish(mut self) -> Result<Vec<Plane>, Fault> {
        for (component, progress) in self.frame.components.iter().zip(&self.progress) {
            if progress.quantiser.is_none()
                || (self.frame.progressive && progress.known[0].is_none())
            {
                return Err(damaged(format!("component {} has no scan", component.id)));
            }
            if self.frame.progressive && progress.known[1..10].iter().any(|bit| *bit != Some(0)) {
                return Err(super::unsupported(
                    "progressive JPEG whose scans leave out part of the detail",
                ));
            }
        }
        if self.frame.progressive {
            let parts = self.frame.components.iter().zip(&mut self.progress);
            for (plane, (component, progress)) in self.planes.iter_mut().zip(parts) {
                *plane = Plane::of(component);
                let quantiser = progress.quantiser.unwrap_or([0; 64]);
                let mut in_rows = [0i32; 64];
                for (k, value) in quantiser.into_iter().enumerate() {
                    in_rows[usize::from(ZIGZAG[k])] = i32::from(value);
                }
                let stride = plane.stride;
                let values = std::mem::take(&mut progress.coefficients);
                for (index, coefficients) in values.chunks_exact(64).enumerate() {
                    let mut block = [0i32; 64];
                    for ((into, &value), quantiser) in
                        block.iter_mut().zip(coefficients).zip(in_rows)
                    {
                        *into = i32::from(value).wrapping_mul(quantiser);
                    }
                    let last =
                        if coefficients[1..].iter().all(|&value| value == 0) { 0 } else { 63 };
                    let [_, across] = component.padded;
                    self.vectors.block(
                        &block,
                        last,
                        plane.block(index / across, index % across),
                        stride,
                    );
                }
            }
        }
        Ok(self.planes)
    }
}

/// The AC coefficients of a block of a sequential scan, multiplied by their quantisers. Returns the
/// last coefficient that was set, in the file's order.
#[inline(always)]
fn coefficients(
    bits: &mut Bits,
    table: &Huffman,
    quantiser: &[i32; 64],
    block: &mut [i32; 64],
) -> Result<usize, Fault> {
    let (mut k, mut last) = (1, 0);
    while k < 64 {
        let Coefficient { zeros, value } = table.coefficient(bits)?;
        k += zeros;
        if value == 0 {
            if zeros != 15 {
                break;
            }
            k += 1;
            continue;
        }
        if k > 63 {
            return Err(damaged("the coded data holds more coefficients than a block has"));
        }
        block[usize::from(ZIGZAG[k] & 63)] = value * quantiser[k];
        last = k;
        k += 1;
    }
    Ok(last)
}

/// The standard tables, where a file brings none of its own.
struct Standard {
    tables: Option<[[Huffman; 2]; 2]>,
}

impl Standard {
    fn for_missing(tables: &Tables) -> Result<Self, Fault> {
        if tables.dc.iter().chain(&tables.ac).any(Option::is_some) {
            return Ok(Self { tables: None });
        }
        let pair = |dc| Ok([Huffman::standard(dc, false)?, Huffman::standard(dc, true)?]);
        Ok(Self { tables: Some([pair(true)?, pair(false)?]) })
    }

    fn dc<'t>(&'t self, tables: &'t Tables, number: usize) -> Option<&'t Huffman> {
        tables.dc[number].as_deref().or_else(|| self.tables.as_ref()?[0].get(number))
    }

    fn ac<'t>(&'t self, tables: &'t Tables, number: usize) -> Option<&'t Huffman> {
        tables.ac[number].as_deref().or_else(|| self.tables.as_ref()?[1].get(number))
    }
}
