//! Vectors of f32 and the choice of instruction set.
//!
//! A [`Kernel`] is written once, generic over [`Simd`], and compiled once for each instruction set:
//! [`Level::run`] calls the instance of the level inside a function that enables its instructions.
//! Everything on the way must be `#[inline(always)]`, or it would be compiled without them.
//!
//! Instructions that a processor does not have are undefined behaviour. So a [`Level`] is a proof:
//! only detection hands one out, and only [`Level::run`] makes the token of its instruction set.
//! Neither can be made by hand:
//!
//! ```compile_fail,E0599
//! let level = striate_ops_cpu::Level::Avx512;
//! ```
//!
//! ```compile_fail,E0603
//! let level = striate_ops_cpu::Level(striate_ops_cpu::simd::Instructions::Portable);
//! ```

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod element;
pub(crate) mod int8;
mod portable;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

use half::f16;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Neon;
pub(crate) use element::{BLOCK_FLOATS, Element};
pub use portable::Portable;
pub use wide::Wide;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{Avx2, Avx512};

/// Magic constant: adding it to -3/4 times the bit pattern of x gives a first estimate of x^(-3/4).
/// Found by search for the smallest error.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
const INVERSE_THREE_QUARTERS: u32 = 0x6f14_8e50;

/// The range of x in which that estimate is refined: cubes and fourth powers of x and of x^(-3/4)
/// are far from overflowing there.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
const MODERATE: [f32; 2] = [1.0 / (1u64 << 40) as f32, (1u64 << 40) as f32];

/// Lanes of the widest vectors.
pub(crate) const MOST_LANES: usize = 16;

/// Bytes of a line of the caches.
pub(crate) const LINE_BYTES: usize = 64;

/// Keeps [`Simd`] to the tokens of this crate: kernels trust what it says of its vectors.
mod sealed {
    pub trait Sealed {}
}

