//! Receipts: after a request is accepted, what shows it to others is gathered from the replicas
//! (docs/protocol.md §6).
//!
//! No replica is believed. Each may give a false proof, none, or one with too few signatures; all
//! are asked, and what they give is judged together whenever one more has come. Every replica is
//! heard once for each time that it was asked, so a liar can cost no more than that.

use super::core::Caller;
use super::queue::Travel;
use super::replies::find;
use super::window::{Found, Slot};
use super::{Action, Actions, CallError, Token};
use crate::crypto::{Keyring, Scheme};
use crate::proof::receipt::{Judged, ReceiptError, assemble};
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{ClientId, Instant, ReplicaId};
use crate::voter::Value;
use crate::wire::{
    Command, Message, NoReceipt, Receipt, ReceiptAnswer, ReceiptProof, Request, WantReceipt,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Judges what replicas give, for a caller, which knows no signatures.
trait Judge: Send + Sync {
    fn assemble(
        &self,
        client: &ClientId,
        request: &Request,
        outcome: &Bytes,
        proofs: &[ReceiptProof],
    ) -> Result<(Receipt, Judged), ReceiptError>;
}

impl<S: Scheme> Judge for Keyring<S> {
    fn assemble(
        &self,
        client: &ClientId,
        request: &Request,
        outcome: &Bytes,
        proofs: &[ReceiptProof],
    ) -> Result<(Receipt, Judged), ReceiptError> {
        assemble(*client, request, outcome, proofs, self)
    }
}

/// The keys that a caller judges receipts with.
#[derive(Clone)]
pub struct ReceiptKeys(Arc<dyn Judge>);

impl ReceiptKeys {
    /// Those of a group's roster.
    pub fn new<S: Scheme>(keyring: Keyring<S>) -> Self {
        Self(Arc::new(keyring))
    }
}

impl fmt::Debug for ReceiptKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptKeys")
    }
}

/// A receipt that was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The receipt.
    pub receipt: Receipt,
    /// What it shows.
    pub judged: Judged,
}

/// Why there is no receipt of a call, though the call itself may be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptTrouble {
    /// What came in time makes none of the assurance that was wanted.
    #[error("no receipt in time: {}", told(.said, .short.as_deref()))]
    NotInTime {
        /// What replicas said or gave instead, in words; who is not listed was silent.
        said: Vec<(ReplicaId, String)>,
        /// What is missing in what came, if something fitted.
        short: Option<String>,
    },
    /// The session was evicted before the replicas had shown the proof.
    #[error("no receipt: the session was evicted before the replicas gave the proof")]
    SessionLost,
    /// The request itself got no answer.
    #[error("no receipt, since the request got no answer")]
    NoAnswer,
    /// This client knows no keys to judge receipts with, or asks a fail-stop chain.
    #[error("{0}")]
    Impossible(&'static str),
}

fn told(said: &[(ReplicaId, String)], short: Option<&str>) -> String {
    let mut parts: Vec<String> = short.map(str::to_owned).into_iter().collect();
    parts.extend(said.iter().map(|(replica, what)| format!("{replica}: {what}")));
    match parts.is_empty() {
        true => "no replica has answered".to_owned(),
        false => parts.join("; "),
    }
}

/// What is said where there are no receipts.
pub(super) const ONLY_VOTES: &str =
    "there are no receipts in a fail-stop cluster: nobody attests there what was answered";
const NO_KEYS: &str = "this client was given no keys to judge receipts with";

/// The receipt of one request on its way.
#[derive(Debug)]
pub(super) struct Gathering {
    request: Request,
    /// How often each replica was asked and has not answered; empty before the request is accepted.
    asked: BTreeMap<ReplicaId, u32>,
    is_asked: bool,
    proofs: BTreeMap<ReplicaId, ReceiptProof>,
    refused: BTreeMap<ReplicaId, String>,
    /// What was lacking in the last attempt.
    short: Option<String>,
}

impl Gathering {
    /// One of this request, which is not accepted yet.
    pub fn of(request: Request) -> Self {
        Self {
            request,
            asked: BTreeMap::new(),
            is_asked: false,
            proofs: BTreeMap::new(),
            refused: BTreeMap::new(),
            short: None,
        }
    }

