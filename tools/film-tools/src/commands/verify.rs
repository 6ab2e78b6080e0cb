//! `verify`: everything that is wrong with a checkpoint.

use std::io::Write;

use anyhow::Result;
use film_core::checkpoint::{Checkpoint, TensorInfo, Values, Verified, join, verify};
use film_core::health::{Finding, Health, Part, Thresholds, Weights};
use film_core::{Error, short};
use serde::Serialize;

use super::{SCHEMA_VERSION, Status, plural};
use crate::args::Verify;
use crate::hub;
use crate::output::number;
use crate::printer::{self, escape, label};

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    path: String,
    files: usize,
    tensors: usize,
    bytes: u64,
    /// Whether the numbers were looked at.
    values: bool,
    findings: Vec<Line>,
    generators: Vec<Generator>,
}

/// A finding, and the file it is about.
#[derive(Serialize)]
struct Line {
    path: String,
    problem: String,
}

/// What the weights of a generator tell; nothing where its widths are not known.
#[derive(Serialize)]
struct Generator {
    prefix: String,
    weights: Option<Weights>,
}

pub(crate) fn run(args: &Verify) -> Result<Status> {
    let Verified { checkpoint, mut problems } = verify(hub::locate(&args.checkpoint)?)?;
    let mut generators = Vec::new();
    if args.values {
        // A tensor that the file ends before has been told of.
        let whole = |tensor: &&TensorInfo| {
            tensor.offset + tensor.bytes <= checkpoint.file_of(tensor).bytes()
        };
        let (tensors, cut): (Vec<_>, Vec<_>) = checkpoint.tensors().iter().partition(whole);
        problems.extend(odd_values(&checkpoint, &tensors));
        // They are sorted by name.
        let is_whole = |prefix: &str| {
            let first = cut.partition_point(|tensor| tensor.name.as_str() < prefix);
            cut.get(first).is_none_or(|tensor| !tensor.name.starts_with(prefix))
        };
        generators = weights(&checkpoint, &is_whole, &mut problems)?;
    }
    let report = Report {
        schema_version: SCHEMA_VERSION,
        path: args.checkpoint.display().to_string(),
        files: checkpoint.files().len(),
        tensors: checkpoint.tensors().len(),
        bytes: checkpoint.tensors().iter().map(|tensor| tensor.bytes).sum(),
        values: args.values,
        findings: problems.iter().map(line).collect(),
        generators,
    };
    let printed = if args.json { printer::json(&report) } else { print(&report) };
    printer::unless_closed(printed)?;
    Ok(if report.findings.is_empty() { Status::Fine } else { Status::Found })
}

/// The tensors with values that no weight should have.
fn odd_values(checkpoint: &Checkpoint, tensors: &[&TensorInfo]) -> Vec<Error> {
    /// As many are told of, as of what is wrong with the structure; of more only the number.
    const MOST: usize = 10_000;
    let problem = |(tensor, values): (&&TensorInfo, Result<Values, Error>)| {
        let file = checkpoint.file_of(tensor).path();
        let values = match values {
            Ok(values) => values,
            Err(error) => return Some(error.in_file(file)),
        };
        let kinds = [
            (values.nan, "NaN"),
            (values.infinite, "infinite"),
            (values.no_bool, "neither true nor false"),
        ];
        let found: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{} {kind}", number(*count)))
            .collect();
        if found.is_empty() {
            return None;
        }
        let (name, all) = (short(&tensor.name), number(tensor.count() as u64));
        let text = format!("tensor {name:?}: {} of {all} values", found.join(" and "));
        Some(Error::Format(text).in_file(file))
    };
    let mut found = tensors.iter().zip(checkpoint.count_values(tensors)).filter_map(problem);
    let mut told: Vec<Error> = found.by_ref().take(MOST).collect();
    let more = found.count();
    if more > 0 {
        let text = format!("{} about values", plural(more, "more finding"));
        told.push(Error::Format(text).in_file(checkpoint.path()));
    }
    told
}

