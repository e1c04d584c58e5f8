//! The kernels of each instruction set, as shares of what the processor can do with it.
//!
//!     cargo bench -p striate-ops-cpu --bench kernels
//!     cargo bench -p striate-ops-cpu --bench kernels -- avx2/1
//!
//! For every level that the processor has, on one thread and on two. Before each of criterion's samples
//! the peak is measured, so that whoever shares the machine slows both: multiply-adds in registers by
//! the level's own vectors, or for a product with one row, reading as many bytes (which a large cache
//! may hold). Under criterion's lines stand the best rate, the best peak, and the median of the
//! samples' shares. Only `block` and `winograd block` are the micro-kernel
//! alone; the others are whole ops, with packing, transforms and handing out.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first failure, and is a table for people to read"
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use striate_ops_cpu::probe::Products;
use striate_ops_cpu::simd::{Kernel, Simd};
use striate_ops_cpu::{Cpu, Level};
use striate_tensor::ops::{Conv2d, MatMul};
use striate_tensor::{DType, Device, RandomKey, Tensor};

/// Multiply-adds of each chain: some milliseconds.
const STEPS: usize = 1_000_000;

/// Multiply-adds in chains that do not wait for each other: more than latency times units, and few
/// enough to stay in the registers.
struct Chains;

impl Kernel for Chains {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        const N: usize = 12;
        let (factor, term) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut sums = [simd.splat(1.0); N];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, term);
            }
        }
        for sum in sums {
            black_box(simd.sum(sum));
        }
        (2 * STEPS * N * S::LANES) as f64
    }
}

/// Multiplications and additions that the compiler makes of plain arrays what it can.
fn plain() -> f64 {
    const LANES: usize = 40;
    let (factor, term) = (black_box(0.999f32), black_box(0.001f32));
    let mut sums = [1.0f32; LANES];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = *sum * factor + term;
        }
    }
    black_box(sums);
    (2 * STEPS * LANES) as f64
}

fn multiply_adds(level: Level) -> f64 {
    match level {
        Level::PORTABLE => plain(),
        _ => level.run(Chains),
    }
}

/// Reads floats once, in several streams.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        const STREAMS: usize = 4;
        const AHEAD: usize = 512;
        const AT_ONCE: usize = 4;
        let part = self.0.len() / STREAMS;
        let mut sums = [[simd.splat(0.0); AT_ONCE]; STREAMS];
        let mut at = 0;
        while at + AT_ONCE * S::LANES <= part {
            for (stream, sums) in sums.iter_mut().enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let from = &self.0[stream * part + at + i * S::LANES..][..S::LANES];
                    simd.prefetch(from.as_ptr().wrapping_add(AHEAD));
                    // SAFETY: as many floats as a vector has.
                    *sum = simd.add(*sum, unsafe { simd.load(from.as_ptr()) });
                }
            }
            at += AT_ONCE * S::LANES;
        }
        for sum in sums.into_iter().flatten() {
            black_box(simd.sum(sum));
        }
    }
}

/// Runs work on so many threads at once, each on something of its own that it makes before; gives
/// the time until the last one is done.
fn together<T>(
    threads: usize,
    make: impl Fn(usize) -> T + Sync,
    work: impl Fn(&mut T) + Sync,
) -> Duration {
    let barrier = Barrier::new(threads);
    let one = |thread| {
        let mut own = make(thread);
        barrier.wait();
        let started = Instant::now();
        work(&mut own);
        started.elapsed()
    };
    std::thread::scope(|scope| {
        let one = &one;
        let others: Vec<_> = (1..threads).map(|i| scope.spawn(move || one(i))).collect();
        let own = one(0);
        others.into_iter().map(|other| other.join().expect("a thread")).fold(own, Duration::max)
    })
}

/// Operations a second of a level on so many threads.
fn peak_flops(level: Level, threads: usize) -> f64 {
    let flops = AtomicU64::new(0);
    let add = |(): &mut ()| {
        flops.fetch_add(multiply_adds(level) as u64, Ordering::Relaxed);
    };
    let time = together(threads, |_| (), add);
    flops.into_inner() as f64 / time.as_secs_f64()
}

/// Bytes a second that so many threads read of these, by the widest vectors.
fn peak_bytes(threads: usize, memory: &[f32]) -> f64 {
    let best = Level::available().pop().unwrap_or(Level::PORTABLE);
    let part = memory.len() / threads;
    let own = |thread| &memory[thread * part..][..part];
    let read = |own: &mut &[f32]| best.run(Read(own));
    // What a cache holds of it, it holds of a kernel's operands.
    together(threads, own, read);
    size_of_val(memory) as f64 / together(threads, own, read).as_secs_f64()
}

/// A sample: the seconds of a run, and the peak right before.
type Samples = RefCell<Vec<(f64, f64)>>;

fn note(samples: &Samples, peak: f64, iterations: u64, elapsed: Duration) -> Duration {
    samples.borrow_mut().push((elapsed.as_secs_f64() / iterations as f64, peak));
    elapsed
}

/// What a kernel is measured by.
enum Work {
    /// Multiply-adds of its own, and those of the definition where that has more.
    Flops(f64, Option<f64>),
    /// Bytes, and as many to read beside.
    Bytes(f64, Vec<f32>),
}

