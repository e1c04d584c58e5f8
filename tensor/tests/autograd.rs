//! Backward passes: whole networks against differences, and what the graph promises.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod differences;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use differences::{assert_gradients, assert_half_alike, device, halves};
use striate_tensor::ops::*;
use striate_tensor::{DType, Device, Error, RandomKey, Reference, Result, Tensor};
use striate_tensor::{checkpoint, no_grad};

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_vec(values.to_vec(), [values.len()], &device()).unwrap()
}

fn numbers(x: Option<&Tensor>) -> Vec<f32> {
    x.unwrap().to_vec().unwrap()
}

/// A small network of the classic kind: convolution, LRN, pooling, full connect, dropout.
fn classic(t: &[Tensor], key: RandomKey) -> Result<Tensor> {
    let [x, w1, b1, w2, b2, w3, b3] = t else { unreachable!() };
    let labels = Tensor::from_vec(vec![2u32, 0], [2], x.device())?;
    head(&body(x, w1, b1)?, w2, b2, key)?
        .matmul_with(w3, Some(b3), MatMul { transpose_b: true, ..MatMul::default() })?
        .cross_entropy(&labels)?
        .mean_all()
}

fn body(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let conv = Conv2d {
        stride: [2, 2],
        padding: [[1; 2]; 2],
        activation: Activation::Relu,
        ..Conv2d::default()
    };
    let lrn = Lrn { size: 3, kappa: 2.0, alpha: 0.1, beta: 0.75, groups: 1 };
    x.conv2d(w, Some(b), conv)?.lrn(lrn)?.max_pool2d(Pool2d::square(2, 1, 0))
}

fn head(x: &Tensor, w: &Tensor, b: &Tensor, key: RandomKey) -> Result<Tensor> {
    let full = MatMul { transpose_b: true, activation: Activation::Relu, ..MatMul::default() };
    x.flatten()?.matmul_with(w, Some(b), full)?.dropout(0.4, 1.0, key)
}

fn classic_operands() -> Vec<Tensor> {
    let dims: [&[usize]; 7] = [&[2, 7, 7, 3], &[4, 3, 3, 3], &[4], &[5, 36], &[5], &[3, 5], &[3]];
    (dims.into_iter().zip(0..))
        .map(|(dims, i)| {
            let key = RandomKey::new(5, i);
            Tensor::uniform(dims, -0.7, 0.7, key, &device()).unwrap()
        })
        .collect()
}

/// The seeds are such that ReLUs and maxima stand clear of their kinks.
#[test]
fn gradients_of_a_classic_network_are_the_differences() {
    let network = |t: &[Tensor]| classic(t, RandomKey::new(1, 2));
    assert_gradients(&classic_operands(), network, 1.0 / 256.0, 2e-3);
}

#[test]
fn gradients_of_a_network_of_smooth_ops_are_the_differences() {
    // Attention, of one head, and a gated layer: what the classic networks do not use.
    let network = |t: &[Tensor]| {
        let [x, q, k, v] = t else { unreachable!() };
        let (q, k, v) = (x.matmul(q)?, x.matmul(k)?, x.matmul(v)?);
        let scores = q.matmul(&k.transpose()?)?.affine(0.5, 0.0)?;
        let mixed = scores.softmax(2)?.matmul(&v)?.add(x)?;
        let centred = mixed.sub(&mixed.mean([2])?.reshape([2, 3, 1])?)?;
        let scale = centred.square()?.mean([2])?.affine(1.0, 0.01)?.rsqrt()?;
        let normed = centred.mul(&scale.reshape([2, 3, 1])?)?;
        Tensor::concatenate(&[&normed.silu()?, &normed.narrow(2, 1..3)?.tanh()?], 2)
    };
    let operands: Vec<Tensor> = [&[2, 3, 4][..], &[4, 4], &[4, 4], &[4, 4]]
        .into_iter()
        .zip(0..)
        .map(|(dims, i)| halves(dims, i).affine(0.5, 0.0).unwrap())
        .collect();
    assert_gradients(&operands, network, 1.0 / 32.0, 1e-3);
    assert_half_alike(&operands[..1], |t| t[0].square()?.sum([1])?.exp()?.log());
}

