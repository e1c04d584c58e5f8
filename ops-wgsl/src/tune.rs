//! Measuring kernels on the user's adapter.
//!
//! Each kernel that takes a convolution or a product computes it some times; the fastest is kept for
//! its extents in a file of the user's ([`winners`](crate::winners)), which devices read when they are opened.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use striate_tensor::{DType, Device, Error, Op, RandomKey, Result, Tensor, TensorType};

use crate::adapter::AdapterChoice;
use crate::backend::Wgpu;
use crate::choice::{Algorithm, Case, Choices};
use crate::options::Options;
use crate::profile::Clock;
use crate::winners::{Entry, Store};

/// A kernel has won if it takes less than this part of the usual one's time: less is noise.
const CLEARLY: f64 = 0.97;
/// Runs that are timed: so many at least, then until it has taken so long, so many at most.
const MIN_RUNS: usize = 3;
const MAX_RUNS: usize = 50;
const RUN_FOR: Duration = Duration::from_millis(200);
/// Runs of the usual kernel and the fastest by turns, before one of them has won.
const TURNS: usize = 5;
/// A first run compiles, which may take so long. What takes longer and several times the best time
/// is not run again.
const COMPILING: f64 = 1000.0;
const HOPELESS: f64 = 4.0;
/// A run after the first of so many times the best time has lost.
const LOST: f64 = 1.5;
/// The kernel without tiles is tried up to so many operations: it is several times slower on what is
/// larger, and systems take back a GPU that is busy for seconds.
const MOST_SIMPLE_FLOPS: u64 = 1 << 28;

/// An op to choose a kernel for.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneCase {
    /// The op: a convolution or a matrix product.
    pub op: Op,
    /// The types of its operands.
    pub inputs: Vec<TensorType>,
}

/// A kernel and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The kernel, with its tile: `tiled-128x64`.
    pub algorithm: String,
    /// The shortest time of an execution of the op.
    pub milliseconds: f64,
}

impl From<(Algorithm, f64)> for Candidate {
    fn from((algorithm, milliseconds): (Algorithm, f64)) -> Self {
        Candidate { algorithm: algorithm.to_string(), milliseconds }
    }
}

/// What was found for an op.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The table's choice.
    pub usual: Candidate,
    /// The fastest: the table's choice too, unless another is clearly faster.
    pub winner: Candidate,
    /// All that were measured, the table's choice first; empty where the result was known.
    pub tried: Vec<Candidate>,
}

impl Wgpu {
    /// Measures kernels on this adapter. The winners are kept in [`Options::cache`] for devices that
    /// are opened later; this one goes on as it was opened, so that its results stay the same bits.
    ///
    /// ```no_run
    /// use striate_ops_wgsl::{AdapterChoice, Options, TuneCase, Wgpu};
    /// use striate_tensor::{Shape, TensorType, ops::Conv2d};
    ///
    /// # fn main() -> striate_tensor::Result<()> {
    /// let gpu = Wgpu::new(&AdapterChoice::Gpu, Options::default())?;
    /// let mut tuner = gpu.tuner()?;
    /// let types = [Shape::new(&[1, 13, 13, 256])?, Shape::new(&[384, 3, 3, 256])?].map(TensorType::f32);
    /// let case = TuneCase { op: Conv2d::default().into(), inputs: types.into() };
    /// if let Some(tuned) = tuner.tune(&case, false)? {
    ///     let (usual, winner) = (tuned.usual, tuned.winner);
    ///     println!("{} {} ms", usual.algorithm, usual.milliseconds);
    ///     println!("{} {} ms", winner.algorithm, winner.milliseconds);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Wgpu::new`]: trials have a device of their own.
    pub fn tuner(&self) -> Result<Tuner> {
        Tuner::new(self)
    }
}

/// Measures kernels on an adapter: see [`Wgpu::tuner`].
#[derive(Debug)]
pub struct Tuner {
    gpu: Wgpu,
    device: Device,
    store: Option<Store>,
    known: Vec<Entry>,
}

impl Tuner {
    pub(crate) fn new(of: &Wgpu) -> Result<Self> {
        let own = &of.context().options;
        // Pipelines that lost are not worth keeping.
        let options = Options { profile: true, cache: None, ..own.clone() };
        let choice = AdapterChoice::Index(of.context().gpu.index);
        let trials = |_: &crate::device::Gpu| Choices::Trial(Mutex::default());
        let gpu = pollster::block_on(Wgpu::with(&choice, options, trials))?;
        let store = own.cache.as_deref().map(|folder| Store::new(&gpu.context().gpu, folder));
        // Why a file is of no use was said when the device was opened.
        let known = store.as_ref().and_then(|store| store.read().ok()).unwrap_or_default();
        Ok(Tuner { device: Device::new(gpu.clone()), gpu, store, known })
    }

