//! The flags of `extract`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

/// Take one generator, kernel or convolution out of a checkpoint: DIR/config.json and DIR/model.safetensors
///
/// Takes the convolution at the prefix or below it, where there is none the kernel, where there is none
/// either the generator; names lose what stands before. What belongs to it comes along: a convolution's
/// shortcut and kernel, a kernel's generator and mask, a generator's register encoder, wherever it stands.
/// Bytes and dtypes stay as they are. DIR/config.json has the sizes, and what the checkpoint's own tells;
/// `run`, `kernel` and `conv` give the same bits with DIR as with the checkpoint.
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
