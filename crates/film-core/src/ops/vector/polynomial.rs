//! Polynomials of many numbers.

use pulp::Simd;

/// Σ coefficients\[k\] · xᵏ, by Horner's rule.
#[inline(always)]
pub(super) fn polynomial<S: Simd>(simd: S, coefficients: &[f32], x: S::f32s) -> S::f32s {
    let [rest @ .., last] = coefficients else { return simd.splat_f32s(0.0) };
    let mut sum = simd.splat_f32s(*last);
    for coefficient in rest.iter().rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(*coefficient));
    }
    sum
}
