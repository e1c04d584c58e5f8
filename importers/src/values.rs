//! Numbers between files and tensors: loading, converting and counting them in pieces.

mod counts;
mod parallel;

use half::f16;
use half::slice::HalfFloatSliceExt;
use striate_tensor::{DType, HostValues};

use counts::non_finite_bytes;
pub(crate) use counts::{Counts, Report, count_bytes, non_finite_f16, non_finite_f32};
pub(crate) use parallel::{load_parallel, load_runs, threads_for};

/// How numbers are stored in a file: floats, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    U8,
    F16,
    Bf16,
    F32,
    F64,
}

impl Stored {
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            Stored::U8 => 1,
            Stored::F16 | Stored::Bf16 => 2,
            Stored::F32 => 4,
            Stored::F64 => 8,
        }
    }

    /// The tensor type that holds them without a conversion, else the one to convert to.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Stored::F16 => DType::F16,
            Stored::U8 | Stored::Bf16 | Stored::F32 | Stored::F64 => DType::F32,
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
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

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
            _ => None,
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

    /// Loads them, and counts those that are not finite or became infinite: the run starts at element
    /// `first` of what is stored, of which `fill(bytes, offset)` copies bytes.
    ///
    /// They go straight into the values where the types are the same, and through a small buffer
    /// otherwise, so nothing large is held twice.
    pub(crate) fn load<E>(
        mut self,
        first: usize,
        stored: Stored,
        narrowing: Narrowing,
        mut fill: impl FnMut(&mut [u8], usize) -> Result<(), E>,
    ) -> Result<Counts, E> {
        let (size, mut counts) = (stored.size_bytes(), Counts::default());
        if stored.is(self.dtype()) {
            for (i, piece) in self.bytes().chunks_mut(PIECE_BYTES).enumerate() {
                fill(piece, first * size + i * PIECE_BYTES)?;
                counts.non_finite += non_finite_bytes(piece, stored.dtype());
                to_machine_order(piece, size);
            }
            return Ok(counts);
        }
        let count = self.len();
        let mut wide = vec![0.0f32; PIECE_ELEMENTS.min(count)];
        let mut buffer = vec![0u8; wide.len() * size];
        for start in (0..count).step_by(PIECE_ELEMENTS) {
            let n = PIECE_ELEMENTS.min(count - start);
            let bytes = &mut buffer[..n * size];
            fill(bytes, (first + start) * size)?;
            // Counted as they became: only where there are some is the file's own value looked at.
            let more = match &mut self {
                Run::F32(out) => {
                    let out = &mut out[start..start + n];
                    widen(bytes, stored, out);
                    match non_finite_f32(out, |v| v.to_bits()) {
                        0 => Counts::default(),
                        _ => Counts::of(n, |i| out[i].is_finite(), |i| value(bytes, stored, i)),
                    }
                }
                Run::F16(out) => {
                    let out = &mut out[start..start + n];
                    widen(bytes, stored, &mut wide[..n]);
                    narrow(&wide[..n], narrowing, out);
                    match non_finite_f16(out, |v| v.to_bits()) {
                        0 => Counts::default(),
                        _ => Counts::of(n, |i| out[i].is_finite(), |i| value(bytes, stored, i)),
                    }
                }
            };
            counts = counts.and(more.after(first + start));
        }
        Ok(counts)
    }
}

/// `count` stored floats as values of type `dtype`, and what became of them: a [`Run`] of all.
pub(crate) fn load<E>(
    count: usize,
    stored: Stored,
    dtype: DType,
    narrowing: Narrowing,
    fill: impl FnMut(&mut [u8], usize) -> Result<(), E>,
) -> Result<(HostValues, Counts), E> {
    let mut values = HostValues::zeros(dtype, count);
    let counts = match Run::of(&mut values) {
        Some(run) => run.load(0, stored, narrowing, fill)?,
        None => Counts::default(),
    };
    Ok((values, counts))
}

