//! `diff`: two checkpoints against each other.

use std::cmp::Ordering;
use std::io::Write;

use anyhow::Result;
use film_core::checkpoint::{Comparison, Difference, Pair, Side, TensorInfo, Tolerance, compare};
use serde::Serialize;

use super::{SCHEMA_VERSION, Status, open, plural};
use crate::args::Diff;
use crate::output::{Align, Table, number, significant, wrap};
use crate::printer::{self, BOLD, escape, label};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    a: String,
    b: String,
    tolerance: Tolerance,
    same: bool,
    /// Tensors of the same name, dtype, shape and bytes.
    identical: usize,
    /// The others of the same name.
    compared: Vec<Compared<'a>>,
    renamed: Vec<Renamed<'a>>,
    removed: Vec<Tensor<'a>>,
    added: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct Compared<'a> {
    name: &'a str,
    /// Whether they count as the same within the tolerance.
    same: bool,
    a: Stored<'a>,
    b: Stored<'a>,
    difference: Option<&'a Difference>,
}

#[derive(Serialize)]
struct Stored<'a> {
    dtype: String,
    shape: &'a [usize],
}

#[derive(Serialize)]
struct Renamed<'a> {
    from: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    #[serde(flatten)]
    stored: Stored<'a>,
}

impl<'a> From<&'a TensorInfo> for Stored<'a> {
    fn from(tensor: &'a TensorInfo) -> Self {
        Self { dtype: tensor.dtype.to_string(), shape: &tensor.shape }
    }
}

pub(crate) fn run(args: &Diff) -> Result<Status> {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let tolerance = Tolerance { rtol: args.rtol, atol: args.atol };
    let mut comparison = compare(
        Side { checkpoint: &a, strip_prefix: args.strip_prefix_a.as_deref() },
        Side { checkpoint: &b, strip_prefix: args.strip_prefix_b.as_deref() },
        tolerance,
    )?;
    comparison.pairs.sort_unstable_by(largest_first);
    let printed = if args.json {
        printer::json(&report(args, &comparison, tolerance))
    } else {
        print(args, &comparison)
    };
    printer::unless_closed(printed)?;
    Ok(if comparison.is_same() { Status::Fine } else { Status::Found })
}

/// What cannot be compared comes first, then NaN and infinities, then by falling max abs; the names decide the rest.
fn largest_first(x: &Pair, y: &Pair) -> Ordering {
    let key = |pair: &Pair| match &pair.difference {
        None => (true, true, f64::INFINITY),
        Some(found) => (false, found.non_finite > 0, found.max_abs),
    };
    let ((a, b, c), (d, e, f)) = (key(x), key(y));
    (d, e).cmp(&(a, b)).then(f.total_cmp(&c)).then_with(|| x.name.cmp(y.name))
}

/// Whether nothing at all is to be said of the two.
fn is_identical(pair: &Pair) -> bool {
    let same_bytes = pair.difference.as_ref().is_some_and(|found| found.same_bytes);
    same_bytes && !pair.reshaped() && !pair.recast()
}

fn report<'a>(args: &Diff, comparison: &'a Comparison, tolerance: Tolerance) -> Report<'a> {
    let (identical, others): (Vec<&Pair>, Vec<&Pair>) =
        comparison.pairs.iter().partition(|pair| is_identical(pair));
    let tensor =
        |&(name, tensor): &(&'a str, &'a TensorInfo)| Tensor { name, stored: tensor.into() };
    Report {
        schema_version: SCHEMA_VERSION,
        a: args.a.display().to_string(),
        b: args.b.display().to_string(),
        tolerance,
        same: comparison.is_same(),
        identical: identical.len(),
        compared: others
            .into_iter()
            .map(|pair| Compared {
                name: pair.name,
                same: pair.is_same(),
                a: pair.a.into(),
                b: pair.b.into(),
                difference: pair.difference.as_ref(),
            })
            .collect(),
        renamed: comparison
            .renamed
            .iter()
            .map(|renamed| Renamed { from: renamed.from, to: renamed.to })
            .collect(),
        removed: comparison.removed.iter().map(tensor).collect(),
        added: comparison.added.iter().map(tensor).collect(),
    }
}

