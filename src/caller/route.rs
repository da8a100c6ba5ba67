//! Where requests go in a fail-stop chain (docs/chain.md): to one replica each, not to all.

use super::core::Caller;
use super::links::Links;
use super::replies::find;
use super::setup::Mode;
use super::window::{Found, Slot};
use super::{Actions, Setup};
use crate::types::{Instant, Members, ReplicaId, SessionId};
use crate::voter::{Explanation, Verdict};
use crate::wire::{ChainConfig, ChainRefusal, NoteKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// A refused request is sent again after this part of the time after which a silent one is, then
/// after twice that, and so on up to that time.
const REFUSED_PART: u32 = 16;

/// Queries that leave at one time for one member, before it is the next one's turn: several cost a
/// member little more than one, and no member should get all of a long list.
const TOGETHER: usize = 64;

/// The chain as it is known, and who gets what of it.
#[derive(Debug)]
pub(super) struct Route {
    config: ChainConfig,
    mode: Mode,
    /// Who should be asked.
    preferred: Vec<ReplicaId>,
    /// Whose turn it is, to spread requests, and how many it has had of those that leave now.
    turn: usize,
    taken: usize,
    /// Requests may wait for a place.
    pub dirty: bool,
}

/// Where one request went.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    /// Whom it was sent to last; `None` if it has to be sent to somebody.
    pub to: Option<ReplicaId>,
    /// All it was ever sent to.
    asked: Members,
    /// Who refused it last, why, and when.
    refused: BTreeMap<ReplicaId, (ChainRefusal, Instant)>,
    /// Whether the present one of whom it was sent to has refused it since.
    is_refused: bool,
    /// Refusals since it was last sent to somebody new.
    refusals: u32,
}

impl Trail {
    pub fn goes_to(&mut self, to: ReplicaId) {
        if self.to != Some(to) {
            self.refusals = 0;
        }
        self.to = Some(to);
        self.asked.insert(to);
        self.is_refused = false;
    }

    /// Whether the one who was asked last has refused it.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }
}

impl Route {
    /// `None` in a group that votes.
    pub fn of(mode: Mode) -> Option<Self> {
        (!mode.votes()).then(|| Self {
            config: ChainConfig::default(),
            mode,
            preferred: Vec::new(),
            turn: 0,
            taken: 0,
            dirty: false,
        })
    }

    pub fn preferred(&self) -> &[ReplicaId] {
        &self.preferred
    }

    fn learn(&mut self, config: &ChainConfig) {
        let (head, tail) = (config.head(), config.tail());
        self.preferred = match self.mode {
            Mode::Queries { any: true } => config.members.iter().map(|m| m.replica).collect(),
            Mode::Queries { any: false } => tail.iter().map(|m| m.replica).collect(),
            Mode::Vote | Mode::Reads | Mode::Updates => head.iter().map(|m| m.replica).collect(),
        };
        self.config = config.clone();
    }

    /// Who gets a request next: one of the preferred whose link is up, in turn. A repeated query
    /// rather goes to another one than before, and if need be to a member that may only say who
    /// answers now.
    pub fn choose(
        &mut self,
        before: Option<ReplicaId>,
        again: bool,
        up: impl Fn(ReplicaId) -> bool,
    ) -> Option<ReplicaId> {
        let able: Vec<ReplicaId> = self.preferred.iter().copied().filter(|r| up(*r)).collect();
        let other = |r: &ReplicaId| Some(*r) != before;
        if again || self.taken >= TOGETHER {
            self.pass_on();
        }
        self.taken += 1;
        let in_turn = |of: &[ReplicaId]| of.get(self.turn.checked_rem(of.len())?).copied();
        if !again {
            return in_turn(&able);
        }
        if !matches!(self.mode, Mode::Queries { .. }) {
            return able.first().copied();
        }
        let others: Vec<ReplicaId> = able.iter().copied().filter(other).collect();
        let members = self.config.members.iter().map(|m| m.replica);
        let members: Vec<ReplicaId> = members.filter(|r| other(r) && up(*r)).collect();
        in_turn(&others).or_else(|| in_turn(&members)).or_else(|| in_turn(&able))
    }
}

impl Route {
    /// What leaves next is for the next one.
    fn pass_on(&mut self) {
        if self.taken > 0 {
            (self.turn, self.taken) = (self.turn.wrapping_add(1), 0);
        }
    }
}

impl Links {
    /// In a chain there are no votes: says who answered, refused, was not asked, and who is silent
    /// although something was to come from it. Times count from `sent`.
    pub fn overlay(&self, said: Explanation, trail: &Trail, sent: Instant) -> Explanation {
        let Some(route) = &self.route else { return said };
        let answered = said.ballots.iter().any(|b| b.verdict == Verdict::Agrees);
        let mut ballots = said.ballots;
        let end = match route.mode {
            Mode::Vote | Mode::Reads | Mode::Updates => route.config.tail(),
            Mode::Queries { .. } => None,
        };
        for ballot in &mut ballots {
            let replica = ballot.replica;
            let expected = trail.asked.contains(replica)
                || !trail.asked.is_empty() && end.is_some_and(|tail| tail.replica == replica);
            match (&ballot.verdict, trail.refused.get(&replica)) {
                (Verdict::Agrees, _) => ballot.verdict = Verdict::Answers,
                (Verdict::Silent { .. }, Some((why, at))) => {
                    ballot.verdict = Verdict::Refuses(*why);
                    ballot.after = Some(at.since(sent));
                }
                (Verdict::Silent { .. }, None) if answered && trail.asked.contains(replica) => {
                    ballot.verdict = Verdict::Asked;
                }
                (Verdict::Silent { down_for: None }, None) if !expected => {
                    ballot.verdict = Verdict::NotAsked;
                }
                _ => {}
            }
        }
        let Explanation { needed, waited, sends, of_chain, id, .. } = said;
        let chain = Some(Box::new(route.config.clone()));
        Explanation { needed, waited, sends, ballots, chain, of_chain, id }
    }
}

