//! A user's own ops on a graphics adapter: by their shader, and errors without one or with a wrong one.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{default_limits, full_limits, gpu, small_chunks};
use striate_tensor::ops::{Custom, CustomOp};
use striate_tensor::{
    Backend, DType, Device, Error, HostTensor, Op, RandomKey, Reference, Result, Shape, Tensor,
    TensorType,
};

/// `scale · a · b`, of a matrix `a` and a row `b`, with a shader that takes the columns from the
/// extents.
#[derive(Debug)]
struct ByRow {
    scale: f32,
}

impl CustomOp for ByRow {
    fn name(&self) -> &'static str {
        "by_row"
    }

    fn parameters(&self) -> Vec<u8> {
        self.scale.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [a, b] if a.shape.dims().last() == b.shape.dims().last() => Ok(*a),
            _ => Err(Error::shape(self.name(), "a matrix and a row", inputs)),
        }
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let [a, b] = [0, 1].map(|i| striate_tensor::reference::widened(inputs[i]));
        let row = b.iter().cycle();
        let y: Vec<f64> = a.iter().zip(row).map(|(a, b)| f64::from(self.scale) * a * b).collect();
        striate_tensor::reference::rounded(&inputs[0].ty(), &y)
    }

    fn wgsl(&self) -> Option<String> {
        let scale = self.scale;
        Some(format!(
            "struct Sizes {{ counts: array<vec4<u32>, 2>, extents: array<vec4<u32>, 14> }}
             @group(0) @binding(0) var<uniform> sizes: Sizes;
             @group(0) @binding(1) var<storage, read_write> y: array<f32>;
             @group(0) @binding(2) var<storage, read> a: array<f32>;
             @group(0) @binding(3) var<storage, read> b: array<f32>;
             @compute @workgroup_size(1)
             fn main(
                 @builtin(workgroup_id) group: vec3<u32>,
                 @builtin(num_workgroups) groups: vec3<u32>,
             ) {{
                 let i = group.y * groups.x + group.x;
                 let counts = sizes.counts[0];
                 // The row's extent is the matrix's: tensors 1 and 2.
                 let cols = sizes.extents[3].w;
                 if (i < counts.x && cols == sizes.extents[5].w && counts.x == counts.y) {{
                     y[i] = {scale:?} * a[i] * b[i % cols];
                 }}
             }}"
        ))
    }

    /// An invocation each: more than an axis of the grid takes.
    fn workgroups(&self, _: &[TensorType], output: &TensorType) -> usize {
        output.count()
    }
}

/// The operand plus one; of u32.
#[derive(Debug)]
struct Next;

impl CustomOp for Next {
    fn name(&self) -> &'static str {
        "next"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let x = inputs[0].values().as_slice::<u32>().unwrap_or(&[]);
        HostTensor::new(*inputs[0].shape(), x.iter().map(|x| x + 1).collect::<Vec<u32>>())
    }

    fn wgsl(&self) -> Option<String> {
        let text = "
            @group(0) @binding(1) var<storage, read_write> y: array<u32>;
            @group(0) @binding(2) var<storage, read> x: array<u32>;
            @compute @workgroup_size(256)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = x[id.x] + 1u; }";
        Some(text.into())
    }
}

/// The operand, by a shader that counts how often it was asked for.
#[derive(Debug)]
struct Counted(u8, Arc<AtomicUsize>);

impl CustomOp for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn parameters(&self) -> Vec<u8> {
        vec![self.0]
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        Ok(inputs[0].clone())
    }

    fn wgsl(&self) -> Option<String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Next.wgsl()
    }
}

/// An op of any operands with a shader of any text, or none.
#[derive(Debug)]
struct Any(Option<&'static str>);

impl CustomOp for Any {
    fn name(&self) -> &'static str {
        "any"
    }

    fn parameters(&self) -> Vec<u8> {
        self.0.unwrap_or_default().into()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        Ok(inputs[0])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        Ok(inputs[0].clone())
    }

    fn wgsl(&self) -> Option<String> {
        self.0.map(Into::into)
    }
}

fn reference() -> Device {
    Device::new(Reference::new())
}

