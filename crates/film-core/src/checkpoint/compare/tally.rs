//! Pairs of numbers → how they differ.

use safetensors::Dtype;

use super::decode::{Kind, floats, integers};
use super::{Difference, Tolerance};

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tolerance: Tolerance,
    found: Difference,
    /// Σ a·b, Σ a², Σ b².
    products: [f64; 3],
    floats: [Vec<f64>; 2],
    integers: [Vec<i128>; 2],
}

impl Tally {
    pub(super) fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, ..Self::default() }
    }

    /// Adds the elements that these bytes hold: as many on both sides.
    pub(super) fn add(&mut self, dtypes: [Dtype; 2], kinds: [Kind; 2], bytes: [&[u8]; 2]) {
        let (mut float, mut integer) =
            (std::mem::take(&mut self.floats), std::mem::take(&mut self.integers));
        for side in 0..2 {
            match kinds[side] {
                Kind::Float => floats(dtypes[side], bytes[side], &mut float[side]),
                _ => integers(dtypes[side], bytes[side], &mut integer[side]),
            }
        }
        let ([a, b], [m, n]) = (&float, &integer);
        match kinds {
            [Kind::Float, Kind::Float] => a.iter().zip(b).for_each(|(a, b)| self.float(*a, *b)),
            [Kind::Float, _] => a.iter().zip(n).for_each(|(a, n)| self.mixed(*n, *a)),
            [_, Kind::Float] => m.iter().zip(b).for_each(|(m, b)| self.mixed(*m, *b)),
            _ => m.iter().zip(n).for_each(|(m, n)| self.integer(*m, *n)),
        }
        (self.floats, self.integers) = (float, integer);
    }

    fn float(&mut self, a: f64, b: f64) {
        if a.is_finite() && b.is_finite() {
            self.finite(a, b, (a - b).abs());
        } else if a != b && !(a.is_nan() && b.is_nan()) {
            self.found.over += 1;
            self.found.non_finite += 1;
        }
    }

    /// An integer and a float. Where float64 does not hold the integer, the difference is taken of integers.
    fn mixed(&mut self, integer: i128, float: f64) {
        let rounded = integer as f64;
        if rounded == float {
            self.finite(rounded, float, integer.abs_diff(float as i128) as f64);
        } else {
            self.float(rounded, float);
        }
    }

    fn finite(&mut self, a: f64, b: f64, gap: f64) {
        self.multiply(a, b);
        if gap > 0.0 {
            let greatest = a.abs().max(b.abs());
            let Tolerance { rtol, atol } = self.tolerance;
            self.widen(gap, greatest);
            self.found.over += u64::from(gap > atol + rtol * greatest);
        }
    }

    /// Exactly: no tolerance.
    fn integer(&mut self, a: i128, b: i128) {
        self.multiply(a as f64, b as f64);
        if a != b {
            let greatest = a.unsigned_abs().max(b.unsigned_abs());
            self.widen(a.abs_diff(b) as f64, greatest as f64);
            self.found.over += 1;
        }
    }

    fn multiply(&mut self, a: f64, b: f64) {
        self.products[0] += a * b;
        self.products[1] += a * a;
        self.products[2] += b * b;
    }

    fn widen(&mut self, gap: f64, greatest: f64) {
        self.found.max_abs = self.found.max_abs.max(gap);
        self.found.max_rel = self.found.max_rel.max(gap / greatest);
    }

    pub(super) fn finish(self, elements: u64) -> Difference {
        let [ab, aa, bb] = self.products;
        let norms = aa.sqrt() * bb.sqrt();
        // Rounding may leave a trace beyond 1.
        let cosine = (norms > 0.0 && norms.is_finite()).then(|| (ab / norms).clamp(-1.0, 1.0));
        Difference { elements, cosine, ..self.found }
    }
}
