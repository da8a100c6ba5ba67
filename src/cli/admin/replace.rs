//! `quorate admin replace-key`: which keys may be given, and what the cluster file has to say then.

use super::{Failure, USAGE, votes};
use crate::config::{Cluster, with_key_replaced};
use crate::crypto::PublicKey;
use crate::files::{load_cluster, read_public_key, write_atomically};
use crate::replica::Place;
use crate::types::ReplicaId;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The new key: written out, or in a file.
///
/// # Errors
/// If it is none, or somebody else's in this cluster.
pub(super) fn new_key(
    text: &str,
    cluster: &Cluster,
    replica: ReplicaId,
) -> anyhow::Result<PublicKey> {
    let shown = votes::escape(text.as_bytes());
    let key = match PublicKey::from_inline(text) {
        Some(key) => key.map_err(|e| {
            let message = format!("--new-key {shown}: {e}; make one with `quorate keygen`");
            Failure { code: USAGE, message }
        })?,
        None => read_public_key(Path::new(text))?,
    };
    let refuse = |whose: String| {
        let message = format!(
            "--new-key {shown} is the key of {whose}; give everyone a key of their own: \
             `quorate keygen --name replica-{}-new --out keys`",
            replica.number()
        );
        Err(Failure { code: USAGE, message }.into())
    };
    if let Some(client) = cluster.client_with_key(&key) {
        return refuse(format!("the client {}", votes::escape(client.name.as_bytes())));
    }
    for entry in &cluster.replicas {
        if entry.former_keys.iter().any(|former| former.key == key) {
            return refuse(format!("{}, formerly", entry.id));
        }
        if entry.id != replica && entry.public_key == key {
            return refuse(entry.id.to_string());
        }
    }
    Ok(key)
}

/// What a replica's entry says of its earlier keys, as the replicas know them.
pub(super) fn former_keys(place: &Place) -> String {
    let one = |former: &crate::replica::FormerKey| {
        format!("{{ key = \"{}\", until = {} }}", former.key, former.until)
    };
    let all: Vec<String> = place.former_keys.iter().map(one).collect();
    format!("[{}]", all.join(", "))
}

/// What to write into the cluster file.
pub(super) fn lines(place: &Place) -> String {
    let key = place.key.as_deref().unwrap_or_default();
    format!("  public_key = \"{key}\"\n  former_keys = {}\n", former_keys(place))
}

/// Writes that into the cluster file, and reads it again.
///
/// # Errors
/// If the file cannot be changed, or would not be one any more; it is unchanged then.
pub(super) fn write(file: &Path, replica: ReplicaId, place: &Place) -> anyhow::Result<()> {
    let failed = |why: String| {
        let message = format!("{}: {why}; change it by hand", file.display());
        anyhow::Error::from(Failure { code: super::NOT_DONE, message })
    };
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let key = place.key.as_deref().unwrap_or_default();
    let changed = with_key_replaced(&text, replica.number(), key, &former_keys(place));
    let changed = changed.ok_or_else(|| failed("it has no such entry".to_owned()))?;
    let before = load_cluster(file)?.id();
    let mode = std::fs::metadata(file).map_err(|e| failed(e.to_string()))?.permissions().mode();
    write_atomically(file, changed.as_bytes(), mode & 0o777)?;
    match load_cluster(file) {
        Ok(cluster) if cluster.id() == before => Ok(()),
        other => {
            write_atomically(file, text.as_bytes(), mode & 0o777)?;
            let why = other.err().map_or("another cluster came out".to_owned(), |e| e.to_string());
            Err(failed(why))
        }
    }
}
