//! Numbers between files and tensors: loading, converting and counting them in pieces.

use half::f16;
use half::slice::HalfFloatSliceExt;
use striate_tensor::{DType, HostValues};

/// How floats are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    F16,
    Bf16,
    F32,
    F64,
}

impl Stored {
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            Stored::F16 | Stored::Bf16 => 2,
            Stored::F32 => 4,
            Stored::F64 => 8,
        }
    }

    /// The tensor type that holds them without a conversion, else the one to convert to.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Stored::F16 => DType::F16,
            Stored::Bf16 | Stored::F32 | Stored::F64 => DType::F32,
        }
    }

    /// Whether a tensor of `dtype` holds the stored bytes as they are.
    pub(crate) fn is(self, dtype: DType) -> bool {
        self.dtype() == dtype && matches!(self, Stored::F16 | Stored::F32)
    }
}

/// How an f32 becomes an f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// Toward zero, as ccv does in its files.
    Truncate,
    /// To the nearest, ties to even.
    Nearest,
}

/// Elements that are converted at a time: small enough for the cache, large enough that the calls
/// do not count.
const PIECE_ELEMENTS: usize = 16 * 1024;

/// Bytes that are read at a time where nothing is converted: what was read is still in the
/// second-level cache when its values are counted.
const PIECE_BYTES: usize = 256 * 1024;

/// Values of a tensor in memory, all or a run of them, to be loaded.
pub(crate) enum Run<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
}

