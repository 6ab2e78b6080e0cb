//! `run`: conditioning in, γ and β per layer out, chunk by chunk.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use film_core::KernelFilmConfig;
use film_core::statistics::{Gatherer, Summary};
use serde::Serialize;

use super::{SCHEMA_VERSION, discover, generator_config, selection, title, warn_of_near_misses};
use crate::args::Run;
use crate::chain::{Chain, Place};
use crate::device;
use crate::input::Input;
use crate::output::{
    Align, Entry, Format, Progress, Table, Target, TensorWriter, number, significant,
};
use crate::printer::{self, DIM};

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    checkpoint: String,
    device: String,
    dtype: &'static str,
    /// Leading axes of the input and of every output.
    batch: Vec<usize>,
    output: Option<String>,
    non_finite: u64,
    generators: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    prefix: String,
    cond_dim: usize,
    kernel_hidden_dim: usize,
    num_film_layers: usize,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    layer: usize,
    gamma: Summary,
    beta: Summary,
}

pub(crate) fn run(args: &Run) -> Result<()> {
    args.tensors.check()?;
    args.rows.seed()?;
    let place = Place { device: device::open(args.tensors.device)?, dtype: args.tensors.dtype };
    let chains = load(args, &place)?;
    let input = input(args, &chains)?;
    let report = compute(args, &chains, &input, &place)?;
    if report.non_finite > 0 {
        let count = number(report.non_finite);
        printer::warn(format!("{count} of the outputs are NaN or infinite in {}", report.dtype));
    }
    if let Some(path) = &report.output {
        let tensors: usize = chains.iter().map(|chain| 2 * chain.config.num_film_layers).sum();
        printer::say(format!(
            "wrote {path}: {tensors} tensors, batch {:?}, {}",
            report.batch, report.dtype
        ));
        if args.tensors.dtype == DType::BF16
            && matches!(args.tensors.output, Some(Target::File(_, Format::Npz)))
        {
            printer::say("NumPy has no bfloat16: the arrays are float32");
        }
    }
    match (&args.tensors.output, args.tensors.json) {
        (_, true) => printer::json(&report),
        (Some(_), false) => Ok(()),
        (None, false) => print(&report),
    }
}

/// The chosen generators of the checkpoint.
fn load(args: &Run, place: &Place) -> Result<Vec<Chain>> {
    let checkpoint = Arc::new(super::open(&args.checkpoint)?);
    let output = args.tensors.output.as_ref().and_then(Target::path);
    super::keep_checkpoint("--output", output, &checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let prefix = args.prefix.as_deref();
    let chosen = if args.all {
        discovery.select(prefix)
    } else {
        discovery.generator(prefix).map(|one| vec![one])
    };
    let chosen = chosen.map_err(|error| {
        let several = discovery.select(prefix).is_ok();
        let error = selection(error, &checkpoint);
        if several { anyhow::anyhow!("{error}; give --prefix P, or --all") } else { error }
    })?;
    let registers = args.rows.registers.is_some();
    let load = |found| {
        let config = generator_config(found, args.kernel_hidden_dim)?;
        Chain::load(&checkpoint, &discovery, found, config, registers, place)
    };
    if args.all {
        warn_of_near_misses(&discovery, prefix);
    }
    chosen
        .into_iter()
        .map(|found| load(found).map_err(|error| selection(error, &checkpoint)))
        .collect()
}

fn input(args: &Run, chains: &[Chain]) -> Result<Input> {
    let Some(input) = args.rows.open(chains[0].config.cond_dim)? else {
        bail!("no input: give --conditioning, --registers or --random");
    };
    // Each generator must take the same rows.
    chains.iter().try_for_each(|chain| chain.row_rank(&input).map(|_| ()))?;
    Ok(input)
}

/// Runs every generator over the input's rows; writes the outputs and sums them up.
fn compute(args: &Run, chains: &[Chain], input: &Input, place: &Place) -> Result<Report> {
    let batch = &input.shape[..input.shape.len() - chains[0].row_rank(input)?];
    let rows: usize = batch.iter().product();
    let mut writer = match &args.tensors.output {
        Some(target) => {
            Some(TensorWriter::create(target, args.tensors.force, entries(args, chains, batch))?)
        }
        None => None,
    };
    let progress = Progress::new(rows.saturating_mul(chains.len()), "rows");
    let mut parts = Vec::with_capacity(chains.len());
    for chain in chains {
        let width = chain.config.kernel_hidden_dim;
        let mut layers =
            vec![[Gatherer::new(width), Gatherer::new(width)]; chain.config.num_film_layers];
        for rows in chain.chunks(input, args.chunk)? {
            let conditioning = chain.conditioning(input, rows.clone(), place)?;
            let films = chain.generator.films(&conditioning)?;
            for (layer, (film, gatherers)) in films.iter().zip(&mut layers).enumerate() {
                for ((which, values), gatherer) in
                    [("gamma", &film.gamma), ("beta", &film.beta)].into_iter().zip(gatherers)
                {
                    let flat = values.flatten_all()?.to_device(&Device::Cpu)?;
                    gatherer.add(&flat.to_dtype(DType::F64)?.to_vec1::<f64>()?);
                    if let Some(writer) = &mut writer {
                        writer.write(
                            &output_name(args, chain, which, layer),
                            rows.start * width,
                            &flat,
                        )?;
                    }
                }
            }
            progress.advance(rows.len());
        }
        parts.push(part(chain, &layers));
    }
    progress.finish();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    let count = |layer: &Layer| layer.gamma.non_finite + layer.beta.non_finite;
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        checkpoint: args.checkpoint.display().to_string(),
        device: args.tensors.device.to_string(),
        dtype: args.tensors.dtype.as_str(),
        batch: batch.to_vec(),
        output: args.tensors.path(),
        non_finite: parts.iter().flat_map(|part| &part.layers).map(count).sum(),
        generators: parts,
    })
}