/// A vector instruction set: a token that proves that its instructions may be used. Only this crate
/// implements it, and only [`Level::run`] hands tokens out (but for [`Portable`], which needs no
/// proof).
pub trait Simd: sealed::Sealed + Wide + Copy + Send + Sync + 'static {
    /// Floats in a vector.
    const LANES: usize;
    /// Vectors of sums that stay in registers, beside those that a product of rows multiplies.
    const SUMS: usize;
    /// A vector of [`LANES`](Simd::LANES) floats.
    type V: Copy;

    /// Every lane the same.
    fn splat(self, x: f32) -> Self::V;
    /// Reads `LANES` floats.
    ///
    /// # Safety
    /// They must be readable; no alignment is asked.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Writes `LANES` floats.
    ///
    /// # Safety
    /// They must be writable; no alignment is asked.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// The lanes that `indices` name, as many as `LANES`, each below that.
    #[inline(always)]
    fn permute(self, v: Self::V, indices: &[u32; MOST_LANES]) -> Self::V {
        let mut lanes = [0.0; MOST_LANES];
        debug_assert!(Self::LANES <= MOST_LANES);
        // SAFETY: a vector fits into as many lanes.
        unsafe {
            self.store(lanes.as_mut_ptr(), v);
            let permuted = indices.map(|index| lanes[index as usize % MOST_LANES]);
            self.load(permuted.as_ptr())
        }
    }
    /// The lanes that `indices` name of two vectors, those of `high` from `LANES` on.
    #[inline(always)]
    fn permute_pair(self, low: Self::V, high: Self::V, indices: &[u32; MOST_LANES]) -> Self::V {
        let mut lanes = [0.0; 2 * MOST_LANES];
        debug_assert!(Self::LANES <= MOST_LANES);
        // SAFETY: two vectors fit into as many lanes.
        unsafe {
            self.store(lanes.as_mut_ptr(), low);
            self.store(lanes.as_mut_ptr().add(Self::LANES), high);
            let permuted = indices.map(|index| lanes[index as usize % (2 * MOST_LANES)]);
            self.load(permuted.as_ptr())
        }
    }
    /// Asks for the cache line at an address, which need not be readable.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    /// Asks for it to come no nearer than the second-level cache.
    #[inline(always)]
    fn prefetch_far(self, _: *const f32) {}
    /// Asks for the cache line at an address, which need not be there, to write into.
    #[inline(always)]
    fn prefetch_to_write(self, _: *mut f32) {}
    /// Reads the first `count` floats, at most `LANES`; the others are 0.
    ///
    /// # Safety
    /// They must be readable; no alignment is asked.
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::V {
        let mut whole = [0.0; 16];
        debug_assert!(count <= Self::LANES && Self::LANES <= whole.len());
        // SAFETY: the caller's; a vector fits into `whole`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, whole.as_mut_ptr(), count);
            self.load(whole.as_ptr())
        }
    }
    /// Writes the first `count` floats, at most `LANES`.
    ///
    /// # Safety
    /// They must be writable; no alignment is asked.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: Self::V, count: usize) {
        let mut whole = [0.0; 16];
        debug_assert!(count <= Self::LANES && Self::LANES <= whole.len());
        // SAFETY: the caller's; a vector fits into `whole`.
        unsafe {
            self.store(whole.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(whole.as_ptr(), to, count);
        }
    }
    /// Reads and widens `LANES` half-precision floats.
    ///
    /// # Safety
    /// They must be readable; no alignment is asked.
    unsafe fn load_f16(self, from: *const f16) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `√a`
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the instruction set has it.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// A first estimate of `a^(-3/4)`, within 4.6 %, from the bit patterns, which grow like the
    /// logarithm. None where a lane is not between 2^-40 and 2^40, or where two square roots are as
    /// fast as refining the estimate.
    #[inline(always)]
    fn guess_inverse_three_quarters(self, _: Self::V) -> Option<Self::V> {
        None
    }
    /// `max(a, 0)`; NaN stays NaN.
    fn relu(self, a: Self::V) -> Self::V;
    /// `min(max(a, low), high)`; NaN stays NaN.
    fn clamp(self, a: Self::V, low: Self::V, high: Self::V) -> Self::V;
    /// The larger one; NaN where either is.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `c` where `a` equals `b`, else `d`. NaN equals nothing.
    fn select_equal(self, a: Self::V, b: Self::V, c: Self::V, d: Self::V) -> Self::V;
    /// The sum of all lanes, in a fixed order: halves added to halves.
    fn sum(self, a: Self::V) -> f32;
    /// Transposes a block: `LANES` rows of `LANES` floats, `from_pitch` floats from one to the next,
    /// to as many rows `to_pitch` apart.
    ///
    /// # Safety
    /// All rows must be readable (writable), and those written must not overlap those read.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller's.
                unsafe { *to.add(j * to_pitch + i) = *from.add(i * from_pitch + j) };
            }
        }
    }
}

/// Work to be compiled for each instruction set.
pub trait Kernel {
    /// What it gives.
    type Output;
    /// Does it. Must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instruction sets that there are for this architecture, whether the processor has them or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Instructions {
    /// Plain arrays, for the compiler to vectorise.
    Portable,
    /// x86-64 with AVX2, FMA and F16C: 8 floats.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, VL, DQ and BW: 16 floats.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 64-bit Arm with NEON: 8 floats, in two registers.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// An instruction set that this processor has. Levels are ordered, the widest last.
///
/// A value is a proof: only detection makes one ([`best`](Level::best),
/// [`available`](Level::available), [`named`](Level::named)), apart from
/// [`PORTABLE`](Level::PORTABLE), which every processor has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(Instructions);

impl Level {
    /// Plain arrays, which the compiler vectorises with what every processor of the architecture
    /// has: 8 floats.
    pub const PORTABLE: Self = Level(Instructions::Portable);

