//! The tree of names as text, for people.

use std::io::Write;

use anyhow::Result;

use super::Shown;
use super::report::dtypes;
use crate::args::Inspect;
use crate::commands::plural;
use crate::output::{Branch, Nodes, fit, number, sort, tree, width, wrap};
use crate::printer::{self, BOLD, DIM, label};

/// A line of the tree, before it is laid out.
struct Line {
    name: String,
    group: bool,
    dtype: String,
    shape: String,
    parameters: String,
    share: String,
    hash: Option<String>,
}

/// How wide the columns are.
#[derive(Default)]
struct Widths {
    names: usize,
    dtypes: usize,
    shapes: usize,
    counts: usize,
}

pub(super) fn folded(out: &mut impl Write, shown: &Shown, args: &Inspect) -> Result<()> {
    let mut leaves = shown.tensors.clone();
    sort(&mut leaves);
    let total: u64 = shown.checkpoint.tensors().iter().map(|tensor| tensor.count() as u64).sum();
    let lines = Lines { shown, args, total: total.max(1) };
    // Twice, as there may be a million of them.
    let mut widths = Widths::default();
    let head = Line::head();
    widths.widen(&head);
    lines.each(tree(&leaves), 0, 1, &mut |line| {
        widths.widen(line);
        Ok(())
    })?;
    widths.fit();
    writeln!(out, "{BOLD}{:1$}{2}{BOLD:#}", head.name, widths.names, widths.rest(&head))?;
    lines.each(tree(&leaves), 0, 1, &mut |line| widths.print(out, line))?;
    Ok(writeln!(out)?)
}

impl Line {
    /// What stands above the columns.
    fn head() -> Self {
        let [name, dtype, shape, parameters, share] =
            ["tensor", "dtype", "shape", "parameters", "share"].map(String::from);
        Self { name, group: true, dtype, shape, parameters, share, hash: None }
    }
}

impl Widths {
    fn widen(&mut self, line: &Line) {
        let Self { names, dtypes, shapes, counts } = self;
        for (widest, text) in [
            (names, &line.name),
            (dtypes, &line.dtype),
            (shapes, &line.shape),
            (counts, &line.parameters),
        ] {
            *widest = width(text).max(*widest);
        }
    }

    /// Takes no more than the terminal has: shapes are cut and names broken.
    fn fit(&mut self) {
        self.shapes = self.shapes.min(20);
        let others = self.dtypes + self.shapes + self.counts + 6 + 2 * 4;
        self.names = self.names.min(printer::columns().saturating_sub(others).max(12));
    }

    fn print(&self, out: &mut impl Write, line: &Line) -> Result<()> {
        let style = if line.group { BOLD } else { anstyle::Style::new() };
        let mut name = wrap(&line.name, self.names);
        let last = name.pop().unwrap_or_default();
        for above in name {
            writeln!(out, "{style}{above}{style:#}")?;
        }
        let space = " ".repeat(self.names.saturating_sub(width(&last)));
        writeln!(out, "{style}{last}{style:#}{space}{}", self.rest(line))?;
        if let Some(hash) = &line.hash {
            writeln!(out, "{DIM}{hash}{DIM:#}")?;
        }
        Ok(())
    }

    /// What stands behind the name.
    fn rest(&self, line: &Line) -> String {
        let Self { dtypes, shapes, counts, .. } = *self;
        let Line { dtype, shape, parameters, share, .. } = line;
        let shape = fit(shape, shapes);
        format!("  {dtype:dtypes$}  {shape:shapes$}  {parameters:>counts$}  {share:>6}")
    }
}

/// What the lines tell of.
struct Lines<'a> {
    shown: &'a Shown<'a>,
    args: &'a Inspect,
    /// The numbers in the checkpoint.
    total: u64,
}

impl<'a> Lines<'a> {
    /// The lines of nodes at `depth` and of those below them. `repeats`: how many times the nodes themselves stand there.
    fn each(
        &self,
        nodes: Nodes<'a>,
        depth: usize,
        repeats: u64,
        see: &mut dyn FnMut(&Line) -> Result<()>,
    ) -> Result<()> {
        for node in self.args.arranged(self.shown.checkpoint, nodes) {
            let branch = node.branch();
            let repeats = repeats * branch.repeats;
            // What is deeper than asked for is summed up.
            let cut = self.args.depth.is_some_and(|levels| depth + 1 >= levels)
                && !branch.children.is_empty();
            see(&self.line(&branch, depth, repeats, cut))?;
            if !cut {
                self.each(branch.children, depth + 1, repeats, see)?;
            }
        }
        Ok(())
    }

    fn line(&self, branch: &Branch, depth: usize, repeats: u64, cut: bool) -> Line {
        let tensors = branch.leaves.iter().map(|leaf| leaf.tensor);
        let parameters: u64 = tensors.clone().map(|tensor| tensor.count() as u64).sum();
        let (dtype, shape) = match branch.tensor {
            _ if cut => {
                let kinds: Vec<String> = dtypes(tensors).into_keys().collect();
                (kinds.join(" + "), plural(branch.leaves.len(), "tensor"))
            }
            Some(leaf) => (leaf.tensor.dtype.to_string(), format!("{:?}", leaf.tensor.shape)),
            None => Default::default(),
        };
        let hash = branch.tensor.filter(|_| !cut).and_then(|leaf| leaf.hash);
        Line {
            name: format!("{}{}", "  ".repeat(depth.min(12)), label(&branch.name)),
            group: branch.tensor.is_none(),
            dtype,
            shape,
            parameters: match repeats {
                1 => number(parameters),
                _ => format!("{} × {}", number(repeats), number(parameters)),
            },
            share: format!("{:.1}%", 100.0 * (repeats * parameters) as f64 / self.total as f64),
            // 64 digits fit behind 16 columns.
            hash: hash.map(|hash| format!("{}{hash}", " ".repeat((2 * depth + 2).min(16)))),
        }
    }
}
