//! Large buffers on large pages, written once, and memory that is read ahead: the one place with `unsafe` code.
//!
//! A fresh buffer of 80 MB has 20,000 pages of 4 KiB, and the system takes longer to hand them out one by one than a
//! kernel takes to be drawn into them. Linux hands out pages of 2 MiB where it is advised to before the first touch. And
//! memory that was in use before would be zeroed first, a pass over all of it, if it were not for [`Buffer`].

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Buffers below this many bytes are left as they are.
#[cfg(target_os = "linux")]
const LEAST: usize = 4 << 20;

/// Numbers that are yet to be computed, and are written piece by piece.
pub(crate) struct Buffer {
    /// Empty, with room for all.
    values: Vec<f32>,
    len: usize,
    written: AtomicUsize,
}

/// A part of a [`Buffer`] that nobody has written yet.
pub(crate) struct Piece<'a> {
    room: &'a mut [MaybeUninit<f32>],
    /// How many numbers before these were written, which are not in `written` yet.
    here: usize,
    written: &'a AtomicUsize,
}

impl Buffer {
    /// Room for `len` numbers.
    pub(crate) fn new(len: usize) -> Self {
        let mut values = Vec::with_capacity(len);
        advise(values.spare_capacity_mut());
        Self { values, len, written: AtomicUsize::new(0) }
    }

    /// All of it.
    pub(crate) fn piece(&mut self) -> Piece<'_> {
        *self.written.get_mut() = 0;
        let room = &mut self.values.spare_capacity_mut()[..self.len];
        Piece { room, here: 0, written: &self.written }
    }

    /// The numbers, which must all have been written.
    #[allow(unsafe_code, reason = "the numbers are not written one behind the other")]
    pub(crate) fn finish(self) -> Vec<f32> {
        let Self { mut values, len, written } = self;
        assert_eq!(written.into_inner(), len, "some numbers were not written");
        // SAFETY: there is room for `len` numbers, which `piece` hands out. Parts of a piece do not overlap, and what is
        // written is taken off; so if as many numbers have been written since as there is room for, it is each of them once.
        unsafe { values.set_len(len) };
        values
    }
}

impl Piece<'_> {
    /// Takes the first `len` numbers off, or those that are left.
    pub(crate) fn take(&mut self, len: usize) -> Self {
        let room = std::mem::take(&mut self.room);
        let (taken, rest) = room.split_at_mut(len.min(room.len()));
        self.room = rest;
        Self { room: taken, here: 0, written: self.written }
    }

    /// The piece in parts of `len` numbers; the last one may have fewer.
    #[inline(always)]
    pub(crate) fn chunks(mut self, len: usize) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || Some(self.take(len)).filter(|part| part.len() > 0))
    }

    pub(crate) fn len(&self) -> usize {
        self.room.len()
    }

    /// Writes the first numbers and takes them off.
    #[inline(always)]
    pub(crate) fn write(&mut self, values: &[f32]) {
        let (next, rest) = std::mem::take(&mut self.room).split_at_mut(values.len());
        next.write_copy_of_slice(values);
        self.room = rest;
        self.here += values.len();
    }

    /// Counts what was written of another piece with what was written of this one: threads count one after the other.
    pub(crate) fn join(mut self, mut other: Self) -> Self {
        if std::ptr::eq(self.written, other.written) {
            self.here += std::mem::take(&mut other.here);
        }
        self
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        if self.here > 0 {
            self.written.fetch_add(self.here, Ordering::Relaxed);
        }
    }
}

/// `len` zeros.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Vec<T> {
    // Zeroed memory of this size comes from the system as untouched pages.
    let mut values = vec![T::default(); len];
    advise(&mut values);
    values
}

/// Asks for the cache line of the first number, which is read soon, into the second cache.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a prefetch takes a raw address")]
pub(crate) fn fetch(values: &[f32]) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: every x86-64 processor has this instruction, which is a hint: it reads and changes no value, and an address
    // that cannot be read is no error.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().cast()) }
}

#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fetch(_: &[f32]) {}

/// Asks for large pages. Advice alone: whether it is followed changes no value, so failure is none.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "madvise takes a raw address")]
fn advise<T>(values: &mut [T]) {
    use rustix::mm::{Advice, madvise};
    let page = rustix::param::page_size();
    let bytes = size_of_val(values);
    let start = values.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(page);
    if bytes < LEAST || skip >= bytes {
        return;
    }
    let len = (bytes - skip) / page * page;
    // SAFETY: `skip + len` is at most `bytes`, so that the range lies within `values`; and this advice neither changes nor
    // frees what stands there.
    let _ = unsafe { madvise(start.wrapping_add(skip).cast(), len, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn advise<T>(_: &mut [T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_zeros() {
        for len in [0, 1, 1 << 20, (3 << 20) + 5] {
            let values: Vec<f32> = zeros(len);
            assert!(values.len() == len && values.iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn pieces_make_up_the_buffer() {
        for len in [0, 1, 10, (1 << 20) + 7] {
            let numbers: Vec<f32> = (0..len).map(|index| index as f32).collect();
            let mut buffer = Buffer::new(len);
            let mut rest = buffer.piece();
            let mut first = rest.take(3);
            let mut second = first.take(1);
            first.write(&numbers[second.len()..len.min(3)]);
            second.write(&numbers[..len.min(1)]);
            for (mut piece, numbers) in rest.chunks(1000).zip(numbers[len.min(3)..].chunks(1000)) {
                let (start, end) = numbers.split_at(numbers.len() / 3);
                piece.write(start);
                piece.write(end);
            }
            drop(first.join(second));
            assert_eq!(buffer.finish(), numbers);
        }
    }

    #[test]
    #[should_panic = "some numbers were not written"]
    fn what_was_not_written_is_not_read() {
        let mut buffer = Buffer::new(3);
        buffer.piece().take(2).write(&[1.0, 2.0]);
        buffer.finish();
    }
}
