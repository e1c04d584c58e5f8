//! What a run may take: threads, cancelling, memory.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use striate_nn::{
    Cancel, Context, Error, Network, NetworkSpec, RunLimits, Seed, conv2d, lrn, pool,
};
use striate_tensor::{
    Backend, Buffer, Device, DeviceInfo, HostTensor, HostValues, Op, Operand, Pending, RandomKey,
    Reference, Result, Target, Tensor, TensorType,
};

fn device() -> Device {
    Device::new(Reference::new())
}

fn random<const N: usize>(shape: [usize; N], stream: u64, device: &Device) -> Tensor {
    Tensor::uniform(shape, -1.0, 1.0, RandomKey::new(1, stream), device)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_vec::<f32>().unwrap_or_else(|error| panic!("{error}"));
    values.into_iter().map(f32::to_bits).collect()
}

fn residual() -> NetworkSpec {
    NetworkSpec::new([6, 6, 3])
        .conv(conv2d(4, 3).padding(1))
        .batch_norm()
        .relu()
        .residual(|x| x.conv(conv2d(4, 3).padding(1)).batch_norm())
        .relu()
        .dropout(0.3)
        .global_avg_pool()
        .flatten()
        .full_connect(3)
}

/// The reference device, which counts what it executes and flips a switch at some op.
struct Watched {
    inner: Reference,
    executed: Arc<AtomicUsize>,
    cancel: Arc<Mutex<Option<(usize, Cancel)>>>,
}

