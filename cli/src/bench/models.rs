//! Whole networks, and their layers one by one.

use std::path::Path;
use std::time::Instant;

use striate::graph::{Graph, Node, NodeOp};
use striate::importers::ReadOptions;
use striate::importers::onnx::{Model, RunOptions};
use striate::nn::{Network, NetworkSpec, Seed};
use striate::tensor::{DType, RandomKey, Tensor};
use striate::train::{TrainOptions, Trainer};

use super::clock::Time;
use super::clock::Traffic;
use super::measure::{self, Times};
use super::report::{Case, Subject};
use super::{Bench, Pass};
use crate::error::Result;
use crate::inputs;
use crate::onnx;
use crate::outputs::has_extension;

/// Pixels less their mean lie about within this.
const INPUT_RANGE: f32 = 128.0;

/// The stream of random numbers for the input: far from those of the layers' weights.
const INPUT_STREAM: u64 = 1 << 32;

/// Times a network with fresh weights.
pub(super) fn time_fresh(bench: &mut Bench<'_>, name: &str, spec: &NetworkSpec) -> Result<()> {
    let network = spec.build(&bench.device, Seed(bench.seed))?;
    let network = match bench.dtype {
        Some(dtype) if dtype != DType::F32 => network.cast(dtype)?,
        _ => network,
    };
    time(bench, name, network)
}

/// Times the network of a model file.
pub(super) fn time_file(bench: &mut Bench<'_>, path: &str) -> Result<()> {
    let is_onnx = has_extension(Path::new(path), "onnx");
    if is_onnx && matches!(bench.pass, Pass::Forward) && !bench.layers {
        return time_onnx(bench, path);
    }
    let options = ReadOptions::default().dtype(bench.dtype);
    let file = bench.files.applied(inputs::model(Path::new(path))?)?;
    let network = file.read(&bench.device, &options)?;
    time(bench, path, network)
}

/// Times an ONNX model as it is.
fn time_onnx(bench: &mut Bench<'_>, path: &str) -> Result<()> {
    let model = Model::open(path)?;
    let inputs = onnx::inputs(&model, bench.batch, bench.seed, &bench.device)?;
    let inputs = onnx::borrowed(&inputs);
    let (graph, _) = model.graph(&inputs, &bench.device)?;
    let total = graph
        .nodes()
        .iter()
        .fold(Work::default(), |sum, node| sum.plus(Work::of(bench, &graph, node), 1.0));
    measure::reset_peak();
    let options = RunOptions::new().algorithm(bench.algorithm).half(bench.compute.is_half());
    let run = || {
        model.run_with(&inputs, &bench.device, &options)?;
        Ok(bench.device.synchronize()?)
    };
    let times = measure::repeat(bench.repeat, &bench.clock, run)?;
    let traffic = bench.clock.traffic(run)?;
    let case = Case {
        name: path,
        subject: Subject::Network(path),
        detail: "",
        algorithm: None,
        pass: bench.pass,
        batch: bench.batch,
        dtype: None,
        times: &times,
        flops: total.flops,
        bytes: total.bytes,
        ideal: total.ideal,
        peak_bytes: measure::peak_bytes(),
        traffic,
    };
    bench.report.case(&case, bench.output)?;
    let Some(trace) = &mut bench.trace else { return Ok(()) };
    trace.record(path, bench.pass, bench.batch, |_| run())
}

/// A layer's cost, and how the device computes it.
#[derive(Default)]
struct LayerWork {
    work: Work,
    algorithm: Option<String>,
}

/// What a layer or a network costs.
#[derive(Clone, Copy, Default)]
struct Work {
    flops: f64,
    bytes: f64,
    ideal: f64,
}

impl Work {
    /// That of a node of a graph.
    fn of(bench: &Bench<'_>, graph: &Graph, node: &Node) -> Work {
        let cost = graph.cost(node);
        let (flops, bytes) = (cost.flops as f64, (cost.bytes_read + cost.bytes_written) as f64);
        Work { flops, bytes, ideal: bench.roofline.seconds(flops, bytes) }
    }

    fn plus(self, other: Work, times: f64) -> Work {
        Work {
            flops: self.flops + times * other.flops,
            bytes: self.bytes + times * other.bytes,
            ideal: self.ideal + times * other.ideal,
        }
    }
}

