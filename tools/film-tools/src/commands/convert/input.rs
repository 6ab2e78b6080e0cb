//! Where the tensors come from: safetensors or pickles, one interface.

use std::path::Path;

use film_core::checkpoint::{
    Checkpoint, CheckpointFile, Dtype, PickleCheckpoint, PickleFile, PickleOptions, PickleTensor,
    Skipped, TensorInfo,
};
use film_core::{Error, Result};

use crate::hub;

/// What is converted.
#[derive(Debug)]
pub(super) enum Weights {
    Safetensors(Checkpoint),
    Pickles(PickleCheckpoint),
}

/// One of its tensors.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    /// Where a pickle has its elements; others may be there too.
    pub(super) storage: Option<(usize, usize)>,
    /// Its number among all of them.
    index: usize,
}

impl Weights {
    /// Opens whichever of the two stands there.
    pub(super) fn open(path: &Path, options: &PickleOptions) -> anyhow::Result<Self> {
        let path = hub::locate(path)?;
        Ok(if PickleCheckpoint::is_at(&path)? {
            Self::Pickles(PickleCheckpoint::open(&path, options).map_err(advise)?)
        } else {
            Self::Safetensors(Checkpoint::open(&path)?)
        })
    }

    /// What they are called in reports.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Self::Safetensors(_) => "safetensors",
            Self::Pickles(_) => "pickle",
        }
    }

    /// All tensors, sorted by name.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        (0..self.count()).map(|index| match self {
            Self::Safetensors(checkpoint) => {
                let TensorInfo { name, dtype, shape, .. } = &checkpoint.tensors()[index];
                Tensor { name, dtype: *dtype, shape, storage: None, index }
            }
            Self::Pickles(checkpoint) => {
                let tensor = &checkpoint.tensors()[index];
                let PickleTensor { name, dtype, shape, .. } = tensor;
                Tensor { name, dtype: *dtype, shape, storage: Some(tensor.storage()), index }
            }
        })
    }

    /// How many tensors there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Safetensors(checkpoint) => checkpoint.tensors().len(),
            Self::Pickles(checkpoint) => checkpoint.tensors().len(),
        }
    }

    /// Hands a tensor's bytes to `each`, row-major and in whole elements.
    pub(super) fn blocks(
        &self,
        tensor: &Tensor,
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Safetensors(checkpoint) => {
                checkpoint.blocks(&checkpoint.tensors()[tensor.index], each)
            }
            Self::Pickles(checkpoint) => {
                checkpoint.blocks(&checkpoint.tensors()[tensor.index], each)
            }
        }
    }

    /// The files that they are in.
    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Safetensors(checkpoint) => {
                checkpoint.files().iter().map(CheckpointFile::path).collect()
            }
            Self::Pickles(checkpoint) => checkpoint.files().iter().map(PickleFile::path).collect(),
        }
    }

    /// Where they were opened.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Safetensors(checkpoint) => checkpoint.path(),
            Self::Pickles(checkpoint) => checkpoint.path(),
        }
    }

    /// The config.json beside them.
    pub(super) fn config_path(&self) -> Option<&Path> {
        match self {
            Self::Safetensors(checkpoint) => checkpoint.config_path(),
            Self::Pickles(checkpoint) => checkpoint.config_path(),
        }
    }

    /// The key of the state dict in a pickle, if it is not the whole of it.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Safetensors(_) => None,
            Self::Pickles(checkpoint) => {
                checkpoint.files().iter().map(PickleFile::key).find(|key| !key.is_empty())
            }
        }
    }

    /// What else is there and is not converted.
    pub(super) fn skipped(&self) -> Vec<Skipped> {
        match self {
            Self::Safetensors(checkpoint) => {
                let metadata = checkpoint.files().iter().flat_map(CheckpointFile::metadata);
                let other = metadata
                    .filter(|(key, value)| (key.as_str(), value.as_str()) != ("format", "pt"));
                let mut skipped: Vec<Skipped> = other
                    .map(|(key, value)| Skipped {
                        path: format!("__metadata__.{key}"),
                        what: format!("text of {} bytes", value.len()),
                        tensors: 0,
                    })
                    .collect();
                skipped.dedup();
                skipped
            }
            Self::Pickles(checkpoint) => {
                checkpoint.files().iter().flat_map(PickleFile::skipped).cloned().collect()
            }
        }
    }
}

/// Says of an unknown class in a pickle what can be done about it.
fn advise(error: Error) -> anyhow::Error {
    let text = error.to_string();
    match text.ends_with("plain data: nothing was run") {
        true => {
            anyhow::anyhow!("{text}; --skip-unknown passes over such objects beside the weights")
        }
        false if text.ends_with("choose one by its key") => anyhow::anyhow!("{text}: --key KEY"),
        false => error.into(),
    }
}
