//! Proofs of replies for clients that want receipts (docs/protocol.md §6).
//!
//! Nothing is signed for one: what members attest in their proposals is signed anyway. A proof is
//! the way from a reply to proposals of committed vectors; it is given to the client whose request
//! it is, and to nobody else. An idle group makes no proposals, so a proof that is wanted is work
//! for the ordering core (R6), for a few rounds after the step and no more.

use super::Actions;
use super::answers::Asker;
use super::links::Client;
use super::outputs::StepOutputs;
use super::replica::{Replica, to_client};
use crate::crypto::{Scheme, Unverified, Verified, running_root};
use crate::ordering::{self, Step};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Assurance, ClientId, Instant, LinkId, Members, Now, ReplicaId, Round};
use crate::wire::{
    Attestation, Candidate, Header, LaterStep, MAX_LATER_STEPS, Message, NoReceipt, Proposal,
    ReceiptAnswer, ReceiptProof, WantReceipt,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of proposals that are kept, at most.
const MAX_BYTES: usize = 32 << 20;
/// Rounds whose proposals are kept, at most: later ones attest no step that a proof may go on to.
const MAX_ROUNDS: usize = MAX_LATER_STEPS + 16;
/// Clients' questions that wait for proposals, at most, and those of one client.
const MAX_WISHES: usize = 4096;
pub(super) const MAX_OF_CLIENT: usize = 64;
/// Rounds that may be run beyond the first that could be enough, for a question that waits.
const MORE_ROUNDS: u64 = 4;
/// What an answer costs at least of what a link gets in one batch: trees are hashed for it.
const LEAST_COST: usize = 64 << 10;

/// One that signed, with what it signed.
#[derive(Debug)]
enum Signed {
    Proposal(Arc<Verified<Proposal>>),
    /// Its header, once somebody has wanted it: making it hashes all candidates.
    Header(Box<Unverified<Header>>),
}

impl Signed {
    fn weight(&self) -> usize {
        let proposal = match self {
            Signed::Proposal(p) => {
                p.candidates.len() * size_of::<Candidate>() + p.choice.len() * 32
            }
            Signed::Header(h) => h.peek().choice.len() * 32,
        };
        size_of::<Header>() + proposal
    }

    fn header(&mut self) -> &Unverified<Header> {
        if let Signed::Proposal(proposal) = self {
            *self = Signed::Header(Box::new(proposal.header().into()));
        }
        match self {
            Signed::Header(header) => header,
            Signed::Proposal(_) => unreachable!("it was just made a header"),
        }
    }

    fn attestation(&self) -> (ReplicaId, Attestation) {
        match self {
            Signed::Proposal(p) => (p.replica, p.attestation),
            Signed::Header(h) => (h.peek().replica, h.peek().attestation),
        }
    }
}

/// A question that waits.
#[derive(Debug)]
struct Wish {
    link: LinkId,
    client: ClientId,
    want: WantReceipt,
    until: Instant,
}

/// What members have signed lately, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    signed: VecDeque<(Round, Vec<Signed>)>,
    bytes: usize,
    wishes: VecDeque<Wish>,
    /// Whether something has come since the wishes were looked at.
    fresh: bool,
}

/// What becomes of a question.
enum Fate {
    Answer(Result<ReceiptProof, NoReceipt>),
    /// It waits.
    Wait,
}

impl Receipts {
    /// A vector is committed: what its proposals attest may be shown.
    pub(super) fn committed(&mut self, step: &Step) {
        let round = step.position.round;
        // After a state was taken over that leads back, other rounds of these numbers follow.
        while self.signed.back().is_some_and(|(last, _)| *last >= round) {
            let gone = self.signed.pop_back();
            self.forget(gone);
        }
        let signed = step.proposals.iter().cloned().map(Signed::Proposal);
        let signed: Vec<Signed> = signed.collect();
        self.bytes += signed.iter().map(Signed::weight).sum::<usize>();
        self.signed.push_back((round, signed));
        while self.signed.len() > MAX_ROUNDS || self.bytes > MAX_BYTES && self.signed.len() > 1 {
            let gone = self.signed.pop_front();
            self.forget(gone);
        }
        self.fresh = true;
    }

    fn forget(&mut self, gone: Option<(Round, Vec<Signed>)>) {
        let signed = gone.into_iter().flat_map(|(_, signed)| signed);
        self.bytes -= signed.map(|s| s.weight()).sum::<usize>();
    }

