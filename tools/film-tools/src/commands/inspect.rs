//! `inspect`: what a checkpoint holds, from its headers alone.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use film_core::Error;
use film_core::checkpoint::{
    Checkpoint, Discovery, Encoder, FoundEncoder, FoundGenerator, TensorInfo, is_below,
};
use serde::Serialize;

use super::{SCHEMA_VERSION, discover, selection};
use crate::args::Inspect;
use crate::output::{Node, fit, number, size, tree, width, wrap};
use crate::printer::{self, BOLD, DIM, escape};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    path: String,
    files: Vec<File<'a>>,
    total_tensors: usize,
    total_parameters: u64,
    total_bytes: u64,
    dtypes: BTreeMap<String, u64>,
    tensors: Vec<Tensor<'a>>,
    generators: Vec<Generator<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    bytes: u64,
    metadata: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: String,
    shape: &'a [usize],
    parameters: u64,
    bytes: u64,
    file: String,
}

#[derive(Serialize)]
struct Generator<'a> {
    prefix: &'a str,
    cond_dim: usize,
    film_hidden_dim: usize,
    kernel_hidden_dim: Option<usize>,
    num_film_layers: Option<usize>,
    out_dim: usize,
    parameters: u64,
    registers: Option<Registers<'a>>,
}

#[derive(Serialize)]
struct Registers<'a> {
    prefix: &'a str,
    kind: &'static str,
    num_registers: usize,
}

/// What of a checkpoint is to be shown.
struct Shown<'a> {
    checkpoint: &'a Checkpoint,
    tensors: Vec<&'a TensorInfo>,
    generators: Vec<&'a FoundGenerator>,
    discovery: &'a Discovery,
}

pub(crate) fn run(args: &Inspect) -> Result<()> {
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let shown = select(args, &checkpoint, &discovery)?;
    if args.json {
        return printer::json(&report(&shown));
    }
    let mut out = printer::stdout();
    header(&mut out, &shown)?;
    if args.flat {
        flat(&mut out, &shown)?
    } else {
        folded(&mut out, &shown)?
    }
    generators(&mut out, &shown)?;
    Ok(out.flush()?)
}

fn select<'a>(
    args: &Inspect,
    checkpoint: &'a Checkpoint,
    discovery: &'a Discovery,
) -> Result<Shown<'a>> {
    let glob = args.filter.as_deref().map(glob::Pattern::new).transpose();
    let glob = glob.map_err(|error| super::Usage(format!("--filter: {error}")))?;
    let wanted = |tensor: &&TensorInfo| {
        args.prefix.as_deref().is_none_or(|prefix| is_below(&tensor.name, prefix))
            && glob.as_ref().is_none_or(|glob| glob.matches(&tensor.name))
    };
    let tensors: Vec<_> = checkpoint.tensors().iter().filter(wanted).collect();
    if tensors.is_empty() && !checkpoint.tensors().is_empty() {
        let text = match (&args.prefix, &args.filter) {
            (Some(prefix), None) => format!("no tensor stands at --prefix {prefix} or below it"),
            (None, Some(glob)) => format!("no tensor's name matches --filter {glob}"),
            _ => "no tensor fits both --prefix and --filter".into(),
        };
        return Err(selection(Error::Selection(text), checkpoint));
    }
    let has_tensor = |found: &&FoundGenerator| {
        tensors.iter().any(|tensor| is_below(&tensor.name, &found.prefix))
    };
    let generators = discovery.generators().iter().filter(has_tensor).collect();
    Ok(Shown { checkpoint, tensors, generators, discovery })
}

fn report<'a>(shown: &Shown<'a>) -> Report<'a> {
    let checkpoint = shown.checkpoint;
    let file = |tensor: &TensorInfo| checkpoint.file_of(tensor).path().display().to_string();
    Report {
        schema_version: SCHEMA_VERSION,
        path: checkpoint.path().display().to_string(),
        files: checkpoint
            .files()
            .iter()
            .map(|file| File {
                path: file.path().display().to_string(),
                bytes: file.bytes(),
                metadata: file
                    .metadata()
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect(),
            })
            .collect(),
        total_tensors: checkpoint.tensors().len(),
        total_parameters: checkpoint.tensors().iter().map(|tensor| tensor.count() as u64).sum(),
        total_bytes: checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum(),
        dtypes: dtypes(checkpoint.tensors().iter()),
        tensors: shown
            .tensors
            .iter()
            .map(|tensor| Tensor {
                name: &tensor.name,
                dtype: tensor.dtype.to_string(),
                shape: &tensor.shape,
                parameters: tensor.count() as u64,
                bytes: tensor.bytes,
                file: file(tensor),
            })
            .collect(),
        generators: shown
            .generators
            .iter()
            .map(|found| Generator {
                prefix: &found.prefix,
                cond_dim: found.cond_dim,
                film_hidden_dim: found.film_hidden_dim,
                kernel_hidden_dim: found.kernel_hidden_dim,
                num_film_layers: found.num_film_layers,
                out_dim: found.out_dim,
                parameters: found.parameters(),
                registers: shown
                    .discovery
                    .encoder_of(found)
                    .ok()
                    .map(|encoder| registers(found, encoder)),
            })
            .collect(),
    }
}

