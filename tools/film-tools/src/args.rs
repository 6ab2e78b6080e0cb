//! The command line, as clap reads it.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

mod conv;
mod convert;
mod diagnose;
mod diff;
mod extract;
mod flops;
mod init;
mod inspect;
mod kernel;
mod manual;
mod rows;
mod run;
mod settings;
mod talk;
mod verify;

use candle_core::DType;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

pub(crate) use conv::Conv;
pub(crate) use convert::Convert;
pub(crate) use diagnose::Diagnose;
pub(crate) use diff::Diff;
pub(crate) use extract::Extract;
pub(crate) use flops::Flops;
pub(crate) use init::{Init, Sizes};
pub(crate) use inspect::{Inspect, Sort};
pub(crate) use kernel::Kernel;
pub(crate) use manual::{Completions, Man};
pub(crate) use rows::{Rows, Tensors};
pub(crate) use run::Run;
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

// A command's flags are built when it is called: those of all thirteen take longer than most commands do. What is said of a
// command stands here, for the list in `--help`; a comment on the structures would replace it.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Write a freshly initialised generator: DIR/config.json and DIR/model.safetensors
    ///
    /// The same flags and seed give the same bytes on every platform. With --init-type identity the
    /// generator gives γ = 1 and β = 0 exactly, whatever the conditioning.
    Init(Init),
    /// Show what a checkpoint holds: files, tensors, and each FiLM generator found
    ///
    /// Only the files' headers are read, unless --hash asks for the tensors' bytes. Blocks that repeat are
    /// folded: `blocks.[0..11]`; with --hash only those that are the same to the last bit.
    Inspect(Inspect),
    /// Count what a generator costs, operation by operation
    ///
    /// Of a generator in a checkpoint, of a config.json, or of sizes given as flags; with --grid, of all that
    /// a checkpoint's kernel takes: register encoder, generator, SIREN, and the convolution around it, if
    /// there is one, of a signal of these lengths.
    Flops(Flops),
    /// Run a generator: conditioning in, γ and β per layer out
    ///
    /// Input is FILE.safetensors[:TENSOR], FILE.npy, FILE.json, or - for JSON on stdin (an array of arrays).
    /// Its last axis is cond_dim; with --registers, the last two are registers and channels, and the
    /// checkpoint's own register encoder makes the conditioning of them.
    ///
    /// Output holds `gamma.{l}` and `beta.{l}`, each [B, kernel_hidden_dim]. Without --output a summary per
    /// layer is printed. Batches are processed in chunks; memory does not grow with the batch.
    Run(Run),
    /// Draw convolution kernels: grid lengths and conditioning in, kernels out
    ///
    /// The whole chain out of a checkpoint: register encoder, FiLM generator, SIREN kernel and mask, as far as
    /// it has them. An axis of length L gets 2L − 1 points. Conditioning is [B, cond_dim], registers are
    /// [B, R, C]; without either, or --random, the kernel is not modulated.
    ///
    /// What shapes cannot tell (ω₀, L_cache, …) is read from config.json, or given by flag. Output holds
    /// `kernel` [1 or B, *2L−1, channels] and `grid` [1, *2L−1, axes]; without --output a summary is printed.
    Kernel(Kernel),
    /// Convolve a signal with the kernels that a checkpoint draws for it
    ///
    /// y = x ∗ kernel + shortcut ⊙ x, channel by channel, with the whole chain out of a checkpoint: register
    /// encoder, FiLM generator, SIREN kernel, mask, shortcut. The signal is [B, *lengths, C], or
    /// [B, C, *lengths] with --channels-first; conditioning is [1 or B, cond_dim], registers are
    /// [1 or B, R, C]; without either, or --random, the kernel is not modulated.
    ///
    /// What shapes cannot tell (padding, ω₀, L_cache, …) is read from config.json, or given by flag. Output
    /// holds `output`, in the layout of the input; without --output a summary is printed.
    Conv(Conv),
    /// Report the health of every FiLM generator: γ, β, weights, and what stands out
    ///
    /// Each generator in the checkpoint (or below --prefix) is run; what it gives is summed up per layer:
    /// distributions of γ and β, flipped signs (γ < 0), |β| against π, how much depends on the input, how far
    /// the weights are from their start. Measures that pass a threshold are findings, and a generator that
    /// differs from the median of four or more stands out. Findings are warnings: the exit status is 0.
    ///
    /// Without an input it is 256 random normal vectors, which tell how the generator would answer, not what
    /// it is given. A * in a TENSOR stands for what each generator's name has in its place, so that each block
    /// gets registers of its own: io.safetensors:blocks.*.registers.
    ///
    /// With --html the page also draws kernels, as far as config.json or flags tell what shapes cannot.
    Diagnose(Diagnose),
    /// Make safetensors of PyTorch pickles; cast, shard and merge safetensors
    ///
    /// IN is a pickle of any name (.pt, .pth, .bin, .ckpt; recognised by its content), a .safetensors file, a
    /// directory with either, an index file, or org/name[@revision] in the hub's cache. Nothing in a pickle is
    /// run: names in it are compared with lists of those that make tensors and plain data, and a call of any
    /// other is refused. Of a Lightning checkpoint the state_dict is converted; what stands beside it is listed.
    ///
    /// OUT is a .safetensors file, or a directory for model.safetensors, or shards and their index; it gets
    /// the config.json beside IN. Everything is complete on the disk before the first file gets its name, and what
    /// makes a checkpoint of them gets its own last; the same input gives the same bytes.
    Convert(Convert),
    /// Look for everything that is wrong with a checkpoint
    ///
    /// In its structure: the format's rules, offsets, overlaps and holes, names that stand twice, padding and
    /// alignment; the index against the shards, in both directions, its total_size and the files beside it;
    /// config.json against the tensors' shapes. With --values also in the numbers: NaN, infinite values, and
    /// how FiLM generators fare by their weights alone (distance from the start, share of γ biases below 0).
    ///
    /// A finding is a line on stdout: `path: problem`. Exit status: 0 nothing found, 1 findings (or no
    /// checkpoint to read, which stderr tells), 2 wrong usage.
    Verify(Verify),
    /// Compare two checkpoints, tensor by tensor and element by element
    ///
    /// Tells which tensors differ and by how much, were added, removed, reshaped, recast (stored in another
    /// dtype; compared by value all the same) or renamed (the same dtype, shape and bytes under another
    /// name). How they are sharded, metadata and config.json do not matter.
    ///
    /// NaN equals NaN, an infinity the same infinity, 0 equals −0. By default there is no tolerance, and a
    /// tensor that was recast is different even where its values are the same; with one, it is not, and values
    /// may differ by |a − b| ≤ atol + rtol · max(|a|, |b|). Integers and booleans are compared
    /// exactly in any case. Tensors are listed by falling max abs.
    ///
    /// Exit status, as of diff(1): 0 the same, 1 different, 2 trouble, such as a file that cannot be read.
    Diff(Diff),
    /// Take one generator, kernel or convolution out of a checkpoint: DIR/config.json and DIR/model.safetensors
    ///
    /// Takes the convolution at the prefix or below it, where there is none the kernel, where there is none
    /// either the generator; names lose what stands before. What belongs to it comes along: a convolution's
    /// shortcut and kernel, a kernel's generator and mask, a generator's register encoder, wherever it stands.
    /// Bytes and dtypes stay as they are. DIR/config.json has the sizes, and what the checkpoint's own tells;
    /// `run`, `kernel` and `conv` give the same bits with DIR as with the checkpoint.
    Extract(Extract),
    /// Print what a shell needs to complete film-tools' command line
    Completions(Completions),
    /// Print the manual page, or write those of all commands
    Man(Man),
}

impl Command {
    /// The exit status of work that failed. `diff` says by 1 that two checkpoints differ.
    pub(crate) fn failed(&self) -> u8 {
        if matches!(self, Self::Diff(_)) { 2 } else { 1 }
    }
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