#[test]
fn a_shader_computes_what_the_reference_does() {
    for options in [default_limits(), full_limits(), small_chunks(1 << 20)] {
        let Some(gpu) = gpu(options) else { return };
        let device = Device::new(gpu);
        for dims in [[0, 3], [3, 0], [1, 1], [7, 5], [100, 701]] {
            for dtype in [DType::F32, DType::F16] {
                // Each scale is an op of its own, with a shader of its own.
                for scale in [1.0, -0.25] {
                    let tensor = |dims: &[usize], stream| {
                        let key = RandomKey::new(3, stream);
                        let x = Tensor::uniform(dims, -4.0, 4.0, key, &reference()).unwrap();
                        // Products of few bits are exact.
                        x.round().unwrap().cast(dtype).unwrap()
                    };
                    let [a, b] = [tensor(&dims, 0), tensor(&dims[1..], 1)];
                    let b = b.to(a.device()).unwrap();
                    let want = Tensor::custom(ByRow { scale }, &[&a, &b]).unwrap();
                    let [a, b] = [a, b].map(|x| x.to(&device).unwrap());
                    let y = Tensor::custom(ByRow { scale }, &[&a, &b]).unwrap();
                    assert_eq!(y.to_host().unwrap(), want.to_host().unwrap(), "{dims:?} {dtype}");
                }
            }
        }
        let x = Tensor::from_vec((0..1000u32).collect(), [1000], &device).unwrap();
        let y = Tensor::custom(Next, &[&x]).unwrap();
        assert_eq!(y.to_vec::<u32>().unwrap(), (1..=1000).collect::<Vec<u32>>());
        device.synchronize().unwrap();
    }
}

#[test]
fn a_shader_is_compiled_once_for_a_name_a_version_and_parameters() {
    let Some(gpu) = gpu(default_limits()) else { return };
    let device = Device::new(gpu);
    let x = Tensor::from_vec(vec![1u32, 2], [2], &device).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    for parameters in [0, 1, 0, 1, 0] {
        let y = Tensor::custom(Counted(parameters, Arc::clone(&asked)), &[&x]).unwrap();
        assert_eq!(y.to_vec::<u32>().unwrap(), [2, 3]);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn what_cannot_run_is_an_error_that_says_what_to_do_and_the_device_goes_on() {
    let Some(gpu) = gpu(default_limits()) else { return };
    let ty = TensorType::f32(Shape::new(&[2]).unwrap());
    let supports =
        |op: Any, operands| gpu.supports(&Op::from(Custom::from(op)), &vec![ty; operands]);
    assert!(supports(Any(Some("")), 6) && !supports(Any(Some("")), 7) && !supports(Any(None), 1));

    let device = Device::new(gpu.clone());
    let x = Tensor::ones([2], &device).unwrap();
    let message = |text, operands: usize| {
        let error = Tensor::custom(Any(text), &vec![&x; operands]).unwrap_err();
        assert!(matches!(error, Error::Unsupported { op: "any", .. }), "{error:?}");
        error.to_string()
    };
    let none = message(None, 1);
    assert!(none.contains("cannot execute any: it has no shader: give it one by"), "{none}");
    let many = message(Some(""), 7);
    assert!(many.contains("can have 6 operands, and there are 7"), "{many}");
    for (text, what) in [
        ("fn main() { nonsense }", "nonsense"),
        ("", "main"),
        ("@compute @workgroup_size(1) fn other() {}", "main"),
        // A binding that no operand is at, one to write that is read only, and a group too large.
        (
            "@group(0) @binding(9) var<storage, read> x: array<f32>;
             @compute @workgroup_size(1) fn main() { _ = x[0]; }",
            "binding",
        ),
        (
            "@group(0) @binding(2) var<storage, read_write> x: array<f32>;
             @compute @workgroup_size(1) fn main() { x[0] = 1.0; }",
            "binding",
        ),
        ("@compute @workgroup_size(65536) fn main() {}", "workgroup"),
    ] {
        for _ in 0..2 {
            let refused = message(Some(text), 1);
            assert!(refused.contains("its shader was refused"), "{refused}");
            assert!(refused.to_lowercase().contains(what), "{what}: {refused}");
        }
    }
    device.synchronize().unwrap();
    assert_eq!(x.relu().unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
}

#[test]
fn a_tensor_beyond_a_binding_is_an_error_that_names_the_op() {
    let Some(gpu) = gpu(small_chunks(1 << 10)) else { return };
    let device = Device::new(gpu);
    let x = Tensor::ones([1000, 3], &device).unwrap();
    let row = Tensor::ones([3], &device).unwrap();
    let error = Tensor::custom(ByRow { scale: 1.0 }, &[&x, &row]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { op: "by_row", .. }), "{error:?}");
}
