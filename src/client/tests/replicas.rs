//! Replicas for tests: the real core over real links, in tasks of the test's own runtime.

use crate::config::{
    ChainSettings, ClientEntry, Cluster, FaultModel, Reads, ReplicaEntry, ServiceChoice, Testing,
};
use crate::crypto::{Ed25519, Scheme, SecretKey};
use crate::replica::{self, Action, Input, Replica};
use crate::service;
use crate::transport::{Admit, Endpoint, Lane, Link, LinkClass, LinkEvent, Settings};
use crate::types::{
    ClientId, ClockKind, Ensemble, GroupId, Instant, LinkId, Now, OrderLimits, Quotas, ReplicaId,
    Role, Timing, Wall,
};
use crate::wire::{Frame, Greeting, Hello, Message as _, Outcome, Replies};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Admitted to write, admitted to read, not admitted.
pub const WRITER: u8 = 101;
pub const READER: u8 = 102;
pub const STRANGER: u8 = 103;

pub fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// A cluster whose replicas run until they are stopped.
pub struct Replicas {
    pub cluster: Cluster,
    running: Vec<Option<(Arc<Endpoint>, JoinHandle<()>)>>,
}

/// What one replica of a test does otherwise.
#[derive(Clone, Copy, Default)]
pub struct Twist {
    /// It lies in its replies.
    pub lies: bool,
    /// It says in its hello that it belongs to another cluster.
    pub other_cluster: bool,
    /// It says in its hello that it is R7.
    pub other_number: bool,
}

impl Replicas {
    /// Starts 2t + 1 replicas; `twist` by index.
    pub fn start(t: u8, twist: impl Fn(usize) -> Twist) -> Self {
        let ensemble = Ensemble::new(t).unwrap();
        let admit: Admit = Arc::new(move |key, class| match class {
            LinkClass::Replica => (1..=ensemble.n() as u8).any(|n| secret(n).public() == *key),
            LinkClass::Client => [WRITER, READER].iter().any(|n| secret(*n).public() == *key),
        });
        let endpoint = |id: ReplicaId| {
            let listen = ([127, 0, 0, 1], 0).into();
            let key = secret(id.number());
            Arc::new(Endpoint::bind(listen, &key, Some(admit.clone()), settings()).unwrap())
        };
        let endpoints: Vec<_> = ensemble.replicas().map(endpoint).collect();
        let cluster = cluster(ensemble, &endpoints);
        let running = endpoints.into_iter().enumerate().map(|(i, endpoint)| {
            let id = ReplicaId::from_index(i);
            let task = tokio::spawn(run(id, cluster.clone(), endpoint.clone(), twist(i)));
            Some((endpoint, task))
        });
        Self { running: running.collect(), cluster }
    }

    /// Stops one without a word.
    pub async fn stop(&mut self, index: usize) {
        let (endpoint, task) = self.running[index].take().unwrap();
        task.abort();
        let _ = task.await;
        endpoint.close("stopped").await;
    }
}

pub fn settings() -> Settings {
    Settings { socket_buffer: 256 * 1024, ..Settings::default() }
}