    /// Whether the request is accepted and replicas are asked.
    pub fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// A replica is being asked.
    pub fn asks(&mut self, replica: ReplicaId) {
        *self.asked.entry(replica).or_default() += 1;
    }

    /// Its link is gone: what it was asked comes no more.
    pub fn lost(&mut self, replica: ReplicaId) {
        self.asked.remove(&replica);
    }

    fn trouble(&self) -> ReceiptTrouble {
        let said = self.refused.iter().map(|(replica, why)| (*replica, why.clone()));
        ReceiptTrouble::NotInTime { said: said.collect(), short: self.short.clone() }
    }

    // Takes an answer; true if there is something new to judge.
    fn take(
        &mut self,
        replica: ReplicaId,
        result: Result<ReceiptProof, NoReceipt>,
        accepted: &Value,
    ) -> bool {
        match self.asked.get_mut(&replica) {
            Some(open @ 1..) => *open -= 1,
            _ => return false,
        }
        match result {
            Ok(proof) if (proof.position, proof.index) == (accepted.position, accepted.index) => {
                self.refused.remove(&replica);
                self.proofs.insert(replica, proof);
                true
            }
            Ok(_) => {
                self.refused.insert(replica, "it shows another place in the order".to_owned());
                false
            }
            Err(why) => {
                self.refused.insert(replica, why.to_string());
                false
            }
        }
    }
}

impl Caller {
    /// Takes a call whose receipt is wanted.
    pub(super) fn order_for_receipt(
        &mut self,
        token: Token,
        commands: Vec<Command>,
        now: Instant,
        out: &mut Actions,
    ) {
        let why = match (self.setup.mode.votes(), &self.setup.receipts) {
            (false, _) => ONLY_VOTES,
            (true, None) => NO_KEYS,
            (true, Some(_)) => return self.order(token, commands, Travel::Proven, now, out),
        };
        refuse(token, why, out);
    }

    /// `t + 1` replicas said the same of a request: if its receipt is wanted, that comes first.
    pub(super) fn accepted(&mut self, number: u64, now: Instant, out: &mut Actions) {
        let group = self.setup.context.group;
        let (assurance, again) = (self.setup.assurance, self.setup.repeat_after);
        let Some(session) = &mut self.session else { return };
        let Found::Slot(Slot::Pending(pending)) = session.window.find(number) else { return };
        let (Some(gathering), Some(value)) = (&mut pending.receipt, pending.voter.accepted())
        else {
            return self.accept(number, now, out);
        };
        let (position, index) = (value.position, value.index);
        let want = WantReceipt { session: session.id, number, position, index, assurance };
        gathering.is_asked = true;
        pending.frame = want.to_frame(group).into();
        (pending.repeat_at, pending.backoff) = (now + again, again.saturating_mul(2));
        self.links.ask_for_receipt(number, pending);
        self.wake_by(now + again);
    }

    /// A replica has answered what it was asked for a receipt. Whatever does not fit changes a
    /// counter, and what the replica is said to have done.
    pub(super) fn receipt(
        &mut self,
        replica: ReplicaId,
        answer: ReceiptAnswer,
        now: Instant,
        out: &mut Actions,
    ) {
        let ReceiptAnswer { session, number, result } = answer;
        let slot = find(&mut self.session, session, number);
        let Some(Found::Slot(Slot::Pending(pending))) = slot else {
            self.links.count(replica).strays += u64::from(!matches!(slot, Some(Found::Slot(_))));
            return;
        };
        let (Some(gathering), Some(value)) = (&mut pending.receipt, pending.voter.accepted())
        else {
            self.links.count(replica).strays += 1;
            return;
        };
        if !gathering.is_asked || !gathering.take(replica, result, value) {
            return;
        }
        let Some(ReceiptKeys(judge)) = &self.setup.receipts else { return };
        let proofs: Vec<ReceiptProof> = gathering.proofs.values().cloned().collect();
        let client = &self.setup.client;
        match judge.assemble(client, &gathering.request, &value.outcome, &proofs) {
            Ok((receipt, judged))
                if judged.assurance >= self.setup.assurance || planted("s6-weak-receipt") =>
            {
                let proven = Proven { receipt, judged };
                self.end_receipt(number, Ok(proven.into()), now, out);
            }
            Ok((_, judged)) => {
                let lacks = judged.at_least(self.setup.assurance, self.setup.ensemble);
                gathering.short = lacks.err().map(|lacks| lacks.to_string());
            }
            Err(why) => {
                // What does not fit even alone is this replica's; the others may make one yet.
                let alone = gathering.proofs.get(&replica).cloned();
                let alone = alone.map(|proof| {
                    judge.assemble(client, &gathering.request, &value.outcome, &[proof])
                });
                match alone {
                    Some(Err(own)) if !matches!(own, ReceiptError::TooFew { .. }) => {
                        mark("§6 a replica gave a false proof for a receipt");
                        gathering.proofs.remove(&replica);
                        gathering.refused.insert(replica, format!("it gave a false proof: {own}"));
                    }
                    _ => gathering.short = Some(why.to_string()),
                }
            }
        }
    }