/// `count` elements of any type, stored as they are, and how many of them are not finite.
/// `fill(bytes, offset)` copies bytes of what is stored.
pub(crate) fn load_as_stored<E>(
    count: usize,
    dtype: DType,
    mut fill: impl FnMut(&mut [u8], usize) -> Result<(), E>,
) -> Result<(HostValues, Counts), E> {
    let (mut values, mut counts) = (HostValues::zeros(dtype, count), Counts::default());
    for (i, piece) in values.bytes_mut().chunks_mut(PIECE_BYTES).enumerate() {
        fill(piece, i * PIECE_BYTES)?;
        counts.non_finite += non_finite_bytes(piece, dtype);
        to_machine_order(piece, dtype.size_bytes());
    }
    Ok((values, counts))
}

/// One of the stored floats, exactly.
pub(crate) fn value(bytes: &[u8], stored: Stored, index: usize) -> f64 {
    let size = stored.size_bytes();
    let bytes = bytes.get(index * size..).unwrap_or_default();
    match stored {
        Stored::U8 => bytes.first().map_or(0.0, |b| f64::from(*b)),
        Stored::F16 => bytes.first_chunk().map_or(0.0, |b| f16::from_le_bytes(*b).to_f64()),
        Stored::Bf16 => bytes.first_chunk().map_or(0.0, |b| half::bf16::from_le_bytes(*b).to_f64()),
        Stored::F32 => bytes.first_chunk().map_or(0.0, |b| f32::from_le_bytes(*b).into()),
        Stored::F64 => bytes.first_chunk().map_or(0.0, |b| f64::from_le_bytes(*b)),
    }
}

