//! What a graph keeps, and when it lets go: counted by a device that knows its buffers.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use striate_tensor::ops::{Activation, Conv2d, Lrn, MatMul, SgdMomentum};
use striate_tensor::{
    Backend, Buffer, BufferData, Device, DeviceInfo, Error, HostTensor, HostValues, Op, Operand,
    Pending, Reference, Result, Target, Tensor, TensorType, checkpoint, no_grad,
};

/// How many buffers there are, and the most that there were.
#[derive(Default)]
struct Count {
    live: AtomicUsize,
    peak: AtomicUsize,
}

/// The reference, counting.
struct Counting(Arc<Count>);

struct Counted {
    buffer: Buffer,
    count: Arc<Count>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BufferData for Counted {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.buffer.size_bytes()
    }
}

impl Counting {
    fn counted(&self, buffer: Buffer) -> Buffer {
        let live = 1 + self.0.live.fetch_add(1, Ordering::Relaxed);
        self.0.peak.fetch_max(live, Ordering::Relaxed);
        Buffer::new(Counted { buffer, count: Arc::clone(&self.0) })
    }
}

fn inner(buffer: &Buffer) -> &Buffer {
    &buffer.downcast::<Counted>().unwrap().buffer
}

impl Backend for Counting {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { name: "counting".into(), ..Reference.info() }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Ok(self.counted(Reference.upload(values)?))
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Reference.download(inner(buffer), ty)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let inputs: Vec<Operand<'_>> =
            inputs.iter().map(|x| Operand { buffer: inner(x.buffer), ty: x.ty }).collect();
        Ok(self.counted(Reference.execute(op, &inputs, output)?))
    }

    /// Only says whether it could without a copy.
    fn execute_in_place(&self, op: &Op, to: &mut [Target<'_>], _: &[Operand<'_>]) -> Result<()> {
        match to.iter_mut().all(|target| target.buffer.unique::<Counted>().is_some()) {
            true => Ok(()),
            false => Err(Error::gradient(op.name(), "a target is shared")),
        }
    }

    fn supports(&self, _: &Op, _: &[TensorType]) -> bool {
        true
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// A device, and functions of its counts.
struct Bench {
    device: Device,
    count: Arc<Count>,
}

impl Bench {
    fn new() -> Self {
        let count = Arc::new(Count::default());
        Bench { device: Device::new(Counting(Arc::clone(&count))), count }
    }

    fn live(&self) -> usize {
        self.count.live.load(Ordering::Relaxed)
    }

    /// The most buffers alive while a function runs, and what it gives.
    fn peak<T>(&self, function: impl FnOnce() -> T) -> (usize, T) {
        self.count.peak.store(self.live(), Ordering::Relaxed);
        let result = function();
        (self.count.peak.load(Ordering::Relaxed), result)
    }

    fn ones(&self, dims: &[usize]) -> Tensor {
        Tensor::ones(dims, &self.device).unwrap()
    }
}

const DEPTH: usize = 50;
const STEP: SgdMomentum = SgdMomentum { rate: 0.1, momentum: 0.9, decay: 0.0, scale: 1.0 };

/// `depth` exponentials (of something small), each of which keeps its output.
fn deep(x: &Tensor, depth: usize) -> Result<Tensor> {
    (0..depth).try_fold(x.clone(), |x, _| x.affine(0.1, -1.0)?.exp())
}

#[test]
fn only_what_rules_ask_for_is_kept() {
    let bench = Bench::new();
    let x = bench.ones(&[3]).require_grad();
    let shifted = (0..10).fold(x.clone(), |y, _| y.affine(2.0, 1.0).unwrap());
    assert_eq!(bench.live(), 2, "an affine function needs neither operand nor output");
    drop(shifted);
    let y = deep(&x, 10).unwrap();
    assert_eq!(bench.live(), 11, "ten outputs of exp");
    drop(y);
    assert_eq!(bench.live(), 1);

    // Each factor is kept for the gradient of the other, and for that alone.
    let op = MatMul { transpose_b: true, ..MatMul::default() };
    let frozen = bench.ones(&[2, 3]);
    let hidden = bench.ones(&[4, 3]).require_grad().affine(2.0, 0.0).unwrap();
    let product = hidden.matmul_with(&frozen, None, op).unwrap();
    let before = bench.live();
    drop(hidden);
    assert_eq!(bench.live(), before - 1, "a layer with frozen weights keeps no input");
    drop((product, frozen, x));
    assert_eq!(bench.live(), 0);

    // Nothing at all without gradients.
    let x = bench.ones(&[1, 8, 8, 4]).require_grad();
    let w = bench.ones(&[4, 3, 3, 4]).require_grad();
    let y = no_grad(|| {
        let lrn = Lrn { size: 3, kappa: 1.0, alpha: 0.1, beta: 0.75, groups: 1 };
        x.conv2d(&w, None, Conv2d { activation: Activation::Relu, ..Conv2d::default() })?
            .lrn(lrn)?
            .exp()
    });
    assert_eq!(y.unwrap().dims(), [1, 6, 6, 4]);
    assert_eq!(bench.live(), 2);
}

#[test]
fn memory_is_freed_as_the_pass_goes() {
    let bench = Bench::new();
    let x = bench.ones(&[3]).require_grad();
    let middle = deep(&x, DEPTH).unwrap();
    let y = deep(&middle, DEPTH).unwrap();
    let dy = bench.ones(&[3]);
    assert_eq!(bench.live(), 2 * DEPTH + 2);
    // Also of the part before a tensor that the caller still holds.
    let (peak, gradients) = bench.peak(|| y.backward_with(&dy).unwrap());
    assert!(peak <= 2 * DEPTH + 5, "{peak}: a gradient or two beside what there was");
    assert_eq!(bench.live(), 4, "x, its gradient, dy and the middle");
    assert_eq!(gradients.len(), 1);
    drop((gradients, middle, dy, x));
    assert_eq!(bench.live(), 0);
}

#[test]
fn gradients_of_weights_do_not_add_to_activations() {
    // A layer's activation goes when its gradient comes, so the total never grows by more than the
    // step at hand.
    let bench = Bench::new();
    let weights: Vec<Tensor> = (0..DEPTH).map(|_| bench.ones(&[2, 2]).require_grad()).collect();
    let x = bench.ones(&[3, 2]);
    let loss = weights.iter().fold(x, |x, w| x.matmul(w).unwrap().affine(0.5, 0.0).unwrap());
    let dy = bench.ones(&[3, 2]);
    let before = bench.live();
    let (peak, gradients) = bench.peak(|| loss.backward_with(&dy).unwrap());
    assert!(peak <= before + 4, "{peak} of {before}");
    drop(weights);
    assert_eq!(bench.live(), DEPTH + 1, "the gradients, and dy");
    drop(gradients);
}

#[test]
fn gradients_handed_out_are_not_kept() {
    let bench = Bench::new();
    let weights: Vec<Tensor> = (0..DEPTH).map(|_| bench.ones(&[2, 2]).require_grad()).collect();
    let x = bench.ones(&[3, 2]);
    let y = weights.iter().fold(x, |x, w| x.matmul(w).unwrap().affine(0.5, 0.0).unwrap());
    let loss = y.sum_all().unwrap();
    drop(y);
    let before = bench.live();
    let mut came = 0;
    loss.backward_each(|_, gradient| {
        // A layer's activation is gone, and no gradient of those before is there.
        came += 1;
        let live = bench.live() - usize::from(came < DEPTH);
        assert!(live <= before - came + 2, "{live} of {before} after {came}");
        drop(gradient);
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!((came, bench.live()), (DEPTH, DEPTH), "the weights");
}

/// When its gradient comes, nothing in the pass shares a weight, checkpointed or not, used once or
/// twice: an update in place copies nothing.
#[test]
fn a_weight_is_not_shared_when_its_gradient_comes() {
    for checkpointed in [false, true] {
        let bench = Bench::new();
        let mut weights: Vec<Tensor> = (0..5).map(|_| bench.ones(&[2, 2]).require_grad()).collect();
        let mut y = bench.ones(&[3, 2]);
        for w in [0, 1, 2, 1, 3, 4, 4] {
            let w = weights[w].clone();
            let layer = move |t: &[Tensor]| t[0].matmul(&w)?.affine(0.5, 0.0);
            y = match checkpointed {
                true => checkpoint(&[&y], layer),
                false => layer(&[y]),
            }
            .unwrap();
        }
        let loss = y.sum_all().unwrap();
        drop(y);
        let mut order = Vec::new();
        loss.backward_each(|leaf, gradient| {
            let i = weights.iter().position(|w| w.leaf_id() == Some(leaf)).unwrap();
            let copied = weights[i].sgd_momentum(&mut bench.ones(&[2, 2]), &gradient, STEP);
            assert!(copied.is_ok(), "checkpointed {checkpointed}: weight {i}: {copied:?}");
            order.push(i);
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!(order, [4, 3, 2, 1, 0], "checkpointed {checkpointed}");
    }
}

#[test]
fn checkpoints_keep_one_block_at_a_time() {
    let bench = Bench::new();
    let x = bench.ones(&[3]).require_grad();
    let step = |blocks: bool| {
        let mut y = x.clone();
        for _ in 0..10 {
            y = match blocks {
                true => checkpoint(&[&y], |t| deep(&t[0], 10)).unwrap(),
                false => deep(&y, 10).unwrap(),
            };
        }
        let kept = bench.live();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        (kept, gradients.get(&x).unwrap().to_vec::<f32>().unwrap())
    };
    let (peak, (kept, plain)) = bench.peak(|| step(false));
    assert_eq!(kept, 101);
    let (peak_of_blocks, (kept, same)) = bench.peak(|| step(true));
    assert_eq!(kept, 11, "x and the output of each block");
    assert!(peak >= 101 && peak_of_blocks <= 11 + 10 + 5, "{peak} and {peak_of_blocks}");
    assert_eq!(plain, same);
    assert_eq!(bench.live(), 1);
}

#[test]
fn an_error_on_the_way_frees_everything() {
    let bench = Bench::new();
    let x = bench.ones(&[3]).require_grad();
    let y = deep(&x, DEPTH).unwrap();
    let wrong = bench.device.execute(&striate_tensor::ops::ReluGrad.into(), &[&y, &y]).unwrap();
    let loss = deep(&wrong, DEPTH).unwrap().sum_all().unwrap();
    drop((y, wrong));
    assert!(loss.backward().is_err());
    assert_eq!(bench.live(), 1);
}