    /// Ends a request with what became of its receipt, and then with its answer.
    fn end_receipt(
        &mut self,
        number: u64,
        result: Result<Box<Proven>, ReceiptTrouble>,
        now: Instant,
        out: &mut Actions,
    ) {
        let Some(session) = &mut self.session else { return };
        let Found::Slot(Slot::Pending(pending)) = session.window.find(number) else { return };
        let tokens = pending.parts.iter().filter_map(|part| part.token);
        out.extend(tokens.map(|token| Action::Receipt { token, result: result.clone() }));
        self.accept(number, now, out);
    }

    /// A link is up: all that is outstanding goes over it, and so do questions for receipts.
    pub(super) fn receipts_asked(&mut self, replica: ReplicaId) {
        self.gatherings().for_each(|gathering| gathering.asks(replica));
    }

    /// A link is gone: what was asked over it gets no answer.
    pub(super) fn receipts_lost(&mut self, replica: ReplicaId) {
        self.gatherings().for_each(|gathering| gathering.lost(replica));
    }

    fn gatherings(&mut self) -> impl Iterator<Item = &mut Gathering> {
        let pending = self.session.iter_mut().flat_map(|s| s.window.all_mut());
        pending.filter_map(|(_, p)| p.receipt.as_deref_mut()).filter(|g| g.is_asked)
    }

    /// Ends all that only wait for receipts.
    pub(super) fn end_receipts(&mut self, why: ReceiptTrouble, now: Instant, out: &mut Actions) {
        for number in self.numbers(|p| p.is_accepted()) {
            self.end_receipt(number, Err(why.clone()), now, out);
        }
    }

    fn numbers(&self, which: impl Fn(&super::window::Pending) -> bool) -> Vec<u64> {
        let all = self.session.iter().flat_map(|s| s.window.all());
        all.filter(|(_, pending)| which(pending)).map(|(number, _)| number).collect()
    }

    /// Timers of receipts: what is asked again, and what is over.
    pub(super) fn run_receipts(&mut self, now: Instant, out: &mut Actions) {
        let timeout = self.setup.timeout;
        for number in self.numbers(|p| p.is_accepted()) {
            let Some(session) = &mut self.session else { return };
            let Found::Slot(Slot::Pending(pending)) = session.window.find(number) else { continue };
            let Some(gathering) = &pending.receipt else { continue };
            let over = pending.parts.iter().map(|part| part.since + timeout).max();
            if over.is_none_or(|over| over <= now) {
                let trouble = gathering.trouble();
                self.counts.timeouts += 1;
                self.end_receipt(number, Err(trouble), now, out);
                continue;
            }
            if pending.repeat_at <= now {
                self.counts.repeats += 1;
                pending.repeat_at = now + pending.backoff;
                let longer: Duration = pending.backoff.saturating_mul(2);
                pending.backoff = longer.min(self.setup.repeat_cap);
                self.links.ask_for_receipt(number, pending);
            }
            let next = over.map_or(pending.repeat_at, |over| over.min(pending.repeat_at));
            self.wake_by(next);
        }
    }
}

/// Ends a call for a receipt before anything is sent.
pub(super) fn refuse(token: Token, why: &'static str, out: &mut Actions) {
    out.push(Action::Receipt { token, result: Err(ReceiptTrouble::Impossible(why)) });
    out.push(Action::Done { token, result: Err(CallError::Unacceptable(why.to_owned())) });
}
