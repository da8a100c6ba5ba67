//! The vote on one request (rule C1).

use super::said::Said;
use super::{Ballot, DigestShown, Explanation, Verdict};
use crate::types::plant::planted;
use crate::types::{Ensemble, Instant, Members, ReplicaId};
use crate::wire::{NoteKind, OutcomeDigest, ReplyDigest, StepPosition};
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

/// A digest that enough replicas agree on, while nobody has sent what it stands for (C3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Who agree.
    pub agree: Members,
    /// Whose turn it is to send the whole, as these say.
    pub named: Members,
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
    // Whether a digest came: from then on whole outcomes are hashed.
    digests: bool,
    accepted: Option<Accepted>,
}

#[derive(Clone, Debug)]
struct Vote {
    said: Said,
    at: Instant,
    rolled: bool,
    // Of a digest: who has the whole.
    named: Option<ReplicaId>,
}

#[derive(Clone, Debug)]
struct Accepted {
    value: Value,
    said: Said,
}

impl Voter {
    /// A vote among the replicas of an ensemble that nobody has voted in yet.
    pub fn new(ensemble: Ensemble) -> Self {
        Self::needing(ensemble.n(), ensemble.majority())
    }

    /// A vote among `n` replicas that is over with `needed` equal replies, at least one. With one
    /// the first reply is believed, whoever gave it: only where nobody lies (docs/chain.md).
    pub fn needing(n: usize, needed: usize) -> Self {
        Self {
            needed: needed.max(1),
            strong: false,
            votes: vec![None; n],
            notes: Vec::new(),
            digests: false,
            accepted: None,
        }
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
        value: Value,
        rolled: bool,
    ) -> Heard {
        self.take(replica, Vote { said: Said::whole(value), at, rolled, named: None })
    }

    /// The same for a reply that holds a digest in place of its outcome (C3). It is a vote like
    /// any other; what it stands for may come from anybody.
    pub fn hear_digest(
        &mut self,
        replica: ReplicaId,
        at: Instant,
        (position, digest): (StepPosition, &ReplyDigest),
        rolled: bool,
    ) -> Heard {
        if !self.digests {
            self.digests = true;
            self.weigh();
        }
        let (said, named) = (Said::digest(position, digest), Some(digest.whole));
        self.take(replica, Vote { said, at, rolled, named })
    }

    fn take(&mut self, replica: ReplicaId, mut vote: Vote) -> Heard {
        let own = replica.index();
        let Some(before) = self.votes.get(own) else { return Heard::default() };
        if self.digests {
            vote.said.weigh(self.votes.iter().flatten().map(|v| &v.said));
        }
        let before = before.as_ref();
        let twice = planted("c1-count-replica-twice");
        let same = before.filter(|v| v.said == vote.said);
        // A whole outcome is more than the digest of the same.
        let adds = same.is_some_and(|v| v.said.is_digest() && !vote.said.is_digest());
        if same.is_some_and(|v| v.rolled == vote.rolled) && !adds && !twice {
            return Heard::default();
        }
        let changed = before.is_some() && same.is_none();
        if let Some(first) = same {
            vote.at = first.at;
            if !first.said.is_digest() {
                vote.said = first.said.clone();
            }
        }
        let others = self.votes.iter().enumerate().filter(|(i, _)| *i != own || twice);
        let equal = others.filter_map(|(_, v)| v.as_ref()).filter(|v| v.said == vote.said);
        let whole = equal.clone().find(|v| !v.said.is_digest());
        let count = equal.filter(|v| self.counts(v)).count() + usize::from(self.counts(&vote));
        whole.into_iter().for_each(|v| vote.said.share(&v.said));
        let said = vote.said.clone();
        self.votes[own] = Some(vote);
        let accepted = self.accepted.is_none()
            && (count >= self.needed() && self.accept(&said) || self.completes(&said));
        Heard { changed, accepted }
    }

    fn needed(&self) -> usize {
        self.needed - usize::from(planted("c1-accept-t-replies"))
    }

    // C4: whether a vote counts.
    fn counts(&self, vote: &Vote) -> bool {
        !(self.strong && vote.rolled)
    }

    // How many votes that count stand for a value.
    fn count(&self, said: &Said) -> usize {
        let votes = self.votes.iter().flatten();
        votes.filter(|v| self.counts(v) && v.said == *said).count()
    }

    // A digest came: all that is whole is hashed from now on.
    fn weigh(&mut self) {
        for i in 0..self.votes.len() {
            let (done, rest) = self.votes.split_at_mut(i);
            if let Some(vote) = &mut rest[0] {
                vote.said.weigh(done.iter().flatten().map(|v| &v.said));
            }
        }
        if let Some(accepted) = &mut self.accepted {
            accepted.said.weigh(self.votes.iter().flatten().map(|v| &v.said));
        }
    }

