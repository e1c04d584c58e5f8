//! Times a training step of the classic networks, op by op: forward, softmax loss, backward, and a
//! step of gradient descent.
//!
//!     cargo run --release -p striate-ops-cpu --example training_step -- alexnet --threads 2
//!
//! Networks: `alexnet`, `mattnet`, `vgg-d`. Options: `--batch N`, `--steps N`, `--threads N`. Times
//! are the least of all steps; GFLOP/s are counted as for the direct algorithm. `--cpu-time` takes
//! one thread and the time that it ran, which other work on the machine leaves alone (Linux).
//! `STRIATE_SIMD=avx2` restricts the instruction set.

#![allow(clippy::print_stdout, reason = "a table for people to read")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use striate_ops_cpu::Cpu;
use striate_tensor::ops::{
    Activation, AvgPool2d, AvgPool2dGrad, Conv2d, Conv2dInputGrad, Conv2dWeightGrad,
    CrossEntropyGrad, Lrn, LrnGrad, MatMul, MaxPool2dGrad, Pool2d, ReluGrad, SgdMomentum,
};
use striate_tensor::{Device, Error, Op, RandomKey, Result, Tensor};

/// A layer, by its numbers.
#[derive(Clone, Copy)]
enum Layer {
    /// Outputs, kernel, stride, padding, groups; ReLU follows.
    Conv(usize, usize, usize, usize, usize),
    /// In two groups, as in ccv.
    Lrn,
    /// Windows of 3 at stride 2.
    MaxPool,
    /// Windows of 3 at stride 3.
    AvgPool,
    /// Outputs, and whether ReLU follows.
    FullConnect(usize, bool),
}

use Layer::{AvgPool, Conv, FullConnect, MaxPool};

/// The layers of a network and the batch that it is timed at.
fn network(name: &str) -> Option<(Vec<Layer>, usize)> {
    let vgg = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];
    Some(match name {
        "alexnet" => (
            vec![
                Conv(96, 11, 4, 1, 1),
                Layer::Lrn,
                MaxPool,
                Conv(256, 5, 1, 2, 2),
                Layer::Lrn,
                MaxPool,
                Conv(384, 3, 1, 1, 1),
                Conv(384, 3, 1, 1, 2),
                Conv(256, 3, 1, 1, 2),
                MaxPool,
                FullConnect(4096, true),
                FullConnect(4096, true),
                FullConnect(1000, false),
            ],
            32,
        ),
        "mattnet" => (
            vec![
                Conv(128, 7, 2, 1, 1),
                Layer::Lrn,
                MaxPool,
                Conv(384, 3, 1, 1, 2),
                Layer::Lrn,
                MaxPool,
                Conv(512, 3, 1, 1, 1),
                Conv(512, 3, 1, 1, 2),
                Conv(512, 3, 1, 1, 2),
                MaxPool,
                Conv(512, 3, 1, 1, 1),
                Conv(512, 3, 1, 1, 2),
                MaxPool,
                AvgPool,
                FullConnect(2048, true),
                FullConnect(2048, true),
                FullConnect(1000, false),
            ],
            16,
        ),
        "vgg-d" => {
            let mut layers = Vec::new();
            for (out, count) in vgg {
                // ccv's first layer has no padding.
                layers.extend((0..count).map(|i| {
                    let first = out == 64 && i == 0;
                    Conv(out, 3, 1, usize::from(!first), 1)
                }));
                layers.push(MaxPool);
            }
            layers.extend([4096, 4096].map(|out| FullConnect(out, true)));
            layers.push(FullConnect(1000, false));
            (layers, 4)
        }
        _ => return None,
    })
}

/// Weights or biases, their velocity.
struct Parameter {
    value: Tensor,
    velocity: Tensor,
}

impl Parameter {
    fn new(shape: &[usize], scale: f32, stream: u64, device: &Device) -> Result<Self> {
        let value = Tensor::normal(shape, 0.0, scale, RandomKey::new(1, stream), device)?;
        Ok(Parameter { value, velocity: Tensor::zeros(shape, device)? })
    }
}

/// What is timed, in the order of its first run.
struct Times {
    ops: Vec<(String, u64, Duration)>,
    clock: fn() -> Duration,
}

