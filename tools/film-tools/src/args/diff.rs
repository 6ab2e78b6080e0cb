//! The flags of `diff`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use clap::Args;

use super::{non_negative, prefix};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools diff gen gen/model.safetensors
  film-tools diff gen gen16 --rtol 1e-2 --atol 1e-3 || test $? = 1
  film-tools diff gen tests/fixtures/hybrid_model --json || test $? = 1
  film-tools diff tests/fixtures/hybrid_model tests/fixtures/hybrid_model \\
      --strip-prefix-a blocks.0 --strip-prefix-b blocks.0")]
pub(crate) struct Diff {
    /// One checkpoint: a .safetensors file, a directory or an index file
    pub(crate) a: PathBuf,
    /// The other
    pub(crate) b: PathBuf,
    /// Take this prefix off the names in A that have it
    #[arg(long, value_name = "P", value_parser = prefix)]
    pub(crate) strip_prefix_a: Option<String>,
    /// Take this prefix off the names in B that have it
    #[arg(long, value_name = "P", value_parser = prefix)]
    pub(crate) strip_prefix_b: Option<String>,
    /// Tolerance as a share of the greater value
    #[arg(long, value_name = "R", default_value_t = 0.0, hide_default_value = true)]
    #[arg(value_parser = non_negative, allow_negative_numbers = true)]
    pub(crate) rtol: f64,
    /// Tolerance as an amount
    #[arg(long, value_name = "A", default_value_t = 0.0, hide_default_value = true)]
    #[arg(value_parser = non_negative, allow_negative_numbers = true)]
    pub(crate) atol: f64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
