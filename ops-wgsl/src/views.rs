//! What kernels bind of tensors: memory for them, and views of ranges of it, where recorded copies put
//! together what lies across chunks.

use std::ops::Range;

use striate_tensor::{DType, Result, TensorType};

use crate::buffer::{Chunk, GpuBuffer, Source, View, row_cuts};
use crate::device::ALIGN_BYTES;
use crate::queue::Context;

/// Elements beyond this are not counted in 32 bits, groups of invocations included.
const MAX_ELEMENTS: usize = u32::MAX as usize - (1 << 24);

/// Where a range of elements lies in a tensor's memory.
struct ElementRange {
    /// Its bytes.
    first: u64,
    end: u64,
    /// It can be bound where it is: it lies in one chunk.
    within: bool,
    /// Bytes that are bound before it, or copied with it.
    before: u64,
}

/// A range of an output that a kernel is to write.
pub(crate) struct Written {
    pub(crate) view: View,
    /// Where a copy has to go back to: its first byte.
    back: Option<(u64, u64)>,
}

impl Context {
    /// Memory for so many bytes.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<GpuBuffer> {
        let chunk = self.gpu.chunk_bytes();
        let mut rest = bytes as u64;
        let mut chunks = Vec::with_capacity(1);
        loop {
            let size = rest.min(chunk);
            chunks.push(self.pool.take(&self.gpu, size)?);
            rest -= size;
            if rest == 0 {
                break;
            }
        }
        Ok(GpuBuffer::new(chunks, bytes))
    }

    /// Memory for a tensor. Kernels count elements in 32 bits, so there is a largest one.
    pub(crate) fn allocate_for(&self, ty: &TensorType) -> Result<GpuBuffer> {
        if ty.count() > MAX_ELEMENTS {
            return Err(self.gpu.out_of_memory(ty.size_bytes()));
        }
        self.allocate(ty.size_bytes())
    }

    /// Where a view of a range of elements lies.
    fn place(&self, dtype: DType, range: &Range<usize>) -> ElementRange {
        let (first, end) = self.byte_range(dtype, range);
        let chunk = self.gpu.chunk_bytes();
        let last = end.max(first + 1) - 1;
        let within = first / chunk == last / chunk;
        let offset = first % chunk;
        // Copies move words.
        let before = if within { offset % ALIGN_BYTES } else { first % 4 };
        ElementRange { first, end, within, before }
    }

    /// The elements that a [`view`](Context::view) of a range has before the first one.
    pub(crate) fn skip(&self, dtype: DType, range: &Range<usize>) -> u32 {
        (self.place(dtype, range).before / dtype.size_bytes() as u64) as u32
    }

    /// A view of a range of elements.
    pub(crate) fn view(&self, source: Source<'_>, range: Range<usize>) -> Result<View> {
        let ElementRange { first, end, within, before } = self.place(source.ty.dtype, &range);
        let skip = self.skip(source.ty.dtype, &range);
        let chunk = self.gpu.chunk_bytes();
        if within {
            let buffer = &source.buffer.chunks[(first / chunk) as usize].buffer;
            // Whole vectors, so that a kernel may read four words at once to the end.
            let size = (end - first + before).max(1).next_multiple_of(16);
            return Ok(View::within(buffer, first % chunk - before, size, skip));
        }
        let from = first - before;
        let copy = self.temporary(end - from)?;
        self.copy_pieces(source.buffer, from..end.next_multiple_of(4), &copy.buffer, true)?;
        Ok(View::of_copy(copy, end - from, skip))
    }

    /// A view of a whole tensor.
    pub(crate) fn whole(&self, source: Source<'_>) -> Result<View> {
        self.view(source, 0..source.ty.count())
    }

    /// A range of elements of an output, to write with [`finish`](Context::finish) afterwards.
    /// The range of a half-precision tensor begins at an even element.
    pub(crate) fn written(
        &self,
        output: &GpuBuffer,
        dtype: DType,
        range: Range<usize>,
    ) -> Result<Written> {
        let (first, end) = self.byte_range(dtype, &range);
        let chunk = self.gpu.chunk_bytes();
        let shape = striate_tensor::Shape::new(&[range.end])?;
        let source = Source { buffer: output, ty: TensorType::new(shape, dtype) };
        if first / chunk == (end.max(first + 1) - 1) / chunk {
            return Ok(Written { view: self.view(source, range)?, back: None });
        }
        let copy = self.temporary(end - first)?;
        // What the kernel does not write goes back as it was.
        self.copy_pieces(output, first..end.next_multiple_of(4), &copy.buffer, true)?;
        let view = View::of_copy(copy, end - first, 0);
        Ok(Written { view, back: Some((first, end.next_multiple_of(4))) })
    }

    /// Puts what was written where it belongs.
    pub(crate) fn finish(&self, output: &GpuBuffer, written: &Written) -> Result<()> {
        match written.back {
            Some((first, end)) => self.copy_pieces(output, first..end, &written.view.buffer, false),
            None => Ok(()),
        }
    }

    fn byte_range(&self, dtype: DType, range: &Range<usize>) -> (u64, u64) {
        if range.is_empty() {
            // It may lie at the end of the last chunk.
            return (0, 0);
        }
        let size = dtype.size_bytes() as u64;
        (range.start as u64 * size, range.end as u64 * size)
    }

    fn temporary(&self, bytes: u64) -> Result<Chunk> {
        if bytes > self.gpu.chunk_bytes() {
            let most = self.gpu.chunk_bytes();
            let reason = format!("{bytes} bytes have to be bound together, and {most} can be");
            // Whoever knows the op names it.
            return Err(self.gpu.unsupported("", reason));
        }
        self.pool.take(&self.gpu, bytes)
    }

    /// Copies bytes of a tensor to the start of a buffer, or back.
    fn copy_pieces(
        &self,
        tensor: &GpuBuffer,
        range: Range<u64>,
        other: &wgpu::Buffer,
        out: bool,
    ) -> Result<()> {
        let chunk = self.gpu.chunk_bytes();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / chunk + 1) * chunk);
            let part = (&tensor.chunks[(at / chunk) as usize].buffer, at % chunk);
            let whole = (other, at - range.start);
            let (from, to) = if out { (part, whole) } else { (whole, part) };
            self.copy(from, to, end - at)?;
            at = end;
        }
        Ok(())
    }

    /// A copy of a tensor.
    pub(crate) fn duplicate(&self, of: &GpuBuffer) -> Result<GpuBuffer> {
        let copy = self.allocate(of.bytes())?;
        for (from, to) in of.chunks.iter().zip(&copy.chunks) {
            let bytes = from.buffer.size().min(to.buffer.size());
            self.copy((&from.buffer, 0), (&to.buffer, 0), bytes)?;
        }
        Ok(copy)
    }

    /// Where rows of `row_bytes` bytes must be cut so that each part can be bound: the rows that
    /// begin a part, and their number at the end. A row that lies across chunks is a part.
    pub(crate) fn cuts(&self, rows: usize, row_bytes: usize) -> Vec<usize> {
        row_cuts(rows, row_bytes, self.gpu.chunk_bytes() as usize)
    }
}