    /// The best level of this processor; `STRIATE_SIMD` (`portable`, `avx2`, `avx512`, `neon`) asks for
    /// a lesser one. Found once per process.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let available = Self::available();
            let best = available.last().copied().unwrap_or(Level::PORTABLE);
            let Ok(name) = std::env::var("STRIATE_SIMD") else { return best };
            Self::named(&name).unwrap_or_else(|| {
                let names: Vec<_> = available.iter().map(Level::name).collect();
                log::warn!(
                    "STRIATE_SIMD={name} is none of {names:?} that this processor has; using {best}"
                );
                best
            })
        })
    }

    /// The levels of this processor, the best last.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "other architectures have the portable level only")]
        let mut levels = vec![Level::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                levels.push(Level(Instructions::Avx2));
            }
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            if avx2 && avx512 {
                levels.push(Level(Instructions::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            levels.push(Level(Instructions::Neon));
        }
        levels
    }

    /// The level of this name (`portable`, `avx2`, `avx512`, `neon`); none where this processor does
    /// not have it, or there is no such level.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|level| level.name() == name)
    }

    /// Which instruction set it is.
    pub(crate) fn instructions(self) -> Instructions {
        self.0
    }

    /// `portable`, `avx2`, `avx512` or `neon`.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Instructions::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => "neon",
        }
    }

    /// Floats in a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            Instructions::Portable => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => Neon::LANES,
        }
    }

    /// Vectors of sums that stay in registers.
    pub(crate) fn sums(self) -> usize {
        match self.0 {
            Instructions::Portable => Portable::SUMS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Avx2::SUMS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => Avx512::SUMS,
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => Neon::SUMS,
        }
    }

    /// Whether [`Simd::permute`] is an instruction.
    pub(crate) fn permutes(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 | Instructions::Avx512 => true,
            _ => false,
        }
    }

    /// Runs a kernel compiled for this level.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Instructions::Portable => kernel.run(Portable),
            // SAFETY: a level other than the portable one is made by `available` alone, where its
            // features were detected.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { x86_64::run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { x86_64::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { aarch64::run_neon(kernel) },
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transpose<'a> {
        from: &'a [f32],
        from_pitch: usize,
        to: &'a mut [f32],
        to_pitch: usize,
    }

    impl Kernel for Transpose<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            assert!(self.from.len() >= self.from_pitch * (S::LANES - 1) + S::LANES);
            assert!(self.to.len() >= self.to_pitch * (S::LANES - 1) + S::LANES);
            let (from, to) = (self.from.as_ptr(), self.to.as_mut_ptr());
            // SAFETY: both hold a block, as asserted.
            unsafe { simd.transpose(from, self.from_pitch, to, self.to_pitch) };
        }
    }

    #[test]
    fn levels_are_found_by_name_where_the_processor_has_them() {
        assert_eq!(Level::named("portable"), Some(Level::PORTABLE));
        for level in Level::available() {
            assert_eq!(Level::named(level.name()), Some(level));
            assert!(level >= Level::PORTABLE && level <= *Level::available().last().unwrap());
        }
        assert_eq!(Level::named("avx1024"), None);
        assert_eq!(format!("{:?} {}", Level::PORTABLE, Level::PORTABLE), "portable portable");
    }

    #[test]
    fn a_block_is_transposed_and_nothing_beside_it_is_touched() {
        for level in Level::available() {
            let (lanes, from_pitch, to_pitch) = (level.lanes(), 21, 19);
            let from: Vec<f32> = (0..from_pitch * lanes).map(|i| i as f32).collect();
            let mut to = vec![-1.0; to_pitch * lanes];
            level.run(Transpose { from: &from, from_pitch, to: &mut to, to_pitch });
            for (at, &x) in to.iter().enumerate() {
                let (row, col) = (at / to_pitch, at % to_pitch);
                let expected = if col < lanes { from[col * from_pitch + row] } else { -1.0 };
                assert_eq!(x, expected, "{level}: row {row}, column {col}");
            }
        }
    }
}