impl Caller {
    /// What is known of the chain.
    pub(super) fn chain(&self) -> Option<&ChainConfig> {
        self.links.route.as_ref().map(|route| &route.config)
    }

    /// Whether calls wait, or requests for answers.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.session.as_ref().is_some_and(|s| s.window.outstanding() > 0)
    }

    /// Whether something that waits was sent more than once.
    pub(super) fn repeats(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.window.all().any(|(_, p)| p.sends > 1))
    }

    /// Takes a newer configuration (CH-F5): what was sent to one that is no longer to be asked goes
    /// to another at the next [`super::Input::Drained`].
    pub(super) fn learn(&mut self, config: &ChainConfig) {
        let Some(route) = &mut self.links.route else { return };
        if config.number <= route.config.number {
            return;
        }
        route.learn(config);
        let preferred = route.preferred().to_vec();
        self.unplace(|to| !preferred.contains(&to));
    }

    /// A link is gone, and what was sent over it may be, too.
    pub(super) fn lose_link(&mut self, replica: ReplicaId, now: Instant) {
        self.links.down(replica, now);
        self.receipts_lost(replica);
        self.unplace(|to| to == replica);
    }

    /// In a chain: what was sent to such replicas has to be sent to somebody again.
    pub(super) fn unplace(&mut self, gone: impl Fn(ReplicaId) -> bool) {
        let Some(route) = &mut self.links.route else { return };
        route.dirty = true;
        for (_, pending) in self.session.iter_mut().flat_map(|s| s.window.all_mut()) {
            if pending.trail.to.is_some_and(&gone) {
                pending.trail.to = None;
            }
        }
    }

    /// In a chain: sends what has no place yet, and what is to be repeated.
    pub(super) fn place(&mut self, now: Instant, out: &mut Actions) {
        let (Some(session), Some(route)) = (&mut self.session, &mut self.links.route) else {
            return;
        };
        // Without a change only new ones have none: they are the last.
        let from = match std::mem::take(&mut route.dirty) {
            true => session.window.low(),
            false => self.placed,
        };
        let (after, cap) = (self.setup.repeat_after, self.setup.repeat_cap);
        for (number, pending) in session.window.all_from_mut(from) {
            let again = !pending.trail.asked.is_empty();
            if pending.trail.to.is_some() || !self.links.send_on(number, pending, false) {
                continue;
            }
            if again {
                pending.sends = pending.sends.saturating_add(1);
                self.counts.moved += 1;
                (pending.repeat_at, pending.backoff) = (now + after, (2 * after).min(cap));
            }
        }
        self.placed = session.window.next();
        if let Some(route) = &mut self.links.route {
            route.pass_on();
        }
        self.links.flush_repeats(Some(&session.window), out);
    }

    /// A replica of the chain would not do what was asked; nothing was done there.
    pub(super) fn refused(
        &mut self,
        replica: ReplicaId,
        (session, number): (SessionId, u64),
        why: ChainRefusal,
        now: Instant,
        out: &mut Actions,
    ) {
        let stats = self.links.count(replica);
        stats.refusals += 1;
        let slot = find(&mut self.session, session, number);
        let Some(Found::Slot(Slot::Pending(pending))) = slot else {
            stats.strays += u64::from(matches!(slot, None | Some(Found::Unknown)));
            return;
        };
        let trail = &mut pending.trail;
        trail.refused.insert(replica, (why, now));
        let final_word = match why {
            ChainRefusal::NumberTaken => Some(NoteKind::NumberTaken),
            ChainRefusal::Unacceptable => Some(NoteKind::Unacceptable),
            ChainRefusal::NotHead
            | ChainRefusal::NotTail
            | ChainRefusal::NotServing
            | ChainRefusal::Busy => None,
        };
        if let Some(why) = final_word {
            return self.not_taken(number, why, now, out);
        }
        if trail.to == Some(replica) {
            let again = now + wait_after_refusal(&self.setup, trail.refusals);
            trail.is_refused = true;
            trail.refusals = trail.refusals.saturating_add(1);
            pending.repeat_at = pending.repeat_at.min(again);
            self.wake_by(again);
        }
    }
}

fn wait_after_refusal(setup: &Setup, before: u32) -> Duration {
    let first = setup.repeat_after / REFUSED_PART;
    first.saturating_mul(1 << before.min(8)).min(setup.repeat_after).max(Duration::from_millis(1))
}
