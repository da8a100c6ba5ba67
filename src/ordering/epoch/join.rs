//! Joining again (M1), and status changes as they come from their authors (M1 to M3).

use super::Stage;
use crate::crypto::Scheme;
use crate::ordering::{Action, Core, Event, Statement};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, Instant, Now};
use crate::wire::{Author, Change, SignedChange};

impl<S: Scheme> Core<S> {
    /// M1: asks to be a member again once that is allowed and nothing is missing here.
    pub(in crate::ordering) fn join_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(due) = self.join_due() else { return };
        if now.monotonic < due {
            return;
        }
        let position = self.attestation.position;
        let context = self.keyring.context();
        let known = self.change.following.join.take().map(|(change, _)| change).filter(|c| {
            let Change::Join { position: before, .. } = c.change else { return false };
            // One that was accepted, and led in and out again, has had its effect.
            before.round.0 + self.limits.membership.join_lag / 2 > position.round.0
                && !self.order.is_executed(&c.digest(&context))
        });
        let change = known.unwrap_or_else(|| {
            let change = Change::Join { replica: self.id, incarnation: self.incarnation, position };
            let (author, serial) = (Author::Replica(self.id), now.wall.0);
            mark("M1 one asked to join");
            out.push(Action::Event(Event::Joining { round: position.round }));
            SignedChange::sign::<S>(change, author, serial, &context, &self.signer)
        });
        self.change.following.join = Some((change, now.monotonic));
        out.push(Action::TellAll(Statement::Change(change)));
    }

    pub(in crate::ordering) fn join_due(&self) -> Option<Instant> {
        let (epoch, members) = self.order.epoch();
        let standing = &self.order.roster.standings[self.id.index()];
        let may = standing.out != Some(crate::ordering::Reason::Lied)
            && self.order.agreed() >= standing.may_join.0;
        let asks = !self.leaving
            && !self.is_kept_out()
            && self.may_sign(epoch.generation)
            && !self.awaits_disk()
            && may
            && !self.blank
            && !members.contains(self.id)
            && epoch == self.epoch
            && (self.has_arrived() || self.is_left_alone());
        // What is executed here is what was committed, and that is all there is: at most t peers,
        // who may lie, are further than that. Of more, one is good, and where it is can be reached;
        // but not for ever, since all may have gone on from elsewhere.
        let executed = self.attestation.position.round.0 + 1 >= self.committed.0;
        let last = self.change.following.join.map(|(_, at)| at + 2 * self.timing.patience);
        let ahead = self.change.following.ahead.values().filter(|(_, at)| self.is_beyond(*at));
        let mut ahead: Vec<Instant> = ahead.map(|(seen, _)| *seen).collect();
        ahead.sort_unstable();
        let (t, most) = (self.keyring.ensemble().t(), 8 * self.timing.patience);
        let caught_up = ahead.len().checked_sub(t + 1).map(|i| ahead[i] + most);
        (asks && executed).then(|| last.max(caught_up).unwrap_or_default())
    }

    /// Whether the epoch that is followed here is the one that was entered, with no call promised.
    fn has_arrived(&self) -> bool {
        let running = matches!(self.change.stage, Stage::Running);
        running && self.epoch == self.change.entered.epoch
    }

    /// Whether nobody else takes the call that is promised here: its root was called stalled, and
    /// the others get on below it. Only a call of the next generation ends that promise (E4), and a
    /// Join leads to one; in its Report this replica says what it would say after a reset.
    fn is_left_alone(&self) -> bool {
        let stalled = self.change.stalled == Some(self.change.promise.root);
        let alone = self.change.is_frozen() && stalled && self.is_history();
        alone && !planted("m1-waits-for-its-call")
    }

    /// M1 to M3: a status change came from its author's own connection.
    pub(in crate::ordering) fn on_change(&mut self, now: Now, change: SignedChange) {
        let context = self.keyring.context();
        let generation = self.order.epoch().0.generation;
        if self.is_blank() || change.verify(&self.keyring, generation).is_err() {
            return;
        }
        let round = self.committed;
        if self.refuses_key(&change.change)
            || self.order.roster.effect(&change.change, round, self.order.agreed_time()).is_err()
        {
            self.stats.changes_refused += 1;
            return;
        }
        // Who joins must have come where we have been.
        if let Change::Join { position, .. } = change.change
            && let Some(held) = self.history.vector_at(position.round)
        {
            let hashes: Vec<Digest> = held.iter().map(|p| p.digest()).collect();
            let epoch = held[0].epoch;
            let ours = crate::wire::vector_hash(&context, epoch, position.round, &hashes);
            if ours != position.vector {
                self.stats.changes_refused += 1;
                return;
            }
        }
        let digest = change.digest(&context);
        if !self.mine.contains(&digest) && !self.order.is_executed(&digest) {
            self.changes.insert(digest, change);
            self.seen(now, digest);
        }
    }
}
