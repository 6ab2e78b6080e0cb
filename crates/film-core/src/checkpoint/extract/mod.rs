//! One part of a checkpoint as a checkpoint of its own.

mod config;

use std::path::Path;

use super::discover::{Encoder, FoundEncoder, join};
use super::parallel::BLOCK;
use super::writer::CheckpointWriter;
use super::{Checkpoint, Discovery, Module, TensorInfo};
use crate::error::{Error, Result};
use crate::json::Object;

/// What goes into a checkpoint of its own: the tensors, under their names there, and what is known of them.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// The tensors of the part and of what belongs to it, with their new names: a generator's register encoder; a
    /// kernel's generator, mask and register encoder; a convolution's kernel with all of these, and its shortcut.
    pub tensors: Vec<(String, TensorInfo)>,
    /// config.json: sizes as the shapes have them, the rest as the checkpoint's own config.json tells it.
    pub config: Object,
    /// Where the register encoder comes from, if there is one.
    pub encoder: Option<String>,
}

impl Extraction {
    /// Plans the extraction of `module`.
    ///
    /// Everything below its prefix comes along under its name without the prefix. A mask and a register encoder that
    /// stand elsewhere come to stand beside it, where [`Discovery`] finds them again.
    ///
    /// # Errors
    /// If config.json cannot be read or contradicts the tensors.
    pub fn new(checkpoint: &Checkpoint, found: &Discovery, module: Module) -> Result<Self> {
        let below = join(module.prefix(), "");
        let mut tensors: Vec<(String, TensorInfo)> = checkpoint
            .starting_with(&below)
            .map(|tensor| (tensor.name[below.len()..].into(), tensor.clone()))
            .collect();
        let mut beside = |prefix: &str, to: &str, parameter: &str| {
            let from = join(prefix, parameter);
            if let Some(tensor) = checkpoint.get(&from)
                && !tensor.name.starts_with(&below)
            {
                tensors.push((join(to, parameter), tensor.clone()));
            }
        };
        if let Some(mask) = module.kernel().and_then(|kernel| kernel.mask.as_ref()) {
            beside(&mask.prefix, "mask", if mask.gaussian { "std_param" } else { "weight" });
        }
        let encoder = module.generator().and_then(|generator| found.encoder_of(generator).ok());
        let encoder = encoder.map(|encoder| {
            let to = new_place(encoder, &below);
            beside(&encoder.prefix, to, parameter(encoder));
            (encoder, to)
        });
        let config = config::config(checkpoint, module, encoder)?;
        let encoder = encoder.map(|(encoder, _)| encoder.prefix.clone());
        Ok(Self { tensors, config, encoder })
    }

    /// Writes `directory`/config.json and `directory`/model.safetensors. The tensors' bytes are copied as they are,
    /// block by block.
    ///
    /// # Errors
    /// As [`save`](super::save), and if the checkpoint changed under us.
    pub fn write(&self, checkpoint: &Checkpoint, directory: &Path, overwrite: bool) -> Result<()> {
        let entry = |(name, tensor): &(String, TensorInfo)| {
            (name.clone(), tensor.dtype, tensor.shape.clone())
        };
        let mut config = serde_json::to_string_pretty(&self.config)
            .map_err(|error| Error::Format(error.to_string()).in_file(directory))?;
        config.push('\n');
        let tensors = self.tensors.iter().map(entry);
        let config = Some(config.as_bytes());
        let mut writer = CheckpointWriter::directory(directory, config, tensors, None, overwrite)?;
        let mut buffer = vec![0; BLOCK];
        for (name, tensor) in &self.tensors {
            let mut start = 0;
            checkpoint.for_blocks(tensor, &mut buffer, |block| {
                writer.write(name, start, block)?;
                start += block.len() as u64;
                Ok(())
            })?;
        }
        writer.commit().map(drop)
    }
}

/// What an encoder's parameter is called.
fn parameter(encoder: &FoundEncoder) -> &'static str {
    match encoder.kind {
        Encoder::Pooling { .. } => "logits",
        Encoder::CompressConcat { .. } => "compress.weight",
    }
}

/// An encoder's prefix in the new checkpoint: what stands behind `below`, or its own name alone.
fn new_place<'a>(encoder: &'a FoundEncoder, below: &str) -> &'a str {
    let own = || encoder.prefix.rsplit('.').next().unwrap_or_default();
    encoder.prefix.strip_prefix(below).unwrap_or_else(own)
}