fn part(chain: &Chain, layers: &[[Gatherer; 2]]) -> Part {
    let KernelFilmConfig { cond_dim, kernel_hidden_dim, num_film_layers, .. } = chain.config;
    let layer = |(layer, [gamma, beta]): (usize, &[Gatherer; 2])| Layer {
        layer,
        gamma: gamma.summary(),
        beta: beta.summary(),
    };
    let layers = layers.iter().enumerate().map(layer).collect();
    Part { prefix: chain.prefix.clone(), cond_dim, kernel_hidden_dim, num_film_layers, layers }
}

/// `gamma.{l}`, with the generator's prefix in front where there may be several.
fn output_name(args: &Run, chain: &Chain, which: &str, layer: usize) -> String {
    if args.all && !chain.prefix.is_empty() {
        format!("{}.{which}.{layer}", chain.prefix)
    } else {
        format!("{which}.{layer}")
    }
}

fn entries(args: &Run, chains: &[Chain], batch: &[usize]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for chain in chains {
        for layer in 0..chain.config.num_film_layers {
            for which in ["gamma", "beta"] {
                entries.push(Entry {
                    name: output_name(args, chain, which, layer),
                    dtype: args.tensors.dtype.into(),
                    shape: [batch, &[chain.config.kernel_hidden_dim]].concat(),
                });
            }
        }
    }
    entries
}

fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    for part in &report.generators {
        title(&mut out, &part.prefix, &report.checkpoint)?;
        let batch: Vec<String> = report.batch.iter().map(ToString::to_string).collect();
        let shape = |last: usize| [batch.as_slice(), &[last.to_string()]].concat().join(", ");
        writeln!(
            out,
            "[{}] → {} × γ, β [{}] in {} on {}\n",
            shape(part.cond_dim),
            part.num_film_layers,
            shape(part.kernel_hidden_dim),
            report.dtype,
            report.device
        )?;
        table(part).print(&mut out)?;
        writeln!(out)?;
    }
    writeln!(
        out,
        "{DIM}std: of all values; < 0: share of negative values; spread: std over the batch,"
    )?;
    writeln!(out, "mean over the outputs{DIM:#}")?;
    Ok(out.flush()?)
}

fn table(part: &Part) -> Table<8> {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("layer", Right),
        ("", Left),
        ("min", Right),
        ("mean", Right),
        ("max", Right),
        ("std", Right),
        ("< 0", Right),
        ("spread", Right),
    ]);
    let value = |value: Option<f64>| value.map_or("–".into(), significant);
    for layer in &part.layers {
        for (name, summary) in [("γ", &layer.gamma), ("β", &layer.beta)] {
            let index = if name == "γ" { layer.layer.to_string() } else { String::new() };
            let negative =
                summary.negative.map_or("–".into(), |share| format!("{:.1}%", 100.0 * share));
            let [min, mean, max, std, spread] =
                [summary.min, summary.mean, summary.max, summary.std, summary.spread].map(value);
            table.row([index, name.into(), min, mean, max, std, negative, spread]);
        }
    }
    table
}
