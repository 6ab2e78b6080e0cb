//! The flags of `run`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

use super::{INPUTS, Rows, Tensors, size};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools run gen --random 8
  film-tools run gen --random 8 --seed 1 --dtype f64 --output films.npz
  film-tools run gen --conditioning c.npy --output films.safetensors
  echo '[[0.5, -1, 2, 0]]' | film-tools run tiny --conditioning - --output -")]
#[command(group = clap::ArgGroup::new("input").required(true).args(INPUTS), override_usage = "\
film-tools run <CHECKPOINT> --conditioning <FILE[:TENSOR]> [OPTIONS]
       film-tools run <CHECKPOINT> --registers <FILE[:TENSOR]> [OPTIONS]
       film-tools run <CHECKPOINT> --random <B> [OPTIONS]")]
pub(crate) struct Run {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// The generator at this prefix or below it
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    /// Every generator in the checkpoint (or below --prefix); outputs carry its prefix in front
    #[arg(long)]
    pub(crate) all: bool,
    /// Width of γ and β, where the checkpoint does not tell
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) kernel_hidden_dim: Option<usize>,
    /// Rows processed at once [default: as many as take 16 MiB]
    #[arg(long, value_name = "ROWS", value_parser = size, allow_negative_numbers = true)]
    pub(crate) chunk: Option<usize>,
    #[command(flatten)]
    pub(crate) tensors: Tensors,
}
