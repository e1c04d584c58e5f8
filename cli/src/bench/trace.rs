//! What a run did when: a file that Perfetto (ui.perfetto.dev) and Chrome (chrome://tracing) show.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use striate::tensor::{
    Backend, Buffer, Cost, Device, DeviceInfo, HostTensor, HostValues, Op, Operand, Part, Pending,
    Result as TensorResult, SharedBytes, Target, TensorType,
};

use super::Pass;
use crate::error::{Error, Result};
use crate::outputs::Destination;

/// The rows of a run, from the top.
const ROWS: [&str; 3] = ["pass", "layers", "ops"];
const PASS: usize = 0;
const LAYERS: usize = 1;
const OPS: usize = 2;

/// A record of Chrome's trace format. Times are in microseconds.
#[derive(Serialize)]
struct Event {
    name: String,
    /// `X`: from `ts` for `dur`. `M`: what a process or a thread is called.
    ph: char,
    ts: f64,
    dur: f64,
    pid: usize,
    tid: usize,
    args: Value,
}

/// An op that was executed.
struct Executed {
    name: &'static str,
    begin: Duration,
    end: Duration,
    inputs: Vec<TensorType>,
    output: Option<TensorType>,
    cost: Option<Cost>,
    algorithm: Option<String>,
}

/// A layer that was run: from the end of the one before to its own.
struct Layer {
    name: String,
    end: Duration,
}

/// What is noted of the run under way.
struct Recording {
    started: Instant,
    ops: Vec<Executed>,
    layers: Vec<Layer>,
    /// How many ops the layers so far have had.
    told: usize,
}

/// What is noted, by the device that does it: nothing between recordings.
#[derive(Default)]
struct Log(Mutex<Option<Recording>>);

