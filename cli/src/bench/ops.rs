//! Single ops.

use striate::tensor::{DType, RandomKey, Tensor, TensorType};

use super::Bench;
use super::measure;
use super::report::{Case, Subject};
use crate::cases::OpCase;
use crate::error::Result;

/// Times an op on random operands.
pub(super) fn time(bench: &mut Bench<'_>, case: &OpCase) -> Result<()> {
    let device = &bench.device;
    let operand = |(stream, ty): (usize, &TensorType)| -> Result<Tensor> {
        let key = RandomKey::new(bench.seed, stream as u64);
        let x = Tensor::uniform(ty.shape, -1.0, 1.0, key, device)?;
        Ok(if ty.dtype == DType::F32 { x } else { x.cast(ty.dtype)? })
    };
    let operands = case.inputs.iter().enumerate().map(operand).collect::<Result<Vec<_>>>()?;
    let operands: Vec<&Tensor> = operands.iter().collect();
    measure::reset_peak();
    let run = || {
        device.execute(&case.op, &operands)?;
        Ok(device.synchronize()?)
    };
    let times = measure::repeat(bench.repeat, &bench.clock, run)?;
    let traffic = bench.clock.traffic(run)?;
    let algorithm = device.algorithm(&case.op, &case.inputs)?;
    let cost = case.op.cost(&case.inputs)?;
    let (flops, bytes) = (cost.flops as f64, (cost.bytes_read + cost.bytes_written) as f64);
    bench.report.case(
        &Case {
            name: &case.name,
            subject: Subject::Op,
            detail: &case.operands(),
            algorithm: algorithm.as_deref(),
            pass: bench.pass,
            batch: bench.batch,
            dtype: case.inputs.get(1).map(|weights| weights.dtype),
            times: &times,
            flops,
            bytes,
            ideal: bench.roofline.seconds(flops, bytes),
            peak_bytes: measure::peak_bytes(),
            traffic,
        },
        bench.output,
    )
}