fn registers<'a>(generator: &FoundGenerator, encoder: &'a FoundEncoder) -> Registers<'a> {
    let (kind, num_registers) = match encoder.kind {
        Encoder::Pooling { num_registers } => ("pooling", num_registers),
        Encoder::CompressConcat { compressed_dim, .. } => {
            ("compress_concat", generator.cond_dim / compressed_dim)
        }
    };
    Registers { prefix: &encoder.prefix, kind, num_registers }
}

/// How many numbers are stored in each dtype.
fn dtypes<'a>(tensors: impl Iterator<Item = &'a TensorInfo>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for tensor in tensors {
        *counts.entry(tensor.dtype.to_string()).or_default() += tensor.count() as u64;
    }
    counts
}

/// Adds up to a line: "27 tensors, 69,034 parameters, 270 KiB, F32".
fn totals<'a>(tensors: impl Iterator<Item = &'a TensorInfo> + Clone) -> String {
    let parameters = tensors.clone().map(|tensor| tensor.count() as u64).sum();
    let bytes = tensors.clone().map(|tensor| tensor.bytes).sum();
    let dtypes: Vec<String> = dtypes(tensors.clone()).into_keys().collect();
    let kinds = if dtypes.is_empty() { String::new() } else { format!(", {}", dtypes.join(" + ")) };
    format!(
        "{}, {} parameters, {}{kinds}",
        plural(tensors.count(), "tensor"),
        number(parameters),
        size(bytes)
    )
}

fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(count as u64), if count == 1 { "" } else { "s" })
}

fn header(out: &mut impl Write, shown: &Shown) -> Result<()> {
    let checkpoint = shown.checkpoint;
    writeln!(out, "{BOLD}{}{BOLD:#}", escape(&checkpoint.path().display().to_string()))?;
    let files = plural(checkpoint.files().len(), "file");
    writeln!(out, "{files}, {}", totals(checkpoint.tensors().iter()))?;
    let mut metadata: Vec<(&String, &String)> = checkpoint
        .files()
        .iter()
        .flat_map(|file| file.metadata())
        .map(|(key, value)| (key, value))
        .collect();
    metadata.sort();
    metadata.dedup();
    for (key, value) in metadata {
        writeln!(
            out,
            "{}",
            fit(&format!("metadata {}: {}", escape(key), escape(value)), printer::columns())
        )?;
    }
    if shown.tensors.len() < checkpoint.tensors().len() {
        writeln!(out, "shown: {}", totals(shown.tensors.iter().copied()))?;
    }
    Ok(writeln!(out)?)
}

fn flat(out: &mut impl Write, shown: &Shown) -> Result<()> {
    let shape = |tensor: &TensorInfo| format!("{:?}", tensor.shape);
    let widest = |of: &dyn Fn(&TensorInfo) -> usize| {
        shown.tensors.iter().map(|tensor| of(tensor)).max().unwrap_or(0)
    };
    let (dtypes, shapes) =
        (widest(&|tensor| tensor.dtype.to_string().len()), widest(&|tensor| shape(tensor).len()));
    let room = printer::terminal_columns()
        .map(|columns| columns.saturating_sub(dtypes + shapes + 4).max(16));
    for tensor in &shown.tensors {
        let name = escape(&tensor.name);
        let name = room.map_or(name.clone(), |room| fit(&name, room));
        writeln!(out, "{:dtypes$}  {:shapes$}  {name}", tensor.dtype.to_string(), shape(tensor))?;
    }
    Ok(writeln!(out)?)
}

