//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Suffix of a file that is not yet whole.
pub(super) const TEMPORARY: &str = ".tmp";

/// Where `path` is written before it gets its name.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Make `path` by letting `fill` write a temporary file beside it, then sync and rename.
/// On any error the old `path` stays as it was.
pub(super) fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File, &Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let temp = temporary(path);
    let written = File::create(&temp).map_err(StoreError::io("create", &temp)).and_then(|mut file| {
        fill(&mut file, &temp)?;
        file.sync_all().map_err(StoreError::io("sync", &temp))?;
        fs::rename(&temp, path).map_err(StoreError::io("rename into place", path))
    });
    if written.is_err() {
        // Frees the space on a full disk; the first error is the one to tell.
        let _ = fs::remove_file(&temp);
        return written;
    }
    sync_parent(path)
}

/// [`replace`] with bytes that are at hand.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, |file, temp| file.write_all(bytes).map_err(StoreError::io("write", temp)))
}

/// Write a file that is there whole or not at all. One of that name is replaced.
///
/// # Errors
/// When the disk refuses; the old file is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write(path, bytes)
}

/// Make a rename or a new file in `dir` last through a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => sync_dir(dir),
        _ => sync_dir(Path::new(".")),
    }
}

/// Read a whole file; `None` if there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Delete a file; it is no error if there is none.
pub(super) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", path)(e)),
        _ => Ok(()),
    }
}

/// An exclusive lock between processes, held until it is dropped or the process ends.
pub(super) struct Lock(#[allow(dead_code, reason = "held for its lock")] File);

impl Lock {
    /// Wait for the lock.
    pub(super) fn wait(path: &Path) -> Result<Self, StoreError> {
        let file = Self::file(path)?;
        match file.lock() {
            Err(e) if e.kind() != io::ErrorKind::Unsupported => Err(StoreError::io("lock", path)(e)),
            // A file system without locks: a single process is still safe.
            _ => Ok(Self(file)),
        }
    }

    /// Take the lock if nobody has it.
    pub(super) fn try_now(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = Self::file(path)?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => {
                Err(StoreError::io("lock", path)(e))
            }
            _ => Ok(Some(Self(file))),
        }
    }

    fn file(path: &Path) -> Result<File, StoreError> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(StoreError::io("open", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fill_leaves_the_old_file_and_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write(&path, b"old").unwrap();
        let result = replace(&path, |file, temp| {
            file.write_all(b"half").unwrap();
            Err(StoreError::io("write", temp)(io::Error::from(io::ErrorKind::StorageFull)))
        });
        assert!(result.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(!temporary(&path).exists());
    }

    #[test]
    fn a_lock_excludes_a_second_holder_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::try_now(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_now(&path).unwrap().is_some());
    }
}