    /// What times are taken by.
    pub fn clock(&self) -> Clock {
        self.gpu.clock()
    }

    /// The file that results are kept in, where there is a folder for caches.
    pub fn file(&self) -> Option<&Path> {
        self.store.as_ref().map(Store::path)
    }

    /// Measures the kernels that take an op, and keeps the winner on disk before it returns. Gives
    /// what is known already unless `again`; none where there is nothing to choose.
    ///
    /// # Errors
    /// What the op's shape rule says, or the device with its usual kernel. A kernel that the device
    /// refuses loses. Results that cannot be written are an [`Error::Device`].
    pub fn tune(&mut self, case: &TuneCase, again: bool) -> Result<Option<Tuned>> {
        if !matches!(case.op, Op::Conv2d(_) | Op::MatMul(_)) {
            return Ok(None);
        }
        let flops = case.op.cost(&case.inputs)?.flops;
        let operands = self.operands(&case.inputs)?;
        let operands: Vec<&Tensor> = operands.iter().collect();

        let first = self.run(None, &case.op, &operands)?;
        let [(launch, usual), ..] = first.chosen[..] else { return Ok(None) };
        if !again && let Some(known) = self.known(&first.chosen) {
            let (usual, winner) = (known.usual.into(), known.winner.into());
            return Ok(Some(Tuned { usual, winner, tried: Vec::new() }));
        }
        let usual_ms =
            self.time(None, &case.op, &operands, f64::INFINITY)?.unwrap_or(f64::INFINITY);
        let mut tried = vec![(usual, usual_ms)];
        let mut best = usual_ms;
        for algorithm in Algorithm::all() {
            let hopeless = algorithm == Algorithm::Simple && flops > MOST_SIMPLE_FLOPS;
            if algorithm == usual || hopeless {
                continue;
            }
            match self.time(Some(algorithm), &case.op, &operands, best) {
                Ok(Some(ms)) => {
                    best = best.min(ms);
                    tried.push((algorithm, ms));
                }
                Ok(None) => {}
                Err(error) => log::warn!("{algorithm} on {launch}: {error}"),
            }
        }
        // The first of equals: the usual one stays where nothing is faster.
        let fastest = tried.iter().fold(tried[0], |a, &b| if b.1 < a.1 { b } else { a });
        let (usual_ms, winner) = if fastest.1 < CLEARLY * usual_ms {
            self.decide((usual, usual_ms), fastest, &case.op, &operands)?
        } else {
            (usual_ms, tried[0])
        };
        tried[0].1 = usual_ms;
        self.keep(&first.chosen, usual_ms, winner)?;
        let tried = tried.into_iter().map(Candidate::from).collect();
        Ok(Some(Tuned { usual: (usual, usual_ms).into(), winner: winner.into(), tried }))
    }

    /// Runs the usual kernel and the fastest by turns, so that whatever else the machine does
    /// slows both of them. Gives the usual one's time, and the winner.
    fn decide(
        &self,
        (usual, mut usual_ms): (Algorithm, f64),
        (fastest, mut fastest_ms): (Algorithm, f64),
        op: &Op,
        operands: &[&Tensor],
    ) -> Result<(f64, (Algorithm, f64))> {
        for _ in 0..TURNS {
            usual_ms = usual_ms.min(self.run(None, op, operands)?.milliseconds);
            fastest_ms = fastest_ms.min(self.run(Some(fastest), op, operands)?.milliseconds);
        }
        let won = fastest_ms < CLEARLY * usual_ms;
        Ok((usual_ms, if won { (fastest, fastest_ms) } else { (usual, usual_ms) }))
    }

    /// What is known of an op, where all of its launches have been measured.
    fn known(&self, launches: &[(Case, Algorithm)]) -> Option<Entry> {
        let find = |case: &Case| self.known.iter().find(|entry| entry.case == *case).copied();
        let entries = launches.iter().map(|(case, _)| find(case)).collect::<Option<Vec<_>>>()?;
        entries.first().copied()
    }

    fn keep(
        &mut self,
        launches: &[(Case, Algorithm)],
        usual_ms: f64,
        winner: (Algorithm, f64),
    ) -> Result<()> {
        let mut new: Vec<Entry> = Vec::new();
        for &(case, usual) in launches {
            if !new.iter().any(|entry| entry.case == case) {
                new.push(Entry { case, usual: (usual, usual_ms), winner });
            }
        }
        self.known.retain(|old| !new.iter().any(|new| new.case == old.case));
        self.known.extend(&new);
        let Some(store) = &self.store else { return Ok(()) };
        store.add(&new).map_err(|error| {
            let path = store.path().display();
            self.gpu
                .context()
                .gpu
                .error(format!("cannot keep what was measured in {path}: {error}"))
        })
    }