#[test]
fn a_value_used_twice_gets_both_gradients() {
    let x = vector(&[1.0, -2.0, 3.0]).require_grad();
    let y = x.mul(&x).unwrap().add(&x).unwrap();
    let z = y.mul(&y).unwrap().sum_all().unwrap();
    // Of (x² + x)²: 2 · (x² + x) · (2 x + 1).
    assert_eq!(numbers(z.backward().unwrap().get(&x)), [12.0, -12.0, 168.0]);
}

#[test]
fn only_leaves_that_were_used_have_gradients() {
    let leaves = [1.0f32, 2.0, 3.0, 4.0].map(|x| vector(&[x]).require_grad());
    let [a, b, unused, dead_end] = &leaves;
    let _ignored = dead_end.exp().unwrap();
    let constant = vector(&[10.0]);
    let loss = b.mul(&constant).unwrap().add(a).unwrap();
    let mut gradients = loss.backward().unwrap();
    assert_eq!(gradients.len(), 2);
    // In the order in which the leaves were made, not in that of use.
    let in_order: Vec<f32> = gradients.iter().map(|g| g.to_scalar().unwrap()).collect();
    assert_eq!(in_order, [1.0, 10.0]);
    for none in [unused, dead_end, &constant] {
        assert!(gradients.get(none).is_none());
    }
    assert_eq!(numbers(gradients.get(&b.clone())), [10.0], "a clone is the same variable");
    assert!(gradients.get(&b.detach()).is_none());
    assert_eq!(numbers(gradients.take(b).as_ref()), [10.0]);
    assert!(gradients.take(b).is_none() && gradients.len() == 1 && !gradients.is_empty());
}

#[test]
fn the_gradient_of_a_leaf_in_itself_is_one() {
    let x = vector(&[3.0]).require_grad();
    assert_eq!(numbers(x.clone().backward().unwrap().get(&x)), [1.0]);
    let same = x.clone().require_grad();
    assert_eq!(numbers(same.backward().unwrap().get(&x)), [1.0], "a leaf stays the one it is");
    // Of what came of others a new variable.
    let y = x.exp().unwrap().require_grad();
    let gradients = y.square().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_none() && gradients.get(&y).is_some());
}

#[test]
fn no_grad_and_detach_stop_the_history() {
    let x = vector(&[2.0]).require_grad();
    assert!(x.is_tracked() && x.exp().unwrap().is_tracked() && x.reshape([]).unwrap().is_tracked());
    assert!(!vector(&[2.0]).exp().unwrap().is_tracked());
    no_grad(|| {
        assert!(x.is_tracked());
        assert!(!x.exp().unwrap().is_tracked());
        assert!(!x.reshape([]).unwrap().is_tracked());
        no_grad(|| ());
        assert!(!x.exp().unwrap().is_tracked(), "an inner one does not switch recording on");
    });
    // Also after a panic.
    assert!(catch_unwind(AssertUnwindSafe(|| no_grad(|| panic!("on purpose")))).is_err());
    assert!(x.exp().unwrap().is_tracked());
    // x · stop(x²): only the first factor counts.
    let y = x.mul(&x.square().unwrap().detach()).unwrap();
    assert_eq!(numbers(y.backward().unwrap().get(&x)), [4.0]);
}

#[test]
fn integers_are_not_tracked() {
    let x = vector(&[1.0, 2.0]).require_grad();
    assert!(!x.gt(&x).unwrap().is_tracked());
    assert!(!x.arg_max(0).unwrap().is_tracked());
    let whole = x.cast(DType::U32).unwrap();
    assert!(!whole.is_tracked());
    let leaf = whole.require_grad();
    assert!(!leaf.cast(DType::F32).unwrap().is_tracked());
    assert!(leaf.backward_with(&vector(&[1.0, 1.0])).is_err());
}

