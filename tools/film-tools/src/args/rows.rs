//! The flags of commands that compute: what goes in, and where it goes.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use candle_core::DType;
use clap::Args;

use super::{DeviceName, count, device, dtype};

// What a command is to be run for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rows {
    /// Conditioning [*, cond_dim]
    #[arg(long, value_name = "FILE[:TENSOR]")]
    pub(crate) conditioning: Option<String>,
    /// Register tokens [*, R, C], to go through the checkpoint's register encoder first
    #[arg(long, value_name = "FILE[:TENSOR]")]
    pub(crate) registers: Option<String>,
    /// Conditioning [B, cond_dim] of random normal numbers
    #[arg(long, value_name = "B", value_parser = count, allow_negative_numbers = true)]
    pub(crate) random: Option<usize>,
    /// Seed of --random [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

// Where the tensors go, and how they are computed.
#[derive(Debug, Args)]
pub(crate) struct Tensors {
    /// File to write: .safetensors, .npz or .json; - for JSON on stdout
    #[arg(long, value_name = "FILE", value_parser = crate::output::Target::parse)]
    pub(crate) output: Option<crate::output::Target>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Where to compute: cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub(crate) device: DeviceName,
    /// Dtype to compute in: f32, f16, bf16 or f64
    #[arg(long, value_name = "DTYPE", default_value = "f32", value_parser = dtype)]
    pub(crate) dtype: DType,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
