//! The rows that layers read and write.

use crate::ops::Writer;

/// The rows of a matrix: the first numbers of every `stride` ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    /// What is read next.
    pub(super) next: &'a [f32],
}

impl<'a> Rows<'a> {
    pub(crate) fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, next: &[] }
    }

    /// Before `next`, which is brought into the cache while these are computed with.
    pub(crate) fn before(self, next: &'a [f32]) -> Self {
        Self { next, ..self }
    }

    /// Number of rows; the last one may lack what follows its own numbers.
    pub(crate) fn count(&self) -> usize {
        self.values.len().div_ceil(self.stride)
    }
}

/// A row of outputs, written from left to right.
pub(crate) trait Row {
    /// How many numbers are yet to be written.
    fn left(&self) -> usize;

    /// Writes the next ones.
    fn write(&mut self, values: &[f32]);

    /// One row for two, when both are written.
    fn join(self, other: Self) -> Self;
}

impl Row for &mut [f32] {
    #[inline(always)]
    fn left(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn write(&mut self, values: &[f32]) {
        let (next, rest) = std::mem::take(self).split_at_mut(values.len());
        next.copy_from_slice(values);
        *self = rest;
    }

    fn join(self, _: Self) -> Self {
        self
    }
}

impl Row for Writer<'_> {
    #[inline(always)]
    fn left(&self) -> usize {
        self.left()
    }

    #[inline(always)]
    fn write(&mut self, values: &[f32]) {
        self.write(values);
    }

    fn join(self, other: Self) -> Self {
        self.join(other)
    }
}
