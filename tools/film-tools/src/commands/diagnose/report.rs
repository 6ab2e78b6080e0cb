//! What is known of the generators: measures, findings, and what stands out.

use std::collections::BTreeMap;

use anyhow::Result;
use film_core::health::{
    Comparison, Finding, Health, Measure, Modulation, Observer, Outlier, Outputs, Thresholds,
};
use film_core::statistics::{Histogram, Summary};
use serde::Serialize;

use super::super::SCHEMA_VERSION;
use super::given::Described;
use crate::chain::{Chain, Place};
use crate::input::Input;
use crate::output::magnitude;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    pub(super) checkpoint: String,
    pub(super) input: Described,
    /// What the short names go on with.
    #[serde(skip)]
    pub(super) tail: String,
    /// Number of findings.
    pub(super) findings: usize,
    pub(super) thresholds: Thresholds,
    pub(super) generators: Vec<Part>,
    /// Of each measure over the generators, layer by layer.
    medians: Vec<BTreeMap<Measure, f64>>,
}

/// One generator.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) prefix: String,
    #[serde(skip)]
    pub(super) name: String,
    pub(super) cond_dim: usize,
    pub(super) film_hidden_dim: usize,
    pub(super) kernel_hidden_dim: usize,
    pub(super) num_film_layers: usize,
    pub(super) layers: Vec<Layer>,
    #[serde(flatten)]
    pub(super) health: Health,
    pub(super) findings: Vec<Said<Finding>>,
    pub(super) stands_out: Vec<Said<Outlier>>,
    #[serde(skip)]
    pub(super) histograms: Vec<[Histogram; 2]>,
}

/// What follows from the statistics of a layer.
#[derive(Debug, Serialize)]
pub(super) struct Layer {
    layer: usize,
    beta_over_pi: Option<f64>,
    /// Shares of the variance that are over the samples.
    pub(super) gamma_dependence: Option<f64>,
    pub(super) beta_dependence: Option<f64>,
}

/// A remark as data and as a line.
#[derive(Debug, Serialize)]
pub(super) struct Said<T> {
    #[serde(flatten)]
    pub(super) what: T,
    pub(super) text: String,
}

impl<T: ToString> Said<T> {
    fn new(what: T) -> Self {
        let text = what.to_string();
        Self { what, text }
    }
}

/// A generator in a line: over all layers, or of the worst of them.
#[derive(Debug)]
pub(super) struct Overview {
    pub(super) gamma_mean: Option<f64>,
    pub(super) gamma_std: Option<f64>,
    pub(super) dependence: Option<f64>,
}

impl Part {
    /// Runs a generator over all rows of the input.
    pub(super) fn measure(chain: &Chain, name: &str, input: &Input, place: &Place) -> Result<Self> {
        let mut observer = Observer::new(&chain.config);
        for rows in chain.chunks(input, None)? {
            let conditioning = chain.conditioning(input, rows, place)?;
            observer.add(&conditioning, &chain.generator.films(&conditioning)?)?;
        }
        let outputs = observer.outputs();
        let layer = |(layer, of): (usize, &Modulation)| Layer {
            layer,
            beta_over_pi: of.beta_over_pi(),
            gamma_dependence: of.gamma.dependence(),
            beta_dependence: of.beta.dependence(),
        };
        let layers = outputs.layers.iter().enumerate().map(layer).collect();
        Ok(Self {
            prefix: chain.prefix.clone(),
            name: name.into(),
            cond_dim: chain.config.cond_dim,
            film_hidden_dim: chain.config.film_hidden_dim,
            kernel_hidden_dim: chain.config.kernel_hidden_dim,
            num_film_layers: chain.config.num_film_layers,
            layers,
            health: Health { outputs: Some(outputs), ..Health::of_weights(&chain.generator)? },
            findings: vec![],
            stands_out: vec![],
            histograms: observer.histograms().to_vec(),
        })
    }

    fn outputs(&self) -> Option<&Outputs> {
        self.health.outputs.as_ref()
    }

    /// γ and β of each layer.
    pub(super) fn modulations(&self) -> &[Modulation] {
        self.outputs().map_or(&[], |outputs| &outputs.layers)
    }

    pub(super) fn samples(&self) -> u64 {
        self.outputs().map_or(0, |outputs| outputs.conditioning.samples)
    }

    /// The greatest over the layers.
    pub(super) fn worst(&self, measure: Measure) -> Option<f64> {
        let layers = 0..self.num_film_layers;
        layers.filter_map(|layer| self.health.measure(layer, measure)).reduce(f64::max)
    }

    /// The finding that is about this measure of the layer, if there is one.
    pub(super) fn finding(&self, layer: usize, measure: Measure) -> Option<&Said<Finding>> {
        self.findings.iter().find(|said| is_about(&said.what, layer, measure))
    }