    /// Operands of some types. Their values are no matter, but must not be zeros, which a processor
    /// adds faster.
    fn operands(&self, types: &[TensorType]) -> Result<Vec<Tensor>> {
        let operand = |(stream, ty): (usize, &TensorType)| {
            let key = RandomKey::new(1, stream as u64);
            let x = Tensor::uniform(ty.shape, -1.0, 1.0, key, &self.device)?;
            if ty.dtype == DType::F32 { Ok(x) } else { x.cast(ty.dtype) }
        };
        types.iter().enumerate().map(operand).collect()
    }

    /// The milliseconds that an op takes by an algorithm: the shortest of some runs, or that of the
    /// first one that shows it to be no better than `best`; none where it takes no such op.
    fn time(
        &self,
        forced: Option<Algorithm>,
        op: &Op,
        operands: &[&Tensor],
        best: f64,
    ) -> Result<Option<f64>> {
        let first = self.run(forced, op, operands)?;
        if forced.is_some_and(|forced| first.chosen.iter().any(|(_, chosen)| *chosen != forced)) {
            return Ok(None);
        }
        if first.milliseconds > HOPELESS * best + COMPILING {
            return Ok(Some(first.milliseconds));
        }
        let begun = Instant::now();
        let mut shortest = f64::INFINITY;
        for done in 1..=MAX_RUNS {
            shortest = shortest.min(self.run(forced, op, operands)?.milliseconds);
            let enough = done >= MIN_RUNS && begun.elapsed() > RUN_FOR;
            if enough || shortest > LOST * best {
                break;
            }
        }
        Ok(Some(shortest))
    }

    fn run(&self, forced: Option<Algorithm>, op: &Op, operands: &[&Tensor]) -> Result<Run> {
        let Choices::Trial(trial) = &self.gpu.context().choices else {
            return Err(Error::Device {
                device: self.gpu.context().gpu.name.clone(),
                message: "this device makes no trials".into(),
            });
        };
        {
            let mut trial = trial.lock().unwrap_or_else(PoisonError::into_inner);
            trial.forced = forced;
            trial.chosen.clear();
        }
        let before = self.gpu.profile();
        let started = Instant::now();
        self.device.execute(op, operands)?;
        self.device.synchronize()?;
        let milliseconds = match self.clock() {
            Clock::Gpu => self.gpu.profile().since(&before).nanoseconds() / 1e6,
            Clock::Wall => started.elapsed().as_secs_f64() * 1e3,
        };
        let mut trial = trial.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Run { milliseconds, chosen: std::mem::take(&mut trial.chosen) })
    }
}

/// An execution of an op.
struct Run {
    milliseconds: f64,
    /// The launches that it came to.
    chosen: Vec<(Case, Algorithm)>,
}

#[cfg(test)]
mod tests {
    use striate_tensor::Shape;
    use striate_tensor::ops::{Conv2d, MatMul};

    use super::*;

    fn gpu(folder: Option<&Path>) -> Option<Wgpu> {
        let options = Options { cache: folder.map(Into::into), ..Options::default() };
        crate::backend::tests::gpu(options)
    }

    fn types(dims: &[&[usize]]) -> Vec<TensorType> {
        dims.iter().map(|dims| TensorType::f32(Shape::new(dims).unwrap())).collect()
    }

    fn cases() -> [TuneCase; 2] {
        let conv = Conv2d { padding: [[1; 2]; 2], groups: 2, ..Conv2d::default() };
        let full = MatMul { transpose_b: true, ..MatMul::default() };
        [
            TuneCase { op: conv.into(), inputs: types(&[&[2, 9, 7, 16], &[24, 3, 3, 8]]) },
            TuneCase { op: full.into(), inputs: types(&[&[3, 256], &[40, 256]]) },
        ]
    }

    #[test]
    fn all_kernels_that_take_an_op_compute_the_same() {
        let Some(gpu) = gpu(None) else { return };
        let tuner = gpu.tuner().unwrap();
        for (case, least) in cases().into_iter().zip([7, 7]) {
            let operands = tuner.operands(&case.inputs).unwrap();
            let operands: Vec<&Tensor> = operands.iter().collect();
            let values = |forced| {
                let run = tuner.run(forced, &case.op, &operands).unwrap();
                let y = tuner.device.execute(&case.op, &operands).unwrap();
                (run.chosen, y.to_vec::<f32>().unwrap())
            };
            let expected = values(None).1;
            let scale = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
            let mut took = 0;
            for algorithm in Algorithm::all() {
                let (chosen, y) = values(Some(algorithm));
                took += usize::from(chosen.iter().all(|(_, chosen)| *chosen == algorithm));
                for (y, expected) in y.iter().zip(&expected) {
                    assert!((y - expected).abs() <= 1e-5 * scale, "{algorithm}: {y} {expected}");
                }
            }
            assert!(took >= least, "{took} kernels took {:?}", case.op);
        }
    }

