//! Several generators side by side: the median of each measure, and what stands out from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::finding::Brief;
use super::{Health, Thresholds};
use crate::statistics::median;

/// Generators of which one can be said to stand out.
const LEAST: usize = 4;
/// What stands out is at least so many times the median, or at most one part in so many of it, …
const RATIO: f64 = 2.0;
/// … and at least so many robust standard deviations off (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers,
/// for their modified z-score).
const DEVIATIONS: f64 = 3.5;
/// The median absolute deviation of normal numbers, in standard deviations.
const NORMAL_MAD: f64 = 0.6745;

/// A number that tells of one FiLM layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of negative γ.
    Negative,
    /// Greatest |γ|.
    Gamma,
    /// √(mean of β²)/π.
    BetaOverPi,
    /// Spread of γ over the samples.
    GammaSpread,
    /// Spread of β over the samples.
    BetaSpread,
    /// Distance of the rows of `mlp.2.weight`, γ's and β's together.
    Weight,
    /// Distance of `mlp.2.bias`, γ's and β's together.
    Bias,
}

/// Some generators, compared layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// For each layer the measures that some generator has, each with its median over the generators.
    pub medians: Vec<BTreeMap<Measure, f64>>,
    /// What stands out, by generator, layer and measure. Of fewer than 4 generators nothing does.
    pub outliers: Vec<Outlier>,
}

/// A measure of a generator that differs from those of the others. As text it is one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlier {
    /// Which of the generators.
    #[serde(skip)]
    pub generator: usize,
    /// The FiLM layer.
    pub layer: usize,
    /// What differs.
    pub measure: Measure,
    /// What it is.
    pub value: f64,
    /// Its median over the generators.
    pub median: f64,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Negative,
        Self::Gamma,
        Self::BetaOverPi,
        Self::GammaSpread,
        Self::BetaSpread,
        Self::Weight,
        Self::Bias,
    ];

    /// From where on the measure is cause for concern.
    pub fn threshold(self, thresholds: &Thresholds) -> f64 {
        match self {
            Self::Negative => thresholds.negative_share,
            Self::Gamma => thresholds.gamma,
            Self::BetaOverPi => thresholds.beta_over_pi,
            Self::GammaSpread | Self::BetaSpread => thresholds.greatest_spread,
            Self::Weight => thresholds.weight_distance,
            Self::Bias => thresholds.bias_distance,
        }
    }
}

impl Health {
    /// A measure of one layer, if it is known and finite.
    pub fn measure(&self, layer: usize, measure: Measure) -> Option<f64> {
        let outputs = self.outputs.as_ref().and_then(|outputs| outputs.layers.get(layer));
        let weights = self.weights.as_ref().and_then(|weights| weights.layers.get(layer));
        let both = |gamma: f64, beta: f64| gamma.hypot(beta) / 2f64.sqrt();
        let value = match measure {
            Measure::Negative => outputs?.gamma.negative,
            Measure::Gamma => outputs?.gamma.largest(),
            Measure::BetaOverPi => outputs?.beta_over_pi(),
            Measure::GammaSpread => outputs?.gamma.spread,
            Measure::BetaSpread => outputs?.beta.spread,
            Measure::Weight => weights.map(|of| both(of.gamma.weight, of.beta.weight)),
            Measure::Bias => weights.map(|of| both(of.gamma.bias, of.beta.bias)),
        };
        value.filter(|value| value.is_finite())
    }

    fn layers(&self) -> usize {
        let outputs = self.outputs.as_ref().map_or(0, |outputs| outputs.layers.len());
        outputs.max(self.weights.as_ref().map_or(0, |weights| weights.layers.len()))
    }
}

impl Comparison {
    /// Compares generators. Differences among values that are small beside the thresholds, a tenth of them, do not count.
    pub fn new<'a>(healths: impl IntoIterator<Item = &'a Health>, thresholds: &Thresholds) -> Self {
        let healths: Vec<&Health> = healths.into_iter().collect();
        let layers = healths.iter().map(|health| health.layers()).max().unwrap_or(0);
        let (mut medians, mut outliers) = (vec![BTreeMap::new(); layers], vec![]);
        for (layer, medians) in medians.iter_mut().enumerate() {
            for measure in Measure::ALL {
                let known = healths.iter().enumerate();
                let known = known.filter_map(|(index, health)| {
                    health.measure(layer, measure).map(|value| (index, value))
                });
                let known: Vec<(usize, f64)> = known.collect();
                let values = || known.iter().map(|(_, value)| *value);
                let Some(middle) = median(values()) else { continue };
                medians.insert(measure, middle);
                if known.len() < LEAST {
                    continue;
                }
                let off = median(values().map(|value| (value - middle).abs())).unwrap_or(0.0);
                let floor = measure.threshold(thresholds) / 10.0;
                let differs = |value: f64| {
                    let ratio = (value + floor) / (middle + floor);
                    !(1.0 / RATIO < ratio && ratio < RATIO)
                        && (value - middle).abs() * NORMAL_MAD >= DEVIATIONS * off
                };
                let found = known.iter().filter(|(_, value)| differs(*value));
                outliers.extend(found.map(|&(generator, value)| Outlier {
                    generator,
                    layer,
                    measure,
                    value,
                    median: middle,
                }));
            }
        }
        outliers.sort_by_key(|outlier| outlier.generator);
        Self { medians, outliers }
    }

    /// The median of a measure over the generators.
    pub fn median(&self, layer: usize, measure: Measure) -> Option<f64> {
        self.medians.get(layer)?.get(&measure).copied()
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negative => "share of negative γ",
            Self::Gamma => "greatest |γ|",
            Self::BetaOverPi => "√(mean of β²)/π",
            Self::GammaSpread => "spread of γ over the samples",
            Self::BetaSpread => "spread of β over the samples",
            Self::Weight => "distance of mlp.2.weight",
            Self::Bias => "distance of mlp.2.bias",
        })
    }
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, measure, value, median, .. } = self;
        write!(f, "layer {layer}: {measure} {}, median {}", Brief(*value), Brief(*median))
    }
}
