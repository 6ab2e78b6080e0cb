//! Plans of fast Fourier transforms in float32 and float64, made once and shared by all threads.
//!
//! ```text
//! length ─▶ plans ─▶ transforms there and back
//! ```
//!
//! `rustfft` is generic, so its algorithms are compiled where they are called: for two number types, and the processors
//! each may meet, more code than all of film-core. Here they are compiled once, whatever changes there.

mod plans;

use std::fmt;
use std::sync::Arc;

use realfft::RealFftPlanner;
use rustfft::FftPlanner;

pub use realfft::num_complex::Complex;
pub use realfft::{ComplexToReal, FftNum, RealToComplex};
pub use rustfft::Fft;

/// A pair of transforms, there and back; both together multiply by their length.
pub struct Pair<Forward: ?Sized, Inverse: ?Sized> {
    /// Points → spectrum.
    pub forward: Arc<Forward>,
    /// Spectrum → points.
    pub inverse: Arc<Inverse>,
}

/// Complex points ⇄ as many complex frequencies.
pub type ComplexPair<T> = Pair<dyn Fft<T>, dyn Fft<T>>;

/// N real points ⇄ N/2 + 1 complex frequencies.
pub type RealPair<T> = Pair<dyn RealToComplex<T>, dyn ComplexToReal<T>>;

impl<Forward: ?Sized, Inverse: ?Sized> Clone for Pair<Forward, Inverse> {
    fn clone(&self) -> Self {
        Self { forward: self.forward.clone(), inverse: self.inverse.clone() }
    }
}

impl<Forward: ?Sized, Inverse: ?Sized> fmt::Debug for Pair<Forward, Inverse> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A number type that is transformed.
// Without methods of its own, which would be compiled where they are called.
pub trait Number: FftNum {
    /// The transforms of `length` complex points.
    fn complex_pair(length: usize) -> ComplexPair<Self>;

    /// The transforms of `length` real points.
    fn real_pair(length: usize) -> RealPair<Self>;
}

impl Number for f32 {
    fn complex_pair(length: usize) -> ComplexPair<Self> {
        complex_pair(length)
    }

    fn real_pair(length: usize) -> RealPair<Self> {
        real_pair(length)
    }
}

impl Number for f64 {
    fn complex_pair(length: usize) -> ComplexPair<Self> {
        complex_pair(length)
    }

    fn real_pair(length: usize) -> RealPair<Self> {
        real_pair(length)
    }
}

fn complex_pair<T: FftNum>(length: usize) -> ComplexPair<T> {
    plans::kept(length, || {
        let mut planner = FftPlanner::new();
        Pair {
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
        }
    })
}

fn real_pair<T: FftNum>(length: usize) -> RealPair<T> {
    plans::kept(length, || {
        let mut planner = RealFftPlanner::new();
        Pair {
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ value[n] · exp(−2πi kn/N).
    fn frequency(values: &[Complex<f64>], k: usize) -> Complex<f64> {
        let turn = -std::f64::consts::TAU / values.len() as f64;
        let terms = values.iter().enumerate();
        terms.map(|(n, value)| value * Complex::from_polar(1.0, turn * (k * n) as f64)).sum()
    }

    #[test]
    fn transforms_are_the_definition_s_there_and_back() {
        for length in [1, 2, 6, 7, 30] {
            let points: Vec<f64> = (0..length).map(|n| ((n * n) % 7) as f64 - 2.5).collect();
            let complex: Vec<_> = points.iter().map(|&x| Complex::new(x, 1.0 - x * x)).collect();
            let mut spectrum = complex.clone();
            let pair = f64::complex_pair(length);
            pair.forward.process(&mut spectrum);
            for (k, found) in spectrum.iter().enumerate() {
                assert!((found - frequency(&complex, k)).norm() < 1e-11, "{length} {k}");
            }
            pair.inverse.process(&mut spectrum);
            for (found, expected) in spectrum.iter().zip(&complex) {
                assert!((found / length as f64 - expected).norm() < 1e-12, "{length}");
            }

            let pair = f32::real_pair(length);
            let mut row: Vec<f32> = points.iter().map(|&x| x as f32).collect();
            let mut half = pair.forward.make_output_vec();
            assert_eq!(half.len(), length / 2 + 1);
            pair.forward.process(&mut row, &mut half).unwrap();
            let real: Vec<_> = points.iter().map(|&x| Complex::new(x, 0.0)).collect();
            for (k, found) in half.iter().enumerate() {
                let found = Complex::new(f64::from(found.re), f64::from(found.im));
                assert!((found - frequency(&real, k)).norm() < 1e-4, "{length} {k}");
            }
            pair.inverse.process(&mut half, &mut row).unwrap();
            for (found, expected) in row.iter().zip(&points) {
                assert!((f64::from(*found) / length as f64 - expected).abs() < 1e-5, "{length}");
            }
        }
    }

    #[test]
    fn plans_are_made_once() {
        assert!(Arc::ptr_eq(&f32::real_pair(42).forward, &f32::real_pair(42).forward));
        assert!(Arc::ptr_eq(&f64::complex_pair(42).inverse, &f64::complex_pair(42).inverse));
    }
}
