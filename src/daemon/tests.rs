//! Daemons in this process, on loopback. Deadlines are generous and only there to turn a hang into
//! a failure.

mod divergence;

use super::{Daemon, DaemonError};
use crate::config::Cluster;
use crate::crypto::SecretKey;
use crate::files::init::{InitOptions, NewCluster, write_cluster};
use crate::files::{free_base_port, read_secret_key};
use crate::service::{RestoreError, Service};
use crate::transport::{CloseCause, Endpoint, Link, LinkClass, LinkError, LinkEvent, Settings};
use crate::types::{AgreedTime, ClientId, Digest, ReplicaId};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("happens before the deadline")
}

/// A cluster on disk.
struct Files {
    directory: TempDir,
    made: NewCluster,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = InitOptions {
            base_port: free_base_port(3).unwrap(),
            ..InitOptions::new(directory.path().join("cluster"))
        };
        Self { made: write_cluster(&options).unwrap(), directory }
    }

    fn cluster(&self) -> Cluster {
        self.made.cluster.clone()
    }

    fn key(&self, replica: u8) -> SecretKey {
        read_secret_key(&self.made.replica_keys[usize::from(replica) - 1]).unwrap()
    }

    fn builder(&self, cluster: Cluster, replica: u8) -> super::Builder {
        let data = self.directory.path().join(format!("data-{replica}"));
        let id = ReplicaId::new(replica).unwrap();
        Daemon::builder(cluster, id, self.key(replica)).data_dir(data)
    }
}

/// A link to the first replica up to its hello, by the first client's key unless another is given.
async fn half_link(
    files: &Files,
    key: Option<SecretKey>,
    class: LinkClass,
) -> Result<(Endpoint, Link), LinkError> {
    let key = key.unwrap_or_else(|| read_secret_key(&files.made.client_keys[0]).unwrap());
    let any = "127.0.0.1:0".parse().unwrap();
    let endpoint = Endpoint::bind(any, &key, None, Settings::default()).unwrap();
    let entry = &files.made.cluster.replicas[0];
    let to = entry.address.parse().unwrap();
    let dialled = endpoint.dial(to, &entry.public_key, class).await?;
    let (link, _) = dialled.wait().await?;
    Ok((endpoint, link))
}