impl<'a> Run<'a> {
    /// All of them; nothing where they are no floats.
    pub(crate) fn of(values: &'a mut HostValues) -> Option<Self> {
        match values {
            HostValues::F32(values) => Some(Run::F32(values)),
            HostValues::F16(values) => Some(Run::F16(values)),
            HostValues::U32(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Run::F32(values) => values.len(),
            Run::F16(values) => values.len(),
        }
    }

    /// The first `count`, and the rest.
    pub(crate) fn split(self, count: usize) -> (Self, Self) {
        match self {
            Run::F32(values) => {
                let (first, rest) = values.split_at_mut(count);
                (Run::F32(first), Run::F32(rest))
            }
            Run::F16(values) => {
                let (first, rest) = values.split_at_mut(count);
                (Run::F16(first), Run::F16(rest))
            }
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Run::F32(_) => DType::F32,
            Run::F16(_) => DType::F16,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Run::F32(values) => bytemuck::cast_slice_mut(values),
            Run::F16(values) => bytemuck::cast_slice_mut(values),
        }
    }

    /// Loads them, and gives how many are NaN or infinite: the run starts at element `first` of what
    /// is stored, of which `fill(bytes, offset)` copies bytes.
    ///
    /// They go straight into the values where the types are the same, and through a small buffer
    /// otherwise, so nothing large is held twice.
    pub(crate) fn load<E>(
        mut self,
        first: usize,
        stored: Stored,
        narrowing: Narrowing,
        mut fill: impl FnMut(&mut [u8], usize) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (size, mut non_finite) = (stored.size_bytes(), 0);
        if stored.is(self.dtype()) {
            for (i, piece) in self.bytes().chunks_mut(PIECE_BYTES).enumerate() {
                fill(piece, first * size + i * PIECE_BYTES)?;
                non_finite += non_finite_bytes(piece, stored.dtype());
                to_machine_order(piece, size);
            }
            return Ok(non_finite);
        }
        let count = self.len();
        let mut wide = vec![0.0f32; PIECE_ELEMENTS.min(count)];
        let mut buffer = vec![0u8; wide.len() * size];
        for start in (0..count).step_by(PIECE_ELEMENTS) {
            let n = PIECE_ELEMENTS.min(count - start);
            let bytes = &mut buffer[..n * size];
            fill(bytes, (first + start) * size)?;
            non_finite += match &mut self {
                Run::F32(out) => {
                    let out = &mut out[start..start + n];
                    widen(bytes, stored, out);
                    non_finite_f32(out, |v| v.to_bits())
                }
                Run::F16(out) => {
                    let out = &mut out[start..start + n];
                    widen(bytes, stored, &mut wide[..n]);
                    narrow(&wide[..n], narrowing, out);
                    non_finite_f16(out, |v| v.to_bits())
                }
            };
        }
        Ok(non_finite)
    }
}

/// `count` stored floats as values of type `dtype`, and how many of them are NaN or infinite: a
/// [`Run`] of all.
pub(crate) fn load<E>(
    count: usize,
    stored: Stored,
    dtype: DType,
    narrowing: Narrowing,
    fill: impl FnMut(&mut [u8], usize) -> Result<(), E>,
) -> Result<(HostValues, usize), E> {
    let mut values = HostValues::zeros(dtype, count);
    let non_finite = match Run::of(&mut values) {
        Some(run) => run.load(0, stored, narrowing, fill)?,
        None => 0,
    };
    Ok((values, non_finite))
}

/// Stored floats (little endian, any alignment) as f32.
pub(crate) fn widen(bytes: &[u8], stored: Stored, out: &mut [f32]) {
    match stored {
        Stored::F16 => {
            // Through an aligned buffer, for the slice conversion that uses the machine's own.
            let mut halves = [f16::ZERO; 256];
            for (bytes, out) in bytes.chunks(512).zip(out.chunks_mut(256)) {
                let halves = &mut halves[..out.len()];
                bytemuck::cast_slice_mut(halves).copy_from_slice(bytes);
                to_machine_order(bytemuck::cast_slice_mut(halves), 2);
                halves.convert_to_f32_slice(out);
            }
        }
        Stored::Bf16 => {
            for (b, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
                *out = half::bf16::from_le_bytes(*b).to_f32();
            }
        }
        Stored::F32 => {
            for (b, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
                *out = f32::from_le_bytes(*b);
            }
        }
        Stored::F64 => {
            for (b, out) in bytes.as_chunks::<8>().0.iter().zip(out) {
                *out = f64::from_le_bytes(*b) as f32;
            }
        }
    }
}

/// f32 as f16.
pub(crate) fn narrow(values: &[f32], narrowing: Narrowing, out: &mut [f16]) {
    match narrowing {
        Narrowing::Nearest => half::slice::HalfFloatSliceExt::convert_from_f32_slice(out, values),
        Narrowing::Truncate => {
            for (value, out) in values.iter().zip(out) {
                *out = crate::ccv::half::truncate(*value);
            }
        }
    }
}

/// What became of values when they were given to a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Finite values that f16 has no place for.
    pub(crate) overflows: usize,
}

impl Losses {
    /// Warns of values that became infinite.
    pub(crate) fn warn(self, file: &str, place: &str, of: usize) {
        let Losses { overflows } = self;
        if overflows > 0 {
            log::warn!(
                "{file}: {place}: {overflows} of {of} values are too large for f16 and became infinite"
            );
        }
    }
}

