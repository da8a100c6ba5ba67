//! Who takes part in a run.

use super::Options;
use super::ReplicaNode;
use super::mischief::{Faulty, Withhold};
use super::{Arrival, ClientNode, Dice, Effect, Inner, LyingClient, Node, Note, OperatorNode};
use crate::adversary::{Liar, Sleeper, Twins};
use crate::caller;
use crate::crypto::{Context, Keyed, Keyring, PublicKey, Scheme, SecretKey, sha256};
use crate::replica::{Replica, Setup, Stored};
use crate::types::{Ensemble, Instant, Now, ReplicaId, SessionId};
use crate::wire::Hello;
use bytes::Bytes;

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
        restarted: blank.incarnation > 1,
        recovered,
        durability: options.durability,
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
        return Inner::Double(Box::new(Twins::new(setups, [service(), service()], *sides, now)));
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

pub(super) fn caller(
    options: &Options,
    number: u32,
    context: Context,
    session: SessionId,
) -> caller::Setup {
    caller::Setup {
        ensemble: Ensemble::new(options.t).expect("the options name a t of 1 to 15"),
        context,
        client: super::client_id(number),
        session,
        limits: options.limits,
        repeat_after: 4 * options.timing.delta,
        repeat_cap: 32 * options.timing.delta,
        timeout: options.impatience.filter(|_| number == 0).unwrap_or(options.call_timeout),
        pipeline: options.workload.pipeline,
    }
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
