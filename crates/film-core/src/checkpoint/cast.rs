//! Floating-point numbers from one stored dtype to another.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// As many elements are converted at once.
const BLOCK: usize = 1024;

/// A conversion of stored floating-point numbers.
///
/// Rounds to nearest, ties to even. float64 goes to the halves by way of float32, as PyTorch's `to` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    from: Dtype,
    to: Dtype,
}

impl Cast {
    /// From one dtype to F64, F32, F16 or BF16; `None` for dtypes that are not floating point (integers,
    /// booleans, complex numbers) or have less than a byte an element: they stay as they are.
    pub fn new(from: Dtype, to: Dtype) -> Option<Self> {
        use Dtype::{BF16, F8_E4M3, F8_E4M3FNUZ, F8_E5M2, F8_E5M2FNUZ, F8_E8M0, F16, F32, F64};
        let from_is_known = matches!(
            from,
            F64 | F32 | F16 | BF16 | F8_E4M3 | F8_E5M2 | F8_E4M3FNUZ | F8_E5M2FNUZ | F8_E8M0
        );
        let to_is_known = matches!(to, F64 | F32 | F16 | BF16);
        (from_is_known && to_is_known).then_some(Self { from, to })
    }

    /// Converts whole elements, little-endian; `converted` then holds them and nothing else. Returns how many finite
    /// numbers became infinite.
    pub fn apply(self, bytes: &[u8], converted: &mut Vec<u8>) -> u64 {
        converted.clear();
        if self.from == self.to {
            converted.extend_from_slice(bytes);
            return 0;
        }
        let size = self.from.bitsize() / 8;
        let table = (size == 1).then(|| std::array::from_fn(|bits| byte(bits as u8, self.from)));
        let mut wide = [0.0; BLOCK];
        let mut overflowed = 0;
        for bytes in bytes.chunks(BLOCK * size) {
            let wide = &mut wide[..bytes.len() / size];
            let finite = match &table {
                Some(table) => look_up(bytes, table, wide),
                None => widen(bytes, self.from, wide),
            };
            overflowed += finite - narrow(wide, self.to, converted);
        }
        overflowed as u64
    }
}

/// Puts the numbers of a byte each into `wide`; how many are finite.
fn look_up(bytes: &[u8], table: &[f32; 256], wide: &mut [f32]) -> usize {
    wide.iter_mut().zip(bytes).for_each(|(wide, &bits)| *wide = table[usize::from(bits)]);
    wide.iter().filter(|x| x.is_finite()).count()
}

/// Puts the numbers into `wide`; how many are finite.
fn widen(bytes: &[u8], from: Dtype, wide: &mut [f32]) -> usize {
    match from {
        Dtype::F64 => {
            let numbers = bytes.as_chunks::<8>().0.iter().map(|&x| f64::from_le_bytes(x));
            wide.iter_mut().zip(numbers.clone()).for_each(|(wide, x)| *wide = x as f32);
            // Large ones are infinite in float32.
            return numbers.filter(|x| x.is_finite()).count();
        }
        Dtype::F32 => {
            let numbers = bytes.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x));
            wide.iter_mut().zip(numbers).for_each(|(wide, x)| *wide = x);
        }
        Dtype::F16 => {
            let halves = bytes.as_chunks::<2>().0.iter().map(|&x| f16::from_le_bytes(x));
            wide.iter_mut().zip(halves).for_each(|(wide, x)| *wide = x.to_f32());
        }
        _ => {
            let halves = bytes.as_chunks::<2>().0.iter().map(|&x| bf16::from_le_bytes(x));
            wide.iter_mut().zip(halves).for_each(|(wide, x)| *wide = x.to_f32());
        }
    }
    wide.iter().filter(|x| x.is_finite()).count()
}

/// Appends the numbers in `to`; how many are finite there.
fn narrow(wide: &[f32], to: Dtype, converted: &mut Vec<u8>) -> usize {
    match to {
        Dtype::F64 => converted.extend(wide.iter().flat_map(|&x| f64::from(x).to_le_bytes())),
        Dtype::F16 => {
            let mut narrow = [f16::ZERO; BLOCK];
            let narrow = &mut narrow[..wide.len()];
            narrow.convert_from_f32_slice(wide);
            converted.extend(narrow.iter().flat_map(|x| x.to_le_bytes()));
            return narrow.iter().filter(|x| x.is_finite()).count();
        }
        Dtype::BF16 => {
            let mut narrow = [bf16::ZERO; BLOCK];
            let narrow = &mut narrow[..wide.len()];
            narrow.convert_from_f32_slice(wide);
            converted.extend(narrow.iter().flat_map(|x| x.to_le_bytes()));
            return narrow.iter().filter(|x| x.is_finite()).count();
        }
        _ => converted.extend(wide.iter().flat_map(|x| x.to_le_bytes())),
    }
    wide.iter().filter(|x| x.is_finite()).count()
}

/// The number that a byte is, in one of the formats of 8 bits.
///
/// E4M3 and E5M2: Micikevicius et al., "FP8 formats for deep learning" (arXiv 2209.05433). FNUZ, with neither
/// infinities nor a negative zero: Noune et al., "8-bit numerical formats for deep neural networks" (arXiv
/// 2206.02915). E8M0, powers of two: the OCP microscaling formats, version 1.0.
pub(super) fn byte(bits: u8, dtype: Dtype) -> f32 {
    let (mantissa_bits, bias) = match dtype {
        Dtype::F8_E4M3 => (3, 7),
        Dtype::F8_E4M3FNUZ => (3, 8),
        Dtype::F8_E5M2 => (2, 15),
        Dtype::F8_E5M2FNUZ => (2, 16),
        _ if bits == 0xff => return f32::NAN,
        _ => return 2f64.powi(i32::from(bits) - 127) as f32,
    };
    let infinity = match (dtype, bits & 0x7f) {
        (Dtype::F8_E4M3, 0x7f) => return f32::NAN,
        (Dtype::F8_E4M3FNUZ | Dtype::F8_E5M2FNUZ, 0) if bits == 0x80 => return f32::NAN,
        (Dtype::F8_E5M2, 0x7d..) => return f32::NAN,
        (Dtype::F8_E5M2, 0x7c) => true,
        _ => false,
    };
    let exponent = i32::from((bits & 0x7f) >> mantissa_bits);
    let mantissa = f64::from(bits & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
    let size = match exponent {
        _ if infinity => f64::INFINITY,
        0 => mantissa * 2f64.powi(1 - bias),
        _ => (1.0 + mantissa) * 2f64.powi(exponent - bias),
    };
    (if bits & 0x80 == 0 { size } else { -size }) as f32
}
