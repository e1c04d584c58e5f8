//! Another element type.

use super::values::{Floats, rounded};
use crate::{DType, HostTensor, HostValues};

pub(super) fn cast(x: &HostTensor, dtype: DType) -> HostValues {
    let integers: Vec<i64> = match x.values() {
        HostValues::F32(_) | HostValues::F16(_) | HostValues::F64(_) => {
            return rounded(dtype, &Floats::of(x).values);
        }
        HostValues::U32(v) => v.iter().map(|&x| x.into()).collect(),
        HostValues::I64(v) => v.clone(),
        HostValues::I32(v) => v.iter().map(|&x| x.into()).collect(),
        HostValues::I8(v) => v.iter().map(|&x| x.into()).collect(),
        HostValues::U8(v) | HostValues::Bool(v) => v.iter().map(|&x| x.into()).collect(),
    };
    fn each<T>(values: &[i64], round: impl Fn(i64) -> T) -> Vec<T> {
        values.iter().map(|&x| round(x)).collect()
    }
    match dtype {
        // To the nearest, ties to even.
        DType::F32 => each(&integers, |x| x as f32).into(),
        DType::F64 => each(&integers, |x| x as f64).into(),
        // Exact where it is not infinite.
        DType::F16 => rounded(dtype, &each(&integers, |x| x as f64)),
        DType::I64 => integers.into(),
        DType::U32 => each(&integers, |x| x.clamp(0, u32::MAX.into()) as u32).into(),
        DType::I32 => each(&integers, |x| x.clamp(i32::MIN.into(), i32::MAX.into()) as i32).into(),
        DType::I8 => each(&integers, |x| x.clamp(i8::MIN.into(), i8::MAX.into()) as i8).into(),
        DType::U8 => each(&integers, |x| x.clamp(0, u8::MAX.into()) as u8).into(),
        DType::Bool => HostValues::Bool(each(&integers, |x| u8::from(x != 0))),
    }
}
