//! Large buffers on large pages: the one place with `unsafe` code.
//!
//! A fresh buffer of 80 MB has 20,000 pages of 4 KiB, and the system takes longer to hand them out one by one than a
//! kernel takes to be drawn into them. Linux hands out pages of 2 MiB where it is advised to before the first touch.

/// Buffers below this many bytes are left as they are.
#[cfg(target_os = "linux")]
const LEAST: usize = 4 << 20;

/// `len` zeros.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    // Zeroed memory of this size comes from the system as untouched pages.
    let values = vec![0.0f32; len];
    #[cfg(target_os = "linux")]
    advise(&values);
    values
}

/// Asks for large pages. Advice alone: whether it is followed changes no value, so failure is none.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "madvise takes a raw address")]
fn advise(values: &[f32]) {
    use rustix::mm::{Advice, madvise};
    let page = rustix::param::page_size();
    let bytes = size_of_val(values);
    let start = values.as_ptr().cast::<u8>();
    let skip = start.align_offset(page);
    if bytes < LEAST || skip >= bytes {
        return;
    }
    let len = (bytes - skip) / page * page;
    // SAFETY: `skip + len` is at most `bytes`, so that the range lies within the allocation of `values`; and this advice
    // neither changes nor frees what stands there.
    let _ =
        unsafe { madvise(start.wrapping_add(skip).cast_mut().cast(), len, Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn large_buffers_are_zeros() {
        for len in [0, 1, 1 << 20, (3 << 20) + 5] {
            let values = super::zeros(len);
            assert!(values.len() == len && values.iter().all(|value| *value == 0.0));
        }
    }
}
