//! Outputs that are written over an operand: the same bits, and not where somebody else holds that operand.

use crate::{Device, HostTensor, Op, Result, Tensor, TensorType};

/// Executes an op with each of its operands that the device would write over as the spare one, and compares
/// with `whole`: once where nobody else holds it, and once where somebody does.
pub(super) fn check(
    op: &Op,
    inputs: &[HostTensor],
    whole: &HostTensor,
    device: &Device,
) -> Result<(), String> {
    let types: Vec<TensorType> = inputs.iter().map(HostTensor::ty).collect();
    for place in 0..inputs.len() {
        if !device.backend().writes_over(op, &types, place, &whole.ty()) {
            continue;
        }
        // The spare operand is made by an op, as one is that the device has in memory of its own.
        let once = |is_held: bool| -> Result<(HostTensor, Option<HostTensor>)> {
            let all = inputs.iter().map(|x| Tensor::from_host(x.clone(), device));
            let mut all = all.collect::<Result<Vec<Tensor>>>()?;
            let given = all.remove(place);
            let spare = Tensor::concatenate(&[&given], 0)?;
            let held = is_held.then(|| spare.clone());
            let got = device.execute_over(op, &all.iter().collect::<Vec<_>>(), spare, place)?;
            Ok((got.to_host()?, held.map(|held| held.to_host()).transpose()?))
        };
        for is_held in [false, true] {
            let said = |error| format!("written over operand {place}: {error}");
            let (got, held) = once(is_held).map_err(|error| said(error.to_string()))?;
            if got.ty() != whole.ty() || got.values().bytes() != whole.values().bytes() {
                return Err(said("other bits".into()));
            }
            if held.is_some_and(|held| held.values().bytes() != inputs[place].values().bytes()) {
                return Err(said("it was held by somebody, and has changed".into()));
            }
        }
    }
    Ok(())
}
