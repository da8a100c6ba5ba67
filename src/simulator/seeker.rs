//! Receipts in simulated runs: who seeks all that can be had, and what must not be among them.

use super::check::{Checked, Violation};
use super::{Effect, NodeId, Note};
use crate::crypto::{Keyring, Scheme};
use crate::proof::receipt::{Judged, assemble};
use crate::replica::Lane;
use crate::types::{Assurance, ClientId, GroupId, ReplicaId, SessionId};
use crate::wire::{
    Frame, Kind, Message, ReceiptAnswer, ReceiptProof, Replies, Request, StepPosition, WantReceipt,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the order that one replica has named for a request, and what it said became of it.
type Said = (SessionId, u64, StepPosition, u32, Bytes);

/// A client's greed for receipts, whatever signs them.
pub(super) trait Seeks: Send {
    /// The client sends a frame.
    fn sends(&mut self, frame: &Frame);

    /// The client hears frames of a replica: gives those that are not for the seeker.
    fn hears(
        &mut self,
        client: &ClientId,
        from: ReplicaId,
        frames: Vec<Frame>,
        out: &mut Vec<Effect<Note>>,
    ) -> Vec<Frame>;
}

/// Asks each replica for the proof of whatever that one has answered, without any vote, and makes
/// of everything that comes all receipts that can be made: more than an honest client gets.
pub(super) struct Seeker<S: Scheme> {
    keyring: Keyring<S>,
    requests: BTreeMap<(SessionId, u64), Request>,
    proofs: BTreeMap<Said, BTreeMap<ReplicaId, ReceiptProof>>,
    asked: BTreeSet<(ReplicaId, Said)>,
}

impl<S: Scheme> Seeker<S> {
    pub(super) fn new(keyring: Keyring<S>) -> Self {
        let (requests, proofs, asked) = Default::default();
        Self { keyring, requests, proofs, asked }
    }

    fn ask(&mut self, from: ReplicaId, replies: Replies, out: &mut Vec<Effect<Note>>) {
        let position = replies.position;
        for reply in replies.replies {
            let (session, number, index) = (reply.session, reply.number, reply.index);
            let said = (session, number, position, index, reply.outcome);
            let known = self.requests.contains_key(&(session, number));
            if !known || !self.asked.insert((from, said.clone())) {
                continue;
            }
            self.proofs.entry(said.clone()).or_default();
            want(from, &said, Assurance::Majority, out);
        }
    }

    fn take(
        &mut self,
        client: &ClientId,
        from: ReplicaId,
        answer: ReceiptAnswer,
        out: &mut Vec<Effect<Note>>,
    ) {
        let ReceiptAnswer { session, number, result } = answer;
        let Ok(proof) = result else { return };
        let Some(request) = self.requests.get(&(session, number)) else { return };
        for (said, proofs) in &mut self.proofs {
            if (said.0, said.1, said.2, said.3) != (session, number, proof.position, proof.index) {
                continue;
            }
            if proofs.insert(from, proof.clone()).is_none() {
                // What a majority has signed is there at once; for more it may take some time.
                want(from, said, Assurance::Strong, out);
            }
            let all: Vec<ReceiptProof> = proofs.values().cloned().collect();
            // One from all that came, and one from this replica's alone.
            for some in [&all[..], std::slice::from_ref(&proof)] {
                if let Ok((_, judged)) = assemble(*client, request, &said.4, some, &self.keyring) {
                    out.push(Effect::Note(Note::Receipt(Box::new(judged))));
                }
            }
        }
    }
}

fn want(from: ReplicaId, said: &Said, assurance: Assurance, out: &mut Vec<Effect<Note>>) {
    let (session, number, position, index) = (said.0, said.1, said.2, said.3);
    let want = WantReceipt { session, number, position, index, assurance };
    let (to, frame) = (NodeId::Replica(from), want.to_frame(GroupId::MAIN).into());
    out.push(Effect::Send { to, lane: Lane::Protocol, frame });
}

impl<S: Scheme> Seeks for Seeker<S> {
    fn sends(&mut self, frame: &Frame) {
        if frame.kind == Kind::Request
            && let Ok(request) = Request::from_body(&frame.body)
        {
            self.requests.insert((request.session, request.number), request);
        }
    }

    fn hears(
        &mut self,
        client: &ClientId,
        from: ReplicaId,
        frames: Vec<Frame>,
        out: &mut Vec<Effect<Note>>,
    ) -> Vec<Frame> {
        for frame in &frames {
            match frame.kind {
                Kind::Replies => {
                    if let Ok(replies) = Replies::from_body(&frame.body) {
                        self.ask(from, replies, out);
                    }
                }
                Kind::Receipt => {
                    if let Ok(answer) = ReceiptAnswer::from_body(&frame.body) {
                        self.take(client, from, answer, out);
                    }
                }
                _ => {}
            }
        }
        frames.into_iter().filter(|frame| frame.kind != Kind::Receipt).collect()
    }
}

/// All receipts of a run.
#[derive(Debug, Default)]
pub(super) struct ReceiptBook {
    /// Different ones of each kind: a strong one is a majority one, too.
    strong: Vec<Judged>,
    majority: Vec<Judged>,
    /// Two strong ones that contradict each other.
    broken: Option<String>,
    /// How many pairs contradict each other, of whatever kind.
    contradictions: u64,
    missing: u64,
}

impl ReceiptBook {
    pub(super) fn take(&mut self, note: &Note) {
        match note {
            Note::Receipt(judged) => self.add(judged),
            Note::NoReceipt(..) => self.missing += 1,
            _ => {}
        }
    }

    fn add(&mut self, judged: &Judged) {
        let is_strong = judged.assurance == Assurance::Strong;
        let shows = |other: &&Judged| {
            (other.digest, other.position, other.index, &other.outcome, &other.steps)
                == (judged.digest, judged.position, judged.index, &judged.outcome, &judged.steps)
        };
        let kind = if is_strong { &self.strong } else { &self.majority };
        if kind.iter().any(|other| shows(&other)) {
            return;
        }
        for other in self.strong.iter().chain(&self.majority) {
            let Some(how) = judged.contradicts(other) else { continue };
            self.contradictions += 1;
            if is_strong && other.assurance == Assurance::Strong {
                let (request, round) = (judged.request, judged.position.round.0);
                let what = format!("of {request} at {round}, signed by {}", judged.signers);
                let and = format!("and of {} by {}: {how}", other.request, other.signers);
                self.broken.get_or_insert(format!("strong receipts {what} {and}"));
            }
        }
        let kind = if is_strong { &mut self.strong } else { &mut self.majority };
        kind.push(judged.clone());
    }

    /// C4: whatever the timing is, no two strong receipts contradict each other while at most t
    /// lie.
    pub(super) fn no_strong_ones_contradict(&self) -> Checked {
        match &self.broken {
            None => Ok(()),
            Some(what) => Err(Violation { rule: "receipts", what: what.clone() }),
        }
    }

    /// What there was, with the events of a run.
    pub(super) fn counted(
        &self,
        events: &BTreeMap<&'static str, u64>,
    ) -> BTreeMap<&'static str, u64> {
        let mut all = events.clone();
        let counts = [
            ("strong receipt", self.strong.len() as u64),
            ("majority receipt", self.majority.len() as u64),
            ("receipts contradict", self.contradictions),
            ("no receipt", self.missing),
        ];
        all.extend(counts.into_iter().filter(|(_, count)| *count > 0));
        all
    }
}
