//! The flags of `convert`.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use std::path::PathBuf;

use candle_core::DType;
use clap::Args;

use super::{dtype, prefix};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools convert tests/fixtures/pickle/lightning.ckpt lit.safetensors \\
      --strip-prefix network
  film-tools convert tests/fixtures/hybrid_model merged.safetensors --dtype bf16
  film-tools convert tests/fixtures/hybrid_model sharded --max-shard-size 200KB
  film-tools convert tests/fixtures/pickle/several.pt averaged --key ema --json")]
pub(crate) struct Convert {
    /// What to convert
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// Where to: a .safetensors file, or a directory
    #[arg(value_name = "OUT", value_parser = output)]
    pub(crate) output: PathBuf,
    /// Only tensors whose whole name (in IN) matches: * any text, ? any character, [ab] one of these
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Option<String>,
    /// Drop this prefix from the names that have it; others stay as they are
    #[arg(long, value_name = "P", value_parser = prefix)]
    pub(crate) strip_prefix: Option<String>,
    /// Store floating-point tensors as f32, f16, bf16 or f64; others stay as they are
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    pub(crate) dtype: Option<DType>,
    /// Start another file before one grows larger, where OUT is a directory: 200MB, 1GiB
    #[arg(long, value_name = "SIZE", value_parser = file_size)]
    pub(crate) max_shard_size: Option<u64>,
    /// Which state dict of a pickle, by its key or the keys that lead to it: ema, checkpoint.model
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Pass over objects of unknown classes beside a pickle's weights instead of refusing the file
    #[arg(long)]
    pub(crate) skip_unknown: bool,
    /// Replace files that exist, and the checkpoint in OUT; but not IN by a part of it
    #[arg(long)]
    pub(crate) force: bool,
    /// Print a report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Files that people convert from; as a directory's name they would be a slip.
const FILES: [&str; 11] =
    ["bin", "pt", "pth", "ckpt", "pkl", "json", "npz", "npy", "gguf", "onnx", "zip"];

fn output(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().and_then(|extension| extension.to_str());
    let slip = extension.is_some_and(|extension| FILES.contains(&extension)) && !path.is_dir();
    match slip || text.is_empty() {
        true => Err("expected a name that ends in .safetensors, or a directory".into()),
        false => Ok(path),
    }
}

/// A number of bytes: 500, 200MB, 1.5GiB.
fn file_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1000u64.pow(2),
        "GB" => 1000u64.pow(3),
        "TB" => 1000u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1u64 << 40,
        _ => 0,
    };
    let bytes = digits.trim().parse().map_or(f64::NAN, |number: f64| number * factor as f64);
    match bytes {
        1.0..1e18 => Ok(bytes as u64),
        _ => Err("expected a size such as 200MB (10^6 bytes each) or 1GiB (2^30)".into()),
    }
}
