//! The flags of `extract`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools extract tests/fixtures/hybrid_model --prefix blocks.0 --output conv
  film-tools extract tests/fixtures/ckconv/2d_zero --prefix kernel \\
      --output kernel
  film-tools extract tests/fixtures/siren_kernel/1d --prefix film_generator \\
      --output film --json")]
pub(crate) struct Extract {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    /// The part at this prefix or below it
    #[arg(long, value_name = "P")]
    pub(crate) prefix: String,
    /// Directory to write into; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what was extracted as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
