//! Another element type.

use super::values::{Floats, rounded};
use crate::{DType, HostTensor, HostValues};

pub(super) fn cast(x: &HostTensor, dtype: DType) -> HostValues {
    rounded(dtype, &Floats::of(x).values)
}
