//! Gradients one by one, as they are complete.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::sync::atomic::{AtomicUsize, Ordering};

use striate_tensor::{Device, Error, LeafId, Reference, Result, Tensor, checkpoint};

fn variables<const N: usize>() -> [Tensor; N] {
    let device = Device::new(Reference::new());
    std::array::from_fn(|i| {
        let values = (0..3).map(|k| 0.3 + 0.37 * (i + k) as f32).collect();
        Tensor::from_vec(values, [3], &device).unwrap().require_grad()
    })
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Which of the leaves come, in their order, and that their gradients are those of `backward`.
#[track_caller]
fn order(leaves: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<usize> {
    let loss = || function(leaves).unwrap().sum_all().unwrap();
    let expected = loss().backward().unwrap();
    let mut came = Vec::new();
    let each = loss().backward_each(|id, gradient| {
        let i = leaves.iter().position(|leaf| leaf.leaf_id() == Some(id)).unwrap();
        assert_eq!(bits(&gradient), bits(expected.get(&leaves[i]).unwrap()), "leaf {i}");
        assert!(!gradient.is_tracked() && !gradient.exp()?.is_tracked());
        came.push(i);
        Ok::<_, Error>(())
    });
    each.unwrap();
    let mut once = came.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(came.len(), once.len(), "each comes once: {came:?}");
    assert_eq!(came.len(), expected.len(), "all come: {came:?}");
    came
}

#[test]
fn leaves_come_after_the_first_of_their_uses() {
    let t = variables::<4>();
    let chain = |t: &[Tensor]| t[0].exp()?.mul(&t[1])?.exp()?.mul(&t[2])?.mul(&t[3]);
    assert_eq!(order(&t, chain), [3, 2, 1, 0]);
    // Tied: 3 is used in the first step too, and 2 twice by one op.
    let tied = |t: &[Tensor]| {
        t[0].mul(&t[3])?.mul(&t[1])?.mul(&t[2].mul(&t[2])?)?.exp()?.mul(&t[3])?.mul(&t[1])
    };
    assert_eq!(order(&t, tied), [2, 1, 0, 3]);
    // Unused ones do not come, nor does what nothing goes back to.
    assert_eq!(order(&t, |t| t[2].mul(&t[1].gt(&t[0])?.cast(t[2].dtype())?)), [2]);
    // The loss itself.
    assert_eq!(order(&t[..1], |t| t[0].reshape([3])), [0]);
    let device = t[0].device();
    let loss = Tensor::scalar(2.0f32, device).unwrap().require_grad();
    let id = loss.leaf_id().unwrap();
    let came = loss.backward_each(|leaf, gradient| {
        assert_eq!((leaf, gradient.to_scalar::<f32>()?), (id, 1.0));
        Ok::<_, Error>(())
    });
    came.unwrap();
}

#[test]
fn what_waits_for_a_part_that_the_pass_does_not_reach_comes_at_the_end() {
    // No gradient goes through `sign`, so the pass never gets to the first use of 1.
    let t = variables::<3>();
    let flat = |t: &[Tensor]| t[1].exp()?.sign()?.mul(&t[0])?.exp()?.mul(&t[1])?.mul(&t[2]);
    assert_eq!(order(&t, flat), [2, 0, 1]);
}

/// `mul` of the input and what is captured, twice.
fn twice(captured: &Tensor) -> impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static {
    let captured = captured.clone();
    move |t| t[0].mul(&captured)?.exp()?.mul(&captured)
}

#[test]
fn uses_in_checkpoints_are_uses() {
    let t = variables::<4>();
    // 0 and 1 in one each; 2 in both, and after; 3 after.
    let blocks = |t: &[Tensor]| {
        let y = checkpoint(&[&t[0], &t[2]], {
            let inner = twice(&t[2]);
            move |t| inner(t)?.mul(&t[1])
        })?;
        let y = checkpoint(&[&y, &t[1]], {
            let inner = twice(&t[2]);
            move |t| inner(t)?.mul(&t[1])
        })?;
        // Of the oldest step 0 comes first, its other operand, 2, after.
        y.mul(&t[3])?.mul(&t[2])
    };
    assert_eq!(order(&t, blocks), [3, 1, 0, 2]);
    // One in another, and the same leaf in the inner one alone.
    let nested = |t: &[Tensor]| {
        let (v, w) = (t[1].clone(), t[2].clone());
        let y = checkpoint(&[&t[0]], move |t| {
            let y = checkpoint(&[&t[0]], twice(&w))?;
            checkpoint(&[&y], twice(&v))?.mul(&w)
        })?;
        y.mul(&t[3])
    };
    assert_eq!(order(&t, nested), [3, 1, 0, 2]);
    // A captured tensor that came of others is a use of what it came of, not of itself.
    let derived = |t: &[Tensor]| {
        let w = t[1].mul(&t[2])?;
        let y = checkpoint(&[&t[0]], twice(&w))?;
        checkpoint(&[&y], twice(&w))?.mul(&t[3])
    };
    assert_eq!(order(&t, derived), [3, 0, 1, 2]);
}

#[test]
fn a_checkpoint_that_only_hands_through_is_a_use() {
    let t = variables::<2>();
    let captured = t[0].clone();
    assert_eq!(
        order(&t, move |t| {
            let captured = captured.clone();
            let same = checkpoint(&[&t[1]], move |_| Ok(captured.clone()))?;
            checkpoint(&[&t[1]], |t| Ok(t[0].clone()))?.mul(&same)?.mul(&t[1])
        }),
        [1, 0]
    );
    // Of an input that came of others.
    let through = |t: &[Tensor]| checkpoint(&[&t[0].exp()?], |t| Ok(t[0].clone()))?.mul(&t[1]);
    assert_eq!(order(&t, through), [1, 0]);
}

/// What another thread computes is recorded there, whatever the mode of this one.
#[test]
fn what_a_checkpoint_computes_on_another_thread_is_a_use() {
    let t = variables::<3>();
    let threaded = |t: &[Tensor]| {
        let w = t[2].clone();
        let first = t[0].mul(&w)?.mul(&t[1])?;
        let block = move |t: &[Tensor]| {
            std::thread::scope(|scope| scope.spawn(|| t[0].mul(&w)).join()).unwrap()
        };
        checkpoint(&[&first], block.clone())?.mul(&t[1])
    };
    assert_eq!(order(&t, threaded), [1, 0, 2]);
}

#[test]
fn a_checkpoint_that_uses_other_variables_the_second_time_is_an_error() {
    let [x, w, v] = variables::<3>();
    let runs = AtomicUsize::new(0);
    let (first, second) = (w.clone(), v.clone());
    let fickle = move |t: &[Tensor]| match runs.fetch_add(1, Ordering::Relaxed) {
        0 => t[0].mul(&first),
        _ => t[0].mul(&second),
    };
    let y = checkpoint(&[&x], fickle).unwrap().mul(&v).unwrap().sum_all().unwrap();
    let mut came: Vec<LeafId> = Vec::new();
    let result = y.backward_each(|leaf, _| {
        came.push(leaf);
        Ok::<_, Error>(())
    });
    let message = result.unwrap_err().to_string();
    assert!(message.contains("other variables"), "{message}");
    assert_eq!(came, [v.leaf_id().unwrap(), x.leaf_id().unwrap()], "once each");
}

#[test]
fn an_error_of_the_sink_ends_the_pass() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Stop,
        Tensor(String),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Mine::Tensor(error.to_string())
        }
    }
    let t = variables::<3>();
    let loss = || t[0].mul(&t[1]).unwrap().mul(&t[2]).unwrap().sum_all().unwrap();
    let mut came = 0;
    let result = loss().backward_each(|_, _| {
        came += 1;
        if came == 2 { Err(Mine::Stop) } else { Ok(()) }
    });
    assert_eq!((result, came), (Err(Mine::Stop), 2));
    // Errors of the pass come in the same type, before anything is handed out.
    let wide = t[0].exp().unwrap();
    let Err(Mine::Tensor(message)) = wide.backward_each(|_, _| Err(Mine::Stop)) else {
        panic!("a pass from three numbers")
    };
    assert!(message.contains("one element"), "{message}");
}

#[test]
fn only_leaves_have_ids() {
    let [x, y] = variables::<2>();
    assert_eq!(x.leaf_id(), x.clone().leaf_id());
    assert_ne!(x.leaf_id(), y.leaf_id());
    assert!(x.leaf_id().is_some() && x.leaf_id() < y.leaf_id(), "in the order of marking");
    assert_eq!(x.exp().unwrap().leaf_id(), None);
    assert_eq!(x.detach().leaf_id(), None);
}
