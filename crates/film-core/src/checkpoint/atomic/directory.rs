//! Several files of one directory, which appear together.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{AtomicFile, directory_of, turn};
use crate::error::{Error, Result};

/// A directory that files are written to. What was missing of it is made, and goes again if nothing comes into it.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    made: Vec<PathBuf>,
}

/// Files to be removed when others get their names.
#[derive(Debug, Default)]
pub(in super::super) struct Removals {
    pub(in super::super) before: Option<PathBuf>,
    pub(in super::super) after: Vec<PathBuf>,
}

impl OutputDirectory {
    /// Makes it, and what is missing above it.
    ///
    /// # Errors
    /// If the system cannot, or something else stands there.
    pub fn make(path: &Path) -> Result<Self> {
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = path.ancestors().take_while(missing).map(Path::to_path_buf).collect();
        std::fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))?;
        Ok(Self { path: path.into(), made })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts its files in place, in this order.
    ///
    /// All are flushed to the disk before the first gets its name. Then they are renamed back to back, with nothing
    /// slow between, and the directory is flushed once after the last: a process that is killed is hardly ever killed
    /// between two of them. Who does the same in this directory at the same time waits meanwhile.
    ///
    /// # Errors
    /// If the system cannot, or one of the destinations has appeared meanwhile and must not be replaced; then, as far
    /// as can be told before, none is.
    pub fn commit(self, files: Vec<AtomicFile>) -> Result<()> {
        self.replace(files, || Ok(Removals::default()))
    }

    /// Puts its files in place as [`commit`](Self::commit) does and removes what `removals` finds, which looks when
    /// nobody else changes names here.
    pub(in super::super) fn replace(
        self,
        files: Vec<AtomicFile>,
        removals: impl FnOnce() -> Result<Removals>,
    ) -> Result<()> {
        files.iter().try_for_each(AtomicFile::flush)?;
        let turn = turn::take(&self.path);
        let Removals { before, after } = removals()?;
        files.iter().try_for_each(AtomicFile::check)?;
        let destinations = || files.iter().map(AtomicFile::destination);
        let mut directories: BTreeSet<PathBuf> =
            destinations().map(|file| directory_of(file).to_path_buf()).collect();
        directories.insert(self.path.clone());
        // A file that is replaced or removed is freed when nobody has it open any more, which takes its time (a fifth
        // of a second per GiB). Held open, none is before the last has its name.
        let replaced =
            destinations().chain(before.as_deref()).chain(after.iter().map(PathBuf::as_path));
        let held: Vec<File> = replaced.filter_map(hold).collect();

        before.iter().try_for_each(|path| remove(path))?;
        let renamed = files.into_iter().map(AtomicFile::rename).collect::<Result<Vec<_>>>()?;
        after.iter().try_for_each(|path| remove(path))?;

        drop(turn);
        drop((held, renamed));
        directories.iter().try_for_each(|directory| sync(directory))
    }
}

impl Drop for OutputDirectory {
    fn drop(&mut self) {
        // A directory that holds something is not removed.
        for directory in &self.made {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// A regular file, opened; where that cannot be, it is freed when it is.
fn hold(path: &Path) -> Option<File> {
    // Asked before opening: opening a pipe would wait for its writer.
    // Windows does not replace files that are open.
    if cfg!(unix) && path.is_file() { File::open(path).ok() } else { None }
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error))
}

/// Returns when the names in a directory are on the disk. Not every system can tell.
pub(super) fn sync(directory: &Path) -> Result<()> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| Error::io("write", directory, error))?;
    }
    Ok(())
}