fn cluster(ensemble: Ensemble, endpoints: &[Arc<Endpoint>]) -> Cluster {
    let replica = |(id, e): (ReplicaId, &Arc<Endpoint>)| ReplicaEntry {
        id,
        address: e.local_addr().to_string(),
        admin: e.local_addr(),
        public_key: secret(id.number()).public(),
        former_keys: Vec::new(),
    };
    let client = |(n, role)| ClientEntry {
        name: format!("client-{n}"),
        public_key: secret(n).public(),
        role,
    };
    Cluster {
        assurance: crate::types::Assurance::Majority,
        nonce: [7; 32],
        fault_model: FaultModel::Byzantine,
        ensemble,
        timing: Timing::from_delta(Duration::from_millis(100)),
        chains: ChainSettings {
            lease: Duration::from_secs(2),
            margin: Duration::from_millis(100),
            reads: Reads::Tail,
            length: 2,
        },
        chain: Vec::new(),
        clock: ClockKind::Hybrid,
        durability: crate::types::Durability::None,
        snapshots: Cluster::SNAPSHOTS,
        mtu: None,
        limits: OrderLimits::default(),
        quotas: Quotas::default(),
        replicas: ensemble.replicas().zip(endpoints).map(replica).collect(),
        clients: [(WRITER, Role::Write), (READER, Role::Read)].map(client).into(),
        service: ServiceChoice { name: "kv".into(), initial: None },
        testing: Testing::default(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Peer(ReplicaId),
    Client(LinkId),
}

enum New {
    Peer(ReplicaId, Link, Hello),
    Client(ClientId, Role, Link),
}

async fn run(id: ReplicaId, cluster: Cluster, endpoint: Arc<Endpoint>, twist: Twist) {
    let started = std::time::Instant::now();
    let now = || Now {
        monotonic: Instant(0) + started.elapsed(),
        wall: Wall(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64),
    };
    let mut replica = Replica::new(setup(id, &cluster), service::built_in("kv").unwrap(), now());
    let (news, mut new_links) = mpsc::channel(16);
    let mut hello = replica.hello();
    connect_peers(&cluster, id, &endpoint, &hello, &news);
    if twist.other_cluster {
        hello.cluster.0[0] ^= 1;
    }
    if twist.other_number {
        hello.replica = ReplicaId::new(7).unwrap();
    }
    tokio::spawn(accept(endpoint, cluster, hello, news));
    let (events, mut happened) = mpsc::channel(64);
    let mut links: BTreeMap<Key, Link> = BTreeMap::new();
    let mut next_link = 0;
    let mut out = Vec::new();
    loop {
        let wake = replica.next_wake().map_or(Duration::from_secs(1), |w| w.since(now().monotonic));
        tokio::select! {
            Some(new) = new_links.recv() => {
                let (key, mut link, input) = match new {
                    New::Peer(peer, link, hello) => {
                        (Key::Peer(peer), link, Input::PeerUp { peer, hello })
                    }
                    New::Client(client, role, link) => {
                        next_link += 1;
                        let id = LinkId(next_link);
                        (Key::Client(id), link, Input::ClientUp { link: id, client, role })
                    }
                };
                link.start(events.clone(), key);
                links.insert(key, link);
                replica.handle(now(), input, &mut out);
            }
            Some((key, event)) = happened.recv() => {
                let input = match (key, event) {
                    (Key::Peer(peer), LinkEvent::Frames { frames, .. }) => {
                        for frame in frames {
                            replica.handle(now(), Input::PeerFrame { peer, frame }, &mut out);
                        }
                        Input::Tick
                    }
                    (Key::Peer(peer), LinkEvent::Closed { .. }) => Input::PeerDown { peer },
                    (Key::Client(link), LinkEvent::Frames { frames, .. }) => {
                        Input::ClientFrames { link, frames }
                    }
                    (Key::Client(link), LinkEvent::Closed { .. }) => Input::ClientDown { link },
                };
                replica.handle(now(), input, &mut out);
            }
            () = tokio::time::sleep(wake) => replica.handle(now(), Input::Tick, &mut out),
        }
        replica.handle(now(), Input::Drained, &mut out);
        let synced = out.iter().rev().find_map(|action| match action {
            Action::Persist { sequence, .. } => Some(*sequence),
            _ => None,
        });
        out.drain(..).for_each(|action| act(action, &links, &twist));
        if let Some(sequence) = synced {
            replica.handle(now(), Input::Synced { sequence }, &mut out);
        }
    }
}

fn act(action: Action, links: &BTreeMap<Key, Link>, twist: &Twist) {
    let (key, lane, frame) = match action {
        Action::ToPeer { peer, lane: replica::Lane::Protocol, frame } => {
            (Key::Peer(peer), Lane::Protocol, frame)
        }
        Action::ToPeer { peer, frame, .. } => (Key::Peer(peer), Lane::Bulk, frame),
        Action::ToClient { link, frame } => {
            (Key::Client(link), Lane::Protocol, if twist.lies { lie(frame) } else { frame })
        }
        Action::ClosePeer { .. } | Action::CloseClient { .. } => panic!("{action:?}"),
        Action::Event(_)
        | Action::Persist { .. }
        | Action::Append { .. }
        | Action::Encode { .. }
        | Action::Save { .. }
        | Action::StartAgain
        | Action::Evidence { .. }
        | Action::KeepHalted { .. }
        | Action::MarkKnown
        | Action::Pin { .. } => return,
    };
    if let Some(link) = links.get(&key) {
        link.send(lane, &frame);
        link.flush();
    }
}

fn setup(id: ReplicaId, cluster: &Cluster) -> replica::Setup<Ed25519> {
    replica::Setup {
        inherited: None,
        id,
        keyring: cluster.keyring(GroupId::MAIN).unwrap(),
        signer: Ed25519::signer(&secret(id.number())),
        genesis: cluster.genesis(GroupId::MAIN),
        timing: cluster.timing,
        clock: cluster.clock,
        limits: cluster.limits,
        seed: 5,
        quotas: cluster.quotas,
        incarnation: 1,
        disk: crate::types::DiskState::New,
        recovered: Vec::new(),
        durability: crate::types::Durability::None,
        stored: replica::Stored::default(),
        fields: cluster.fields(),
        encode_at_once: replica::ENCODE_AT_ONCE,
        trace: false,
    }
}

fn connect_peers(
    cluster: &Cluster,
    id: ReplicaId,
    endpoint: &Arc<Endpoint>,
    hello: &Hello,
    news: &mpsc::Sender<New>,
) {
    for peer in cluster.replicas.iter().filter(|r| r.id < id).cloned() {
        let (endpoint, news) = (endpoint.clone(), news.clone());
        let hello = hello.to_frame(GroupId::MAIN);
        tokio::spawn(async move {
            let to = peer.address.parse().unwrap();
            let dialled = endpoint.dial(to, &peer.public_key, LinkClass::Replica).await.unwrap();
            let (link, first) = dialled.wait().await.unwrap();
            link.send(Lane::Protocol, &hello);
            link.flush();
            let hello = Hello::from_body(&first.body).unwrap();
            let _ = news.send(New::Peer(peer.id, link, hello)).await;
        });
    }
}

async fn accept(endpoint: Arc<Endpoint>, cluster: Cluster, hello: Hello, news: mpsc::Sender<New>) {
    // Twists are for clients only.
    let right = Hello { cluster: cluster.id(), ..hello.clone() };
    while let Some(accepted) = endpoint.accept().await {
        let key = accepted.peer();
        let mine = match accepted.class() {
            LinkClass::Replica => &right,
            LinkClass::Client => &hello,
        };
        let Ok(mut link) = accepted.open(&mine.to_frame(GroupId::MAIN)).await else { continue };
        let Ok(first) = link.first().await else { continue };
        let new = match cluster.replica_with_key(&key) {
            Some(peer) => New::Peer(peer.id, link, Hello::from_body(&first.body).unwrap()),
            None => {
                Greeting::from_body(&first.body).unwrap();
                let client = cluster.client_with_key(&key).unwrap();
                New::Client(client.id(), client.role, link)
            }
        };
        let _ = news.send(new).await;
    }
}

fn lie(frame: Bytes) -> Bytes {
    let parsed = Frame::parse(frame.clone()).unwrap();
    let Ok(mut replies) = Replies::from_body(&parsed.body) else { return frame };
    for reply in &mut replies.replies {
        reply.outcome = Outcome::Executed(vec![Bytes::from_static(b"a lie")]).to_bytes();
    }
    replies.to_frame(GroupId::MAIN).into()
}
