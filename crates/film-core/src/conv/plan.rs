//! Which way is faster on the CPU, by a cost model.
//!
//! The first two constants are fitted to `cargo bench -p film-core --bench conv -- "conv_1d|conv_2d"` on two cores with
//! AVX2; that of awkward lengths, which circular axes alone can have, is an estimate. Both ways are spread over the
//! threads alike, so only the ratio counts.

use super::Algorithm;
use super::axis::Axis;
use super::fft;

/// Nanoseconds for a product of the direct sum.
const PRODUCT: f64 = 0.035;
/// Nanoseconds for a point of the transforms, along one axis and along several.
const POINT: [f64; 2] = [6.3, 7.3];
/// How much longer a transform takes whose length has a large prime factor.
const AWKWARD: f64 = 4.0;

/// The faster of the direct sum and the transforms.
pub(super) fn choose(axes: &[Axis]) -> Algorithm {
    let ways = [Algorithm::Direct, Algorithm::Fft];
    if cost(axes, ways[0]) <= cost(axes, ways[1]) { ways[0] } else { ways[1] }
}

/// Estimated nanoseconds that a channel of a sample takes one thread.
pub(super) fn cost(axes: &[Axis], algorithm: Algorithm) -> f64 {
    if algorithm == Algorithm::Direct {
        return axes.iter().map(Axis::products).product::<f64>() * PRODUCT;
    }
    let lengths = || axes.iter().map(fft::length);
    let points: f64 = lengths().map(|length| length as f64).product();
    let awkward = if lengths().all(fft::factors_well) { 1.0 } else { AWKWARD };
    points * POINT[usize::from(axes.len() > 1)] * awkward
}