/// The values as little-endian bytes of type `dtype`, given in pieces with their offsets.
pub(crate) fn store<E>(
    values: &HostValues,
    dtype: DType,
    narrowing: Narrowing,
    mut put: impl FnMut(&[u8], usize) -> Result<(), E>,
) -> Result<Losses, E> {
    let mut losses = Losses::default();
    match (values, dtype) {
        (HostValues::F32(values), DType::F16) => {
            let mut out = vec![f16::ZERO; PIECE_ELEMENTS.min(values.len())];
            for (i, values) in values.chunks(PIECE_ELEMENTS).enumerate() {
                let out = &mut out[..values.len()];
                narrow(values, narrowing, out);
                let lost =
                    values.iter().zip(&*out).filter(|(v, h)| v.is_finite() && !h.is_finite());
                losses.overflows += lost.count();
                to_machine_order(bytemuck::cast_slice_mut(out), 2);
                put(bytemuck::cast_slice(out), i * PIECE_ELEMENTS * 2)?;
            }
        }
        (HostValues::F16(values), DType::F32) => {
            let mut out = vec![0.0f32; PIECE_ELEMENTS.min(values.len())];
            for (i, values) in values.chunks(PIECE_ELEMENTS).enumerate() {
                let out = &mut out[..values.len()];
                values.convert_to_f32_slice(out);
                to_machine_order(bytemuck::cast_slice_mut(out), 4);
                put(bytemuck::cast_slice(out), i * PIECE_ELEMENTS * 4)?;
            }
        }
        _ => {
            for (i, piece) in values.bytes().chunks(PIECE_BYTES).enumerate() {
                if cfg!(target_endian = "little") {
                    put(piece, i * PIECE_BYTES)?;
                } else {
                    let mut piece = piece.to_vec();
                    to_machine_order(&mut piece, values.dtype().size_bytes());
                    put(&piece, i * PIECE_BYTES)?;
                }
            }
        }
    }
    Ok(losses)
}

/// Files are little endian: on another machine the bytes of each element are reversed.
fn to_machine_order(bytes: &mut [u8], size: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}

/// How many values are NaN or infinite.
pub(crate) fn non_finite(values: &HostValues) -> usize {
    match values {
        HostValues::F32(values) => non_finite_f32(values, |v| v.to_bits()),
        HostValues::F16(values) => non_finite_f16(values, |v| v.to_bits()),
        HostValues::U32(_) => 0,
    }
}

/// How many f32 or f16 values in these bytes (little endian) are NaN or infinite.
pub(crate) fn non_finite_bytes(bytes: &[u8], dtype: DType) -> usize {
    match dtype {
        DType::F32 => non_finite_f32(bytes.as_chunks().0, |b| u32::from_le_bytes(*b)),
        DType::F16 => non_finite_f16(bytes.as_chunks().0, |b| u16::from_le_bytes(*b)),
        DType::U32 => 0,
    }
}

/// Elements whose count is kept in as many bits as they have, by which the compiler makes vectors of
/// the loop.
const COUNTED: usize = 16 * 1024;

fn non_finite_f32<T>(values: &[T], bits: impl Fn(&T) -> u32) -> usize {
    // All ones in the exponent.
    const EXPONENT: u32 = 0x7f80_0000;
    let special = |v: &T| u32::from(bits(v) & EXPONENT == EXPONENT);
    values.chunks(COUNTED).map(|some| some.iter().map(special).sum::<u32>() as usize).sum()
}

fn non_finite_f16<T>(values: &[T], bits: impl Fn(&T) -> u16) -> usize {
    const EXPONENT: u16 = 0x7c00;
    let special = |v: &T| u16::from(bits(v) & EXPONENT == EXPONENT);
    values.chunks(COUNTED).map(|some| usize::from(some.iter().map(special).sum::<u16>())).sum()
}

