//! Large results: one replica sends the whole, the others a digest (C3), and what is done when the
//! whole does not come.
//!
//! Who agree on a digest name whose turn the whole is. When that one cannot be counted on any more,
//! as its link is down or it has said something else, those who agree are asked again at once;
//! otherwise after a part of the time after which requests are repeated. What is asked again is
//! answered whole by everybody. One who was waited for in vain is not waited for in the next while.
//!
//! A query is asked again once, of the state as it is then; if that does not help it is ordered.

use super::core::Caller;
use super::links::Links;
use super::replies::find;
use super::setup::Mode;
use super::window::{Found, Pending, Settled, Slot};
use super::{Actions, Setup};
use crate::types::{Instant, ReplicaId};
use crate::voter::{Lacking, Value};
use crate::wire::{
    ChainQuery, DecodeError, Digests, Frame, Message, OutcomeDigest, ReplyDigest, StepPosition,
    WholeQuery,
};
use bytes::Bytes;

/// The whole is waited for as long as one of so many parts of the time of a repeat.
pub(super) const PARTS: u32 = 4;
/// Who was waited for in vain is not waited for during so many times of a repeat.
const NOT_AGAIN: u32 = 10;

impl Caller {
    pub(super) fn digests(
        &mut self,
        replica: ReplicaId,
        message: Result<Digests, DecodeError>,
        now: Instant,
        out: &mut Actions,
    ) -> Result<(), &'static str> {
        let Digests { position, rolled, digests } = message.map_err(|e| e.what)?;
        for digest in digests {
            self.links.count(replica).replies += 1;
            self.digest(replica, (position, rolled), &digest, now, out);
        }
        Ok(())
    }

    // As `Caller::reply`.
    fn digest(
        &mut self,
        replica: ReplicaId,
        (position, rolled): (StepPosition, bool),
        digest: &ReplyDigest,
        now: Instant,
        out: &mut Actions,
    ) {
        let stats = self.links.count(replica);
        match find(&mut self.session, digest.session, digest.number) {
            None | Some(Found::Unknown) => stats.strays += 1,
            Some(Found::Gone) => {}
            Some(Found::Slot(Slot::Settled(settled))) => {
                if settled.differs(position, digest) && !settled.counted.contains(replica) {
                    settled.counted.insert(replica);
                    stats.differs(self.setup.mode);
                }
            }
            Some(Found::Slot(Slot::Pending(pending))) => {
                if digest.outcome.bytes as usize > self.setup.max_outcome(pending.commands) {
                    stats.strays += 1;
                    return;
                }
                let heard = pending.voter.hear_digest(replica, now, (position, digest), rolled);
                self.heard(digest.number, replica, heard, now, out);
            }
        }
    }

    /// Asks for the whole, now or soon, if a digest of it is agreed on. Whether it is.
    pub(super) fn look_for_whole(&mut self, number: u64, now: Instant) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Found::Slot(Slot::Pending(pending)) = session.window.find(number) else { return false };
        let Some(lacking) = pending.voter.lacking() else { return false };
        if pending.asked_again {
            return true;
        }
        let links = &self.links;
        if !lacking.named.iter().any(|r| is_awaited(links, pending, r, now)) {
            let asked = ask_again(&mut self.links, &self.setup, (number, pending), lacking, now);
            self.counts.repeats += u64::from(asked);
        } else {
            let soon = now + self.setup.repeat_after / PARTS;
            pending.repeat_at = pending.repeat_at.min(soon);
        }
        let again = pending.repeat_at;
        self.wake_by(again);
        true
    }

    /// The same for all that is outstanding: a link is gone.
    pub(super) fn look_for_wholes(&mut self, now: Instant) {
        if !self.setup.mode.votes() {
            return;
        }
        let numbers: Vec<u64> =
            self.session.iter().flat_map(|s| s.window.all()).map(|(number, _)| number).collect();
        for number in numbers {
            self.look_for_whole(number, now);
        }
    }
}

/// Whether the whole may still come from one whose turn it is.
pub(super) fn is_awaited(
    links: &Links,
    pending: &Pending,
    replica: ReplicaId,
    now: Instant,
) -> bool {
    links.is_counted_on(replica, now) && !pending.voter.has_heard(replica)
}

/// Those who were to send the whole have not done so in time: those who agree on its digest are
/// asked. False if nothing is lacking, if they were asked before or if none of them can be.
pub(super) fn wait_no_longer(
    links: &mut Links,
    setup: &Setup,
    (number, pending): (u64, &mut Pending),
    now: Instant,
) -> bool {
    let Some(lacking) = pending.voter.lacking().filter(|_| !pending.asked_again) else {
        return false;
    };
    for late in lacking.named.iter().filter(|r| !pending.voter.has_heard(*r)) {
        links.not_counted_on(late, now + setup.repeat_after.saturating_mul(NOT_AGAIN));
    }
    ask_again(links, setup, (number, pending), lacking, now)
}

fn ask_again(
    links: &mut Links,
    setup: &Setup,
    (number, pending): (u64, &mut Pending),
    lacking: Lacking,
    now: Instant,
) -> bool {
    if !links.send_again(number, lacking.agree) {
        return false;
    }
    if setup.mode == Mode::Reads {
        pending.frame = asking_for_whole(&pending.frame);
    }
    pending.asked_again = true;
    pending.sends = pending.sends.saturating_add(1);
    pending.repeat_at = now + setup.repeat_after;
    true
}

fn asking_for_whole(frame: &Bytes) -> Bytes {
    let own = Frame::parse(frame.clone()).expect("this client has made the frame");
    let query = ChainQuery::from_body(&own.body).expect("it has made it of a query");
    WholeQuery(query).to_frame(own.group).into()
}

impl Settled {
    // Whether a digest that comes late is of another value than was accepted.
    fn differs(&mut self, position: StepPosition, digest: &ReplyDigest) -> bool {
        let Some(Value { position: own, index, outcome }) = &self.value else { return false };
        let accepted = *self.digest.get_or_insert_with(|| OutcomeDigest::of(outcome));
        (*own, *index, accepted) != (position, digest.index, digest.outcome)
    }
}
