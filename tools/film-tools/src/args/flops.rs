//! The flags of `flops`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

use super::{Lengths, Padding, Sizes, lengths, size};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools flops gen --batch 64
  film-tools flops --config gen/config.json --film-hidden-dim 128
  film-tools flops --cond-dim 384 \\
      --kernel-hidden-dim 32 --num-film-layers 3 --json")]
pub(crate) struct Flops {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    #[arg(conflicts_with_all = ["config", "cond_dim", "num_film_layers", "film_hidden_dim"])]
    pub(crate) checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
    /// The generator at this prefix or below it
    #[arg(long, value_name = "P", requires = "checkpoint")]
    pub(crate) prefix: Option<String>,
    /// Count the convolution or kernel at this prefix or below it, for these lengths: 15x15
    #[arg(long, value_name = "LxL", value_parser = lengths, requires = "checkpoint")]
    #[arg(conflicts_with = "kernel_hidden_dim")]
    pub(crate) grid: Option<Lengths>,
    #[command(flatten)]
    pub(crate) padding: Padding,
    /// Samples in a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = size, allow_negative_numbers = true)]
    pub(crate) batch: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
