//! Who is a member, who is out and why, and what the ordered status changes make of that (M1 to
//! M4). A function of the order like everything in [`super::order::Order`], which holds it.

use super::Opening;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{
    AgreedTime, Call, Digest, Ensemble, Members, MembershipLimits, ReplicaId, Root, Round, Uid,
};
use crate::wire::Change;

/// What the order says of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why it is not a member; `None` for members.
    pub out: Option<Reason>,
    /// Agreed time of its last coming or going.
    pub since: AgreedTime,
    /// When it may join again (M4); of no meaning for members and for those that lied.
    pub may_join: AgreedTime,
    /// How often its wait has been doubled.
    pub doublings: u32,
    /// When a restart was last forgiven (M4: once per `good_service`).
    pub forgiven: Option<AgreedTime>,
    /// The generation of its last admission by an operator: older proofs are void (M4).
    pub admitted: u32,
}

/// Why a replica is out (F3, M2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It or the operator asked for it (M2).
    Left,
    /// It said that it had restarted.
    Restarted,
    /// There is a proof that it lied.
    Lied,
    /// It did not answer in time.
    Silent,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::Left => "left",
            Reason::Restarted => "restarted",
            Reason::Lied => "lied, with proof",
            Reason::Silent => "silent",
        })
    }
}

/// A status change that is accepted and waits for the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) uid: Uid,
    pub(super) digest: Digest,
    pub(super) change: Change,
}

/// The members and all that belongs to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roster {
    pub(super) ensemble: Ensemble,
    pub(super) limits: MembershipLimits,
    /// The call of the present epoch.
    pub(super) call: Call,
    pub(super) standings: Vec<Standing>,
    pub(super) pending: Vec<Pending>,
    /// How many of `pending` the next status call applies: those pending at the cut (E3).
    pub(super) cut: usize,
}

impl Roster {
    pub(super) fn new(ensemble: Ensemble, limits: MembershipLimits) -> Self {
        let standing = Standing {
            out: None,
            since: AgreedTime(0),
            may_join: AgreedTime(0),
            doublings: 0,
            forgiven: None,
            admitted: 0,
        };
        Self {
            ensemble,
            limits,
            call: Call { root: Root::GENESIS, list: ensemble.all(), accused: Members::NONE },
            standings: vec![standing; ensemble.n()],
            pending: Vec::new(),
            cut: 0,
        }
    }

    /// The members of the present epoch.
    pub(super) fn members(&self) -> Members {
        self.call.members()
    }

