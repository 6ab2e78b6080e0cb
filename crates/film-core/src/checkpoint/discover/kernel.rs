//! SIREN kernels, by the names and shapes of their layers, with the parts that belong to them.

use super::encoder::FoundEncoder;
use super::generator::FoundGenerator;
use super::names::{join, parent_of};
use super::settings::KernelSettings;
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::error::{Error, Result};
use crate::mask::{ExponentialMaskConfig, GaussianMaskConfig, MaskConfig};
use crate::short::short;
use crate::siren::{Omega, SirenConfig};

/// A SIREN kernel's place, sizes and parts. What shapes cannot tell is in [`KernelSettings`].
#[derive(Debug, Clone, PartialEq)]
pub struct FoundKernel {
    /// What stands before `.positional_embedding.linear.weight`; empty at the root.
    pub prefix: String,
    /// Number of grid axes.
    pub data_dim: usize,
    /// Width of the positional embedding.
    pub embedding_dim: usize,
    /// Width of the hidden layers.
    pub mlp_hidden_dim: usize,
    /// Number of layers behind the embedding.
    pub num_layers: usize,
    /// Channels of the kernel.
    pub out_dim: usize,
    /// Whether the layers have biases.
    pub use_bias: bool,
    /// Whether the frequencies are learned (there is an `omega_0_scale`).
    pub learnable: bool,
    /// Whether the first (γ, β) modulates the embedding, where the number of pairs tells.
    pub film_after_pos_embed: Option<bool>,
    /// Number of trainable numbers, the generator's not included.
    pub parameters: u64,
    /// Its generator.
    pub generator: Option<FoundGenerator>,
    /// The mask beside it.
    pub mask: Option<FoundMask>,
    /// The register encoder that feeds its generator.
    pub encoder: Option<FoundEncoder>,
}

/// A mask's place, kind and sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMask {
    /// What stands before its parameter's name.
    pub prefix: String,
    /// Whether it is Gaussian (`std_param`); else exponential (`weight`).
    pub gaussian: bool,
    /// Number of grid axes.
    pub data_dim: usize,
    /// Number of channels.
    pub num_channels: usize,
}

/// The kernel at `prefix`, or why there is none.
pub(super) fn kernel(
    checkpoint: &Checkpoint,
    prefix: &str,
) -> std::result::Result<FoundKernel, String> {
    let shape = |name: &str| -> Option<Vec<usize>> {
        checkpoint.get(&join(prefix, name)).map(|tensor| tensor.shape.clone())
    };
    let matrix = |name: &str| match shape(name).as_deref() {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok((rows, columns)),
        Some(other) => {
            Err(format!("{}: expected a matrix, found shape {other:?}", join(prefix, name)))
        }
        None => Err(format!("{} is missing", join(prefix, name))),
    };
    let (embedding_dim, data_dim) = matrix("positional_embedding.linear.weight")?;
    let (out_dim, mlp_hidden_dim) = matrix("out_linear.weight")?;
    let mut hidden = 0;
    while shape(&format!("hidden_linears.{hidden}.weight")).is_some() {
        let name = format!("hidden_linears.{hidden}.weight");
        let expected = (mlp_hidden_dim, if hidden == 0 { embedding_dim } else { mlp_hidden_dim });
        let found = matrix(&name)?;
        if found != expected {
            return Err(format!(
                "{}: expected shape {expected:?}, found {found:?}",
                join(prefix, &name)
            ));
        }
        hidden += 1;
    }
    if hidden == 0 && mlp_hidden_dim != embedding_dim {
        return Err(format!("{} is missing", join(prefix, "hidden_linears.0.weight")));
    }
    let use_bias = shape("positional_embedding.linear.bias").is_some();
    let own = ["positional_embedding.", "hidden_linears.", "out_linear."]
        .map(|layer| join(prefix, layer));
    let tensors: Vec<&TensorInfo> =
        own.iter().flat_map(|layer| checkpoint.starting_with(layer)).collect();
    whole(checkpoint, prefix, hidden, use_bias)?;
    Ok(FoundKernel {
        prefix: prefix.into(),
        data_dim,
        embedding_dim,
        mlp_hidden_dim,
        num_layers: hidden + 1,
        out_dim,
        use_bias,
        learnable: shape("positional_embedding.omega_0_scale").is_some(),
        film_after_pos_embed: None,
        parameters: tensors.iter().map(|tensor| tensor.count() as u64).sum(),
        generator: None,
        mask: mask(checkpoint, parent_of(prefix), data_dim, out_dim)?,
        encoder: None,
    })
}