    /// Something became durable: answers may leave that waited for that.
    pub(super) fn look_again(&mut self) {
        self.fresh = true;
    }

    /// The link is gone, and with it who waits.
    pub(super) fn link_down(&mut self, link: LinkId) {
        self.wishes.retain(|wish| wish.link != link);
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wishes.iter().map(|wish| wish.until).min()
    }

    /// Takes a question to wait; false if too many do. One asks for a reply once.
    fn wait(&mut self, wish: Wish) -> bool {
        let of = |w: &Wish| (w.link, w.want.session, w.want.number);
        self.wishes.retain(|other| of(other) != of(&wish));
        let own = self.wishes.iter().filter(|other| other.client == wish.client).count();
        let room = own < MAX_OF_CLIENT && self.wishes.len() < MAX_WISHES;
        if room {
            self.wishes.push_back(wish);
        }
        room
    }

    /// Signatures of `needs` replicas, those that attest the nearest steps, from proposals of this
    /// round on. `place` says how many steps after the first one an attestation is of, if it is of
    /// one of them.
    fn collect(
        &mut self,
        from: Round,
        (needs, assurance): (usize, Assurance),
        mut place: impl FnMut(&Attestation) -> Option<usize>,
    ) -> (usize, Vec<Unverified<Header>>) {
        let (mut who, mut found, mut last) = (Members::NONE, Vec::new(), 0);
        let first = self.signed.partition_point(|(round, _)| *round < from);
        let before: usize = self.bytes;
        let mut change = 0isize;
        for signed in self.signed.range_mut(first..).flat_map(|(_, signed)| signed) {
            if found.len() >= needs {
                break;
            }
            let (replica, attestation) = signed.attestation();
            let counts = assurance == Assurance::Majority || !attestation.rolled;
            if who.contains(replica) || !counts {
                continue;
            }
            let Some(at) = place(&attestation) else { continue };
            let weight = signed.weight();
            found.push(signed.header().clone());
            change += signed.weight() as isize - weight as isize;
            who.insert(replica);
            last = last.max(at);
        }
        self.bytes = before.saturating_add_signed(change);
        found.sort_by_key(|header| header.peek().replica);
        (last, found)
    }
}

impl<S: Scheme> Replica<S> {
    /// A client asks for the proof of a reply.
    pub(super) fn want_receipt(
        &mut self,
        now: Now,
        link: LinkId,
        client: Client,
        want: WantReceipt,
        out: &mut Actions,
    ) {
        match self.judge_wish(now, (&client.id, &want), false, out) {
            Fate::Answer(result) => self.give_receipt(link, &want, result, out),
            Fate::Wait => {
                let until = now.monotonic + self.wish_lasts();
                if !self.receipts.wait(Wish { link, client: client.id, want, until }) {
                    self.give_receipt(link, &want, Err(NoReceipt::Busy), out);
                }
            }
        }
    }

    fn wish_lasts(&self) -> Duration {
        4 * self.timing.patience
    }

    /// Looks at the questions that wait: some may be answered now, for some the time is over.
    pub(super) fn answer_wishes(&mut self, now: Now, out: &mut Actions) {
        let due = self.receipts.next_wake().is_some_and(|at| at <= now.monotonic);
        if self.receipts.wishes.is_empty() || !(std::mem::take(&mut self.receipts.fresh) || due) {
            return;
        }
        for wish in std::mem::take(&mut self.receipts.wishes) {
            if self.links.client(wish.link).is_none() {
                continue;
            }
            let over = wish.until <= now.monotonic;
            match self.judge_wish(now, (&wish.client, &wish.want), over, out) {
                Fate::Answer(result) => self.give_receipt(wish.link, &wish.want, result, out),
                Fate::Wait => self.receipts.wishes.push_back(wish),
            }
        }
    }

    fn give_receipt(
        &mut self,
        link: LinkId,
        want: &WantReceipt,
        result: Result<ReceiptProof, NoReceipt>,
        out: &mut Actions,
    ) {
        let WantReceipt { session, number, .. } = *want;
        let is_proof = result.is_ok();
        let mut frame = ReceiptAnswer { session, number, result }.to_frame(self.group);
        let cost = if is_proof { frame.len().max(LEAST_COST) } else { frame.len() };
        if !self.answers.may(Asker::Client(link), cost) {
            let result = Err(NoReceipt::Busy);
            frame = ReceiptAnswer { session, number, result }.to_frame(self.group);
        }
        self.counters.receipts += u64::from(is_proof);
        out.push(to_client(link, frame));
    }

