//! The kernel: grid lengths and conditioning in, a convolution kernel out.

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;

use super::config::SirenConfig;
use super::embedding::PositionalEmbedding;
use super::grid::{grid, points};
use super::network::{Linear, Network};
use super::{op, plain};
use crate::error::{Error, Result};
use crate::flops::{Flops, Item};
use crate::generator::KernelFilmGenerator;
use crate::ops::fused;
use crate::parameter::Parameter;

/// What a count is for: at inference a kernel without a generator is a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The kernel is drawn in every step.
    Training,
    /// A kernel that nothing modulates is drawn once and for all.
    Inference,
}

/// A SIREN that draws a convolution kernel, of any of the types in [`Omega`](super::Omega).
///
/// h₀ is the positional embedding; each hidden layer is h ← sin(W h + b), then h ← γ ⊙ h + β; the last one
/// is linear. With `film_after_pos_embed` the first (γ, β) modulates h₀.
///
/// # Shapes
/// grid lengths L, conditioning `[B, cond_dim]` → kernel `[B, *2L−1, out_dim]`, grid `[1, *2L−1, D]`
#[derive(Debug, Clone)]
pub struct SirenKernel {
    config: SirenConfig,
    embedding: PositionalEmbedding,
    hidden: Vec<Linear<Tensor>>,
    out: Linear<Tensor>,
    generator: Option<KernelFilmGenerator>,
    dtype: DType,
    device: Device,
}

impl SirenKernel {
    /// Builds the kernel from `vb`: loads `positional_embedding.*`, `hidden_linears.{i}.*`, `out_linear.*`
    /// and `film_generator.mlp.*`, or initialises them.
    ///
    /// # Errors
    /// If the configuration is not valid, or the builder holds tensors of other shapes.
    pub fn new(config: &SirenConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let parameters = config.parameters()?;
        let parameters = by_name(&parameters);
        let layer = |name: String| -> Result<Linear<Tensor>> {
            let build = |suffix: &str| {
                let parameter = parameters.get(format!("{name}.{suffix}").as_str());
                parameter.map(|parameter| parameter.build(&vb)).transpose()
            };
            let missing = || Error::MissingTensor { tensor: format!("{name}.weight") };
            Ok((build("weight")?.ok_or_else(missing)?, build("bias")?))
        };
        let hidden =
            (0..config.num_layers - 1).map(|index| layer(format!("hidden_linears.{index}")));
        let generator = config.film_generator.as_ref();
        Ok(Self {
            embedding: PositionalEmbedding::new(config, &vb)?,
            hidden: hidden.collect::<Result<_>>()?,
            out: layer("out_linear".into())?,
            generator: generator
                .map(|film| KernelFilmGenerator::new(film, vb.pp("film_generator")))
                .transpose()?,
            config: config.clone(),
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// The arguments it was built with.
    pub fn config(&self) -> &SirenConfig {
        &self.config
    }

    /// What modulates it, if anything does.
    pub fn generator(&self) -> Option<&KernelFilmGenerator> {
        self.generator.as_ref()
    }

    /// Draws the kernel. Without conditioning, or without a generator, nothing is modulated and the
    /// leading axis is 1.
    ///
    /// # Shapes
    /// `lengths` L, one an axis, conditioning `[B, cond_dim]` → kernel `[1 or B, *2L−1, out_dim]` in the
    /// module's dtype, grid `[1, *2L−1, D]` in float32 or float64
    ///
    /// # Errors
    /// If the lengths do not fit the axes, or the conditioning is of another shape.
    pub fn forward(
        &self,
        lengths: &[usize],
        conditioning: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let modulation = self.generator.as_ref().zip(conditioning);
        if let Some((generator, conditioning)) = modulation.filter(|(_, c)| c.rank() != 2) {
            let expected = format!("shape [B, {}]", generator.config().cond_dim);
            let found = format!("{:?}", conditioning.dims());
            return Err(Error::tensor("conditioning", expected, found));
        }
        let grid = grid(lengths, &self.config.l_cache, self.dtype, &self.device)?;
        let (embedding, scale) = self.embedding.tensors(grid.dtype())?;
        let layers = self.hidden.iter().chain([&self.out]).cloned().collect();
        let network = Network { embedding, scale, layers };
        let after = self.config.film_after_pos_embed;
        let kernel = if fused(&self.out.0) {
            let films = modulation.map(|(generator, conditioning)| generator.forward(conditioning));
            op::draw(&network, after, &grid, films.transpose()?.as_ref())?
        } else {
            let films = modulation.map(|(generator, conditioning)| generator.films(conditioning));
            plain::draw(
                &network,
                after,
                &grid,
                &films.transpose()?.unwrap_or_default(),
                self.dtype,
            )?
        };
        Ok((kernel, grid))
    }
}

/// What a layer's parameters may be called, behind the layer's name.
const OWN: [&str; 5] = ["weight", "bias", "linear.weight", "linear.bias", "omega_0_scale"];

/// A kernel may have thousands of layers: none of them searches the list.
fn by_name(parameters: &[Parameter]) -> HashMap<&str, &Parameter> {
    parameters.iter().map(|parameter| (parameter.name.as_str(), parameter)).collect()
}

impl SirenConfig {
    /// What drawing one kernel of these grid lengths costs; [`Flops`] states the convention (a sine is
    /// 1 FLOP per element). FiLM is a multiply-add per element of each modulated layer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), or if a count overflows.
    pub fn flops(&self, lengths: &[usize], phase: Phase) -> Result<Flops> {
        self.validate()?;
        if lengths.len() != self.data_dim {
            let expected = format!("{} lengths, one for each axis", self.data_dim);
            return Err(Error::config("grid", expected, format!("{lengths:?}")));
        }
        let grid = ("grid points", points(lengths)?);
        if self.film_generator.is_none() && phase == Phase::Inference {
            return Flops::new(vec![]);
        }
        let parameters = self.parameters()?;
        let parameters = by_name(&parameters);
        let linear = |name: &str, inputs: usize, outputs: usize| -> Result<Item> {
            let sizes = [grid, ("inputs", inputs), ("outputs", outputs)];
            let own = OWN.iter().filter_map(|own| parameters.get(format!("{name}.{own}").as_str()));
            let own: Vec<&Parameter> = own.copied().collect();
            Ok(Item::multiply_adds(name, &sizes)?.with_parameters(&own))
        };
        let sine = |width: usize| Item::elementwise("sine", 1, &[grid, ("width", width)]);
        let film = |index: usize| {
            let width = ("kernel_hidden_dim", self.mlp_hidden_dim);
            Item::multiply_adds(&format!("film.{index}"), &[grid, width])
                .map(|item| Item { macs: 0, ..item })
        };
        let mut items = Vec::new();
        let mut films = 0..0;
        if let Some(generator) = &self.film_generator {
            items.extend(generator.flops()?.under("film_generator"));
            films = 0..generator.num_film_layers;
        }
        items.push(linear("positional_embedding", self.data_dim, self.embedding_dim)?);
        items.push(sine(self.embedding_dim)?);
        if self.film_after_pos_embed {
            items.extend(films.next().map(film).transpose()?);
        }
        for index in 0..self.num_layers - 1 {
            let name = format!("hidden_linears.{index}");
            items.push(linear(&name, self.layer_input(index), self.mlp_hidden_dim)?);
            items.push(sine(self.mlp_hidden_dim)?);
            items.extend(films.next().map(film).transpose()?);
        }
        items.push(linear("out_linear", self.layer_input(self.num_layers - 1), self.out_dim)?);
        Flops::new(items)
    }
}
