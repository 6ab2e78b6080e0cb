//! Numbers that begin at a cache line, where vectors are read and written fastest.

use crate::ops::LINE;

/// Bytes of a cache line, and of the longest vector.
const BYTES: usize = LINE * size_of::<f32>();

/// A buffer whose first number stands at the start of a cache line.
#[derive(Debug)]
pub(crate) struct Aligned<T = f32> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let values = vec![T::default(); len + BYTES / size_of::<T>()];
        let start = values.as_ptr().align_offset(BYTES).min(BYTES / size_of::<T>());
        Self { values, start, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ref(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut clone = Self::zeros(self.len);
        clone.as_mut().copy_from_slice(self.as_ref());
        clone
    }
}
