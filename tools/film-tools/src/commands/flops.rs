//! `flops`: what a generator or a whole conditional kernel costs, operation by operation.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use film_core::KernelFilmConfig;
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::conv::Boundary;
use film_core::flops::{Factor, Flops as Counts, Item};
use film_core::siren::Phase;
use serde::Serialize;
use serde_json::Value;

use super::{SCHEMA_VERSION, Usage, check_grid, discover, generator_config, selection};
use crate::args::Flops;
use crate::output::{Align, Table, number, wrap};
use crate::printer::{self, BOLD, DIM};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    convention: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Empty at the root, as in every other report.
    prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grid: Option<&'a [usize]>,
    config: Value,
    flops_per_sample: u64,
    /// Of a kernel: 0 where nothing modulates it, since it is then a constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_flops_per_sample: Option<u64>,
    macs_per_sample: u64,
    parameters: u64,
    batch: usize,
    flops_per_batch: u64,
    macs_per_batch: u64,
    items: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    formula: String,
    factors: &'a [Factor],
    flops: u64,
    macs: u64,
    parameters: u64,
}

impl<'a> From<&'a Item> for Row<'a> {
    fn from(item: &'a Item) -> Self {
        let Item { name, factors, flops, macs, parameters } = item;
        Self {
            name,
            formula: item.to_string(),
            factors,
            flops: *flops,
            macs: *macs,
            parameters: *parameters,
        }
    }
}

