//! Statistics of numbers that come in rows, gathered chunk by chunk.

mod histogram;

use serde::Serialize;

pub use histogram::{Bin, Histogram};

/// Sums over one output's values in the batch, by Welford's recurrence.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    count: u64,
    mean: f64,
    squares: f64,
}

/// What has been seen so far of a tensor `[*, H]`, such as γ or β of one layer.
#[derive(Debug, Clone)]
pub struct Gatherer {
    columns: Vec<Column>,
    min: f64,
    max: f64,
    negative: u64,
    non_finite: u64,
}

/// Statistics over the finite values; `None` where there are none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The least value.
    pub min: Option<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// The greatest value.
    pub max: Option<f64>,
    /// Standard deviation of all values (population).
    pub std: Option<f64>,
    /// Share of values below 0.
    pub negative: Option<f64>,
    /// Standard deviation over the rows (population), mean over the H columns.
    pub spread: Option<f64>,
    /// Standard deviation over the H columns (population) of their means over the rows.
    pub across: Option<f64>,
    /// Number of NaN and infinite values.
    pub non_finite: u64,
}

impl Summary {
    /// The greatest |value|.
    pub fn largest(&self) -> Option<f64> {
        Some(self.min?.abs().max(self.max?.abs()))
    }

    /// √(mean of the squares).
    pub fn rms(&self) -> Option<f64> {
        Some(self.mean?.hypot(self.std?))
    }

    /// The share of the variance that is over the rows, from 0 to 1; the rest is between the columns' means. Of γ or β
    /// it is how much of them the conditioning decides. 0 where nothing varies.
    pub fn dependence(&self) -> Option<f64> {
        let (std, across) = (self.std?, self.across?);
        Some(if std > 0.0 { 1.0 - (across / std).powi(2).min(1.0) } else { 0.0 })
    }
}

impl Gatherer {
    /// Of rows of `width` values, at least 1.
    pub fn new(width: usize) -> Self {
        let columns = vec![Column::default(); width];
        Self { columns, min: f64::INFINITY, max: f64::NEG_INFINITY, negative: 0, non_finite: 0 }
    }

    /// Takes in rows of H values; what is left of an incomplete one is not looked at.
    pub fn add(&mut self, values: &[f64]) {
        for row in values.chunks_exact(self.columns.len().max(1)) {
            for (column, &value) in self.columns.iter_mut().zip(row) {
                if !value.is_finite() {
                    self.non_finite += 1;
                    continue;
                }
                self.min = self.min.min(value);
                self.max = self.max.max(value);
                self.negative += u64::from(value < 0.0);
                column.count += 1;
                let from_old = value - column.mean;
                column.mean += from_old / column.count as f64;
                column.squares += from_old * (value - column.mean);
            }
        }
    }

    /// The statistics so far.
    pub fn summary(&self) -> Summary {
        let count: u64 = self.columns.iter().map(|column| column.count).sum();
        let non_finite = self.non_finite;
        if count == 0 {
            return Summary {
                min: None,
                mean: None,
                max: None,
                std: None,
                negative: None,
                spread: None,
                across: None,
                non_finite,
            };
        }
        let sum = |of: &dyn Fn(&Column) -> f64| self.columns.iter().map(of).sum::<f64>();
        let mean = sum(&|column| column.mean * column.count as f64) / count as f64;
        let between = sum(&|column| column.count as f64 * (column.mean - mean).powi(2));
        let squares = sum(&|column| column.squares) + between;
        let spread = sum(&|column| (column.squares / column.count.max(1) as f64).sqrt())
            / self.columns.len() as f64;
        Summary {
            min: Some(self.min),
            mean: Some(mean),
            max: Some(self.max),
            std: Some((squares / count as f64).sqrt()),
            negative: Some(self.negative as f64 / count as f64),
            spread: Some(spread),
            across: Some((between / count as f64).sqrt()),
            non_finite,
        }
    }
}

/// The number in the middle: as many are below it as above; `None` without numbers. NaN count as greater than all.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(f64::midpoint(values[last / 2], values[last.div_ceil(2)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_give_what_the_whole_gives() {
        // Columns 1, 3, 5 and −2, 2, 6.
        let values = [1.0, -2.0, 3.0, 2.0, 5.0, 6.0];
        let mut gatherer = Gatherer::new(2);
        gatherer.add(&values[..2]);
        gatherer.add(&values[2..]);
        let summary = gatherer.summary();
        assert_eq!((summary.min, summary.max, summary.mean), (Some(-2.0), Some(6.0), Some(2.5)));
        assert_eq!((summary.negative, summary.largest()), (Some(1.0 / 6.0), Some(6.0)));
        let rms = (values.iter().map(|x| x * x).sum::<f64>() / 6.0).sqrt();
        assert!((summary.rms().unwrap() - rms).abs() < 1e-12);
        let variance = values.iter().map(|x| (x - 2.5f64).powi(2)).sum::<f64>() / 6.0;
        assert!((summary.std.unwrap() - variance.sqrt()).abs() < 1e-12);
        let spread = ((8.0f64 / 3.0).sqrt() + (32.0f64 / 3.0).sqrt()) / 2.0;
        assert!((summary.spread.unwrap() - spread).abs() < 1e-12);
        // The columns' means are 3 and 2; their variances 8/3 and 32/3.
        assert!((summary.across.unwrap() - 0.5).abs() < 1e-12);
        let dependence = (20.0 / 3.0) / (20.0 / 3.0 + 0.25);
        assert!((summary.dependence().unwrap() - dependence).abs() < 1e-12);
    }

    #[test]
    fn values_that_are_not_finite_are_counted_apart() {
        let mut gatherer = Gatherer::new(1);
        gatherer.add(&[f64::NAN, 1.0, f64::INFINITY]);
        let summary = gatherer.summary();
        assert_eq!((summary.non_finite, summary.mean), (2, Some(1.0)));
    }

    #[test]
    fn half_of_the_numbers_are_below_the_median() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
