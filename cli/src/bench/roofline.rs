//! What the machine can do at most: arithmetic and reading memory, measured.
//!
//! A CPU is measured by two plain loops of our own, so that the line does not depend on how good
//! our kernels are. Any other device is measured by a large matrix product and sum.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use striate::tensor::{Device, DeviceInfo, DeviceKind, RandomKey, Tensor};

use super::clock::Clock;
use super::measure;
use crate::error::Result;

/// Both roofs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roofline {
    /// Arithmetic a second, a multiply-add being two, in single precision.
    pub(super) flops: f64,
    /// Bytes read from memory a second.
    pub(super) bytes: f64,
}

impl Roofline {
    /// The seconds that so much work takes at least.
    pub(super) fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.bytes)
    }
}

/// The best of so many measurements is taken: others share the machine.
const ATTEMPTS: usize = 4;

/// Bytes read in a measurement of memory: several times the largest caches.
const READ_BYTES: usize = 256 << 20;

/// Multiply-adds of each accumulator in a measurement of arithmetic: some 20 ms.
const FMA_STEPS: u64 = 8_000_000;

/// The threads of a device, as it says itself; 0 where it has none to speak of.
pub(super) fn threads(info: &DeviceInfo) -> usize {
    let threads = info.properties.iter().find(|(name, _)| name == "threads");
    threads.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Measures a device.
pub(super) fn measure(device: &Device, threads: usize, clock: &Clock) -> Result<Roofline> {
    match device.info().kind {
        DeviceKind::Cpu => Ok(cpu(threads.max(1))),
        _ => by_ops(device, clock),
    }
}

fn cpu(threads: usize) -> Roofline {
    let flops = (0..ATTEMPTS).map(|_| rate(threads, fma_loop)).fold(0.0, f64::max);
    let words = READ_BYTES / threads / size_of::<u64>();
    let memory: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; words]).collect();
    let read = |thread: usize, streams: usize| {
        black_box(sum(&memory[thread], streams));
        size_of_val(memory[thread].as_slice()) as u64
    };
    // Which is the fastest depends on how far ahead the processor reads by itself.
    let streams = [1, 4, 8].into_iter();
    let bytes = streams
        .flat_map(|streams| (0..ATTEMPTS).map(move |_| streams))
        .map(|streams| rate(threads, |thread| read(thread, streams)))
        .fold(0.0, f64::max);
    Roofline { flops, bytes }
}

/// Words of a line of the caches.
const LINE_WORDS: usize = 8;
/// Lines that are asked for before they are read.
const LINES_AHEAD: usize = 32;

