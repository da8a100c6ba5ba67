//! A cluster as configured, every value checked.

use super::keymap::{KeyMap, Share};
use crate::crypto::{Context, Domain, Hasher, KeyChange, KeyError, Keyring, PublicKey, Scheme};
use crate::types::{
    Assurance, ClientId, ClockKind, Digest, Durability, Ensemble, GroupId, OrderLimits,
};
use crate::types::{Quotas, ReplicaId, Role, Timing};
use std::net::SocketAddr;
use std::time::Duration;

/// What a cluster must survive. One line of the file picks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultModel {
    /// Up to `t` of `2t + 1` replicas may crash, stall or lie.
    Byzantine,
    /// Up to `t` replicas may stop, and nobody lies: a chain of `t + 1`, with others as spares;
    /// the first `2t + 1` replicas are its master (docs/chain.md).
    FailStop,
}

impl FaultModel {
    /// The word for it in cluster files.
    pub fn name(self) -> &'static str {
        match self {
            FaultModel::Byzantine => "byzantine",
            FaultModel::FailStop => "fail-stop",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            FaultModel::Byzantine => FaultModel::FailStop,
            FaultModel::FailStop => FaultModel::Byzantine,
        }
    }
}

/// Which replicas of a chain answer queries (CH-Q1 and CH-Q2 of docs/chain.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// The tail alone.
    Tail,
    /// Every member.
    Any,
}

/// What a cluster in the fail-stop model does besides (docs/chain.md). The voting mode has no use
/// for it, so that one line of the file changes the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSettings {
    /// How long the master's leave to serve lasts (CH-L1). Default: 20 Δ.
    pub lease: Duration,
    /// How much earlier a replica stops, and how much later the master takes it out: for clocks
    /// that run unlike and wall clocks that are apart. Default: Δ.
    pub margin: Duration,
    /// Who answers queries.
    pub reads: Reads,
    /// How many members the master sees to. Default: `t + 1`; the other replicas are spares.
    pub length: u8,
}

/// One of the chains that a cluster in the fail-stop model runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// Its number at the master, below [`MAX_CHAINS`](super::MAX_CHAINS). Its group has one more.
    pub number: u32,
    /// Which keys it has.
    pub share: Share,
    /// How many members the master sees to.
    pub length: u8,
    /// The replicas that are members in the beginning, from head to tail; the others are spares.
    pub members: Vec<ReplicaId>,
}

/// A replica of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Its number.
    pub id: ReplicaId,
    /// Where it speaks QUIC, `host:port`.
    pub address: String,
    /// Where it serves status, health and metrics.
    pub admin: SocketAddr,
    /// Its key.
    pub public_key: PublicKey,
    /// The keys that it had before, the earliest first.
    pub former_keys: Vec<FormerKey>,
}

/// A key that a replica had before it was replaced (docs/protocol.md §5, M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerKey {
    /// The key.
    pub key: PublicKey,
    /// The last generation in which it counts, below the two highest numbers. In the next one the
    /// replica has no key, from the one after it on the key that follows.
    pub until: u32,
}

impl ReplicaEntry {
    /// The key that it had at first: what the cluster id is made of.
    pub fn first_key(&self) -> &PublicKey {
        self.former_keys.first().map_or(&self.public_key, |former| &former.key)
    }

    /// When it got which other key, the earliest first.
    pub fn key_changes(&self) -> Vec<KeyChange> {
        let later = self.former_keys.iter().skip(1).map(|former| former.key);
        let later = later.chain([self.public_key]);
        let changes = self.former_keys.iter().zip(later).map(|(former, key)| {
            let out = former.until.saturating_add(1);
            KeyChange { out, replica: self.id, key }
        });
        changes.collect()
    }
}

/// A client that replicas admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// For people; not part of any protocol message.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// What it may do.
    pub role: Role,
}