impl Log {
    fn with<T>(&self, f: impl FnOnce(&mut Option<Recording>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A device that notes the ops that it executes. While it does, it waits for each.
struct Traced {
    inner: Device,
    log: Arc<Log>,
}

impl Traced {
    fn note<T>(
        &self,
        op: &Op,
        inputs: Vec<TensorType>,
        output: Option<&TensorType>,
        execute: impl FnOnce() -> TensorResult<T>,
    ) -> TensorResult<T> {
        let Some(started) = self.log.with(|recording| Some(recording.as_ref()?.started)) else {
            return execute();
        };
        let begin = started.elapsed();
        let result = execute()?;
        self.inner.synchronize()?;
        let end = started.elapsed();
        let algorithm =
            output.and_then(|output| self.inner.backend().algorithm(op, &inputs, output));
        let cost = op.cost(&inputs).ok();
        let done = Executed {
            name: op.name(),
            begin,
            end,
            inputs,
            output: output.copied(),
            cost,
            algorithm,
        };
        self.log.with(|recording| recording.as_mut().map(|recording| recording.ops.push(done)));
        Ok(result)
    }
}

fn types(operands: &[Operand<'_>]) -> Vec<TensorType> {
    operands.iter().map(|operand| *operand.ty).collect()
}

impl Backend for Traced {
    fn info(&self) -> DeviceInfo {
        self.inner.info()
    }

    fn upload(&self, values: HostValues) -> TensorResult<Buffer> {
        self.inner.backend().upload(values)
    }

    fn upload_shared(&self, bytes: SharedBytes, ty: &TensorType) -> TensorResult<Buffer> {
        self.inner.backend().upload_shared(bytes, ty)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> TensorResult<Pending<HostTensor>> {
        self.inner.backend().download(buffer, ty)
    }

    fn execute(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        output: &TensorType,
    ) -> TensorResult<Buffer> {
        self.note(op, types(inputs), Some(output), || {
            self.inner.backend().execute(op, inputs, output)
        })
    }

    fn allocate(&self, ty: &TensorType) -> TensorResult<Buffer> {
        self.inner.backend().allocate(ty)
    }

    fn execute_part(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        output: &TensorType,
        part: Part<'_>,
    ) -> TensorResult<()> {
        self.note(op, types(inputs), Some(output), || {
            self.inner.backend().execute_part(op, inputs, output, part)
        })
    }

    fn supports_part(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> bool {
        self.inner.backend().supports_part(op, inputs, output)
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> TensorResult<()> {
        let all = targets.iter().map(|target| *target.ty).chain(types(inputs)).collect();
        self.note(op, all, None, || self.inner.backend().execute_in_place(op, targets, inputs))
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        self.inner.backend().supports(op, inputs)
    }

    fn algorithm(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> Option<String> {
        self.inner.backend().algorithm(op, inputs, output)
    }

    fn synchronize(&self) -> TensorResult<()> {
        self.inner.synchronize()
    }
}

/// The runs that are noted, and the file that they go to.
pub(super) struct Trace {
    to: Destination,
    log: Arc<Log>,
    events: Vec<Event>,
    runs: usize,
}

/// Marks the layers of a run.
pub(super) struct Marks<'a>(&'a Log);

impl Marks<'_> {
    /// This layer is done. One that executed nothing is passed over.
    pub(super) fn done(&self, layer: &str) {
        self.0.with(|recording| {
            let Some(recording) = recording else { return };
            if recording.ops.len() > recording.told {
                recording.told = recording.ops.len();
                let end = recording.started.elapsed();
                recording.layers.push(Layer { name: layer.to_owned(), end });
            }
        });
    }
}

impl Trace {
    /// A trace for this file. Standard output has the times.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let to = Destination::of(path)?;
        if to.is_stdout() {
            return Err(Error::Usage(
                "'--trace' must be a file: times go to standard output".into(),
            ));
        }
        Ok(Trace { to, log: Arc::default(), events: Vec::new(), runs: 0 })
    }

    /// The same device, which notes what it does in runs that are recorded.
    pub(super) fn device(&self, device: Device) -> Device {
        Device::new(Traced { inner: device, log: Arc::clone(&self.log) })
    }

    /// Notes a run.
    pub(super) fn record(
        &mut self,
        name: &str,
        pass: Pass,
        batch: usize,
        run: impl FnOnce(&Marks<'_>) -> Result<()>,
    ) -> Result<()> {
        let started = Instant::now();
        let recording = Recording { started, ops: Vec::new(), layers: Vec::new(), told: 0 };
        self.log.with(|log| *log = Some(recording));
        let result = run(&Marks(&self.log));
        let end = started.elapsed();
        let recording = self.log.with(Option::take);
        result?;
        self.runs += 1;
        let title = format!("{name}, {}, batch {batch}", pass.name());
        self.call("process_name", 0, &title);
        for (row, name) in ROWS.into_iter().enumerate() {
            self.call("thread_name", row, name);
        }
        self.slice(PASS, title, [Duration::ZERO, end], Value::Null);
        let Some(recording) = recording else { return Ok(()) };
        let mut begin = Duration::ZERO;
        for layer in recording.layers {
            self.slice(LAYERS, layer.name, [begin, layer.end], Value::Null);
            begin = layer.end;
        }
        if begin > Duration::ZERO {
            // So that the row adds up to the pass.
            self.slice(LAYERS, "(after the last layer)".into(), [begin, end], Value::Null);
        }
        for op in recording.ops {
            let args = args(&op);
            self.slice(OPS, op.name.to_owned(), [op.begin, op.end], args);
        }
        Ok(())
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self) -> Result<()> {
        let json = json!({ "displayTimeUnit": "ms", "traceEvents": self.events });
        self.to.write(format!("{json}\n").as_bytes())
    }

    fn call(&mut self, what: &str, tid: usize, name: &str) {
        let args = json!({ "name": name });
        self.events.push(Event {
            name: what.into(),
            ph: 'M',
            ts: 0.0,
            dur: 0.0,
            pid: self.runs,
            tid,
            args,
        });
    }

    fn slice(&mut self, tid: usize, name: String, [begin, end]: [Duration; 2], args: Value) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (ts, dur) = (micros(begin), micros(end - begin));
        self.events.push(Event { name, ph: 'X', ts, dur, pid: self.runs, tid, args });
    }
}

/// What is shown of an op that is clicked on.
fn args(op: &Executed) -> Value {
    let inputs: Vec<String> = op.inputs.iter().map(ToString::to_string).collect();
    let seconds = (op.end - op.begin).as_secs_f64();
    let gflops =
        op.cost.map(|cost| cost.flops as f64 / seconds / 1e9).filter(|rate| rate.is_finite());
    json!({
        "inputs": inputs,
        "output": op.output.map(|output| output.to_string()),
        "flops": op.cost.map(|cost| cost.flops),
        "bytes": op.cost.map(|cost| cost.bytes_read + cost.bytes_written),
        "gflops": gflops,
        "algorithm": op.algorithm,
    })
}