/// B30: who never introduces itself is counted too.
#[tokio::test]
async fn a_key_has_so_many_links_also_before_it_has_said_who_it_is() {
    let files = Files::new();
    let mut cluster = files.cluster();
    cluster.quotas.links_per_client = 3;
    let daemon = files.builder(cluster, 1).start().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(soon(half_link(&files, None, LinkClass::Client)).await.unwrap());
    }
    match soon(half_link(&files, None, LinkClass::Client)).await {
        Err(LinkError::Closed { reason, .. }) => {
            assert!(reason.contains("links_per_client is 3"), "{reason}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("one too many"),
    }
    // Others have places of their own, and a replica's key has two.
    let other = read_secret_key(&files.made.client_keys[1]).unwrap();
    held.push(soon(half_link(&files, Some(other), LinkClass::Client)).await.unwrap());
    for _ in 0..2 {
        let link = half_link(&files, Some(files.key(2)), LinkClass::Replica);
        held.push(soon(link).await.unwrap());
    }
    let third = soon(half_link(&files, Some(files.key(2)), LinkClass::Replica)).await;
    assert!(matches!(third, Err(LinkError::Closed { .. })));
    // A place that is given up can be had again, soon.
    held.remove(0).1.close("not needed");
    soon(async {
        while half_link(&files, None, LinkClass::Client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    daemon.stop().await.unwrap();
}

/// Who has the lower id is dialled, and does not dial.
#[tokio::test]
async fn a_lower_replica_that_dials_is_turned_away() {
    let mut files = Files::new();
    let third = files.cluster().replicas[2].clone();
    let daemon = files.builder(files.cluster(), 3).start().await.unwrap();
    // The helper dials the first of the list.
    files.made.cluster.replicas[0] = third;
    match soon(half_link(&files, Some(files.key(2)), LinkClass::Replica)).await {
        Err(LinkError::Closed { reason, .. }) => {
            assert_eq!(reason, "R3 dials R2, not the other way round", "the reason")
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not turned away"),
    }
    daemon.stop().await.unwrap();
}

/// What one frame is closed for, a thousand more do not close it again.
#[tokio::test]
async fn a_link_that_was_closed_for_what_it_sent_is_not_read_any_more() {
    use crate::transport::Lane;
    use crate::types::GroupId;
    use crate::wire::{Greeting, Message as _, PROTOCOL_VERSION, Ping};
    let files = Files::new();
    let daemon = files.builder(files.cluster(), 1).start().await.unwrap();
    let (_endpoint, mut link) = soon(half_link(&files, None, LinkClass::Client)).await.unwrap();
    let cluster = files.cluster().id();
    let greeting = Greeting { version: PROTOCOL_VERSION, cluster }.to_frame(GroupId::MAIN);
    link.send(Lane::Protocol, &greeting);
    // Too short for what it says to be.
    let mut bad = Ping { sent: 1, wall: 1 }.to_frame(GroupId::MAIN);
    bad[4] = crate::wire::Kind::Request as u8;
    for _ in 0..1000 {
        link.send(Lane::Protocol, &bad);
    }
    link.flush();
    let (sender, mut events) = mpsc::channel(16);
    link.start(sender, ());
    let closed = soon(async {
        loop {
            if let ((), LinkEvent::Closed { cause, reason }) = events.recv().await.unwrap() {
                return (cause, reason);
            }
        }
    })
    .await;
    assert_eq!(closed.0, CloseCause::Peer);
    assert!(closed.1.contains("malformed"), "{}", closed.1);
    soon(async {
        while daemon.status().await.unwrap().client_links > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn one_process_may_stop_a_replica_and_start_it_again_on_the_same_ports() {
    let files = Files::new();
    // The last one, which dials all others.
    for start in 1..=3 {
        let daemon = files.builder(files.cluster(), 3).start().await;
        let daemon = daemon.unwrap_or_else(|e| panic!("start {start}: {e}"));
        assert_eq!(daemon.status().await.unwrap().incarnation, start);
        let address = daemon.local_addr();
        soon(daemon.stop()).await.unwrap();
        assert!(std::net::UdpSocket::bind(address).is_ok());
    }
}

/// A service with a defect that shows when it is told to.
struct Defect(Arc<AtomicBool>);

impl Service for Defect {
    fn name(&self) -> &'static str {
        assert!(!self.0.load(Ordering::Relaxed), "a defect");
        "defect"
    }

    fn execute(&mut self, _: AgreedTime, _: &ClientId, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn query(&self, _: AgreedTime, _: &ClientId, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        Digest::ZERO
    }
}

#[tokio::test]
async fn a_loop_that_panics_is_noticed() {
    let files = Files::new();
    let mut cluster = files.cluster();
    cluster.service.name = "defect".to_owned();
    let shows = Arc::new(AtomicBool::new(false));
    let builder = files.builder(cluster, 1).service(Box::new(Defect(shows.clone())));
    let mut daemon = builder.start().await.unwrap();
    // It goes on as long as nothing is wrong, and waiting may be given up.
    assert!(timeout(Duration::from_millis(20), daemon.wait()).await.is_err());
    shows.store(true, Ordering::Relaxed);
    assert!(matches!(daemon.status().await, Err(DaemonError::Ended(_))));
    let ended = soon(daemon.wait()).await.to_string();
    assert!(ended.contains("it panicked: a defect"), "{ended}");
    // Saying so twice, and stopping what has ended, is no panic.
    assert!(matches!(daemon.wait().await, DaemonError::Ended(_)));
    assert!(soon(daemon.stop()).await.is_err());
}
