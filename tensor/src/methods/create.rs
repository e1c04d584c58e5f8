//! Tensors made from nothing: ranges, identity, one-hot rows.

use crate::{DType, Device, Error, Result, Tensor};

impl Tensor {
    /// The numbers `start, start + step, ..` below `end` (above it, where `step` is negative), as f32.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::arange(1.0, 0.0, -0.25, &device)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 0.75, 0.5, 0.25]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where `step` is 0, a number is not finite, there would be too many, or the device has no memory.
    pub fn arange(start: f32, end: f32, step: f32, device: &Device) -> Result<Tensor> {
        let numbers = [start, end, step];
        if step == 0.0 || numbers.iter().any(|number| !number.is_finite()) {
            let expected = "finite start, end and step, the step not 0";
            return Err(Error::parameter("arange", "range", expected, numbers));
        }
        let [start, end, step] = numbers.map(f64::from);
        let count = ((end - start) / step).ceil().max(0.0);
        // What a float counts exactly; more is no memory's.
        if count > (1u64 << 40) as f64 {
            return Err(Error::parameter("arange", "count", "at most 2^40 numbers", count));
        }
        let values = (0..count as usize).map(|i| (start + i as f64 * step) as f32).collect();
        Self::from_vec(values, [count as usize], device)
    }

    /// `count` numbers from `start` to `end`, both among them, at equal distances, as f32.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn linspace(start: f32, end: f32, count: usize, device: &Device) -> Result<Tensor> {
        let gaps = count.saturating_sub(1).max(1) as f64;
        let at = |i: usize| {
            let share = i as f64 / gaps;
            (f64::from(start) * (1.0 - share) + f64::from(end) * share) as f32
        };
        Self::from_vec((0..count).map(at).collect(), [count], device)
    }

    /// The identity matrix `[n, n]`, as f32.
    ///
    /// # Errors
    /// Where it is too large, or the device has no memory.
    pub fn eye(n: usize, device: &Device) -> Result<Tensor> {
        let places: Vec<u32> = (0..n as u32).collect();
        Self::from_vec(places, [n], device)?.one_hot(n)
    }

    /// Of labels (u32) a row each: 1 at the label, else 0, as f32 with `classes` as the last axis. A
    /// label that is no class has a row of zeros.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let labels = Tensor::from_vec(vec![2u32, 0], [2], &device)?;
    /// assert_eq!(labels.one_hot(3)?.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the tensor is not of u32, `classes` is more than u32 counts, or the device fails.
    pub fn one_hot(&self, classes: usize) -> Result<Tensor> {
        if self.dtype() != DType::U32 {
            let (op, what, expected) = ("one_hot", "labels", "u32");
            return Err(Error::DType { op, what, expected, got: self.dtype() });
        }
        let Ok(count) = u32::try_from(classes) else {
            let expected = format!("at most {}", u32::MAX);
            return Err(Error::parameter("one_hot", "classes", expected, classes));
        };
        let places = Self::from_vec((0..count).collect::<Vec<u32>>(), [classes], self.device())?;
        self.unsqueeze(-1)?.eq(&places)?.cast(DType::F32)
    }
}