#[track_caller]
fn refused(result: Result<striate_tensor::Gradients>, says: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(says.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn errors_say_what_is_missing() {
    let x = vector(&[1.0, 2.0]).require_grad();
    refused(x.exp().unwrap().backward(), &["backward", "one element", "[2]", "backward_with"]);
    refused(vector(&[1.0]).backward(), &["backward", "not tracked", "require_grad"]);
    let wide = x.exp().unwrap();
    refused(wide.clone().backward_with(&vector(&[1.0])), &["dy of f32[2]", "f32[1]"]);
    let half = vector(&[1.0, 1.0]).cast(DType::F16).unwrap();
    refused(wide.clone().backward_with(&half), &["dy of f32[2]", "f16[2]"]);
    let elsewhere = vector(&[1.0, 1.0]).to(&Device::new(Reference::new())).unwrap();
    refused(wide.clone().backward_with(&elsewhere), &["different devices"]);
    // No rule: named.
    let masked = device().execute(&ReluGrad.into(), &[&x, &x]).unwrap().sum_all().unwrap();
    refused(masked.backward(), &["relu_grad", "no gradient rule"]);
    // Twice through the same.
    let y = x.exp().unwrap();
    let (first, second) = (y.sum_all().unwrap(), y.mean_all().unwrap());
    assert!(first.backward().is_ok());
    refused(second.backward(), &["backward", "freed", "add up the losses"]);
    // Leaves are free for any number of passes.
    assert!(x.sum_all().unwrap().backward().is_ok());
}

#[test]
fn a_step_leaves_a_leaf_the_same_and_the_graph_as_it_was() {
    let step = SgdMomentum { rate: 0.5, momentum: 0.0, decay: 0.0, scale: 1.0 };
    let mut w = vector(&[3.0]).require_grad();
    let x = vector(&[5.0]).require_grad();
    let before = w.clone();
    let loss = w.mul(&x).unwrap();
    w.sgd_momentum(&mut vector(&[0.0]), &vector(&[2.0]), step).unwrap();
    assert_eq!(numbers(Some(&w)), [2.0]);
    let gradients = loss.backward().unwrap();
    assert_eq!(numbers(gradients.get(&x)), [3.0], "the weight that the loss was computed with");
    assert_eq!(numbers(gradients.get(&w)), [5.0]);
    assert_eq!(numbers(gradients.get(&before)), [5.0]);
    let again = w.square().unwrap().backward().unwrap();
    assert_eq!(numbers(again.get(&w)), [4.0]);
    let mut made = w.exp().unwrap();
    let refused = made.sgd_momentum(&mut vector(&[0.0]), &vector(&[1.0]), step).unwrap_err();
    assert!(matches!(refused, Error::Gradient { op: "sgd_momentum", .. }), "{refused}");
}

#[test]
fn passes_add_up() {
    let [a, b] = [2.0, 3.0].map(|x| vector(&[x]).require_grad());
    let mut sum = a.square().unwrap().backward().unwrap();
    sum.accumulate(a.mul(&b).unwrap().backward().unwrap()).unwrap();
    assert_eq!(numbers(sum.get(&a)), [7.0]);
    assert_eq!(numbers(sum.get(&b)), [2.0]);
    assert!(sum.iter().all(|gradient| !gradient.is_tracked()));
}

#[test]
fn gradients_go_back_to_the_device_that_they_are_of() {
    let other = Device::new(Reference::new());
    let x = vector(&[2.0]).require_grad();
    let y = x.to(&other).unwrap().square().unwrap();
    assert!(y.device().is(&other));
    let gradients = y.backward().unwrap();
    assert_eq!(numbers(gradients.get(&x)), [4.0]);
    assert!(gradients.get(&x).unwrap().device().is(x.device()));
}

/// On a stack that recursion through so many ops would not fit.
#[test]
fn long_chains_need_no_stack() {
    let chain = || {
        let x = vector(&[1.0]).require_grad();
        let mut y = x.neg().unwrap();
        for _ in 0..100_000 {
            y = y.neg().unwrap();
        }
        (x, y)
    };
    let work = move || {
        let (x, y) = chain();
        assert_eq!(numbers(y.backward().unwrap().get(&x)), [-1.0]);
        drop(chain());
        // Stopped halfway by an op that has no rule.
        let (x, y) = chain();
        let wrong = device().execute(&ReluGrad.into(), &[&y, &y]).unwrap().neg().unwrap();
        assert!(wrong.backward().is_err());
        drop((x, y));
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn dropping_chained_checkpoints_needs_no_stack() {
    let work = || {
        let mut y = vector(&[1.0]).require_grad();
        for _ in 0..20_000 {
            // Its history is in the captured tensor alone.
            let captured = y.clone();
            y = checkpoint(&[], move |_| captured.neg()).unwrap();
        }
        drop(y);
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

/// The gradients of the classic network, as bytes.
fn bits(
    operands: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let leaves: Vec<Tensor> = operands.iter().map(|x| x.clone().require_grad()).collect();
    let loss = function(&leaves).unwrap();
    let bytes = |x: &Tensor| x.to_host().unwrap().values().bytes().to_vec();
    let value = bytes(&loss);
    let gradients = loss.backward().unwrap();
    (value, leaves.iter().map(|leaf| bytes(gradients.get(leaf).unwrap())).collect())
}

/// A function of these, checkpointed or not.
fn block<F>(checkpointed: bool, inputs: &[&Tensor], function: F) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
{
    if checkpointed {
        return checkpoint(inputs, function);
    }
    function(&inputs.iter().map(|&x| x.clone()).collect::<Vec<_>>())
}

/// Two blocks that share weights with each other and with what follows: gradients of several
/// contributions.
fn tied(t: &[Tensor], blocks: bool) -> Result<Tensor> {
    let key = RandomKey::new(1, 2);
    let labels = Tensor::from_vec(vec![2u32, 0], [2], &device())?;
    let [x, w1, b1, w2, b2, w3, b3] = t else { unreachable!() };
    let (w, b) = (w1.clone(), b1.clone());
    let first = move |t: &[Tensor]| body(&t[0].mul(&t[0])?, &w, &b)?.mul(&b);
    let (v, c) = (w2.clone(), b2.clone());
    let second = move |t: &[Tensor]| head(&t[0].mul(&t[1])?, &v, &c, key)?.mul(&c);
    let scaled = x.add(&b1.sum_all()?)?;
    let hidden = block(blocks, &[&scaled], first)?;
    let hidden = block(blocks, &[&hidden, b1], second)?.mul(b2)?;
    hidden
        .matmul_with(w3, Some(b3), MatMul { transpose_b: true, ..MatMul::default() })?
        .cross_entropy(&labels)?
        .mean_all()?
        .add(&b1.mean_all()?)
}

#[test]
fn checkpoints_give_the_same_bits() {
    let operands = classic_operands();
    let plain = bits(&operands, |t| tied(t, false));
    assert_eq!(plain, bits(&operands, |t| tied(t, false)), "the same bits twice");
    assert!(plain.1.iter().all(|gradient| gradient.iter().any(|&byte| byte != 0)));
    assert!(plain == bits(&operands, |t| tied(t, true)), "the same bits with checkpoints");
    let nested = bits(&operands, |t| checkpoint(&t.iter().collect::<Vec<_>>(), |t| tied(t, true)));
    assert!(plain == nested, "the same bits with checkpoints in a checkpoint");
}

#[test]
fn a_checkpoint_of_nothing_tracked_is_not_tracked() {
    let x = vector(&[2.0]);
    assert!(!checkpoint(&[&x], |t| t[0].exp()).unwrap().is_tracked());
    let w = x.clone().require_grad();
    let captured = w.clone();
    let y = checkpoint(&[&x], move |t| t[0].mul(&captured)).unwrap();
    assert!(y.is_tracked());
    assert!(!checkpoint(&[&w], |t| t[0].gt(&t[0])).unwrap().is_tracked());
    assert!(!no_grad(|| checkpoint(&[&w], |t| t[0].exp())).unwrap().is_tracked());
    // What it captures is a variable, also where it is all that comes out.
    let captured = w.clone();
    let same = checkpoint(&[&x], move |_| Ok(captured.clone())).unwrap();
    assert_eq!(numbers(same.backward().unwrap().get(&w)), [1.0]);
}

#[test]
fn a_checkpoint_that_goes_wrong_says_so() {
    let x = vector(&[2.0]).require_grad();
    assert!(checkpoint(&[&x], |t| t[0].reshape([7])).is_err());
    assert!(x.exp().unwrap().is_tracked(), "recording goes on after an error");
    // Another shape at the second run.
    let runs = AtomicUsize::new(0);
    let grows = move |t: &[Tensor]| {
        let n = 1 + runs.fetch_add(1, Ordering::Relaxed);
        t[0].gather(&Tensor::from_vec(vec![0u32; n], [n], t[0].device())?, 0)
    };
    let y = checkpoint(&[&x], grows).unwrap();
    refused(y.backward(), &["checkpoint", "f32[1]", "f32[2]"]);
}