/// Whether all layers have a bias or none has, and no hidden layer stands behind a gap.
fn whole(
    checkpoint: &Checkpoint,
    prefix: &str,
    hidden: usize,
    use_bias: bool,
) -> std::result::Result<(), String> {
    let first = "positional_embedding.linear.bias".to_string();
    let biases = (0..hidden).map(|index| format!("hidden_linears.{index}.bias"));
    for bias in biases.chain(["out_linear.bias".into()]) {
        if checkpoint.get(&join(prefix, &bias)).is_some() != use_bias {
            let missing = if use_bias { &bias } else { &first };
            return Err(format!("{} is missing", join(prefix, missing)));
        }
    }
    let layers = join(prefix, "hidden_linears.");
    let counted = |name: &str| {
        let index = name[layers.len()..].split('.').next().and_then(|index| index.parse().ok());
        index.is_some_and(|index: usize| index < hidden)
    };
    match checkpoint.starting_with(&layers).find(|tensor| !counted(&tensor.name)) {
        Some(other) => {
            let missing = join(prefix, &format!("hidden_linears.{hidden}.weight"));
            Err(format!("{missing} is missing, but {} is there", other.name))
        }
        None => Ok(()),
    }
}

/// The mask in the module `parent`, for kernels of `channels` channels.
fn mask(
    checkpoint: &Checkpoint,
    parent: &str,
    data_dim: usize,
    channels: usize,
) -> std::result::Result<Option<FoundMask>, String> {
    let prefix = join(parent, "mask");
    for (name, gaussian) in [("std_param", true), ("weight", false)] {
        let name = join(&prefix, name);
        let Some(tensor) = checkpoint.get(&name) else { continue };
        let expected = [data_dim, channels];
        if tensor.shape != expected {
            return Err(format!(
                "{name}: expected shape {expected:?} (axes, channels), found {:?}",
                tensor.shape
            ));
        }
        return Ok(Some(FoundMask { prefix, gaussian, data_dim, num_channels: channels }));
    }
    Ok(None)
}

impl FoundKernel {
    /// Gives the kernel the generator inside it, which settles `film_after_pos_embed` where the number of
    /// pairs does: as many as hidden layers means no, one more means yes.
    pub(super) fn adopt(&mut self, generator: &FoundGenerator) {
        let width = 2 * self.mlp_hidden_dim;
        let mut generator = generator.clone();
        if generator.out_dim.is_multiple_of(width) {
            let pairs = generator.out_dim / width;
            generator.kernel_hidden_dim = Some(self.mlp_hidden_dim);
            generator.num_film_layers = Some(pairs);
            self.film_after_pos_embed = match pairs + 1 {
                layers if layers == self.num_layers => Some(false),
                layers if layers == self.num_layers + 1 => Some(true),
                _ => None,
            };
        }
        self.generator = Some(generator);
    }

    /// An error where the generator's pairs are neither as many as hidden layers nor one more.
    fn check_pairs(&self) -> Result<()> {
        let Some(generator) = &self.generator else { return Ok(()) };
        if self.film_after_pos_embed.is_some() {
            return Ok(());
        }
        let film = generator.config(Some(self.mlp_hidden_dim))?;
        let layers = self.num_layers - 1;
        let expected = format!("{layers}, as there are hidden layers, or {}", layers + 1);
        Err(Error::config("num_film_layers", expected, film.num_film_layers))
    }

    /// The prefix, or a name for none.
    pub fn name(&self) -> &str {
        if self.prefix.is_empty() { "(root)" } else { &self.prefix }
    }