    /// Whether there is a finding about this measure in some layer.
    pub(super) fn is_concerning(&self, measure: Measure) -> bool {
        (0..self.num_film_layers).any(|layer| self.finding(layer, measure).is_some())
    }

    pub(super) fn stands_out_in(&self, layer: usize, measure: Measure) -> bool {
        let mut outliers = self.stands_out.iter().map(|said| &said.what);
        outliers.any(|outlier| outlier.layer == layer && outlier.measure == measure)
    }

    pub(super) fn overview(&self) -> Overview {
        let of = |value: fn(&Summary) -> Option<f64>| {
            mean(self.modulations().iter().map(|layer| value(&layer.gamma)))
        };
        let gamma_mean = of(|gamma| gamma.mean);
        let square = of(|gamma| gamma.rms().map(|rms| rms * rms));
        Overview {
            gamma_mean,
            gamma_std: gamma_mean
                .zip(square)
                .map(|(mean, square)| (square - mean * mean).max(0.0).sqrt()),
            dependence: of(Summary::dependence),
        }
    }
}

fn is_about(finding: &Finding, layer: usize, measure: Measure) -> bool {
    let (about, of): (&[Measure], usize) = match finding {
        Finding::SignFlips { layer, .. } | Finding::NegativeBias { layer, .. } => {
            (&[Measure::Negative], *layer)
        }
        Finding::LargeGamma { layer, .. } => (&[Measure::Gamma], *layer),
        Finding::RandomPhase { layer, .. } => (&[Measure::BetaOverPi], *layer),
        Finding::Ignored { layer, .. } => (&[Measure::GammaSpread, Measure::BetaSpread], *layer),
        Finding::Erratic { layer, .. } => (&[Measure::GammaSpread], *layer),
        Finding::FarFromStart { layer, tensor: "mlp.2.weight", .. } => (&[Measure::Weight], *layer),
        Finding::FarFromStart { layer, .. } => (&[Measure::Bias], *layer),
        _ => return false,
    };
    of == layer && about.contains(&measure)
}

/// The mean, if there are values and none is missing.
fn mean(values: impl ExactSizeIterator<Item = Option<f64>>) -> Option<f64> {
    let count = values.len();
    let sum: f64 = values.sum::<Option<f64>>()?;
    (count > 0).then(|| sum / count as f64)
}

impl Report {
    /// Finds what is cause for concern in the generators, and compares them.
    pub(super) fn new(
        checkpoint: String,
        input: Described,
        tail: String,
        mut generators: Vec<Part>,
    ) -> Self {
        let thresholds = Thresholds::default();
        let healths = generators.iter().map(|part| &part.health);
        let Comparison { medians, outliers } = Comparison::new(healths, &thresholds);
        for outlier in outliers {
            generators[outlier.generator].stands_out.push(Said::new(outlier));
        }
        for part in &mut generators {
            part.findings = part.health.findings(&thresholds).into_iter().map(Said::new).collect();
        }
        let findings = generators.iter().map(|part| part.findings.len()).sum();
        let schema_version = SCHEMA_VERSION;
        Self { schema_version, checkpoint, input, tail, findings, thresholds, generators, medians }
    }

    /// The most rows that a generator was run for.
    pub(super) fn samples(&self) -> u64 {
        self.generators.iter().map(Part::samples).max().unwrap_or(0)
    }

    /// What the generators were run for, in words.
    pub(super) fn input(&self) -> String {
        let samples = crate::output::number(self.samples());
        match &self.input {
            Described::Random { seed } => format!("{samples} random normal vectors (seed {seed})"),
            Described::Conditioning { source } => format!("{samples} vectors of {source}"),
            Described::Registers { source } => format!("{samples} sets of registers of {source}"),
        }
    }
}

/// Three significant digits, or a dash.
pub(super) fn brief(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".into() };
    match magnitude(value, 3) {
        _ if value == 0.0 => "0".into(),
        Some(power @ -3..4) => format!("{value:.*}", (2 - power).clamp(0, 4) as usize),
        _ => format!("{value:.1e}"),
    }
}

/// A share as a percentage, or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1}%", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::{brief, percent};

    #[test]
    fn numbers_are_brief() {
        let texts = [0.0, 0.9999, -0.0123, 47.11, 1234.4, 1e-5, -2e6];
        let texts = texts.map(|value| brief(Some(value)));
        assert_eq!(texts, ["0", "1.00", "-0.0123", "47.1", "1234", "1.0e-5", "-2.0e6"]);
        assert_eq!(
            (brief(None), percent(None), percent(Some(0.2963))),
            ("–".into(), "–".into(), "29.6%".into())
        );
    }
}