    /// What may be said of this question now; if its time is over, something is. If proposals are
    /// lacking, rounds are run for it.
    fn judge_wish(
        &mut self,
        now: Now,
        (client, want): (&ClientId, &WantReceipt),
        over: bool,
        out: &mut Actions,
    ) -> Fate {
        let round = want.position.round;
        let halted = self.executor.halted().is_some();
        let executed = !self.executor.is_lost() && self.executor.position().round >= round;
        // A reply leaves once its step can be done again from the disk (§7), and nothing is
        // answered that a promise forbids (E4). What shows a reply leaves no earlier. For a member
        // that follows from what counts, but not for one that only follows.
        let may_leave = self.journal.has_durable(round) && self.core.may_answer();
        if halted || !executed || !may_leave {
            mark("§6 a receipt waited for its step");
            return match halted || over {
                true => Fate::Answer(Err(NoReceipt::NotExecuted)),
                false => Fate::Wait,
            };
        }
        match self.find_receipt(client, want, over) {
            Err(why) => Fate::Answer(Err(why)),
            Ok(Some(proof)) => Fate::Answer(Ok(proof)),
            Ok(None) => {
                self.run_rounds(now, round, out);
                Fate::Wait
            }
        }
    }

    /// R6: a proof that is wanted and lacks signatures is work, up to the round with which the
    /// first proposals are committed that can attest the step, and for a few more if some of these
    /// attest an earlier one.
    fn run_rounds(&mut self, now: Now, step: Round, out: &mut Actions) {
        let first = step.0 + self.journal.attests_after() + 1;
        let more = self.core.complete().0 >= first;
        let until = if more { first + MORE_ROUNDS } else { first };
        if self.core.complete().0 < until && !planted("r6-receipts-wait") {
            mark("R6 rounds were run for a receipt");
            self.core(now, ordering::Input::WantRounds(Round(until)), out);
        }
    }

    /// The proof, if enough have signed; with `anyway` as far as it goes.
    fn find_receipt(
        &mut self,
        client: &ClientId,
        want: &WantReceipt,
        anyway: bool,
    ) -> Result<Option<ReceiptProof>, NoReceipt> {
        let WantReceipt { position, index, assurance, .. } = *want;
        let before = self.step_of(client, want)?.before;
        let mut steps = Vec::new();
        let mut running = before;
        let mut coming = self.executor.roots_since(position.round);
        // How many steps after the request's own an attestation is of.
        let place = |attestation: &Attestation| {
            while let Some((at, root)) = coming.next_if(|(at, _)| {
                at.round <= attestation.position.round && steps.len() <= MAX_LATER_STEPS
            }) {
                running = running_root(&running, &at.vector, &root);
                steps.push((LaterStep { position: at, root }, running));
            }
            let found = steps.iter().rposition(|(step, _)| step.position == attestation.position);
            found.filter(|at| steps[*at].1 == attestation.running)
        };
        let from = Round(position.round.0 + self.journal.attests_after());
        let needs = assurance.needs(self.keyring.ensemble());
        let (last, signed) = self.receipts.collect(from, (needs, assurance), place);
        if signed.len() < needs {
            if !anyway {
                return Ok(None);
            }
            mark("§6 a receipt was wanted for too long");
        }
        let later = steps.iter().skip(1).take(last).map(|(step, _)| *step).collect();
        // The tree is hashed for this.
        let path = self.step_of(client, want)?.tree().path(index).ok_or(NoReceipt::NoSuchReply)?;
        Ok(Some(ReceiptProof { position, index, before, path, later, signed }))
    }

    /// The step that a client asks about, if what has that place in it is a request of this client.
    fn step_of(&self, client: &ClientId, want: &WantReceipt) -> Result<&StepOutputs, NoReceipt> {
        let WantReceipt { session, number, position, index, .. } = *want;
        let step = self.executor.outputs_since(position.round).next().ok_or(NoReceipt::TooOld)?;
        if step.position != position {
            return Err(NoReceipt::NoSuchReply);
        }
        let leaf = step.leaves.get(index as usize).ok_or(NoReceipt::NoSuchReply)?;
        let place = (position, index);
        let owns = self.executor.is_reply_to(client, (session, number), &leaf.request, place);
        match owns || planted("s6-receipt-of-others") {
            true => Ok(step),
            false => Err(NoReceipt::NoSuchReply),
        }
    }
}