    /// The kernel's configuration: the sizes found here, the rest from `settings`.
    ///
    /// ω₀ takes part in the forward pass of learnable kernels only; of the others it is the init's alone, and
    /// is set to 1 where `settings` does not have it.
    ///
    /// # Errors
    /// If `settings` lacks something; the error names everything that is missing.
    pub fn config(&self, settings: &KernelSettings) -> Result<SirenConfig> {
        self.check_pairs()?;
        let mut missing = vec![];
        if settings.l_cache.is_none() {
            missing.push("L_cache");
        }
        if self.learnable && settings.omega_0.is_none() {
            missing.push("omega_0");
        }
        let after = self.film_after_pos_embed.or(settings.film_after_pos_embed);
        if !missing.is_empty() {
            return Err(Error::Selection(format!(
                "{}: the checkpoint does not tell {}: give it in config.json or by flag",
                self.name(),
                missing.join(", ")
            )));
        }
        if let (Some(told), Some(said)) = (self.film_after_pos_embed, settings.film_after_pos_embed)
            && told != said
        {
            let expected = format!("{told}, as the number of (γ, β) pairs tells");
            return Err(Error::config("film_after_pos_embed", expected, said));
        }
        let omega_0 = settings.omega_0.unwrap_or(1.0);
        let omega = match self.learnable {
            true => Omega::Learnable { omega_0, scale: settings.scale.clone() },
            false => Omega::Fixed { omega_0 },
        };
        let l_cache = settings.l_cache.clone().unwrap_or_default();
        let config = SirenConfig {
            out_dim: self.out_dim,
            data_dim: self.data_dim,
            mlp_hidden_dim: self.mlp_hidden_dim,
            num_layers: self.num_layers,
            embedding_dim: self.embedding_dim,
            omega,
            hidden_omega_0: 1.0,
            l_cache: if let [one] = l_cache.as_slice() {
                vec![*one; self.data_dim]
            } else {
                l_cache
            },
            use_bias: self.use_bias,
            film_after_pos_embed: after.unwrap_or(false),
            film_generator: self
                .generator
                .as_ref()
                .map(|found| found.config(Some(self.mlp_hidden_dim)))
                .transpose()?,
        };
        config.validate()?;
        Ok(config)
    }
}

impl FoundKernel {
    /// The configuration of the mask beside it, if there is one.
    ///
    /// # Errors
    /// If `settings` name a mask and there is none, or one of another kind.
    pub fn mask_config(
        &self,
        settings: &KernelSettings,
        l_cache: &[usize],
    ) -> Result<Option<MaskConfig>> {
        let name = settings.mask.as_deref().unwrap_or_default();
        let says = |kind: &str| name.to_ascii_lowercase().contains(kind);
        let expected = match &self.mask {
            None if !name.is_empty() => {
                let mask = join(parent_of(&self.prefix), "mask");
                format!("none, as there is neither {mask}.std_param nor {mask}.weight")
            }
            Some(mask) if mask.gaussian && says("exponential") => {
                format!("a Gaussian one, as there is {}", join(&mask.prefix, "std_param"))
            }
            Some(mask) if !mask.gaussian && says("gaussian") => {
                format!("an exponential one, as there is {}", join(&mask.prefix, "weight"))
            }
            mask => return Ok(mask.as_ref().map(|mask| mask.config(settings, l_cache))),
        };
        Err(Error::config("mask", expected, format!("{:?}", short(name))))
    }
}

impl FoundMask {
    /// The mask's configuration: the sizes found here, the rest from `settings`; σ's bounds are the
    /// original's for `l_cache` where `settings` does not have them.
    pub fn config(&self, settings: &KernelSettings, l_cache: &[usize]) -> MaskConfig {
        let Self { data_dim, num_channels, .. } = *self;
        if !self.gaussian {
            return MaskConfig::Exponential(ExponentialMaskConfig { data_dim, num_channels });
        }
        let default = GaussianMaskConfig::new(num_channels, l_cache);
        MaskConfig::Gaussian(GaussianMaskConfig {
            data_dim,
            min_std: settings.min_std.unwrap_or(default.min_std),
            max_std: settings.max_std.unwrap_or(default.max_std),
            parametrization: settings.parametrization,
            ..default
        })
    }
}
