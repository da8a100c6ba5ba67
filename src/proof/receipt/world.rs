//! A history with what honest replicas sign of it. Used by the tests only.

use crate::crypto::{Context, Domain, KeyChange, Keyed, Keyring, Leaf, MerkleTree, PublicKey};
use crate::crypto::{Scheme, SecretKey, Unverified, Verified, hash, running_root};
use crate::types::{
    ClientId, Digest, Ensemble, Epoch, GroupId, Members, ReplicaId, Round, SessionId,
};
use crate::wire::{Attestation, CandidateSummary, Command, CommandKind, Header, LaterStep};
use crate::wire::{Outcome, Receipt, ReceiptProof, Refusal, Request, RequestBody, StepPosition};
use bytes::Bytes;

/// Numbers that look like chance.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// One of `0..n`.
    pub(super) fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }

    /// Once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }

    /// One of these.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }
}

pub(super) fn replica(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

pub(super) fn digest(of: &str) -> Digest {
    hash(Domain::Entry, of.as_bytes())
}

/// The key of a place; `version` 0 is its first.
pub(super) fn signer(place: ReplicaId, version: u8) -> <Keyed as Scheme>::Signer {
    let mut seed = [place.number(); 32];
    seed[31] = version;
    Keyed::signer(&SecretKey::from_seed(seed))
}

pub(super) fn public(place: ReplicaId, version: u8) -> PublicKey {
    Keyed::public(&signer(place, version))
}

/// A group of `2t + 1` replicas of a cluster of that name.
pub(super) fn keyring_of(t: u8, cluster: &str, group: u32) -> Keyring<Keyed> {
    let ensemble = Ensemble::new(t).unwrap();
    let keys = ensemble.replicas().map(|place| public(place, 0)).collect();
    let context = Context { cluster: digest(cluster), group: GroupId(group) };
    Keyring::new(context, ensemble, keys).unwrap()
}

pub(super) fn keyring(t: u8) -> Keyring<Keyed> {
    keyring_of(t, "cluster", 0)
}

/// The same, after a place got its next key.
pub(super) fn replaced(mut before: Keyring<Keyed>, out: u32, place: usize) -> Keyring<Keyed> {
    let place = replica(place);
    let version = before.changes().iter().filter(|c| c.replica == place).count() as u8 + 1;
    let change = KeyChange { out, replica: place, key: public(place, version) };
    assert_eq!(before.replace(change), Ok(true));
    before
}

/// A request in a step. Void ones, repeats and the like have no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) client: ClientId,
    pub(super) request: Request,
    pub(super) outcome: Option<Bytes>,
}

/// A step with all that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) position: StepPosition,
    pub(super) before: Digest,
    pub(super) ran: Vec<Ran>,
    pub(super) tree: MerkleTree,
    pub(super) running: Digest,
}

/// What was executed.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) context: Context,
    pub(super) steps: Vec<Step>,
}

pub(super) fn client(number: u8) -> ClientId {
    ClientId([number; 32])
}

pub(super) fn request(session: u64, number: u64, words: &str) -> Request {
    let bytes = Bytes::copy_from_slice(words.as_bytes());
    let command = Command { kind: CommandKind::Execute, bytes };
    let body = RequestBody { commands: vec![command] }.to_bytes();
    Request { session: SessionId(session), number, low: 0, body }
}

pub(super) fn executed(words: &str) -> Bytes {
    Outcome::Executed(vec![Bytes::copy_from_slice(words.as_bytes())]).to_bytes()
}

impl Past {
    pub(super) fn new(context: Context) -> Self {
        Self { context, steps: Vec::new() }
    }

    /// Executes one more step. `fork` tells apart vectors of one round.
    pub(super) fn add(&mut self, fork: &str, ran: Vec<Ran>) {
        let before = self.steps.last().map_or(Digest::ZERO, |s| s.running);
        let round = self.steps.last().map_or(Round(1), |s| s.position.round.next());
        let vector = digest(&format!("{fork} {round} {}", self.context.cluster));
        self.add_at(StepPosition { round, vector }, before, ran);
    }

    pub(super) fn add_at(&mut self, position: StepPosition, before: Digest, ran: Vec<Ran>) {
        let leaf = |(index, r): (u32, &Ran)| {
            let output = r.outcome.as_ref().map_or(Digest::ZERO, |o| hash(Domain::Output, o));
            Leaf { request: r.request.digest(&self.context, &r.client), index, output }
        };
        let leaves: Vec<Leaf> = (0..).zip(&ran).map(leaf).collect();
        let tree = MerkleTree::new(&leaves);
        let running = running_root(&before, &position.vector, &tree.root());
        self.steps.push(Step { position, before, ran, tree, running });
    }