impl ClientEntry {
    /// The client's name in the protocol: its key.
    pub fn id(&self) -> ClientId {
        ClientId(self.public_key.0)
    }
}

/// Which service the group runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceChoice {
    /// The service's name: `kv`, or that of a service which the daemon's builder was given.
    pub name: String,
    /// The digest of the state that the service begins with; `None`: with an empty one. Each
    /// replica is given that state before its first start (docs/protocol.md §7).
    pub initial: Option<Digest>,
}

/// What only test clusters allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Testing {
    /// Replicas may be started as liars.
    pub allow_liars: bool,
}

/// The checked cluster file. The same on all hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Random number made by `quorate init`: tells clusters with equal rosters apart.
    pub nonce: [u8; 32],
    /// What must be survived.
    pub fault_model: FaultModel,
    /// n and t.
    pub ensemble: Ensemble,
    /// Δ and the timers.
    pub timing: Timing,
    /// What a chain does besides, in the fail-stop model.
    pub chains: ChainSettings,
    /// The chains that the file lists, by their numbers; none: there is one, with all keys.
    pub chain: Vec<ChainEntry>,
    /// Where candidate ids come from.
    pub clock: ClockKind,
    /// What replicas have on disk before they say something.
    pub durability: Durability,
    /// What clients want of an answer before they believe it, if they do not say otherwise (C4).
    /// Clients may differ in it.
    pub assurance: Assurance,
    /// How many snapshots of the state stay on the disk; the log goes back to the oldest. Replicas
    /// may differ in it.
    pub snapshots: u32,
    /// Bytes in a datagram, where all paths are known to carry so many; `None`: what they carry is
    /// probed ([`crate::transport::Settings::mtu`]). Replicas and clients may differ in it.
    pub mtu: Option<u16>,
    /// Limits that all replicas share.
    pub limits: OrderLimits,
    /// Limits of each process.
    pub quotas: Quotas,
    /// The roster, in order of the ids: `1..=n`, and behind them the replicas of the chains if the
    /// master is a group of its own.
    pub replicas: Vec<ReplicaEntry>,
    /// The clients.
    pub clients: Vec<ClientEntry>,
    /// The service.
    pub service: ServiceChoice,
    /// What only test clusters allow.
    pub testing: Testing,
}

impl Cluster {
    /// Snapshots that stay on the disk if nothing else is said: the second is for when the newest
    /// is damaged.
    pub const SNAPSHOTS: u32 = 2;

    /// The cluster id: the hash of what never changes (nonce, fault model, t, the replicas' first
    /// keys, service, the state that it begins with, and the chains if the file lists them).
    pub fn id(&self) -> Digest {
        let mut h = Hasher::new(Domain::Cluster);
        h.put(&self.nonce).put(&[self.fault_model as u8, self.ensemble.t() as u8]);
        self.replicas.iter().for_each(|r| {
            h.put(&[r.id.number()]).put(&r.first_key().0);
        });
        h.put_var(self.service.name.as_bytes());
        if let Some(initial) = &self.service.initial {
            h.put(&initial.0);
        }
        if let Some(chains) = self.listed_chains() {
            h.put_var(b"chains").put_var(chains.as_bytes());
        }
        h.finish()
    }

    // The list of chains as text, where it counts; other files keep the ids that they had before
    // there could be one.
    fn listed_chains(&self) -> Option<String> {
        let counts = self.fault_model == FaultModel::FailStop && !self.chain.is_empty();
        let line = |c: &ChainEntry| {
            let members: Vec<u8> = c.members.iter().map(|m| m.number()).collect();
            format!("{} {} {} {members:?}\n", c.number, c.share, c.length)
        };
        counts.then(|| self.chain.iter().map(line).collect())
    }

    /// What statements of a group of this cluster are bound to.
    pub fn context(&self, group: GroupId) -> Context {
        Context { cluster: self.id(), group }
    }

