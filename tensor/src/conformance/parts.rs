//! Outputs that are parts of wider tensors: the same bits, and nothing beside them changes.

use super::values::{SIGNED, tensor};
use crate::{Device, HostTensor, Joined, Op, Result, Shape, Tensor, TensorType};

/// Channels before the part and after it: odd, so that nothing is aligned.
const BESIDE: [usize; 2] = [5, 2];

/// Executes an op whose output becomes a part, where the device does so, and compares it with `whole`.
pub(super) fn check(
    op: &Op,
    inputs: &[HostTensor],
    whole: &HostTensor,
    device: &Device,
) -> Result<(), String> {
    let types: Vec<TensorType> = inputs.iter().map(HostTensor::ty).collect();
    let [ref outer @ .., channels] = *whole.shape().dims() else { return Ok(()) };
    if !Joined::supports(device, op, &types).map_err(|error| error.to_string())? {
        return Ok(());
    }
    let with = |channels: usize| Shape::new(&[outer, &[channels]].concat());
    let beside = |channels: usize, seed: u64| -> Result<HostTensor> {
        Ok(tensor(with(channels)?.dims(), whole.ty().dtype, SIGNED, seed))
    };
    let joined = || -> Result<(Vec<HostTensor>, HostTensor)> {
        let [before, after] = BESIDE;
        let parts = vec![beside(before, 1)?, whole.clone(), beside(after, 2)?];
        let ty = TensorType::new(with(before + channels + after)?, whole.ty().dtype);
        let mut joined = Joined::new(ty, device)?;
        joined.copy(&Tensor::from_host(parts[0].clone(), device)?, 0)?;
        joined.copy(&Tensor::from_host(parts[2].clone(), device)?, before + channels)?;
        let inputs = inputs.iter().map(|x| Tensor::from_host(x.clone(), device));
        let inputs = inputs.collect::<Result<Vec<Tensor>>>()?;
        joined.execute(op, &inputs.iter().collect::<Vec<_>>(), before)?;
        Ok((parts, joined.finish()?.to_host()?))
    };
    let (parts, got) = joined().map_err(|error| format!("as a part: {error}"))?;
    let size = whole.ty().dtype.size_bytes();
    let lines = got.values().bytes().chunks_exact(size * (BESIDE[0] + channels + BESIDE[1]));
    for (row, line) in lines.enumerate() {
        let mut at = 0;
        for (part, what) in parts.iter().zip(["what stood before", "", "what stood after"]) {
            let width = size * part.shape().dims().last().copied().unwrap_or(1);
            let want = &part.values().bytes()[row * width..][..width];
            if line[at..at + width] != *want {
                return Err(match what {
                    "" => format!("as a part, row {row} of its channels has other bits"),
                    what => format!("as a part, it changes {what} it, in row {row}"),
                });
            }
            at += width;
        }
    }
    Ok(())
}
