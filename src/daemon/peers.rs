//! Dialling other replicas, and judging who introduces themselves (PROTOCOL.md §11).

use crate::config::Cluster;
use crate::crypto::PublicKey;
use crate::transport::{Endpoint, Link, LinkClass};
use crate::types::{ClientId, ReplicaId, Role};
use crate::wire::{Frame, Greeting, Hello, Kind, Message, PROTOCOL_VERSION};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{debug, info};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// A link whose first frame has come and has not been judged yet.
pub(super) struct Introduced {
    pub(super) link: Link,
    pub(super) first: Frame,
    /// Whether we dialled: then our own hello has not been sent.
    pub(super) dialled: bool,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Replica(ReplicaId, Box<Hello>),
    Client(ClientId, Role),
}

/// Keeps dialling one replica; whenever a link to it is gone, again. `gone` is told each time a
/// link ends or is refused.
pub(super) async fn keep_dialling(
    endpoint: Arc<Endpoint>,
    address: String,
    key: PublicKey,
    peer: ReplicaId,
    introduced: mpsc::Sender<Introduced>,
    mut gone: mpsc::Receiver<()>,
) {
    let mut pause = FIRST_RETRY;
    loop {
        match dial(&endpoint, &address, &key).await {
            Ok((link, first)) => {
                let up = tokio::time::Instant::now();
                if introduced.send(Introduced { link, first, dialled: true }).await.is_err() {
                    return;
                }
                if gone.recv().await.is_none() {
                    return;
                }
                if up.elapsed() > LAST_RETRY {
                    pause = FIRST_RETRY;
                }
            }
            Err(why) if pause >= LAST_RETRY => debug!(%peer, why, "still not reached"),
            Err(why) => info!(%peer, why, "not reached, trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

async fn dial(endpoint: &Endpoint, to: &str, key: &PublicKey) -> Result<(Link, Frame), String> {
    let mut addresses = tokio::net::lookup_host(to).await.map_err(|e| format!("{to}: {e}"))?;
    let address = addresses.next().ok_or_else(|| format!("{to} has no address"))?;
    let dialled = endpoint.dial(address, key, LinkClass::Replica).await;
    let dialled = dialled.map_err(|e| e.to_string())?;
    dialled.wait().await.map_err(|e| e.to_string())
}

/// Judges the first frame of a link. An error is the reason that the other side is told.
pub(super) fn judge(cluster: &Cluster, introduced: &Introduced) -> Result<Party, String> {
    let (link, first) = (&introduced.link, &introduced.first);
    match link.class() {
        LinkClass::Replica => judge_replica(cluster, &link.peer(), first),
        LinkClass::Client => judge_client(cluster, &link.peer(), first),
    }
}

fn judge_replica(cluster: &Cluster, key: &PublicKey, first: &Frame) -> Result<Party, String> {
    let entry = cluster.replica_with_key(key).ok_or("the key is not in the roster")?;
    let hello = parse::<Hello>(first, Kind::Hello)?;
    if hello.replica != entry.id {
        return Err(format!("the key is {}'s, but its hello says {}", entry.id, hello.replica));
    }
    check_version(hello.version)?;
    if hello.cluster != cluster.id() {
        return Err("another cluster: its cluster id differs (nonce, fault model, t, roster or \
                    service)"
            .to_owned());
    }
    check_fields(cluster, &hello)?;
    Ok(Party::Replica(entry.id, Box::new(hello)))
}

fn judge_client(cluster: &Cluster, key: &PublicKey, first: &Frame) -> Result<Party, String> {
    let entry = cluster.client_with_key(key).ok_or("the key is no client of this cluster")?;
    let greeting = parse::<Greeting>(first, Kind::Greeting)?;
    check_version(greeting.version)?;
    if greeting.cluster != cluster.id() {
        return Err("another cluster: its cluster id differs".to_owned());
    }
    Ok(Party::Client(entry.id(), entry.role))
}

fn parse<M: Message>(first: &Frame, kind: Kind) -> Result<M, String> {
    if first.kind != kind {
        return Err(format!("its first frame is {:?}, not {kind:?}", first.kind));
    }
    M::from_body(&first.body).map_err(|e| format!("its first frame is malformed: {e}"))
}

fn check_version(version: u16) -> Result<(), String> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(format!("it speaks protocol version {version}, this replica {PROTOCOL_VERSION}"))
}

/// Names the first field of the configuration in which the two differ.
fn check_fields(cluster: &Cluster, hello: &Hello) -> Result<(), String> {
    let ours = cluster.fields();
    for (name, digest) in &ours {
        match hello.fields.iter().find(|(n, _)| n == name) {
            Some((_, theirs)) if theirs == digest => {}
            Some(_) => return Err(format!("the configurations differ in `{name}`")),
            None => return Err(format!("its configuration lacks `{name}`")),
        }
    }
    let known = |name: &String| ours.iter().any(|(n, _)| n == name);
    match hello.fields.iter().find(|(name, _)| !known(name)) {
        Some(_) => Err("its configuration has a field that this version does not know".to_owned()),
        None => Ok(()),
    }
}
