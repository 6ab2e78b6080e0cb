//! `[*, cond_dim]` → L × (γ, β): the MLP that draws the modulation from the conditioning.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

use crate::config::{InitType, KernelFilmConfig, NoWeightDecay};
use crate::error::{Error, Result};
use crate::film::Film;
use crate::flops::{Flops, Item};
use crate::init::Init;
use crate::ops::{gelu, linear};
use crate::parameter::{Parameter, WeightDecay};

/// Linear → GELU (exact) → Linear, whose output is one (γ, β) pair per FiLM layer
/// (Perez et al. 2017, arXiv:1709.07871).
///
/// As a candle [`Module`] it returns the flat output; [`films`](Self::films) returns the pairs.
///
/// # Shapes
/// conditioning `[*, cond_dim]` → flat `[*, num_film_layers · 2 · kernel_hidden_dim]`, along whose
/// last axis stand γ₀, β₀, γ₁, β₁, …
#[derive(Debug, Clone)]
pub struct KernelFilmGenerator {
    config: KernelFilmConfig,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor,
}

impl KernelFilmGenerator {
    /// Builds the generator from `vb`: a builder that holds `mlp.{0,2}.{weight,bias}` loads them, a
    /// fresh one initialises them: `mlp.0` as PyTorch's Linear does, `mlp.2` so that γ = 1 and β = 0
    /// (exactly with [`InitType::Identity`]).
    ///
    /// # Errors
    /// If the configuration is not valid, or the builder holds no such tensors or others of that name.
    pub fn new(config: &KernelFilmConfig, vb: VarBuilder) -> Result<Self> {
        let [hidden_weight, hidden_bias, output_weight, output_bias] = config.parameters()?;
        Ok(Self {
            config: config.clone(),
            hidden_weight: hidden_weight.build(&vb)?,
            hidden_bias: hidden_bias.build(&vb)?,
            output_weight: output_weight.build(&vb)?,
            output_bias: output_bias.build(&vb)?,
        })
    }

    /// The arguments it was built with.
    pub fn config(&self) -> &KernelFilmConfig {
        &self.config
    }

    /// The tensors by their checkpoint names, in the order of [`KernelFilmConfig::parameters`].
    ///
    /// # Shapes
    /// → `mlp.0.weight` `[film_hidden_dim, cond_dim]`, `mlp.0.bias` `[film_hidden_dim]`,
    /// `mlp.2.weight` `[out_dim, film_hidden_dim]`, `mlp.2.bias` `[out_dim]`
    pub fn tensors(&self) -> [(&'static str, &Tensor); 4] {
        [
            ("mlp.0.weight", &self.hidden_weight),
            ("mlp.0.bias", &self.hidden_bias),
            ("mlp.2.weight", &self.output_weight),
            ("mlp.2.bias", &self.output_bias),
        ]
    }

    /// The (γ, β) pairs, one per FiLM layer.
    ///
    /// # Shapes
    /// conditioning `[*, cond_dim]` → `num_film_layers` pairs, γ and β each `[*, kernel_hidden_dim]`
    ///
    /// # Errors
    /// If the conditioning's last axis is not `cond_dim` long, or its dtype or device is not the
    /// generator's.
    pub fn films(&self, conditioning: &Tensor) -> Result<Vec<Film>> {
        let flat = self.flat(conditioning)?;
        let (width, axis) = (self.config.kernel_hidden_dim, flat.rank() - 1);
        (0..self.config.num_film_layers)
            .map(|layer| {
                let gamma = flat.narrow(axis, 2 * layer * width, width)?;
                let beta = flat.narrow(axis, (2 * layer + 1) * width, width)?;
                Film::new(gamma, beta)
            })
            .collect()
    }

    fn flat(&self, conditioning: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (&self.hidden_weight, &self.hidden_bias);
        let hidden = gelu(&linear(conditioning, weight, Some(bias), "conditioning")?)?;
        linear(&hidden, &self.output_weight, Some(&self.output_bias), "hidden activations")
    }
}

impl Module for KernelFilmGenerator {
    fn forward(&self, conditioning: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.flat(conditioning)?)
    }
}

