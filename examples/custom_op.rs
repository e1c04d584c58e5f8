//! An op of one's own: squareplus, `(x + √(x² + ¼)) / 2`, with its gradient, a kernel for the CPU and a
//! shader for the GPU. A small network with it trains, on the CPU and where there is one on the GPU; another one, a
//! specification with it as a layer, goes through a file.
//!
//!     cargo run --release --example custom_op

#![allow(clippy::print_stdout, reason = "a program, not a library")]

use striate::nn::{Conv2d, FullConnect, Rates};
use striate::prelude::*;
use striate::tensor::ops::{Backward, CpuKernel, CustomOp, CustomOps, Saved};
use striate::tensor::{Error, HostTensor, Result, TensorType, reference};
use striate::train::{TrainOptions, Trainer};

/// ReLU with a round bend, without exponentials (Barron, "Squareplus", 2021).
#[derive(Debug)]
struct Squareplus;

impl CustomOp for Squareplus {
    fn name(&self) -> &'static str {
        "squareplus"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [x] if x.dtype.is_float() => Ok(*x),
            _ => Err(Error::shape(self.name(), "one operand of floats", inputs)),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let squareplus = |x: f64| (x + (x * x + 0.25).sqrt()) / 2.0;
        let y: Vec<f64> = reference::widened(inputs[0]).into_iter().map(squareplus).collect();
        reference::rounded(&inputs[0].ty(), &y)
    }

    fn saved(&self, _wanted: &[bool]) -> Saved {
        Saved::operand(0)
    }

    /// `(1 + x / r) / 2` with `r = √(x² + ¼)`. Of a negative `x` that is `s = ⅛ / (r · (r + |x|))`, and of
    /// `-x` it is `1 - s`: so no digits cancel.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let x = cx.wide_operand(0)?;
        let r = x.square()?.affine(1.0, 0.25)?.sqrt()?;
        let s = r.mul(&r.add(&x.abs()?)?)?.recip()?.affine(0.125, 0.0)?;
        let zero = Tensor::zeros([], x.device())?;
        let slope = x.gt(&zero)?.select(&s.affine(-1.0, 1.0)?, &s)?;
        Ok(vec![Some(cx.wide_dy()?.mul(&slope)?)])
    }

    fn cpu(&self) -> Option<&dyn CpuKernel> {
        Some(self)
    }

    fn wgsl(&self) -> Option<String> {
        Some(include_str!("custom_op.wgsl").into())
    }
}

impl CpuKernel for Squareplus {
    fn run(&self, _: &[TensorType], inputs: &[&[f32]], first: usize, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(&inputs[0][first..]) {
            let r = (x * x + 0.25).sqrt();
            // The same, but far below zero the digits of the sum would cancel.
            *y = if x > 0.0 { 0.5 * (x + r) } else { 0.125 / (r - x) };
        }
    }
}

/// The op as a layer, between others.
impl Module for Squareplus {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        Tensor::custom(Squareplus, &[x])
    }
}

/// The losses of some steps: whether a picture is brighter above or below.
fn train(device: &Device) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let key = |stream| RandomKey::new(7, stream);
    let module = Sequential::new()
        .then(Conv2d::new(conv2d(8, 3), 1, key(0), device)?)
        .then(Squareplus)
        .then(FullConnect::new(2, 6 * 6 * 8, key(1), device)?);
    let rates = Rates { rate: 0.1, momentum: 0.9, decay: 0.0 };
    let options = TrainOptions { weights: rates, biases: rates, ..TrainOptions::default() };
    let mut trainer = Trainer::of_module(module, options)?;

    let samples = 32;
    // The same numbers on every device, to the bit: those of the CPU.
    let noise = Tensor::uniform([samples, 8, 8, 1], 0.0, 1.0, key(2), &Device::cpu(None)?)?;
    let mut pixels = noise.to_vec::<f32>()?;
    for (sample, pixels) in pixels.chunks_mut(64).enumerate() {
        pixels[32 * (sample % 2)..][..32].iter_mut().for_each(|pixel| *pixel += 0.5);
    }
    let images = Tensor::from_vec(pixels, [samples, 8, 8, 1], device)?;
    let labels = (0..samples as u32).map(|sample| sample % 2).collect();
    let labels = Tensor::from_vec(labels, [samples], device)?;
    (0..20).map(|step| Ok(trainer.step(&images, &labels, step, 1.0)?.loss())).collect()
}