fn time(bench: &mut Bench<'_>, name: &str, network: Network) -> Result<()> {
    let network = bench.compute.applied(network.with_algorithm(bench.algorithm))?;
    let [rows, cols, channels] = network.spec().input;
    let key = RandomKey::new(bench.seed, INPUT_STREAM);
    let shape = [bench.batch, rows, cols, channels];
    let x = Tensor::uniform(shape, -INPUT_RANGE, INPUT_RANGE, key, &bench.device)?;
    let layers = layer_work(bench, &network)?;
    let dtype = dtype(&network);
    let own_name = network.spec().name.clone();

    measure::reset_peak();
    if bench.layers {
        let times = time_layers(bench, &network, &x)?;
        let peak_bytes = measure::peak_bytes();
        let summary = network.summary();
        for ((layer, times), of_layer) in summary.layers.iter().zip(&times).zip(&layers) {
            let work = of_layer.work;
            let case = Case {
                name: &format!("{name}/{}:{}", layer.layer, layer.kind),
                subject: Subject::Layer,
                detail: &format!("{} to {}", layer.detail, crate::output::dims(&layer.output)),
                algorithm: of_layer.algorithm.as_deref(),
                pass: bench.pass,
                batch: bench.batch,
                dtype: (network.parameter_infos().iter().zip(network.parameters()))
                    .find(|(info, _)| info.layer == layer.layer)
                    .map(|(_, tensor)| tensor.dtype()),
                times,
                flops: work.flops,
                bytes: work.bytes,
                ideal: work.ideal,
                peak_bytes,
                traffic: None,
            };
            bench.report.case(&case, bench.output)?;
        }
    }

    let (times, traffic) = match bench.pass {
        Pass::Forward => {
            let run = || {
                network.forward(&x)?;
                Ok(bench.device.synchronize()?)
            };
            let times = measure::repeat(bench.repeat, &bench.clock, run)?;
            if let Some(trace) = &mut bench.trace {
                trace.record(name, bench.pass, bench.batch, |marks| {
                    network.forward_observed(&x, |node, _| {
                        marks.done(&node.name);
                        Ok(())
                    })?;
                    Ok(())
                })?;
            }
            (times, bench.clock.traffic(run)?)
        }
        Pass::Step => time_steps(bench, name, network, &x)?,
    };
    let total = layers.iter().fold(Work::default(), |sum, layer| sum.plus(layer.work, 1.0));
    let total = match bench.pass {
        Pass::Forward => total,
        // Gradients in the weights and in the input cost as much as the output each; there is none
        // in the first layer's input.
        Pass::Step => {
            let first = layers.first().map(|layer| layer.work).unwrap_or_default();
            Work::default().plus(total, 3.0).plus(first, -1.0)
        }
    };
    let case = Case {
        name,
        subject: Subject::Network(&own_name),
        detail: "",
        algorithm: None,
        pass: bench.pass,
        batch: bench.batch,
        dtype,
        times: &times,
        flops: total.flops,
        bytes: total.bytes,
        ideal: total.ideal,
        peak_bytes: measure::peak_bytes(),
        traffic,
    };
    bench.report.case(&case, bench.output)
}

/// Times steps of training on one batch; each moves the weights. (Of which nobody holds a clone: it
/// would be a copy.)
fn time_steps(
    bench: &mut Bench<'_>,
    name: &str,
    network: Network,
    x: &Tensor,
) -> Result<(Times, Option<Traffic>)> {
    let classes = network.spec().classes();
    let labels = (0..bench.batch).map(|i| (i % classes.max(1)) as u32).collect();
    let labels = Tensor::from_vec(labels, [bench.batch], &bench.device)?;
    // Small, so that random pictures do not make it diverge.
    let mut options = TrainOptions { seed: bench.seed, ..TrainOptions::default() };
    options.weights.rate = 1e-9;
    options.biases.rate = 1e-9;
    let mut trainer = Trainer::new(network, options)?;
    let mut iteration = 0;
    let device = bench.device.clone();
    let mut run = || {
        // As a training on a device alone steps: it does not wait for the loss on the way.
        let step = trainer.step_pending(x, &labels, iteration, 1.0)?;
        iteration += 1;
        device.synchronize()?;
        step.wait()?;
        Ok(())
    };
    let times = measure::repeat(bench.repeat, &bench.clock, &mut run)?;
    if let Some(trace) = &mut bench.trace {
        trace.record(name, bench.pass, bench.batch, |_| run())?;
    }
    Ok((times, bench.clock.traffic(&mut run)?))
}

/// Runs the layers one by one, each timed on its own.
fn time_layers(bench: &Bench<'_>, network: &Network, x: &Tensor) -> Result<Vec<Times>> {
    let layers = network.spec().nodes.len();
    let mut times = vec![Times::default(); layers];
    let run = |times: Option<&mut [Times]>| -> Result<()> {
        let mut times = times;
        if !network.spec().is_chain() {
            return time_graph(bench, network, x, times);
        }
        let mut x = x.clone();
        for layer in 0..layers {
            let time = bench.clock.time(|| {
                x = network.forward_layers(layer..layer + 1, &x)?;
                Ok(bench.device.synchronize()?)
            })?;
            if let Some(times) = &mut times {
                times[layer].push(time);
            }
        }
        Ok(())
    };
    run(None)?;
    let begun = Instant::now();
    let mut done = 0;
    while !measure::enough(bench.repeat, done, begun) {
        run(Some(&mut times))?;
        done += 1;
    }
    Ok(times)
}

/// As [`time_layers`] for one run of a network whose layers cannot be cut apart: the time from one
/// layer's output to the next, by the wall clock. No pass joins layers then.
fn time_graph(
    bench: &Bench<'_>,
    network: &Network,
    x: &Tensor,
    times: Option<&mut [Times]>,
) -> Result<()> {
    let mut times = times;
    let mut begun = Instant::now();
    network.activations(x, |layer, _| {
        bench.device.synchronize()?;
        if let Some(times) = &mut times {
            let wall = begun.elapsed();
            times[layer].push(Time { measured: wall, wall });
        }
        begun = Instant::now();
        Ok(())
    })?;
    Ok(())
}

/// What each layer costs: the work of its ops in the network's graph.
fn layer_work(bench: &Bench<'_>, network: &Network) -> Result<Vec<LayerWork>> {
    let graph = network.graph(bench.batch)?;
    let mut layers: Vec<LayerWork> =
        network.shapes().iter().map(|_| LayerWork::default()).collect();
    for node in graph.nodes() {
        let Some(layer) = node.origin.and_then(|layer| layers.get_mut(layer)) else { continue };
        layer.work = layer.work.plus(Work::of(bench, &graph, node), 1.0);
        if let NodeOp::Op(op) = &node.op
            && layer.algorithm.is_none()
        {
            layer.algorithm = bench.device.algorithm(op, &graph.input_types(node))?;
        }
    }
    Ok(layers)
}

/// The precision of the weights, where all layers have one.
fn dtype(network: &Network) -> Option<DType> {
    let mut dtypes = network.parameters().iter().map(Tensor::dtype);
    let first = dtypes.next()?;
    dtypes.all(|dtype| dtype == first).then_some(first)
}
