//! Numbers that are written once, piece by piece, by several threads.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Shape, Tensor};

use super::cache::{LINE, settle, stream};
use super::{LEAST, advise};
use crate::error::Result;

/// Numbers that are yet to be computed, and are written piece by piece.
pub(crate) struct Buffer {
    /// What stands before them, with room for them.
    values: Vec<f32>,
    len: usize,
    /// Whether they are written past the cache.
    past: bool,
    written: AtomicUsize,
}

/// A part of a [`Buffer`] that nobody has written yet.
pub(crate) struct Piece<'a> {
    room: &'a mut [MaybeUninit<f32>],
    past: bool,
    written: &'a AtomicUsize,
}

/// A [`Piece`] that is being written, from left to right, by one thread.
pub(crate) struct Writer<'a> {
    piece: Piece<'a>,
    /// How many numbers were written, which are not in the piece's `written` yet.
    here: usize,
    /// No other thread may end it: see [`stream`].
    thread: PhantomData<*const ()>,
}

impl Buffer {
    /// Room for `len` numbers.
    pub(crate) fn new(len: usize) -> Self {
        Self::behind(Vec::with_capacity(len), len, false)
    }

    /// Room for rows of this many numbers, in all `len`. Large ones are written past the cache where rows are made of whole
    /// cache lines: a line need not be read before it is overwritten, and what the cache holds stays there.
    pub(crate) fn of_rows(len: usize, columns: usize) -> Self {
        let lines = cfg!(target_arch = "x86_64") && columns.is_multiple_of(LINE);
        if len < LEAST / size_of::<f32>() || !lines {
            return Self::new(len);
        }
        let mut values = Vec::<f32>::with_capacity(len + LINE - 1);
        let skip = values.as_ptr().align_offset(LINE * size_of::<f32>());
        values.resize(skip.min(LINE - 1), 0.0);
        Self::behind(values, len, true)
    }

    fn behind(mut values: Vec<f32>, len: usize, past: bool) -> Self {
        advise(values.spare_capacity_mut());
        Self { values, len, past, written: AtomicUsize::new(0) }
    }

    /// All of it.
    pub(crate) fn piece(&mut self) -> Piece<'_> {
        *self.written.get_mut() = 0;
        let room = &mut self.values.spare_capacity_mut()[..self.len];
        Piece { room, past: self.past, written: &self.written }
    }

    /// The numbers, which must all have been written.
    pub(crate) fn numbers(self) -> Vec<f32> {
        let before = self.values.len();
        let mut values = self.finish();
        values.drain(..before);
        values
    }

    /// The same as a tensor: a view, where something stands before them.
    ///
    /// # Shapes
    /// → `shape`
    pub(crate) fn tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let (before, len) = (self.values.len(), self.len);
        let values = Tensor::from_vec(self.finish(), before + len, &Device::Cpu)?;
        Ok(values.narrow(0, before, len)?.reshape(shape)?)
    }

    /// All that was written, behind what stands before it.
    #[allow(unsafe_code, reason = "the numbers are not written one behind the other")]
    fn finish(self) -> Vec<f32> {
        let Self { mut values, len, written, .. } = self;
        assert_eq!(written.into_inner(), len, "some numbers were not written");
        // SAFETY: there is room for `len` numbers, which `piece` hands out. Parts of a piece do not overlap, and what is
        // written is taken off; so if as many numbers have been written since as there is room for, it is each of them once.
        unsafe { values.set_len(values.len() + len) };
        values
    }
}

impl<'a> Piece<'a> {
    /// Takes the first `len` numbers off, or those that are left.
    pub(crate) fn take(&mut self, len: usize) -> Self {
        let room = std::mem::take(&mut self.room);
        let (taken, rest) = room.split_at_mut(len.min(room.len()));
        self.room = rest;
        Self { room: taken, ..*self }
    }

    /// The piece in parts of `len` numbers; the last one may have fewer.
    #[inline(always)]
    pub(crate) fn chunks(mut self, len: usize) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || Some(self.take(len)).filter(|part| part.len() > 0))
    }

    pub(crate) fn len(&self) -> usize {
        self.room.len()
    }

    /// What writes it.
    #[inline(always)]
    pub(crate) fn writer(self) -> Writer<'a> {
        Writer { piece: self, here: 0, thread: PhantomData }
    }
}