    // C3: the outcome of what was said, whoever sent it, and wherever in the order he put it.
    fn whole_of(&self, said: &Said) -> Option<&Bytes> {
        let digest = said.digested().filter(|_| said.is_digest());
        let Some(digest) = digest else { return self.same_as(said)?.bytes() };
        let fitting = self.votes.iter().flatten().find(|v| v.said.fits(digest));
        fitting?.said.bytes()
    }

    fn same_as(&self, said: &Said) -> Option<&Said> {
        let mut votes = self.votes.iter().flatten().map(|v| &v.said);
        votes.find(|s| !s.is_digest() && *s == said)
    }

    // Whether enough votes could be accepted: their outcome is here.
    fn accept(&mut self, said: &Said) -> bool {
        let Some(outcome) = self.whole_of(said).cloned() else { return false };
        let value = said.with(outcome);
        let mut said = Said::whole(value.clone());
        if self.digests {
            said.weigh(self.votes.iter().flatten().map(|v| &v.said));
        }
        self.accepted = Some(Accepted { value, said });
        true
    }

    // C3: whether a whole outcome is what others agree on the digest of, in another place of the
    // order than where it was said to be.
    fn completes(&mut self, said: &Said) -> bool {
        if !self.digests || said.is_digest() {
            return false;
        }
        let digests = self.votes.iter().flatten().filter(|v| v.said.is_digest());
        let fitting = digests.filter(|v| v.said.digested().is_some_and(|d| said.fits(d)));
        let agreed = fitting.map(|v| &v.said).find(|s| self.count(s) >= self.needed()).cloned();
        agreed.is_some_and(|agreed| self.accept(&agreed))
    }

    /// What is agreed on while nobody has sent the whole of it (C3).
    pub fn lacking(&self) -> Option<Lacking> {
        if !self.digests || self.accepted.is_some() {
            return None;
        }
        let said = || self.votes.iter().flatten().map(|v| &v.said);
        let agreed = said().find(|s| s.is_digest() && self.count(s) >= self.needed)?;
        let agreeing = || self.votes.iter().flatten().filter(|v| v.said == *agreed);
        let agree = self.members(|v| v.said == *agreed);
        Some(Lacking { agree, named: agreeing().filter_map(|v| v.named).collect() })
    }

    /// Whose turn it is to send a whole outcome, as all say who gave a digest (C3).
    pub fn named(&self) -> Members {
        self.votes.iter().flatten().filter_map(|v| v.named).collect()
    }

    /// Whether a replica has said anything, be it a vote or a note.
    pub fn has_heard(&self, replica: ReplicaId) -> bool {
        replica.index() < self.votes.len() && self.has_said(replica.index(), Members::NONE)
    }

    /// What stands for the accepted outcome, if that was hashed (C3).
    pub fn accepted_digest(&self) -> Option<OutcomeDigest> {
        self.accepted.as_ref()?.said.digested()
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
        self.accepted.as_ref().map(|a| &a.value)
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
        let most = self.votes.iter().flatten().map(|v| self.count(&v.said)).max().unwrap_or(0);
        self.accepted.is_none() && most + open < self.needed
    }

    /// Who has voted, for whatever value.
    pub fn voted(&self) -> Members {
        self.members(|_| true)
    }

    /// Who votes for something else than what was accepted; nobody while nothing is accepted.
    pub fn dissenting(&self) -> Members {
        match &self.accepted {
            Some(accepted) => self.members(|v| v.said != accepted.said),
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
        let accepted = self.accepted.as_ref().map(|a| &a.said);
        let reference = accepted.or_else(|| self.largest_bucket());
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
    fn largest_bucket(&self) -> Option<&Said> {
        let values = || self.votes.iter().flatten().map(|v| &v.said);
        values().rev().max_by_key(|a| values().filter(|b| a == b).count())
    }

    fn ballot(
        &self,
        replica: ReplicaId,
        sent: Instant,
        reference: Option<&Said>,
    ) -> Option<Ballot> {
        if let Some(Vote { said, at, rolled, .. }) = &self.votes[replica.index()] {
            let agrees = reference == Some(said);
            let digest = said.digested().filter(|_| said.is_digest());
            let accepted = self.accepted.as_ref().is_some_and(|a| a.said == *said);
            let has_whole = accepted || self.whole_of(said).is_some();
            return Some(Ballot {
                replica,
                verdict: if agrees { Verdict::Agrees } else { Verdict::Differs },
                after: Some(at.since(sent)),
                position: Some(said.position),
                index: Some(said.index),
                outcome: said.bytes().cloned(),
                digest: digest.map(|digest| DigestShown { digest, has_whole }),
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
