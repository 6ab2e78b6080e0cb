//! Measures and thresholds → what is cause for concern.

use std::f64::consts::{PI, TAU};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::outputs::{Modulation, Outputs};
use super::weights::Weights;

/// From where on a measure is cause for concern. The defaults are rules of thumb, each for its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Greatest share of all-zero conditioning vectors. Default 0: none should be.
    pub dead_share: f64,
    /// Greatest share of negative γ, and of negative biases of γ. Default 0.25: at the start none is, and of γ that are mere noise around zero half.
    pub negative_share: f64,
    /// Greatest |γ|. Default 2π: a fresh layer's sine has arguments of standard deviation 1 (Sitzmann et al. 2020,
    /// arXiv:2006.09661, section 3.2), which γ multiplies: there they would span a whole period.
    pub gamma: f64,
    /// Greatest √(mean of β²)/π. Default 1: a fresh layer turns β into phases of √2 times its size, so that beyond it
    /// they are spread over the whole period.
    pub beta_over_pi: f64,
    /// Least spread over the samples, of the conditioning and of γ or β. Default 1e-3, a thousandth of what γ starts
    /// at. A generator that starts as the identity is below it at first.
    pub least_spread: f64,
    /// Greatest spread of γ over the samples. Default 1, what γ starts at: the same activation is then off for one
    /// sample and doubled for another.
    pub greatest_spread: f64,
    /// Greatest distance of the weight of `mlp.2`. Default π: hidden activations of length 1 then move β by half a
    /// period.
    pub weight_distance: f64,
    /// Greatest distance of the bias of `mlp.2`. Default 1: that of γ, which starts at 1, may then be 0.
    pub bias_distance: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            dead_share: 0.0,
            negative_share: 0.25,
            gamma: TAU,
            beta_over_pi: 1.0,
            least_spread: 1e-3,
            greatest_spread: 1.0,
            weight_distance: PI,
            bias_distance: 1.0,
        }
    }
}

/// Something that is cause for concern, with the number and the threshold it passed. As text it is one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// Values that are NaN or infinite.
    NonFinite {
        /// Where: "conditioning", "layer 0 gamma" or a tensor's name.
        what: String,
        /// How many.
        count: u64,
    },
    /// Conditioning vectors that are zero throughout.
    DeadConditioning {
        /// How many are.
        dead: u64,
        /// Of how many.
        samples: u64,
    },
    /// Conditioning that is the same for all samples.
    ConstantConditioning {
        /// Its spread over the samples.
        spread: f64,
        /// The least there should be.
        least: f64,
    },
    /// Many negative γ: they flip signs.
    SignFlips {
        /// The FiLM layer.
        layer: usize,
        /// Their share.
        share: f64,
        /// The greatest there should be.
        greatest: f64,
    },
    /// A large |γ|: the next sine's argument grows, and with it the kernel's frequencies.
    LargeGamma {
        /// The FiLM layer.
        layer: usize,
        /// The greatest |γ|.
        gamma: f64,
        /// The greatest there should be.
        greatest: f64,
    },
    /// β as large as a period: the next sine's phase is as good as random.
    RandomPhase {
        /// The FiLM layer.
        layer: usize,
        /// √(mean of β²)/π.
        beta_over_pi: f64,
        /// The greatest there should be.
        greatest: f64,
    },
    /// γ and β that are the same whatever the conditioning.
    Ignored {
        /// The FiLM layer.
        layer: usize,
        /// The greater of both spreads over the samples.
        spread: f64,
        /// The least there should be.
        least: f64,
    },
    /// γ that vary wildly over the samples.
    Erratic {
        /// The FiLM layer.
        layer: usize,
        /// Their spread over the samples.
        spread: f64,
        /// The greatest there should be.
        greatest: f64,
    },
    /// Many negative biases of γ: they flip signs whatever the conditioning.
    NegativeBias {
        /// The FiLM layer.
        layer: usize,
        /// Their share.
        share: f64,
        /// The greatest there should be.
        greatest: f64,
    },
    /// Weights of the output layer far from where they started.
    FarFromStart {
        /// The FiLM layer.
        layer: usize,
        /// The tensor.
        tensor: &'static str,
        /// Whose rows: "gamma" or "beta".
        part: &'static str,
        /// Their distance.
        distance: f64,
        /// The greatest there should be.
        greatest: f64,
    },
}

impl Outputs {
    /// What of these outputs is cause for concern.
    pub fn findings(&self, thresholds: &Thresholds) -> Vec<Finding> {
        let mut findings = Vec::new();
        let given = &self.conditioning;
        non_finite(&mut findings, "conditioning", given.values.non_finite);
        let (dead, samples) = (given.dead, given.samples);
        if dead as f64 > thresholds.dead_share * samples as f64 {
            findings.push(Finding::DeadConditioning { dead, samples });
        }
        let (several, least) = (samples > 1, thresholds.least_spread);
        let constant = given.values.spread.filter(|spread| several && *spread < least);
        findings.extend(constant.map(|spread| Finding::ConstantConditioning { spread, least }));
        // What the conditioning does not vary cannot vary with it.
        let varied = several && constant.is_none();
        for (layer, modulation) in self.layers.iter().enumerate() {
            non_finite(&mut findings, &format!("layer {layer} gamma"), modulation.gamma.non_finite);
            non_finite(&mut findings, &format!("layer {layer} beta"), modulation.beta.non_finite);
            findings.extend(modulation.findings(layer, varied, thresholds));
        }
        findings
    }
}

