//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A file being written beside its destination, which takes its place on [`commit`](Self::commit).
///
/// Dropped before that, it vanishes and the destination stays as it was.
#[derive(Debug)]
pub struct AtomicFile {
    destination: PathBuf,
    overwrite: bool,
    file: NamedTempFile,
}

impl AtomicFile {
    /// Starts a file that will be `path`, in the same directory, with mode `0666 & !umask`.
    ///
    /// # Errors
    /// If `path` is a directory, a pipe or a device, exists and `overwrite` is false, or the directory
    /// cannot be written to.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        let destination = destination(path, overwrite)?;
        let directory = directory_of(&destination);
        let mut builder = tempfile::Builder::new();
        // Without the destination's name in it: that may be as long as the system allows already.
        builder.prefix(".film-").suffix(".tmp");
        #[cfg(unix)]
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        #[cfg(unix)]
        builder.permissions(mode);
        let file =
            builder.tempfile_in(directory).map_err(|error| Error::io("create", path, error))?;
        Ok(Self { destination, overwrite, file })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// If the system cannot write them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("write", &self.destination, error))
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// If the system cannot write them.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        let seek = self.file.seek(SeekFrom::Start(offset));
        seek.map_err(|error| Error::io("write", &self.destination, error))?;
        self.write(bytes)
    }

    /// The open file, for a writer that wants one.
    pub fn file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes the file so many bytes long.
    pub(super) fn set_size(&mut self, bytes: u64) -> Result<()> {
        let set = self.file.as_file().set_len(bytes);
        set.map_err(|error| Error::io("write", &self.destination, error))
    }

    /// Flushes to the disk what was written so far.
    pub(super) fn flush(&self) -> Result<()> {
        self.file.as_file().sync_all().map_err(|error| Error::io("write", &self.destination, error))
    }

    /// Flushes to the disk and renames into place.
    ///
    /// # Errors
    /// If the system cannot, or the destination has appeared meanwhile and must not be replaced.
    pub fn commit(self) -> Result<()> {
        let Self { destination, overwrite, file } = self;
        let io = |error| Error::io("write", &destination, error);
        file.as_file().sync_all().map_err(io)?;
        let persisted = if overwrite {
            file.persist(&destination)
        } else {
            file.persist_noclobber(&destination)
        };
        persisted.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&destination),
            _ => io(error.error),
        })?;
        // The rename itself has to reach the disk; not every system can sync a directory.
        #[cfg(unix)]
        File::open(directory_of(&destination))
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        Ok(())
    }
}

/// Where a file for `path` really goes: through a link, to what it points at.
fn destination(path: &Path, overwrite: bool) -> Result<PathBuf> {
    let Ok(link) = path.symlink_metadata() else { return Ok(path.into()) };
    let target = if link.is_symlink() {
        path.canonicalize().map_err(|error| Error::io("follow", path, error))?
    } else {
        path.into()
    };
    match target.metadata() {
        Ok(found) if !found.is_file() => {
            Err(Error::Format("exists and is not a regular file".into()).in_file(path))
        }
        Ok(_) if !overwrite => Err(exists(path)),
        _ => Ok(target),
    }
}

fn exists(path: &Path) -> Error {
    Error::Exists.in_file(path)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&directory.path().join("a"), false).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn names_may_be_as_long_as_the_system_allows() {
        let directory = tempfile::tempdir().unwrap();
        let name = "x".repeat(250);
        let mut file = AtomicFile::create(&directory.path().join(&name), false).unwrap();
        file.write(b"x").unwrap();
        file.commit().unwrap();
        assert_eq!(names(directory.path()), [name]);
    }

    #[test]
    fn an_existing_file_stays_unless_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut late = AtomicFile::create(&path, false).unwrap();
        late.write(b"late").unwrap();
        std::fs::write(&path, "first").unwrap();
        assert!(AtomicFile::create(&path, false).is_err());
        assert!(late.commit().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let mut forced = AtomicFile::create(&path, true).unwrap();
        forced.write(b"second").unwrap();
        forced.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn modes_follow_the_umask_and_links_their_targets() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (plain, link) = (directory.path().join("plain"), directory.path().join("link"));
        std::fs::write(&plain, "old").unwrap();
        std::os::unix::fs::symlink(&plain, &link).unwrap();
        let mut file = AtomicFile::create(&link, true).unwrap();
        file.write(b"new").unwrap();
        file.commit().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&plain).unwrap(), b"new");
        let reference = directory.path().join("reference");
        std::fs::write(&reference, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&reference));
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_replaced() {
        let error = AtomicFile::create(Path::new("/dev/null"), true).unwrap_err();
        assert_eq!(error.to_string(), "/dev/null: exists and is not a regular file");
    }
}
