//! Numbers that begin at a cache line, where vectors are read and written fastest.

/// Bytes of a cache line, and of the longest vector.
const LINE: usize = 64;

/// A buffer whose first number stands at the start of a cache line.
#[derive(Debug)]
pub(crate) struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let values = vec![0.0; len + LINE / size_of::<f32>()];
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        Self { values, start, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ref(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        let mut clone = Self::zeros(self.len);
        clone.as_mut().copy_from_slice(self.as_ref());
        clone
    }
}
