//! The flags of `kernel`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

use super::{INPUTS, Lengths, Rows, Settings, Tensors, lengths};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("input").args(INPUTS), after_help = "\
Examples:
  film-tools kernel tests/fixtures/hybrid_model --prefix blocks.0 --grid 15x15 \\
      --random 4 --image kernels.png
  film-tools kernel tests/fixtures/siren_kernel/1d --grid 12 --output kernel.npz
  film-tools kernel tests/fixtures/siren_kernel/3d/model.safetensors \\
      --grid 4x3x2 --l-cache 4 --json")]
pub(crate) struct Kernel {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    pub(crate) checkpoint: PathBuf,
    /// Length of each grid axis: 15x15
    #[arg(long, value_name = "LxL", value_parser = lengths)]
    pub(crate) grid: Lengths,
    /// The kernel at this prefix or below it
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) rows: Rows,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Picture to write: a contact sheet as .png or .svg
    #[arg(long, value_name = "FILE", value_parser = crate::picture::Picture::parse)]
    pub(crate) image: Option<crate::picture::Picture>,
    /// Channels in the picture [default: the first 8]
    #[arg(long, value_name = "A..B", value_parser = crate::picture::range, requires = "image")]
    pub(crate) channels: Option<std::ops::Range<usize>>,
    /// Samples in the picture [default: the first 4]
    #[arg(long, value_name = "A..B", value_parser = crate::picture::range, requires = "image")]
    pub(crate) samples: Option<std::ops::Range<usize>>,
    #[command(flatten)]
    pub(crate) tensors: Tensors,
}