/// The time since the first call.
fn wall_clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The time that this thread has run; zero where the system does not say.
fn thread_clock() -> Duration {
    // What the system says is up to date when the thread has just been scheduled.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

impl Times {
    /// Executes an op, and keeps the least time of all that had its label.
    fn run(&mut self, label: &str, op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Tensor> {
        let op = op.into();
        let types: Vec<_> = inputs.iter().map(|x| *x.ty()).collect();
        let flops = op.cost(&types)?.flops;
        let device = inputs.first().ok_or(Error::Operands {
            op: op.name(),
            expected: "1 or more".into(),
            got: 0,
        })?;
        self.time(format!("{label} {}", op.name()), flops, || device.device().execute(&op, inputs))
    }

    fn time<T>(
        &mut self,
        label: String,
        flops: u64,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let start = (self.clock)();
        let result = work()?;
        let time = (self.clock)() - start;
        match self.ops.iter_mut().find(|(known, ..)| *known == label) {
            Some((.., least)) => *least = time.min(*least),
            None => self.ops.push((label, flops, time)),
        }
        Ok(result)
    }
}

fn convolution(stride: usize, padding: usize, groups: usize) -> Conv2d {
    Conv2d {
        stride: [stride; 2],
        padding: [[padding; 2]; 2],
        groups,
        bias: true,
        activation: Activation::Relu,
        ..Conv2d::default()
    }
}

const LRN: Lrn = Lrn { size: 5, kappa: 2.0, alpha: 1e-4, beta: 0.75, groups: 2 };

struct Net {
    layers: Vec<Layer>,
    /// Weights and biases, of the layers that have them.
    parameters: Vec<Option<[Parameter; 2]>>,
}

impl Net {
    fn new(layers: Vec<Layer>, device: &Device) -> Result<Self> {
        let (mut rows, mut channels) = (225, 3);
        let mut parameters = Vec::new();
        for (layer, stream) in layers.iter().zip(0..) {
            let (shape, fan_in) = match *layer {
                Conv(out, kernel, stride, padding, groups) => {
                    let shape = vec![out, kernel, kernel, channels / groups];
                    rows = (rows + 2 * padding - kernel) / stride + 1;
                    let fan_in = kernel * kernel * channels / groups;
                    channels = out;
                    (shape, fan_in)
                }
                FullConnect(out, _) => {
                    let fan_in = rows * rows * channels;
                    (rows, channels) = (1, out);
                    (vec![out, fan_in], fan_in)
                }
                Layer::Lrn => (vec![], 0),
                MaxPool | AvgPool => {
                    rows = (rows - 3) / if matches!(layer, MaxPool) { 2 } else { 3 } + 1;
                    (vec![], 0)
                }
            };
            parameters.push(match shape.first() {
                None => None,
                Some(&out) => Some([
                    Parameter::new(&shape, (2.0 / fan_in as f32).sqrt(), 2 * stream, device)?,
                    Parameter::new(&[out], 0.01, 2 * stream + 1, device)?,
                ]),
            });
        }
        Ok(Net { layers, parameters })
    }

    /// One step; gives the mean loss.
    fn step(&mut self, times: &mut Times, x: &Tensor, labels: &[u32]) -> Result<f32> {
        let device = x.device().clone();
        // The inputs of all layers, and the logits.
        let mut values = vec![x.clone()];
        let names: Vec<String> = (0..self.layers.len()).map(|i| format!("{i:2}")).collect();
        for ((layer, parameters), name) in self.layers.iter().zip(&self.parameters).zip(&names) {
            let Some(x) = values.last() else { break };
            let y = match (*layer, parameters) {
                (Conv(_, _, stride, padding, groups), Some([w, b])) => {
                    let op = convolution(stride, padding, groups);
                    times.run(name, op, &[x, &w.value, &b.value])?
                }
                (FullConnect(_, relu), Some([w, b])) => {
                    let activation = Activation::relu(relu);
                    let op =
                        MatMul { transpose_b: true, bias: true, activation, transpose_a: false };
                    times.run(name, op, &[&x.flatten()?, &w.value, &b.value])?
                }
                (Layer::Lrn, _) => times.run(name, LRN, &[x])?,
                (AvgPool, _) => times.run(name, AvgPool2d(Pool2d::square(3, 3, 0)), &[x])?,
                _ => times.run(name, Pool2d::square(3, 2, 0), &[x])?,
            };
            values.push(y);
        }
        let Some(logits) = values.pop() else { return Ok(0.0) };
        let on_device = Tensor::from_vec(labels.to_vec(), [labels.len()], &device)?;
        let loss = logits.cross_entropy(&on_device)?.mean_all()?.to_scalar::<f32>()?;
        let each = Tensor::ones([labels.len()], &device)?;
        let mut dy = times.run("loss", CrossEntropyGrad, &[&logits, &on_device, &each])?;
        let mut y = logits;

        for (at, name) in names.iter().enumerate().rev() {
            let Some(x) = values.pop() else { break };
            let layer = self.layers[at];
            let dx = match (layer, &mut self.parameters[at]) {
                (Conv(_, kernel, stride, padding, groups), Some([w, b])) => {
                    let conv = convolution(stride, padding, groups);
                    dy = times.run(name, ReluGrad, &[&y, &dy])?;
                    let db = times.time(format!("{name} bias"), 0, || dy.sum([0, 1, 2]))?;
                    let op = Conv2dWeightGrad { conv, kernel: [kernel; 2] };
                    let dw = times.run(name, op, &[&x, &dy])?;
                    let dx = match at {
                        0 => None,
                        _ => {
                            let op = Conv2dInputGrad { conv, input: [x.dims()[1], x.dims()[2]] };
                            Some(times.run(name, op, &[&dy, &w.value])?)
                        }
                    };
                    update(times, name, w, &dw, labels.len())?;
                    update(times, name, b, &db, labels.len())?;
                    dx
                }
                (FullConnect(_, relu), Some([w, b])) => {
                    if relu {
                        dy = times.run(name, ReluGrad, &[&y, &dy])?;
                    }
                    let db = times.time(format!("{name} bias"), 0, || dy.sum([0]))?;
                    let flat = x.flatten()?;
                    let op = MatMul { transpose_a: true, ..MatMul::default() };
                    let dw = times.run(&format!("{name} dw"), op, &[&dy, &flat])?;
                    let dx =
                        times.run(&format!("{name} dx"), MatMul::default(), &[&dy, &w.value])?;
                    update(times, name, w, &dw, labels.len())?;
                    update(times, name, b, &db, labels.len())?;
                    Some(dx.reshape(*x.shape())?)
                }
                (Layer::Lrn, _) => Some(times.run(name, LrnGrad(LRN), &[&x, &dy])?),
                (AvgPool, _) => {
                    let input = [x.dims()[1], x.dims()[2]];
                    let op = AvgPool2dGrad { pool: Pool2d::square(3, 3, 0), input };
                    Some(times.run(name, op, &[&dy])?)
                }
                _ => {
                    let op = MaxPool2dGrad(Pool2d::square(3, 2, 0));
                    Some(times.run(name, op, &[&x, &y, &dy])?)
                }
            };
            y = x;
            if let Some(dx) = dx {
                dy = dx;
            }
        }
        Ok(loss)
    }
}

fn update(
    times: &mut Times,
    name: &str,
    parameter: &mut Parameter,
    gradient: &Tensor,
    batch: usize,
) -> Result<()> {
    let step = SgdMomentum { rate: 1e-4, momentum: 0.9, decay: 5e-4, scale: 1.0 / batch as f32 };
    let Parameter { value, velocity } = parameter;
    let what = if gradient.dims().len() == 1 { "biases" } else { "weights" };
    times.time(format!("{name} update {what}"), 0, || value.sgd_momentum(velocity, gradient, step))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut name = "alexnet".to_string();
    let (mut batch, mut steps, mut threads) = (None, 5, None);
    let mut cpu_time = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = match argument.as_str() {
            "--batch" | "--steps" | "--threads" => {
                let number = arguments.next().ok_or(format!("{argument} needs a number"))?;
                number.parse::<usize>().map_err(|e| format!("{argument} {number}: {e}"))?
            }
            _ => 0,
        };
        match argument.as_str() {
            "--batch" => batch = Some(number),
            "--steps" => steps = number,
            "--threads" => threads = Some(number),
            "--cpu-time" => (cpu_time, threads) = (true, Some(1)),
            _ => name = argument,
        }
    }
    let (layers, usual_batch) = network(&name).ok_or(format!("no network is called `{name}`"))?;
    let batch = batch.unwrap_or(usual_batch);
    let device = Device::new(Cpu::new(threads)?);
    let mut net = Net::new(layers, &device)?;
    let x = Tensor::uniform([batch, 225, 225, 3], -1.0, 1.0, RandomKey::new(2, 0), &device)?;
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 1000).collect();

    let clock = if cpu_time { thread_clock } else { wall_clock };
    let mut times = Times { ops: Vec::new(), clock };
    let mut whole = Vec::new();
    for step in 0..steps {
        let start = clock();
        let loss = net.step(&mut times, &x, &labels)?;
        let time = (clock() - start).as_secs_f64() * 1e3;
        println!("step {step}: {time:.1} ms, loss {loss:.4}");
        whole.push(time);
    }
    println!("{:<32} {:>9} {:>9}", "op", "ms", "GFLOP/s");
    let mut total = Duration::ZERO;
    for (label, flops, time) in &times.ops {
        total += *time;
        let rate = *flops as f64 / time.as_secs_f64() / 1e9;
        println!("{label:<32} {:>9.2} {rate:>9.1}", time.as_secs_f64() * 1e3);
    }
    let least = whole.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{name}, batch {batch}: ops {:.1} ms, a step {least:.1} ms",
        total.as_secs_f64() * 1e3
    );
    Ok(())
}
