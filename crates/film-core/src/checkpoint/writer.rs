//! A checkpoint's files, which appear together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::atomic::AtomicFile;
use super::locate::{CONFIG, INDEX, WEIGHTS};
use super::save::Layout;
use super::shards::{Shard, Shards, is_part};
use crate::error::{Error, Result};

/// A checkpoint while it is written, tensor by tensor and block by block; [`commit`](Self::commit) puts it in place.
///
/// Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct CheckpointWriter {
    files: Vec<(AtomicFile, Layout)>,
    /// Which file a tensor is in.
    file_of: HashMap<String, usize>,
    config: Option<AtomicFile>,
    index: Option<AtomicFile>,
    paths: Vec<PathBuf>,
    /// An index that must go before files that it names are replaced.
    old_index: Option<PathBuf>,
    /// Files of the checkpoint that was there before.
    stale: Vec<PathBuf>,
    /// Dropped last, when the files in it are gone.
    _made: MadeDirectories,
}

impl CheckpointWriter {
    /// One safetensors file, with tensors of these names, dtypes and shapes.
    ///
    /// # Errors
    /// If `path` exists and `overwrite` is false, a name stands twice, or the system cannot write.
    pub fn file(
        path: &Path,
        tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
        overwrite: bool,
    ) -> Result<Self> {
        let Shards { shards, .. } = Shards::plan(tensors.into_iter().collect(), None)?;
        let mut writer = Self::empty(MadeDirectories::default());
        for shard in shards {
            writer.stage(path.into(), shard, overwrite)?;
        }
        Ok(writer)
    }

    /// A directory with model.safetensors or, where that would be larger than `max_shard_bytes`,
    /// model-00001-of-0000N.safetensors and so on with model.safetensors.index.json; and with config.json, if
    /// `config` has its content.
    ///
    /// Files are filled in the order of the tensors' names; within a file wide dtypes come first, as [`Layout`] has
    /// them. No file is larger than `max_shard_bytes`, unless a single tensor is. Where another checkpoint is
    /// overwritten, its config.json goes as well, if there is no `config` to take its place.
    ///
    /// # Errors
    /// If `directory` is something else or holds a checkpoint already and `overwrite` is false, a name stands
    /// twice, there would be more than 500 files (all are open at once), or the system cannot write.
    pub fn directory(
        directory: &Path,
        config: Option<&[u8]>,
        tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
        max_shard_bytes: Option<u64>,
        overwrite: bool,
    ) -> Result<Self> {
        let Shards { shards, index } =
            Shards::plan(tensors.into_iter().collect(), max_shard_bytes)?;
        if let (Some(found), true) = (max_shard_bytes, shards.len() > MAX_FILES) {
            let expected = format!("a size that makes at most {MAX_FILES} files");
            let found = format!("{found}, which makes {}", shards.len());
            return Err(Error::config("max_shard_bytes", expected, found));
        }
        if directory.exists() && !directory.is_dir() {
            return Err(Error::Format("is not a directory".into()).in_file(directory));
        }
        let mut writer = Self::empty(MadeDirectories::make(directory)?);
        if let Some(config) = config {
            let mut file = AtomicFile::create(&directory.join(CONFIG), overwrite)?;
            file.write(config)?;
            writer.config = Some(file);
            writer.paths.push(directory.join(CONFIG));
        }
        let there = parts_in(directory)?;
        if let Some(part) = there.first().filter(|_| !overwrite) {
            return Err(Error::Exists.in_file(part));
        }
        for shard in shards {
            writer.stage(directory.join(&shard.name), shard, overwrite)?;
        }
        let replaced = there.iter().any(|part| writer.paths.contains(part));
        if let Some(index) = index {
            let path = directory.join(INDEX);
            let mut file = AtomicFile::create(&path, overwrite)?;
            file.write(index.as_bytes())?;
            writer.index = Some(file);
            if replaced && there.contains(&path) {
                writer.old_index = Some(path.clone());
            }
            writer.paths.push(path);
        }
        // A config.json alone is no checkpoint: it may have been put there for these weights.
        let old_config = directory.join(CONFIG);
        let old_config = (!there.is_empty() && old_config.is_file()).then_some(old_config);
        let old = there.into_iter().chain(old_config);
        writer.stale = old.filter(|part| !writer.paths.contains(part)).collect();
        Ok(writer)
    }