/// What is to be counted.
struct Subject {
    prefix: Option<String>,
    /// Its sizes, by configuration key.
    sizes: Vec<(&'static str, usize)>,
    config: Value,
    counts: Counts,
    inference: Option<u64>,
    /// FLOPs and MACs of the kernel that one drawing gives to the whole batch.
    once: (u64, u64),
    /// Of the convolution's axes, if one is counted.
    boundaries: Option<Vec<Boundary>>,
}

pub(crate) fn run(args: &Flops) -> Result<()> {
    let Subject { prefix, sizes, config, counts, inference, once, boundaries } =
        match (&args.checkpoint, &args.grid) {
            (None, _) => generator(None, &args.sizes.config([])?)?,
            (Some(path), None) => {
                let checkpoint = open(path)?;
                let named = |error| selection(error, &checkpoint);
                let found = discover(&checkpoint)?;
                let found = found.generator(args.prefix.as_deref()).map_err(named)?;
                let config =
                    generator_config(found, args.sizes.kernel_hidden_dim).map_err(named)?;
                generator(Some(found.prefix.clone()), &config)?
            }
            (Some(path), Some(grid)) => kernel(&open(path)?, args, &grid.0)?,
        };
    if boundaries.is_none() && args.padding.given() {
        let text = "--padding and --causal are for --grid, of a kernel in a convolution";
        return Err(Usage(text.into()).into());
    }
    let times = |count: u64, once: u64| {
        let too_many =
            || Usage(format!("--batch {}: the count for the batch overflows", args.batch));
        let each = (count - once).checked_mul(args.batch as u64);
        each.and_then(|each| each.checked_add(once)).with_context(too_many)
    };
    let report = Report {
        schema_version: SCHEMA_VERSION,
        convention: Counts::CONVENTION,
        prefix: prefix.as_deref(),
        grid: args.grid.as_ref().map(|grid| grid.0.as_slice()),
        config,
        flops_per_sample: counts.total(),
        inference_flops_per_sample: inference,
        macs_per_sample: counts.macs(),
        parameters: counts.parameters(),
        batch: args.batch,
        flops_per_batch: times(counts.total(), once.0)?,
        macs_per_batch: times(counts.macs(), once.1)?,
        items: counts.items().iter().map(Row::from).collect(),
    };
    if args.json { printer::json(&report) } else { print(&report, &sizes, boundaries.as_deref()) }
}

/// The checkpoint, with a hint where the path is that of a configuration.
fn open(path: &Path) -> Result<Checkpoint> {
    super::open(path).map_err(|error| match path.file_name() {
        Some(name) if name == "config.json" && path.is_file() => {
            anyhow!("{}: not a checkpoint; of a configuration: --config FILE", path.display())
        }
        _ => error,
    })
}

fn generator(prefix: Option<String>, config: &KernelFilmConfig) -> Result<Subject> {
    let sizes = vec![
        ("cond_dim", config.cond_dim),
        ("film_hidden_dim", config.film_hidden_dim),
        ("kernel_hidden_dim", config.kernel_hidden_dim),
        ("num_film_layers", config.num_film_layers),
    ];
    let counts = config.flops().map_err(|error| Usage(error.to_string()))?;
    let config = serde_json::to_value(config)?;
    Ok(Subject { prefix, sizes, config, counts, inference: None, once: (0, 0), boundaries: None })
}

/// All that a convolution takes, or a kernel that stands in none: register encoder, generator, SIREN. The
/// mask is not counted, as in the original.
fn kernel(checkpoint: &Checkpoint, args: &Flops, grid: &[usize]) -> Result<Subject> {
    let named = |error| selection(error, checkpoint);
    let discovery = discover(checkpoint)?;
    let prefix = args.prefix.as_deref();
    let found = discovery.kernel(prefix).map_err(named)?;
    let known = args.padding.over(checkpoint.kernel_settings(found)?, found.data_dim)?;
    check_grid(grid, found)?;
    // Counts depend on none of these.
    let settings =
        KernelSettings { omega_0: Some(1.0), l_cache: Some(vec![2]), mask: None, ..known };
    let config = found.config(&settings).map_err(named)?;
    let conv = discovery.conv_around(found).filter(|_| settings.boundaries.is_some());
    let conv_config = conv.map(|conv| conv.config(&settings)).transpose().map_err(named)?;
    let count = |phase| match &conv_config {
        Some(conv) => conv.flops(grid, phase),
        None => config.flops(grid, phase),
    };
    let mut items = vec![];
    if let (Some(encoder), Some(film)) = (&found.encoder, &config.film_generator) {
        items.extend(encoder.flops(film.cond_dim).map_err(named)?.items().iter().cloned());
    }
    items.extend(count(Phase::Training).map_err(named)?.items().iter().cloned());
    let counts = Counts::new(items)?;
    let inference = match config.film_generator {
        Some(_) => counts.total(),
        None => count(Phase::Inference).map_err(named)?.total(),
    };
    let sizes = vec![
        ("data_dim", config.data_dim),
        ("embedding_dim", config.embedding_dim),
        ("mlp_hidden_dim", config.mlp_hidden_dim),
        ("num_layers", config.num_layers),
        ("out_dim", config.out_dim),
    ];
    let mut json: serde_json::Map<String, Value> =
        sizes.iter().map(|(key, size)| ((*key).into(), (*size).into())).collect();
    json.insert("film_after_pos_embed".into(), config.film_after_pos_embed.into());
    json.insert("film_generator".into(), serde_json::to_value(&config.film_generator)?);
    let once = if config.film_generator.is_some() {
        (0, 0)
    } else {
        let lengths = match &conv_config {
            Some(conv) => conv.grid_lengths(grid).map_err(named)?,
            None => grid.to_vec(),
        };
        let kernel = config.flops(&lengths, Phase::Training).map_err(named)?;
        (kernel.total(), kernel.macs())
    };
    let boundaries = conv_config.map(|conv| conv.boundaries);
    let names = |of: &Vec<Boundary>| of.iter().map(ToString::to_string).collect::<Vec<_>>();
    json.insert("boundaries".into(), boundaries.as_ref().map(names).into());
    let name = conv.filter(|_| boundaries.is_some()).map_or(&found.prefix, |conv| &conv.prefix);
    Ok(Subject {
        prefix: Some(name.clone()),
        sizes,
        config: json.into(),
        counts,
        inference: Some(inference),
        once,
        boundaries,
    })
}

fn print(report: &Report, sizes: &[(&str, usize)], boundaries: Option<&[Boundary]>) -> Result<()> {
    let mut out = printer::stdout();
    if let Some(prefix) = report.prefix {
        let name = if prefix.is_empty() { "(root)" } else { prefix };
        for line in wrap(&printer::label(name), printer::columns()) {
            writeln!(out, "{BOLD}{line}{BOLD:#}")?;
        }
    }
    let sizes: Vec<String> = sizes.iter().map(|(key, size)| format!("{key} {size}")).collect();
    writeln!(out, "{}", sizes.join(", "))?;
    if let Some(grid) = report.grid {
        let lengths: Vec<String> = grid.iter().map(ToString::to_string).collect();
        let lengths = lengths.join("×");
        if let Some(boundaries) = boundaries {
            let names: Vec<String> = boundaries.iter().map(ToString::to_string).collect();
            writeln!(out, "signal {lengths}: {}", names.join(" × "))?;
        } else {
            let points: Vec<String> =
                grid.iter().map(|length| (2 * length - 1).to_string()).collect();
            writeln!(out, "grid {lengths}: {} points", points.join("×"))?;
        }
    }
    writeln!(out)?;
    let mut table = Table::new(&[
        ("operation", Align::Left),
        ("formula", Align::Left),
        ("FLOPs", Align::Right),
        ("MACs", Align::Right),
        ("parameters", Align::Right),
    ]);
    for item in &report.items {
        table.row([
            item.name.into(),
            item.formula.clone(),
            number(item.flops),
            number(item.macs),
            number(item.parameters),
        ]);
    }
    table.rule();
    let total = |name: &str, flops, macs, parameters: Option<u64>| {
        [
            name.into(),
            String::new(),
            number(flops),
            number(macs),
            parameters.map(number).unwrap_or_default(),
        ]
    };
    table.row(total(
        "per sample",
        report.flops_per_sample,
        report.macs_per_sample,
        Some(report.parameters),
    ));
    if report.batch > 1 {
        let name = format!("batch of {}", number(report.batch as u64));
        table.row(total(&name, report.flops_per_batch, report.macs_per_batch, None));
    }
    table.print(&mut out)?;
    writeln!(out, "\n{DIM}{}{DIM:#}", report.convention)?;
    if report.grid.is_some() {
        writeln!(out, "{DIM}the mask is not counted{DIM:#}")?;
        match report.inference_flops_per_sample {
            Some(inference) if inference < report.flops_per_sample => writeln!(
                out,
                "{DIM}not modulated, the kernel is a constant: {} at inference{DIM:#}",
                number(inference)
            )?,
            _ => {}
        }
    }
    Ok(out.flush()?)
}
