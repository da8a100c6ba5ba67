//! The ordering state as bytes: a part of every snapshot, and what checkpoints attest.
//!
//! There is one encoding of each state; reading refuses everything else.

use super::open::MAX_PAST;
use super::{Done, Known, Order, State};
use crate::crypto::{KeyChange, PublicKey};
use crate::ordering::roster::{Pending, Reason, Standing};
use crate::ordering::rounds::Tip;
use crate::types::{AgreedTime, Call, Cuid, Digest, Ensemble, Members, OrderLimits, Round};
use crate::wire::{Change, DecodeError, Layout, MAX_KEY_CHANGES, Reader, StepPosition, Writer};

const MAGIC: &[u8; 8] = b"quoor/4\n";

/// What a request takes in the encoding: about, with its candidates; and exactly.
const KNOWN_BYTES: usize = 128;
const EXECUTED_BYTES: usize = 44;

impl Order {
    /// The whole state as bytes; equal states give equal bytes. Limits are not in it.
    pub(in crate::ordering) fn encode(&self) -> Vec<u8> {
        let requests = self.known.len() * KNOWN_BYTES + self.executed.len() * EXECUTED_BYTES;
        let mut out = Writer::with_capacity(requests + 4096);
        out.raw(MAGIC).u64(self.agreed);
        let (position, choice) = &self.last;
        out.round(position.round).digest(&position.vector).count(choice.len());
        choice.iter().for_each(|d| {
            out.digest(d);
        });
        out.digest(&self.opening.0).round(self.opening.1).count(self.past.len());
        for (epoch, opening, first) in &self.past {
            out.epoch(*epoch).digest(opening).round(*first);
        }
        self.tips.iter().for_each(|t| {
            out.u64(t.candidate).u64(t.now);
        });
        self.encode_roster(&mut out);
        out.count(self.changes.len());
        for (digest, change) in &self.changes {
            out.digest(digest);
            change.put(&mut out);
        }
        out.count(self.known.len());
        for (digest, known) in self.known.sorted() {
            out.digest(digest);
            encode_known(known, &mut out);
        }
        out.count(self.accepted.len());
        self.accepted.iter().for_each(|d| {
            out.digest(d);
        });
        out.count(self.executed.len());
        self.executed.iter().for_each(|(d, done)| {
            out.round(done.round).digest(d).u32(done.holders.bits());
        });
        out.into_bytes()
    }

    fn encode_roster(&self, out: &mut Writer) {
        let roster = &self.roster;
        roster.call.put(out);
        for s in &roster.standings {
            let reason = match s.out {
                None => 0,
                Some(Reason::Left) => 1,
                Some(Reason::Restarted) => 2,
                Some(Reason::Lied) => 3,
                Some(Reason::Silent) => 4,
            };
            out.u8(reason).u64(s.since.0).u64(s.may_join.0).u32(s.doublings).u32(s.admitted);
            out.bool(s.forgiven.is_some()).u64(s.forgiven.map_or(0, |at| at.0));
            out.bool(s.kept_out)
                .bool(s.new_key.is_some())
                .raw(&s.new_key.map_or([0; 32], |key| key.0));
        }
        out.count(roster.keys.len());
        roster.keys.iter().for_each(|change| change.put(out));
        out.count(roster.pending.len()).count(roster.cut);
        for p in &roster.pending {
            let (clock, replica) = p.uid.parts();
            out.u64(clock).u8(replica).digest(&p.digest);
            p.change.put(out);
        }
    }

