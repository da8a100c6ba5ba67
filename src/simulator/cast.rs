//! Who takes part in a run.

use super::OperatorNode;
use super::Options;
use super::Receipts;
use super::ReplicaNode;
use super::mischief::{Faulty, Withhold};
use super::seeker::Seeker;
use super::{Arrival, ClientNode, Dice, Effect, Inner, LyingClient, Node, NodeId, Note, Noted};
use crate::adversary::{Liar, Sleeper, Twins};
use crate::caller::{self, ReceiptKeys};
use crate::crypto::{Keyed, Keyring, PublicKey, Scheme, SecretKey, sha256};
use crate::replica::{Event, Replica, Setup, Stored};
use crate::types::{DiskState, Instant, Now, ReplicaId, SessionId};
use crate::wire::{Hello, Stamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The stream of the seed of the first client; each has the next.
pub(super) const CLIENTS: u64 = 100;

/// A node of any kind.
pub(super) enum Member<S: Scheme> {
    Replica(ReplicaNode<S>),
    Client(Box<ClientNode>),
    LyingClient(Box<LyingClient>),
    Operator(Box<OperatorNode<S>>),
}

impl<S: Scheme> Node for Member<S> {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match self {
            Member::Replica(n) => n.handle(now, arrival, out),
            Member::Client(n) => n.handle(now, arrival, out),
            Member::LyingClient(n) => n.handle(now, arrival, out),
            Member::Operator(n) => n.handle(now, arrival, out),
        }
    }

    fn stamp(&mut self, to: ReplicaId, now: Instant) -> Option<Stamp> {
        match self {
            Member::Replica(n) => n.stamp(to, now),
            _ => None,
        }
    }

    fn away(&mut self, now: Now, since: Instant, out: &mut Vec<Effect<Note>>) {
        if let Member::Replica(n) = self {
            n.away(now, since, out);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match self {
            Member::Replica(n) => n.next_wake(),
            Member::Client(n) => n.next_wake(),
            Member::LyingClient(n) => n.next_wake(),
            Member::Operator(n) => n.next_wake(),
        }
    }

    fn hello(&self) -> Option<Hello> {
        match self {
            Member::Replica(n) => n.hello(),
            Member::Client(n) => n.hello(),
            Member::LyingClient(n) => n.hello(),
            Member::Operator(n) => n.hello(),
        }
    }
}

/// What stays of a replica over its crashes, besides its disk.
pub(super) struct Blank<S: Scheme> {
    pub(super) secret: SecretKey,
    pub(super) keyring: Keyring<S>,
    pub(super) incarnation: u64,
    /// What its mark says of its disk.
    pub(super) disk: DiskState,
}

impl<S: Scheme> Blank<S> {
    /// Of one that has never started.
    pub(super) fn new(secret: SecretKey, keyring: Keyring<S>) -> Self {
        Self { secret, keyring, incarnation: 0, disk: DiskState::New }
    }
}

pub(super) fn replica<S: Scheme>(
    options: &Options,
    seed: u64,
    id: ReplicaId,
    blank: &Blank<S>,
    (recovered, stored): (Vec<Bytes>, Stored),
    now: Now,
) -> Inner<S> {
    let setup = |seed: u64, recovered: Vec<Bytes>, stored: Stored| Setup {
        id,
        keyring: blank.keyring.clone(),
        signer: S::signer(&blank.secret),
        genesis: sha256(b"simulated genesis"),
        timing: options.timing,
        clock: options.clock,
        limits: options.limits,
        quotas: options.quotas,
        seed,
        incarnation: blank.incarnation,
        disk: blank.disk,
        recovered,
        durability: options.durability,
        inherited: None,
        stored,
        fields: Vec::new(),
        encode_at_once: options.encode_at_once,
        trace: true,
    };
    let wrong = options.wrong_services.iter().find(|(place, _)| *place == id.index());
    let wrong = wrong.map(|(_, kind)| *kind);
    let service = || Box::new(Faulty::new(wrong, options.panics));
    if let Some((_, sides)) = options.doubled.iter().find(|(place, _)| *place == id.index()) {
        let setups = [seed, seed ^ 1].map(|seed| setup(seed, Vec::new(), Stored::default()));
        let times = (now.monotonic + options.lies_from, now);
        return Inner::Double(Box::new(Twins::new(setups, [service(), service()], *sides, times)));
    }
    let (setup, service) = (setup(seed, recovered, stored), service());
    match options.liars.iter().find(|(place, _)| *place == id.index()) {
        None => Inner::Honest(Box::new(Replica::new(setup, service, now))),
        Some((_, lie)) => {
            let (signer, attack) = (S::signer(&blank.secret), lie.attack(seed));
            let attack = match options.bodies {
                Some(given) => Box::new(Withhold(attack, given)),
                None => attack,
            };
            let attack = Box::new(Sleeper::new(attack, now.monotonic + options.lies_from));
            Inner::Lying(Box::new(Liar::new(setup, signer, service, attack, now)))
        }
    }
}

/// A correct client, with the keys that it judges receipts by.
pub(super) fn client<S: Scheme>(
    options: &Options,
    number: u32,
    (keyring, session): (&Keyring<S>, SessionId),
    (dice, now): (Dice, Instant),
) -> Member<S> {
    let setup = caller::Setup {
        mode: caller::Mode::Vote,
        ordered: options.queries == 0,
        assurance: options.assurance,
        ensemble: keyring.ensemble(),
        roster: keyring.ensemble().n(),
        context: keyring.context(),
        client: super::client_id(options.key_of(number)),
        session,
        limits: options.limits,
        repeat_after: 4 * options.timing.delta,
        repeat_cap: 32 * options.timing.delta,
        timeout: options
            .impatience
            .filter(|_| options.key_of(number) == 0)
            .unwrap_or(options.call_timeout),
        receipts: Some(ReceiptKeys::new(keyring.clone())),
        pipeline: options.workload.pipeline,
        gather: Duration::from_micros(500),
    };
    let load = (options.workload.clone(), options.queries);
    let node = ClientNode::new(setup, load, dice, now);
    Member::Client(Box::new(match options.receipts {
        Receipts::None => node,
        Receipts::OfCalls => node.wanting_receipts(),
        Receipts::OfReplies => node.seeking(Seeker::new(keyring.clone())),
    }))
}

// The session of a correct client is the first number that its dice give.
pub(super) fn session(seed: u64, client: u32) -> SessionId {
    SessionId(Dice::new(seed, CLIENTS + u64::from(client)).any())
}

/// The key that a replica of a simulation, with keyed hashes, gets if its key is replaced: what a
/// command of [`Options::commands`] has to name.
pub fn new_key(id: ReplicaId) -> PublicKey {
    Keyed::public(&Keyed::signer(&new_secret(id)))
}

pub(super) fn new_secret(id: ReplicaId) -> SecretKey {
    SecretKey::from_seed([200 + id.number(); 32])
}

pub(super) fn secret(seed: u64, id: ReplicaId) -> SecretKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = id.number();
    SecretKey::from_seed(bytes)
}

/// What a replica's mark says after this. One that refuses its empty disk is given: its operator
/// does what it says, and starts it as one whose disk was replaced.
pub(super) fn note_disk<S: Scheme>(
    noted: &Noted<Note>,
    blank: &mut BTreeMap<ReplicaId, Blank<S>>,
) -> Option<ReplicaId> {
    let NodeId::Replica(id) = noted.node else { return None };
    let blank = blank.get_mut(&id)?;
    match &noted.note {
        Note::MarkedKnown => blank.disk = DiskState::Known,
        Note::Event(Event::DiskLost) => {
            blank.disk = DiskState::Replaced;
            return Some(id);
        }
        _ => {}
    }
    None
}

pub(super) fn operator() -> SecretKey {
    SecretKey::from_seed([255; 32])
}

/// The operator is a client behind all others.
pub(super) fn operator_number(options: &Options) -> u32 {
    options.clients + u32::try_from(options.lying_clients.len()).expect("few clients")
}
