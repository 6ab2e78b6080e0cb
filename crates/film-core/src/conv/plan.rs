//! Which way is faster on the CPU, by a cost model.

use super::Algorithm;
use super::axis::Axis;
use super::fft;

/// Nanoseconds for a product of the direct sum, per channel.
const PRODUCT: f64 = 0.025;
/// Nanoseconds for a point times the logarithm of its transform's length.
const BUTTERFLY: f64 = 0.25;
/// Nanoseconds for a point of a transform besides.
const POINT: f64 = 1.0;

/// The faster of the direct sum and the transforms.
pub(super) fn choose(axes: &[Axis]) -> Algorithm {
    if direct(axes) <= transforms(axes) { Algorithm::Direct } else { Algorithm::Fft }
}

/// Estimated nanoseconds a channel of the direct sum.
fn direct(axes: &[Axis]) -> f64 {
    let products = |axis: &Axis| axis.clone().unrolled().products();
    axes.iter().map(products).product::<f64>() * PRODUCT
}

/// Estimated nanoseconds a channel of the transforms.
fn transforms(axes: &[Axis]) -> f64 {
    let points: f64 = axes.iter().map(|axis| fft::length(axis) as f64).product();
    points * (points.log2() * BUTTERFLY + POINT)
}
