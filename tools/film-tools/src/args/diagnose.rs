//! The flags of `diagnose`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

use super::{INPUTS, Rows, Settings, size};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").args(INPUTS), after_help = "\
Examples:
  film-tools diagnose gen
  film-tools diagnose gen --conditioning c.npy --json
  film-tools diagnose tests/fixtures/hybrid_model --random 64 --html health.html
  film-tools diagnose tests/fixtures/hybrid_model --registers \\
    'tests/fixtures/hybrid_model/io.safetensors:blocks.*.register_pooling.input'")]
pub(crate) struct Diagnose {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// Only the generators at this prefix or below it
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    /// Width of γ and β, where the checkpoint does not tell
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) kernel_hidden_dim: Option<usize>,
    /// Page to write: one HTML file that needs nothing beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Replace the page if it exists
    #[arg(long, requires = "html")]
    pub(crate) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
