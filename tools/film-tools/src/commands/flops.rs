//! `flops`: what a generator costs, operation by operation.

use std::io::Write;

use anyhow::{Context, Result};
use film_core::KernelFilmConfig;
use film_core::checkpoint::Checkpoint;
use film_core::flops::{Factor, Flops as Counts, Item};
use serde::Serialize;

use super::{SCHEMA_VERSION, Usage, discover, selection};
use crate::args::Flops;
use crate::output::{Align, Table, number, wrap};
use crate::printer::{self, BOLD, DIM};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    convention: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'a str>,
    config: &'a KernelFilmConfig,
    flops_per_sample: u64,
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

pub(crate) fn run(args: &Flops) -> Result<()> {
    let (config, prefix) = config(args)?;
    let counts = config.flops().map_err(|error| Usage(error.to_string()))?;
    let times = |count: u64| {
        let too_many =
            || Usage(format!("--batch {}: the count for the batch overflows", args.batch));
        count.checked_mul(args.batch as u64).with_context(too_many)
    };
    let report = Report {
        schema_version: SCHEMA_VERSION,
        convention: Counts::CONVENTION,
        prefix: prefix.as_deref(),
        config: &config,
        flops_per_sample: counts.total(),
        macs_per_sample: counts.macs(),
        parameters: counts.parameters(),
        batch: args.batch,
        flops_per_batch: times(counts.total())?,
        macs_per_batch: times(counts.macs())?,
        items: counts.items().iter().map(Row::from).collect(),
    };
    if args.json { printer::json(&report) } else { print(&report) }
}

/// The configuration to count, and the prefix of the generator it is of.
fn config(args: &Flops) -> Result<(KernelFilmConfig, Option<String>)> {
    let Some(path) = &args.checkpoint else { return Ok((args.sizes.config([])?, None)) };
    let checkpoint = Checkpoint::open(path)?;
    let found = discover(&checkpoint)?;
    let generator =
        found.generator(args.prefix.as_deref()).map_err(|error| selection(error, &checkpoint))?;
    let config = generator.config(args.sizes.kernel_hidden_dim);
    let config = config.map_err(|error| selection(error, &checkpoint))?;
    Ok((config, Some(generator.name().into())))
}

fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    let KernelFilmConfig { cond_dim, kernel_hidden_dim, num_film_layers, film_hidden_dim, .. } =
        report.config;
    if let Some(prefix) = report.prefix {
        for line in wrap(&printer::escape(prefix), printer::columns()) {
            writeln!(out, "{BOLD}{line}{BOLD:#}")?;
        }
    }
    writeln!(
        out,
        "cond_dim {cond_dim}, film_hidden_dim {film_hidden_dim}, kernel_hidden_dim {kernel_hidden_dim}, num_film_layers {num_film_layers}\n"
    )?;
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
    Ok(out.flush()?)
}
