//! The command line, as clap reads it.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

mod conv;
mod convert;
mod diagnose;
mod diff;
mod extract;
mod inspect;
mod manual;
mod settings;
mod talk;
mod verify;

use std::path::PathBuf;

use candle_core::DType;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

pub(crate) use conv::Conv;
pub(crate) use convert::Convert;
pub(crate) use diagnose::Diagnose;
pub(crate) use diff::Diff;
pub(crate) use extract::Extract;
pub(crate) use inspect::{Inspect, Sort};
pub(crate) use manual::{Completions, Man};
pub(crate) use settings::{Padding, PaddingName, Settings};
pub(crate) use talk::Talk;
pub(crate) use verify::Verify;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Inspect, cost and run FiLM generators, kernels and convolutions in safetensors checkpoints.
///
/// A FiLM generator turns a conditioning vector into one (γ, β) pair per hidden layer of the network
/// that draws a convolution kernel. A CHECKPOINT is a .safetensors file, a directory with
/// model.safetensors (or shards and model.safetensors.index.json), an index file, or org/name[@revision]
/// in the cache of the Hugging Face hub.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80, styles = STYLES, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) talk: Talk,
    /// Fetch a CHECKPOINT named as org/name[@revision] from the Hugging Face hub, as far as its cache lacks it
    #[arg(long, global = true, display_order = 1003, hide = cfg!(not(feature = "hub")))]
    pub(crate) download: bool,
}

const AFTER: &str = "\
Data goes to stdout, talk to stderr. Exit status: 0 fine, 2 wrong usage, 1 anything else
(of `diff`: 0 the same, 1 different, 2 trouble).";

/// The flags of which a command takes one.
const INPUTS: [&str; 3] = ["conditioning", "registers", "random"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(Init),
    Inspect(Inspect),
    Flops(Flops),
    Run(Run),
    Kernel(Kernel),
    Conv(Conv),
    Diagnose(Diagnose),
    Convert(Convert),
    Verify(Verify),
    Diff(Diff),
    Extract(Extract),
    Completions(Completions),
    Man(Man),
}

impl Command {
    /// The exit status of work that failed. `diff` says by 1 that two checkpoints differ.
    pub(crate) fn failed(&self) -> u8 {
        if matches!(self, Self::Diff(_)) { 2 } else { 1 }
    }
}

/// Write a freshly initialised generator: DIR/config.json and DIR/model.safetensors
///
/// The same flags and seed give the same bytes on every platform. With --init-type identity the
/// generator gives γ = 1 and β = 0 exactly, whatever the conditioning.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools init --output gen --cond-dim 384 \\
      --kernel-hidden-dim 32 --num-film-layers 3
  film-tools init --output gen16 --config gen/config.json --dtype bf16 --seed 7
  film-tools init --output gen --config gen/config.json \\
      --init-type small_random --force
  film-tools init --output tiny --cond-dim 4 \\
      --kernel-hidden-dim 2 --num-film-layers 1")]
pub(crate) struct Init {
    /// Directory to write into; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
    /// Start of the output layer: identity or small_random [default: identity]
    #[arg(long, value_name = "TYPE", value_parser = ["identity", "small_random"], hide_possible_values = true)]
    pub(crate) init_type: Option<String>,
    /// Standard deviation of small_random [default: 1e-4]
    #[arg(long, value_name = "STD", value_parser = non_negative, allow_negative_numbers = true)]
    pub(crate) init_std: Option<f64>,
    /// Weight decay of the weights: false (the optimizer's), true (none) or a number [default: false]
    #[arg(long, value_name = "DECAY", value_parser = decay, allow_negative_numbers = true)]
    pub(crate) no_weight_decay: Option<serde_json::Value>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Stored dtype: f32, f16, bf16 or f64
    #[arg(long, value_name = "DTYPE", default_value = "f32", value_parser = dtype)]
    pub(crate) dtype: DType,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
}

/// The generator's sizes, from flags or a config.json.
#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Width of the conditioning
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) cond_dim: Option<usize>,
    /// Width of the layers that γ and β modulate
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) kernel_hidden_dim: Option<usize>,
    /// Number of (γ, β) pairs
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) num_film_layers: Option<usize>,
    /// Width of the generator's hidden layer [default: 64]
    #[arg(long, value_name = "N", value_parser = size)]
    pub(crate) film_hidden_dim: Option<usize>,
    /// A config.json that gives all of it; flags override
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Count what a generator costs, operation by operation
///
/// Of a generator in a checkpoint, of a config.json, or of sizes given as flags; with --grid, of all that
/// a checkpoint's kernel takes: register encoder, generator, SIREN, and the convolution around it, if
/// there is one, of a signal of these lengths.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  film-tools flops gen --batch 64
  film-tools flops --config gen/config.json --film-hidden-dim 128
  film-tools flops --cond-dim 384 \\
      --kernel-hidden-dim 32 --num-film-layers 3 --json")]
