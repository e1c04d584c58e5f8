//! Named tensors in a file of any form: what a network takes from it, whichever form that is.

use striate_nn::BufferInfo;
use striate_tensor::{DType, Device, HostTensor, Shape, Tensor};

use crate::options::{ReadOptions, check_dtype};
use crate::source::Beside;
use crate::values::{Counts, Narrowing, Report, Stored, load_parallel};
use crate::{Error, Format, Result};

/// Copies bytes of a tensor, from a place in it on; any thread may.
pub(crate) type Fill<'a> = Box<dyn Fn(&mut [u8], usize) -> Result<()> + Sync + 'a>;

/// Named tensors in a file.
pub(crate) trait StateDict {
    /// The file's name in messages.
    fn file(&self) -> &str;

    /// The size of the file.
    fn bytes(&self) -> u64;

    /// Where other files of the same model are found; none for a file that came through a pipe, or is in
    /// memory.
    fn beside(&self) -> Option<Beside>;

    /// What the file is, where the tensors are a state dict.
    fn format(&self) -> Format;

    /// The names of all tensors.
    fn all_names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// The shape of a tensor, where there is one of this name.
    fn dims(&self, name: &str) -> Option<&[usize]>;

    /// How the numbers of a tensor of floats are stored, or why there is none.
    fn stored(&self, name: &str) -> Result<Stored>;

    /// What copies the bytes of a tensor: little endian, row by row.
    fn fill(&self, name: &str) -> Result<Fill<'_>>;

    /// Refuses what was read, where another program has written the file since it was opened.
    fn check(&self) -> Result<()>;

    /// A tensor of floats: f32 and f16 as they are, others as f32; or as the options say.
    fn load(&self, name: &str, device: &Device, options: &ReadOptions) -> Result<Tensor> {
        check_dtype(self.file(), options.dtype)?;
        let stored = self.stored(name)?;
        let dtype = options.dtype.unwrap_or(stored.dtype());
        let failed = |e| Error::tensor(self.file(), format!("tensor {name}"), e);
        let shape = Shape::new(self.dims(name).unwrap_or_default()).map_err(failed)?;
        let fill = self.fill(name)?;
        let (values, counts) =
            load_parallel(self.file(), shape.count(), stored, dtype, Narrowing::Nearest, fill)?;
        self.report(name, dtype, options, counts)?;
        HostTensor::new(shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(failed)
    }

    /// Warns of values that are not finite, and refuses those that have become so.
    fn report(
        &self,
        name: &str,
        dtype: DType,
        options: &ReadOptions,
        counts: Counts,
    ) -> Result<()> {
        let (file, place) = (self.file(), &format!("tensor {name}"));
        let dims = self.dims(name).unwrap_or_default();
        Report { file, place, dims, dtype, allow_overflow: options.allow_overflow }.check(counts)
    }
}

/// Refuses a tensor of another shape than its layer has; gives the precision it is read in.
pub(crate) fn check_shape(file: &dyn StateDict, name: &str, wanted: &Shape) -> Result<DType> {
    let stored = file.stored(name)?;
    let dims = file.dims(name).unwrap_or_default();
    if dims != wanted.dims() {
        let place = format!("tensor {name}");
        let (expected, got) = (wanted.dims().to_vec(), dims.to_vec());
        return Err(Error::Shape { file: file.file().into(), place, expected, got });
    }
    Ok(stored.dtype())
}

/// The tensors of running statistics, as PyTorch calls them, with their shapes: mean and variance.
pub(crate) fn running_names(prefix: &str, buffer: &BufferInfo) -> Result<[(String, Shape); 2]> {
    let channels = buffer.shape.dims().get(1).copied().unwrap_or(0);
    let shape = Shape::new(&[channels]).map_err(|e| Error::tensor("the network", prefix, e))?;
    Ok(["running_mean", "running_var"].map(|part| (format!("{prefix}.{part}"), shape)))
}

/// Running statistics `[2, channels]`, out of the file's two tensors.
pub(crate) fn read_running(
    file: &dyn StateDict,
    prefix: &str,
    buffer: &BufferInfo,
    device: &Device,
) -> Result<Tensor> {
    let mut values = Vec::with_capacity(buffer.shape.count());
    for (name, wanted) in running_names(prefix, buffer)? {
        check_shape(file, &name, &wanted)?;
        let failed = |e| Error::tensor(file.file(), format!("tensor {name}"), e);
        let row = file.load(&name, device, &ReadOptions::default().dtype(DType::F32))?;
        values.append(&mut row.to_vec::<f32>().map_err(failed)?);
    }
    let failed = |e| Error::tensor(file.file(), prefix, e);
    Tensor::from_vec(values, buffer.shape, device).map_err(failed)
}