    fn empty(made: MadeDirectories) -> Self {
        Self {
            files: Vec::new(),
            file_of: HashMap::new(),
            config: None,
            index: None,
            paths: Vec::new(),
            old_index: None,
            stale: Vec::new(),
            _made: made,
        }
    }

    fn stage(&mut self, path: PathBuf, shard: Shard, overwrite: bool) -> Result<()> {
        let mut file = AtomicFile::create(&path, overwrite)?;
        file.write(shard.layout.header())?;
        self.file_of.extend(shard.tensors.into_iter().map(|tensor| (tensor, self.files.len())));
        self.files.push((file, shard.layout));
        self.paths.push(path);
        Ok(())
    }

    /// Writes bytes of a tensor, from its byte number `start` on. What is never written is zero.
    ///
    /// # Errors
    /// If the tensor is not one of those announced or ends before these bytes do, or the system cannot write.
    pub fn write(&mut self, tensor: &str, start: u64, bytes: &[u8]) -> Result<()> {
        let missing = || Error::MissingTensor { tensor: tensor.into() };
        let file = *self.file_of.get(tensor).ok_or_else(missing)?;
        let (file, layout) = &mut self.files[file];
        let (offset, size) = layout.place(tensor).ok_or_else(missing)?;
        let end = start.saturating_add(bytes.len() as u64);
        if end > size {
            return Err(Error::tensor(tensor, format!("at most {size} bytes"), end.to_string()));
        }
        file.write_at(bytes, offset + start)
    }

    /// The files that are there already and that [`commit`](Self::commit) replaces (behind links, where these lead) or
    /// removes.
    pub fn replaces(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter().map(|(file, _)| file);
        let written = files.chain(&self.config).chain(&self.index).map(AtomicFile::destination);
        written.filter(|path| path.exists()).chain(self.stale.iter().map(PathBuf::as_path))
    }

    /// Puts the files in place and returns their paths: config.json, the weights, their index.
    ///
    /// All are complete and flushed in temporary files before the first is renamed; the one that makes a
    /// checkpoint of them, model.safetensors or the index, comes last. Where they take the place of another
    /// checkpoint, its files that have other names are removed after that. At no time do old and new shards
    /// stand under one index: where names are the same, the old index goes first, so that for a moment, or if
    /// the system stops then, there is none and the directory is no checkpoint. config.json and the weights are
    /// two renames: should the system stop between them, the new config.json stands beside the old weights.
    ///
    /// # Errors
    /// If the system cannot, or a file has appeared meanwhile and must not be replaced.
    pub fn commit(mut self) -> Result<Vec<PathBuf>> {
        for (file, layout) in &mut self.files {
            file.set_size(layout.bytes())?;
        }
        let mut all =
            self.files.iter().map(|(file, _)| file).chain(&self.config).chain(&self.index);
        all.try_for_each(AtomicFile::flush)?;
        self.old_index.iter().try_for_each(|path| remove(path))?;
        let mut in_order = self
            .config
            .into_iter()
            .chain(self.files.into_iter().map(|(file, _)| file))
            .chain(self.index);
        in_order.try_for_each(AtomicFile::rename)?;
        self.stale.iter().try_for_each(|path| remove(path))?;
        Ok(self.paths)
    }
}

/// The most files of a checkpoint: all are open until the last is complete, and systems commonly allow 1024.
const MAX_FILES: usize = 500;

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error))
}

/// The parts of a checkpoint in a directory: first what makes it one, then the shards by name.
fn parts_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| Error::io("list", directory, error))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_part(name))
        .collect();
    names.sort_by_key(|name| (name != WEIGHTS, name != INDEX, name.clone()));
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Directories that were made for a checkpoint, and go again if nothing comes into them.
#[derive(Debug, Default)]
struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    fn make(directory: &Path) -> Result<Self> {
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = directory.ancestors().take_while(missing).map(Path::to_path_buf).collect();
        std::fs::create_dir_all(directory)
            .map_err(|error| Error::io("create", directory, error))?;
        Ok(Self(made))
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        // A directory that holds something is not removed.
        for directory in &self.0 {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