/// What the weights of each generator tell, and what of it is cause for concern.
fn weights(
    checkpoint: &Checkpoint,
    is_whole: &dyn Fn(&str) -> bool,
    problems: &mut Vec<Error>,
) -> Result<Vec<Generator>> {
    // A config.json that contradicts the shapes has been told of.
    let Ok(discovery) = checkpoint.discover() else { return Ok(Vec::new()) };
    let mut generators = Vec::new();
    for found in discovery.generators() {
        let prefix = &found.prefix;
        let config = found.config(None).ok().filter(|_| is_whole(&join(prefix, "mlp.")));
        let weights = match &config {
            Some(config) => Some(Weights::read(checkpoint, prefix, config)?),
            None => None,
        };
        if let (Some(weights), Some(tensor)) =
            (&weights, checkpoint.get(&join(prefix, "mlp.2.weight")))
        {
            let file = checkpoint.file_of(tensor).path();
            let health = Health { outputs: None, weights: Some(weights.clone()) };
            let findings = health.findings(&Thresholds::default());
            // Each tensor has told of its NaN already.
            let new =
                findings.iter().filter(|finding| !matches!(finding, Finding::NonFinite { .. }));
            let name = short(found.name());
            problems.extend(
                new.map(|finding| Error::Format(format!("{name}: {finding}")).in_file(file)),
            );
        }
        generators.push(Generator { prefix: prefix.clone(), weights });
    }
    Ok(generators)
}

fn line(problem: &Error) -> Line {
    match problem {
        Error::InFile { file, error } => {
            Line { path: file.display().to_string(), problem: error.to_string() }
        }
        other => Line { path: String::new(), problem: other.to_string() },
    }
}

fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    let checked = checked(report);
    let measured = report.generators.iter().filter_map(measured);
    if report.findings.is_empty() {
        writeln!(out, "{}: no findings: {checked}", escape(&report.path))?;
        for line in measured {
            writeln!(out, "  {}", escape(&line))?;
        }
    } else {
        let count = plural(report.findings.len(), "finding");
        printer::say(format!("{}: {count}: {checked}", report.path));
        measured.for_each(|line| printer::say(format!("  {line}")));
    }
    for Line { path, problem } in &report.findings {
        writeln!(out, "{}: {}", label(path), label(problem))?;
    }
    Ok(out.flush()?)
}

/// What the weights of a generator tell, in a line; of the FiLM layers the one that is farthest.
fn measured(generator: &Generator) -> Option<String> {
    let Weights { norms, layers, .. } = generator.weights.as_ref()?;
    let norm = |tensor: &str| norms.iter().find(|norm| norm.tensor == tensor).map(|norm| norm.norm);
    let most = |of: fn(&Part) -> f64| {
        [
            layers.iter().map(|layer| of(&layer.gamma)).fold(0.0, f64::max),
            layers.iter().map(|layer| of(&layer.beta)).fold(0.0, f64::max),
        ]
    };
    let ([weight, weight_beta], [bias, bias_beta]) =
        (most(|part| part.weight), most(|part| part.bias));
    let [negative, _] = most(|part| part.negative);
    let name = if generator.prefix.is_empty() { "(root)" } else { &generator.prefix };
    Some(format!(
        "{name}: norms {:.2} and {:.2}; mlp.2 moved by {weight:.2} (γ) and {weight_beta:.2} (β), its bias by \
         {bias:.2} and {bias_beta:.2}; {:.1} % of the biases of γ below 0",
        norm("mlp.0.weight")?,
        norm("mlp.2.weight")?,
        100.0 * negative,
    ))
}

/// What was looked at.
fn checked(report: &Report) -> String {
    let (files, tensors) = (plural(report.files, "file"), plural(report.tensors, "tensor"));
    let structure = format!("{files}, {tensors}, {} bytes", number(report.bytes));
    if !report.values {
        return structure;
    }
    let generators = plural(report.generators.len(), "FiLM generator");
    let unknown = report.generators.iter().filter(|generator| generator.weights.is_none()).count();
    let unknown = match unknown {
        0 => String::new(),
        unknown => format!(" ({unknown} not measured: kernel_hidden_dim is unknown)"),
    };
    format!("{structure} and their values, {generators}{unknown}")
}