    /// The roster's keys of all generations, ready for checking.
    ///
    /// # Errors
    /// The first replica whose key is not usable; never for keys that the parser accepted.
    pub fn keyring<S: Scheme>(&self, group: GroupId) -> Result<Keyring<S>, (ReplicaId, KeyError)> {
        let keys = self.voters().iter().map(|r| *r.first_key()).collect();
        let mut keyring = Keyring::new(self.context(group), self.ensemble, keys)?;
        for change in self.key_changes() {
            keyring.replace(change).map_err(|e| (change.replica, e))?;
        }
        Ok(keyring)
    }

    /// When replicas got other keys, the earliest first (M3).
    pub fn key_changes(&self) -> Vec<KeyChange> {
        let mut changes: Vec<KeyChange> =
            self.replicas.iter().flat_map(ReplicaEntry::key_changes).collect();
        changes.sort_unstable();
        changes
    }

    /// The configuration digest, field by field: what two replicas must agree on and `hello`
    /// compares. First comes what makes up the cluster id, so that the first difference says in
    /// what two clusters differ. Clients, addresses and the quotas of a process are not in it.
    pub fn fields(&self) -> Vec<(String, Digest)> {
        self.identity_values()
            .into_iter()
            .chain(self.process_values())
            .chain(self.chain_values())
            .chain(self.order_values())
            .map(|(name, value)| {
                let mut h = Hasher::new(Domain::Config);
                h.put_var(name.as_bytes()).put_var(value.as_bytes());
                (name.to_owned(), h.finish())
            })
            .collect()
    }

    /// One digest over all fields, for people to compare.
    pub fn digest(&self) -> Digest {
        let mut h = Hasher::new(Domain::Config);
        self.fields().iter().for_each(|(name, digest)| {
            h.put_var(name.as_bytes()).put(&digest.0);
        });
        h.finish()
    }

    // What never changes: the parts of the cluster id.
    fn identity_values(&self) -> Vec<(&'static str, String)> {
        let replica = |r: &ReplicaEntry| format!("{} {}\n", r.id, r.first_key().to_inline());
        let mut values = vec![
            ("fault_model", format!("{:?}", self.fault_model)),
            ("t", self.ensemble.t().to_string()),
            ("roster", self.replicas.iter().map(replica).collect()),
            ("service", self.service.name.clone()),
            ("initial_state", self.service.initial.map_or(String::new(), |d| d.to_hex())),
            ("nonce", format!("{:?}", self.nonce)),
        ];
        values.extend(self.listed_chains().map(|chains| ("chains", chains)));
        values
    }

    // What each process does alike, and can do otherwise after a stop of all.
    fn process_values(&self) -> Vec<(&'static str, String)> {
        let t = &self.timing;
        let micros = |d: std::time::Duration| format!("{}us", d.as_micros());
        let mut values = vec![
            ("delta", micros(t.delta)),
            ("patience", micros(t.patience)),
            ("join_delay", micros(t.join_delay)),
            ("gather", micros(t.gather)),
            ("heartbeat", micros(t.heartbeat)),
            ("durability", self.durability.name().to_owned()),
        ];
        // Files without it have the digest that they had.
        if let Some(lag) = t.lag {
            values.push(("lag_delta", micros(lag.delta)));
            values.push(("lag_budget", micros(lag.budget)));
        }
        values
    }

    // What the members of a chain, and its master, do alike.
    fn chain_values(&self) -> Vec<(&'static str, String)> {
        let ChainSettings { lease, margin, reads, length } = self.chains;
        match self.fault_model {
            FaultModel::Byzantine => Vec::new(),
            FaultModel::FailStop => vec![
                ("lease", format!("{}us", lease.as_micros())),
                ("margin", format!("{}us", margin.as_micros())),
                ("reads", format!("{reads:?}")),
                ("length", length.to_string()),
            ],
        }
    }