    /// Reads a state of a group of this size.
    ///
    /// # Errors
    /// If the bytes are no such state.
    pub(in crate::ordering) fn decode(
        bytes: &[u8],
        ensemble: Ensemble,
        limits: OrderLimits,
        seed: u64,
    ) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError { what: "not an ordering state of this version", at: 0 });
        }
        let mut order = Order::new(ensemble, limits, seed, Digest::ZERO);
        order.agreed = r.u64("agreed clock")?;
        let round = r.round("last round")?;
        let position = StepPosition { round, vector: r.digest("last vector")? };
        let n = r.count(31, 32, "last choice")?;
        let choice = (0..n).map(|_| r.digest("chosen hash")).collect::<Result<_, _>>()?;
        order.last = (position, choice);
        order.opening = (r.digest("opening")?, r.round("first round")?);
        for _ in 0..r.count(MAX_PAST, 44, "past openings")? {
            let epoch = r.epoch("past epoch")?;
            order.past.push_back((epoch, r.digest("past opening")?, r.round("its first round")?));
        }
        for tip in &mut order.tips {
            *tip = Tip { candidate: r.u64("highest candidate")?, now: r.u64("last clock")? };
        }
        order.decode_roster(&mut r)?;
        for _ in 0..r.count(limits.sole_quota as usize * ensemble.n(), 33, "changes")? {
            let digest = r.digest("change digest")?;
            order.changes.insert(digest, Change::get(&mut r)?);
        }
        order.decode_known(&mut r)?;
        r.finish()?;
        match order.encode() == bytes {
            true => Ok(order),
            false => Err(DecodeError { what: "not the one encoding of a state", at: 0 }),
        }
    }

    fn decode_roster(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.roster.call = Call::get(r)?;
        let members = self.roster.members();
        // Without a member every round would be complete.
        if members.is_empty() || !members.minus(self.ensemble.all()).is_empty() {
            return Err(r.error("members"));
        }
        for place in 0..self.roster.standings.len() {
            let out = match r.u8("reason")? {
                0 => None,
                1 => Some(Reason::Left),
                2 => Some(Reason::Restarted),
                3 => Some(Reason::Lied),
                4 => Some(Reason::Silent),
                _ => return Err(r.error("reason")),
            };
            let since = AgreedTime(r.u64("since")?);
            let may_join = AgreedTime(r.u64("may join")?);
            let doublings = r.u32("doublings")?;
            let admitted = r.u32("admitted")?;
            let is_forgiven = r.bool("forgiven")?;
            let at = AgreedTime(r.u64("forgiven at")?);
            let forgiven = is_forgiven.then_some(at);
            let kept_out = r.bool("kept out")?;
            let is_replaced = r.bool("replaced")?;
            let key: PublicKey = r.key("new key")?;
            let new_key = is_replaced.then_some(key);
            self.roster.standings[place] =
                Standing { out, since, may_join, doublings, forgiven, admitted, kept_out, new_key };
        }
        for _ in 0..r.count(MAX_KEY_CHANGES, 37, "changes of keys")? {
            let change = KeyChange::get(r)?;
            if !self.ensemble.contains(change.replica) {
                return Err(r.error("replica with another key"));
            }
            self.roster.keys.push(change);
        }
        let n = r.count(usize::from(u16::MAX), 42, "pending changes")?;
        self.roster.cut = r.count(n, 0, "changes of the cut")?;
        for _ in 0..n {
            let (clock, replica) = (r.u64("change id")?, r.u8("change id")?);
            let uid = crate::types::Uid::from_parts(clock, replica);
            let digest = r.digest("change digest")?;
            self.roster.pending.push(Pending { uid, digest, change: Change::get(r)? });
        }
        Ok(())
    }

    fn decode_known(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..r.count(usize::MAX >> 8, 60, "requests")? {
            let digest = r.digest("request")?;
            let known = decode_known(r)?;
            if known.candidates.is_empty() {
                return Err(r.error("candidates"));
            }
            if known.state == State::HalfSeen {
                self.half_seen.insert((known.first.0, digest));
                let place = known.candidates[0].replica.index();
                let charged = self.charged.get_mut(place);
                *charged.ok_or_else(|| r.error("replica of a candidate"))? += 1;
            }
            self.known.insert(digest, known);
        }
        for _ in 0..r.count(self.known.len(), 32, "accepted requests")? {
            let digest = r.digest("accepted request")?;
            if !self.known.get(&digest).is_some_and(Known::is_accepted) {
                return Err(r.error("accepted request"));
            }
            self.accepted.push(digest);
        }
        for _ in 0..r.count(usize::MAX >> 8, EXECUTED_BYTES, "executed requests")? {
            let (round, digest) = (r.round("executed in")?, r.digest("executed request")?);
            let done = Done { round, holders: r.members("holders")? };
            if self.known.contains(&digest) || !self.executed.push_back(digest, done) {
                return Err(r.error("executed request"));
            }
        }
        let unexecuted: Vec<Digest> =
            self.accepted.iter().copied().chain(self.half_seen.iter().map(|(_, d)| *d)).collect();
        let members = self.roster.members();
        unexecuted.iter().for_each(|digest| self.index_partial(digest, members));
        Ok(())
    }
}

fn encode_known(known: &Known, out: &mut Writer) {
    let (tag, round, cap) = match known.state {
        State::HalfSeen => (0, Round(0), None),
        State::Accepted(round, cap) => (1, round, cap),
    };
    out.u8(tag).round(round).bool(cap.is_some()).u64(cap.unwrap_or(0));
    out.round(known.first.0).u64(known.first.1).bool(known.void);
    out.u32(known.holders.bits()).count(known.candidates.len());
    known.candidates.iter().for_each(|c| {
        out.u64(c.clock).replica(c.replica);
    });
}

fn decode_known(r: &mut Reader<'_>) -> Result<Known, DecodeError> {
    let (tag, round) = (r.u8("state")?, r.round("state's round")?);
    let is_capped = r.bool("capped")?;
    let cap = r.u64("cap")?;
    let cap = is_capped.then_some(cap);
    let state = match tag {
        0 => State::HalfSeen,
        1 => State::Accepted(round, cap),
        _ => return Err(r.error("state")),
    };
    let first = (r.round("first round")?, r.u64("first clock")?);
    let void = r.bool("void")?;
    let holders: Members = r.members("holders")?;
    let mut candidates = Vec::new();
    for _ in 0..r.count(31, 9, "candidates")? {
        let clock = r.u64("candidate clock")?;
        candidates.push(Cuid { clock, replica: r.replica("candidate replica")? });
    }
    let touched = Round(0);
    Ok(Known { candidates, holders, first, state, partial: None, void, touched })
}
