//! The sums by the convolution theorem: real transforms of both operands, their product, and back.
//!
//! One channel at a time, in buffers that are used again for the next.

use std::sync::Arc;

use candle_core::WithDType;
use film_fft::{Complex, ComplexPair, Fft, RealPair};

use super::axis::Axis;
use super::real::Real;

/// Columns that are gathered for a transform along another axis than the last.
const COLUMNS: usize = 8;
/// How much longer than an even one a transform of an odd length takes.
const ODD: f64 = 1.6;

/// The least length at or above `least` that factors well: 1, 3, 5, 9 or 15 times a power of 2.
pub(super) fn good_length(least: usize) -> usize {
    let fitting = [1usize, 3, 5, 9, 15].map(|odd| {
        let power = least.div_ceil(odd).next_power_of_two();
        // An even length lets the real transform run at half of it.
        odd * if least > 1 { power.max(2) } else { power }
    });
    fitting.into_iter().min().unwrap_or(least)
}

/// Whether a length has only prime factors with fast transforms of their own.
fn factors_well(length: usize) -> bool {
    let left = [2, 3, 5, 7, 11].iter().fold(length, |mut left, prime| {
        while left > 1 && left.is_multiple_of(*prime) {
            left /= prime;
        }
        left
    });
    left == 1
}

/// What a transform of `length` costs beside one of a good length, a point.
pub(super) fn weight(length: usize) -> f64 {
    if length.is_multiple_of(2) { 1.0 } else { ODD }
}

/// The length at which an axis is transformed: a ring's own where it factors well, unless it takes less to unroll it.
pub(super) fn length(axis: &Axis) -> usize {
    let unrolled = good_length(axis.least_transform());
    let own = axis.period.filter(|&period| {
        factors_well(period) && period as f64 * weight(period) <= unrolled as f64
    });
    own.unwrap_or(unrolled)
}

/// The axis as it is transformed.
pub(super) fn transformed(axis: Axis) -> Axis {
    if axis.period == Some(length(&axis)) { axis } else { axis.unrolled() }
}

/// An axis that is not the last.
struct Outer<T> {
    transforms: ComplexPair<T>,
    length: usize,
}

/// The plans for a grid.
pub(super) struct Transforms<T> {
    axes: Vec<Axis>,
    outer: Vec<Outer<T>>,
    last: RealPair<T>,
    /// Points of the last axis, and of its spectrum.
    length: usize,
    half: usize,
}

