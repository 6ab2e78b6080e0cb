//! The flags of `conv`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use film_core::conv::Algorithm;

use super::{INPUTS, Padding, Rows, Settings, Tensors};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("condition").args(INPUTS), after_help = "\
Examples:
  film-tools conv tests/fixtures/ckconv/2d_zero --random 1 \\
      --input tests/fixtures/ckconv/2d_zero/io.safetensors:input
  film-tools conv tests/fixtures/ckconv/1d_zero/model.safetensors \\
      --input tests/fixtures/ckconv/1d_zero/io.safetensors:input \\
      --causal --l-cache 10 --output causal.npz
  film-tools conv tests/fixtures/ckconv/2d_mixed --json \\
      --input tests/fixtures/ckconv/2d_mixed/io.safetensors:input")]
pub(crate) struct Conv {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    /// The signal
    #[arg(long, value_name = "FILE[:TENSOR]")]
    pub(crate) input: String,
    /// The channels follow the batch axis, [B, C, *lengths], instead of being last
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
