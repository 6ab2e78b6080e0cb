//! The flags of `conv`, and those that it shares with `kernel`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::conv::{Algorithm, Boundary};

use super::{INPUTS, Lengths, Rows, Tensors, lengths, positive};
use crate::commands::{Usage, kernel_settings};

/// Convolve a signal with the kernels that a checkpoint draws for it
///
/// y = x ∗ kernel + shortcut ⊙ x, channel by channel, with the whole chain out of a checkpoint: register
/// encoder, FiLM generator, SIREN kernel, mask, shortcut. The signal is [B, *lengths, C], or
/// [B, C, *lengths] with --channels-first; conditioning is [1 or B, cond_dim], registers are
/// [1 or B, R, C]; without either, or --random, the kernel is not modulated.
///
/// What shapes cannot tell (padding, ω₀, L_cache, …) is read from config.json, or given by flag. Output
/// holds `output`, in the layout of the input; without --output a summary is printed.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("condition").args(INPUTS), after_help = "\
Examples:
  film-tools conv tests/fixtures/ckconv/2d_zero --random 1 \\
      --input tests/fixtures/ckconv/2d_zero/io.safetensors:input
  film-tools conv tests/fixtures/ckconv/1d_zero/model.safetensors \\
      --input tests/fixtures/ckconv/1d_zero/io.safetensors:input \\
      --causal --l-cache 10 --output causal.npz")]
pub(crate) struct Conv {
    /// A .safetensors file, a directory or an index file
    pub(crate) checkpoint: PathBuf,
    /// The signal
    #[arg(long, value_name = "FILE[:TENSOR]")]
    pub(crate) input: String,
    /// Whether the channels stand behind the batch axis, not last
    #[arg(long)]
    pub(crate) channels_first: bool,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// The convolution at this prefix or below it
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) padding: Padding,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// How to compute it: direct, fft, matmul or reference [default: by sizes and device]
    #[arg(long, value_name = "WAY", hide_possible_values = true)]
    pub(crate) algorithm: Option<Way>,
    #[command(flatten)]
    pub(crate) tensors: Tensors,
}

/// What a convolution's axes take beyond their ends.
#[derive(Debug, Args)]
pub(crate) struct Padding {
    /// Beyond the ends: zero or circular, for all axes or each: zero,circular
    #[arg(long, value_name = "P[,P]", value_delimiter = ',', hide_possible_values = true)]
    pub(crate) padding: Vec<PaddingName>,
    /// Whether outputs see no later input; one axis with zero padding
    #[arg(long)]
    pub(crate) causal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PaddingName {
    Zero,
    Circular,
}

/// The ways of computing a convolution: direct, fft, matmul or reference.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Way {
    Direct,
    Fft,
    Matmul,
    Reference,
}

impl From<Way> for Algorithm {
    fn from(way: Way) -> Self {
        match way {
            Way::Direct => Self::Direct,
            Way::Fft => Self::Fft,
            Way::Matmul => Self::Matmul,
            Way::Reference => Self::Reference,
        }
    }
}

/// What shapes do not tell of a kernel.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// ω₀ of a kernel with learned frequencies
    #[arg(long, value_name = "W", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) omega_0: Option<f64>,
    /// Length for which an axis spans [-1, 1], for all axes or each
    #[arg(long, value_name = "N[xN]", value_parser = lengths)]
    pub(crate) l_cache: Option<Lengths>,
    /// Whether the first (γ, β) modulates the embedding: true or false
    #[arg(long, value_name = "BOOL")]
    pub(crate) film_after_pos_embed: Option<bool>,
    /// Leave out the mask
    #[arg(long)]
    pub(crate) no_mask: bool,
}

impl Padding {
    /// These over what config.json says.
    pub(crate) fn over(&self, settings: KernelSettings) -> Result<KernelSettings> {
        if self.causal && self.padding.contains(&PaddingName::Circular) {
            return Err(Usage("--causal goes with zero padding, not with circular".into()).into());
        }
        let named = self.padding.iter().map(|padding| match padding {
            PaddingName::Zero if self.causal => Boundary::Causal,
            PaddingName::Zero => Boundary::Zero,
            PaddingName::Circular => Boundary::Circular,
        });
        let boundaries = match (self.padding.is_empty(), self.causal) {
            (false, _) => Some(named.collect()),
            (true, true) => Some(vec![Boundary::Causal]),
            (true, false) => settings.boundaries,
        };
        Ok(KernelSettings { boundaries, ..settings })
    }
}

impl Settings {
    /// These over what the checkpoint's config.json says.
    pub(crate) fn over_config(&self, checkpoint: &Checkpoint) -> Result<KernelSettings> {
        let known = kernel_settings(checkpoint)?;
        let l_cache = self.l_cache.as_ref().map(|lengths| lengths.0.clone());
        Ok(KernelSettings {
            omega_0: self.omega_0.or(known.omega_0),
            l_cache: l_cache.or(known.l_cache),
            film_after_pos_embed: self.film_after_pos_embed.or(known.film_after_pos_embed),
            ..known
        })
    }
}