/// A thread's buffers.
pub(super) struct Buffers<T> {
    row: Vec<T>,
    columns: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Transforms<T> {
    /// Plans the transforms for the sums over `axes`.
    pub(super) fn new(axes: Vec<Axis>) -> Option<Self> {
        let (last, outer) = axes.split_last()?;
        let outer = outer.iter().map(|axis| {
            let length = length(axis);
            Outer { transforms: T::complex_pair(length), length }
        });
        let (outer, length) = (outer.collect(), length(last));
        Some(Self { outer, last: T::real_pair(length), length, half: length / 2 + 1, axes })
    }

    /// Points of a spectrum.
    pub(super) fn spectrum(&self) -> usize {
        self.outer.iter().map(|axis| axis.length).product::<usize>() * self.half
    }

    /// Buffers for one thread.
    pub(super) fn buffers(&self) -> Buffers<T> {
        let scratch = |plan: &Arc<dyn Fft<T>>| plan.get_inplace_scratch_len();
        let outer = self.outer.iter().flat_map(|axis| {
            let pair = &axis.transforms;
            [scratch(&pair.forward), scratch(&pair.inverse)]
        });
        let real = [self.last.forward.get_scratch_len(), self.last.inverse.get_scratch_len()];
        let zero = Complex::new(T::zero(), T::zero());
        Buffers {
            row: vec![T::zero(); self.length],
            columns: vec![
                zero;
                COLUMNS * self.outer.iter().map(|axis| axis.length).max().unwrap_or(0)
            ],
            scratch: vec![zero; outer.chain(real).max().unwrap_or(0)],
        }
    }

    /// The spectrum of an operand with `extents` points an axis.
    pub(super) fn forward(
        &self,
        operand: &[T],
        extents: &[usize],
        spectrum: &mut [Complex<T>],
        buffers: &mut Buffers<T>,
    ) {
        spectrum.fill(Complex::new(T::zero(), T::zero()));
        let (width, outer) = match extents.split_last() {
            Some((&width, outer)) => (width, outer),
            None => return,
        };
        let places: Vec<Vec<usize>> = outer.iter().map(|&extent| (0..extent).collect()).collect();
        for (row, at) in operand.chunks_exact(width).zip(self.places(&places)) {
            buffers.row[..width].copy_from_slice(row);
            buffers.row[width..].fill(T::zero());
            let target = &mut spectrum[at * self.half..][..self.half];
            // The lengths are the plan's own, so it has no error to give.
            let forward = &self.last.forward;
            let _ = forward.process_with_scratch(&mut buffers.row, target, &mut buffers.scratch);
        }
        for axis in (0..self.outer.len()).rev() {
            let forward = &self.outer[axis].transforms.forward;
            self.along(axis, forward, &places[..axis], spectrum, buffers);
        }
    }

    /// The output out of a spectrum, which is used up; its points are added to `out`.
    pub(super) fn inverse(
        &self,
        spectrum: &mut [Complex<T>],
        out: &mut [T],
        buffers: &mut Buffers<T>,
    ) {
        let window = |axis: &Axis, length: usize| -> Vec<usize> {
            (0..axis.output).map(|place| (place + axis.shift) % length).collect()
        };
        let places: Vec<Vec<usize>> = self
            .outer
            .iter()
            .zip(&self.axes)
            .map(|(outer, axis)| window(axis, outer.length))
            .collect();
        for axis in 0..self.outer.len() {
            let inverse = &self.outer[axis].transforms.inverse;
            self.along(axis, inverse, &places[..axis], spectrum, buffers);
        }
        let Some(last) = self.axes.last() else { return };
        let shift = last.shift % self.length;
        let until_end = last.output.min(self.length - shift);
        for (out, at) in out.chunks_exact_mut(last.output).zip(self.places(&places)) {
            let row = &mut spectrum[at * self.half..][..self.half];
            // What rounding left in the imaginary parts that must be 0 would be an error to the plan.
            row[0].im = T::zero();
            if self.length.is_multiple_of(2) {
                row[self.half - 1].im = T::zero();
            }
            let inverse = &self.last.inverse;
            let _ = inverse.process_with_scratch(row, &mut buffers.row, &mut buffers.scratch);
            let (first, second) = out.split_at_mut(until_end);
            for (out, value) in first.iter_mut().zip(&buffers.row[shift..]) {
                *out += *value;
            }
            for (out, value) in second.iter_mut().zip(&buffers.row) {
                *out += *value;
            }
        }
    }

    /// `signal` ← `signal` · `kernel`, scaled so that there and back is the identity.
    pub(super) fn multiply(&self, signal: &mut [Complex<T>], kernel: &[Complex<T>]) {
        let points = self.outer.iter().map(|axis| axis.length).product::<usize>() * self.length;
        let scale = T::one() / <T as WithDType>::from_f64(points as f64);
        for (signal, kernel) in signal.iter_mut().zip(kernel) {
            *signal = *signal * *kernel * scale;
        }
    }

    /// Row numbers of all combinations of places on the outer axes.
    fn places(&self, places: &[Vec<usize>]) -> Vec<usize> {
        let lengths = self.outer.iter().map(|axis| axis.length);
        super::axis::offsets(places.iter().map(Vec::as_slice).zip(lengths))
    }

    /// Transforms along outer axis `axis`, where the axes before it are at one of `places`.
    fn along(
        &self,
        axis: usize,
        plan: &Arc<dyn Fft<T>>,
        places: &[Vec<usize>],
        spectrum: &mut [Complex<T>],
        buffers: &mut Buffers<T>,
    ) {
        let length = self.outer[axis].length;
        let inner =
            self.outer[axis + 1..].iter().map(|axis| axis.length).product::<usize>() * self.half;
        for at in self.places(places) {
            let slab = &mut spectrum[at * length * inner..][..length * inner];
            for first in (0..inner).step_by(COLUMNS) {
                let count = COLUMNS.min(inner - first);
                let columns = &mut buffers.columns[..count * length];
                for (place, row) in slab.chunks_exact(inner).enumerate() {
                    for (column, &value) in row[first..first + count].iter().enumerate() {
                        columns[column * length + place] = value;
                    }
                }
                plan.process_with_scratch(columns, &mut buffers.scratch);
                for (place, row) in slab.chunks_exact_mut(inner).enumerate() {
                    for (column, value) in row[first..first + count].iter_mut().enumerate() {
                        *value = columns[column * length + place];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::{Boundary, Kind};
    use super::*;

    #[test]
    fn good_lengths_are_close_and_even() {
        assert!([1, 60, 77, 1 << 20].into_iter().all(factors_well) && !factors_well(26));
        assert_eq!([1, 2, 29, 30, 31, 100, 1025].map(good_length), [1, 2, 30, 30, 32, 120, 1152]);
        assert!((2..5000).map(good_length).all(|length| length.is_multiple_of(2)));
        assert!((2..5000).all(|least| (least..least * 7 / 5 + 2).contains(&good_length(least))));
    }

    #[test]
    fn awkward_rings_are_unrolled() {
        let length =
            |period, points| length(&Axis::new(Kind::Output, Boundary::Circular, period, points));
        assert_eq!([length(64, 63), length(66, 65), length(99, 99)], [64, 66, 99]);
        assert_eq!([length(97, 97), length(97, 3), length(99, 3)], [240, 120, 120]);
        for kind in [Kind::Output, Kind::SignalGradient, Kind::KernelGradient] {
            for (period, points) in [(97, 97), (97, 5), (99, 3), (64, 63)] {
                let axis = Axis::new(kind, Boundary::Circular, period, points);
                let planned = super::length(&axis);
                assert_eq!(super::length(&transformed(axis)), planned);
            }
        }
    }
}
