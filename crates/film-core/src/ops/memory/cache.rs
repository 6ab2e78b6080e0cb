//! Memory that is read ahead of its use, or written past the cache.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128, _MM_HINT_T1, _mm_loadu_ps, _mm_prefetch, _mm_sfence, _mm_stream_ps,
};
use std::mem::MaybeUninit;

/// Numbers of a cache line.
pub(crate) const LINE: usize = 16;

/// Asks for the cache line of the first number, which is read soon, into the second cache.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a prefetch takes a raw address")]
pub(crate) fn fetch(values: &[f32]) {
    // SAFETY: every x86-64 processor has this instruction, which is a hint: it reads and changes no value, and an address
    // that cannot be read is no error.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().cast()) }
}

#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fetch(_: &[f32]) {}

/// Writes numbers past the cache, if they are to begin at a multiple of 16 bytes; others, and the last ones beyond a multiple
/// of four, are written as ever. It is fast where they make up whole cache lines.
///
/// # Safety
/// Before the memory is accessed again, freed, or known to another thread as written, this thread must call [`settle`].
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "a store past the cache takes a raw address")]
pub(super) unsafe fn stream(room: &mut [MaybeUninit<f32>], values: &[f32]) {
    assert_eq!(room.len(), values.len());
    let ((quads, rest), (from, last)) = (room.as_chunks_mut::<4>(), values.as_chunks::<4>());
    if quads.as_ptr().addr() % align_of::<__m128>() != 0 {
        room.write_copy_of_slice(values);
        return;
    }
    for (room, values) in quads.iter_mut().zip(from) {
        // SAFETY: both are four numbers long, and `room` begins at a multiple of 16 bytes, for the first one does. Every
        // x86-64 processor has these instructions.
        unsafe { _mm_stream_ps(room.as_mut_ptr().cast(), _mm_loadu_ps(values.as_ptr())) };
    }
    rest.write_copy_of_slice(last);
}

/// # Safety
/// None is asked for here.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "on x86-64 it asks for some")]
pub(super) unsafe fn stream(room: &mut [MaybeUninit<f32>], values: &[f32]) {
    room.write_copy_of_slice(values);
}

/// Waits until what this thread wrote past the cache stands where others can read it.
#[inline(always)]
#[allow(unsafe_code, reason = "a fence is an instruction that processors may lack")]
pub(super) fn settle() {
    // SAFETY: every x86-64 processor has this instruction.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_sfence();
    }
}
