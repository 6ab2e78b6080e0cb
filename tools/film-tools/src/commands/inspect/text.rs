//! The report as text, for people.

use std::io::Write;

use anyhow::Result;
use film_core::checkpoint::{FoundGenerator, FoundKernel, TensorInfo};

use super::Shown;
use super::report::{Registers, dtypes, registers};
use crate::commands::plural;
use crate::output::{fit, number, size, wrap};
use crate::printer::{self, BOLD, DIM, escape, label};

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

pub(super) fn header(out: &mut impl Write, shown: &Shown) -> Result<()> {
    let checkpoint = shown.checkpoint;
    writeln!(out, "{BOLD}{}{BOLD:#}", escape(&checkpoint.path().display().to_string()))?;
    let files = plural(checkpoint.files().len(), "file");
    writeln!(out, "{files}, {}", totals(checkpoint.tensors().iter()))?;
    let mut metadata: Vec<(&String, &String)> = checkpoint
        .files()
        .iter()
        .flat_map(film_core::checkpoint::CheckpointFile::metadata)
        .map(|(key, value)| (key, value))
        .collect();
    metadata.sort();
    metadata.dedup();
    for (key, value) in metadata {
        writeln!(
            out,
            "{}",
            fit(&format!("metadata {}: {}", label(key), label(value)), printer::columns())
        )?;
    }
    if shown.tensors.len() < checkpoint.tensors().len() {
        writeln!(out, "shown: {}", totals(shown.tensors.iter().map(|leaf| leaf.tensor)))?;
    }
    Ok(writeln!(out)?)
}

pub(super) fn flat(out: &mut impl Write, shown: &Shown) -> Result<()> {
    let shape = |tensor: &TensorInfo| format!("{:?}", tensor.shape);
    let widest = |of: &dyn Fn(&TensorInfo) -> usize| {
        shown.tensors.iter().map(|leaf| of(leaf.tensor)).max().unwrap_or(0)
    };
    let (dtypes, shapes) =
        (widest(&|tensor| tensor.dtype.to_string().len()), widest(&|tensor| shape(tensor).len()));
    let hashes = shown.tensors.iter().any(|leaf| leaf.hash.is_some()).then_some(64 + 2);
    let taken = dtypes + shapes + 4 + hashes.unwrap_or(0);
    let room = printer::terminal_columns().map(|columns| columns.saturating_sub(taken).max(16));
    for leaf in &shown.tensors {
        if let Some(hash) = leaf.hash {
            write!(out, "{hash}  ")?;
        }
        let (dtype, shape) = (leaf.tensor.dtype.to_string(), shape(leaf.tensor));
        let name = &leaf.tensor.name;
        let name = room.map_or_else(|| escape(name), |room| fit(&label(name), room));
        writeln!(out, "{dtype:dtypes$}  {shape:shapes$}  {name}")?;
    }
    Ok(writeln!(out)?)
}

pub(super) fn generators(out: &mut impl Write, shown: &Shown) -> Result<()> {
    writeln!(out, "{BOLD}FiLM generators: {}{BOLD:#}", shown.generators.len())?;
    if shown.discovery.generators().is_empty()
        && let Some(miss) = shown.discovery.near_misses().first()
    {
        writeln!(out, "  {DIM}closest: {}{DIM:#}", label(&miss.why))?;
    }
    for found in &shown.generators {
        name(out, found.name())?;
        let outputs = match (found.num_film_layers, found.kernel_hidden_dim) {
            (Some(layers), Some(width)) => {
                format!("num_film_layers {layers} × (γ, β) × kernel_hidden_dim {width}")
            }
            _ => format!("{} outputs; kernel_hidden_dim unknown", found.out_dim),
        };
        let FoundGenerator { cond_dim, film_hidden_dim, .. } = found;
        writeln!(out, "    cond_dim {cond_dim} → film_hidden_dim {film_hidden_dim}")?;
        writeln!(out, "    → {outputs}; {} parameters", number(found.parameters()))?;
        if let Ok(encoder) = shown.discovery.encoder_of(found) {
            let Registers { prefix, kind, num_registers } = registers(found.cond_dim, encoder);
            writeln!(out, "    registers: {}, {kind} of {num_registers}", or_root(prefix))?;
        }
    }
    Ok(())
}

pub(super) fn kernels(out: &mut impl Write, shown: &Shown) -> Result<()> {
    writeln!(out, "{BOLD}SIREN kernels: {}{BOLD:#}", shown.kernels.len())?;
    for miss in shown.misses.iter().take(4) {
        writeln!(out, "  {DIM}broken: {}{DIM:#}", label(&miss.why))?;
    }
    for found in &shown.kernels {
        name(out, found.name())?;
        let FoundKernel { data_dim, embedding_dim, mlp_hidden_dim, num_layers, out_dim, .. } =
            found;
        let omega = if found.learnable { "learnable ω" } else { "fixed ω" };
        writeln!(
            out,
            "    {data_dim}-D, {omega}, embedding {embedding_dim} → {} × {mlp_hidden_dim} → {out_dim} channels",
            num_layers - 1
        )?;
        let film = match (&found.generator, found.film_after_pos_embed) {
            (None, _) => "no FiLM generator",
            (_, Some(true)) => "film_after_pos_embed",
            (_, Some(false)) => "no film_after_pos_embed",
            (_, None) => "film_after_pos_embed unknown",
        };
        writeln!(out, "    {film}; {} parameters without the generator", number(found.parameters))?;
        if let Some(mask) = &found.mask {
            let kind = if mask.gaussian { "Gaussian" } else { "exponential" };
            writeln!(out, "    {kind} mask")?;
        }
        if let Some(conv) = shown.discovery.conv_around(found) {
            writeln!(out, "    in a convolution of {} channels: shortcut", conv.kernel.out_dim)?;
        }
    }
    Ok(())
}

/// A part's prefix, on as many lines as it takes.
fn name(out: &mut impl Write, prefix: &str) -> Result<()> {
    for line in wrap(&format!("  {}", label(prefix)), printer::columns()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn or_root(prefix: &str) -> String {
    if prefix.is_empty() { "(root)".into() } else { label(prefix) }
}
