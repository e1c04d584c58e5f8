//! Views whose elements do not follow each other in their storage: transposed, cut out, repeated.

use crate::Result;

/// Bytes of a storage that may be read for nothing.
const SPARE_BYTES: usize = 1 << 20;

/// How often what is read may be larger than what is wanted of it.
const SPARE_TIMES: usize = 4;

/// The elements of a view. Offsets count from the view's own first element.
pub(super) struct View<'a> {
    pub(super) shape: &'a [usize],
    pub(super) strides: &'a [u64],
    /// Bytes of an element.
    pub(super) size: usize,
}

impl View<'_> {
    /// Whether the elements follow each other in the storage.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1u64;
        for (&extent, &stride) in self.shape.iter().zip(self.strides).rev() {
            if extent == 0 {
                return true;
            }
            if extent > 1 && stride != expected {
                return false;
            }
            expected = expected.saturating_mul(extent as u64);
        }
        true
    }

    /// The number of elements.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// All elements, row by row; `read(bytes, at)` copies bytes of the storage. Where the storage has not
    /// much more than the view, that part of it is read at once.
    pub(super) fn gather(&self, read: impl Fn(&mut [u8], u64) -> Result<()>) -> Result<Vec<u8>> {
        let wanted = self.count().saturating_mul(self.size);
        let mut bytes = vec![0; wanted];
        if wanted == 0 {
            return Ok(bytes);
        }
        let steps = self.shape.iter().zip(self.strides);
        let last: u64 = steps.map(|(extent, stride)| (*extent as u64 - 1) * stride).sum();
        let span = usize::try_from(last + 1).ok().and_then(|last| last.checked_mul(self.size));
        let most = wanted.saturating_mul(SPARE_TIMES).max(SPARE_BYTES);
        if let Some(span) = span.filter(|span| *span <= most) {
            let mut part = vec![0; span];
            read(&mut part, 0)?;
            self.copy(&mut bytes, |to, at| {
                // Within the part, which ends with the view's last element.
                let from = at as usize;
                to.copy_from_slice(&part[from..from + to.len()]);
                Ok(())
            })?;
        } else {
            self.copy(&mut bytes, read)?;
        }
        Ok(bytes)
    }

    /// Copies run by run: as much at a time as follows each other.
    fn copy(&self, bytes: &mut [u8], copy: impl Fn(&mut [u8], u64) -> Result<()>) -> Result<()> {
        // The last axes that follow each other make a run.
        let (mut run, mut axes) = (1usize, self.shape.len());
        while axes > 0 && (self.shape[axes - 1] == 1 || self.strides[axes - 1] == run as u64) {
            run *= self.shape[axes - 1];
            axes -= 1;
        }
        let mut index = vec![0usize; axes];
        let mut at = 0u64;
        for bytes in bytes.chunks_exact_mut(run * self.size) {
            copy(bytes, at * self.size as u64)?;
            for axis in (0..axes).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis] as u64;
                index[axis] = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(shape: &[usize], strides: &[u64]) -> Vec<u8> {
        let view = View { shape, strides, size: 1 };
        let bytes = view.gather(|bytes, at| {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = (at as usize + i) as u8;
            }
            Ok(())
        });
        bytes.unwrap()
    }

    #[test]
    fn views_are_gathered_row_by_row() {
        assert_eq!(gathered(&[2, 3], &[3, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(gathered(&[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gathered(&[2, 2], &[0, 1]), [0, 1, 0, 1]);
        assert_eq!(gathered(&[2, 1, 2], &[4, 9, 2]), [0, 2, 4, 6]);
        assert_eq!(gathered(&[], &[]), [0]);
        assert!(gathered(&[0, 4], &[4, 1]).is_empty());
        // Far apart: read one by one.
        assert_eq!(gathered(&[3], &[1 << 24]), [0, 0, 0]);
        assert_eq!(gathered(&[2, 2], &[(1 << 24) + 1, 1]), [0, 1, 1, 2]);
    }

    #[test]
    fn extents_of_one_do_not_break_a_run() {
        let contiguous =
            |shape: &[usize], strides: &[u64]| View { shape, strides, size: 4 }.is_contiguous();
        assert!(contiguous(&[4, 1, 3], &[3, 77, 1]) && contiguous(&[], &[]));
        assert!(contiguous(&[0, 3], &[1, 1]) && contiguous(&[1], &[0]));
        assert!(!contiguous(&[3, 4], &[1, 3]) && !contiguous(&[2], &[0]));
    }
}
