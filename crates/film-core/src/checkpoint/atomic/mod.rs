//! Files that appear whole or not at all.

mod directory;
mod temporary;
mod turn;

use std::fmt::Debug;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::error::{Error, Result};

pub use directory::OutputDirectory;
pub(super) use directory::Removals;

/// A file being written beside its destination, which takes its place on [`commit`](Self::commit).
///
/// Dropped before that, it vanishes and the destination stays as it was. If the process is killed before that, the
/// destination stays too; what was written goes when the next such file is made in that directory.
#[derive(Debug)]
pub struct AtomicFile {
    destination: PathBuf,
    overwrite: bool,
    file: Box<dyn Storage>,
    place: TempPath,
}

/// What the bytes go to: a file, or in tests one that fails.
trait Storage: Write + Seek + Debug + Send + Sync {
    /// Makes it so many bytes long.
    fn set_size(&self, bytes: u64) -> std::io::Result<()>;
    /// Returns when everything is on the disk.
    fn sync(&self) -> std::io::Result<()>;
}

impl Storage for File {
    fn set_size(&self, bytes: u64) -> std::io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.sync_all()
    }
}

impl AtomicFile {
    /// Starts a file that will be `path`, in the same directory, with mode `0666 & !umask`.
    ///
    /// # Errors
    /// If `path` is a directory, a pipe or a device, exists and `overwrite` is false, or the directory
    /// cannot be written to.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        let destination = destination(path, overwrite)?;
        let created = temporary::create(directory_of(&destination));
        let (file, place) = created.map_err(|error| Error::io("create", path, error))?;
        Ok(Self { destination, overwrite, file: Box::new(file), place })
    }

    /// Where the file will be: `path`, or what it links to.
    pub fn destination(&self) -> &Path {
        &self.destination
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
    pub fn file_mut(&mut self) -> &mut (impl Write + Seek) {
        &mut self.file
    }

    /// Makes the file so many bytes long.
    pub(super) fn set_size(&mut self, bytes: u64) -> Result<()> {
        self.file.set_size(bytes).map_err(|error| Error::io("write", &self.destination, error))
    }

    /// Flushes to the disk what was written so far.
    fn flush(&self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io("write", &self.destination, error))
    }

    /// Flushes to the disk and renames into place.
    ///
    /// # Errors
    /// If the system cannot, or the destination has appeared meanwhile and must not be replaced.
    pub fn commit(self) -> Result<()> {
        self.flush()?;
        let directory = directory_of(&self.destination).to_path_buf();
        let turn = turn::take(&directory);
        self.rename()?;
        drop(turn);
        directory::sync(&directory)
    }

    /// An error if the destination has appeared meanwhile and must not be replaced.
    fn check(&self) -> Result<()> {
        let appeared = !self.overwrite && self.destination.symlink_metadata().is_ok();
        if appeared { Err(exists(&self.destination)) } else { Ok(()) }
    }

    /// Renames into place what is [flushed](Self::flush) already, and hands back the open file.
    fn rename(self) -> Result<Box<dyn Storage>> {
        let Self { destination, overwrite, file, place } = self;
        // The file is open, and so locked, until its temporary name is gone.
        let persisted = if overwrite {
            place.persist(&destination)
        } else {
            place.persist_noclobber(&destination)
        };
        persisted.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&destination),
            _ => Error::io("write", &destination, error.error),
        })?;
        Ok(file)
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

    /// A file that does what files do: take less than they are given, be interrupted, be full.
    #[derive(Debug)]
    struct Failing {
        file: File,
        writes: usize,
        /// Every write takes at most so many bytes, and every other one is interrupted.
        most: usize,
        /// From this write on there is no space left.
        full: usize,
        sync: Option<std::io::ErrorKind>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.writes += 1;
            if self.writes > self.full {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            if self.writes.is_multiple_of(2) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            self.file.write(&bytes[..bytes.len().min(self.most)])
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.file.flush()
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.file.seek(to)
        }
    }

    impl Storage for Failing {
        fn set_size(&self, bytes: u64) -> std::io::Result<()> {
            self.file.set_len(bytes)
        }

        fn sync(&self) -> std::io::Result<()> {
            self.sync.map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    /// Writes 40 bytes in two pieces, the second first, over `path`.
    fn write_through(path: &Path, full: usize, sync: Option<std::io::ErrorKind>) -> Result<()> {
        let mut file = AtomicFile::create(path, true)?;
        let inner = File::options().write(true).open(&file.place).unwrap();
        file.file = Box::new(Failing { file: inner, writes: 0, most: 3, full, sync });
        file.write_at(&[b'b'; 20], 20)?;
        file.write_at(&[b'a'; 20], 0)?;
        file.commit()
    }

    #[test]
    fn short_and_interrupted_writes_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_through(&path, usize::MAX, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [[b'a'; 20], [b'b'; 20]].concat());
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn a_disk_that_is_full_or_broken_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "old").unwrap();
        // 40 bytes in threes, every other write interrupted, take 27 of them.
        for full in 0..27 {
            let text = write_through(&path, full, None).unwrap_err().to_string();
            assert_eq!(text, format!("{}: cannot write: no storage space", path.display()));
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
            assert_eq!(names(directory.path()), ["a"]);
        }
        let broken = write_through(&path, usize::MAX, Some(std::io::ErrorKind::StorageFull));
        assert!(broken.unwrap_err().to_string().ends_with(": cannot write: no storage space"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["a"]);
        write_through(&path, 27, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 40);
        // What was flushed is not flushed again.
        let mut file = AtomicFile::create(&path, true).unwrap();
        file.write(b"flushed").unwrap();
        let (inner, sync) = (tempfile::tempfile().unwrap(), Some(std::io::ErrorKind::StorageFull));
        file.file = Box::new(Failing { file: inner, writes: 0, most: 3, full: 0, sync });
        file.rename().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"flushed");
    }

    #[test]
    fn files_that_belong_together_appear_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let commit = |overwrite, sync, meanwhile: &dyn Fn()| {
            let files = [&a, &b].map(|path| {
                let mut file = AtomicFile::create(path, overwrite).unwrap();
                file.write(b"new").unwrap();
                file
            });
            let [first, mut second] = files;
            let inner = tempfile::tempfile().unwrap();
            second.file = Box::new(Failing { file: inner, writes: 0, most: 3, full: 0, sync });
            meanwhile();
            OutputDirectory::make(folder.path()).unwrap().commit(vec![first, second])
        };
        // The second cannot be flushed, or it appears meanwhile: the first does not appear either.
        let error = commit(false, Some(std::io::ErrorKind::StorageFull), &|| ()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: cannot write: no storage space", b.display()));
        assert!(names(folder.path()).is_empty());
        let error = commit(false, None, &|| std::fs::write(&b, "old").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: exists already", b.display()));
        assert_eq!(names(folder.path()), ["b"]);
        commit(true, None, &|| ()).unwrap();
        assert!([&a, &b].iter().all(|path| std::fs::read(path).unwrap() == b"new"));
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_replaced() {
        let error = AtomicFile::create(Path::new("/dev/null"), true).unwrap_err();
        assert_eq!(error.to_string(), "/dev/null: exists and is not a regular file");
    }
}
