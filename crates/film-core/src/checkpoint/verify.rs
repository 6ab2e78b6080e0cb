//! Everything that is wrong with a checkpoint, not only what is met first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::discover::Discovery;
use super::index::Index;
use super::locate::{INDEX, Located, WEIGHTS};
use super::{Checkpoint, CheckpointFile, TensorInfo, header};
use crate::error::{Error, Result};
use crate::json::Object;
use crate::short::short;

/// What of a checkpoint can be read, and everything that is wrong with it.
#[derive(Debug)]
pub struct Verified {
    /// The files whose headers can be read, and the tensors whose entries can be. Of tensors that stand several times,
    /// the first.
    pub checkpoint: Checkpoint,
    /// What is wrong, each with the file it is about: as text, `path: problem`. Of more than 10,000 the last tells how many.
    pub problems: Vec<Error>,
}

/// As many problems are kept; of more only the number.
const MOST: usize = 10_000;

/// The problems so far.
#[derive(Default)]
struct Problems {
    told: Vec<Error>,
    more: u64,
}

impl Problems {
    fn push(&mut self, problem: Error) {
        if self.told.len() < MOST {
            self.told.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn says(&mut self, file: &Path, problem: String) {
        self.push(Error::Format(problem).in_file(file));
    }
}

/// Checks a checkpoint's structure: all that [`Checkpoint::open`] checks, and goes on; besides, what readers commonly
/// accept and should not have to: padding and alignment, tensors and shards that the index does not name, its
/// `total_size`, an index that is not read, and config.json against the tensors' shapes.
///
/// # Errors
/// If there is no checkpoint at `path`.
pub fn verify(path: impl AsRef<Path>) -> Result<Verified> {
    let path = path.as_ref();
    let mut problems = Problems::default();
    let go_on = &mut |error| {
        problems.push(error);
        Ok(())
    };
    let (checkpoint, located) = Checkpoint::gather(path, go_on)?;
    let complete = problems.told.is_empty();
    let mut by_file = vec![Vec::new(); checkpoint.files.len()];
    for tensor in &checkpoint.tensors {
        by_file[tensor.file].push(tensor);
    }
    for (file, tensors) in checkpoint.files.iter().zip(by_file) {
        check_form(file, tensors, &mut |problem| problems.says(file.path(), problem));
    }
    match &located.index {
        Some(index) => check_index(index, &located, &checkpoint, complete, &mut problems),
        None if located.files == [path.join(WEIGHTS)] && path.join(INDEX).exists() => {
            problems.says(&path.join(INDEX), format!("is not read: {WEIGHTS} stands beside it"));
        }
        None => {}
    }
    check_config(&checkpoint, &mut |error| problems.push(error));
    let Problems { mut told, more } = problems;
    if more > 0 {
        told.push(Error::Format(format!("{more} more problems")).in_file(path));
    }
    Ok(Verified { checkpoint, problems: told })
}

/// What the format's text asks of a file and its readers commonly do not.
fn check_form(file: &CheckpointFile, tensors: Vec<&TensorInfo>, says: &mut dyn FnMut(String)) {
    let Ok(json) = header::json(&file.source) else { return };
    match json.first() {
        Some(b'{') | None => {}
        Some(byte) => says(format!("the header begins with byte {byte:#04x}, not with {{")),
    }
    let padding = json.iter().rev().take_while(|byte| byte.is_ascii_whitespace());
    if let Some(byte) = padding.clone().find(|byte| **byte != b' ') {
        says(format!("the header is padded with byte {byte:#04x}, not with spaces"));
    }
    if !file.data.is_multiple_of(8) {
        let data = file.data;
        return says(format!(
            "the tensors' bytes begin at {data}, not at a multiple of 8: the header lacks padding"
        ));
    }
    for tensor in tensors {
        let size = (tensor.dtype.bitsize() / 8).max(1) as u64;
        if !tensor.offset.is_multiple_of(size) {
            let TensorInfo { name, dtype, offset, .. } = tensor;
            let name = short(name);
            says(format!(
                "tensor {name:?} of {dtype} begins at {offset}, not at a multiple of {size}"
            ));
        }
    }
}

/// The index against the headers and the directory; its sum only if the checkpoint is complete: it is one of all tensors.
fn check_index(
    index: &Index,
    located: &Located,
    checkpoint: &Checkpoint,
    complete: bool,
    problems: &mut Problems,
) {
    for tensor in &checkpoint.tensors {
        if !index.names(&tensor.name) {
            let (file, name) = (checkpoint.file_of(tensor).path(), short(&tensor.name));
            problems.says(file, format!("the index does not name tensor {name:?}"));
        }
    }
    if let Some(said) = &index.total_size
        && complete
    {
        let bytes: u64 = checkpoint.tensors.iter().map(|tensor| tensor.bytes).sum();
        if said.parse() != Ok(bytes) && said.parse() != Ok(bytes as f64) {
            let expected = format!("expected {bytes}, the bytes of all tensors, found {said}");
            problems.says(&index.path, format!("metadata.total_size: {expected}"));
        }
    }
    // Other files may stand there, too; those that are numbered as its shards are belong to it, or did.
    let forms: BTreeSet<String> = located.files.iter().map(|file| form(file)).collect();
    let mut folders: BTreeSet<&Path> =
        located.files.iter().filter_map(|file| file.parent()).collect();
    folders.extend(index.path.parent());
    for folder in folders {
        let files = match weights_in(folder) {
            Ok(files) => files,
            // Files that should be in it are missing, which has been told.
            Err(_) if !folder.exists() => continue,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        for file in files {
            if !located.files.contains(&file) && forms.contains(&form(&file)) {
                problems.says(&file, "the index does not name this file".into());
            }
        }
    }
}

/// A file's name with its numbers left out.
fn form(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// The safetensors files in a folder, sorted.
fn weights_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(listed).map_err(|error| Error::io("list", listed, error))?;
    let names = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
    let is_one = |name: &PathBuf| name.extension().is_some_and(|end| end == "safetensors");
    let mut files: Vec<PathBuf> = names.filter(is_one).map(|name| folder.join(name)).collect();
    files.sort();
    Ok(files)
}

/// config.json against the generators, kernels and convolutions that names and shapes tell of.
fn check_config(checkpoint: &Checkpoint, says: &mut dyn FnMut(Error)) {
    let Some(path) = checkpoint.config_path() else { return };
    let config = match checkpoint.config() {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return says(error),
    };
    // What is wrong with the generator's part hides nothing of the kernels'.
    let found = Discovery::new(checkpoint, &config).or_else(|error| {
        says(error);
        Discovery::new(checkpoint, &Object::new())
    });
    let Ok(found) = found else { return };
    let mut said = BTreeSet::new();
    for kernel in found.kernels() {
        let settings = checkpoint.kernel_settings(kernel);
        let fits = settings.and_then(|settings| match found.conv_around(kernel) {
            Some(conv) if settings.boundaries.is_some() => conv.config(&settings).map(drop),
            _ => {
                let config = kernel.config(&settings)?;
                kernel.mask_config(&settings, &config.l_cache).map(drop)
            }
        });
        // What config.json does not tell is no fault of it. Kernels of one kind have the same to say.
        if let Err(error) = fits
            && !matches!(error.cause(), Error::Selection(_))
        {
            let error = error.in_file(path);
            if said.insert(error.to_string()) {
                says(error);
            }
        }
    }
}
