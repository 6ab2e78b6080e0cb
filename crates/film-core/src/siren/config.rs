//! The kernel's configuration: plain data, the original's names as JSON keys.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde_json::Value;

use super::omega::{Blocks, Omega, Scale, Spacing};
use crate::config::KernelFilmConfig;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::json::{self, Object, at_least_1, required_size};
use crate::parameter::{Parameter, WeightDecay};

/// Sizes beyond these are mistakes, and would only be found out by running out of memory.
const MAX_WIDTH: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;
const MAX_AXES: usize = 64;

/// The arguments of a [`SirenKernel`](super::SirenKernel).
#[derive(Debug, Clone, PartialEq)]
pub struct SirenConfig {
    /// Channels of the kernel.
    pub out_dim: usize,
    /// Number of grid axes, D.
    pub data_dim: usize,
    /// Width of the hidden layers, H.
    pub mlp_hidden_dim: usize,
    /// Number of layers behind the embedding: the hidden ones and the last.
    pub num_layers: usize,
    /// Width of the positional embedding, E.
    pub embedding_dim: usize,
    /// The frequencies: which of the kernel types it is.
    pub omega: Omega,
    /// Part of the original's arguments; it cancels out of the init and the forward pass. Default 1.
    pub hidden_omega_0: f64,
    /// Points from the centre to the edge for which an axis spans [−1, 1], for each axis.
    pub l_cache: Vec<usize>,
    /// Whether the layers have biases. Default true.
    pub use_bias: bool,
    /// Whether the first (γ, β) modulates the embedding. Default false.
    pub film_after_pos_embed: bool,
    /// The generator of the modulation, if there is one.
    pub film_generator: Option<KernelFilmConfig>,
}

