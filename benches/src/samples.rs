//! Keys, requests and messages as a busy group of three has them.

use bytes::Bytes;
use quorate::crypto::{Context, Keyring, PublicKey, Scheme, SecretKey, Unverified, Verified};
use quorate::service::kv;
use quorate::types::{
    ClientId, Digest, Ensemble, Epoch, GroupId, Instant, Members, Now, ReplicaId, Round, SessionId,
    Wall,
};
use quorate::wire::{
    Attestation, Candidate, Command, CommandKind, Outcome, Proposal, Replies, Reply, Request,
    RequestBody, StepPosition,
};

/// Replicas in the group, of which one may be bad.
pub const N: usize = 3;
/// The client of all requests.
pub const CLIENT: ClientId = ClientId([7; 32]);
/// Its session.
pub const SESSION: SessionId = SessionId(1);
/// Bytes of a value.
pub const VALUE: usize = 128;
/// How many keys the puts are spread over.
pub const KEYS: u64 = 10_000;

/// A number that looks random, the same for the same `n` (splitmix64).
pub fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A digest that looks like a hash, another for each `n`.
pub fn digest(n: u64) -> Digest {
    let mut bytes = [0; 32];
    for (i, word) in (0u64..).zip(bytes.chunks_exact_mut(8)) {
        word.copy_from_slice(&mixed(4 * n + i).to_le_bytes());
    }
    Digest(bytes)
}

/// The private key of the replica at this place, from 0.
pub fn secret(place: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(place).expect("few replicas") + 1; 32])
}

/// The keys of a group of `2t + 1`.
pub fn keyring<S: Scheme>(t: u8) -> Keyring<S> {
    let ensemble = Ensemble::new(t).expect("a size that the crate knows");
    let keys = (0..ensemble.n()).map(|i| S::public(&S::signer(&secret(i))));
    let keys: Vec<PublicKey> = keys.collect();
    Keyring::new(context(), ensemble, keys).expect("keys of private keys are usable")
}

/// What statements are bound to.
pub fn context() -> Context {
    Context { cluster: Digest([9; 32]), group: GroupId::MAIN }
}

/// So many microseconds after the start.
pub fn at(micros: u64) -> Now {
    Now { monotonic: Instant(micros * 1000), wall: Wall(1_000_000 + micros) }
}

/// The command `put` of the `n`-th key, as `quorate bench` sends it by default.
pub fn put(n: u64) -> Command {
    let mut key = [0; 9];
    key[0] = b'k';
    key[1..].copy_from_slice(&(mixed(n) % KEYS).to_be_bytes());
    let mut value = [0; VALUE];
    value[..8].copy_from_slice(&mixed(n + KEYS).to_le_bytes());
    let bytes = kv::Command::put(&key, &value).encode().into();
    Command { kind: CommandKind::Execute, bytes }
}

/// The body of a request with so many puts, of which the first is the `n`-th.
pub fn body(n: u64, commands: u64) -> Bytes {
    RequestBody { commands: (n..n + commands).map(put).collect() }.to_bytes()
}

/// A request of one put. Number 0 opens the session.
pub fn request(number: u64, low: u64) -> Request {
    let body = if number == 0 { Bytes::new() } else { body(number, 1) };
    Request { session: SESSION, number, low, body }
}

/// A proposal of the first replica with so many candidates.
pub fn proposal(candidates: u64) -> Proposal {
    let candidate = |i| Candidate { clock: 1_000_000 + 3 * i, request: digest(i) };
    Proposal {
        epoch: Epoch::GENESIS,
        members: (0..N).map(ReplicaId::from_index).collect::<Members>(),
        round: Round(1000),
        replica: ReplicaId::from_index(0),
        choice: (0..N as u64).map(|i| digest(i + 1_000_000)).collect(),
        candidates: (0..candidates).map(candidate).collect(),
        changes: Vec::new(),
        now: 1_000_000 + 3 * candidates,
        attestation: Attestation {
            position: StepPosition { round: Round(998), vector: digest(1) },
            running: digest(2),
            checkpoint: Round(768),
            state: digest(3),
            rolled: false,
            delta_held: true,
        },
    }
}

/// The same, signed.
pub fn signed<S: Scheme>(candidates: u64, keyring: &Keyring<S>) -> Unverified<Proposal> {
    Verified::sign(proposal(candidates), keyring, &S::signer(&secret(0))).into()
}

/// The replies to so many puts.
pub fn replies(count: u32) -> Replies {
    let outcome = Outcome::Executed(vec![Bytes::from_static(&[0])]).to_bytes();
    let reply = |index: u32| Reply {
        session: SESSION,
        number: u64::from(index) + 1,
        index,
        outcome: outcome.clone(),
    };
    Replies {
        position: StepPosition { round: Round(1000), vector: digest(1) },
        rolled: false,
        replies: (0..count).map(reply).collect(),
    }
}
