//! The definition of the convolution, term by term in float64: what the fast paths are held to.

use candle_core::WithDType;

use super::Channels;
use super::axis::{Boundary, Kind};
use super::op::Sizes;
use super::real::Real;

/// The sum `kind` of its two operands, as [`Sizes`] lays them out.
pub(super) fn sum<T: Real>(sizes: &Sizes, kind: Kind, first: &[T], second: &[T]) -> Vec<T> {
    let output = match kind {
        Kind::Output | Kind::SignalGradient => sizes.signal(),
        Kind::KernelGradient => sizes.kernel(),
    };
    let mut sums = vec![0.0; output.len()];
    let points: usize = sizes.spatial.iter().product();
    let kernel_points: usize = sizes.points.iter().product();
    let [first, second] = [first, second]
        .map(|values| values.iter().map(|value| value.to_f64()).collect::<Vec<f64>>());
    for (n, j) in (0..points).flat_map(|n| (0..kernel_points).map(move |j| (n, j))) {
        let Some(m) = input(sizes, n, j) else { continue };
        for (sample, channel) in
            (0..sizes.batch).flat_map(|b| (0..sizes.channels).map(move |c| (b, c)))
        {
            let at = |point| match sizes.order {
                Channels::Last => (sample * points + point) * sizes.channels + channel,
                Channels::First => (sample * sizes.channels + channel) * points + point,
            };
            let kernel = if sizes.kernel_batch == 1 { 0 } else { sample };
            let kernel = (kernel * kernel_points + j) * sizes.channels + channel;
            match kind {
                Kind::Output => sums[at(n)] += first[at(m)] * second[kernel],
                Kind::SignalGradient => sums[at(m)] += first[at(n)] * second[kernel],
                Kind::KernelGradient => sums[kernel] += first[at(n)] * second[at(m)],
            }
        }
    }
    sums.into_iter().map(<T as WithDType>::from_f64).collect()
}

/// The input point that kernel point `j` multiplies for output point `n`, if it is not beyond an end.
fn input(sizes: &Sizes, mut n: usize, mut j: usize) -> Option<usize> {
    let (mut flat, mut stride) = (0, 1);
    for axis in (0..sizes.spatial.len()).rev() {
        let (length, points) = (sizes.spatial[axis], sizes.points[axis]);
        let boundary = sizes.boundaries[axis];
        let place = (n % length + boundary.origin(points)) as i64 - (j % points) as i64;
        (n, j) = (n / length, j / points);
        let place = match boundary {
            Boundary::Circular => place.rem_euclid(length as i64) as usize,
            _ => usize::try_from(place).ok().filter(|place| *place < length)?,
        };
        flat += place * stride;
        stride *= length;
    }
    Some(flat)
}