/// Rates, and the share of the peak; nothing where criterion left the kernel out.
fn tell(samples: &Samples, work: &Work) {
    let samples = samples.borrow();
    let (own, unit) = match *work {
        Work::Flops(own, _) => (own, "GFLOP/s"),
        Work::Bytes(bytes, _) => (bytes, "GB/s"),
    };
    let mut shares: Vec<f64> = samples.iter().map(|(time, peak)| own / time / peak).collect();
    shares.sort_by(f64::total_cmp);
    let Some(share) = shares.get(shares.len() / 2).map(|share| 100.0 * share) else { return };
    let seconds = samples.iter().fold(f64::INFINITY, |best, (time, _)| best.min(*time));
    let peak = samples.iter().fold(0.0f64, |best, (_, peak)| best.max(*peak)) / 1e9;
    let rate = own / seconds / 1e9;
    print!("  {share:.0} % of the peak; {rate:.1} of {peak:.1} {unit}");
    match *work {
        Work::Flops(_, Some(defined)) => {
            println!(", as the definition counts {:.1}", defined / seconds / 1e9);
        }
        _ => println!(),
    }
}

/// A level on so many threads.
struct Place<'c> {
    group: BenchmarkGroup<'c, WallTime>,
    level: Level,
    threads: usize,
}

impl Place<'_> {
    /// The micro-kernel by itself: each thread has products of its own.
    fn products(&mut self, name: &str, count: usize, extents: [usize; 3]) {
        let (level, threads) = (self.level, self.threads);
        let make = |_| Products::new(level, count, extents).expect("products");
        let flops = make(0).flops() * threads as f64;
        let samples = Samples::default();
        self.group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let run = |own: &mut Products| (0..iterations).for_each(|_| own.run());
                let peak = peak_flops(level, threads);
                note(&samples, peak, iterations, together(threads, make, run))
            });
        });
        tell(&samples, &Work::Flops(flops, None));
    }

    /// A whole op.
    fn op(&mut self, name: &str, work: &Work, run: impl Fn() -> Tensor) {
        let (level, threads) = (self.level, self.threads);
        let samples = Samples::default();
        self.group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let peak = match work {
                    Work::Flops(..) => peak_flops(level, threads),
                    Work::Bytes(_, memory) => peak_bytes(threads, memory),
                };
                let started = Instant::now();
                for _ in 0..iterations {
                    black_box(run());
                }
                note(&samples, peak, iterations, started.elapsed())
            });
        });
        tell(&samples, work);
    }

    fn conv2d(&mut self, device: &Device, name: &str, shapes: [[usize; 4]; 2], conv: Conv2d) {
        let [x, w] = shapes.map(|shape| random(&shape, device));
        let run = || x.conv2d(&w, None, conv).expect("a convolution");
        let y = run();
        let [rows, cols] = [1, 2].map(|axis| y.shape().dims()[axis]);
        let pairs = shapes[1][0] * shapes[1][3];
        let products = |count: usize| 2.0 * (count * pairs) as f64;
        let defined = products(rows * cols * shapes[1][1] * shapes[1][2]);
        // 36 products for a tile of 4 x 4.
        let tiled = products(36 * rows.div_ceil(4) * cols.div_ceil(4));
        let named = device.algorithm(&conv.into(), &[*x.ty(), *w.ty()]).expect("its types");
        let work = match named.is_some_and(|name| name.starts_with("Winograd F(4×4, 3×3)")) {
            true => Work::Flops(tiled, Some(defined)),
            false => Work::Flops(defined, None),
        };
        self.op(name, &work, run);
    }
}

fn random(shape: &[usize], device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, 1), device).expect("an operand")
}

fn kernels(c: &mut Criterion) {
    for level in Level::available() {
        for threads in [1, 2] {
            let mut group = c.benchmark_group(format!("kernels/{level}/{threads}"));
            group.sample_size(20);
            group.sampling_mode(SamplingMode::Flat);
            group.warm_up_time(Duration::from_millis(300));
            group.measurement_time(Duration::from_secs(1));
            let mut place = Place { group, level, threads };
            // A depth block of the tiled product; one position after the other of a task of
            // Winograd's algorithm.
            place.products("block", 1, [126, 256, 256]);
            place.products("winograd block", 36, [140, 128, 32]);

            let cpu = Cpu::with_level(Some(threads), level).expect("the CPU");
            let device = Device::new(cpu);
            let square = random(&[1024, 1024], &device);
            let work = Work::Flops(2.0 * 1024f64.powi(3), None);
            place.op("matmul 1024", &work, || square.matmul(&square).expect("a product"));
            let same = Conv2d { padding: [[1; 2]; 2], ..Conv2d::default() };
            let shapes = [[1, 111, 111, 128], [128, 3, 3, 128]];
            place.conv2d(&device, "vgg-d 2_2", shapes, same);
            let shapes = [[1, 27, 27, 512], [512, 3, 3, 512]];
            place.conv2d(&device, "vgg-d 4_2", shapes, same);
            let first = Conv2d { stride: [4, 4], ..same };
            let shapes = [[1, 225, 225, 3], [96, 11, 11, 3]];
            place.conv2d(&device, "alexnet 1", shapes, first);

            let x = random(&[1, 18_432], &device);
            let weights = random(&[4096, 18_432], &device);
            let full = MatMul { transpose_b: true, ..MatMul::default() };
            for dtype in [DType::F32, DType::F16] {
                let weights = weights.cast(dtype).expect("weights");
                let bytes = weights.ty().size_bytes();
                let work = Work::Bytes(bytes as f64, vec![1.0; bytes / size_of::<f32>()]);
                let run = || x.matmul_with(&weights, None, full).expect("a product");
                place.op(&format!("matvec {}", dtype.name()), &work, run);
            }
            place.group.finish();
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