impl Modulation {
    fn findings(&self, layer: usize, varied: bool, thresholds: &Thresholds) -> Vec<Finding> {
        let beyond = |value: Option<f64>, greatest: f64| value.filter(|value| *value > greatest);
        let greatest = thresholds.negative_share;
        let flips = beyond(self.gamma.negative, greatest).map(|share| Finding::SignFlips {
            layer,
            share,
            greatest,
        });
        let greatest = thresholds.gamma;
        let large = beyond(self.gamma.largest(), greatest).map(|gamma| Finding::LargeGamma {
            layer,
            gamma,
            greatest,
        });
        let greatest = thresholds.beta_over_pi;
        let phase = beyond(self.beta_over_pi(), greatest)
            .map(|beta_over_pi| Finding::RandomPhase { layer, beta_over_pi, greatest });
        let greatest = thresholds.greatest_spread;
        let erratic = beyond(self.gamma.spread, greatest).map(|spread| Finding::Erratic {
            layer,
            spread,
            greatest,
        });
        let least = thresholds.least_spread;
        let spread = self.gamma.spread.zip(self.beta.spread).map(|(gamma, beta)| gamma.max(beta));
        let ignored = spread
            .filter(|spread| varied && *spread < least)
            .map(|spread| Finding::Ignored { layer, spread, least });
        [flips, large, phase, ignored, erratic].into_iter().flatten().collect()
    }
}

impl Weights {
    /// What of these weights is cause for concern.
    pub fn findings(&self, thresholds: &Thresholds) -> Vec<Finding> {
        let mut findings = Vec::new();
        for tensor in &self.non_finite {
            non_finite(&mut findings, &tensor.tensor, tensor.count);
        }
        for (layer, of) in self.layers.iter().enumerate() {
            let (share, greatest) = (of.gamma.negative, thresholds.negative_share);
            if share > greatest {
                findings.push(Finding::NegativeBias { layer, share, greatest });
            }
            for (part, distances) in [("gamma", &of.gamma), ("beta", &of.beta)] {
                for (tensor, distance, greatest) in [
                    ("mlp.2.weight", distances.weight, thresholds.weight_distance),
                    ("mlp.2.bias", distances.bias, thresholds.bias_distance),
                ] {
                    if distance > greatest {
                        let found =
                            Finding::FarFromStart { layer, tensor, part, distance, greatest };
                        findings.push(found);
                    }
                }
            }
        }
        findings
    }
}

fn non_finite(findings: &mut Vec<Finding>, what: &str, count: u64) {
    if count > 0 {
        findings.push(Finding::NonFinite { what: what.into(), count });
    }
}

/// A number with three decimals, or with four digits where it is huge.
pub(super) struct Brief(pub(super) f64);

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() < 1e6 { write!(f, "{:.3}", self.0) } else { write!(f, "{:.3e}", self.0) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NonFinite { what, count } => {
                write!(f, "{what}: NaN or infinite values, {count} of them")
            }
            Self::DeadConditioning { dead, samples } => {
                write!(f, "conditioning: zero throughout in {dead} of {samples} samples")
            }
            Self::ConstantConditioning { spread, least } => {
                write!(
                    f,
                    "conditioning: the same for all samples: spread {spread:.1e}, below {least}"
                )
            }
            Self::SignFlips { layer, share, greatest } => {
                let (share, greatest) = (100.0 * share, 100.0 * greatest);
                write!(f, "layer {layer}: {share:.1} % of γ are negative, beyond {greatest} %")
            }
            Self::LargeGamma { layer, gamma, greatest } => {
                write!(f, "layer {layer}: γ is as large as {}, beyond {greatest:.3}", Brief(*gamma))
            }
            Self::RandomPhase { layer, beta_over_pi, greatest } => {
                write!(
                    f,
                    "layer {layer}: β is {} π in the mean square, beyond {greatest} π",
                    Brief(*beta_over_pi)
                )
            }
            Self::Ignored { layer, spread, least } => write!(
                f,
                "layer {layer}: γ and β do not depend on the conditioning: spread {spread:.1e}, below {least}"
            ),
            Self::Erratic { layer, spread, greatest } => {
                write!(
                    f,
                    "layer {layer}: γ varies over the samples by {}, beyond {greatest}",
                    Brief(*spread)
                )
            }
            Self::NegativeBias { layer, share, greatest } => {
                let (share, greatest) = (100.0 * share, 100.0 * greatest);
                write!(
                    f,
                    "layer {layer}: {share:.1} % of the biases of γ are negative, beyond {greatest} %"
                )
            }
            Self::FarFromStart { layer, tensor, part, distance, greatest } => {
                let part = if *part == "gamma" { "γ" } else { "β" };
                write!(
                    f,
                    "layer {layer}: {tensor} of {part} is {} from its start, beyond {greatest:.3}",
                    Brief(*distance)
                )
            }
        }
    }
}
