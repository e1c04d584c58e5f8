//! Bytes that go to the device and come back while the host goes on.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use common::{full_limits, gpu, small_chunks};
use striate_ops_wgsl::{AdapterChoice, Wgpu};
use striate_tensor::ops::SgdMomentum;
use striate_tensor::{DType, Device, Error, Pending, RandomKey, Tensor};

/// Wakes a thread that sleeps.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of devices: it sleeps until it is woken.
fn run<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Sleeper(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn numbers(count: usize, stream: u64, device: &Device) -> (Vec<f32>, Tensor) {
    let uniform = Tensor::uniform([count], -1.0, 1.0, RandomKey::new(1, stream), device).unwrap();
    (uniform.to_vec().unwrap(), uniform)
}

#[test]
fn many_reads_are_looked_at_in_any_order_or_not_at_all() {
    let Some(gpu) = gpu(full_limits()) else { return };
    let device = Device::new(gpu);
    // Sizes that share readback buffers, and such that do not.
    let made: Vec<_> = (0..40).map(|i| numbers(1 + i * 997, i as u64, &device)).collect();
    let mut reads: Vec<(usize, Pending<Vec<f32>>)> =
        made.iter().map(|(_, x)| x.read_vec()).enumerate().collect();
    assert!(reads.iter().all(|(_, read)| !read.is_ready()));
    for stride in [7, 3, 1] {
        let mut kept = Vec::new();
        for (at, (place, read)) in reads.into_iter().rev().enumerate() {
            match at % (stride + 1) {
                0 => drop(read),
                1 => assert_eq!(read.wait().unwrap(), made[place].0),
                2 => assert_eq!(run(read).unwrap(), made[place].0),
                3 => {
                    let values = thread::spawn(move || read.wait().unwrap()).join().unwrap();
                    assert_eq!(values, made[place].0);
                }
                _ => kept.push((place, read)),
            }
        }
        reads = kept;
        reads.extend(made.iter().map(|(_, x)| x.read_vec()).enumerate().take(9));
    }
}

#[test]
fn a_read_gives_the_values_of_its_moment() {
    // One piece, and many.
    let count = (40 << 20) / 4 + 3;
    for (count, options) in
        [(1000, full_limits()), (5000, small_chunks(256)), (count, full_limits())]
    {
        let Some(gpu) = gpu(options) else { return };
        let device = Device::new(gpu);
        let mut w = Tensor::ones([count], &device).unwrap();
        let mut v = Tensor::zeros([count], &device).unwrap();
        let gradient = Tensor::ones([count], &device).unwrap();
        let step = SgdMomentum { rate: 1.0, momentum: 0.0, decay: 0.0, scale: 1.0 };
        let mut reads = Vec::new();
        for _ in 0..3 {
            reads.push(w.read_vec::<f32>());
            w.sgd_momentum(&mut v, &gradient, step).unwrap();
        }
        // Memory that other tensors have taken since.
        drop((w, v));
        let _others: Vec<_> =
            (0..4).map(|_| Tensor::full([count], 9.0, DType::F32, &device)).collect();
        for (moment, read) in reads.into_iter().enumerate().rev() {
            let values = read.wait().unwrap();
            assert_eq!(values.len(), count);
            assert!(values.iter().all(|&value| value == 1.0 - moment as f32), "moment {moment}");
        }
    }
}

#[test]
fn a_sleeping_program_is_woken_and_threads_await_at_once() {
    let Some(gpu) = gpu(full_limits()) else { return };
    let device = Device::new(gpu);
    let sum = |i: usize| {
        let x = Tensor::full([1 << 16], i as f32, DType::F32, &device).unwrap();
        x.sum_all().unwrap().read_scalar::<f32>()
    };
    thread::scope(|scope| {
        for thread in 1..4 {
            scope.spawn(move || {
                for i in 0..20 {
                    let sum = run(async { sum(thread * i).await.unwrap() });
                    assert_eq!(sum, (thread * i * 65536) as f32);
                }
            });
        }
    });
}

#[test]
fn every_type_and_an_empty_tensor_are_read() {
    let Some(gpu) = gpu(full_limits()) else { return };
    let device = Device::new(gpu);
    let bytes = Tensor::from_vec(vec![1u8, 2, 3, 4, 5], [5], &device).unwrap();
    assert_eq!(run(bytes.read_vec::<u8>()).unwrap(), [1, 2, 3, 4, 5]);
    let bools = Tensor::from_bools(vec![true, false, true], [3], &device).unwrap();
    assert_eq!(run(bools.read_bools()).unwrap(), [true, false, true]);
    let empty = Tensor::zeros([0, 3], &device).unwrap();
    assert_eq!(run(empty.read_vec::<f32>()).unwrap(), [0.0; 0]);
    assert!(matches!(run(empty.read_vec::<u32>()), Err(Error::DType { .. })));
    assert!(run(empty.read_scalar::<f32>()).is_err());
}

#[test]
fn the_host_waits_only_for_a_read_that_it_looks_at() {
    let Some(gpu) = gpu(full_limits()) else { return };
    let device = Device::new(gpu.clone());
    let x = Tensor::ones([64], &device).unwrap();
    device.synchronize().unwrap();
    let before = gpu.profile();
    let read = x.square().unwrap().read_vec::<f32>();
    drop(x.exp().unwrap().read_vec::<f32>());
    assert_eq!(gpu.profile().since(&before).waits, 0);
    assert_eq!(read.wait().unwrap(), [1.0; 64]);
    assert!(gpu.profile().since(&before).waits <= 1);
}

/// The pictures of AlexNet's mini-batch of 128 are more than the staging memory that is kept.
#[test]
fn large_mini_batches_are_uploaded_without_a_wait() {
    let Some(gpu) = gpu(full_limits()) else { return };
    let device = Device::new(gpu.clone());
    let shape = [128, 225, 225, 3];
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 8191) as f32).collect();
    let before = gpu.profile();
    let batches = [0; 2].map(|_| Tensor::from_vec(values.clone(), shape, &device).unwrap());
    let asked = gpu.profile().since(&before);
    assert_eq!((asked.waits, asked.bytes_uploaded), (0, 2 * 4 * values.len() as u64), "{asked:?}");
    for batch in batches {
        assert!(batch.to_vec::<f32>().unwrap() == values);
    }
}

#[test]
fn a_device_is_opened_without_blocking() {
    if gpu(full_limits()).is_none() {
        return;
    }
    let values = run(async {
        let device = Device::new(Wgpu::open(&AdapterChoice::Gpu, full_limits()).await?);
        Tensor::ones([3], &device)?.read_vec::<f32>().await
    });
    assert_eq!(values.unwrap(), [1.0; 3]);
    let missing = run(Wgpu::open(&AdapterChoice::Index(999), full_limits()));
    assert!(matches!(missing, Err(Error::UnknownDevice { .. })));
}
