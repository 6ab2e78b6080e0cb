//! The flags of `verify`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

/// Look for everything that is wrong with a checkpoint
///
/// In its structure: the format's rules, offsets, overlaps and holes, names that stand twice, padding and
/// alignment; the index against the shards, in both directions, its total_size and the files beside it;
/// config.json against the tensors' shapes. With --values also in the numbers: NaN, infinite values, and
/// how FiLM generators fare by their weights alone (distance from the start, share of γ biases below 0).
///
/// A finding is a line on stdout: `path: problem`. Exit status: 0 nothing found, 1 findings (or no
/// checkpoint to read, which stderr tells), 2 wrong usage.
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
