//! The exact GELU, x · Φ(x), and its slope, of many numbers.
//!
//! Φ and the slope, Φ(x) + x φ(x), are ½ plus an odd function each. So what is fitted is the function at −a for a ≥ 0:
//! ½ − a · P(a²) below 2, a polynomial in a from there on, and 0 from 5.75 on; at a it is 1 minus that. The fits are
//! within 3e-8, and the slope at −5.75 is −1.5e-7.

use pulp::Simd;

use super::polynomial::polynomial;

/// A function that rises from 0 to 1, symmetrical about ½.
struct Step {
    /// P, on 0 to 4.
    near: &'static [f32],
    /// The function at −a, by (a − 3.875)/1.875 on 2 to 5.75.
    far: &'static [f32],
}

const PHI: Step = Step {
    near: &[
        0.398_942_26,
        -0.066_490_19,
        0.009_972_866,
        -0.001_186_206_7,
        0.000_114_461_3,
        -8.957_109e-6,
        5.219_362e-7,
        -1.666_651_7e-8,
    ],
    far: &[
        5.331_392e-5,
        -0.000_410_366_1,
        0.001_491_12,
        -0.003_374_853_6,
        0.005_251_568,
        -0.005_819_887,
        0.004_612_045_5,
        -0.002_458_59,
        0.000_427_550_5,
        0.000_672_740_16,
        -0.000_530_798_7,
        1.590_375_7e-5,
        7.027_835e-5,
    ],
};
const SLOPE: Step = Step {
    near: &[
        0.797_884_5,
        -0.265_961_3,
        0.059_840_26,
        -0.009_496_401,
        0.001_151_855_1,
        -0.000_111_678_88,
        8.644_43e-6,
        -4.875_76e-7,
        1.475_690_9e-8,
    ],
    far: &[
        -0.000_795_018_86,
        0.005_342_825,
        -0.016_430_043,
        0.029_913_314,
        -0.034_159_694,
        0.022_215_592,
        -0.001_934_961_6,
        -0.012_220_313,
        0.013_453_267,
        -0.005_198_097,
        -0.002_619_644_9,
        0.002_957_194_6,
        -0.000_129_908_05,
        -0.000_394_687_8,
    ],
};
const START: f32 = 2.0;
const END: f32 = 5.75;

/// Replaces each number by its GELU.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, values: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for x in vectors {
        *x = simd.mul_f32s(*x, step(simd, &PHI, *x));
    }
    if !rest.is_empty() {
        let x = simd.partial_load_f32s(rest);
        simd.partial_store_f32s(rest, simd.mul_f32s(x, step(simd, &PHI, x)));
    }
}

/// Replaces each number by the slope of GELU there.
#[inline(always)]
pub(crate) fn gelu_slope<S: Simd>(simd: S, values: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for x in vectors {
        *x = step(simd, &SLOPE, *x);
    }
    if !rest.is_empty() {
        let x = simd.partial_load_f32s(rest);
        simd.partial_store_f32s(rest, step(simd, &SLOPE, x));
    }
}

#[inline(always)]
fn step<S: Simd>(simd: S, step: &Step, x: S::f32s) -> S::f32s {
    let [half, one, zero] = [0.5, 1.0, 0.0].map(|value| simd.splat_f32s(value));
    let end = simd.splat_f32s(END);
    let a = simd.abs_f32s(x);
    let near = polynomial(simd, step.near, simd.mul_f32s(a, a));
    let near = simd.negate_mul_add_e_f32s(near, a, half);
    let centred = simd.sub_f32s(a, simd.splat_f32s((START + END) / 2.0));
    let centred = simd.mul_f32s(centred, simd.splat_f32s(2.0 / (END - START)));
    let far = polynomial(simd, step.far, centred);
    let tail = simd.select_f32s(simd.less_than_f32s(a, simd.splat_f32s(START)), near, far);
    // What is no number stays none.
    let tail = simd.select_f32s(simd.less_than_f32s(end, a), zero, tail);
    simd.select_f32s(simd.less_than_f32s(x, zero), tail, simd.sub_f32s(one, tail))
}
