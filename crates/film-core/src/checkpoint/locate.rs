//! From the path a user gives to the files that make up the checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::CheckpointFile;
use super::entries::Pairs;
use super::header::TensorInfo;
use super::read::Source;
use crate::error::{Error, Result};

/// What is done about something wrong: `Err` stops there, `Ok` goes on.
pub(super) type Report<'a> = dyn FnMut(Error) -> Result<()> + 'a;

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CONFIG: &str = "config.json";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The files of a checkpoint.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) files: Vec<PathBuf>,
    pub(super) index: Option<Index>,
    pub(super) config: Option<PathBuf>,
}

/// What an index says: which file holds which tensor.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) path: PathBuf,
    /// `metadata.total_size`, whatever it is.
    pub(super) total_size: Option<Value>,
    file_of: BTreeMap<String, PathBuf>,
}

/// An index as JSON has it.
#[derive(Deserialize)]
struct RawIndex {
    weight_map: Pairs<Value>,
    #[serde(default)]
    metadata: Value,
}

/// The files of the checkpoint at `path`. What is wrong with an index is reported.
pub(super) fn locate(path: &Path, report: &mut Report) -> Result<Located> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
    let (weights, directory) = if metadata.is_dir() {
        (weights_in(path)?, path)
    } else {
        (path.to_path_buf(), path.parent().unwrap_or(Path::new("")))
    };
    let config = Some(directory.join(CONFIG)).filter(|config| config.exists());
    if weights.extension().is_some_and(|extension| extension == "json") {
        let index = match Index::read(&weights, directory, report) {
            Ok(index) => Some(index),
            Err(error) => {
                report(error)?;
                None
            }
        };
        let files: BTreeSet<&PathBuf> =
            index.iter().flat_map(|index| index.file_of.values()).collect();
        Ok(Located { files: files.into_iter().cloned().collect(), index, config })
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

impl Index {
    fn read(path: &Path, directory: &Path, report: &mut Report) -> Result<Self> {
        let says = |problem: String| Error::Format(problem).in_file(path);
        let bytes = Source::open(path)?.read_all()?;
        let raw: RawIndex = serde_json::from_slice(&bytes).map_err(|error| {
            says(format!("not an index: expected an object with an object \"weight_map\": {error}"))
        })?;
        if raw.weight_map.0.is_empty() {
            report(says("weight_map names no tensor".into()))?;
        }
        for name in raw.weight_map.repeated() {
            report(says(format!("weight_map: {name:?} stands twice")))?;
        }
        let mut file_of = BTreeMap::new();
        for (tensor, file) in raw.weight_map.0 {
            match file.as_str().filter(|file| stays_inside(file)) {
                Some(file) => drop(file_of.insert(tensor, directory.join(file))),
                None => report(says(format!(
                    "weight_map: {tensor:?}: expected a file in the same directory, found {file}"
                )))?,
            }
        }
        let total_size = raw.metadata.get("total_size").cloned();
        Ok(Self { path: path.into(), total_size, file_of })
    }

    /// The file that is to hold `tensor`.
    pub(super) fn file_of(&self, tensor: &str) -> Option<&Path> {
        self.file_of.get(tensor).map(PathBuf::as_path)
    }

    /// Every tensor that the index names must be where it says, as far as that file can be read. `tensors` is sorted
    /// by name.
    pub(super) fn check(
        &self,
        files: &[CheckpointFile],
        tensors: &[TensorInfo],
        report: &mut Report,
    ) -> Result<()> {
        for (name, file) in &self.file_of {
            let first = tensors.partition_point(|tensor| tensor.name < *name);
            let mut named = tensors[first..].iter().take_while(|tensor| tensor.name == *name);
            if !named.any(|tensor| files[tensor.file].path() == file)
                && files.iter().any(|read| read.path() == file)
            {
                let text = format!("weight_map: tensor {name:?} is not in {}", file.display());
                report(Error::Format(text).in_file(&self.path))?;
            }
        }
        Ok(())
    }
}

/// Whether a shard's name can only mean a file in the index's own directory or below it.
fn stays_inside(file: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !file.is_empty() && !file.contains(['\0', '\\']) && Path::new(file).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn shards_stay_inside_their_directory() {
        assert!(stays_inside("model-00001-of-00002.safetensors"));
        assert!(stays_inside("shards/1.safetensors"));
        for outside in ["", "/etc/passwd", "../x", "a/../../x", ".", "a\0b", "..\\x"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }
}
