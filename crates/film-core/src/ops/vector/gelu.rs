//! The exact GELU, x · Φ(x), of many numbers.
//!
//! Φ(−a) for a ≥ 0 is ½ − a · P(a²) below 2 and a polynomial in a from there on, both fitted to 1e-8, and 0 from 5.75
//! on. With it x · Φ(x) is x · Φ(−|x|) for negative x and x − x · Φ(−|x|) else.

use pulp::Simd;

/// P, on 0 to 4.
const NEAR: [f32; 8] = [
    0.398_942_26,
    -0.066_490_19,
    0.009_972_866,
    -0.001_186_206_7,
    0.000_114_461_3,
    -8.957_109e-6,
    5.219_362e-7,
    -1.666_651_7e-8,
];
/// Φ(−a), by (a − 3.875)/1.875 on 2 to 5.75.
const FAR: [f32; 13] = [
    5.331_392e-5,
    -0.000_410_366_1,
    0.001_491_12,
    -0.003_374_853_6,
    0.005_251_568,
    -0.005_819_887,
    0.004_612_045_6,
    -0.002_458_59,
    0.000_427_550_5,
    0.000_672_740_16,
    -0.000_530_798_7,
    1.590_375_7e-5,
    7.027_835e-5,
];
const START: f32 = 2.0;
const END: f32 = 5.75;

/// Replaces each number by its GELU.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, values: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for value in vectors {
        *value = one(simd, *value);
    }
    if !rest.is_empty() {
        let value = one(simd, simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, value);
    }
}

#[inline(always)]
fn one<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |value: f32| simd.splat_f32s(value);
    let polynomial = |coefficients: &[f32], x: S::f32s| {
        let [rest @ .., last] = coefficients else { return splat(0.0) };
        let mut sum = splat(*last);
        for coefficient in rest.iter().rev() {
            sum = simd.mul_add_e_f32s(sum, x, splat(*coefficient));
        }
        sum
    };
    let a = simd.abs_f32s(x);
    let near = polynomial(&NEAR, simd.mul_f32s(a, a));
    let near = simd.negate_mul_add_e_f32s(near, a, splat(0.5));
    let centred =
        simd.mul_f32s(simd.sub_f32s(a, splat((START + END) / 2.0)), splat(2.0 / (END - START)));
    let far = polynomial(&FAR, centred);
    let tail = simd.select_f32s(simd.less_than_f32s(a, splat(START)), near, far);
    let tail = simd.select_f32s(simd.less_than_f32s(a, splat(END)), tail, splat(0.0));
    let below = simd.mul_f32s(x, tail);
    let above = simd.sub_f32s(x, below);
    simd.select_f32s(simd.less_than_f32s(x, splat(0.0)), below, above)
}
