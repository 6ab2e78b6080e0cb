//! The report in 80 columns.

use std::io::Write;

use anyhow::Result;
use film_core::health::Measure;
use film_core::statistics::Summary;

use super::report::{Part, Report, brief, percent};
use crate::output::{Align, Table, fit, wrap};
use crate::printer::{self, BOLD, DIM, escape, label};

/// Generators whose layers are shown.
const DETAILED: usize = 4;
/// Lines of findings that are shown of a generator.
const LINES: usize = 8;
/// Columns of a name in the overview.
const NAME: usize = 20;

pub(super) fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    let columns = printer::columns();
    for line in wrap(&escape(&report.checkpoint), columns) {
        writeln!(out, "{BOLD}{line}{BOLD:#}")?;
    }
    let count = report.generators.len();
    let noun = if count == 1 { "generator" } else { "generators" };
    for line in fill(&format!("{count} FiLM {noun}, on {}", escape(&report.input())), columns) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    if count > 1 {
        overview(report).print(&mut out)?;
        writeln!(out)?;
        if !report.tail.is_empty() {
            let tail = format!(".{}", label(&report.tail));
            writeln!(out, "{DIM}names go on with{DIM:#}")?;
            for line in wrap(&format!("  {tail}"), columns) {
                writeln!(out, "{DIM}{line}{DIM:#}")?;
            }
        }
        let legend = "γ mean, std: of all layers; γ < 0, |γ|, |β|/π, moved: of the layer where they are \
                      greatest; |β|: √(mean of β²); input: share of γ's variance that is over the samples; \
                      moved: distance of mlp.2.weight from its start";
        for line in fill(legend, columns) {
            writeln!(out, "{DIM}{line}{DIM:#}")?;
        }
        writeln!(out)?;
    }
    remarks(&mut out, report)?;
    layers(&mut out, report, columns)?;
    Ok(out.flush()?)
}

/// A line a generator.
fn overview(report: &Report) -> Table<9> {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("generator", Left),
        ("γ mean", Right),
        ("std", Right),
        ("γ < 0", Right),
        ("|γ|", Right),
        ("|β|/π", Right),
        ("input", Right),
        ("moved", Right),
        ("findings", Right),
    ]);
    for part in &report.generators {
        let overview = part.overview();
        let worst = |measure| brief(part.worst(measure));
        table.row([
            fit(&label(&part.name), NAME),
            brief(overview.gamma_mean),
            brief(overview.gamma_std),
            percent(part.worst(Measure::Negative)),
            worst(Measure::Gamma),
            worst(Measure::BetaOverPi),
            percent(overview.dependence),
            worst(Measure::Weight),
            match part.findings.len() {
                0 => "–".into(),
                count => count.to_string(),
            },
        ]);
    }
    table
}

/// The findings, and what stands out.
fn remarks(out: &mut impl Write, report: &Report) -> Result<()> {
    if report.findings == 0 {
        writeln!(out, "{BOLD}findings: none{BOLD:#}")?;
    } else {
        writeln!(out, "{BOLD}findings: {}{BOLD:#}", report.findings)?;
        let of = |part: &Part| part.findings.iter().map(|said| said.text.clone()).collect();
        list(out, report, of)?;
    }
    if report.generators.iter().any(|part| !part.stands_out.is_empty()) {
        writeln!(out, "{BOLD}stands out from the median over the generators{BOLD:#}")?;
        let of = |part: &Part| part.stands_out.iter().map(|said| said.text.clone()).collect();
        list(out, report, of)?;
    }
    writeln!(out)?;
    Ok(())
}

/// Remarks under the names of the generators that they are about.
fn list(out: &mut impl Write, report: &Report, of: impl Fn(&Part) -> Vec<String>) -> Result<()> {
    let columns = printer::columns();
    for part in &report.generators {
        let lines = of(part);
        if lines.is_empty() {
            continue;
        }
        if report.generators.len() > 1 {
            writeln!(out, "{}", fit(&label(&part.name), columns))?;
        }
        for line in lines.iter().take(LINES) {
            writeln!(out, "  {}", fit(&label(line), columns - 2))?;
        }
        if lines.len() > LINES {
            writeln!(out, "  {DIM}and {} more: --json has all{DIM:#}", lines.len() - LINES)?;
        }
    }
    Ok(())
}

/// Layer by layer: of all generators, or where they are many of those with remarks.
fn layers(out: &mut impl Write, report: &Report, columns: usize) -> Result<()> {
    let all = report.generators.len() <= DETAILED;
    let remarkable =
        |part: &&Part| all || !(part.findings.is_empty() && part.stands_out.is_empty());
    let shown: Vec<&Part> = report.generators.iter().filter(remarkable).take(DETAILED).collect();
    for part in &shown {
        if report.generators.len() > 1 || part.name == part.prefix {
            for line in wrap(&label(&part.name), columns) {
                writeln!(out, "{BOLD}{line}{BOLD:#}")?;
            }
        }
        table(part).print(out)?;
        writeln!(out)?;
    }
    if shown.len() < report.generators.len() {
        let text = "layers of other generators: --prefix P, or --html FILE for a page of all";
        writeln!(out, "{DIM}{text}{DIM:#}")?;
    }
    let legend = "spread: std over the samples, mean over the outputs; input: share of the variance \
                  that is over the samples; moved: distance of these rows of mlp.2.weight";
    for line in fill(legend, columns) {
        writeln!(out, "{DIM}{line}{DIM:#}")?;
    }
    Ok(())
}

fn table(part: &Part) -> Table<10> {
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
        ("input", Right),
        ("moved", Right),
    ]);
    let weights = part.health.weights.as_ref().map_or(&[][..], |weights| &weights.layers);
    for (layer, modulation) in part.modulations().iter().enumerate() {
        let moved = weights.get(layer);
        let rows = [
            ("γ", &modulation.gamma, moved.map(|of| of.gamma.weight)),
            ("β", &modulation.beta, moved.map(|of| of.beta.weight)),
        ];
        for (name, summary, moved) in rows {
            let index = if name == "γ" { layer.to_string() } else { String::new() };
            let Summary { min, mean, max, std, negative, spread, .. } = summary;
            let [min, mean, max, std, spread] =
                [min, mean, max, std, spread].map(|value| brief(*value));
            let (negative, input) = (percent(*negative), percent(summary.dependence()));
            let moved = brief(moved);
            table.row([index, name.into(), min, mean, max, std, negative, spread, input, moved]);
        }
    }
    table
}

/// Words in lines no wider than `columns`, unless one is.
fn fill(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if crate::output::width(line) + 1 + crate::output::width(word) <= columns =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fit(word, columns)),
        }
    }
    lines
}
