//! The mean image of a set of pictures: a `.binaryproto`.

use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use super::proto::BlobHeader;
use super::read_file;
use crate::limits::check_image;
use crate::{Error, Result};

/// Bytes of a file with a mean image: one of 256x256 pixels has 0.8 MB.
const MAX_BYTES: usize = 256 << 20;

/// The numbers of an array, without its extents.
#[derive(Clone, PartialEq, prost::Message)]
struct BlobNumbers {
    #[prost(float, repeated, tag = "5")]
    data: Vec<f32>,
    #[prost(double, repeated, tag = "8")]
    double_data: Vec<f64>,
}

/// A mean image as Caffe has it: channel after channel, blue first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mean {
    /// Channels, rows and cols.
    pub(super) dims: [usize; 3],
    pub(super) values: Vec<f32>,
}

impl Mean {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        Self::of_bytes(&name, read_file(path, "a mean image", MAX_BYTES)?)
    }

    fn of_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let what = "a mean image of Caffe's (.binaryproto)";
        let failed = |e| Error::parse(name, "file", what, e);
        let bytes = Bytes::from(bytes);
        let header = BlobHeader::decode(bytes.clone()).map_err(failed)?;
        let BlobNumbers { data, double_data } = BlobNumbers::decode(bytes).map_err(failed)?;
        let extents = header.extents(name, "mean image")?.unwrap_or_default();
        let dims = match extents[..] {
            [1, channels, rows, cols] | [channels, rows, cols] => [channels, rows, cols],
            _ => return Err(Error::content(name, "extents", what, format!("{extents:?}"))),
        };
        check_image(name, "mean image", [dims[1], dims[2]])?;
        let values: Vec<f32> = match data.is_empty() {
            true => double_data.iter().map(|&value| value as f32).collect(),
            false => data,
        };
        let count = dims.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        if values.is_empty() || count != Some(values.len()) {
            let expected = format!("{extents:?} numbers");
            return Err(Error::content(name, "mean image", expected, values.len().to_string()));
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let got = values[place].to_string();
            return Err(Error::content(name, format!("number {place}"), "a finite mean", got));
        }
        Ok(Mean { dims, values })
    }
}