impl KernelFilmConfig {
    /// The generator's parameters, `mlp.0.weight`, `mlp.0.bias`, `mlp.2.weight`, `mlp.2.bias`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn parameters(&self) -> Result<[Parameter; 4]> {
        self.validate()?;
        let (hidden, out) = (self.film_hidden_dim, self.out_dim()?);
        let decay = match self.no_weight_decay {
            NoWeightDecay::Flag(false) => WeightDecay::Default,
            NoWeightDecay::Flag(true) => WeightDecay::None,
            NoWeightDecay::Value(value) => WeightDecay::Value(value),
        };
        let torch_linear = Init::Uniform { bound: 1.0 / (self.cond_dim as f64).sqrt() };
        let output = match self.init_type {
            InitType::Identity => Init::Zeros,
            InitType::SmallRandom => Init::Normal { std: self.init_std },
        };
        let identity = Init::FilmIdentity { kernel_hidden_dim: self.kernel_hidden_dim };
        Ok([
            Parameter::new("mlp.0.weight", &[hidden, self.cond_dim], torch_linear.clone(), decay),
            Parameter::new("mlp.0.bias", &[hidden], torch_linear, WeightDecay::None),
            Parameter::new("mlp.2.weight", &[out, hidden], output, decay),
            Parameter::new("mlp.2.bias", &[out], identity, WeightDecay::None),
        ])
    }

    /// What one conditioning vector costs; [`Flops`] states the convention.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), or if a count overflows.
    pub fn flops(&self) -> Result<Flops> {
        let [hidden_weight, hidden_bias, output_weight, output_bias] = self.parameters()?;
        let (cond, hidden) =
            (("cond_dim", self.cond_dim), ("film_hidden_dim", self.film_hidden_dim));
        let layers = ("num_film_layers", self.num_film_layers);
        let width = ("kernel_hidden_dim", self.kernel_hidden_dim);
        Flops::new(vec![
            Item::multiply_adds("mlp.0", &[cond, hidden])?
                .with_parameters(&[&hidden_weight, &hidden_bias]),
            Item::elementwise("gelu", 1, &[hidden])?,
            Item::multiply_adds("mlp.2", &[hidden, layers, ("γ and β", 2), width])?
                .with_parameters(&[&output_weight, &output_bias]),
        ])
    }

    /// Infers the sizes from the shapes of `mlp.0.weight` and `mlp.2.weight` and one further number:
    /// shapes alone give only the product of `num_film_layers` and `kernel_hidden_dim`.
    ///
    /// # Errors
    /// If the shapes do not follow one another, or `kernel_hidden_dim` does not divide them.
    pub fn from_shapes(
        hidden: &[usize],
        output: &[usize],
        kernel_hidden_dim: usize,
    ) -> Result<Self> {
        let &[film_hidden_dim, cond_dim] = hidden else {
            return Err(Error::tensor("mlp.0.weight", "rank 2", format!("{hidden:?}")));
        };
        let &[out_dim, columns] = output else {
            return Err(Error::tensor("mlp.2.weight", "rank 2", format!("{output:?}")));
        };
        if columns != film_hidden_dim {
            let expected = format!("shape [*, {film_hidden_dim}] to follow mlp.0.weight");
            return Err(Error::tensor("mlp.2.weight", expected, format!("{output:?}")));
        }
        let pair = kernel_hidden_dim.saturating_mul(2);
        if pair == 0 || out_dim == 0 || !out_dim.is_multiple_of(pair) {
            let expected =
                format!("a number whose double divides the {out_dim} rows of mlp.2.weight");
            return Err(Error::config("kernel_hidden_dim", expected, kernel_hidden_dim));
        }
        let config = Self::new(cond_dim, kernel_hidden_dim, out_dim / pair)
            .with_film_hidden_dim(film_hidden_dim);
        config.validate()?;
        Ok(config)
    }
}
