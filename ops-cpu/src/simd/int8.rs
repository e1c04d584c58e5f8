//! Products of integers of 8 bits, summed in 32.
//!
//! The numbers on the left are levels of 0 to 255, those on the right are weights of -128 to 127. Sums of
//! integers are exact, so that every instruction set gives the same ones. Where a processor multiplies bytes
//! only with sums that saturate (`vpmaddubsw`), both are held in 16 bits instead.

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{Instructions, Level, Portable, Simd};

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// An integer as instructions take it.
pub(crate) trait Integer: bytemuck::Pod + Send + Sync {
    /// Of a level or a weight, which fit.
    fn of(number: i32) -> Self;
}

impl Integer for u8 {
    #[inline(always)]
    fn of(number: i32) -> Self {
        number as u8
    }
}

impl Integer for i8 {
    #[inline(always)]
    fn of(number: i32) -> Self {
        number as i8
    }
}

impl Integer for i16 {
    #[inline(always)]
    fn of(number: i32) -> Self {
        number as i16
    }
}

/// Instructions for products of levels and weights: a token, as [`Simd`] is.
pub(crate) trait Int8: Copy + Send + Sync + 'static {
    /// The instructions for floats beside them: a vector of sums has as many lanes as one of floats.
    type Floats: Simd;
    /// A level.
    type Left: Integer;
    /// A weight.
    type Right: Integer;
    /// A vector of sums.
    type Sums: Copy;
    /// Levels and weights whose products one lane sums at a time: together 4 bytes of levels.
    const GROUP: usize;
    /// Rows of a register block, at most 14.
    const ROWS: usize;
    /// Vectors of sums in each of its rows, at most 2.
    const VECTORS: usize;

    /// The token of the floats.
    fn floats(self) -> Self::Floats;
    /// Reads a vector of sums.
    ///
    /// # Safety
    /// They must be readable; no alignment is asked.
    unsafe fn load(self, from: *const i32) -> Self::Sums;
    /// Writes a vector of sums.
    ///
    /// # Safety
    /// They must be writable; no alignment is asked.
    unsafe fn store(self, to: *mut i32, sums: Self::Sums);
    /// Sums as floats, rounded to the nearest.
    fn to_floats(self, sums: Self::Sums) -> <Self::Floats as Simd>::V;
    /// Adds to each lane the products of the group of levels at `left` with its own group of the weights at
    /// `right`, for some rows: a step of a register block.
    ///
    /// # Safety
    /// A group must be readable at each `left[i] + at`, and `V` vectors of groups at `right`; no alignment is
    /// asked.
    unsafe fn step<const R: usize, const V: usize>(
        self,
        sums: &mut [[Self::Sums; V]; R],
        left: &[*const Self::Left; R],
        at: usize,
        right: *const Self::Right,
    );
}

/// Work to be compiled for each of these instruction sets.
pub(crate) trait Int8Kernel {
    /// Does it. Must be `#[inline(always)]`.
    fn run<I: Int8>(self, int8: I);
}

/// The instructions for integers that there are at the levels of this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integers {
    /// Arrays, for the compiler to vectorise.
    Plain,
    /// Pairs of 16 bits, 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Pairs of 16 bits, 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Four of 8 bits at a time, 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

/// How a register block of these instructions lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IntegerShape {
    /// Bytes of a level, and of a weight.
    pub(crate) size: usize,
    /// Levels in a group.
    pub(crate) group: usize,
    /// Outputs in a panel.
    pub(crate) cols: usize,
}

impl IntegerShape {
    fn of<I: Int8>() -> Self {
        let cols = I::VECTORS * I::Floats::LANES;
        IntegerShape { size: size_of::<I::Left>(), group: I::GROUP, cols }
    }

    /// Bytes of a panel of weights of so many groups.
    pub(crate) fn panel_bytes(&self, groups: usize) -> usize {
        groups * self.group * self.cols * self.size
    }
}

/// Those of a level: made only of a level whose instructions were detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IntegerLevel(Integers);

impl IntegerLevel {
    /// The best of a level.
    pub(crate) fn best(level: Level) -> Self {
        IntegerLevel(match level.instructions() {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Integers::Avx2,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 if is_x86_feature_detected!("avx512vnni") => Integers::Vnni,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => Integers::Avx512,
            // Those of Arm as well, for which the compiler has products that widen.
            _ => Integers::Plain,
        })
    }

