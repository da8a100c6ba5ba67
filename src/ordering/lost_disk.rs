//! What was signed on a disk that is lost (§7): how an empty disk is told from a new replica's, and
//! what may be signed on the one that stands in for it.

use super::{Action, Core, Event, Statement};
use crate::crypto::Scheme;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Epoch, Now, ReplicaId, Round};

impl<S: Scheme> Core<S> {
    /// Whether nothing was signed here yet, and nothing is known of a time before: its first start,
    /// or the first one after its disk was lost.
    pub(super) fn is_fresh(&self) -> bool {
        self.epoch == Epoch::GENESIS
            && self.sent == Round(0)
            && !self.blank
            && self.change.restarted.is_none()
            && self.change.promise.number() == Epoch::GENESIS
    }

    /// Whether too few have said yet how far they are, to whom an empty disk would show itself. A
    /// Report of one whose disk is lost would say less than it has signed (E5).
    pub(super) fn is_unsure(&self, now: Now) -> bool {
        self.is_fresh() && (!self.may_start() || now.monotonic < self.doubt)
    }

    /// A peer says which round it has completed. Nobody completes one in the first epoch without a
    /// proposal of every member, and others go on without who gave none: we took part before, or
    /// somebody else did and we come late, or this peer lies. One of t+1 does not, and one that
    /// does not can show what we signed.
    pub(super) fn hear_of_rounds(
        &mut self,
        now: Now,
        peer: ReplicaId,
        complete: Round,
        out: &mut Vec<Action>,
    ) {
        if !self.is_fresh() || complete == Round(0) || planted("s7-empty-disk-starts") {
            return;
        }
        if !self.doubters.contains(peer) {
            // Once for each peer: a liar that reconnects must not keep us waiting.
            self.doubt = now.monotonic + 2 * self.timing.delta;
        }
        self.doubters.insert(peer);
        if self.doubters.len() >= self.keyring.ensemble().majority() {
            self.lose_state(out);
        }
    }

    /// Whether this is a proposal with our own signature that we never made, as far as we know.
    pub(super) fn is_unknown_own(&self, p: &crate::wire::Proposal) -> bool {
        let planted = self.is_fresh() && planted("s7-empty-disk-starts");
        if self.change.restarted.is_some() || self.blank || planted {
            return false;
        }
        let here = (p.epoch, p.members) == (self.epoch, self.members);
        here && p.round > self.sent || p.epoch > self.change.promise.number()
    }

    /// This replica took part before and knows nothing of it (§7). One that has signed nothing in
    /// this life stops, so that a person sees to it; else it is as after a restart. With a key that
    /// came later (M3) nothing was signed before that, and an empty disk is as it should be.
    pub(super) fn lose_state(&mut self, out: &mut Vec<Action>) {
        if self.blank || self.change.restarted.is_some() {
            return;
        }
        if self.is_fresh() && self.has_first_key() {
            mark("§7 an empty disk was refused");
            self.lost = true;
            out.push(Action::Event(Event::DiskLost));
            return;
        }
        self.blank = true;
        let epoch = self.change.entered.epoch;
        self.change.restarted = Some(epoch);
        out.push(Action::Event(Event::Restarted { epoch }));
        if let Some(own) = self.own_restarted() {
            self.on_restarted(own.clone());
            out.push(Action::TellAll(Statement::Restarted(own)));
        }
        out.push(Action::Behind);
    }

    fn has_first_key(&self) -> bool {
        self.start_keys.key_at(self.id, 0) == Some(&S::public(&self.signer))
    }

    /// Whether all that was signed, and counts, was signed on this disk: the others know of nothing
    /// that came before it, or it is a member with it.
    pub fn knows_its_disk(&self, now: Now) -> bool {
        !self.lost && !self.replaced && !self.is_unsure(now)
    }

    /// Whether this disk stands in for one that was lost, and nothing was proposed on it yet.
    pub fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// Whether what is signed in this generation cannot contradict what was signed on a disk that
    /// is lost: Reports, and the proposals that follow them.
    pub(super) fn is_unsigned(&self, generation: u32) -> bool {
        let later = self.unsigned.is_some_and(|first| generation >= first);
        !self.replaced || later || planted("s7-replaced-disk-reports")
    }

    /// §7: a Join that was signed on this disk is accepted. The cut that has it among its changes
    /// was not complete when the disk before was lost, so nothing was signed in the generation that
    /// follows it.
    pub(super) fn note_join(&mut self) {
        if !self.replaced || self.unsigned.is_some() {
            return;
        }
        let Some((join, _)) = &self.change.following.join else { return };
        let digest = join.digest(&self.keyring.context());
        let roster = &self.order.roster;
        let place = roster.pending.iter().position(|pending| pending.digest == digest);
        // One behind the cut waits for the next.
        let waits = |place: usize| u32::from(place >= roster.cut);
        let generation = roster.call.root.generation;
        self.unsigned = place.and_then(|place| generation.checked_add(1 + waits(place)));
        if self.unsigned.is_some() {
            mark("§7 a Join from a replaced disk was accepted");
        }
    }

    /// An epoch was entered: what was missing of the past does not count in it. One with a replaced
    /// disk is whole when it is a member.
    pub(super) fn is_whole_again(&mut self) {
        self.abstains = false;
        let member = self.members.contains(self.id);
        self.replaced &= !(member && self.is_unsigned(self.epoch.generation));
    }
}
