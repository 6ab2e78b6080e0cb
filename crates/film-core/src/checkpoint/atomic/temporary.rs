//! Temporary files, and what killed processes left of theirs.
//!
//! Whoever writes a temporary file holds its lock for as long as it lives, and the system lets go of a lock when
//! its process ends, however that may be. So a temporary file whose lock is free belongs to nobody: the next one
//! that is made in the same directory takes it away. Where files cannot be locked, none is taken away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use tempfile::TempPath;

const PREFIX: &str = ".film-";
const RANDOM: usize = 6;
const SUFFIX: &str = ".tmp";

/// A new file in `directory`, with mode `0666 & !umask` and its lock held, after what is left there was taken away.
pub(super) fn create(directory: &Path) -> io::Result<(File, TempPath)> {
    remove_abandoned(directory);
    let mut builder = tempfile::Builder::new();
    // Without the destination's name in it: that may be as long as the system allows already.
    builder.prefix(PREFIX).rand_bytes(RANDOM).suffix(SUFFIX);
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(mode);
    loop {
        let (file, path) = builder.tempfile_in(directory)?.into_parts();
        // Until it is locked, another process may take it for abandoned.
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok((file, path)),
            Err(TryLockError::Error(_)) => return Ok((file, path)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// Removes the temporary files in `directory` that nobody writes. What cannot be removed stays: it is in nobody's
/// way.
fn remove_abandoned(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(is_temporary);
        // Not to be followed or waited for, whatever bears such a name.
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.try_lock()?;
    // Its writer may have put it in place and let go between the two.
    if is_at(&file, path) { std::fs::remove_file(path) } else { Ok(()) }
}

fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Whether `file` is what stands at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(file), Ok(path)) => place(file) == place(path),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let foreign = [".film-notes.tmp", ".film-ABCDEF", "film-ABCDEF.tmp", ".film-ABC-EF.tmp"];
        for name in foreign.into_iter().chain([".film-ABCDEF.tmp"]) {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at(".film-folder.tmp")).unwrap();
        let (_file, live) = create(directory.path()).unwrap();
        assert!(!at(".film-ABCDEF.tmp").exists());
        assert!(foreign.into_iter().all(|name| at(name).exists()));
        assert!(at(".film-folder.tmp").is_dir());
        // A living writer's file stays when others begin theirs.
        let (other, path) = create(directory.path()).unwrap();
        assert!(live.exists() && path.exists());
        drop(other);
        create(directory.path()).unwrap();
        assert!(live.exists() && !path.exists());
    }

    #[test]
    fn writers_that_begin_at_once_do_not_take_each_others_files() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let (file, path) = create(directory.path()).unwrap();
                        assert!(is_at(&file, &path));
                        std::thread::yield_now();
                        assert!(is_at(&file, &path));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