/// A network with the op as a layer of its specification, through a file: the file names the op, and the
/// reader's registry makes it.
fn stored(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let spec = NetworkSpec::new([8, 8, 1])
        .conv(conv2d(8, 3))
        .residual(|x| x.custom(Squareplus).conv(conv2d(8, 3).padding(1)))
        .full_connect(2);
    let network = spec.build(device, Seed(7))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("squareplus.safetensors");
    importers::write(&path, &network, &WriteOptions::default())?;

    let without = importers::read(&path, device, &ReadOptions::default());
    assert!(without.is_err(), "nothing says what squareplus is");
    let ops = CustomOps::new().with_constructor("squareplus", 1, |_| Ok(Squareplus));
    let read = importers::read(&path, device, &ReadOptions::default().custom_ops(ops))?;
    let x = Tensor::ones([1, 8, 8, 1], device)?;
    assert_eq!(read.forward(&x)?.to_vec::<f32>()?, network.forward(&x)?.to_vec::<f32>()?);
    println!("{}", read.spec().summary()?);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let on_cpu = train(&Device::cpu(None)?)?;
    let (first, last) = (on_cpu[0], on_cpu[on_cpu.len() - 1]);
    println!("cpu: loss {first:.4}, after {} steps {last:.4}", on_cpu.len());
    assert!(last < 0.5 * first);
    stored(&Device::cpu(None)?)?;

    let gpu = match Device::by_name("gpu", &striate::DeviceOptions::default()) {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("no GPU: {error}");
            return Ok(());
        }
    };
    let on_gpu = train(&gpu)?;
    for (step, (cpu, gpu)) in on_cpu.iter().zip(&on_gpu).enumerate() {
        assert!(
            (cpu - gpu).abs() < 1e-3,
            "step {step}: a loss of {cpu} on the CPU, {gpu} on the GPU"
        );
    }
    println!("{}: the same to {:.1e}", gpu.info().description, (on_gpu[19] - last).abs());
    Ok(())
}

/// `cargo test --example custom_op`
#[cfg(test)]
mod tests {
    use striate::tensor::{DType, Reference};

    use super::*;

    #[test]
    fn runs() {
        main().unwrap();
    }

    fn devices() -> Vec<Device> {
        let gpu = Device::by_name("gpu", &striate::DeviceOptions::default());
        let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|value| value == "1");
        assert!(gpu.is_ok() || !required, "STRIATE_REQUIRE_GPU is set, and {:?}", gpu.err());
        let cpus = [1, 2].map(|threads| Device::cpu(Some(threads)).unwrap());
        cpus.into_iter().chain(gpu.ok()).collect()
    }

    #[test]
    fn kernels_compute_what_the_reference_does() {
        let plain = Device::new(Reference::new());
        let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.25).collect();
        for dtype in [DType::F32, DType::F16] {
            let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-3 };
            let squareplus = |device: &Device| {
                let x = Tensor::from_vec(x.clone(), [x.len()], device).unwrap();
                let x = x.cast(dtype).unwrap().require_grad();
                let y = Squareplus.forward(&x, &Context::inference()).unwrap();
                let values = |t: &Tensor| t.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
                let gradients = y.clone().sum_all().unwrap().backward().unwrap();
                [values(&y), values(gradients.get(&x).unwrap())].concat()
            };
            let want = squareplus(&plain);
            for device in devices() {
                for (i, (got, want)) in squareplus(&device).into_iter().zip(&want).enumerate() {
                    let error = (got - want).abs();
                    assert!(error <= tolerance * want.abs().max(1e-3), "{i}: {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let plain = Device::new(Reference::new());
        let numbers: Vec<f32> = (-60..=60).map(|i| i as f32 * 0.125).collect();
        let squareplus = |change: f32| {
            let x = Tensor::from_vec(numbers.clone(), [numbers.len()], &plain).unwrap();
            Tensor::custom(Squareplus, &[&x.affine(1.0, change).unwrap()])
                .unwrap()
                .to_vec()
                .unwrap()
        };
        let step = 1.0 / 64.0;
        let [above, below]: [Vec<f32>; 2] = [squareplus(step), squareplus(-step)];
        let x = Tensor::from_vec(numbers.clone(), [numbers.len()], &plain).unwrap().require_grad();
        let y = Tensor::custom(Squareplus, &[&x]).unwrap();
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let slopes = gradients.get(&x).unwrap().to_vec::<f32>().unwrap();
        for (slope, (above, below)) in slopes.iter().zip(above.iter().zip(&below)) {
            let want = (above - below) / (2.0 * step);
            assert!((slope - want).abs() < 2e-4, "{slope}, by differences {want}");
        }
    }

    #[test]
    fn any_number_of_threads_trains_to_the_same_bits() {
        let [one, two] = [1, 2].map(|threads| train(&Device::cpu(Some(threads)).unwrap()).unwrap());
        assert_eq!(one, two);
    }
}
