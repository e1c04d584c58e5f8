//! A network with a user's own op as a layer trains, and goes on from its working file: the op is that of
//! the network that is asked for.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{CLASSES, chain, device, never, options, pictures};
use striate_nn::{NetworkSpec, conv2d};
use striate_tensor::ops::{Backward, CustomOp, Saved};
use striate_tensor::{Error as TensorError, HostTensor, Tensor, TensorType, reference};
use striate_train::{Observer, Outcome, Result, Session, StepEvent};

/// `x / (1 + |x|) · scale`
#[derive(Debug)]
struct Softsign {
    scale: f32,
}

impl CustomOp for Softsign {
    fn name(&self) -> &'static str {
        "softsign"
    }

    fn parameters(&self) -> Vec<u8> {
        self.scale.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> striate_tensor::Result<TensorType> {
        match inputs {
            [x] if x.dtype.is_float() => Ok(*x),
            _ => Err(TensorError::shape(self.name(), "one operand of floats", inputs)),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> striate_tensor::Result<HostTensor> {
        let softsign = |x: f64| f64::from(self.scale) * x / (1.0 + x.abs());
        let y: Vec<f64> = reference::widened(inputs[0]).into_iter().map(softsign).collect();
        reference::rounded(&inputs[0].ty(), &y)
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0)
    }

    fn gradient(&self, cx: &Backward<'_>) -> striate_tensor::Result<Vec<Option<Tensor>>> {
        let slope = cx.wide_operand(0)?.abs()?.affine(1.0, 1.0)?.square()?.recip()?;
        Ok(vec![Some(cx.wide_dy()?.mul(&slope.affine(self.scale, 0.0)?)?)])
    }
}

fn spec(scale: f32) -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_image([9, 9])
        .conv(conv2d(6, 3))
        .custom(Softsign { scale })
        .full_connect(CLASSES)
}

fn open(working: &Path, scale: f32) -> Result<Session> {
    Session::open(working, &spec(scale), pictures(30, 1), options(), &device(1))
}

/// Asks to stop after the first mini-batch.
struct StopAtOnce<'a>(&'a AtomicBool);

impl Observer for StopAtOnce<'_> {
    fn step(&mut self, _: &StepEvent) -> Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_training_goes_on_with_the_ops_of_its_network() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let [whole, parts] = [whole, parts].map(|path| path.with_extension("safetensors"));
    assert_eq!(open(&whole, 2.0).unwrap().run(&mut (), &never()).unwrap(), Outcome::Finished);
    let mut runs = 0;
    loop {
        let stop = never();
        let mut session = open(&parts, 2.0).unwrap();
        assert_eq!(session.is_resumed(), runs > 0);
        runs += 1;
        if session.run(&mut StopAtOnce(&stop), &stop).unwrap() == Outcome::Finished {
            break;
        }
    }
    assert!(runs > 3, "{runs}");
    let read = striate_importers::ReadOptions::default().custom_ops(spec(2.0).custom_ops());
    let [a, b] = [&whole, &parts].map(|path| {
        let network = striate_importers::read(path, &device(1), &read).unwrap();
        network.parameters().iter().map(|t| t.to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(a, b);

    // Another op is another network.
    let text = chain(&open(&whole, 3.0).unwrap_err());
    assert!(
        text.contains("custom op `softsign`, version 1: it is registered with other"),
        "{text}"
    );
    let plain = NetworkSpec::new([8, 8, 1]).with_image([9, 9]).full_connect(CLASSES);
    let without = Session::open(&whole, &plain, pictures(30, 1), options(), &device(1));
    let text = chain(&without.unwrap_err());
    assert!(text.contains("expected the custom op `softsign`, version 1"), "{text}");
}