/// A line of the tree, before it is laid out.
struct Line {
    name: String,
    group: bool,
    dtype: String,
    shape: String,
    parameters: String,
    share: String,
}

fn folded(out: &mut impl Write, shown: &Shown) -> Result<()> {
    let total: u64 = shown.checkpoint.tensors().iter().map(|tensor| tensor.count() as u64).sum();
    let mut lines = vec![];
    for node in tree(&shown.tensors) {
        gather(&mut lines, &node, 0, 1, total.max(1));
    }
    let widest = |of: fn(&Line) -> &str, name: &str| {
        lines.iter().map(|line| width(of(line))).max().unwrap_or(0).max(name.len())
    };
    let dtypes = widest(|line| &line.dtype, "dtype");
    let shapes = widest(|line| &line.shape, "shape").min(20);
    let counts = widest(|line| &line.parameters, "parameters");
    let room = printer::columns().saturating_sub(dtypes + shapes + counts + 6 + 2 * 4).max(12);
    let names = widest(|line| &line.name, "tensor").min(room);
    let rest = |dtype: &str, shape: &str, count: &str, share: &str| {
        format!("  {dtype:dtypes$}  {:shapes$}  {count:>counts$}  {share:>6}", fit(shape, shapes))
    };
    writeln!(
        out,
        "{BOLD}{:names$}{}{BOLD:#}",
        "tensor",
        rest("dtype", "shape", "parameters", "share")
    )?;
    for line in &lines {
        let style = if line.group { BOLD } else { anstyle::Style::new() };
        let mut name = wrap(&line.name, names);
        let last = name.pop().unwrap_or_default();
        for above in name {
            writeln!(out, "{style}{above}{style:#}")?;
        }
        let space = " ".repeat(names.saturating_sub(width(&last)));
        let rest = rest(&line.dtype, &line.shape, &line.parameters, &line.share);
        writeln!(out, "{style}{last}{style:#}{space}{rest}")?;
    }
    Ok(writeln!(out)?)
}

/// The lines of a node and all below it. `repeats`: how many times the node itself stands there.
fn gather(lines: &mut Vec<Line>, node: &Node, depth: usize, repeats: u64, total: u64) {
    let repeats = repeats * node.repeats;
    let count = |each: u64| match repeats {
        1 => number(each),
        _ => format!("{} × {}", number(repeats), number(each)),
    };
    lines.push(Line {
        name: format!("{}{}", "  ".repeat(depth.min(12)), escape(&node.name())),
        group: node.tensor.is_none(),
        dtype: node.tensor.map(|tensor| tensor.dtype.to_string()).unwrap_or_default(),
        shape: node.tensor.map(|tensor| format!("{:?}", tensor.shape)).unwrap_or_default(),
        parameters: count(node.parameters),
        share: format!("{:.1}%", 100.0 * (repeats * node.parameters) as f64 / total as f64),
    });
    for child in &node.children {
        gather(lines, child, depth + 1, repeats, total);
    }
}

fn generators(out: &mut impl Write, shown: &Shown) -> Result<()> {
    writeln!(out, "{BOLD}FiLM generators: {}{BOLD:#}", shown.generators.len())?;
    if shown.discovery.generators().is_empty()
        && let Some(why) = shown.discovery.near_misses().first()
    {
        writeln!(out, "  {DIM}closest: {}{DIM:#}", escape(why))?;
    }
    for found in &shown.generators {
        for line in wrap(&format!("  {}", escape(found.name())), printer::columns()) {
            writeln!(out, "{line}")?;
        }
        let outputs = match (found.num_film_layers, found.kernel_hidden_dim) {
            (Some(layers), Some(width)) => {
                format!("num_film_layers {layers} × (γ, β) × kernel_hidden_dim {width}")
            }
            _ => format!("{} outputs; kernel_hidden_dim unknown", found.out_dim),
        };
        writeln!(
            out,
            "    cond_dim {} → film_hidden_dim {}",
            found.cond_dim, found.film_hidden_dim
        )?;
        writeln!(out, "    → {outputs}; {} parameters", number(found.parameters()))?;
        if let Ok(encoder) = shown.discovery.encoder_of(found) {
            let Registers { prefix, kind, num_registers } = registers(found, encoder);
            let name = if prefix.is_empty() { "(root)" } else { prefix };
            writeln!(out, "    registers: {}, {kind} of {num_registers}", escape(name))?;
        }
    }
    out.flush().context("cannot write to stdout")
}
