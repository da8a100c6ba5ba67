//! The cluster file on disk.

use super::FileError;
use super::keys::{open, read_text};
use crate::config::Cluster;
use std::io::Read;
use std::path::Path;

/// Bytes of a cluster file at most.
const MAX_CLUSTER_FILE: u64 = 16 << 20;

/// Reads a cluster file and the public keys that it names, whose paths are relative to it.
///
/// # Errors
/// If it cannot be read, or [`FileError::Config`]: which line of it is wrong and what to write.
pub fn load_cluster(path: &Path) -> Result<Cluster, FileError> {
    parse_cluster(&read_configuration(path)?, path)
}

/// Reads the text of a cluster file that is, or is to be, in this place.
///
/// # Errors
/// As [`load_cluster`].
pub fn parse_cluster(text: &str, path: &Path) -> Result<Cluster, FileError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut read_key = |name: &str| {
        let path = directory.join(name);
        let text = open(&path).and_then(|mut file| read_text(&mut file, &path));
        text.map(|t| t.to_string()).map_err(|e| match e {
            // The message of the cluster file names the path already.
            FileError::Io { cause, .. } => cause.to_string(),
            other => other.to_string(),
        })
    };
    Ok(Cluster::parse(text, &path.display().to_string(), &mut read_key)?)
}

/// Reads the settings file of one process: a section `[quotas]` for this host, which goes before
/// the cluster file's.
///
/// # Errors
/// As [`load_cluster`].
pub fn load_settings(cluster: Cluster, path: &Path) -> Result<Cluster, FileError> {
    let text = read_configuration(path)?;
    Ok(cluster.with_settings(&text, &path.display().to_string())?)
}

/// The text of a configuration file.
///
/// # Errors
/// If it cannot be read, or is larger than 16 MiB.
pub fn read_configuration(path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    let read = open(path)?.take(MAX_CLUSTER_FILE + 1).read_to_string(&mut text);
    read.map_err(FileError::io("read", path))?;
    if text.len() as u64 > MAX_CLUSTER_FILE {
        let what = "is larger than 16 MiB, so it is no configuration file";
        return Err(FileError::unusable(path, what));
    }
    Ok(text)
}
