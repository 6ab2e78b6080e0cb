//! `inspect`: what a checkpoint holds, from its headers alone.

mod report;
mod text;

use std::io::Write;

use anyhow::Result;
use film_core::Error;
use film_core::checkpoint::{
    Checkpoint, Discovery, FoundGenerator, FoundKernel, NearMiss, TensorInfo, is_below,
};

use super::select::Select;
use super::{discover, selection};
use crate::args::Inspect;
use crate::printer;

/// What of a checkpoint is to be shown.
struct Shown<'a> {
    checkpoint: &'a Checkpoint,
    tensors: Vec<&'a TensorInfo>,
    generators: Vec<&'a FoundGenerator>,
    kernels: Vec<&'a FoundKernel>,
    /// What is nearly a kernel.
    misses: Vec<&'a NearMiss>,
    discovery: &'a Discovery,
}

pub(crate) fn run(args: &Inspect) -> Result<()> {
    let checkpoint = super::open(&args.checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let shown = select(args, &checkpoint, &discovery)?;
    if args.json {
        return printer::json(&report::report(&shown));
    }
    let mut out = printer::stdout();
    text::header(&mut out, &shown)?;
    if args.flat {
        text::flat(&mut out, &shown)?;
    } else {
        text::folded(&mut out, &shown)?;
    }
    text::generators(&mut out, &shown)?;
    text::kernels(&mut out, &shown)?;
    Ok(out.flush()?)
}

fn select<'a>(
    args: &Inspect,
    checkpoint: &'a Checkpoint,
    discovery: &'a Discovery,
) -> Result<Shown<'a>> {
    let filter = Select::parse("--filter", args.filter.as_deref())?;
    let inside = |name: &str| args.prefix.as_deref().is_none_or(|prefix| is_below(name, prefix));
    let wanted = |tensor: &&TensorInfo| {
        inside(&tensor.name) && filter.as_ref().is_none_or(|filter| filter.matches(&tensor.name))
    };
    let tensors: Vec<_> = checkpoint.tensors().iter().filter(wanted).collect();
    if tensors.is_empty() && !checkpoint.tensors().is_empty() {
        let text = match (&args.prefix, &filter) {
            (Some(prefix), None) => format!("no tensor stands at --prefix {prefix} or below it"),
            (None, Some(filter)) => filter.missed(),
            _ => "no tensor fits both --prefix and --filter".into(),
        };
        return Err(selection(Error::Selection(text), checkpoint));
    }
    // A part is shown if it stands at the prefix or below it; with a filter, if a tensor of it is shown.
    // The tensors are sorted by name.
    let is_shown = |prefix: &str| {
        if args.filter.is_none() && !inside(prefix) {
            return false;
        }
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        let first = tensors.partition_point(|tensor| tensor.name < below);
        tensors.get(first).is_some_and(|tensor| tensor.name.starts_with(&below))
    };
    let generators = discovery.generators().iter().filter(|found| is_shown(&found.prefix));
    let kernels = discovery.kernels().iter().filter(|found| is_shown(&found.prefix));
    let (generators, kernels) = (generators.collect(), kernels.collect());
    let misses = discovery.kernel_misses().iter().filter(|miss| inside(&miss.prefix)).collect();
    Ok(Shown { checkpoint, tensors, generators, kernels, misses, discovery })
}
