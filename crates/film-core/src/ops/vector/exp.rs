//! The exponential of many numbers, none of them positive.

use std::f32::consts::LOG2_E;

use pulp::Simd;

use super::polynomial::polynomial;

/// Below it the exponential is 0: the least normal number is about exp(−87.3).
const LEAST: f32 = -87.0;
/// ln 2 in two parts, the first of so few bits that its multiples are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// exp r = 1 + r + r² · (c₀ + c₁ r + …) on |r| ≤ ln 2/2, fitted to 3e-9.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_5];
/// 1.5 · 2²³: adding it rounds to an integer, which stands in the last bits.
const ROUND: f32 = 12_582_912.0;

/// exp x for x ≤ 0, within 1e-7; 0 below −87. What is no number stays none.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let [log2_e, round, least, zero, one] =
        [LOG2_E, ROUND, LEAST, 0.0, 1.0].map(|value| simd.splat_f32s(value));
    let rounded = simd.mul_add_e_f32s(simd.max_f32s(x, least), log2_e, round);
    let n = simd.sub_f32s(rounded, round);
    let r = simd.negate_mul_add_e_f32s(n, simd.splat_f32s(LN_2[0]), x);
    let r = simd.negate_mul_add_e_f32s(n, simd.splat_f32s(LN_2[1]), r);
    let square = simd.mul_f32s(r, r);
    let value = simd.mul_add_e_f32s(polynomial(simd, &EXP, r), square, r);
    let value = simd.transmute_u32s_f32s(simd.add_f32s(value, one));
    // Times 2ⁿ: n more in the exponent.
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    let value = simd.transmute_f32s_u32s(simd.add_u32s(value, power));
    let value = simd.select_f32s(simd.less_than_f32s(x, least), zero, value);
    simd.select_f32s(simd.equal_f32s(x, x), value, x)
}