    /// All that a level has, the best last: processors of the same level may lack the best.
    #[cfg(test)]
    pub(crate) fn all(level: Level) -> Vec<Self> {
        let best = Self::best(level);
        match best.0 {
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni => vec![IntegerLevel(Integers::Avx512), best],
            _ => vec![best],
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Integers::Plain => "int8",
            #[cfg(target_arch = "x86_64")]
            Integers::Avx2 => "int8 by pairs of 16 bits",
            #[cfg(target_arch = "x86_64")]
            Integers::Avx512 => "int8 by pairs of 16 bits",
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni => "int8 by VNNI",
        }
    }

    /// How register blocks lie in memory.
    pub(crate) fn shape(self) -> IntegerShape {
        match self.0 {
            Integers::Plain => IntegerShape::of::<Plain>(),
            #[cfg(target_arch = "x86_64")]
            Integers::Avx2 => IntegerShape::of::<Pairs256>(),
            #[cfg(target_arch = "x86_64")]
            Integers::Avx512 => IntegerShape::of::<Pairs512>(),
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni => IntegerShape::of::<Vnni>(),
        }
    }

    /// Runs a kernel compiled for these instructions.
    pub(crate) fn run<K: Int8Kernel>(self, kernel: K) {
        match self.0 {
            Integers::Plain => kernel.run(Plain),
            // SAFETY: `best` gives it for a level that has AVX2, which only detection makes.
            #[cfg(target_arch = "x86_64")]
            Integers::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: as above, of AVX-512.
            #[cfg(target_arch = "x86_64")]
            Integers::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above, and `best` has detected VNNI.
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni => unsafe { run_vnni(kernel) },
        }
    }
}

/// Arrays: 8 lanes of pairs.
#[derive(Clone, Copy)]
struct Plain;

impl Int8 for Plain {
    type Floats = Portable;
    type Left = i16;
    type Right = i16;
    type Sums = [i32; 8];
    const GROUP: usize = 2;
    const ROWS: usize = 4;
    const VECTORS: usize = 1;

