//! Key files.

use super::write::sync_directory_of;
use super::{FileError, create_new};
use crate::crypto::{PublicKey, SecretKey};
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a key file at most; one with all its notes has less than a thousand.
pub(super) const MAX_KEY_FILE: u64 = 64 * 1024;

/// A key pair on disk.
#[derive(Debug)]
pub struct Identity {
    /// The key.
    pub secret: SecretKey,
    /// The file of the private key, mode 0600.
    pub private_file: PathBuf,
    /// The file of the public key.
    pub public_file: PathBuf,
}

/// Draws a new key from the system's random numbers.
///
/// # Errors
/// If the system has none to give.
pub fn generate_key() -> Result<SecretKey, FileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut seed[..]).map_err(FileError::Random)?;
    Ok(SecretKey::from_seed(*seed))
}

/// Makes a key pair `NAME.pem` (mode 0600) and `NAME.pub.pem` in a directory, which is made with
/// mode 0700 if it is not there.
///
/// # Errors
/// If the name cannot be a file's, if either file exists, or what the system says. No file is left
/// behind then.
pub fn create_identity(directory: &Path, name: &str) -> Result<Identity, FileError> {
    check_name(name)?;
    create_key_directory(directory)?;
    let (private_file, public_file) = identity_files(directory, name);
    if public_file.symlink_metadata().is_ok() {
        return Err(FileError::Exists(public_file));
    }
    let secret = generate_key()?;
    write_private(&private_file, &secret)?;
    create_new(&public_file, secret.public().to_pem().as_bytes(), 0o644).inspect_err(|_| {
        let _ = fs::remove_file(&private_file);
    })?;
    sync_directory_of(&private_file)?;
    Ok(Identity { secret, private_file, public_file })
}

/// Reads a private key. The text is wiped from memory.
///
/// # Errors
/// If it is no ed25519 private key in PEM, or anybody but its owner has access to the file: the
/// message then names the `chmod` to run.
pub fn read_secret_key(path: &Path) -> Result<SecretKey, FileError> {
    let mut file = open(path)?;
    // Of the file that is open, so that nobody can exchange it after the check.
    let mode = file.metadata().map_err(FileError::io("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned(), mode });
    }
    let text = read_text(&mut file, path)?;
    SecretKey::from_pem(&text).map_err(|cause| FileError::Key { path: path.to_owned(), cause })
}

/// Reads a public key: SPKI in PEM, or in one line as a cluster file may have it.
///
/// # Errors
/// If it is none or cannot be read.
pub fn read_public_key(path: &Path) -> Result<PublicKey, FileError> {
    let text = read_text(&mut open(path)?, path)?;
    PublicKey::from_inline(&text)
        .unwrap_or_else(|| PublicKey::from_pem(&text))
        .map_err(|cause| FileError::Key { path: path.to_owned(), cause })
}

pub(super) fn identity_files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.pem")), directory.join(format!("{name}.pub.pem")))
}

pub(super) fn write_private(path: &Path, secret: &SecretKey) -> Result<(), FileError> {
    create_new(path, secret.to_pem().as_bytes(), 0o600)
}

pub(super) fn create_key_directory(directory: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(FileError::io("create the directory", directory))
}

/// The whole text of a small file, in a buffer that never moves and is wiped.
pub(super) fn read_text(file: &mut File, path: &Path) -> Result<Zeroizing<String>, FileError> {
    let capacity = usize::try_from(MAX_KEY_FILE).expect("64 KiB fit") + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(FileError::unusable(path, "is larger than 64 KiB, so it is no key file"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(FileError::unusable(
            path,
            "is not text; a key in DER becomes PEM by: openssl pkey -inform DER -in FILE",
        )),
    }
}

/// Opens a regular file; never waits for a pipe.
pub(super) fn open(path: &Path) -> Result<File, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io("read", path))?;
    if !metadata.is_file() {
        return Err(FileError::unusable(path, "is not a regular file"));
    }
    File::open(path).map_err(FileError::io("read", path))
}

fn check_name(name: &str) -> Result<(), FileError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=64).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(".pem")
        && !name.ends_with(".pub");
    match good {
        true => Ok(()),
        false => Err(FileError::Request(format!(
            "the name {name:?} does not do: write 1 to 64 of the characters a-z, A-Z, 0-9, -, _ \
             and ., not . or - first, and without .pem or .pub at the end"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_comes_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let made = create_identity(&keys, "alice").unwrap();
        assert_eq!((mode(&made.private_file), mode(&keys)), (0o600, 0o700));
        assert_eq!(read_secret_key(&made.private_file).unwrap().seed(), made.secret.seed());
        assert_eq!(read_public_key(&made.public_file).unwrap(), made.secret.public());
        let other = create_identity(&keys, "bob").unwrap();
        assert_ne!(other.secret.seed(), made.secret.seed());
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_made_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let made = create_identity(dir.path(), "alice").unwrap();
        let before = fs::read(&made.private_file).unwrap();
        assert!(matches!(create_identity(dir.path(), "alice"), Err(FileError::Exists(_))));
        assert_eq!(fs::read(&made.private_file).unwrap(), before);
        fs::write(dir.path().join("bob.pub.pem"), "x").unwrap();
        assert!(matches!(create_identity(dir.path(), "bob"), Err(FileError::Exists(_))));
        assert!(!dir.path().join("bob.pem").exists());
        fs::remove_file(&made.public_file).unwrap();
        assert!(matches!(create_identity(dir.path(), "alice"), Err(FileError::Exists(_))));
        assert!(!made.public_file.exists());
    }

    #[test]
    fn a_private_key_that_others_can_get_at_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = create_identity(dir.path(), "alice").unwrap();
        for bits in [0o640, 0o604, 0o644, 0o620, 0o610, 0o777] {
            fs::set_permissions(&made.private_file, fs::Permissions::from_mode(bits)).unwrap();
            let e = read_secret_key(&made.private_file).unwrap_err().to_string();
            assert!(e.contains("chmod 600") && e.contains("alice.pem"), "{bits:o}: {e}");
        }
        for bits in [0o600, 0o400] {
            fs::set_permissions(&made.private_file, fs::Permissions::from_mode(bits)).unwrap();
            assert!(read_secret_key(&made.private_file).is_ok(), "{bits:o}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            create_new(&path, bytes, 0o600).unwrap();
            path
        };
        let refusal = |path: &Path| read_secret_key(path).unwrap_err().to_string();
        assert!(refusal(&dir.path().join("none.pem")).contains("none.pem: No such file"));
        assert!(refusal(dir.path()).contains("not a regular file"));
        assert!(refusal(&put("empty", b"")).contains("no PEM block"));
        assert!(refusal(&put("der", &[0x30, 0x2e, 0xff])).contains("openssl pkey -inform DER"));
        assert!(refusal(&put("big", &vec![b'x'; 70_000])).contains("larger than 64 KiB"));
        let public = SecretKey::from_seed([1; 32]).public().to_pem();
        let path = put("public", public.as_bytes());
        assert!(refusal(&path).contains("a public key where a private key is expected"));
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "../a", "a/b", "-x", "a b", "a\0", "ä", "a.pem", "a.pub"] {
            assert!(matches!(create_identity(dir.path(), name), Err(FileError::Request(_))));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
