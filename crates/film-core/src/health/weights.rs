//! The generator's weights → how far its output layer is from where it started.

use std::fmt;

use candle_core::Tensor;
use serde::Serialize;

use super::numbers;
use crate::config::InitType;
use crate::error::Result;
use crate::generator::KernelFilmGenerator;

/// What the weights tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weights {
    /// The tensors that hold NaN or infinite values.
    pub non_finite: Vec<NonFinite>,
    /// The size of each tensor, beside the size it starts with.
    pub norms: Vec<Norm>,
    /// The output layer's distance from its start, for each FiLM layer.
    pub layers: Vec<Distance>,
}

/// NaN and infinite values in a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NonFinite {
    /// The tensor's name, relative to the generator.
    pub tensor: String,
    /// How many values are so.
    pub count: u64,
}

/// How large a tensor is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Norm {
    /// The tensor's name, relative to the generator.
    pub tensor: String,
    /// √(sum of the squares).
    pub norm: f64,
    /// √(expected sum of the squares) at the start.
    pub start: f64,
}

/// How far the rows of `mlp.2` that make one layer's γ and β are from where they started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distance {
    /// Of the rows of γ.
    pub gamma: Part,
    /// Of the rows of β.
    pub beta: Part,
}

/// Distances of some rows of `mlp.2`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// √(mean over the rows of ‖w − w₀‖²): by so much do hidden activations of length 1 move the output. Exact where w₀
    /// is zero; of `small_random` the start is known by its variance, and the squares' expectation is what is taken off.
    pub weight: f64,
    /// √(mean of (b − b₀)²), b₀ being 1 for γ and 0 for β.
    pub bias: f64,
}

impl Weights {
    /// Measures the generator's weights.
    ///
    /// # Errors
    /// If they cannot be read back from their device.
    pub fn new(generator: &KernelFilmGenerator) -> Result<Self> {
        let config = generator.config();
        let (width, hidden) = (config.kernel_hidden_dim, config.film_hidden_dim);
        // The expected ‖w₀‖² of a row of the output layer.
        let row_start = match config.init_type {
            InitType::Identity => 0.0,
            InitType::SmallRandom => hidden as f64 * config.init_std.powi(2),
        };
        let rows = (2 * width * config.num_film_layers) as f64;
        // Uniform between ±1/√cond_dim: a third of its square each.
        let uniform = 1.0 / (3.0 * config.cond_dim as f64);
        let mut starts = [
            (hidden * config.cond_dim) as f64 * uniform,
            hidden as f64 * uniform,
            rows * row_start,
            rows / 2.0,
        ]
        .into_iter();
        let (mut non_finite, mut norms) = (Vec::new(), Vec::new());
        let mut values = |(name, tensor): (&str, &Tensor)| -> Result<Vec<f64>> {
            let values = numbers(tensor)?;
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            let start = starts.next().unwrap_or_default().sqrt();
            norms.push(Norm { tensor: name.into(), norm, start });
            let count = values.iter().filter(|value| !value.is_finite()).count() as u64;
            if count > 0 {
                non_finite.push(NonFinite { tensor: name.into(), count });
            }
            Ok(values)
        };
        let [hidden_weight, hidden_bias, weight, bias] = generator.tensors();
        values(hidden_weight)?;
        values(hidden_bias)?;
        let (weight, bias) = (values(weight)?, values(bias)?);
        let part = |weight: &[f64], bias: &[f64], bias_start: f64| {
            let squares: f64 = weight.iter().map(|w| w * w).sum();
            let moved: f64 = bias.iter().map(|b| (b - bias_start).powi(2)).sum();
            let off = squares / width as f64 - row_start;
            // What falls short of the expected square has not moved. NaN stays.
            let weight = if off < 0.0 { 0.0 } else { off.sqrt() };
            Part { weight, bias: (moved / width as f64).sqrt() }
        };
        let layers = weight.chunks_exact(2 * width * hidden).zip(bias.chunks_exact(2 * width));
        let layers = layers.map(|(weight, bias)| {
            let (weights, biases) = (weight.split_at(width * hidden), bias.split_at(width));
            Distance { gamma: part(weights.0, biases.0, 1.0), beta: part(weights.1, biases.1, 0.0) }
        });
        Ok(Self { layers: layers.collect(), non_finite, norms })
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gamma, beta } = self;
        write!(
            f,
            "mlp.2 moved by {:.2} and {:.2}, bias by {:.2} and {:.2}",
            gamma.weight, beta.weight, gamma.bias, beta.bias
        )
    }
}