pub(crate) struct Flops {
    /// A .safetensors file, a directory, an index file, or org/name[@revision]
    #[arg(conflicts_with_all = ["config", "cond_dim", "num_film_layers", "film_hidden_dim"])]
    pub(crate) checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
    /// The generator at this prefix or below it
    #[arg(long, value_name = "P", requires = "checkpoint")]
    pub(crate) prefix: Option<String>,
    /// Count the convolution or kernel at this prefix or below it, for these lengths: 15x15
    #[arg(long, value_name = "LxL", value_parser = lengths, requires = "checkpoint")]
    #[arg(conflicts_with = "kernel_hidden_dim")]
    pub(crate) grid: Option<Lengths>,
    #[command(flatten)]
    pub(crate) padding: Padding,
    /// Samples in a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = size, allow_negative_numbers = true)]
    pub(crate) batch: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a command is to be run for.
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

/// Where the tensors go, and how they are computed.
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

/// Run a generator: conditioning in, γ and β per layer out
///
/// Input is FILE.safetensors[:TENSOR], FILE.npy, FILE.json, or - for JSON on stdin (an array of arrays).
/// Its last axis is cond_dim; with --registers, the last two are registers and channels, and the
/// checkpoint's own register encoder makes the conditioning of them.
///
/// Output holds `gamma.{l}` and `beta.{l}`, each [B, kernel_hidden_dim]. Without --output a summary per
/// layer is printed. Batches are processed in chunks; memory does not grow with the batch.
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

/// Draw convolution kernels: grid lengths and conditioning in, kernels out
///
/// The whole chain out of a checkpoint: register encoder, FiLM generator, SIREN kernel and mask, as far as
/// it has them. An axis of length L gets 2L − 1 points. Conditioning is [B, cond_dim], registers are
/// [B, R, C]; without either, or --random, the kernel is not modulated.
///
/// What shapes cannot tell (ω₀, L_cache, …) is read from config.json, or given by flag. Output holds
/// `kernel` [1 or B, *2L−1, channels] and `grid` [1, *2L−1, axes]; without --output a summary is printed.
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

/// A length for each axis.
#[derive(Debug, Clone)]
pub(crate) struct Lengths(pub(crate) Vec<usize>);

fn lengths(text: &str) -> Result<Lengths, String> {
    let lengths = text.split('x').map(size).collect::<Result<_, _>>();
    lengths
        .map(Lengths)
        .map_err(|_| "expected integers of at least 1, one for each axis: 15x15".into())
}

fn positive(text: &str) -> Result<f64, String> {
    non_negative(text)
        .ok()
        .filter(|number| *number > 0.0)
        .ok_or_else(|| "expected a finite number above 0".into())
}

/// A device by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DeviceName {
    Cpu,
    Cuda(usize),
    Metal,
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

fn device(text: &str) -> Result<DeviceName, String> {
    match text {
        "cpu" => Ok(DeviceName::Cpu),
        "cuda" => Ok(DeviceName::Cuda(0)),
        "metal" => Ok(DeviceName::Metal),
        _ => text
            .strip_prefix("cuda:")
            .and_then(|ordinal| ordinal.parse().ok())
            .map(DeviceName::Cuda)
            .ok_or_else(|| "expected cpu, cuda, cuda:N or metal".into()),
    }
}

fn dtype(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        "f64" => Ok(DType::F64),
        _ => Err("expected f32, f16, bf16 or f64".into()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|size| *size >= 1)
        .ok_or_else(|| "expected an integer of at least 1".into())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected an integer of at least 0".into())
}

/// A dotted prefix of names, without a dot at its end.
fn prefix(text: &str) -> Result<String, String> {
    match text.trim_end_matches('.') {
        "" => Err("expected a prefix".into()),
        prefix => Ok(prefix.into()),
    }
}

fn non_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a finite number of at least 0".into())
}

fn decay(text: &str) -> Result<serde_json::Value, String> {
    match text {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        _ => non_negative(text)
            .map(Into::into)
            .map_err(|_| "expected false, true or a finite number of at least 0".into()),
    }
}