/// Warns of values that are NaN or infinite; a network that has them still loads.
pub(crate) fn warn_non_finite(file: &str, place: &str, count: usize, of: usize) {
    if count > 0 {
        log::warn!("{file}: {place}: {count} of {of} values are not finite (NaN or infinite)");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn round_trip(values: &HostValues, stored: DType, wanted: DType) -> HostValues {
        let mut file = vec![0u8; values.len() * stored.size_bytes()];
        store(values, stored, Narrowing::Nearest, |piece, at| {
            file[at..at + piece.len()].copy_from_slice(piece);
            Ok::<_, Infallible>(())
        })
        .unwrap();
        let kind = if stored == DType::F16 { Stored::F16 } else { Stored::F32 };
        load(values.len(), kind, wanted, Narrowing::Nearest, |piece, at| {
            piece.copy_from_slice(&file[at..at + piece.len()]);
            Ok::<_, Infallible>(())
        })
        .unwrap()
        .0
    }

    #[test]
    fn runs_of_what_is_stored_join_at_their_borders() {
        let (all, n) = (0..PIECE_ELEMENTS + 100, PIECE_ELEMENTS + 100);
        let mut floats: Vec<f32> = all.map(|i| (i % 2048) as f32).collect();
        floats[n - 30] = f32::NAN;
        let file = HostValues::F32(floats.clone());
        for first in [0, 1, 70, n - 31, n] {
            for dtype in [DType::F32, DType::F16] {
                let mut values = HostValues::zeros(dtype, n);
                let (left, right) = Run::of(&mut values).unwrap().split(first);
                let fill = |piece: &mut [u8], at: usize| {
                    piece.copy_from_slice(&file.bytes()[at..at + piece.len()]);
                    Ok::<_, Infallible>(())
                };
                let load = |run: Run<'_>, first| {
                    run.load(first, Stored::F32, Narrowing::Nearest, fill).unwrap()
                };
                assert_eq!((left.len(), right.len()), (first, n - first));
                let counts = (load(left, 0), load(right, first));
                assert_eq!(counts, if first == n { (1, 0) } else { (0, 1) }, "{first} {dtype}");
                let wide = match &values {
                    HostValues::F16(v) => v.iter().map(|v| v.to_f32()).collect(),
                    HostValues::F32(v) => v.clone(),
                    HostValues::U32(_) => vec![],
                };
                let same =
                    wide.iter().zip(&floats).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
                assert!(same && wide.len() == n, "{first} {dtype}");
            }
        }
    }

    #[test]
    fn pieces_join_at_their_borders() {
        for n in [0, 1, 255, 257, PIECE_ELEMENTS, PIECE_ELEMENTS + 1, 2 * PIECE_BYTES / 4 + 3] {
            let halves: Vec<f16> = (0..n).map(|i| f16::from_f32((i % 2048) as f32)).collect();
            let floats: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
            let (halves, floats) = (HostValues::F16(halves), HostValues::F32(floats));
            for stored in [DType::F32, DType::F16] {
                assert_eq!(round_trip(&floats, stored, DType::F32), floats, "{n} {stored}");
                assert_eq!(round_trip(&halves, stored, DType::F32), floats, "{n} {stored}");
                assert_eq!(round_trip(&floats, stored, DType::F16), halves, "{n} {stored}");
                assert_eq!(round_trip(&halves, stored, DType::F16), halves, "{n} {stored}");
            }
        }
    }

    #[test]
    fn widens_every_stored_type() {
        let mut out = [0.0f32; 2];
        let bf16: Vec<u8> =
            [1.5f32, -2.0].iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        widen(&bf16, Stored::Bf16, &mut out);
        assert_eq!(out, [1.5, -2.0]);
        let f64s: Vec<u8> = [0.1f64, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        widen(&f64s, Stored::F64, &mut out);
        assert_eq!(out, [0.1, 3.0]);
    }

    #[test]
    fn counts_what_is_not_finite_and_what_overflows() {
        let values = HostValues::F32(vec![1.0, f32::NAN, f32::NEG_INFINITY, 7e4]);
        assert_eq!(non_finite(&values), 2);
        assert_eq!(non_finite_bytes(values.bytes(), DType::F32), 2);
        // More than the small counters of a loop hold.
        for n in [COUNTED, COUNTED + 1, 70_000] {
            let singles = HostValues::F32(vec![f32::NAN; n]);
            let halves = HostValues::F16(vec![f16::INFINITY; n]);
            for values in [singles, halves] {
                assert_eq!(non_finite(&values), n);
                assert_eq!(non_finite_bytes(values.bytes(), values.dtype()), n);
            }
        }
        let ignore = |_: &[u8], _| Ok::<_, Infallible>(());
        assert_eq!(store(&values, DType::F16, Narrowing::Truncate, ignore).unwrap().overflows, 1);
    }
}
