//! What goes wrong with files.

use crate::config::ConfigError;
use crate::crypto::PemError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file cannot be used; every message names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// What was tried, as in "read".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is something already where a file was to be made.
    #[error(
        "{} exists already and is never overwritten; choose another place or move it away",
        .0.display()
    )]
    Exists(PathBuf),
    /// Others than its owner have access to a private key.
    #[error(
        "{} is a private key with mode {mode:04o}, so others than its owner can get at it; \
         run: chmod 600 {}",
        path.display(),
        shell_word(path)
    )]
    TooOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a file that could hold what was expected.
    #[error("{} {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A key file holds no key.
    #[error("{}: {cause}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: PemError,
    },
    /// The cluster file is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Request(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a new key: {0}")]
    Random(getrandom::Error),
}

impl FileError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(path),
            _ => FileError::Io { doing, path, cause },
        }
    }

    pub(super) fn unusable(path: &Path, problem: impl Into<String>) -> Self {
        FileError::Unusable { path: path.to_owned(), problem: problem.into() }
    }
}

/// The path as one word of a shell command.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_can_be_pasted_into_a_shell() {
        let message =
            |path: &str| FileError::TooOpen { path: path.into(), mode: 0o644 }.to_string();
        assert!(message("keys/a.pem").ends_with("run: chmod 600 keys/a.pem"));
        assert!(message("my keys/a.pem").ends_with("run: chmod 600 'my keys/a.pem'"));
        assert!(message("it's").ends_with("run: chmod 600 'it'\\''s'"));
        assert!(message("k").contains("mode 0644"));
    }
}