impl SirenConfig {
    /// Reads a JSON object. Keys it does not know are left alone.
    ///
    /// Beside the original's keys: `omega_0` may be a list, one number for each row of the embedding (multi-ω);
    /// `num_blocks` (with `omega_0_min`, `omega_0_max`, `omega_0_spacing`, `off_block_scale`) makes the kernel
    /// block-diagonal; `learnable_omega_0` (with `omega_0_scale_min`, `omega_0_scale_max`,
    /// `scale_learning_rate`) makes its frequencies learnable.
    ///
    /// # Errors
    /// A missing required key, a value of the wrong kind, or one that [`validate`](Self::validate) refuses.
    pub fn from_json(json: &Object) -> Result<Self> {
        let data_dim = required_size(json, "data_dim")?;
        within("data_dim", data_dim, MAX_AXES)?;
        let l_cache = json::sizes(json, "L_cache", data_dim)?;
        let film_generator = match json.get("film_generator") {
            None | Some(Value::Null) => None,
            Some(Value::Object(film)) => Some(KernelFilmConfig::from_json(film)?),
            Some(other) => return Err(Error::config("film_generator", "an object", other)),
        };
        let config = Self {
            out_dim: required_size(json, "out_dim")?,
            data_dim,
            mlp_hidden_dim: required_size(json, "mlp_hidden_dim")?,
            num_layers: required_size(json, "num_layers")?,
            embedding_dim: required_size(json, "embedding_dim")?,
            omega: omega(json)?,
            hidden_omega_0: json::number(json, "hidden_omega_0")?.unwrap_or(1.0),
            l_cache: l_cache.ok_or_else(|| {
                Error::config("L_cache", "an integer of at least 2", "nothing: the key is missing")
            })?,
            use_bias: json::flag(json, "use_bias")?.unwrap_or(true),
            film_after_pos_embed: json::flag(json, "film_after_pos_embed")?.unwrap_or(false),
            film_generator,
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a kernel can exist.
    ///
    /// # Errors
    /// A zero size; an L_cache below 2 or not one for each axis; frequencies or bounds that are not positive or
    /// out of order; widths that `num_blocks` does not divide; a generator whose `kernel_hidden_dim` is not
    /// `mlp_hidden_dim` or whose `num_film_layers` is not num_layers − 1 + film_after_pos_embed; with
    /// `film_after_pos_embed`, an `embedding_dim` other than `mlp_hidden_dim`. Each names expected and found.
    pub fn validate(&self) -> Result<()> {
        for (key, value, limit) in [
            ("out_dim", self.out_dim, MAX_WIDTH),
            ("data_dim", self.data_dim, MAX_AXES),
            ("mlp_hidden_dim", self.mlp_hidden_dim, MAX_WIDTH),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("embedding_dim", self.embedding_dim, MAX_WIDTH),
        ] {
            within(key, value, limit)?;
        }
        if self.l_cache.len() != self.data_dim || self.l_cache.iter().any(|&length| length < 2) {
            let expected = format!("{} integers of at least 2, one for each axis", self.data_dim);
            return Err(Error::config("L_cache", expected, format!("{:?}", self.l_cache)));
        }
        json::positive("hidden_omega_0", self.hidden_omega_0)?;
        self.omega.validate(&[
            ("embedding_dim", self.embedding_dim),
            ("mlp_hidden_dim", self.mlp_hidden_dim),
            ("out_dim", self.out_dim),
        ])?;
        let Some(film) = &self.film_generator else { return Ok(()) };
        film.validate()?;
        let same = |key: &str, expected: usize, why: &str, found: usize| match expected == found {
            true => Ok(()),
            false => Err(Error::config(key, format!("{expected}, {why}"), found)),
        };
        same(
            "kernel_hidden_dim",
            self.mlp_hidden_dim,
            "the mlp_hidden_dim",
            film.kernel_hidden_dim,
        )?;
        let (layers, after) = (self.num_layers - 1, usize::from(self.film_after_pos_embed));
        let why = format!("num_layers − 1 = {layers} and {after} after the embedding");
        same("num_film_layers", layers + after, &why, film.num_film_layers)?;
        if self.film_after_pos_embed {
            let why = "the mlp_hidden_dim, as film_after_pos_embed needs it";
            same("embedding_dim", self.mlp_hidden_dim, why, self.embedding_dim)?;
        }
        Ok(())
    }

    /// The kernel's parameters, the generator's included, by their checkpoint names.
    ///
    /// Only `out_linear.weight` (and what the generator's own policy says) decays.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        self.validate()?;
        let (embedding, hidden, out) = (self.embedding_dim, self.mlp_hidden_dim, self.out_dim);
        let mut parameters = vec![];
        let mut add = |name: String, shape: &[usize], init: Init, decay: WeightDecay| {
            parameters.push(Parameter::new(&name, shape, init, decay));
        };
        let bounds = self.omega.row_bounds(embedding, self.data_dim);
        let none = WeightDecay::None;
        add(
            "positional_embedding.linear.weight".into(),
            &[embedding, self.data_dim],
            Init::UniformRows { bounds },
            none,
        );
        if self.use_bias {
            add("positional_embedding.linear.bias".into(), &[embedding], Init::Zeros, none);
        }
        if let Some(values) = self.omega.scale_start(embedding) {
            add(
                "positional_embedding.omega_0_scale".into(),
                &[embedding],
                Init::Values { values },
                none,
            );
        }
        for index in 0..self.num_layers {
            let last = index == self.num_layers - 1;
            let (name, outputs) = if last {
                ("out_linear".into(), out)
            } else {
                (format!("hidden_linears.{index}"), hidden)
            };
            let inputs = self.layer_input(index);
            // The kernel's variance falls with the number of points it is summed over.
            let points: f64 = self.l_cache.iter().map(|&length| length as f64).product();
            let shrink = if last { 1.0 / points.sqrt() } else { 1.0 };
            let init = Init::BlockUniform {
                bound: (6.0 / inputs as f64).sqrt() * shrink,
                num_blocks: self.omega.blocks().map_or(1, |blocks| blocks.num_blocks),
                off_block_scale: self.omega.blocks().map_or(1.0, |blocks| blocks.off_block_scale),
            };
            add(
                format!("{name}.weight"),
                &[outputs, inputs],
                init,
                if last { WeightDecay::Default } else { none },
            );
            if self.use_bias {
                add(format!("{name}.bias"), &[outputs], Init::Zeros, none);
            }
        }
        if let (Some(factor), Some(scale)) = (self.omega.learnable_factor(), self.omega.scale())
            && scale.scale_learning_rate
        {
            let in_embedding = |parameter: &&mut Parameter| {
                parameter.name.starts_with("positional_embedding.linear.")
            };
            parameters
                .iter_mut()
                .filter(in_embedding)
                .for_each(|parameter| parameter.learning_rate_scale = 1.0 / factor);
        }
        if let Some(film) = &self.film_generator {
            parameters
                .extend(film.parameters()?.map(|parameter| parameter.under("film_generator")));
        }
        Ok(parameters)
    }

    /// Inputs of layer `index`, counted from the first behind the embedding.
    pub(super) fn layer_input(&self, index: usize) -> usize {
        if index == 0 { self.embedding_dim } else { self.mlp_hidden_dim }
    }

    /// The tensor of the parameter `name`, if the kernel has such a one.
    pub(super) fn build(&self, name: &str, vb: &VarBuilder) -> Result<Option<Tensor>> {
        let parameters = self.parameters()?;
        let parameter = parameters.iter().find(|parameter| parameter.name == name);
        parameter.map(|parameter| parameter.build(vb)).transpose()
    }

    /// The tensor of the parameter `name`.
    pub(super) fn build_required(&self, name: &str, vb: &VarBuilder) -> Result<Tensor> {
        self.build(name, vb)?.ok_or_else(|| Error::MissingTensor { tensor: name.into() })
    }
}

fn within(key: &str, value: usize, limit: usize) -> Result<()> {
    match value {
        0 => at_least_1(key, value),
        _ if value > limit => Err(Error::config(key, format!("at most {limit}"), value)),
        _ => Ok(()),
    }
}

/// The frequencies, by the keys that are there.
fn omega(json: &Object) -> Result<Omega> {
    let number =
        |key: &str, default: f64| Ok::<f64, Error>(json::number(json, key)?.unwrap_or(default));
    let defaults = Scale::default();
    let scale = Scale {
        min: number("omega_0_scale_min", defaults.min)?,
        max: number("omega_0_scale_max", defaults.max)?,
        scale_learning_rate: json::flag(json, "scale_learning_rate")?
            .unwrap_or(defaults.scale_learning_rate),
    };
    let learnable = json::flag(json, "learnable_omega_0")?.unwrap_or(false);
    if let Some(num_blocks) = json::size(json, "num_blocks")? {
        let defaults = Blocks::default();
        let spacing = match json.get("omega_0_spacing").map(|value| (value, value.as_str())) {
            None | Some((_, Some("linear"))) => Spacing::Linear,
            Some((_, Some("log"))) => Spacing::Log,
            Some((other, _)) => {
                return Err(Error::config("omega_0_spacing", "\"linear\" or \"log\"", other));
            }
        };
        let blocks = Blocks {
            num_blocks,
            omega_0_min: number("omega_0_min", defaults.omega_0_min)?,
            omega_0_max: number("omega_0_max", defaults.omega_0_max)?,
            spacing,
            off_block_scale: number("off_block_scale", defaults.off_block_scale)?,
        };
        return Ok(if learnable {
            Omega::LearnableBlocks { blocks, scale }
        } else {
            Omega::Blocks(blocks)
        });
    }
    let expected = |found: &dyn std::fmt::Display| {
        Error::config("omega_0", "a number, or a list of numbers", found)
    };
    match json.get("omega_0") {
        Some(Value::Array(values)) if !learnable => {
            let omegas = values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>();
            Ok(Omega::Multi {
                omegas: omegas.ok_or_else(|| expected(&Value::Array(values.clone())))?,
            })
        }
        Some(value) => {
            let omega_0 = value.as_f64().ok_or_else(|| expected(value))?;
            Ok(if learnable {
                Omega::Learnable { omega_0, scale }
            } else {
                Omega::Fixed { omega_0 }
            })
        }
        None => Err(expected(&"nothing: the key is missing")),
    }
}
