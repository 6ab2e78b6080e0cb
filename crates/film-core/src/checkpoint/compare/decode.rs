//! Stored bytes → numbers.

use half::{bf16, f16};
use safetensors::Dtype;

use super::super::cast::byte;

/// As what the values of a dtype are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As float64, which holds all of them.
    Float,
    /// As 128-bit integers, which hold all of them. Booleans are their bytes.
    Integer,
    /// As bytes: a format that is not known here as numbers.
    Opaque,
}

impl Kind {
    pub(super) fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 | Dtype::F32 | Dtype::C64 | Dtype::F16 | Dtype::BF16 => Self::Float,
            Dtype::F8_E5M2 | Dtype::F8_E4M3 | Dtype::F8_E8M0 => Self::Float,
            Dtype::F8_E5M2FNUZ | Dtype::F8_E4M3FNUZ => Self::Float,
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 => Self::Integer,
            Dtype::U32 | Dtype::I32 | Dtype::U64 | Dtype::I64 => Self::Integer,
            _ => Self::Opaque,
        }
    }
}

/// The values of a [`Kind::Float`] dtype, into `out`.
pub(super) fn floats(dtype: Dtype, bytes: &[u8], out: &mut Vec<f64>) {
    out.clear();
    match dtype {
        Dtype::F64 => each(bytes, out, f64::from_le_bytes),
        Dtype::F32 | Dtype::C64 => each(bytes, out, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Dtype::BF16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        _ => {
            let numbers: [f64; 256] = std::array::from_fn(|bits| byte(bits as u8, dtype).into());
            each(bytes, out, |[bits]| numbers[usize::from(bits)]);
        }
    }
}

/// The values of a [`Kind::Integer`] dtype, or the bytes of another, into `out`.
pub(super) fn integers(dtype: Dtype, bytes: &[u8], out: &mut Vec<i128>) {
    out.clear();
    match dtype {
        Dtype::I8 => each(bytes, out, |[byte]| i8::from_le_bytes([byte]).into()),
        Dtype::U16 => each(bytes, out, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::I16 => each(bytes, out, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::U32 => each(bytes, out, |bytes| u32::from_le_bytes(bytes).into()),
        Dtype::I32 => each(bytes, out, |bytes| i32::from_le_bytes(bytes).into()),
        Dtype::U64 => each(bytes, out, |bytes| u64::from_le_bytes(bytes).into()),
        Dtype::I64 => each(bytes, out, |bytes| i64::from_le_bytes(bytes).into()),
        _ => each(bytes, out, |[byte]| byte.into()),
    }
}

fn each<const N: usize, T>(bytes: &[u8], out: &mut Vec<T>, decode: impl Fn([u8; N]) -> T) {
    let (numbers, _) = bytes.as_chunks::<N>();
    out.extend(numbers.iter().map(|&bytes| decode(bytes)));
}
