//! Buffers of the CPU: tensors in host memory, with packed forms of weights beside them.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use striate_tensor::{Buffer, BufferData, Error, HostValues, Operand, Result, SharedBytes};

use crate::gemm;
use crate::memory::{Memory, Pool};
use crate::simd::Level;

/// Where the elements are.
pub(crate) enum Storage {
    /// In memory of the pool.
    Pooled(Memory),
    /// In a vector that the user gave.
    Values(HostValues),
    /// In memory that somebody else owns: a mapped file.
    Shared(SharedBytes),
}

/// What a packed form was made for: the same weights are packed differently for different tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackKey {
    /// Pixels along an axis of the tiles of Winograd's algorithm that they are transformed for; 0 where they
    /// are not.
    pub(crate) winograd: usize,
    /// Whether outputs and inputs are exchanged, for the gradient in the input.
    pub(crate) turned: bool,
    /// Whether they are in blocks of channels, for depthwise convolutions.
    pub(crate) depthwise: bool,
    /// Weights of one output.
    pub(crate) depth: usize,
    /// Outputs in all.
    pub(crate) outputs: usize,
    /// Groups of outputs.
    pub(crate) groups: usize,
    /// Outputs in a panel.
    pub(crate) panel: usize,
}

/// A buffer of the CPU backend.
pub(crate) struct CpuBuffer {
    storage: Storage,
    packed: Mutex<Vec<(PackKey, Arc<Memory>)>>,
}

impl CpuBuffer {
    pub(crate) fn wrap(storage: Storage) -> Buffer {
        Buffer::new(CpuBuffer { storage, packed: Mutex::default() })
    }

    pub(crate) fn pooled(memory: Memory) -> Buffer {
        Self::wrap(Storage::Pooled(memory))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Pooled(memory) => memory.bytes(),
            Storage::Values(values) => values.bytes(),
            Storage::Shared(bytes) => bytes.bytes(),
        }
    }

    /// The packed form of these weights for `key`, made by `pack` at the first call and kept as
    /// long as the buffer.
    pub(crate) fn packed(
        &self,
        key: PackKey,
        pack: impl FnOnce() -> Result<Memory>,
    ) -> Result<Arc<Memory>> {
        let find = || {
            let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
            packed.iter().find(|(k, _)| *k == key).map(|(_, memory)| Arc::clone(memory))
        };
        if let Some(memory) = find() {
            return Ok(memory);
        }
        // Not under the lock: a thread of the pool that waits for its tasks may take up another op
        // on the same weights. Two may pack at once then, and the first one's form stays.
        let memory = Arc::new(pack()?);
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, before)) = packed.iter().find(|(k, _)| *k == key) {
            return Ok(Arc::clone(before));
        }
        packed.push((key, Arc::clone(&memory)));
        Ok(memory)
    }

    /// The memory to write into, where it is the pool's; packed forms of the old values go.
    pub(crate) fn memory_mut(&mut self) -> Option<&mut Memory> {
        self.packed.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        match &mut self.storage {
            Storage::Pooled(memory) => Some(memory),
            Storage::Values(_) | Storage::Shared(_) => None,
        }
    }

    /// The bytes to write into, copied first where they are somebody else's; packed forms of the
    /// old values go.
    pub(crate) fn bytes_mut(&mut self, pool: &Pool) -> Result<&mut [u8]> {
        self.packed.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if matches!(self.storage, Storage::Shared(_)) {
            let mut memory = pool.take(self.bytes().len())?;
            memory.bytes_mut().copy_from_slice(self.bytes());
            self.storage = Storage::Pooled(memory);
        }
        match &mut self.storage {
            Storage::Pooled(memory) => Ok(memory.bytes_mut()),
            Storage::Values(values) => Ok(values.bytes_mut()),
            Storage::Shared(_) => Ok(&mut []),
        }
    }
}

impl BufferData for CpuBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.bytes().len()
    }
}

/// The CPU's own buffer inside a general one.
pub(crate) fn own(buffer: &Buffer) -> Result<&CpuBuffer> {
    buffer.downcast().ok_or_else(|| Error::Device {
        device: "cpu".into(),
        message: "a buffer of another backend was given to the CPU".into(),
    })
}

/// The elements of an operand, which must be of type `T`.
pub(crate) fn elements<'a, T: bytemuck::Pod>(operand: &Operand<'a>) -> Result<&'a [T]> {
    let bytes = own(operand.buffer)?.bytes();
    let elements = bytemuck::try_cast_slice(bytes).map_err(|e| Error::Device {
        device: "cpu".into(),
        message: format!("a buffer of {} bytes is no {}: {e}", bytes.len(), operand.ty),
    })?;
    debug_assert_eq!(elements.len(), operand.ty.count());
    Ok(elements)
}

/// Floats of either precision.
#[derive(Clone, Copy)]
pub(crate) enum Floats<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl<'a> Floats<'a> {
    /// How many they are.
    pub(crate) fn len(self) -> usize {
        match self {
            Floats::F32(values) => values.len(),
            Floats::F16(values) => values.len(),
        }
    }

    /// Whether none of them is NaN or infinite.
    pub(crate) fn all_finite(self) -> bool {
        match self {
            // A finite number times 0 is 0, any other NaN. Several sums, for the compiler to
            // vectorise.
            Floats::F32(values) => {
                let mut sums = [0.0f32; 16];
                let lines = values.chunks_exact(sums.len());
                let rest = lines.remainder().iter().all(|x| x.is_finite());
                for line in lines {
                    sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += x * 0.0);
                }
                rest && sums.iter().all(|&sum| sum == 0.0)
            }
            Floats::F16(values) => values.iter().all(|x| x.is_finite()),
        }
    }

    /// A part of them.
    pub(crate) fn range(self, range: std::ops::Range<usize>) -> Floats<'a> {
        match self {
            Floats::F32(values) => Floats::F32(&values[range]),
            Floats::F16(values) => Floats::F16(&values[range]),
        }
    }

    /// Copies them, widened, to as many places.
    pub(crate) fn copy_to(self, level: Level, to: &mut [f32]) {
        match self {
            Floats::F32(values) => to.copy_from_slice(values),
            Floats::F16(values) => gemm::widen(level, values, to),
        }
    }
}

/// The elements of a float operand.
pub(crate) fn floats<'a>(operand: &Operand<'a>) -> Result<Floats<'a>> {
    Ok(match operand.ty.dtype {
        striate_tensor::DType::F16 => Floats::F16(elements(operand)?),
        _ => Floats::F32(elements(operand)?),
    })
}
