//! `extract`: one part of a checkpoint as a checkpoint of its own.

use std::path::Path;

use anyhow::Result;
use film_core::Error;
use film_core::checkpoint::{CONFIG, Checkpoint, CheckpointFile, Extraction, WEIGHTS};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{SCHEMA_VERSION, Usage, discover, is_file_of, is_same_file, open, plural, selection};
use crate::args::Extract;
use crate::output::size;
use crate::printer;

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    checkpoint: String,
    prefix: &'a str,
    kind: &'static str,
    output: String,
    registers: Option<&'a str>,
    tensors: Vec<Tensor<'a>>,
    bytes: u64,
    config: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    from: &'a str,
}

pub(crate) fn run(args: &Extract) -> Result<()> {
    let checkpoint = open(&args.checkpoint)?;
    keep_input(&args.output, &checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let named = |error| selection(error, &checkpoint);
    let module = discovery.module(&args.prefix).map_err(named)?;
    let extraction = Extraction::new(&checkpoint, &discovery, module)?;
    extraction.write(&checkpoint, &args.output, args.force)?;
    let bytes = extraction.tensors.iter().map(|(_, tensor)| tensor.bytes).sum();
    let (output, prefix) = (args.output.display().to_string(), module.prefix());
    let place = if prefix.is_empty() { "(root)" } else { prefix };
    let (noun, count) = (module.noun(), plural(extraction.tensors.len(), "tensor"));
    printer::say(format!("wrote {output}: {noun} {place}, {count}, {}", size(bytes)));
    // What is not known here has to be given to `kernel` and `conv`.
    if let Some(kernel) = module.kernel()
        && let Err(error @ Error::Selection(_)) =
            kernel.config(&checkpoint.kernel_settings(kernel)?)
    {
        printer::warn(error);
    }
    if !args.json {
        return Ok(());
    }
    printer::json(&Report {
        schema_version: SCHEMA_VERSION,
        checkpoint: args.checkpoint.display().to_string(),
        prefix,
        kind: module.noun(),
        output,
        registers: extraction.encoder.as_deref(),
        tensors: extraction
            .tensors
            .iter()
            .map(|(name, tensor)| Tensor { name, from: &tensor.name })
            .collect(),
        bytes,
        config: &extraction.config,
    })
}

/// An error if the part would come to stand among the files that it is taken from, or in their place.
fn keep_input(output: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let (path, files) = (checkpoint.path(), checkpoint.files().iter().map(CheckpointFile::path));
    let root = if path.is_dir() { path.join(CONFIG) } else { path.into() };
    let mut own = files.chain(checkpoint.config_path()).chain([root.as_path()]);
    let beside = own.any(|own| is_same_file(&own.with_file_name("."), output));
    if beside || [WEIGHTS, CONFIG].iter().any(|name| is_file_of(checkpoint, &output.join(name))) {
        let output = output.display();
        let text =
            format!("--output {output}: the checkpoint itself is there: choose another place");
        return Err(Usage(text).into());
    }
    Ok(())
}
