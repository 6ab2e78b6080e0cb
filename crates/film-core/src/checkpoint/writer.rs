//! A checkpoint's files, which appear together.

use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::atomic::{AtomicFile, OutputDirectory, Removals};
use super::layout::Layout;
use super::locate::{CONFIG, INDEX, WEIGHTS};
use super::shards::{Shard, Shards, is_part};
use crate::error::{Error, Result};

/// A checkpoint while it is written, tensor by tensor and block by block; [`commit`](Self::commit) puts it in place.
///
/// Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct CheckpointWriter {
    /// In the order of their tensors' names.
    files: Vec<(AtomicFile, Layout)>,
    config: Option<AtomicFile>,
    index: Option<AtomicFile>,
    /// What there will be, and how many bytes of it.
    written: Vec<(PathBuf, u64)>,
    overwrite: bool,
    /// Where several files appear together. Dropped last, when the files in it are gone.
    directory: Option<OutputDirectory>,
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
        let mut writer = Self::empty(None, overwrite);
        for shard in shards {
            writer.stage(path.into(), shard)?;
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
        let mut writer = Self::empty(Some(OutputDirectory::make(directory)?), overwrite);
        if let Some(config) = config {
            let path = directory.join(CONFIG);
            let mut file = AtomicFile::create(&path, overwrite)?;
            file.write(config)?;
            writer.config = Some(file);
            writer.written.push((path, config.len() as u64));
        }
        removals(directory, &[], overwrite)?;
        for shard in shards {
            writer.stage(directory.join(&shard.name), shard)?;
        }
        if let Some(index) = index {
            let path = directory.join(INDEX);
            let mut file = AtomicFile::create(&path, overwrite)?;
            file.write(index.as_bytes())?;
            writer.index = Some(file);
            writer.written.push((path, index.len() as u64));
        }
        Ok(writer)
    }

    fn empty(directory: Option<OutputDirectory>, overwrite: bool) -> Self {
        Self {
            files: Vec::new(),
            config: None,
            index: None,
            written: Vec::new(),
            overwrite,
            directory,
        }
    }

    fn stage(&mut self, path: PathBuf, shard: Shard) -> Result<()> {
        let mut file = AtomicFile::create(&path, self.overwrite)?;
        file.write(shard.layout.header())?;
        self.written.push((path, shard.layout.bytes()));
        self.files.push((file, shard.layout));
        Ok(())
    }

    /// Writes bytes of a tensor, from its byte number `start` on. What is never written is zero.
    ///
    /// # Errors
    /// If the tensor is not one of those announced or ends before these bytes do, or the system cannot write.
    pub fn write(&mut self, tensor: &str, start: u64, bytes: &[u8]) -> Result<()> {
        let missing = || Error::MissingTensor { tensor: tensor.into() };
        let begins_before =
            |layout: &Layout| layout.names().next().is_some_and(|first| first <= tensor);
        let files = self.files.partition_point(|(_, layout)| begins_before(layout));
        let (file, layout) = self.files[..files].last_mut().ok_or_else(missing)?;
        let (offset, size) = layout.place(tensor).ok_or_else(missing)?;
        let end = start.saturating_add(bytes.len() as u64);
        if end > size {
            return Err(Error::tensor(tensor, format!("at most {size} bytes"), end.to_string()));
        }
        file.write_at(bytes, offset + start)
    }

    /// The files that are there and that [`commit`](Self::commit) replaces (behind links, where these lead) or removes.
    ///
    /// # Errors
    /// If the directory cannot be listed, or a checkpoint has appeared in it that must not be replaced.
    pub fn replaces(&self) -> Result<Vec<PathBuf>> {
        let files = self.files.iter().map(|(file, _)| file);
        let written = files.chain(&self.config).chain(&self.index).map(AtomicFile::destination);
        let mut replaced: Vec<PathBuf> =
            written.filter(|path| path.exists()).map(Path::to_path_buf).collect();
        if let Some(directory) = &self.directory {
            replaced.extend(removals(directory.path(), &self.written, self.overwrite)?.after);
        }
        Ok(replaced)
    }

    /// Puts the files in place and returns their paths and sizes in bytes: config.json, the weights, their index.
    ///
    /// All are complete and flushed in temporary files first. Then, back to back and with nothing slow between:
    ///
    /// 1. where a shard takes the place of another of the same name, the old index is removed;
    /// 2. shards are renamed, then config.json;
    /// 3. what makes a checkpoint of them is renamed: model.safetensors or the index;
    /// 4. what else was there of another checkpoint is removed.
    ///
    /// The directory is flushed once, after that. So old and new shards never stand under one index. A process that is
    /// killed within these steps, some ten microseconds a file where no other process is in the way, may leave
    /// config.json beside the old weights (between 2 and 3; until 4 where shards take the place of model.safetensors)
    /// or, where names are the same, no index and so no checkpoint (between 1 and 3). A loss of power leaves the same
    /// on file systems that write names down in the order in which they change (ext4, XFS, Btrfs, APFS, NTFS); others
    /// (FAT, ext2) may have any of the steps and not the rest.
    ///
    /// Writers of one directory take turns at this: the last one's checkpoint stays, and nothing of the others',
    /// wherever directories can be locked (not on Windows, nor on NFS).
    ///
    /// # Errors
    /// If the system cannot, or a checkpoint has appeared meanwhile and must not be replaced.
    pub fn commit(mut self) -> Result<Vec<(PathBuf, u64)>> {
        for (file, layout) in &mut self.files {
            file.set_size(layout.bytes())?;
        }
        let Self { files, config, index, written, overwrite, directory, .. } = self;
        let mut files: Vec<AtomicFile> = files.into_iter().map(|(file, _)| file).collect();
        let last = index.or_else(|| files.pop());
        files.extend(config.into_iter().chain(last));
        match directory {
            Some(directory) => {
                let path = directory.path().to_path_buf();
                directory.replace(files, || removals(&path, &written, overwrite))?;
            }
            None => files.into_iter().try_for_each(AtomicFile::commit)?,
        }
        Ok(written)
    }
}

/// The most files of a checkpoint: all are open until the last is complete, and systems commonly allow 1024.
const MAX_FILES: usize = 500;

/// What goes of a checkpoint that is in `directory` when what is `written` takes its place; an error if it must not.
fn removals(directory: &Path, written: &[(PathBuf, u64)], overwrite: bool) -> Result<Removals> {
    let there = parts_in(directory)?;
    if let Some(part) = there.first().filter(|_| !overwrite) {
        return Err(Error::Exists.in_file(part));
    }
    let replaced = |part: &PathBuf| written.iter().any(|(path, _)| path == part);
    let [index, config] = [INDEX, CONFIG].map(|name| directory.join(name));
    let shard_replaced = there.iter().any(|part| *part != index && replaced(part));
    let index_first = shard_replaced && there.contains(&index) && replaced(&index);
    // A config.json alone is no checkpoint: it may have been put there for these weights.
    let config = (!there.is_empty() && config.is_file()).then_some(config);
    let after = there.into_iter().chain(config).filter(|part| !replaced(part)).collect();
    // The new index goes to where a link leads, so the link stays.
    let before = index_first.then(|| index.canonicalize().unwrap_or(index));
    Ok(Removals { before, after })
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