fn print(args: &Diff, comparison: &Comparison) -> Result<()> {
    let mut out = printer::stdout();
    let different = comparison.pairs.iter().filter(|pair| !pair.is_same());
    let different: Vec<&Pair> = different.collect();
    if !comparison.is_same() {
        for (side, path) in [("A", &args.a), ("B", &args.b)] {
            writeln!(out, "{BOLD}{side}  {}{BOLD:#}", escape(&path.display().to_string()))?;
        }
        writeln!(out)?;
    }
    if !different.is_empty() {
        let mut table = Table::new(&[
            ("tensor", Align::Left),
            ("over", Align::Right),
            ("max abs", Align::Right),
            ("max rel", Align::Right),
            ("cosine", Align::Right),
        ]);
        different.iter().for_each(|pair| rows(&mut table, pair));
        table.print_wrapped(&mut out, printer::columns())?;
        writeln!(out)?;
    }
    if !comparison.renamed.is_empty() {
        writeln!(out, "{BOLD}renamed: {}{BOLD:#}", comparison.renamed.len())?;
        for renamed in &comparison.renamed {
            name(&mut out, &format!("  {}", renamed.from))?;
            name(&mut out, &format!("  → {}", renamed.to))?;
        }
        writeln!(out)?;
    }
    for (side, tensors) in [("A", &comparison.removed), ("B", &comparison.added)] {
        if !tensors.is_empty() {
            let title = format!("only in {side}: {}", tensors.len());
            let columns = [title.as_str(), "dtype", "shape"].map(|name| (name, Align::Left));
            let mut table = Table::new(&columns);
            for (name, tensor) in tensors {
                let shape = format!("{:?}", tensor.shape);
                table.row([(*name).into(), tensor.dtype.to_string(), shape]);
            }
            table.print_wrapped(&mut out, printer::columns())?;
            writeln!(out)?;
        }
    }
    for line in summary(comparison, different.len()) {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// A name on as many lines as it takes.
fn name(out: &mut impl Write, name: &str) -> Result<()> {
    for line in wrap(&label(name), printer::columns()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The rows of one pair: its numbers, and what they do not say.
fn rows(table: &mut Table<5>, pair: &Pair) {
    let none = || "–".to_string();
    let numbers = match &pair.difference {
        None => std::array::from_fn(|_| none()),
        Some(found) => [
            format!("{} of {}", number(found.over), number(found.elements)),
            significant(found.max_abs),
            significant(found.max_rel),
            match (found.same_bytes, found.cosine) {
                (true, _) => "1".into(),
                (_, cosine) => cosine.map_or_else(none, |cosine| format!("{cosine:.6}")),
            },
        ],
    };
    let [over, max_abs, max_rel, cosine] = numbers;
    table.row([pair.name.into(), over, max_abs, max_rel, cosine]);
    let mut note = |text: String| {
        let mut cells: [String; 5] = Default::default();
        cells[0] = text;
        table.row(cells);
    };
    if pair.recast() {
        note(format!("    recast {} → {}", pair.a.dtype, pair.b.dtype));
    }
    if pair.reshaped() {
        note(format!("    reshaped {:?} → {:?}", pair.a.shape, pair.b.shape));
    }
    match &pair.difference {
        None if !pair.reshaped() => note("    values not compared".into()),
        Some(found) if found.non_finite > 0 => {
            note(format!("    {} NaN or infinite", number(found.non_finite)));
        }
        _ => {}
    }
}

/// All tensors, counted.
fn summary(comparison: &Comparison, different: usize) -> Vec<String> {
    let pairs = &comparison.pairs;
    let count = |is: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| is(pair)).count();
    let same = pairs.len() - different;
    let unequal = |pair: &Pair| {
        pair.is_same() && pair.difference.as_ref().is_some_and(|found| found.max_abs > 0.0)
    };
    let within = count(&unequal);
    // Zeros of the other sign, or NaN with other bits.
    let by_value = count(&|pair| pair.is_same() && !unequal(pair) && !is_identical(pair));
    let mut line = match comparison.is_same() {
        true => format!("the same: {}", plural(same, "tensor")),
        false => format!(
            "{} in both: {same} the same, {different} differ",
            plural(pairs.len(), "tensor")
        ),
    };
    for (number, noun) in [
        (count(&|pair| pair.recast()), "recast"),
        (count(&|pair| pair.reshaped()), "reshaped"),
        (within, "within the tolerance"),
        (by_value, "the same in value, not in bytes"),
    ] {
        if number > 0 {
            line.push_str(&format!(", {number} {noun}"));
        }
    }
    let mut lines = vec![line];
    if !comparison.is_same() {
        lines.push(format!(
            "{} renamed, {} only in A, {} only in B",
            comparison.renamed.len(),
            comparison.removed.len(),
            comparison.added.len()
        ));
    }
    lines
}
