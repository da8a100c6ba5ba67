//! Who is a member, who is out and why, and what the ordered status changes make of that (M1 to
//! M4). A function of the order like everything in [`super::order::Order`], which holds it.

use crate::crypto::{KeyChange, PublicKey};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{
    AgreedTime, Call, Digest, Ensemble, Members, MembershipLimits, ReplicaId, Root, Round, Uid,
};
use crate::wire::{Change, MAX_KEY_CHANGES};

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
    /// When a restart, or a Leave of its own, was last forgiven (M4: once per `good_service`).
    pub forgiven: Option<AgreedTime>,
    /// The generation of its last admission by an operator: older proofs are void (M4).
    pub admitted: u32,
    /// Whether an operator put it out to stay out (M2): it does not ask to join until it is
    /// recalled or its process is started again.
    pub kept_out: bool,
    /// The key that it is getting, while it has none (M3).
    pub new_key: Option<PublicKey>,
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

/// What an opening says of the members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Who goes on, and who is accused.
    pub(super) call: Call,
    /// Accused replicas against whom there is a proof (F3).
    pub(super) liars: Members,
    /// Accused replicas that have restarted (F3).
    pub(super) restarted: Members,
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
    /// All changes of keys that openings brought, the earliest first (M3).
    pub(super) keys: Vec<KeyChange>,
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
            kept_out: false,
            new_key: None,
        };
        Self {
            ensemble,
            limits,
            call: Call { root: Root::GENESIS, list: ensemble.all(), accused: Members::NONE },
            standings: vec![standing; ensemble.n()],
            pending: Vec::new(),
            cut: 0,
            keys: Vec::new(),
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
        match change {
            // It changes no member list, so nothing needs to wait for another epoch.
            Change::Recall { replica } if effect.is_ok() => {
                self.standings[replica.index()].kept_out = false;
            }
            // A member is only told that what it gave up is forgiven (§7).
            Change::Readmit { replica } if self.members().contains(replica) => {}
            _ if effect.is_ok() => self.pending.push(Pending { uid, digest, change }),
            _ => {}
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
            Change::Join { .. } if self.is_replaced(x) => Err("its key is being replaced"),
            Change::Join { .. } if now < standing.may_join && !planted("m1-join-at-once") => {
                Err("its wait is not over")
            }
            Change::Join { position, .. }
                if position.round.0.saturating_add(self.limits.join_lag) < round.0 =>
            {
                Err("it is too far behind")
            }
            Change::Leave { .. } if !self.members().contains(x) => Err("it is not a member"),
            Change::Readmit { .. }
                if standing.out != Some(Reason::Lied) && !self.members().contains(x) =>
            {
                Err("it was not expelled")
            }
            Change::Recall { .. } if !standing.kept_out => Err("no operator keeps it out"),
            Change::ReplaceKey { key, .. } => self.may_replace(x, key),
            Change::Join { .. }
            | Change::Leave { .. }
            | Change::Readmit { .. }
            | Change::Recall { .. } => Ok(()),
        }
    }

    /// M3: whether a replica may get this key. One at a time, so that in each generation at most
    /// one place is without a key.
    fn may_replace(&self, x: ReplicaId, key: &PublicKey) -> Result<(), &'static str> {
        let others = |p: &Pending| matches!(p.change, Change::ReplaceKey { .. });
        let members = self.members();
        if self.is_replaced(x) {
            return Err("its key is being replaced");
        }
        if self.standings.iter().any(|s| s.new_key.is_some()) || self.pending.iter().any(others) {
            return Err("another replica's key is being replaced");
        }
        if members.contains(x) && members.len() <= self.ensemble.majority() {
            return Err("without it fewer than t + 1 members would be left");
        }
        if self.keys.len() >= MAX_KEY_CHANGES {
            return Err("too many keys have been replaced in this cluster");
        }
        match self.keys.iter().rev().find(|change| change.key == *key) {
            Some(change) if change.replica == x => Err("it has or had this key"),
            Some(_) => Err("another replica has or had this key"),
            None => Ok(()),
        }
    }

    fn is_replaced(&self, x: ReplicaId) -> bool {
        let of =
            |p: &Pending| matches!(p.change, Change::ReplaceKey { replica, .. } if replica == x);
        self.standings[x.index()].new_key.is_some() || self.pending.iter().any(of)
    }

    /// M3: all changes of keys that follow from what is committed: those of openings, and that
    /// which the next generation brings.
    pub(super) fn key_changes(&self) -> impl Iterator<Item = KeyChange> {
        let keyless = self.after_cut().1;
        let next = self.call.root.generation.checked_add(1);
        let coming = self.pending[..self.cut].iter().filter_map(move |p| match p.change {
            Change::ReplaceKey { replica, key } if keyless.contains(replica) => {
                Some(KeyChange { out: next?, replica, key })
            }
            _ => None,
        });
        self.keys.iter().copied().chain(coming)
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
        (self.cut > 0).then(|| (root, self.after_cut().0))
    }

    /// The members after the changes of the cut, and who has no key then (M3).
    fn after_cut(&self) -> (Members, Members) {
        let (mut members, mut keyless) = (self.members(), Members::NONE);
        for pending in &self.pending[..self.cut] {
            let x = pending.change.subject();
            match pending.change {
                // Its author is the key that goes.
                Change::Join { .. } if keyless.contains(x) => {}
                Change::Join { .. } => members.insert(x),
                // E3: one that would leave fewer than t + 1 is void.
                Change::Leave { .. }
                    if members.len() > self.ensemble.majority() || planted("m2-leaves-too-few") =>
                {
                    members.remove(x);
                }
                // The second of the two changes: the new key comes in, and no member.
                Change::ReplaceKey { .. } if self.standings[x.index()].new_key.is_some() => {}
                Change::ReplaceKey { .. }
                    if !members.contains(x) || members.len() > self.ensemble.majority() =>
                {
                    members.remove(x);
                    keyless.insert(x);
                }
                Change::Leave { .. }
                | Change::Readmit { .. }
                | Change::ReplaceKey { .. }
                | Change::Recall { .. } => {}
            }
        }
        (members, keyless)
    }

    /// An opening is committed after its base: who is a member now, who is out and why (F3, M4).
    pub(super) fn open(&mut self, opening: &Verdict, now: AgreedTime) {
        let before = self.members();
        let generation = opening.call.root.generation;
        let (mut to_stay_out, mut own) = (Members::NONE, Members::NONE);
        if generation > self.call.root.generation {
            let keyless = self.after_cut().1;
            let cut = std::mem::take(&mut self.cut);
            let cut = if planted("e3-cut-takes-later") { self.pending.len() } else { cut };
            for pending in self.pending.drain(..cut).collect::<Vec<_>>() {
                match pending.change {
                    Change::Leave { replica, stays: true } => to_stay_out.insert(replica),
                    Change::Leave { replica, stays: false } => own.insert(replica),
                    _ => {}
                }
                self.take(&pending.change, generation, keyless);
            }
            self.note_cut();
        }
        self.call = opening.call;
        let known = opening.call.list.union(before);
        for x in known.iter() {
            match (before.contains(x), self.members().contains(x)) {
                (_, true) if self.standings[x.index()].out.is_some() => {
                    let standing = &mut self.standings[x.index()];
                    (standing.out, standing.since, standing.kept_out) = (None, now, false);
                }
                (true, false) => self.put_out(x, opening, own.minus(to_stay_out).contains(x), now),
                // Named by the call and accused at once: it stays out, with a new reason.
                (false, false) if opening.call.accused.contains(x) => {
                    self.put_out(x, opening, false, now);
                }
                _ => {}
            }
        }
        // M2: the Leave may have been void, or the call may name it all the same.
        for x in before.minus(self.members()).both(to_stay_out).iter() {
            self.standings[x.index()].kept_out = true;
        }
    }

    /// M4: the first vector of all gives agreed time its first value. What an opening before it
    /// reckoned from 0 is reckoned from here; who never went keeps its 0.
    pub(super) fn time_begins(&mut self, now: AgreedTime) {
        for standing in self.standings.iter_mut().filter(|s| s.out.is_some()) {
            let given = [&mut standing.since, &mut standing.may_join];
            for at in given.into_iter().chain(&mut standing.forgiven) {
                *at = AgreedTime(at.0.saturating_add(now.0));
            }
        }
    }

    fn take(&mut self, change: &Change, generation: u32, keyless: Members) {
        let standing = &mut self.standings[change.subject().index()];
        let readmitted = match *change {
            Change::Readmit { .. } => true,
            // M3: the new key is in. What was said of the old one is no word of it.
            Change::ReplaceKey { key, .. } if standing.new_key == Some(key) => {
                (standing.new_key, standing.kept_out) = (None, false);
                true
            }
            Change::ReplaceKey { replica, key } if keyless.contains(replica) => {
                standing.new_key = Some(key);
                self.keys.push(KeyChange { out: generation, replica, key });
                // Nobody has to ask for the second change: every replica makes it (M3).
                let (uid, digest) = (Uid::from_parts(0, 0), Digest::ZERO);
                if !planted("m3-no-second-change") {
                    self.pending.push(Pending { uid, digest, change: *change });
                }
                false
            }
            _ => false,
        };
        if readmitted {
            let standing = &mut self.standings[change.subject().index()];
            standing.admitted = generation;
            standing.out = standing.out.map(|_| Reason::Left);
            standing.may_join = AgreedTime(0);
        }
    }

    /// `own`: it asked itself to leave. Only an operator's Leave costs no wait: each epoch gives a
    /// liar time in which it may be late, and it could else bring about one after the other.
    fn put_out(&mut self, x: ReplicaId, opening: &Verdict, own: bool, now: AgreedTime) {
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
        let free = !own || planted("m4-leaving-is-free");
        let wait = match reason {
            Reason::Lied => 0,
            Reason::Left if free => 0,
            Reason::Restarted | Reason::Left if forgiven => {
                standing.forgiven = Some(now);
                mark("M4 a restart was forgiven");
                0
            }
            Reason::Restarted | Reason::Left | Reason::Silent => {
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

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
