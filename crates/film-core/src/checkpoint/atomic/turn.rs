//! Turns of those who change several names in one directory.
//!
//! Whoever holds the directory's lock changes names in it, and the others wait. The lock goes with its process, so none
//! is left behind. Nobody waits in a circle: a writer takes one turn at a time, and the locks of temporary files are
//! tried, never waited for.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait. A turn takes some renames; a lock that is held for longer is held for something else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a turn in `directory`, which lasts until it is dropped. None where directories cannot be locked (on
/// Windows, on NFS), or the lock is not let go.
pub(super) fn take(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    let begun = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(1));
            }
            Err(_) => return None,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path()).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(directory.path()).is_some());
            sleep(Duration::from_millis(20));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(take(&directory.path().join("missing")).is_none());
    }
}