impl Backend for Watched {
    fn info(&self) -> DeviceInfo {
        self.inner.info()
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        self.inner.upload(values)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        self.inner.download(buffer, ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let executed = self.executed.fetch_add(1, Ordering::Relaxed) + 1;
        if let Ok(cancel) = self.cancel.lock()
            && let Some((at, cancel)) = &*cancel
            && *at == executed
        {
            cancel.cancel();
        }
        self.inner.execute(op, inputs, output)
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        self.inner.execute_in_place(op, targets, inputs)
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        self.inner.supports(op, inputs)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
}

#[test]
fn four_threads_run_one_network_at_once() {
    let device = device();
    let network = residual().build(&device, Seed(4)).unwrap();
    let inputs: Vec<Tensor> = (0..4).map(|i| random([1 + i, 6, 6, 3], 2, &device)).collect();
    let pass = |network: &Network, x: &Tensor| {
        let cx = Context::training(RandomKey::new(3, 3));
        let trained = network.forward_with(x, &cx).unwrap();
        let recorded: Vec<Vec<u32>> =
            cx.take_records().iter().map(|record| bits(&record.moments)).collect();
        (bits(&network.forward(x).unwrap()), bits(&trained), recorded)
    };
    // By a network of its own, so that the threads have to make their plans.
    let alone = residual().build(&device, Seed(4)).unwrap();
    let expected: Vec<_> = inputs.iter().map(|x| pass(&alone, x)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (network, inputs, expected) = (&network, &inputs, &expected);
                scope.spawn(move || {
                    for turn in 0..20 {
                        let which = (thread + turn) % inputs.len();
                        assert_eq!(pass(network, &inputs[which]), expected[which], "{which}");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_run_can_be_cancelled_before_and_within() {
    let (executed, cancel) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let watched = Watched {
        inner: Reference::new(),
        executed: Arc::clone(&executed),
        cancel: Arc::clone(&cancel),
    };
    let device = Device::new(watched);
    let network = residual().build(&device, Seed(4)).unwrap();
    let x = random([2, 6, 6, 3], 2, &device);
    let expected = bits(&network.forward(&x).unwrap());
    let from = executed.load(Ordering::Relaxed);
    network.forward(&x).unwrap();
    let ops = executed.load(Ordering::Relaxed) - from;
    assert!(ops > 3, "{ops}");

    // Before it starts.
    let switch = Cancel::new();
    let limits = RunLimits { cancel: Some(switch.clone()), ..RunLimits::default() };
    assert_eq!(bits(&network.forward_limited(&x, &limits).unwrap()), expected);
    switch.cancel();
    let from = executed.load(Ordering::Relaxed);
    let error = network.forward_limited(&x, &limits).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(error.to_string(), "the run was cancelled");
    assert_eq!(executed.load(Ordering::Relaxed), from, "nothing was run");

    // After its second op.
    let switch = Cancel::new();
    let from = executed.load(Ordering::Relaxed);
    *cancel.lock().unwrap() = Some((from + 2, switch.clone()));
    let limits = RunLimits { cancel: Some(switch.clone()), ..RunLimits::default() };
    let error = network.forward_limited(&x, &limits).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(executed.load(Ordering::Relaxed), from + 2);
    assert!(switch.is_cancelled());
    // The network is as it was.
    assert_eq!(bits(&network.forward(&x).unwrap()), expected);
}

#[test]
fn a_run_that_needs_too_much_is_refused_before_it_starts() {
    let executed = Arc::new(AtomicUsize::new(0));
    let watched = Watched {
        inner: Reference::new(),
        executed: Arc::clone(&executed),
        cancel: Arc::new(Mutex::new(None)),
    };
    let device = Device::new(watched);
    let network = residual().build(&device, Seed(4)).unwrap();
    let x = random([2, 6, 6, 3], 2, &device);
    let needed = network.peak_bytes(2).unwrap();
    network.forward(&x).unwrap();
    let from = executed.load(Ordering::Relaxed);
    let limits = RunLimits { memory: Some(needed - 1), ..RunLimits::default() };
    let error = network.forward_limited(&x, &limits).unwrap_err();
    assert!(
        matches!(error, Error::Memory { needed: n, limit } if n == needed && limit == needed - 1)
    );
    let expected = format!(
        "the run needs {needed} bytes for activations, of which it may have {}",
        needed - 1
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(executed.load(Ordering::Relaxed), from, "nothing was run");
    let enough = RunLimits { memory: Some(needed), ..RunLimits::default() };
    network.forward_limited(&x, &enough).unwrap();
    // Twice the images take twice the memory; none take none.
    assert_eq!((network.peak_bytes(4).unwrap(), network.peak_bytes(0).unwrap()), (2 * needed, 0));
}

#[test]
fn a_chain_holds_two_neighbouring_activations() {
    let spec = NetworkSpec::new([16, 12, 3])
        .conv(conv2d(8, 3).padding(1))
        .relu()
        .lrn(lrn(3))
        .max_pool(pool(2))
        .conv(conv2d(16, 3))
        .batch_norm()
        .relu()
        .dropout(0.5)
        .avg_pool(pool(2))
        .flatten()
        .full_connect(20)
        .relu()
        .full_connect(4);
    let network = spec.build(&device(), Seed(4)).unwrap();
    let shapes = spec.shapes().unwrap();
    let counts: Vec<u64> =
        std::iter::once(16 * 12 * 3).chain(shapes.iter().map(|s| s.outputs())).collect();
    let largest = counts.windows(2).map(|pair| pair[0] + pair[1]).max().unwrap();
    for images in [1, 5] {
        let peak = network.peak_bytes(images).unwrap();
        let bound = 4 * images as u64 * largest;
        assert!(peak <= bound, "{peak} {bound}");
        assert!(peak >= bound / 2, "{peak} {bound}: a layer holds its input and its output");
    }
    // A block holds what it adds in the end, beside.
    let plain = NetworkSpec::new([8, 8, 4]).relu().sigmoid().tanh().relu();
    let skip = NetworkSpec::new([8, 8, 4]).relu().residual(|x| x.sigmoid().tanh()).relu();
    let peak = |spec: &NetworkSpec| spec.build(&device(), Seed(1)).unwrap().peak_bytes(1).unwrap();
    let one = 4 * 8 * 8 * 4;
    assert_eq!((peak(&plain), peak(&skip)), (2 * one, 3 * one));
}
