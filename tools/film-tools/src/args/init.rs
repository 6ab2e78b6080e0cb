//! The flags of `init`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use candle_core::DType;
use clap::Args;

use super::{decay, dtype, non_negative, size};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools init --output gen --cond-dim 384 \\
      --kernel-hidden-dim 32 --num-film-layers 3
  film-tools init --output gen16 --config gen/config.json --dtype bf16 --seed 7
  film-tools init --output gen --config gen/config.json \\
      --init-type small_random --force
  film-tools init --output tiny --cond-dim 4 \\
      --kernel-hidden-dim 2 --num-film-layers 1")]
pub(crate) struct Init {
    /// Directory to write into; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
    /// Start of the output layer: identity or small_random [default: identity]
    #[arg(long, value_name = "TYPE", value_parser = ["identity", "small_random"], hide_possible_values = true)]
    pub(crate) init_type: Option<String>,
    /// Standard deviation of small_random [default: 1e-4]
    #[arg(long, value_name = "STD", value_parser = non_negative, allow_negative_numbers = true)]
    pub(crate) init_std: Option<f64>,
    /// Weight decay of the weights: false (the optimizer's), true (none) or a number [default: false]
    #[arg(long, value_name = "DECAY", value_parser = decay, allow_negative_numbers = true)]
    pub(crate) no_weight_decay: Option<serde_json::Value>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Stored dtype: f32, f16, bf16 or f64
    #[arg(long, value_name = "DTYPE", default_value = "f32", value_parser = dtype)]
    pub(crate) dtype: DType,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
}

// The generator's sizes, from flags or a config.json.
#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Width of the conditioning
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) cond_dim: Option<usize>,
    /// Width of the layers that γ and β modulate
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) kernel_hidden_dim: Option<usize>,
    /// Number of (γ, β) pairs
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) num_film_layers: Option<usize>,
    /// Width of the generator's hidden layer [default: 64]
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) film_hidden_dim: Option<usize>,
    /// A config.json that gives all of it; flags override
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
