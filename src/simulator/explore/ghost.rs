//! What must hold at every state, and what is remembered to see it.

use crate::ordering::{Checkpoint, Event, Fingerprint, Opened, Step};
use crate::types::{Call, Digest, Instant, Members, ReplicaId, Root, Round};
use crate::wire::StepPosition;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub what: &'static str,
    /// How.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

/// The history of one replica: a number for each step and opening, which stands for all before it.
type Log = Vec<u128>;

/// What is remembered of the past.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    logs: Vec<Arc<Log>>,
    /// The longest history that any replica that did not lie has committed.
    longest: Arc<Log>,
    /// What was committed, for people, by the same places.
    names: Arc<Vec<String>>,
    executed: Vec<Arc<BTreeSet<Digest>>>,
    /// What each replica has committed last, with its state and the length of its history.
    states: Vec<Option<(Checkpoint, StepPosition, usize)>>,
    /// The last call that each replica took.
    pub(super) calls: Vec<Call>,
    /// Who has crashed or asked to leave at some time: bad ones, that nothing is promised of.
    pub(super) gone: Members,
    /// What happened, for people: the latest step only.
    pub(super) said: Vec<String>,
    /// How often what happened, over the whole run.
    pub(super) counts: BTreeMap<&'static str, u32>,
}

impl Ghost {
    pub(super) fn new(n: usize) -> Self {
        let list = (0..n).map(ReplicaId::from_index).collect();
        let call = Call { root: Root::GENESIS, list, accused: Members::NONE };
        Self {
            logs: vec![Arc::default(); n],
            longest: Arc::default(),
            names: Arc::default(),
            executed: vec![Arc::default(); n],
            states: vec![None; n],
            calls: vec![call; n],
            gone: Members::NONE,
            said: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// All that matters of it as one number.
    pub(super) fn print(&self) -> u128 {
        let mut f = Fingerprint::new(Instant(0), 0);
        for log in &self.logs {
            f.add(&(log.len(), log.last()));
        }
        f.add(&(self.longest.len(), self.longest.last(), self.gone));
        f.value()
    }

    pub(super) fn has_executed(&self, who: ReplicaId, request: &Digest) -> bool {
        self.executed[who.index()].contains(request)
    }

    pub(super) fn committed(&mut self, who: ReplicaId, step: &Step) -> Result<(), Violation> {
        let runs: Vec<(Digest, bool)> = step.requests.iter().map(|o| (o.digest, o.void)).collect();
        let name =
            format!("V({:?})={} executing {runs:?}", step.position.round, step.position.vector);
        self.say("committed", format!("{who} commits {name}"));
        let executed = Arc::make_mut(&mut self.executed[who.index()]);
        let twice = runs.iter().find(|(d, void)| !void && !executed.insert(*d));
        if let Some((twice, _)) = twice {
            return Err(Violation {
                what: "at most once",
                how: format!("{who} runs {twice} twice"),
            });
        }
        self.append(who, &(step.position, &runs, step.time), name)?;
        if let Some(checkpoint) = &step.checkpoint {
            let length = self.logs[who.index()].len();
            self.states[who.index()] = Some((checkpoint.clone(), step.position, length));
        }
        Ok(())
    }

    pub(super) fn opened(&mut self, who: ReplicaId, opened: &Opened) -> Result<(), Violation> {
        let Opened { epoch, members, digest, .. } = *opened;
        let name = format!("opening {digest} of {epoch} with {members}, void {:?}", opened.void);
        self.say("opened", format!("{who} commits {name}"));
        self.append(who, &(epoch, members, digest, opened.first, &opened.void), name)
    }

    fn append(
        &mut self,
        who: ReplicaId,
        what: &dyn fmt::Debug,
        name: String,
    ) -> Result<(), Violation> {
        let log = Arc::make_mut(&mut self.logs[who.index()]);
        let mut f = Fingerprint::new(Instant(0), 0);
        f.add(&(log.last(), what));
        let (place, print) = (log.len(), f.value());
        log.push(print);
        match self.longest.get(place) {
            None => {
                Arc::make_mut(&mut self.longest).push(print);
                Arc::make_mut(&mut self.names).push(name);
                Ok(())
            }
            Some(known) if *known == print => Ok(()),
            Some(_) => {
                let how = format!("{who} commits {name}, another did {}", self.names[place]);
                Err(Violation { what: "agreement", how })
            }
        }
    }

    pub(super) fn event(&mut self, who: ReplicaId, event: &Event) {
        let kind = match event {
            Event::Waiting { .. } => "waiting",
            Event::Resumed { .. } => "resumed",
            Event::Equivocation { .. } => "equivocation",
            Event::Invalid { .. } => "invalid",
            Event::DiskLost => "disk lost",
            Event::Restarted { .. } => "restarted",
            Event::Blamed { .. } => "blamed",
            Event::Proven { .. } => "proven",
            Event::Called { .. } => "called",
            Event::Entered { .. } => "entered",
            Event::Stalled { .. } => "stalled",
            Event::Installed { .. } => "installed",
            Event::Joining { .. } => "joining",
        };
        if let Event::Called { call } = event {
            self.calls[who.index()] = *call;
        }
        let words = match event {
            Event::Proven { replica, .. } => format!("{who} has a proof against {replica}"),
            Event::Called { call } => format!("{who} takes the call {call}"),
            Event::Equivocation { first, .. } => {
                format!("{who} sees {} equivocate in {:?}", first.replica, first.round)
            }
            Event::Invalid { proposal, why } => {
                format!("{who} finds {}'s {:?} invalid: {why}", proposal.replica, proposal.round)
            }
            other => format!("{who}: {other:?}"),
        };
        self.say(kind, words);
    }

    pub(super) fn say(&mut self, kind: &'static str, words: String) {
        *self.counts.entry(kind).or_default() += 1;
        self.said.push(words);
    }

    pub(super) fn crash(&mut self, who: ReplicaId) {
        self.gone.insert(who);
        self.logs[who.index()] = Arc::default();
        self.executed[who.index()] = Arc::default();
        self.states[who.index()] = None;
    }

    /// The latest state that `t + 1` replicas attest, the liars among them, if it is later than a
    /// round.
    pub(super) fn state_above(
        &self,
        round: Option<Round>,
        (from, liars, majority): (Members, usize, usize),
    ) -> Option<(ReplicaId, Checkpoint, StepPosition)> {
        let known = from.iter().filter_map(|r| Some((r, self.states[r.index()].as_ref()?)));
        let known: Vec<_> = known.collect();
        let enough = |length: &usize| {
            known.iter().filter(|(_, (.., l))| l >= length).count() + liars >= majority
        };
        let best = known.iter().filter(|(_, (.., length))| enough(length));
        let best = best.filter(|(_, (_, p, _))| round.is_none_or(|r| p.round > r));
        let (who, (checkpoint, position, _)) = best.max_by_key(|(_, (_, p, _))| p.round)?;
        Some((*who, checkpoint.clone(), *position))
    }

    /// A replica took over another's state.
    pub(super) fn installed(&mut self, who: ReplicaId, from: ReplicaId) {
        let length = self.states[from.index()].as_ref().map_or(0, |s| s.2);
        let log = self.logs[from.index()][..length].to_vec();
        self.logs[who.index()] = Arc::new(log);
        self.states[who.index()] = self.states[from.index()].clone();
        self.executed[who.index()] = self.executed[from.index()].clone();
    }
}
