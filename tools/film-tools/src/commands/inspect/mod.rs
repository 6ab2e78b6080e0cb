//! `inspect`: what a checkpoint holds, from its headers alone.

mod report;
mod text;

use std::cmp::Reverse;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use film_core::Error;
use film_core::checkpoint::{
    Checkpoint, Discovery, FoundGenerator, FoundKernel, NearMiss, TensorInfo, is_below, join,
};

use super::select::Select;
use super::{Usage, discover, selection};
use crate::args::{Inspect, Sort};
use crate::output::{Leaf, Node};
use crate::printer;

/// What of a checkpoint is to be shown.
struct Shown<'a> {
    checkpoint: &'a Checkpoint,
    /// In the order asked for.
    tensors: Vec<Leaf<'a>>,
    generators: Vec<&'a FoundGenerator>,
    kernels: Vec<&'a FoundKernel>,
    /// What is nearly a kernel.
    misses: Vec<&'a NearMiss>,
    discovery: &'a Discovery,
}

pub(crate) fn run(args: &Inspect) -> Result<()> {
    if !args.flat && !args.json && matches!(args.sort, Sort::Dtype | Sort::Shape) {
        let text =
            "--sort dtype and shape go with --flat or --json: the tree's groups have neither";
        return Err(Usage(text.into()).into());
    }
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
        text::folded(&mut out, &shown, args)?;
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
        let below = join(prefix, "");
        let first = tensors.partition_point(|tensor| tensor.name < below);
        tensors.get(first).is_some_and(|tensor| tensor.name.starts_with(&below))
    };
    let generators = discovery.generators().iter().filter(|found| is_shown(&found.prefix));
    let kernels = discovery.kernels().iter().filter(|found| is_shown(&found.prefix));
    let (generators, kernels) = (generators.collect(), kernels.collect());
    let hashes = match args.hash {
        true => checkpoint.sha256(&tensors)?.into_iter().map(Some).collect(),
        false => vec![None; tensors.len()],
    };
    let leaves = tensors.into_iter().zip(hashes).map(|(tensor, hash)| Leaf { tensor, hash });
    let mut tensors: Vec<Leaf> = leaves.collect();
    args.arrange(checkpoint, &mut tensors);
    let misses = discovery.kernel_misses().iter().filter(|miss| inside(&miss.prefix)).collect();
    Ok(Shown { checkpoint, tensors, generators, kernels, misses, discovery })
}

impl Inspect {
    /// Puts tensors in the order asked for.
    fn arrange(&self, checkpoint: &Checkpoint, leaves: &mut [Leaf]) {
        match self.sort {
            Sort::Name => {}
            Sort::Size => leaves.sort_by_key(|leaf| Reverse(leaf.tensor.bytes)),
            Sort::Offset => leaves.sort_by_cached_key(|leaf| place(checkpoint, leaf.tensor)),
            Sort::Dtype => leaves.sort_by_cached_key(|leaf| leaf.tensor.dtype.to_string()),
            Sort::Shape => {
                leaves.sort_by_key(|leaf| (leaf.tensor.shape.len(), leaf.tensor.shape.clone()));
            }
        }
        if self.reverse {
            leaves.reverse();
        }
    }

    /// Puts siblings in the tree in the order asked for: groups by their totals and by what of them comes first.
    fn arrange_nodes(&self, checkpoint: &Checkpoint, nodes: &mut [Node]) {
        match self.sort {
            Sort::Size => nodes.sort_by_key(|node| Reverse(node.repeats * node.bytes)),
            Sort::Offset => nodes.sort_by_cached_key(|node| {
                node.tensors().iter().map(|(_, tensor)| place(checkpoint, tensor)).min()
            }),
            _ => {}
        }
        if self.reverse {
            nodes.reverse();
        }
        nodes.iter_mut().for_each(|node| self.arrange_nodes(checkpoint, &mut node.children));
    }
}

/// Where a tensor stands.
fn place(checkpoint: &Checkpoint, tensor: &TensorInfo) -> (PathBuf, u64) {
    (checkpoint.file_of(tensor).path().to_path_buf(), tensor.offset)
}
