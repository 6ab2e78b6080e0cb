//! A tensor's bytes → how many of its values are NaN or infinite, counted on the bits.
//!
//! IEEE 754 (and OCP's 8-bit formats): an exponent of all ones is an infinity where the rest is zero, else NaN.

use std::ops::AddAssign;

use pulp::Arch;
use safetensors::Dtype;
use serde::Serialize;

use super::parallel::{self, BLOCK};
use super::{Checkpoint, TensorInfo};
use crate::error::Result;

/// How many of a tensor's values are none that a weight should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Values {
    /// NaN.
    pub nan: u64,
    /// Infinite.
    pub infinite: u64,
    /// Booleans whose byte is neither 0 nor 1.
    pub no_bool: u64,
}

impl AddAssign for Values {
    fn add_assign(&mut self, other: Self) {
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.no_bool += other.no_bool;
    }
}

impl Checkpoint {
    /// Counts each tensor's NaN and infinite values; of complex numbers, those of the parts.
    ///
    /// They are counted 65,536 tensors at a time, as the iterator comes to them. An item is an error where a tensor cannot
    /// be read: its file changed, or ends before it.
    pub fn count_values<'a>(
        &'a self,
        tensors: &'a [&TensorInfo],
    ) -> impl Iterator<Item = Result<Values>> {
        let arch = Arch::new();
        parallel::map(
            tensors,
            || vec![0; BLOCK],
            move |buffer, tensor| {
                let mut values = Values::default();
                if has_odd_values(tensor.dtype) {
                    self.for_blocks(tensor, buffer, |block| {
                        values += arch.dispatch(|| count(tensor.dtype, block));
                        Ok(())
                    })?;
                }
                Ok(values)
            },
        )
    }
}

/// Whether there are bits of that dtype that are no number.
fn has_odd_values(dtype: Dtype) -> bool {
    use Dtype::{
        BF16, BOOL, C64, F8_E4M3, F8_E4M3FNUZ, F8_E5M2, F8_E5M2FNUZ, F8_E8M0, F16, F32, F64,
    };
    matches!(
        dtype,
        BOOL | F8_E4M3
            | F8_E4M3FNUZ
            | F8_E5M2
            | F8_E5M2FNUZ
            | F8_E8M0
            | F16
            | BF16
            | F32
            | C64
            | F64
    )
}

#[inline(always)]
fn count(dtype: Dtype, bytes: &[u8]) -> Values {
    match dtype {
        Dtype::F32 | Dtype::C64 => floats(bytes, u32::from_le_bytes, 0x7f80_0000, u32::MAX >> 1),
        Dtype::F16 => floats(bytes, u16::from_le_bytes, 0x7c00, 0x7fff),
        Dtype::BF16 => floats(bytes, u16::from_le_bytes, 0x7f80, 0x7fff),
        Dtype::F64 => floats(bytes, u64::from_le_bytes, 0x7ff0_0000_0000_0000, u64::MAX >> 1),
        Dtype::F8_E5M2 => floats(bytes, u8::from_le_bytes, 0x7c, 0x7f),
        // No infinity, and one NaN of each sign.
        Dtype::F8_E4M3 => nan(bytes, |byte| byte & 0x7f == 0x7f),
        // The negative zero is the NaN.
        Dtype::F8_E4M3FNUZ | Dtype::F8_E5M2FNUZ => nan(bytes, |byte| byte == 0x80),
        Dtype::F8_E8M0 => nan(bytes, |byte| byte == 0xff),
        Dtype::BOOL => Values {
            no_bool: matching(bytes, u8::from_le_bytes, |byte| byte > 1),
            ..Values::default()
        },
        _ => Values::default(),
    }
}

#[inline(always)]
fn nan(bytes: &[u8], is_nan: impl Fn(u8) -> bool) -> Values {
    Values { nan: matching(bytes, u8::from_le_bytes, is_nan), ..Values::default() }
}

/// Counts by the bits of +∞ and those of all but the sign.
#[inline(always)]
fn floats<const N: usize, U: Copy + Ord + std::ops::BitAnd<Output = U>>(
    bytes: &[u8],
    bits: impl Fn([u8; N]) -> U + Copy,
    infinity: U,
    magnitude: U,
) -> Values {
    let odd = matching(bytes, bits, |bits| bits & magnitude >= infinity);
    // Nearly always there is none, and one pass does.
    let infinite = match odd {
        0 => 0,
        _ => matching(bytes, bits, |bits| bits & magnitude == infinity),
    };
    Values { nan: odd - infinite, infinite, no_bool: 0 }
}

/// How many of the numbers are so. In runs whose count fits into a byte, which vectors count fastest.
#[inline(always)]
fn matching<const N: usize, U>(
    bytes: &[u8],
    bits: impl Fn([u8; N]) -> U,
    is_so: impl Fn(U) -> bool,
) -> u64 {
    let (numbers, _) = bytes.as_chunks::<N>();
    let run = |run: &[[u8; N]]| run.iter().map(|&bytes| u32::from(is_so(bits(bytes)))).sum::<u32>();
    numbers.chunks(1 << 16).map(|numbers| u64::from(run(numbers))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every count of 16-bit and 8-bit patterns against the definition by widening.
    #[test]
    fn every_pattern_of_the_small_formats_is_told_right() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let by = |is: &dyn Fn(u16) -> f32| {
            let values: Vec<f32> = (0..=u16::MAX).map(is).collect();
            let nan = values.iter().filter(|x| x.is_nan()).count() as u64;
            let infinite = values.iter().filter(|x| x.is_infinite()).count() as u64;
            Values { nan, infinite, no_bool: 0 }
        };
        let half = |bits| half::f16::from_bits(bits).to_f32();
        let brain = |bits| half::bf16::from_bits(bits).to_f32();
        assert_eq!(count(Dtype::F16, &all), by(&half));
        assert_eq!(count(Dtype::BF16, &all), by(&brain));
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let of = |nan, infinite| Values { nan, infinite, no_bool: 0 };
        assert_eq!(count(Dtype::F8_E5M2, &bytes), of(6, 2));
        assert_eq!(count(Dtype::F8_E4M3, &bytes), of(2, 0));
        assert_eq!(count(Dtype::F8_E4M3FNUZ, &bytes), of(1, 0));
        assert_eq!(count(Dtype::F8_E5M2FNUZ, &bytes), of(1, 0));
        assert_eq!(count(Dtype::F8_E8M0, &bytes), of(1, 0));
        assert_eq!(count(Dtype::BOOL, &bytes).no_bool, 254);
        assert_eq!(count(Dtype::I8, &bytes), of(0, 0));
    }

    #[test]
    fn wide_formats_are_told_by_all_their_bits() {
        let single = [f32::NAN, -f32::INFINITY, f32::MAX, 0.0, -0.0, f32::from_bits(0x7f80_0001)];
        let bytes: Vec<u8> = single.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(count(Dtype::F32, &bytes), Values { nan: 2, infinite: 1, no_bool: 0 });
        let double =
            [f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, f64::from_bits((0x7ff << 52) | 1)];
        let bytes: Vec<u8> = double.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(count(Dtype::F64, &bytes), Values { nan: 1, infinite: 1, no_bool: 0 });
    }
}