/// Stored floats (little endian, any alignment) as f32.
pub(crate) fn widen(bytes: &[u8], stored: Stored, out: &mut [f32]) {
    match stored {
        Stored::U8 => {
            for (b, out) in bytes.iter().zip(out) {
                *out = f32::from(*b);
            }
        }
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

/// The values as little-endian bytes of type `dtype`, given in pieces with their offsets; and how many
/// are not finite or became infinite.
pub(crate) fn store<E>(
    values: &HostValues,
    dtype: DType,
    narrowing: Narrowing,
    mut put: impl FnMut(&[u8], usize) -> Result<(), E>,
) -> Result<Counts, E> {
    let mut counts = Counts::default();
    match (values, dtype) {
        (HostValues::F32(values), DType::F16) => {
            let mut out = vec![f16::ZERO; PIECE_ELEMENTS.min(values.len())];
            for (i, values) in values.chunks(PIECE_ELEMENTS).enumerate() {
                let out = &mut out[..values.len()];
                narrow(values, narrowing, out);
                if non_finite_f16(out, |v| v.to_bits()) > 0 {
                    let more =
                        Counts::of(values.len(), |i| out[i].is_finite(), |i| f64::from(values[i]));
                    counts = counts.and(more.after(i * PIECE_ELEMENTS));
                }
                to_machine_order(bytemuck::cast_slice_mut(out), 2);
                put(bytemuck::cast_slice(out), i * PIECE_ELEMENTS * 2)?;
            }
        }
        (HostValues::F16(values), DType::F32) => {
            let mut out = vec![0.0f32; PIECE_ELEMENTS.min(values.len())];
            for (i, values) in values.chunks(PIECE_ELEMENTS).enumerate() {
                let out = &mut out[..values.len()];
                values.convert_to_f32_slice(out);
                counts.non_finite += non_finite_f32(out, |v| v.to_bits());
                to_machine_order(bytemuck::cast_slice_mut(out), 4);
                put(bytemuck::cast_slice(out), i * PIECE_ELEMENTS * 4)?;
            }
        }
        _ => {
            let mut ordered = Vec::new();
            for (i, piece) in values.bytes().chunks(PIECE_BYTES).enumerate() {
                let piece = match cfg!(target_endian = "little") {
                    true => piece,
                    false => {
                        ordered.clear();
                        ordered.extend_from_slice(piece);
                        to_machine_order(&mut ordered, values.dtype().size_bytes());
                        &ordered
                    }
                };
                counts.non_finite += non_finite_bytes(piece, values.dtype());
                put(piece, i * PIECE_BYTES)?;
            }
        }
    }
    Ok(counts)
}

/// Files are little endian: on another machine the bytes of each element are reversed.
fn to_machine_order(bytes: &mut [u8], size: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
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
                    run.load(first, Stored::F32, Narrowing::Nearest, fill).unwrap().non_finite
                };
                assert_eq!((left.len(), right.len()), (first, n - first));
                let counts = (load(left, 0), load(right, first));
                assert_eq!(counts, if first == n { (1, 0) } else { (0, 1) }, "{first} {dtype}");
                let wide = match &values {
                    HostValues::F16(v) => v.iter().map(|v| v.to_f32()).collect(),
                    HostValues::F32(v) => v.clone(),
                    _ => vec![],
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
        widen(&[7, 255], Stored::U8, &mut out);
        assert_eq!(out, [7.0, 255.0]);
    }

    /// The first value of a file's kind that the wanted type has no place for, in a tensor of 70,000.
    #[test]
    fn what_overflows_is_told_from_what_is_not_finite() {
        let n = 70_000;
        let at = [3, 40_000, 69_999];
        let cases = [
            (Stored::F32, DType::F16, Narrowing::Nearest, 65_520.0),
            (Stored::F32, DType::F16, Narrowing::Truncate, -65_536.0),
            (Stored::Bf16, DType::F16, Narrowing::Nearest, 1e30),
            (Stored::F64, DType::F16, Narrowing::Nearest, -1e300),
            (Stored::F64, DType::F16, Narrowing::Nearest, 70_000.0),
            (Stored::F64, DType::F32, Narrowing::Nearest, 1e300),
        ];
        for (stored, dtype, narrowing, large) in cases {
            let mut numbers = vec![1.5f64; n];
            numbers[at[0]] = f64::NAN;
            numbers[at[1]] = large;
            numbers[at[2]] = large;
            let file: Vec<u8> = numbers
                .iter()
                .flat_map(|v| match stored {
                    Stored::F64 => v.to_le_bytes().to_vec(),
                    Stored::F32 => (*v as f32).to_le_bytes().to_vec(),
                    Stored::Bf16 => half::bf16::from_f64(*v).to_le_bytes().to_vec(),
                    Stored::F16 => f16::from_f64(*v).to_le_bytes().to_vec(),
                    Stored::U8 => vec![*v as u8],
                })
                .collect();
            let (_, counts) = load(n, stored, dtype, narrowing, |piece, at| {
                piece.copy_from_slice(&file[at..at + piece.len()]);
                Ok::<_, Infallible>(())
            })
            .unwrap();
            let (first, value) = counts.first.unwrap();
            assert_eq!((counts.non_finite, counts.overflows, first), (1, 2, at[1]), "{stored:?}");
            assert!((value / large - 1.0).abs() < 0.01, "{stored:?} {value}");
            if stored == Stored::F32 {
                let values = HostValues::F32(numbers.iter().map(|v| *v as f32).collect());
                let ignore = |_: &[u8], _| Ok::<_, Infallible>(());
                assert_eq!(store(&values, dtype, narrowing, ignore).unwrap(), counts);
            }
        }
        // 65504 is f16's largest: what rounds or is cut to it is kept.
        let kept = HostValues::F32(vec![65_504.0, 65_519.0, -65_504.0]);
        let ignore = |_: &[u8], _| Ok::<_, Infallible>(());
        let counts = |narrowing| store(&kept, DType::F16, narrowing, ignore).unwrap();
        assert_eq!(counts(Narrowing::Nearest), Counts::default());
        assert_eq!(counts(Narrowing::Truncate), Counts::default());
    }
}
