//! One axis of a convolution and of its two gradients, all in one form.
//!
//! With x the signal, k the kernel and o the kernel's origin, an axis of the convolution is
//! y\[n\] = Σ_j k\[j\] · x\[n + o − j\]. Its gradients are sums of the same kind with one operand reversed, so
//! all three are written as out\[n\] = Σ_m input\[m\] · kernel\[n − m + shift\], where `input` and `kernel` say
//! which element of an operand stands where.

/// What a convolution takes for the values beyond the ends of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Zeros; the kernel, of an odd number of points, is centred.
    Zero,
    /// The other end: the axis is a ring; the kernel, of an odd number of points, is centred.
    Circular,
    /// Zeros, and the kernel begins at the present: an output sees no later input. One axis only.
    Causal,
}

impl Boundary {
    /// Index of the kernel's point that multiplies the input at the output's own place.
    pub(super) fn origin(self, kernel: usize) -> usize {
        match self {
            Self::Zero | Self::Circular => (kernel - 1) / 2,
            Self::Causal => 0,
        }
    }
}

impl std::fmt::Display for Boundary {
    /// The name in a config.json.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero",
            Self::Circular => "circular",
            Self::Causal => "causal",
        })
    }
}

/// Which of the three sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The convolution, of signal and kernel.
    Output,
    /// Its gradient in the signal, of the output's gradient and the kernel.
    SignalGradient,
    /// Its gradient in the kernel, of the output's gradient and the signal.
    KernelGradient,
}

/// out\[n\] = Σ_m input\[m\] · kernel\[n − m + shift\], where an index beyond the kernel's ends adds nothing, or wraps
/// around after `period`.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Which element of the first operand stands at each place.
    pub(super) input: Vec<usize>,
    /// Which element of the second operand stands at each place.
    pub(super) kernel: Vec<usize>,
    /// Length of the output.
    pub(super) output: usize,
    pub(super) shift: usize,
    pub(super) period: Option<usize>,
}

impl Axis {
    /// The axis of the sum `kind` for a signal of `length` and a kernel of `points`.
    pub(super) fn new(kind: Kind, boundary: Boundary, length: usize, points: usize) -> Self {
        let origin = boundary.origin(points);
        let (kernel, output, shift) = match kind {
            Kind::Output => ((0..points).collect(), length, origin),
            Kind::SignalGradient => ((0..points).rev().collect(), length, points - 1 - origin),
            Kind::KernelGradient => ((0..length).rev().collect(), points, length - 1 - origin),
        };
        let period = (boundary == Boundary::Circular).then_some(length);
        Self { input: (0..length).collect(), kernel, output, shift, period }
    }

    /// The same sum without wrapping: the input is continued beyond its ends as far as the kernel reaches.
    pub(super) fn unrolled(self) -> Self {
        let Some(period) = self.period else { return self };
        let reach = self.kernel.len() - 1;
        let wrapped = |place: usize| (place + self.shift + reach * (period - 1)) % period;
        let input = (0..self.output + reach).map(|place| self.input[wrapped(place)]).collect();
        Self { input, shift: reach, period: None, ..self }
    }

    /// Places m of the input that take part in some output of `first..first + count`.
    pub(super) fn inputs(&self, first: usize, count: usize) -> std::ops::Range<usize> {
        let start = (first + self.shift).saturating_sub(self.kernel.len() - 1);
        let end = (first + count + self.shift).min(self.input.len());
        start.min(end)..end
    }

    /// Places of the input that take part, summed over all blocks of `count` outputs beside each other.
    pub(super) fn reached(&self, count: usize) -> f64 {
        let blocks = (0..self.output).step_by(count);
        if self.period.is_some() {
            let count = |first: usize| count.min(self.output - first);
            return blocks.map(|first| (self.kernel.len() - 1 + count(first)) as f64).sum();
        }
        blocks.map(|first| self.inputs(first, count.min(self.output - first)).len() as f64).sum()
    }

    /// Least length of a cyclic transform whose aliases stay out of the output; of a ring, once it is unrolled.
    pub(super) fn least_transform(&self) -> usize {
        if self.period.is_some() {
            return self.output + self.kernel.len() - 1;
        }
        let full = self.input.len() + self.kernel.len() - 1;
        (full - self.shift.min(full)).max(self.shift + self.output)
    }
}

/// The flat indices of all points of a grid, of which each axis picks the places in `picks`.
pub(super) fn offsets<'a>(axes: impl Iterator<Item = (&'a [usize], usize)>) -> Vec<usize> {
    axes.fold(vec![0], |outer, (picks, length)| {
        outer
            .iter()
            .flat_map(|offset| picks.iter().map(move |place| offset * length + place))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum as it stands in the docs, on numbers.
    fn sum(axis: &Axis, input: &[f64], kernel: &[f64]) -> Vec<f64> {
        let at = |index: i64| match axis.period {
            Some(period) => index.rem_euclid(period as i64),
            None => index,
        };
        let term = |n: usize, m: usize| {
            let index = at(n as i64 - m as i64 + axis.shift as i64);
            let place = usize::try_from(index).ok().and_then(|place| axis.kernel.get(place));
            place.map_or(0.0, |place| input[axis.input[m]] * kernel[*place])
        };
        (0..axis.output).map(|n| (0..axis.input.len()).map(|m| term(n, m)).sum()).collect()
    }

    #[test]
    fn unrolled_rings_give_the_same_sums() {
        for kind in [Kind::Output, Kind::SignalGradient, Kind::KernelGradient] {
            for (length, points) in [(1, 1), (2, 1), (5, 3), (5, 5), (8, 7)] {
                let axis = Axis::new(kind, Boundary::Circular, length, points);
                let values = |count: usize| -> Vec<f64> {
                    (0..count).map(|place| (place * place % 7) as f64 - 2.5).collect()
                };
                let (input, kernel) = (values(length), values(axis.kernel.len()));
                let ring = sum(&axis, &input, &kernel);
                assert_eq!(
                    sum(&axis.unrolled(), &input, &kernel),
                    ring,
                    "{kind:?} {length} {points}"
                );
            }
        }
    }

    #[test]
    fn rings_reach_as_far_as_when_unrolled() {
        let ring = Axis::new(Kind::Output, Boundary::Circular, 8, 5);
        assert_eq!(ring.reached(1), 40.0);
        assert_eq!(ring.reached(3), 7.0 + 7.0 + 6.0);
        assert_eq!(ring.clone().unrolled().reached(3), ring.reached(3));
        let line = Axis::new(Kind::Output, Boundary::Zero, 4, 3);
        assert_eq!(line.reached(1), 2.0 + 3.0 + 3.0 + 2.0);
    }

    #[test]
    fn transforms_are_no_longer_than_the_original_s() {
        // spec: min(N + (K + 1)/2, 2N) for a centred kernel of K = 2N − 1 points.
        let axis = Axis::new(Kind::Output, Boundary::Zero, 10, 19);
        assert!(axis.least_transform() <= 20);
        let axis = Axis::new(Kind::Output, Boundary::Causal, 10, 10);
        assert!(axis.least_transform() <= 20);
        let ring = Axis::new(Kind::KernelGradient, Boundary::Circular, 10, 7);
        assert_eq!(ring.least_transform(), ring.unrolled().least_transform());
    }
}