    // What the order follows from: it stands in the opening of the first epoch.
    fn order_values(&self) -> Vec<(&'static str, String)> {
        let (l, m) = (&self.limits, &self.limits.membership);
        vec![
            ("clock", format!("{:?}", self.clock)),
            ("max_request", l.max_request.to_string()),
            ("max_output", l.max_output.to_string()),
            ("max_commands", l.max_commands.to_string()),
            ("max_candidates", l.max_candidates.to_string()),
            ("sole_quota", l.sole_quota.to_string()),
            ("forget_after", l.forget_after.to_string()),
            ("forget_time", l.forget_time.to_string()),
            ("max_sessions", l.max_sessions.to_string()),
            ("window", l.window.to_string()),
            ("checkpoint_every", l.checkpoint_every.to_string()),
            ("max_unexecuted", l.max_unexecuted.to_string()),
            ("join_wait", m.join_wait.to_string()),
            ("join_wait_cap", m.join_wait_cap.to_string()),
            ("good_service", m.good_service.to_string()),
            ("join_lag", m.join_lag.to_string()),
        ]
    }

    /// The replicas that vote: all of them, or the master of the chains if that is a group of its
    /// own.
    pub fn voters(&self) -> &[ReplicaEntry] {
        &self.replicas[..self.ensemble.n()]
    }

    /// The replicas that chains are made of, in the fail-stop model: all, or those that do not vote
    /// if the master is a group of its own (`[master]`, docs/chain.md).
    pub fn hosts(&self) -> &[ReplicaEntry] {
        match self.master_is_apart() {
            true => &self.replicas[self.ensemble.n()..],
            false => &self.replicas,
        }
    }

    /// Whether the master of the chains is run by replicas that are in no chain.
    pub fn master_is_apart(&self) -> bool {
        self.replicas.len() > self.ensemble.n()
    }

    /// Whether this replica may be in chains.
    pub fn is_host(&self, id: ReplicaId) -> bool {
        self.fault_model == FaultModel::FailStop && self.hosts().iter().any(|r| r.id == id)
    }

    /// Whether two replicas have anything to say to each other.
    pub fn are_linked(&self, one: ReplicaId, other: ReplicaId) -> bool {
        self.ensemble.contains(one) == self.ensemble.contains(other)
    }

    /// The replica with this id, if the roster has it.
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaEntry> {
        self.replicas.get(id.index())
    }

    /// The replica with this key, if the roster has it.
    pub fn replica_with_key(&self, key: &PublicKey) -> Option<&ReplicaEntry> {
        self.replicas.iter().find(|r| r.public_key == *key)
    }

    /// The client with this key, if it is admitted.
    pub fn client_with_key(&self, key: &PublicKey) -> Option<&ClientEntry> {
        self.clients.iter().find(|c| c.public_key == *key)
    }

    /// The chains of the fail-stop model, by their numbers: those that the file lists, or the one
    /// that has all keys.
    pub fn each_chain(&self) -> Vec<ChainEntry> {
        if !self.chain.is_empty() {
            return self.chain.clone();
        }
        let length = self.chains.length;
        let hosts: Vec<ReplicaId> = self.hosts().iter().map(|r| r.id).collect();
        let members = super::shares::members_from(&hosts, 0, length);
        vec![ChainEntry { number: 0, share: Share::All, length, members }]
    }

    /// Which chain has which key.
    pub fn key_map(&self) -> KeyMap {
        KeyMap::new(&self.each_chain())
    }

    /// The hash of the opening of epoch (0,0,0): cluster id, group, member list and limits (§2).
    /// Timers and durability are not in it: they may change when all replicas are stopped.
    pub fn genesis(&self, group: GroupId) -> Digest {
        let mut h = Hasher::new(Domain::Genesis);
        h.put(&self.id().0).put(&group.0.to_le_bytes());
        h.put(&self.ensemble.all().bits().to_le_bytes());
        self.order_values().iter().for_each(|(name, value)| {
            h.put_var(name.as_bytes()).put_var(value.as_bytes());
        });
        h.finish()
    }
}