impl Writer<'_> {
    /// How many numbers are yet to be written.
    #[inline(always)]
    pub(crate) fn left(&self) -> usize {
        self.piece.len()
    }

    /// Writes the next ones.
    #[inline(always)]
    #[allow(unsafe_code, reason = "numbers are written past the cache")]
    pub(crate) fn write(&mut self, values: &[f32]) {
        let (next, rest) = std::mem::take(&mut self.piece.room).split_at_mut(values.len());
        if self.piece.past && values.len().is_multiple_of(LINE) {
            // SAFETY: nothing reads the numbers before they are counted, which is this writer's end, or that of one it is
            // joined with; it settles first, stays on this thread, and is never leaked. Nor are they written again.
            unsafe { stream(next, values) };
        } else {
            next.write_copy_of_slice(values);
        }
        self.piece.room = rest;
        self.here += values.len();
    }

    /// One writer for two, when both are done: threads count one after the other.
    pub(crate) fn join(mut self, mut other: Self) -> Self {
        if std::ptr::eq(self.piece.written, other.piece.written) {
            self.here += std::mem::take(&mut other.here);
        }
        self
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.here > 0 {
            if self.piece.past {
                settle();
            }
            self.piece.written.fetch_add(self.here, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the numbers, piece by piece and out of order.
    fn written(mut buffer: Buffer, numbers: &[f32], columns: usize) -> Buffer {
        let (start, others) = numbers.split_at(numbers.len().min(3));
        let mut rest = buffer.piece();
        let mut first = rest.take(3);
        let mut second = first.take(1).writer();
        let mut first = first.writer();
        first.write(&start[second.left()..]);
        second.write(&start[..second.left()]);
        drop(first.join(second));
        for (piece, numbers) in rest.chunks(columns).zip(others.chunks(columns)) {
            let mut writer = piece.writer();
            let (start, end) = numbers.split_at(numbers.len() / 3);
            writer.write(start);
            writer.write(end);
        }
        buffer
    }

    #[test]
    fn pieces_make_up_the_buffer() {
        for len in [0, 1, 10, (1 << 20) + 7] {
            let numbers: Vec<f32> = (0..len).map(|index| index as f32).collect();
            assert_eq!(written(Buffer::new(len), &numbers, 1000).numbers(), numbers);
        }
    }

    #[test]
    fn rows_past_the_cache_are_the_same_numbers() {
        for (rows, columns, past) in
            [(3, 48, false), (22_000, 48, true), (22_000, 50, false), (0, 16, false)]
        {
            let len = rows * columns;
            let numbers: Vec<f32> = (0..len).map(|index| index as f32).collect();
            let mut buffer = Buffer::of_rows(len, columns);
            let past = past && cfg!(target_arch = "x86_64");
            assert_eq!(buffer.past, past, "{rows} rows of {columns}");
            let start = buffer.piece().room.as_ptr().addr();
            assert!(!past || start.is_multiple_of(LINE * size_of::<f32>()));
            // Pieces that begin at a line, and three numbers behind one.
            for first in [0, 3] {
                let mut buffer = Buffer::of_rows(len, columns);
                let mut rest = buffer.piece();
                let mut start = rest.take(first).writer();
                start.write(&numbers[..start.left()]);
                drop(start);
                let others = &numbers[first.min(len)..];
                let parts: Vec<_> = rest.chunks(columns).zip(others.chunks(columns)).collect();
                std::thread::scope(|scope| {
                    let (here, there): (Vec<_>, Vec<_>) =
                        parts.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
                    for parts in [here, there] {
                        scope.spawn(move || {
                            for (_, (piece, numbers)) in parts {
                                piece.writer().write(numbers);
                            }
                        });
                    }
                });
                let tensor = buffer.tensor((rows, columns)).unwrap();
                assert!(tensor.is_contiguous());
                assert_eq!(tensor.dims(), [rows, columns]);
                assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), numbers);
            }
            assert_eq!(written(buffer, &numbers, columns).numbers(), numbers);
        }
    }

    #[test]
    #[should_panic = "some numbers were not written"]
    fn what_was_not_written_is_not_read() {
        let mut buffer = Buffer::new(3);
        buffer.piece().take(2).writer().write(&[1.0, 2.0]);
        buffer.numbers();
    }
}
