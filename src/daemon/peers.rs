//! Dialling other replicas, and judging who introduces themselves (docs/protocol.md §11).

use super::node::{client_of, gives_leases};
use super::pins::Pins;
use super::places::Place;
use crate::config::{Cluster, ReplicaEntry};
use crate::crypto::PublicKey;
use crate::transport::{Endpoint, Link, LinkClass, resolve};
use crate::types::{ClientId, ReplicaId, Role};
use crate::wire::{Frame, Greeting, Hello, Kind, Message, PROTOCOL_VERSION};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// Of a name that a peer gave so many characters are shown.
const MAX_SHOWN: usize = 32;

/// A link whose first frame has come and has not been judged yet.
pub(super) struct Introduced {
    pub(super) link: Link,
    pub(super) first: Frame,
    /// Its count against the quota of the one who dialled.
    pub(super) place: Option<Place>,
    /// Whom we dialled, if we did.
    pub(super) dialled: Option<ReplicaId>,
}

impl Introduced {
    /// Whether we dialled: then our own hello has not been sent.
    pub(super) fn dialled(&self) -> bool {
        self.dialled.is_some()
    }
}

/// A link that is up.
pub(super) struct Open {
    pub(super) serial: u64,
    pub(super) link: Link,
    /// Whether it was closed for what came on it: what still comes is not looked at.
    pub(super) closing: bool,
    /// Since when.
    pub(super) since: Instant,
    /// Its count against the quota, if the other side dialled.
    _place: Option<Place>,
}

impl Open {
    pub(super) fn new(serial: u64, link: Link, place: Option<Place>) -> Self {
        Self { serial, link, closing: false, since: Instant::now(), _place: place }
    }

