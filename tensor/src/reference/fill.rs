//! One value everywhere.

use super::values::rounded;
use crate::HostValues;
use crate::ops::Fill;

pub(super) fn fill(op: &Fill) -> HostValues {
    rounded(op.ty.dtype, &vec![f64::from(op.value); op.ty.count()])
}
