//! How often which numbers occur, gathered in one pass without knowing their range before.

/// Bins that are kept at most.
const MOST_BINS: usize = 4096;
/// The narrowest bin's width is 2 to this power.
const NARROWEST: i32 = -30;
/// From so many widths on a float64 cannot tell the bins next to each other apart.
const MOST_INDEX: f64 = (1u64 << 52) as f64;

/// Counts of numbers in bins of equal width, a power of two, with an edge at 0. The bins are as narrow as 4096 of them
/// can be to hold all numbers seen; where one lies beyond, each two are merged. So the counts are exact, and depend
/// neither on the numbers' order nor on how they are chunked.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    exponent: i32,
    /// Index of the first bin: it begins at this multiple of the width.
    first: i64,
    counts: Vec<u64>,
}

/// Numbers from `from` on, below `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Where it begins.
    pub from: f64,
    /// Where the next one begins.
    pub to: f64,
    /// How many numbers are in it.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { exponent: NARROWEST, first: 0, counts: vec![] }
    }
}

impl Histogram {
    /// Takes in the finite ones of these numbers.
    pub fn add(&mut self, values: &[f64]) {
        for value in values.iter().filter(|value| value.is_finite()) {
            let mut index = self.index(*value);
            while index.is_none_or(|index| self.span_with(index) > MOST_BINS as i64) {
                *self = self.widened(self.exponent + 1);
                index = self.index(*value);
            }
            if let Some(index) = index {
                self.count_at(index);
            }
        }
    }

    /// The bin that a number belongs to; `None` where it is too far from 0 for bins of this width.
    fn index(&self, value: f64) -> Option<i64> {
        let index = (value / self.width()).floor();
        (index.abs() < MOST_INDEX).then_some(index as i64)
    }

    /// How many bins there would be with that one.
    fn span_with(&self, index: i64) -> i64 {
        match self.counts.len() as i64 {
            0 => 1,
            len => (self.first + len).max(index + 1) - self.first.min(index),
        }
    }

    fn count_at(&mut self, index: i64) {
        if self.counts.is_empty() {
            self.first = index;
        }
        let missing = (self.first - index).max(0) as usize;
        self.counts.splice(0..0, std::iter::repeat_n(0, missing));
        self.first -= missing as i64;
        let at = (index - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
    }

    /// The same in bins of width 2^`exponent`, or of its own width where that is greater.
    #[must_use]
    pub fn widened(&self, exponent: i32) -> Self {
        let steps = (exponent - self.exponent).max(0) as u32;
        let of = |index: i64| index >> steps.min(63);
        let mut wide = Self { exponent: self.exponent + steps as i32, first: 0, counts: vec![] };
        if !self.counts.is_empty() {
            let last = self.first + self.counts.len() as i64 - 1;
            wide.first = of(self.first);
            wide.counts = vec![0; (of(last) - wide.first + 1) as usize];
            for (index, count) in (self.first..).zip(&self.counts) {
                wide.counts[(of(index) - wide.first) as usize] += count;
            }
        }
        wide
    }

    /// How many numbers were taken in.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// The bins from the first to the last that holds a number, in their order.
    pub fn bins(&self) -> impl Iterator<Item = Bin> + '_ {
        let width = self.width();
        (self.first..).zip(&self.counts).map(move |(index, &count)| Bin {
            from: index as f64 * width,
            to: (index + 1) as f64 * width,
            count,
        })
    }

    /// Where the share of the numbers below first reaches `share`, to within a bin; `None` without numbers.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = share * self.total() as f64;
        let mut below = 0;
        let reached = self.bins().find(|bin| {
            below += bin.count;
            below > 0 && below as f64 >= wanted
        });
        reached.map(|bin| f64::midpoint(bin.from, bin.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values);
        histogram
    }

    #[test]
    fn counts_are_exact_whatever_the_order() {
        let values: Vec<f64> = (0..5000).map(|step| (f64::from(step) * 0.7).sin() * 3.0).collect();
        let histogram = of(&values);
        assert_eq!(histogram.total(), 5000);
        for bin in histogram.bins() {
            let inside = values.iter().filter(|value| (bin.from..bin.to).contains(value));
            assert_eq!(inside.count() as u64, bin.count);
        }
        assert!((2048..=4096).contains(&histogram.bins().count()));
        let backwards: Vec<f64> = values.iter().rev().copied().collect();
        assert_eq!(of(&backwards), histogram);
        let (about, median) = (histogram.quantile(0.5), crate::statistics::median(values));
        assert!((about.unwrap() - median.unwrap()).abs() <= 2.0 * histogram.width());
        assert!((histogram.quantile(1.0).unwrap() - 3.0).abs() < 0.01);
    }

    #[test]
    fn wide_bins_hold_what_narrow_ones_held() {
        let histogram = of(&[-0.3, -0.1, 0.0, 0.2, 0.24, 0.9]);
        let quarters: Vec<(f64, u64)> =
            histogram.widened(-2).bins().map(|bin| (bin.from, bin.count)).collect();
        assert_eq!(quarters, [(-0.5, 1), (-0.25, 1), (0.0, 3), (0.25, 0), (0.5, 0), (0.75, 1)]);
        assert_eq!(histogram.widened(-60), histogram);
    }

    #[test]
    fn any_number_has_a_place() {
        let extreme = [0.0, 1.0, -1e300, 1e300, f64::MIN_POSITIVE, f64::MAX, f64::MIN];
        assert_eq!(of(&extreme).total(), 7);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]), Histogram::default());
        assert_eq!(Histogram::default().quantile(0.5), None);
        let one = of(&[1.0; 9]);
        assert_eq!(
            one.bins().collect::<Vec<_>>(),
            [Bin { from: 1.0, to: 1.0 + one.width(), count: 9 }]
        );
    }
}
