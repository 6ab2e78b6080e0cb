//! γ and β for some conditioning → their statistics, gathered chunk by chunk.

use std::f64::consts::PI;
use std::fmt;

use candle_core::Tensor;
use serde::Serialize;

use super::{decimals, numbers};
use crate::config::KernelFilmConfig;
use crate::error::{Error, Result};
use crate::film::Film;
use crate::statistics::{Gatherer, Histogram, Summary};

/// Gathers what a generator gives, in as many chunks as there are.
#[derive(Debug, Clone)]
pub struct Observer {
    cond_dim: usize,
    width: usize,
    conditioning: Gatherer,
    samples: u64,
    dead: u64,
    /// γ and β of each layer.
    layers: Vec<[Gatherer; 2]>,
    histograms: Vec<[Histogram; 2]>,
}

/// What a generator was given and gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outputs {
    /// What it was given.
    pub conditioning: Conditioning,
    /// What it gave, layer by layer.
    pub layers: Vec<Modulation>,
}

/// Statistics of the conditioning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conditioning {
    /// Number of vectors.
    pub samples: u64,
    /// How many of them are zero throughout.
    pub dead: u64,
    /// Of all values.
    pub values: Summary,
}

/// Statistics of one layer's γ and β.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Modulation {
    /// Of γ. `negative` is the share of flipped signs, `spread` the dependence on the conditioning.
    pub gamma: Summary,
    /// Of β.
    pub beta: Summary,
}

impl Observer {
    /// An observer of a generator with that configuration, which has seen nothing yet.
    pub fn new(config: &KernelFilmConfig) -> Self {
        Self {
            cond_dim: config.cond_dim,
            width: config.kernel_hidden_dim,
            conditioning: Gatherer::new(config.cond_dim),
            samples: 0,
            dead: 0,
            layers: (0..config.num_film_layers)
                .map(|_| [(); 2].map(|()| Gatherer::new(config.kernel_hidden_dim)))
                .collect(),
            histograms: vec![Default::default(); config.num_film_layers],
        }
    }

    /// Takes in a chunk of conditioning and what the generator gave for it.
    ///
    /// # Shapes
    /// conditioning `[*, cond_dim]`, `num_film_layers` pairs of γ and β `[*, kernel_hidden_dim]`
    ///
    /// # Errors
    /// If there are more or fewer pairs, or something is of another width; then nothing is taken in.
    pub fn add(&mut self, conditioning: &Tensor, films: &[Film]) -> Result<()> {
        if films.len() != self.layers.len() {
            let expected = format!("{} of them", self.layers.len());
            return Err(Error::tensor("pairs of γ and β", expected, films.len().to_string()));
        }
        let widths = films.iter().map(|film| ("gamma", &film.gamma, self.width));
        for (name, tensor, width) in
            [("conditioning", conditioning, self.cond_dim)].into_iter().chain(widths)
        {
            if tensor.dims().last() != Some(&width) {
                let found = format!("{:?}", tensor.dims());
                return Err(Error::tensor(name, format!("shape [*, {width}]"), found));
            }
        }
        let conditioning = numbers(conditioning)?;
        let pairs =
            films.iter().map(|film| numbers(&Tensor::stack(&[&film.gamma, &film.beta], 0)?));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        for vector in conditioning.chunks_exact(self.cond_dim.max(1)) {
            self.samples += 1;
            self.dead += u64::from(vector.iter().all(|value| *value == 0.0));
        }
        self.conditioning.add(&conditioning);
        for ((gatherers, histograms), values) in
            self.layers.iter_mut().zip(&mut self.histograms).zip(pairs)
        {
            let (gammas, betas) = values.split_at(values.len() / 2);
            for (part, values) in [gammas, betas].into_iter().enumerate() {
                gatherers[part].add(values);
                histograms[part].add(values);
            }
        }
        Ok(())
    }

    /// How often which γ and β occurred so far, layer by layer.
    pub fn histograms(&self) -> &[[Histogram; 2]] {
        &self.histograms
    }

    /// The statistics so far.
    pub fn outputs(&self) -> Outputs {
        let modulation = |[gamma, beta]: &[Gatherer; 2]| Modulation {
            gamma: gamma.summary(),
            beta: beta.summary(),
        };
        Outputs {
            conditioning: Conditioning {
                samples: self.samples,
                dead: self.dead,
                values: self.conditioning.summary(),
            },
            layers: self.layers.iter().map(modulation).collect(),
        }
    }
}

impl Modulation {
    /// √(mean of β²)/π: from 1 on, what β adds to the next sine's argument may be any phase.
    pub fn beta_over_pi(&self) -> Option<f64> {
        self.beta.rms().map(|rms| rms / PI)
    }
}

impl fmt::Display for Conditioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { min, max, spread, .. } = &self.values;
        let [min, max, spread] = [min, max, spread].map(|value| decimals(*value));
        let (samples, dead) = (self.samples, self.dead);
        write!(
            f,
            "conditioning: {samples} samples, {dead} all zero, {min} to {max}, spread {spread}"
        )
    }
}

impl fmt::Display for Modulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |Summary { min, max, spread, .. }: &Summary| {
            let [min, max, spread] = [min, max, spread].map(|value| decimals(*value));
            format!("{min} to {max}, spread {spread}")
        };
        let negative =
            self.gamma.negative.map_or("–".into(), |share| format!("{:.1}", 100.0 * share));
        let (gamma, beta) = (part(&self.gamma), part(&self.beta));
        write!(
            f,
            "γ {gamma}, {negative} % negative; β {beta}, rms {} π",
            decimals(self.beta_over_pi())
        )
    }
}