    /// Closes it; false if it was closed before.
    pub(super) fn fault(&mut self, reason: &impl ToString) -> bool {
        self.link.fault(&reason.to_string());
        !std::mem::replace(&mut self.closing, true)
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Replica(ReplicaId, Box<Hello>),
    Client(ClientId, Role),
}

/// Keeps dialling one replica; whenever a link to it is gone, again. `gone` is told each time a
/// link ends or is refused. Ends once nobody takes introductions any more.
pub(super) async fn keep_dialling(
    endpoint: Arc<Endpoint>,
    (entry, pins): (ReplicaEntry, Pins),
    introduced: mpsc::Sender<Introduced>,
    gone: mpsc::Receiver<()>,
) {
    tokio::select! {
        () = introduced.closed() => {}
        () = dial_for_ever(&endpoint, (&entry, &pins), &introduced, gone) => {}
    }
}

async fn dial_for_ever(
    endpoint: &Arc<Endpoint>,
    (entry, pins): (&ReplicaEntry, &Pins),
    introduced: &mpsc::Sender<Introduced>,
    mut gone: mpsc::Receiver<()>,
) {
    let peer = entry.id;
    let mut pause = FIRST_RETRY;
    loop {
        match dial(endpoint, entry, pins).await {
            Ok((link, first)) => {
                let up = Instant::now();
                // What was told of an earlier link does not concern this one.
                while gone.try_recv().is_ok() {}
                let new = Introduced { link, first, place: None, dialled: Some(peer) };
                if introduced.send(new).await.is_err() {
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

async fn dial(
    endpoint: &Arc<Endpoint>,
    to: &ReplicaEntry,
    pins: &Pins,
) -> Result<(Link, Frame), String> {
    let key = pins.get(to.id).ok_or("its key is being replaced")?;
    let address = &to.address;
    let found = resolve(address).await.map_err(|e| {
        format!("cannot find the address {address}: {e}; correct it in the cluster file")
    })?;
    // A host may have addresses at which nobody listens, mostly of the other family.
    let mut attempts = JoinSet::new();
    for address in found {
        let endpoint = endpoint.clone();
        attempts.spawn(async move {
            let dialled = endpoint.dial(address, &key, LinkClass::Replica).await?;
            dialled.wait().await
        });
    }
    let mut failed = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(why)) => failed.push(why.to_string()),
            Err(why) => failed.push(why.to_string()),
        }
    }
    Err(failed.join("; "))
}

/// Judges the first frame of a link. An error is the reason that the other side is told.
pub(super) fn judge(
    (cluster, pins, me): (&Cluster, &Pins, ReplicaId),
    introduced: &Introduced,
) -> Result<Party, String> {
    let (link, first) = (&introduced.link, &introduced.first);
    match link.class() {
        LinkClass::Replica => judge_replica((cluster, pins), &link.peer(), first),
        LinkClass::Client => judge_client((cluster, pins, me), &link.peer(), first),
    }
}

fn judge_replica(
    (cluster, pins): (&Cluster, &Pins),
    key: &PublicKey,
    first: &Frame,
) -> Result<Party, String> {
    let owner = pins.owner(key).ok_or("the key is not in the roster now")?;
    let hello = parse::<Hello>(first, Kind::Hello)?;
    if hello.replica != owner {
        return Err(format!("the key is {owner}'s, but its hello says {}", hello.replica));
    }
    check_version(hello.version)?;
    // The fields come first: they say what of the cluster differs.
    check_fields(cluster, &hello)?;
    if hello.cluster != cluster.id() {
        return Err("another cluster: its cluster id differs".to_owned());
    }
    Ok(Party::Replica(owner, Box::new(hello)))
}

fn judge_client(
    (cluster, pins, me): (&Cluster, &Pins, ReplicaId),
    key: &PublicKey,
    first: &Frame,
) -> Result<Party, String> {
    let role = cluster.client_with_key(key).map(|entry| entry.role);
    // What a replica may ask of the master is judged with each request.
    let may_ask = gives_leases(cluster, me) && pins.owner(key).is_some();
    let role =
        role.or(may_ask.then_some(Role::Write)).ok_or("the key is no client of this cluster")?;
    let greeting = parse::<Greeting>(first, Kind::Greeting)?;
    check_version(greeting.version)?;
    if greeting.cluster != cluster.id() {
        return Err(
            "another cluster: its cluster id differs; use the file of the replicas".to_owned()
        );
    }
    Ok(Party::Client(client_of(key), role))
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
    Err(format!(
        "it speaks protocol version {version}, this replica {PROTOCOL_VERSION}; run the same \
         release everywhere"
    ))
}

/// Names the first field of the configuration in which the two differ.
fn check_fields(cluster: &Cluster, hello: &Hello) -> Result<(), String> {
    let ours = cluster.fields();
    for (name, digest) in &ours {
        match hello.fields.iter().find(|(n, _)| n == name) {
            Some((_, theirs)) if theirs == digest => {}
            Some(_) => {
                let remedy = "use one cluster file on all hosts";
                return Err(format!("the configurations differ in `{name}`; {remedy}"));
            }
            None => {
                let remedy = "use one cluster file and one release on all hosts";
                return Err(format!("its configuration lacks `{name}`; {remedy}"));
            }
        }
    }
    let known = |name: &String| ours.iter().any(|(n, _)| n == name);
    match hello.fields.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => {
            let name: String = name.chars().take(MAX_SHOWN).collect();
            Err(format!(
                "its configuration has {name:?}, which ours lacks; use one cluster file and one \
                 release on all hosts"
            ))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};
    use crate::types::Digest;

    fn cluster() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        write_cluster(&InitOptions::new(dir.path().join("c"))).unwrap().cluster
    }

    fn verdict(ours: &Cluster, change: impl Fn(&mut Hello)) -> Result<Party, String> {
        let entry = &ours.replicas[1];
        let mut hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: ours.id(),
            replica: entry.id,
            incarnation: 1,
            restarted: false,
            fields: ours.fields(),
            groups: Vec::new(),
        };
        change(&mut hello);
        let frame = hello.to_frame(crate::types::GroupId::MAIN);
        let mut decoder = crate::wire::FrameDecoder::default();
        decoder.push(frame.into());
        let first = decoder.next_frame().unwrap().unwrap();
        judge_replica((ours, &Pins::new(ours)), &entry.public_key, &first)
    }

    #[test]
    fn the_first_field_that_differs_is_named_also_of_another_cluster() {
        let ours = cluster();
        assert!(verdict(&ours, |_| {}).is_ok());
        let told = |theirs: &Cluster| {
            verdict(&ours, |h| (h.cluster, h.fields) = (theirs.id(), theirs.fields())).unwrap_err()
        };
        type Change = fn(&mut Cluster);
        let with = |change: Change| {
            let mut theirs = ours.clone();
            change(&mut theirs);
            told(&theirs)
        };
        let rows: [(Change, &str); 4] = [
            (|c| c.nonce[0] ^= 1, "`nonce`"),
            (|c| c.service.name = "counter".into(), "`service`"),
            (|c| c.timing.delta *= 2, "`delta`"),
            (|c| c.limits.window += 1, "`window`"),
        ];
        for (change, field) in rows {
            let why = with(change);
            assert!(why.contains(field) && why.contains("one cluster file"), "{why}");
        }
        assert!(told(&cluster()).contains("`roster`"));
        let lacks = verdict(&ours, |h| drop(h.fields.remove(0))).unwrap_err();
        assert!(lacks.contains("lacks `fault_model`"), "{lacks}");
        let more = |h: &mut Hello| h.fields.push(("later".to_owned(), Digest::ZERO));
        assert!(verdict(&ours, more).unwrap_err().contains("has \"later\", which ours lacks"));
        // Nothing differs, and yet it is another cluster: only a liar says so.
        assert!(verdict(&ours, |h| h.cluster = Digest::ZERO).unwrap_err().contains("another"));
    }

    /// The other side reads no more than fits into a closing frame.
    #[test]
    fn reasons_are_short() {
        let ours = cluster();
        let longest = ours.fields().iter().map(|(name, _)| name.len()).max().unwrap();
        let reasons = [
            verdict(&ours, |h| h.version = u16::MAX).unwrap_err(),
            verdict(&ours, |h| h.fields.clear()).unwrap_err(),
            verdict(&ours, |h| h.fields.push(("\n".repeat(99), Digest::ZERO))).unwrap_err(),
            verdict(&ours, |h| h.fields[0].1 = Digest::ZERO).unwrap_err(),
        ];
        for reason in reasons {
            let bytes = "refused: ".len() + reason.len() + longest;
            assert!(bytes <= crate::transport::MAX_REASON, "{reason}");
        }
    }
}
