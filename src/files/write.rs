//! Making files: whole or not at all.

use super::FileError;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a file that is not there yet, with these permission bits (less what the umask takes), and
/// syncs it. On an error nothing is left behind.
///
/// # Errors
/// [`FileError::Exists`] if there is anything at `path`, else what the system says.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let file = file.map_err(FileError::io("create", path))?;
    fill(file, bytes).map_err(|e| {
        // The error that matters is the first one; a file that cannot be removed stays.
        let _ = fs::remove_file(path);
        FileError::io("write", path)(e)
    })
}

/// Puts a file in place of what is at `path`, so that whoever reads sees the old or the new one
/// whole, also after a power cut.
///
/// # Errors
/// What the system says; the old file is unchanged then.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| FileError::unusable(path, "is a directory, not a file to write"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{unique}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    create_new(&temporary, bytes, mode)?;
    fs::rename(&temporary, path).map_err(|e| {
        let _ = fs::remove_file(&temporary);
        FileError::io("replace", path)(e)
    })?;
    sync_directory_of(path)
}

/// Gives a file or directory another name, so that it has it after a power cut too.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::io("rename", from))?;
    sync_directory_of(from)?;
    sync_directory_of(to)
}

/// Makes a directory with all that are missing above it, so that they are still there after a
/// power cut.
///
/// # Errors
/// What the system says.
pub fn create_directories(directory: &Path) -> Result<(), FileError> {
    // Relative paths end with the empty one, which is the working directory.
    let is_missing = |d: &&Path| !d.as_os_str().is_empty() && !d.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(directory).map_err(FileError::io("create the directory", directory))?;
    missing.into_iter().rev().try_for_each(sync_directory_of)
}

/// Makes the entry of a new or renamed file durable.
pub(super) fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let sync = File::open(directory).and_then(|d| d.sync_all());
    sync.map_err(FileError::io("sync the directory", directory))
}

fn fill(mut file: File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_never_replaces_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create_new(&path, b"one", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = create_new(&path, b"two", 0o600).unwrap_err();
        assert!(matches!(refused, FileError::Exists(_)), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        // A link that leads nowhere is something too.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(matches!(create_new(&link, b"x", 0o600), Err(FileError::Exists(_))));
    }

    #[test]
    fn directories_are_made_as_deep_as_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        for _ in 0..2 {
            create_directories(&deep).unwrap();
            assert!(deep.is_dir());
        }
        create_directories(Path::new("src")).unwrap();
        fs::write(dir.path().join("f"), b"").unwrap();
        let refused = create_directories(&dir.path().join("f/g")).unwrap_err();
        assert!(refused.to_string().contains("cannot create the directory"), "{refused}");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&path, b"one", 0o644).unwrap();
        write_atomically(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(write_atomically(&dir.path().join("no/such/f"), b"x", 0o644).is_err());
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(write_atomically(&dir.path().join("d"), b"x", 0o644).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
