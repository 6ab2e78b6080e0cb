//! Large buffers on large pages, written once and past the cache, and memory that is read ahead: the one place with `unsafe`
//! code.
//!
//! A fresh buffer of 80 MB has 20,000 pages of 4 KiB, and the system takes longer to hand them out one by one than a
//! kernel takes to be drawn into them. Linux hands out pages of 2 MiB where it is advised to before the first touch. And
//! memory that was in use before would be zeroed first, a pass over all of it, if it were not for [`Buffer`].

mod buffer;
mod cache;

pub(crate) use buffer::{Buffer, Piece, Writer};
pub(crate) use cache::{LINE, fetch};

/// Buffers below this many bytes are on the pages, and go through the cache, as they come.
const LEAST: usize = 4 << 20;

/// `len` zeros.
pub(crate) fn zeros<T: Copy + Default>(len: usize) -> Vec<T> {
    // Zeroed memory of this size comes from the system as untouched pages.
    let mut values = vec![T::default(); len];
    advise(&mut values);
    values
}

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
}
