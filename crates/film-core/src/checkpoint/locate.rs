//! From the path a user gives to the files that make up the checkpoint.

use std::path::{Path, PathBuf};

use super::index::Index;
use crate::error::{Error, Result};

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";

/// The files of a checkpoint.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) files: Vec<PathBuf>,
    pub(super) index: Option<Index>,
    pub(super) config: Option<PathBuf>,
}

pub(super) fn locate(path: &Path) -> Result<Located> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
    let (weights, directory) = if metadata.is_dir() {
        (weights_in(path)?, path)
    } else {
        (path.to_path_buf(), path.parent().unwrap_or(Path::new("")))
    };
    let config = Some(directory.join(CONFIG)).filter(|config| config.exists());
    if weights.extension().is_some_and(|extension| extension == "json") {
        let index = Index::read(&weights, directory)?;
        Ok(Located { files: index.files.clone(), index: Some(index), config })
    } else {
        Ok(Located { files: vec![weights], index: None, config })
    }
}

/// The weights, or the index of the weights, in a directory.
fn weights_in(directory: &Path) -> Result<PathBuf> {
    for name in [WEIGHTS, INDEX] {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            return Ok(path);
        }
    }
    let entries =
        std::fs::read_dir(directory).map_err(|error| Error::io("list", directory, error))?;
    let mut others: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"))
        .collect();
    others.sort();
    let instead = match others.as_slice() {
        [] => String::new(),
        [one] => format!("; it holds {one}: name that file"),
        [first, .., last] => format!("; it holds {first} … {last}: name one of these files"),
    };
    Err(Error::Format(format!("holds neither {WEIGHTS} nor {INDEX}{instead}")).in_file(directory))
}
