//! The flags of `inspect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::size;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools inspect gen
  film-tools inspect gen --prefix mlp.0
  film-tools inspect gen/model.safetensors --flat --filter '*.weight'
  film-tools inspect tests/fixtures/hybrid_model --depth 2 --sort size
  film-tools inspect gen --flat --hash
  film-tools inspect gen --json > gen.json")]
pub(crate) struct Inspect {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    /// Only what stands at this prefix or below it: tensors, generators and kernels
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    /// Only tensors whose whole name matches: * any text, ? any character, [ab] one of these; and generators and kernels that have one of these
    #[arg(long, value_name = "GLOB")]
    pub(crate) filter: Option<String>,
    /// One line a tensor instead of the tree; names are not cut unless on a terminal
    #[arg(long)]
    pub(crate) flat: bool,
    /// Order of tensors, and of groups in the tree: name, size (largest first), offset (as they stand in the files); with --flat or --json also dtype and shape [default: name]
    #[arg(long, value_name = "KEY", default_value = "name", hide_default_value = true)]
    #[arg(hide_possible_values = true)]
    pub(crate) sort: Sort,
    /// The other way round
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Show the tree down to level N; what is below is summed up
    #[arg(long, value_name = "N", value_parser = size, allow_negative_numbers = true)]
    #[arg(conflicts_with_all = ["flat", "json"])]
    pub(crate) depth: Option<usize>,
    /// SHA-256 of each tensor's stored bytes
    #[arg(long)]
    pub(crate) hash: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// By what tensors are ordered: name, size, offset, dtype or shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Name,
    Size,
    Offset,
    Dtype,
    Shape,
}