    /// M1 to M3: a status change was accepted in this round. One without effect is void: says why.
    pub(super) fn accept(
        &mut self,
        (uid, digest): (Uid, Digest),
        change: Change,
        round: Round,
        now: AgreedTime,
    ) -> Result<(), &'static str> {
        let effect = self.effect(&change, round, now);
        mark(if effect.is_ok() { "M1 a change was accepted" } else { "M1 a change was void" });
        if effect.is_ok() {
            self.pending.push(Pending { uid, digest, change });
        }
        effect
    }

    /// Whether a status change would have an effect if it were accepted now.
    pub(super) fn effect(
        &self,
        change: &Change,
        round: Round,
        now: AgreedTime,
    ) -> Result<(), &'static str> {
        let x = change.subject();
        if !self.ensemble.contains(x) {
            return Err("no such replica");
        }
        let standing = &self.standings[x.index()];
        match change {
            Change::Join { .. } if self.members().contains(x) => Err("it is a member"),
            Change::Join { .. } if standing.out == Some(Reason::Lied) => {
                Err("it lied: an operator must re-admit it first")
            }
            Change::Join { .. } if now < standing.may_join && !planted("m1-join-at-once") => {
                Err("its wait is not over")
            }
            Change::Join { position, .. }
                if position.round.0.saturating_add(self.limits.join_lag) < round.0 =>
            {
                Err("it is too far behind")
            }
            Change::Leave { .. } if !self.members().contains(x) => Err("it is not a member"),
            Change::Readmit { .. } if standing.out != Some(Reason::Lied) => {
                Err("it was not expelled")
            }
            Change::ReplaceKey { .. } => Err("keys are not replaced by this version"),
            Change::Join { .. } | Change::Leave { .. } | Change::Readmit { .. } => Ok(()),
        }
    }

    /// After a vector is committed: the first one with pending changes is the cut (E3).
    pub(super) fn note_cut(&mut self) {
        if self.cut == 0 {
            self.pending.sort_unstable_by_key(|p| (p.uid, p.digest));
            self.cut = self.pending.len();
        }
    }

    /// E3, *status*: the root and L of the call that the cut asks for, if there is a cut.
    pub(super) fn status_call(&self) -> Option<(Root, Members)> {
        let generation = self.call.root.generation.checked_add(1)?;
        let root = Root { generation, resets: 0 };
        (self.cut > 0).then(|| (root, self.after_cut()))
    }

    fn after_cut(&self) -> Members {
        let mut members = self.members();
        for pending in &self.pending[..self.cut] {
            let x = pending.change.subject();
            match pending.change {
                Change::Join { .. } => members.insert(x),
                // E3: one that would leave fewer than t + 1 is void.
                Change::Leave { .. } if members.len() > self.ensemble.majority() => {
                    members.remove(x);
                }
                Change::Leave { .. } | Change::Readmit { .. } | Change::ReplaceKey { .. } => {}
            }
        }
        members
    }

    /// An opening is committed after its base: who is a member now, who is out and why (F3, M4).
    pub(super) fn open(&mut self, opening: &Opening, now: AgreedTime) {
        let before = self.members();
        if opening.call.root.generation > self.call.root.generation {
            let cut = std::mem::take(&mut self.cut);
            for pending in self.pending.drain(..cut).collect::<Vec<_>>() {
                self.take(&pending.change, opening.call.root.generation);
            }
            self.note_cut();
        }
        self.call = opening.call;
        let known = opening.call.list.union(before);
        for x in known.iter() {
            match (before.contains(x), self.members().contains(x)) {
                (_, true) if self.standings[x.index()].out.is_some() => {
                    let standing = &mut self.standings[x.index()];
                    (standing.out, standing.since) = (None, now);
                }
                (true, false) => self.put_out(x, opening, now),
                // Named by the call and accused at once: it stays out, with a new reason.
                (false, false) if opening.call.accused.contains(x) => {
                    self.put_out(x, opening, now);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, change: &Change, generation: u32) {
        let standing = &mut self.standings[change.subject().index()];
        if let Change::Readmit { .. } = change {
            standing.admitted = generation;
            standing.out = standing.out.map(|_| Reason::Left);
            standing.may_join = AgreedTime(0);
        }
    }

    fn put_out(&mut self, x: ReplicaId, opening: &Opening, now: AgreedTime) {
        let limits = self.limits;
        let standing = &mut self.standings[x.index()];
        let reason = if !opening.call.accused.contains(x) {
            Reason::Left
        } else if opening.liars.contains(x) {
            Reason::Lied
        } else if opening.restarted.contains(x) {
            Reason::Restarted
        } else {
            Reason::Silent
        };
        mark(match reason {
            Reason::Left => "F3 one is out as it left",
            Reason::Lied => "F3 one is out as it lied",
            Reason::Restarted => "F3 one is out as it restarted",
            Reason::Silent => "F3 one is out as silent",
        });
        let served = now.0.saturating_sub(standing.since.0);
        let served_well = standing.out.is_none() && served >= limits.good_service;
        if served_well {
            standing.doublings = 0;
        }
        let forgiven = standing.forgiven.is_none_or(|at| at.0 + limits.good_service <= now.0);
        let wait = match reason {
            Reason::Left | Reason::Lied => 0,
            Reason::Restarted if forgiven => {
                standing.forgiven = Some(now);
                mark("M4 a restart was forgiven");
                0
            }
            Reason::Restarted | Reason::Silent => {
                let doubled = limits.join_wait.saturating_mul(1 << standing.doublings.min(40));
                if standing.doublings > 0 {
                    mark("M4 a wait was doubled");
                }
                let more = u32::from(!planted("m4-no-doubling"));
                standing.doublings = (standing.doublings + more).min(40);
                doubled.min(limits.join_wait_cap)
            }
        };
        standing.out = Some(reason);
        standing.since = now;
        standing.may_join = AgreedTime(now.0.saturating_add(wait));
    }
}
