//! `inspect`: what a checkpoint holds, from its headers alone.

mod folded;
mod report;
mod text;

use std::cmp::Reverse;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use film_core::Error;
use film_core::checkpoint::{
    Checkpoint, Digest, Discovery, FoundGenerator, FoundKernel, NearMiss, TensorInfo, is_below,
    join,
};

use super::select::Select;
use super::{Usage, discover, selection};
use crate::args::{Inspect, Sort};
use crate::output::{Leaf, Node, Nodes};
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
    let tensors = select(args, &checkpoint)?;
    let hashes = if args.hash { checkpoint.sha256(&tensors)? } else { Vec::new() };
    let shown = show(args, &checkpoint, &discovery, tensors, &hashes);
    if args.json {
        return printer::json(&report::report(&shown));
    }
    let mut out = printer::stdout();
    text::header(&mut out, &shown)?;
    if args.flat {
        text::flat(&mut out, &shown)?;
    } else {
        folded::folded(&mut out, &shown, args)?;
    }
    text::generators(&mut out, &shown)?;
    text::kernels(&mut out, &shown)?;
    Ok(out.flush()?)
}

/// The tensors that are asked for, sorted by name.
fn select<'a>(args: &Inspect, checkpoint: &'a Checkpoint) -> Result<Vec<&'a TensorInfo>> {
    let filter = Select::parse("--filter", args.filter.as_deref())?;
    let inside = |name: &str| args.is_inside(name);
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
    Ok(tensors)
}

/// `tensors` in the order asked for, with their hashes if there are any, and the parts that are shown with them.
fn show<'a>(
    args: &Inspect,
    checkpoint: &'a Checkpoint,
    discovery: &'a Discovery,
    tensors: Vec<&'a TensorInfo>,
    hashes: &'a [Digest],
) -> Shown<'a> {
    // A part is shown if it stands at the prefix or below it; with a filter, if a tensor of it is shown.
    let is_shown = |prefix: &str| {
        if args.filter.is_none() && !args.is_inside(prefix) {
            return false;
        }
        let below = join(prefix, "");
        let first = tensors.partition_point(|tensor| tensor.name < below);
        tensors.get(first).is_some_and(|tensor| tensor.name.starts_with(&below))
    };
    let generators = discovery.generators().iter().filter(|found| is_shown(&found.prefix));
    let kernels = discovery.kernels().iter().filter(|found| is_shown(&found.prefix));
    let (generators, kernels) = (generators.collect(), kernels.collect());
    let misses = discovery.kernel_misses().iter();
    let misses = misses.filter(|miss| args.is_inside(&miss.prefix)).collect();
    let leaves = tensors.into_iter().enumerate();
    let leaves = leaves.map(|(index, tensor)| Leaf { tensor, hash: hashes.get(index) });
    let mut tensors: Vec<Leaf> = leaves.collect();
    args.arrange(checkpoint, &mut tensors);
    Shown { checkpoint, tensors, generators, kernels, misses, discovery }
}

impl Inspect {
    fn is_inside(&self, name: &str) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| is_below(name, prefix))
    }

    /// Puts tensors in the order asked for.
    fn arrange(&self, checkpoint: &Checkpoint, leaves: &mut [Leaf]) {
        match self.sort {
            Sort::Name => {}
            Sort::Size => leaves.sort_by_key(|leaf| Reverse(leaf.tensor.bytes)),
            Sort::Offset => leaves.sort_by_key(|leaf| place(checkpoint, leaf.tensor)),
            Sort::Dtype => leaves.sort_by_cached_key(|leaf| leaf.tensor.dtype.to_string()),
            Sort::Shape => leaves.sort_by(|a, b| {
                let [a, b] = [a, b].map(|leaf| &leaf.tensor.shape);
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }),
        }
        if self.reverse {
            leaves.reverse();
        }
    }

    /// Siblings in the tree in the order asked for: groups by their totals and by what of them comes first.
    fn arranged<'a>(&self, checkpoint: &'a Checkpoint, nodes: Nodes<'a>) -> Vec<Node<'a>> {
        let mut nodes: Vec<Node> = nodes.collect();
        match self.sort {
            Sort::Size => nodes.sort_by_cached_key(|node| {
                Reverse(node.tensors().map(|tensor| tensor.bytes).sum::<u64>())
            }),
            Sort::Offset => nodes.sort_by_cached_key(|node| {
                node.tensors().map(|tensor| place(checkpoint, tensor)).min()
            }),
            _ => {}
        }
        if self.reverse {
            nodes.reverse();
        }
        nodes
    }
}

/// Where a tensor stands.
fn place<'a>(checkpoint: &'a Checkpoint, tensor: &TensorInfo) -> (&'a Path, u64) {
    (checkpoint.file_of(tensor).path(), tensor.offset)
}