/// The sum of all words, read at so many places at once, each asked for ahead of its time.
fn sum(words: &[u64], streams: usize) -> u64 {
    let lines = words.len() / LINE_WORDS / streams;
    let mut sums = [0u64; LINE_WORDS];
    for line in 0..lines {
        for stream in 0..streams {
            let at = (stream * lines + line) * LINE_WORDS;
            prefetch(words.as_ptr().wrapping_add(at + LINES_AHEAD * LINE_WORDS));
            for (sum, word) in sums.iter_mut().zip(&words[at..at + LINE_WORDS]) {
                *sum = sum.wrapping_add(*word);
            }
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// Asks for a line of the caches, at an address that need not be readable.
#[inline(always)]
fn prefetch(address: *const u64) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: part of every x86-64; a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use std::arch::asm;
        // SAFETY: part of every 64-bit Arm; a prefetch of any address is harmless.
        unsafe {
            asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let _ = address;
}

/// Work a second when all threads do it at once. `work` says how much it did.
fn rate(threads: usize, work: impl Fn(usize) -> u64 + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let one = |thread: usize| {
        barrier.wait();
        let started = Instant::now();
        let done = work(thread);
        done as f64 / started.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|i| scope.spawn(move || one(i))).collect();
        // A thread that died did nothing.
        one(0) + others.into_iter().map(|other| other.join().unwrap_or(0.0)).sum::<f64>()
    })
}

/// Multiply-adds in registers with the widest instructions that the processor has; their flops.
fn fma_loop(_thread: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            return unsafe { x86::fma_avx512(FMA_STEPS) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            return unsafe { x86::fma_avx2(FMA_STEPS) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        // SAFETY: the processor has NEON.
        return unsafe { fma_neon(FMA_STEPS) };
    }
    plain(FMA_STEPS)
}

/// Multiplications and additions that the compiler makes of plain arrays what it can.
fn plain(steps: u64) -> u64 {
    const LANES: usize = 32;
    let (factor, term) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [1.0f32; LANES];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * factor + term;
        }
    }
    black_box(sums);
    2 * steps * LANES as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    /// Chains that do not wait for each other: more than latency (4 cycles) times units (2), and
    /// few enough that they and two constants stay in 16 registers.
    const CHAINS: usize = 12;

    macro_rules! fma {
        ($name:ident, $features:literal, $lanes:literal, $set:ident, $fma:ident) => {
            /// # Safety
            /// The processor must have the instructions.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(steps: u64) -> u64 {
                let (factor, term) = ($set(black_box(0.999)), $set(black_box(0.001)));
                let mut sums = [$set(1.0); CHAINS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        *sum = $fma(*sum, factor, term);
                    }
                }
                black_box(sums);
                2 * steps * (CHAINS * $lanes) as u64
            }
        };
    }

    fma!(fma_avx2, "avx2,fma", 8, _mm256_set1_ps, _mm256_fmadd_ps);
    fma!(fma_avx512, "avx512f", 16, _mm512_set1_ps, _mm512_fmadd_ps);
}

/// # Safety
/// The processor must have the instructions.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn fma_neon(steps: u64) -> u64 {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};
    // More than latency (4 cycles) times units (4), and few enough for 32 registers.
    const CHAINS: usize = 24;
    let (factor, term) = (vdupq_n_f32(black_box(0.999)), vdupq_n_f32(black_box(0.001)));
    let mut sums = [vdupq_n_f32(1.0); CHAINS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = vfmaq_f32(term, *sum, factor);
        }
    }
    black_box(sums);
    2 * steps * (CHAINS * 4) as u64
}

/// A product of so long says what the device can do.
const LONG_ENOUGH: Duration = Duration::from_millis(40);
/// Rows and columns of products, of which the first that is long enough is the last: a fast GPU has
/// a use for a large one, and a slow one would need minutes for it.
const PRODUCTS: [usize; 4] = [512, 1024, 2048, 4096];

/// Both roofs as the device's own product and sum reach them.
fn by_ops(device: &Device, clock: &Clock) -> Result<Roofline> {
    let key = |stream| RandomKey::new(0, stream);
    let mut flops = 0f64;
    for n in PRODUCTS {
        let a = Tensor::uniform([n, n], -1.0, 1.0, key(0), device)?;
        let b = Tensor::uniform([n, n], -1.0, 1.0, key(1), device)?;
        let product = measure::repeat(Some(ATTEMPTS), clock, || {
            a.matmul(&b)?;
            Ok(device.synchronize()?)
        })?;
        flops = flops.max(2.0 * (n as f64).powi(3) / product.min().as_secs_f64());
        if product.min() > LONG_ENOUGH {
            break;
        }
    }
    let long = Tensor::zeros([READ_BYTES / 2 / size_of::<f32>()], device)?;
    let sum = measure::repeat(Some(ATTEMPTS), clock, || {
        long.sum_all()?;
        Ok(device.synchronize()?)
    })?;
    Ok(Roofline { flops, bytes: (READ_BYTES / 2) as f64 / sum.min().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_roof_counts() {
        let roofline = Roofline { flops: 100.0, bytes: 10.0 };
        assert_eq!(roofline.seconds(200.0, 10.0), 2.0);
        assert_eq!(roofline.seconds(100.0, 50.0), 5.0);
    }

    #[test]
    fn rates_are_of_all_threads() {
        let roofline = Roofline { flops: rate(2, |_| plain(1000)), bytes: 1.0 };
        assert!(roofline.flops > 0.0 && fma_loop(0) > 0);
    }
}