    /// Steps with chance requests: executed, refused, void, and empty ones.
    pub(super) fn grow(&mut self, fork: &str, steps: usize, dice: &mut Dice) {
        for _ in 0..steps {
            let height = self.steps.len() as u64;
            let ran = (0..dice.roll(6)).map(|i| {
                let request = request(1 + i as u64 % 2, 10 * height + i as u64, "ask");
                let outcome = match dice.roll(5) {
                    0 => None,
                    1 => Some(Outcome::Refused(Refusal::BeyondWindow).to_bytes()),
                    _ => Some(executed(&format!("{fork} {height} {i}"))),
                };
                Ran { client: client(1 + i as u8 % 3), request, outcome }
            });
            self.add(fork, ran.collect());
        }
    }

    /// All that has an outcome: place of the step, index.
    pub(super) fn given(&self) -> Vec<(usize, usize)> {
        let places = self.steps.iter().enumerate().flat_map(|(at, step)| {
            let has = step.ran.iter().enumerate().filter(|(_, r)| r.outcome.is_some());
            has.map(move |(index, _)| (at, index))
        });
        places.collect()
    }

    /// What a replica says that has executed this up to a step.
    pub(super) fn attest(&self, at: usize) -> Attestation {
        let Step { position, running, .. } = self.steps[at];
        Attestation { position, running, delta_held: true, ..Attestation::default() }
    }

    /// The way from a reply to the step `last`, without signatures.
    pub(super) fn proof(&self, (at, index): (usize, usize), last: usize) -> ReceiptProof {
        let Step { position, before, ref tree, .. } = self.steps[at];
        let path = tree.path(index as u32).expect("the step has this request");
        let later = |s: &Step| LaterStep { position: s.position, root: s.tree.root() };
        let later = self.steps[at + 1..=last].iter().map(later).collect();
        ReceiptProof { position, index: index as u32, before, path, later, signed: vec![] }
    }

    /// The whole receipt, attested at the step `last` by these.
    pub(super) fn receipt(
        &self,
        place: (usize, usize),
        last: usize,
        by: &[usize],
        keyring: &Keyring<Keyed>,
    ) -> Receipt {
        let Ran { client, request, outcome } = self.steps[place.0].ran[place.1].clone();
        let mut proof = self.proof(place, last);
        let sign = |place: &usize| signed(replica(*place), self.attest(last), keyring);
        proof.signed = by.iter().map(sign).collect();
        Receipt { client, request, outcome: outcome.unwrap_or_default(), proof }
    }
}

/// The header of a proposal that attests this, in the first epoch.
pub(super) fn header(replica: ReplicaId, attestation: Attestation, members: Members) -> Header {
    Header {
        epoch: Epoch::GENESIS,
        members,
        round: Round(attestation.position.round.0 + 2),
        replica,
        choice: vec![digest("a proposal")],
        candidates: CandidateSummary::default(),
        changes: Digest::ZERO,
        now: 1000,
        attestation,
    }
}

/// That, signed with the first key of its replica.
pub(super) fn signed(
    replica: ReplicaId,
    attestation: Attestation,
    keyring: &Keyring<Keyed>,
) -> Unverified<Header> {
    sign(header(replica, attestation, keyring.ensemble().all()), keyring, 0)
}

/// A header signed by whom it names, with that version of its key.
pub(super) fn sign(header: Header, keyring: &Keyring<Keyed>, version: u8) -> Unverified<Header> {
    let by = signer(header.replica, version);
    Verified::sign(header, keyring, &by).into()
}

/// A history of eight steps with all kinds of requests, in the group of [`keyring`].
pub(super) fn past(keyring: &Keyring<Keyed>) -> Past {
    let mut past = Past::new(keyring.context());
    let ran = |number: u64, words: Option<&str>| Ran {
        client: client(1),
        request: request(7, number, "put"),
        outcome: words.map(executed),
    };
    past.add("main", vec![ran(1, Some("one"))]);
    past.add("main", vec![]);
    past.add("main", (2..9).map(|i| ran(i, (i != 4).then_some("some"))).collect());
    past.add("main", vec![ran(9, Some("nine")), ran(10, Some("ten"))]);
    past.add("main", vec![]);
    past.add("main", vec![ran(11, None), ran(12, Some("twelve"))]);
    past.add("main", vec![ran(13, Some("thirteen"))]);
    past.add("main", vec![]);
    past
}
