//! Executing a log again, by the code that a start of a replica runs.

use super::watched::{Ran, Tape, Watch, watched};
use crate::crypto::{Domain, Scheme, hash};
use crate::replica::{Replay, Setup, StepTrace, TraceEntry};
use crate::service::{Carried, Service};
use crate::types::{AgreedTime, Digest, Epoch, Members, Now, ReplicaId, RequestId, Round};
use crate::wire::{CommandKind, LogEntry, RequestBody, StepPosition};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rounds of which attestations are remembered: more than any can be late.
const REMEMBERED: usize = 256;

/// A command that was executed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCommand {
    /// Whether it could change the state.
    pub kind: CommandKind,
    /// The service's own encoding.
    pub command: Bytes,
    /// What the service answered.
    pub output: Bytes,
    /// The service's digest behind it, where that is watched.
    pub state: Option<Digest>,
}

/// A request that was executed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the step.
    pub index: u32,
    /// Its digest.
    pub digest: Digest,
    /// Its name.
    pub request: RequestId,
    /// Its outcome's bytes; empty for one that gets nothing.
    pub outcome: Bytes,
    /// What ran of it, in order.
    pub commands: Vec<SeenCommand>,
}

/// A step that was executed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenStep {
    /// The committed vector.
    pub position: StepPosition,
    /// Its agreed time.
    pub time: AgreedTime,
    /// The running root after it.
    pub running: Digest,
    /// What ran, in order.
    pub requests: Vec<Seen>,
    /// If it was a checkpoint: the digest of the whole state, and where it is watched a hash of
    /// the service's snapshot.
    pub checkpoint: Option<(Digest, Option<Digest>)>,
}

/// How what was executed again compares with what replicas have signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attested {
    /// The last round whose running root here is the one that `t + 1` replicas attest.
    pub roots: Option<Round>,
    /// How many rounds that is so of.
    pub rounds: u64,
    /// The last checkpoint whose state here is the one that `t + 1` replicas attest.
    pub checkpoint: Option<Round>,
    /// The first round of which `t + 1` replicas attest something else: what they attest, and what
    /// it is here.
    pub refuted: Option<(Round, Digest, Digest)>,
    /// The first round of which each attests something else.
    pub dissenters: BTreeMap<ReplicaId, Round>,
}

/// Executes a snapshot and the log behind it again.
pub struct Player<S: Scheme> {
    replay: Replay<S>,
    tape: Tape,
    watch: Watch,
    entries: VecDeque<Bytes>,
    /// The place of the next entry.
    place: u64,
    ready: VecDeque<SeenStep>,
    majority: usize,
    /// Who attests which running root of which round, and the same of states.
    roots: BTreeMap<Round, BTreeMap<Digest, Members>>,
    states: BTreeMap<Round, BTreeMap<Digest, Members>>,
    checkpoints: BTreeMap<Round, Digest>,
    /// Rounds of which somebody has attested something since they were judged.
    open: BTreeSet<Round>,
    attested: Attested,
    began: Round,
    steps: u64,
    commands: u64,
    failed: Option<String>,
}

impl<S: Scheme> Player<S> {
    /// Takes up the snapshot in `setup.stored`; its entries are executed as it is iterated.
    /// The key that signs is never used, and what is said of a restart does not matter.
    ///
    /// # Errors
    /// Why the snapshot cannot be used.
    pub fn new(setup: Setup<S>, service: Box<dyn Service>, watch: Watch) -> Result<Self, String> {
        let (first, majority) = (setup.stored.first, setup.keyring.ensemble().majority());
        let entries = setup.stored.log.clone();
        let (service, tape) = watched(service, watch.digests);
        let replay = Replay::new(setup, service, Now::default())?;
        let began = replay.position().round;
        Ok(Self {
            replay,
            tape,
            watch,
            entries: entries.into(),
            place: first,
            ready: VecDeque::new(),
            majority,
            roots: BTreeMap::new(),
            states: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            open: BTreeSet::new(),
            attested: Attested::default(),
            began,
            steps: 0,
            commands: 0,
            failed: None,
        })
    }

    fn take(&mut self, entry: &Bytes) {
        let (steps, taken) = self.replay.next(entry);
        let (place, mut ran) = (self.place, VecDeque::from(self.tape.take()));
        self.place += 1;
        if let Err(why) = taken {
            self.failed = Some(format!("entry {place} of the log cannot be used: {why}"));
        }
        if let Some(why) = self.replay.halted() {
            self.failed.get_or_insert(format!("at entry {place} of the log: {why}"));
        }
        for step in steps {
            let seen = self.see(step, &mut ran);
            self.steps += 1;
            let commands = seen.requests.iter().map(|r| r.commands.len() as u64);
            self.commands += commands.sum::<u64>();
            self.ready.push_back(seen);
        }
        // What is attested stands in vectors; what cannot be read was told above.
        if let Ok(LogEntry::Vector(vector)) = LogEntry::parse(entry)
            && self.failed.is_none()
        {
            for proposal in &vector {
                let (p, a) = (proposal.peek(), &proposal.peek().attestation);
                note(&mut self.roots, a.position.round, a.running, p.replica);
                note(&mut self.states, a.checkpoint, a.state, p.replica);
                self.open.extend([a.position.round, a.checkpoint]);
            }
            self.compare();
        }
    }

    fn see(&mut self, step: StepTrace, ran: &mut VecDeque<Ran>) -> SeenStep {
        let StepTrace { position, time, entries, running, checkpoint } = step;
        let requests = entries.into_iter().map(|entry| see_request(entry, ran)).collect();
        let checkpoint = checkpoint.map(|state| {
            self.checkpoints.insert(position.round, state);
            let hash_of = |bytes: Vec<u8>| hash(Domain::Snapshot, &bytes);
            (state, self.watch.snapshots.then(|| hash_of(self.tape.snapshot())))
        });
        SeenStep { position, time, running, requests, checkpoint }
    }

