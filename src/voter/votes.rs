//! The vote on one request (rule C1).

use super::{Ballot, Explanation, Verdict};
use crate::types::plant::planted;
use crate::types::{Ensemble, Instant, Members, ReplicaId};
use crate::wire::{NoteKind, StepPosition};
use bytes::Bytes;

/// What replicas vote on. Two replies are equal only if all three parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The step that executed the request.
    pub position: StepPosition,
    /// The request's index in that step.
    pub index: u32,
    /// The outcome's bytes. They are compared and never read before they are accepted.
    pub outcome: Bytes,
}

/// What a vote changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Heard {
    /// The replica had voted for something else before.
    pub changed: bool,
    /// By this vote the value became accepted. True at most once in a voter's life.
    pub accepted: bool,
}

/// What the client knows of its link to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Up.
    Up,
    /// Up, and the replica's hello says that it restarted without its state and answers nobody.
    Restarted,
    /// Down since then; since the client's start if it never was up.
    Down(Instant),
}

/// Collects replies to one request and accepts what `t + 1` replicas said. See the module's page
/// for the rules and why they hold.
#[derive(Clone, Debug)]
pub struct Voter {
    needed: usize,
    // Whether replies of who ever gave up something that it had answered do not count (C4).
    strong: bool,
    // One place a replica: nobody can vote twice, and memory does not grow with what is sent.
    votes: Vec<Option<Vote>>,
    // Empty until the first note comes; then one place a replica.
    notes: Vec<Option<(NoteKind, Instant)>>,
    accepted: Option<Value>,
}

#[derive(Clone, Debug)]
struct Vote {
    value: Value,
    at: Instant,
    rolled: bool,
}

impl Voter {
    /// A vote among the replicas of an ensemble that nobody has voted in yet.
    pub fn new(ensemble: Ensemble) -> Self {
        Self::needing(ensemble.n(), ensemble.majority())
    }

    /// A vote among `n` replicas that is over with `needed` equal replies, at least one. With one
    /// the first reply is believed, whoever gave it: only where nobody lies (docs/chain.md).
    pub fn needing(n: usize, needed: usize) -> Self {
        let votes = vec![None; n];
        Self { needed: needed.max(1), strong: false, votes, notes: Vec::new(), accepted: None }
    }

    /// A vote that is over when so many say the same that no timing can contradict it (C4): replies
    /// of replicas that ever gave up something that they had answered do not count.
    pub fn strong(ensemble: Ensemble) -> Self {
        Self { strong: true, ..Self::needing(ensemble.n(), ensemble.strong()) }
    }

    /// Takes a replica's reply. The last different reply of a replica is its vote, the time is
    /// that of the first of equal ones. Replicas outside of the roster are ignored.
    pub fn hear(&mut self, replica: ReplicaId, at: Instant, value: Value) -> Heard {
        self.hear_marked(replica, at, value, false)
    }

    /// The same for a reply that says whether its replica gave up, at some time, something that it
    /// had answered (§7).
    pub fn hear_marked(
        &mut self,
        replica: ReplicaId,
        at: Instant,
        mut value: Value,
        rolled: bool,
    ) -> Heard {
        let own = replica.index();
        let Some(before) = self.votes.get(own) else { return Heard::default() };
        let same = |v: &Vote| v.value == value && v.rolled == rolled;
        let said_before = before.as_ref().is_some_and(same);
        if said_before && !planted("c1-count-replica-twice") {
            return Heard::default();
        }
        let changed = before.as_ref().is_some_and(|v| v.value != value);
        let others = || {
            let twice = planted("c1-count-replica-twice");
            let others = self.votes.iter().enumerate().filter(move |(i, _)| *i != own || twice);
            others.filter_map(|(_, v)| v.as_ref()).filter(|v| v.value == value)
        };
        let first = others().next().map(|v| v.value.outcome.clone());
        let counts = |rolled: bool| !(self.strong && rolled);
        let equal = others().filter(|v| counts(v.rolled)).count();
        let count = equal + usize::from(counts(rolled));
        if let Some(outcome) = first {
            // Equal values share their bytes: only different ones cost memory.
            value.outcome = outcome;
        }
        let needed = self.needed - usize::from(planted("c1-accept-t-replies"));
        let accepted = self.accepted.is_none() && count >= needed;
        if accepted {
            self.accepted = Some(value.clone());
        }
        self.votes[own] = Some(Vote { value, at, rolled });
        Heard { changed, accepted }
    }

    /// Takes a replica's note. Notes are never votes; the last one of a replica is kept.
    pub fn note(&mut self, replica: ReplicaId, at: Instant, kind: NoteKind) {
        if self.notes.is_empty() {
            self.notes = vec![None; self.votes.len()];
        }
        if let Some(place) = self.notes.get_mut(replica.index()) {
            *place = Some((kind, at));
        }
    }

