//! Gradients against central differences, for functions of several tensors.

use striate_tensor::{DType, Device, HostTensor, RandomKey, Reference, Result, Shape, Tensor};

/// The reference device, one for all tensors of a thread.
pub(crate) fn device() -> Device {
    thread_local! {
        static DEVICE: Device = Device::new(Reference::new());
    }
    DEVICE.with(Device::clone)
}

/// Odd multiples of a quarter from -1.75 to 1.75: half apart, and a quarter away from 0.
pub(crate) fn halves(dims: &[usize], seed: u64) -> Tensor {
    let key = RandomKey::new(seed, 11);
    let shape = Shape::new(dims).unwrap();
    let numbers = (0..shape.count() as u64).map(|i| (key.unit(i) * 8.0).floor() * 0.5 - 1.75);
    Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &device()).unwrap()
}

/// The values, widened.
pub(crate) fn values(x: &Tensor) -> Vec<f64> {
    x.cast(DType::F32).unwrap().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

/// `Σ y · dy`.
fn weighed(y: &Tensor, dy: &Tensor) -> f64 {
    values(y).iter().zip(values(dy)).map(|(y, dy)| y * dy).sum()
}

/// The gradient of `Σ f · dy` in operand `which`, by differences of fourth order: off by a
/// thirtieth of `step⁴` times the fifth derivative, and by the rounding of `f` over `step`.
fn by_differences(
    operands: &[Tensor],
    which: usize,
    function: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    dy: &Tensor,
    step: f32,
) -> Vec<f64> {
    let moved = |place: usize, change: f32| {
        let host = operands[which].cast(DType::F32).unwrap().to_host().unwrap();
        let mut numbers: Vec<f32> = host.into_values().into_vec().unwrap();
        numbers[place] += change;
        let host = HostTensor::new(*operands[which].shape(), numbers).unwrap();
        let mut operands = operands.to_vec();
        let x = Tensor::from_host(host, &device()).unwrap();
        operands[which] = x.cast(operands[which].dtype()).unwrap();
        weighed(&function(&operands).unwrap(), dy)
    };
    let central = |place, step: f32| moved(place, step) - moved(place, -step);
    (0..operands[which].ty().count())
        .map(|place| {
            let step_f64 = f64::from(step);
            (8.0 * central(place, step) - central(place, 2.0 * step)) / (12.0 * step_f64)
        })
        .collect()
}

/// Checks the gradients of a function in all its float operands. The tolerance is relative to the
/// largest gradient of the operand.
#[track_caller]
pub(crate) fn assert_gradients(
    operands: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    step: f32,
    tolerance: f64,
) {
    let leaves: Vec<Tensor> = operands
        .iter()
        .map(|x| if x.dtype().is_float() { x.clone().require_grad() } else { x.clone() })
        .collect();
    let y = function(&leaves).unwrap();
    assert!(y.is_tracked());
    let dy = halves(y.dims(), 77).cast(y.dtype()).unwrap();
    let gradients = y.backward_with(&dy).unwrap();
    for (which, leaf) in leaves.iter().enumerate().filter(|(_, x)| x.is_tracked()) {
        let want = by_differences(operands, which, &function, &dy, step);
        let got = gradients.get(leaf).unwrap();
        assert_eq!(got.ty(), leaf.ty());
        let scale = want.iter().fold(1e-3f64, |scale, x| scale.max(x.abs()));
        for (place, (got, want)) in values(got).iter().zip(&want).enumerate() {
            assert!(
                (got - want).abs() <= tolerance * scale,
                "operand {which} of {}, element {place}: {got}, differences {want}",
                leaf.ty()
            );
        }
    }
}

/// The gradients of `Σ f · dy` in all float operands, in f32.
fn gradients_of(
    operands: &[Tensor],
    function: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let leaves: Vec<Tensor> = operands.iter().map(|x| x.clone().require_grad()).collect();
    let y = function(&leaves).unwrap();
    let dy = halves(y.dims(), 77).cast(y.dtype()).unwrap();
    let gradients = y.backward_with(&dy).unwrap();
    (leaves.iter().filter(|x| x.dtype().is_float()))
        .map(|leaf| {
            let gradient = gradients.get(leaf).unwrap();
            assert_eq!(gradient.ty(), leaf.ty());
            values(gradient)
        })
        .collect()
}

/// Checks that gradients in half precision are those in single precision, rounded: operands hold
/// numbers that both have. Where the rule asks for the output it gets a rounded one, so a few units
/// in the last place (2⁻¹¹) are allowed, relative to the largest, or to 1: where an operand was
/// broadcast, terms of about that size may cancel.
#[track_caller]
pub(crate) fn assert_half_alike(
    operands: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let to_half = |x: &Tensor| match x.dtype() {
        DType::F32 => x.cast(DType::F16).unwrap(),
        _ => x.clone(),
    };
    let half: Vec<Tensor> = operands.iter().map(to_half).collect();
    let want = gradients_of(operands, &function);
    for (got, want) in gradients_of(&half, &function).iter().zip(&want) {
        let scale = want.iter().fold(1f64, |scale, x| scale.max(x.abs()));
        for (place, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= 4e-3 * scale, "element {place}: f16 {got}, f32 {want}");
        }
    }
}