    fn compare(&mut self) {
        let (majority, attested) = (self.majority, &mut self.attested);
        let mut judge = |round: Round, ours: Digest, said: &BTreeMap<Digest, Members>| {
            for (digest, who) in said.iter().filter(|(digest, _)| **digest != ours) {
                for replica in who.iter() {
                    attested.dissenters.entry(replica).or_insert(round);
                }
                if who.len() >= majority {
                    attested.refuted.get_or_insert((round, *digest, ours));
                }
            }
            said.get(&ours).is_some_and(|who| who.len() >= majority)
        };
        // Execution can be behind what is attested: such rounds stay open.
        let (mut confirmed, mut checkpoint, mut open) = (Vec::new(), None, BTreeSet::new());
        for round in std::mem::take(&mut self.open) {
            match (self.roots.get(&round), self.replay.running_at(round)) {
                (Some(said), Some(ours)) if judge(round, ours, said) => confirmed.push(round),
                (Some(_), None) => drop(open.insert(round)),
                _ => {}
            }
            if let (Some(said), Some(ours)) =
                (self.states.get(&round), self.checkpoints.get(&round))
                && judge(round, *ours, said)
            {
                checkpoint = Some(round);
            }
        }
        self.open = open;
        let attested = &mut self.attested;
        attested.checkpoint = attested.checkpoint.max(checkpoint);
        for round in confirmed {
            if attested.roots.is_none_or(|last| last < round) {
                (attested.roots, attested.rounds) = (Some(round), attested.rounds + 1);
            }
        }
        while self.open.len() > REMEMBERED {
            self.open.pop_first();
        }
        forget(&mut self.roots);
        forget(&mut self.states);
        forget(&mut self.checkpoints);
    }

    /// From now on a snapshot is taken at each checkpoint.
    pub fn keep_snapshots(&mut self) {
        self.replay.keep_snapshots();
    }

    /// The newest state that `t + 1` replicas attest: what attests it and its bytes, as they lie
    /// on a disk. Nothing unless [`Player::keep_snapshots`] was called before the first step; then
    /// it may be the one that was begun with.
    pub fn attested_snapshot(&self) -> Option<(Bytes, Bytes)> {
        self.replay.attested_snapshot()
    }

    /// Why it does not go on: an entry that cannot be used, or a service that has panicked.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// How it compares with what was signed, as far as it has come.
    pub fn attested(&self) -> &Attested {
        &self.attested
    }

    /// The round of the snapshot that it began with; 0 without one.
    pub fn began(&self) -> Round {
        self.began
    }

    /// Steps and commands that were executed again.
    pub fn executed_again(&self) -> (u64, u64) {
        (self.steps, self.commands)
    }

    /// The last step that was executed.
    pub fn position(&self) -> StepPosition {
        self.replay.position()
    }

    /// The running root after it.
    pub fn running(&self) -> Digest {
        self.replay.running()
    }

    /// The last checkpoint and the digest of the whole state there.
    pub fn checkpoint(&self) -> (Round, Digest) {
        self.replay.checkpoint()
    }

    /// Requests executed since the beginning of the cluster.
    pub fn executed(&self) -> u64 {
        self.replay.executed()
    }

    /// The service's digest now.
    pub fn service_digest(&self) -> Digest {
        self.tape.digest()
    }

    /// Whether nothing was under way at the end: no request that had not run.
    pub fn is_settled(&self) -> bool {
        self.replay.is_settled()
    }

    /// What another cluster goes on from: what is executed so far. `None` if there is no state.
    pub fn carried(&self) -> Option<Carried> {
        self.replay.carried()
    }

    /// The last complete vector, and its epoch.
    pub fn complete(&self) -> (Epoch, Round) {
        (self.replay.epoch(), self.replay.complete())
    }

    /// Requests that are ordered and whose bodies are not in the log.
    pub fn lacking(&self) -> usize {
        self.replay.lacking()
    }
}

impl<S: Scheme> Iterator for Player<S> {
    type Item = SeenStep;

    /// Executes up to the next step, and gives it; `None` at the end of the log, or where
    /// [`Player::failed`] says why it does not go on.
    fn next(&mut self) -> Option<SeenStep> {
        while self.ready.is_empty() && self.failed.is_none() {
            let entry = self.entries.pop_front()?;
            self.take(&entry);
        }
        self.ready.pop_front()
    }
}

fn note(
    all: &mut BTreeMap<Round, BTreeMap<Digest, Members>>,
    round: Round,
    digest: Digest,
    who: ReplicaId,
) {
    if round > Round(0) {
        all.entry(round).or_default().entry(digest).or_insert(Members::NONE).insert(who);
    }
}

fn forget<T>(all: &mut BTreeMap<Round, T>) {
    while all.len() > REMEMBERED {
        all.pop_first();
    }
}

// The commands that ran are those of the requests, in their order; a query of which nobody would
// see the output did not run.
fn see_request(entry: TraceEntry, ran: &mut VecDeque<Ran>) -> Seen {
    let TraceEntry { index, digest, request, body, outcome, fresh, .. } = entry;
    let parsed = RequestBody::parse(&body).ok().filter(|_| fresh);
    let mut commands = Vec::new();
    for asked in parsed.map(|body| body.commands).unwrap_or_default() {
        let is_it = |r: &mut Ran| (r.kind, &r.command) == (asked.kind, &asked.bytes);
        let Some(Ran { kind, command, output, state }) = ran.pop_front_if(is_it) else { continue };
        commands.push(SeenCommand { kind, command, output, state });
    }
    Seen { index, digest, request, outcome, commands }
}