    #[test]
    fn the_algorithm_that_a_device_names_is_the_one_that_it_launches() {
        let [conv, full] = cases();
        let Op::Conv2d(plain) = conv.op else { panic!("a convolution") };
        let direct = striate_tensor::ops::Algorithm::Direct;
        let direct = Conv2d { algorithm: direct, ..plain };
        let others = [
            TuneCase { op: direct.into(), inputs: conv.inputs.clone() },
            TuneCase { op: plain.into(), inputs: types(&[&[1, 56, 56, 64], &[128, 3, 3, 32]]) },
            TuneCase { op: plain.into(), inputs: types(&[&[0, 9, 7, 16], &[24, 3, 3, 8]]) },
            TuneCase { op: MatMul::default().into(), inputs: types(&[&[5, 64, 96], &[96, 40]]) },
            TuneCase { op: MatMul::default().into(), inputs: types(&[&[1, 0], &[0, 3]]) },
            TuneCase { op: full.op.clone(), inputs: types(&[&[1, 255], &[40, 255]]) },
        ];
        let all: Vec<TuneCase> = [conv, full].into_iter().chain(others).collect();
        // Whole, and in parts, for which some convolutions are too large.
        for (chunk_bytes, least) in [(None, 8), (Some(16 << 10), 6)] {
            let options = Options { cache: None, chunk_bytes, ..Options::default() };
            let Some(gpu) = crate::backend::tests::gpu(options) else { return };
            let tuner = gpu.tuner().unwrap();
            let named = all.iter().filter(|case| names_what_it_launches(&tuner, case)).count();
            assert!(named >= least, "{named} at {chunk_bytes:?}");
        }
    }

    /// Checks a case that the device takes.
    fn names_what_it_launches(tuner: &Tuner, case: &TuneCase) -> bool {
        let operands = tuner.operands(&case.inputs).unwrap();
        let operands: Vec<&Tensor> = operands.iter().collect();
        for forced in [None, Some(Algorithm::Simple), Some(Algorithm::Wide)] {
            let Ok(run) = tuner.run(forced, &case.op, &operands) else { return false };
            let mut launched: Vec<String> = Vec::new();
            for (_, chosen) in run.chosen {
                if !launched.contains(&chosen.to_string()) {
                    launched.push(chosen.to_string());
                }
            }
            let named = tuner.device.algorithm(&case.op, &case.inputs).unwrap();
            assert_eq!(named.unwrap_or_default(), launched.join(" and "), "{case:?}");
            let Choices::Trial(trial) = &tuner.gpu.context().choices else { panic!("a trial") };
            assert_eq!(trial.lock().unwrap().chosen.len(), 0, "naming is no launch");
        }
        true
    }

    #[test]
    fn winners_are_chosen_by_devices_that_are_opened_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let Some(before) = gpu(Some(folder.path())) else { return };
        let mut tuner = before.tuner().unwrap();
        let [case, full] = cases();
        let tuned = tuner.tune(&case, false).unwrap().unwrap();
        assert!(tuned.tried.len() > 2 && tuned.winner.milliseconds > 0.0, "{tuned:?}");
        assert!(tuned.winner.milliseconds <= tuned.usual.milliseconds, "{tuned:?}");
        let again = tuner.tune(&case, false).unwrap().unwrap();
        assert_eq!((again.winner, again.tried.len()), (tuned.winner, 0));
        let relu = striate_tensor::ops::Unary { kind: striate_tensor::ops::UnaryKind::Relu };
        let relu = TuneCase { op: relu.into(), inputs: types(&[&[4]]) };
        assert_eq!(tuner.tune(&relu, false).unwrap(), None);

        // Whatever is the fastest here: say that it was the one without tiles.
        let operands = tuner.operands(&full.inputs).unwrap();
        let operands: Vec<&Tensor> = operands.iter().collect();
        let launches = tuner.run(None, &full.op, &operands).unwrap().chosen;
        assert_ne!(launches[0].1, Algorithm::Simple);
        tuner.keep(&launches, 2.0, (Algorithm::Simple, 1.0)).unwrap();
        let winner = |gpu: &Wgpu| match &gpu.context().choices {
            Choices::Settled(winners) => winners.get(&launches[0].0).copied(),
            Choices::Trial(_) => None,
        };
        assert_eq!(winner(&before), None, "a device's choices do not change while it lives");
        assert_eq!(winner(&gpu(Some(folder.path())).unwrap()), Some(Algorithm::Simple));
    }
}
