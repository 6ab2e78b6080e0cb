//! The generator's weights → how far its output layer is from where it started.

use std::fmt;
use std::ops::Range;

use candle_core::Device;
use serde::Serialize;

use super::numbers;
use crate::checkpoint::{Checkpoint, join};
use crate::config::{InitType, KernelFilmConfig};
use crate::error::{Error, Result};
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
    /// √(mean over the rows of ‖w‖²).
    pub norm: f64,
    /// √(mean over the rows of ‖w − w₀‖²): by so much do hidden activations of length 1 move the output. Exact where w₀
    /// is zero; of `small_random` the start is known by its variance, and the squares' expectation is what is taken off.
    pub weight: f64,
    /// √(mean of (b − b₀)²), b₀ being 1 for γ and 0 for β.
    pub bias: f64,
    /// The share of biases below 0: of γ, what starts with its sign flipped.
    pub negative: f64,
}

/// Numbers that are measured at once.
const PIECE: usize = 1 << 15;

impl Weights {
    /// Measures the generator's weights.
    ///
    /// # Errors
    /// If they cannot be read back from their device.
    pub fn new(generator: &KernelFilmGenerator) -> Result<Self> {
        let tensors = generator.tensors();
        let values = tensors.map(|(_, tensor)| numbers(tensor));
        let [a, b, c, d] = values;
        let values = [a?, b?, c?, d?];
        Self::measure(generator.config(), |which, range| Ok(values[which][range].to_vec()))
    }

    /// Measures a generator's weights where they are stored, piece by piece: in little memory, however many they are.
    ///
    /// # Errors
    /// If the checkpoint lacks one of its tensors, or changed under us.
    pub fn read(checkpoint: &Checkpoint, prefix: &str, config: &KernelFilmConfig) -> Result<Self> {
        let names = config.parameters()?.map(|parameter| join(prefix, &parameter.name));
        Self::measure(config, |which, range| {
            let missing = || Error::MissingTensor { tensor: names[which].clone() };
            let tensor = checkpoint.get(&names[which]).ok_or_else(missing)?;
            numbers(&checkpoint.load_range(tensor, range, &Device::Cpu)?)
        })
    }

    /// `read` gives some of the numbers of one of the four tensors, in the order of
    /// [`KernelFilmConfig::parameters`].
    fn measure(
        config: &KernelFilmConfig,
        mut read: impl FnMut(usize, Range<usize>) -> Result<Vec<f64>>,
    ) -> Result<Self> {
        let (width, hidden) = (config.kernel_hidden_dim, config.film_hidden_dim);
        let parameters = config.parameters()?;
        let (mut odd, mut squares) = ([0u64; 4], [0f64; 4]);
        // The sums of what `of` makes of a tensor's numbers, each of which is looked at once.
        let mut sums = |which: usize, range: Range<usize>, of: &dyn Fn(f64) -> [f64; 2]| {
            let mut sums = [-0.0; 2];
            for begin in range.clone().step_by(PIECE) {
                for value in read(which, begin..range.end.min(begin + PIECE))? {
                    odd[which] += u64::from(!value.is_finite());
                    squares[which] += value * value;
                    let [first, second] = of(value);
                    sums = [sums[0] + first, sums[1] + second];
                }
            }
            Ok::<_, Error>(sums)
        };
        for which in [0, 1] {
            sums(which, 0..parameters[which].shape.iter().product(), &|_| [0.0; 2])?;
        }
        // The expected ‖w₀‖² of a row of the output layer.
        let row_start = match config.init_type {
            InitType::Identity => 0.0,
            InitType::SmallRandom => hidden as f64 * config.init_std.powi(2),
        };
        // The rows of γ and of β take turns.
        let mut part = |index: usize, bias_start: f64| -> Result<Part> {
            let rows = index * width..(index + 1) * width;
            let [row_squares, _] =
                sums(2, rows.start * hidden..rows.end * hidden, &|w| [w * w, 0.0])?;
            let [moved, negative] =
                sums(3, rows, &|b| [(b - bias_start).powi(2), if b < 0.0 { 1.0 } else { 0.0 }])?;
            let norm = row_squares / width as f64;
            // What falls short of the expected square has not moved. NaN stays.
            let off = norm - row_start;
            let weight = if off < 0.0 { 0.0 } else { off.sqrt() };
            Ok(Part {
                norm: norm.sqrt(),
                weight,
                bias: (moved / width as f64).sqrt(),
                negative: negative / width as f64,
            })
        };
        let layers = (0..config.num_film_layers)
            .map(|layer| {
                Ok(Distance { gamma: part(2 * layer, 1.0)?, beta: part(2 * layer + 1, 0.0)? })
            })
            .collect::<Result<_>>()?;
        // Uniform between ±1/√cond_dim: a third of its square each.
        let uniform = 1.0 / (3.0 * config.cond_dim as f64);
        let rows = (2 * width * config.num_film_layers) as f64;
        let starts = [
            (hidden * config.cond_dim) as f64 * uniform,
            hidden as f64 * uniform,
            rows * row_start,
            rows / 2.0,
        ];
        let norms = parameters.iter().zip(squares.into_iter().zip(starts));
        let norms = norms.map(|(parameter, (norm, start))| Norm {
            tensor: parameter.name.clone(),
            norm: norm.sqrt(),
            start: start.sqrt(),
        });
        let norms = norms.collect();
        let non_finite = parameters.into_iter().zip(odd).filter(|(_, count)| *count > 0);
        let non_finite =
            non_finite.map(|(parameter, count)| NonFinite { tensor: parameter.name, count });
        Ok(Self { non_finite: non_finite.collect(), norms, layers })
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
