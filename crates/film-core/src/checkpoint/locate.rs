//! From the path a user gives to the files that make up the checkpoint.

use std::path::{Path, PathBuf};

use super::index::Index;
use crate::error::{Error, Result};

/// What is done about something wrong: `Err` stops there, `Ok` goes on.
pub(super) type Report<'a> = dyn FnMut(Error) -> Result<()> + 'a;

/// The weights in a checkpoint's directory, where they are one file.
pub const WEIGHTS: &str = "model.safetensors";
/// The configuration in a checkpoint's directory.
pub const CONFIG: &str = "config.json";
/// The index of the weights in a checkpoint's directory, where they are several files.
pub const INDEX: &str = "model.safetensors.index.json";

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

/// The files of the checkpoint at `path`. What is wrong with an index is reported.
pub(super) fn locate(path: &Path, names: &Names, report: &mut Report) -> Result<Located> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("open", path, error))?;
    let (weights, directory) = if metadata.is_dir() {
        (weights_in(path, names)?, path)
    } else {
        (path.to_path_buf(), path.parent().unwrap_or(Path::new("")))
    };
    // A link that leads nowhere is none that may be passed over.
    let config = Some(directory.join(CONFIG)).filter(|path| path.symlink_metadata().is_ok());
    if weights.extension().is_some_and(|extension| extension == "json") {
        let index = match Index::read(&weights, directory, report) {
            Ok(index) => Some(index),
            Err(error) => {
                report(error)?;
                None
            }
        };
        let files = index.as_ref().map(|index| index.files.clone()).unwrap_or_default();
        Ok(Located { files, index, config })
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
