//! The flags of `verify`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools verify gen
  film-tools verify tests/fixtures/hybrid_model
  film-tools verify gen/model.safetensors --values
  film-tools verify gen --values --json")]
pub(crate) struct Verify {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    /// Look at the numbers, too: reads all of the files
    #[arg(long)]
    pub(crate) values: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