    /// What `t + 1` replicas said. Once there, it stays, whatever comes later.
    pub fn accepted(&self) -> Option<&Value> {
        self.accepted.as_ref()
    }

    /// How many replicas have given this note last and have not voted.
    pub fn noted(&self, kind: NoteKind) -> usize {
        let noted = self.notes.iter().zip(&self.votes);
        noted.filter(|(n, v)| v.is_none() && n.is_some_and(|(k, _)| k == kind)).count()
    }

    /// How many have voted or said why they do not, besides those who cannot, as they are `gone`.
    pub fn heard_of(&self, gone: Members) -> usize {
        (0..self.votes.len()).filter(|i| self.has_said(*i, gone)).count()
    }

    fn has_said(&self, place: usize, gone: Members) -> bool {
        self.votes[place].is_some()
            || self.notes.get(place).is_some_and(Option::is_some)
            || gone.contains(ReplicaId::from_index(place))
    }

    /// Whether no value can be accepted any more, if nobody who has said something says something
    /// else later, nor anybody who is `gone`.
    pub fn is_hopeless(&self, gone: Members) -> bool {
        let open = self.votes.len() - self.heard_of(gone);
        let counted = |v: &&Vote| !(self.strong && v.rolled);
        let values = || self.votes.iter().flatten().filter(counted).map(|v| &v.value);
        let most = values().map(|a| values().filter(|b| a == *b).count()).max().unwrap_or(0);
        self.accepted.is_none() && most + open < self.needed
    }

    /// Who has voted, for whatever value.
    pub fn voted(&self) -> Members {
        self.members(|_| true)
    }

    /// Who votes for something else than what was accepted; nobody while nothing is accepted.
    pub fn dissenting(&self) -> Members {
        match &self.accepted {
            Some(accepted) => self.members(|v| v.value != *accepted),
            None => Members::NONE,
        }
    }

    /// Who said what and when, as it stands now. `sent` is when the request was first sent,
    /// `link` what is known of the links.
    pub fn explain(
        &self,
        now: Instant,
        sent: Instant,
        sends: u32,
        link: impl Fn(ReplicaId) -> LinkState,
    ) -> Explanation {
        let reference = self.accepted.as_ref().or_else(|| self.largest_bucket());
        let ballots = (0..self.votes.len()).map(|i| {
            let replica = ReplicaId::from_index(i);
            self.ballot(replica, sent, reference)
                .unwrap_or_else(|| silent(replica, now, link(replica)))
        });
        let ballots = ballots.collect();
        let waited = now.since(sent);
        let needed = self.needed;
        Explanation { needed, waited, sends, ballots, ..Explanation::default() }
    }

    fn members(&self, which: impl Fn(&Vote) -> bool) -> Members {
        let votes = self.votes.iter().enumerate();
        let chosen = votes.filter(|(_, v)| v.as_ref().is_some_and(&which));
        chosen.map(|(i, _)| ReplicaId::from_index(i)).collect()
    }

    // The value with most votes; of several that of the lowest replica.
    fn largest_bucket(&self) -> Option<&Value> {
        let values = || self.votes.iter().flatten().map(|v| &v.value);
        values().rev().max_by_key(|a| values().filter(|b| a == b).count())
    }

    fn ballot(
        &self,
        replica: ReplicaId,
        sent: Instant,
        reference: Option<&Value>,
    ) -> Option<Ballot> {
        if let Some(Vote { value, at, rolled }) = &self.votes[replica.index()] {
            let agrees = reference == Some(value);
            return Some(Ballot {
                replica,
                verdict: if agrees { Verdict::Agrees } else { Verdict::Differs },
                after: Some(at.since(sent)),
                position: Some(value.position),
                index: Some(value.index),
                outcome: Some(value.outcome.clone()),
                rolled: *rolled,
                link_error: None,
            });
        }
        let (kind, at) = (*self.notes.get(replica.index())?)?;
        let verdict = Verdict::Note(kind);
        Some(Ballot { after: Some(at.since(sent)), ..Ballot::without_answer(replica, verdict) })
    }
}

fn silent(replica: ReplicaId, now: Instant, link: LinkState) -> Ballot {
    let verdict = match link {
        LinkState::Up => Verdict::Silent { down_for: None },
        LinkState::Restarted => Verdict::Note(NoteKind::Restarted),
        LinkState::Down(since) => Verdict::Silent { down_for: Some(now.since(since)) },
    };
    Ballot::without_answer(replica, verdict)
}

#[cfg(test)]
mod tests;
