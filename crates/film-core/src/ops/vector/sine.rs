//! Sine and cosine of many numbers.
//!
//! x = n·π/2 + r with |r| ≤ π/4: the value is ± sin r or ± cos r, as n says. n·π/2 is taken away in three parts, the
//! first two of so few bits that their products with n are exact (Cody & Waite 1980): with or without fused
//! multiply-adds, r is rounded once. The polynomials are fitted to 2e-9.
//!
//! The absolute error is below 1e-7 for |x| ≤ [`LIMIT`]; larger arguments, infinities and NaN go to `libm`.

use std::f32::consts::FRAC_2_PI;

use pulp::Simd;

use super::polynomial::polynomial;

/// The largest |x| that is reduced by vectors.
const LIMIT: f32 = 12_000.0;
/// π/2 in three parts.
const HALF_PI: [f32; 3] = [1.570_312_5, 4.835_128_8e-4, 3.139_164_7e-7];
/// sin r = r + r³ · (c₀ + c₁ r² + c₂ r⁴).
const SINE: [f32; 3] = [-0.166_666_52, 0.008_331_997, -1.949_501_2e-4];
/// cos r = 1 − r²/2 + r⁴ · (c₀ + c₁ r² + c₂ r⁴).
const COSINE: [f32; 3] = [0.041_666_646, -0.001_388_736_4, 2.443_799_2e-5];
/// 1.5 · 2²³: adding it rounds to an integer, which stands in the last bits.
const ROUND: f32 = 12_582_912.0;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wave {
    Sine,
    Cosine,
}

/// Replaces each number by its sine or cosine.
#[inline(always)]
pub(crate) fn wave<S: Simd>(simd: S, wave: Wave, values: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for vector in vectors {
        *vector = one(simd, wave, *vector);
    }
    if !rest.is_empty() {
        let last = one(simd, wave, simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, last);
    }
}

#[inline(always)]
fn one<S: Simd>(simd: S, wave: Wave, x: S::f32s) -> S::f32s {
    let small = simd.less_than_or_equal_f32s(simd.abs_f32s(x), simd.splat_f32s(LIMIT));
    let mut value = reduced(simd, wave, x);
    // Numbers that are not small, or not numbers, are computed one by one.
    if simd.first_true_m32s(simd.not_m32s(small)) != S::F32_LANES {
        value = x;
        one_by_one(wave, bytemuck::cast_slice_mut(std::slice::from_mut(&mut value)));
    }
    value
}

#[cold]
fn one_by_one(wave: Wave, values: &mut [f32]) {
    for value in values {
        *value = match wave {
            Wave::Sine => libm::sinf(*value),
            Wave::Cosine => libm::cosf(*value),
        };
    }
}

/// The sine or cosine of numbers within the limit.
#[inline(always)]
fn reduced<S: Simd>(simd: S, wave: Wave, x: S::f32s) -> S::f32s {
    let [two_by_pi, round, half, one] =
        [FRAC_2_PI, ROUND, -0.5, 1.0].map(|value| simd.splat_f32s(value));
    let [first, second, no_bits] = [1, 2, 0].map(|value| simd.splat_u32s(value));
    let rounded = simd.add_f32s(simd.mul_f32s(x, two_by_pi), round);
    let n = simd.sub_f32s(rounded, round);
    let mut r = x;
    for part in HALF_PI {
        r = simd.negate_mul_add_e_f32s(n, simd.splat_f32s(part), r);
    }
    let square = simd.mul_f32s(r, r);
    let sine = simd.mul_f32s(polynomial(simd, &SINE, square), square);
    let sine = simd.mul_add_e_f32s(sine, r, r);
    let cosine = simd.mul_add_e_f32s(polynomial(simd, &COSINE, square), square, half);
    let cosine = simd.mul_add_e_f32s(cosine, square, one);
    // cos x = sin (x + π/2): one quadrant further. Odd quadrants have the cosine, the last two of four the sign.
    let quadrant = simd.transmute_u32s_f32s(rounded);
    let quadrant = match wave {
        Wave::Sine => quadrant,
        Wave::Cosine => simd.add_u32s(quadrant, first),
    };
    let even = simd.equal_u32s(simd.and_u32s(quadrant, first), no_bits);
    let value = simd.transmute_u32s_f32s(simd.select_f32s(even, sine, cosine));
    let sign = simd.wrapping_dyn_shl_u32s(simd.and_u32s(quadrant, second), simd.splat_u32s(30));
    simd.transmute_f32s_u32s(simd.xor_u32s(value, sign))
}
