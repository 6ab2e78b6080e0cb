//! From the path a user gives to the files that make up the checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::read_json_object;
use crate::error::{Error, Result};

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CONFIG: &str = "config.json";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// By which names a directory's weights are known.
pub(super) struct Names {
    /// Of the weights, or of their index; the first that is there is taken.
    weights: &'static [&'static str],
    /// How files end that may be meant where there is none of those.
    endings: &'static [&'static str],
}

pub(super) const SAFETENSORS: Names =
    Names { weights: &[WEIGHTS, INDEX], endings: &[".safetensors", ".safetensors.index.json"] };
pub(super) const PICKLES: Names = Names {
    weights: &["pytorch_model.bin", "pytorch_model.bin.index.json"],
    endings: &[".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"],
};
pub(super) const EITHER: Names = Names {
    weights: &[WEIGHTS, INDEX, PICKLES.weights[0], PICKLES.weights[1]],
    endings: &[
        ".safetensors",
        ".safetensors.index.json",
        ".bin",
        ".bin.index.json",
        ".pt",
        ".pth",
        ".ckpt",
    ],
};

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
    path: PathBuf,
    file_of: BTreeMap<String, PathBuf>,
}

pub(super) fn locate(path: &Path, names: &Names) -> Result<Located> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
    let (weights, directory) = if metadata.is_dir() {
        (weights_in(path, names)?, path)
    } else {
        (path.to_path_buf(), path.parent().unwrap_or(Path::new("")))
    };
    let config = Some(directory.join(CONFIG)).filter(|config| config.exists());
    if weights.extension().is_some_and(|extension| extension == "json") {
        let index = Index::read(&weights, directory)?;
        let files = index.file_of.values().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        Ok(Located { files, index: Some(index), config })
    } else {
        Ok(Located { files: vec![weights], index: None, config })
    }
}

/// The weights, or the index of the weights, in a directory.
fn weights_in(directory: &Path, names: &Names) -> Result<PathBuf> {
    for name in names.weights {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            return Ok(path);
        }
    }
    let entries =
        std::fs::read_dir(directory).map_err(|error| Error::io("list", directory, error))?;
    let mut others: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| names.endings.iter().any(|ending| name.ends_with(ending)))
        .collect();
    others.sort();
    let instead = match others.as_slice() {
        [] => String::new(),
        [one] => format!("; it holds {one}: name that file"),
        [first, .., last] => format!("; it holds {first} … {last}: name one of these files"),
    };
    let names = names.weights.join(" nor ");
    Err(Error::Format(format!("holds neither {names}{instead}")).in_file(directory))
}

impl Index {
    fn read(path: &Path, directory: &Path) -> Result<Self> {
        let json = read_json_object(path)?;
        let says = |problem: String| Error::Format(problem).in_file(path);
        let Some(map) = json.get("weight_map").and_then(|map| map.as_object()) else {
            return Err(says("not an index: expected an object \"weight_map\"".into()));
        };
        if map.is_empty() {
            return Err(says("weight_map names no tensor".into()));
        }
        let mut file_of = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().filter(|file| stays_inside(file)).ok_or_else(|| {
                says(format!(
                    "weight_map: {tensor:?}: expected a file in the same directory, found {file}"
                ))
            })?;
            file_of.insert(tensor.clone(), directory.join(file));
        }
        Ok(Self { path: path.into(), file_of })
    }

    /// Every tensor that the index names must be where it says. `tensors` are names and numbers of files, sorted.
    pub(super) fn check(&self, files: &[PathBuf], tensors: &[(&str, usize)]) -> Result<()> {
        for (name, file) in &self.file_of {
            let first = tensors.partition_point(|(tensor, _)| *tensor < name.as_str());
            let mut named = tensors[first..].iter().take_while(|(tensor, _)| tensor == name);
            if !named.any(|(_, found)| files[*found] == *file) {
                let text = format!("weight_map: tensor {name:?} is not in {}", file.display());
                return Err(Error::Format(text).in_file(&self.path));
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