    #[inline(always)]
    fn floats(self) -> Portable {
        Portable
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i32) -> [i32; 8] {
        // SAFETY: the caller's.
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: [i32; 8]) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[i32; 8]>().write_unaligned(sums) }
    }

    #[inline(always)]
    fn to_floats(self, sums: [i32; 8]) -> <Portable as Simd>::V {
        let floats = sums.map(|sum| sum as f32);
        // SAFETY: a vector of the portable level has 8 floats.
        unsafe { Portable.load(floats.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn step<const R: usize, const V: usize>(
        self,
        sums: &mut [[[i32; 8]; V]; R],
        left: &[*const i16; R],
        at: usize,
        right: *const i16,
    ) {
        for (row, left) in sums.iter_mut().zip(left) {
            // SAFETY: the caller's.
            let [a, b] = unsafe { left.add(at).cast::<[i16; 2]>().read_unaligned() };
            for (j, sums) in row.iter_mut().enumerate() {
                // SAFETY: the caller's.
                let right = unsafe { right.add(16 * j).cast::<[[i16; 2]; 8]>().read_unaligned() };
                for (sum, right) in sums.iter_mut().zip(&right) {
                    // Wraps on the way where the whole sum does not: as the instructions do.
                    let products =
                        i32::from(a) * i32::from(right[0]) + i32::from(b) * i32::from(right[1]);
                    *sum = sum.wrapping_add(products);
                }
            }
        }
    }
}

// Of all below: SAFETY of each block: the tokens are made inside `run_avx2`, `run_avx512` and `run_vnni`
// alone, whose callers vouch for the instructions; memory operands are vouched for by the callers of `load`,
// `store` and `step`.

/// Products of pairs of 16 bits, by AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Pairs256(Avx2);

#[cfg(target_arch = "x86_64")]
impl Int8 for Pairs256 {
    type Floats = Avx2;
    type Left = i16;
    type Right = i16;
    type Sums = __m256i;
    const GROUP: usize = 2;
    const ROWS: usize = 6;
    const VECTORS: usize = 2;

    #[inline(always)]
    fn floats(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: __m256i) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(to.cast(), sums) }
    }

    #[inline(always)]
    fn to_floats(self, sums: __m256i) -> <Avx2 as Simd>::V {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn step<const R: usize, const V: usize>(
        self,
        sums: &mut [[__m256i; V]; R],
        left: &[*const i16; R],
        at: usize,
        right: *const i16,
    ) {
        // SAFETY: see above.
        unsafe {
            let mut weights = [_mm256_setzero_si256(); V];
            for (j, weights) in weights.iter_mut().enumerate() {
                *weights = _mm256_loadu_si256(right.add(16 * j).cast());
            }
            for i in 0..R {
                let levels = _mm256_set1_epi32(left[i].add(at).cast::<i32>().read_unaligned());
                for j in 0..V {
                    let products = _mm256_madd_epi16(levels, weights[j]);
                    sums[i][j] = _mm256_add_epi32(sums[i][j], products);
                }
            }
        }
    }
}

/// Products of pairs of 16 bits, by AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Pairs512(Avx512);

/// Products of four of 8 bits at a time, by AVX-512 with VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Vnni(Avx512);

/// What both do alike: vectors of 16 sums.
#[cfg(target_arch = "x86_64")]
macro_rules! sums_of_512 {
    () => {
        type Floats = Avx512;
        type Sums = __m512i;
        const ROWS: usize = 14;
        const VECTORS: usize = 2;

        #[inline(always)]
        fn floats(self) -> Avx512 {
            self.0
        }

        #[inline(always)]
        unsafe fn load(self, from: *const i32) -> __m512i {
            // SAFETY: see above.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut i32, sums: __m512i) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_si512(to.cast(), sums) }
        }

        #[inline(always)]
        fn to_floats(self, sums: __m512i) -> <Avx512 as Simd>::V {
            // SAFETY: see above.
            unsafe { _mm512_cvtepi32_ps(sums) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
impl Int8 for Pairs512 {
    type Left = i16;
    type Right = i16;
    const GROUP: usize = 2;
    sums_of_512!();

    #[inline(always)]
    unsafe fn step<const R: usize, const V: usize>(
        self,
        sums: &mut [[__m512i; V]; R],
        left: &[*const i16; R],
        at: usize,
        right: *const i16,
    ) {
        // SAFETY: see above.
        unsafe {
            let mut weights = [_mm512_setzero_si512(); V];
            for (j, weights) in weights.iter_mut().enumerate() {
                *weights = _mm512_loadu_si512(right.add(32 * j).cast());
            }
            for i in 0..R {
                let levels = _mm512_set1_epi32(left[i].add(at).cast::<i32>().read_unaligned());
                for j in 0..V {
                    let products = _mm512_madd_epi16(levels, weights[j]);
                    sums[i][j] = _mm512_add_epi32(sums[i][j], products);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Int8 for Vnni {
    type Left = u8;
    type Right = i8;
    const GROUP: usize = 4;
    sums_of_512!();

    #[inline(always)]
    unsafe fn step<const R: usize, const V: usize>(
        self,
        sums: &mut [[__m512i; V]; R],
        left: &[*const u8; R],
        at: usize,
        right: *const i8,
    ) {
        // SAFETY: see above.
        unsafe {
            let mut weights = [_mm512_setzero_si512(); V];
            for (j, weights) in weights.iter_mut().enumerate() {
                *weights = _mm512_loadu_si512(right.add(64 * j).cast());
            }
            for i in 0..R {
                let levels = _mm512_set1_epi32(left[i].add(at).cast::<i32>().read_unaligned());
                for j in 0..V {
                    sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], levels, weights[j]);
                }
            }
        }
    }
}

/// Runs a kernel with AVX2 enabled.
///
/// # Safety
/// The processor must have it, with FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Int8Kernel>(kernel: K) {
    kernel.run(Pairs256(Avx2(())));
}

/// Runs a kernel with AVX-512 enabled.
///
/// # Safety
/// The processor must have it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
unsafe fn run_avx512<K: Int8Kernel>(kernel: K) {
    kernel.run(Pairs512(Avx512(())));
}

/// Runs a kernel with AVX-512 and VNNI enabled.
///
/// # Safety
/// The processor must have both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512vnni,avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
unsafe fn run_vnni<K: Int8Kernel>(kernel: K) {
    kernel.run(Vnni(Avx512(())));
}
