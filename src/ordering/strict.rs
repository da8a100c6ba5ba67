//! Own proposals that leave only when they are on the disk, and going on from them after a start
//! (§7, `durability = "strict"`).
//!
//! Whoever knows all that it has signed need not be left out after a crash: it sends its last
//! proposal again and goes on in its epoch. So each own proposal is written into the log of rounds
//! before anybody may see it, behind the vector that it chooses and with the requests that it gives
//! candidates. While it is on its way nobody gets it by any other way, either: neither who asks for
//! it, nor who reconnects.

use super::rounds::{Held, Stored};
use super::{Action, Core, Logged, Statement};
use crate::crypto::Scheme;
use crate::types::marks::mark;
use crate::types::plant::planted;
use crate::types::{Digest, Epoch, Instant, Now, Round};
use std::collections::VecDeque;
use std::sync::Arc;

/// The own proposals of one life that matter to the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Signed {
    strict: bool,
    /// Signed and not known to be durable, the earliest first.
    unshown: VecDeque<Held>,
    /// The last one that the log held at the start.
    found: Option<Held>,
}

impl Signed {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }
}

impl<S: Scheme> Core<S> {
    /// R2: a proposal was signed. It leaves now, or when it is durable.
    pub(super) fn send_own(&mut self, proposal: Held, out: &mut Vec<Action>) {
        if !self.signed.strict {
            out.push(Action::Broadcast(proposal));
            return;
        }
        out.push(Action::Log(Logged::Own(proposal.clone())));
        self.signed.unshown.push_back(proposal.clone());
        if planted("s7-strict-sends-first") {
            out.push(Action::Broadcast(proposal));
        }
    }

    /// §7: the own proposals up to this one are durable.
    pub(super) fn own_durable(
        &mut self,
        now: Now,
        (epoch, round): (Epoch, Round),
        out: &mut Vec<Action>,
    ) {
        let is_durable = |p: &mut Held| (p.epoch, p.round) <= (epoch, round);
        while let Some(proposal) = self.signed.unshown.pop_front_if(is_durable) {
            if (proposal.epoch, proposal.round) == (self.epoch, self.sent) {
                // Others can be late from now on.
                self.sent_at = now.monotonic;
            }
            // It goes to all: nobody has to have asked.
            self.wants.take_waiting(proposal.round, self.id);
            mark("§7 a proposal left once it was durable");
            out.push(Action::Broadcast(proposal));
        }
    }

    /// Nobody may see an own proposal that is not durable yet, whatever the reason to show it: an
    /// answer, a new link, a part of the history, a blame. Of the actions from this place on those
    /// that would are left out; who wants it gets it with the others.
    pub(super) fn keep_back(&self, from: usize, out: &mut Vec<Action>) {
        if self.signed.unshown.is_empty() || planted("s7-strict-shown-if-asked") {
            return;
        }
        let unshown = |p: &Held| self.signed.unshown.iter().any(|own| Arc::ptr_eq(own, p));
        let mut at = 0;
        out.retain(|action| {
            at += 1;
            at <= from
                || !match action {
                    Action::Send { proposal, .. } => unshown(proposal),
                    Action::TellAll(what)
                    | Action::Tell { what, .. }
                    | Action::Show { what, .. } => {
                        matches!(what, Statement::Proposal(p) if unshown(p))
                    }
                    _ => false,
                }
        });
    }

    /// Since when the own proposal of the round under way is out, if it is.
    pub(super) fn out_since(&self) -> Option<Instant> {
        let sent = self.sent > self.rounds.complete() && self.signed.unshown.is_empty();
        sent.then_some(self.sent_at)
    }

    /// A start found an own proposal in its log.
    pub(super) fn replay_own(&mut self, proposal: Held) {
        if proposal.replica == self.id {
            self.signed.found = Some(proposal);
        }
    }

    /// §7: whether this replica knows all that it has signed in the epoch that it had entered, and
    /// so goes on in it. Then its log ends with an own proposal of that epoch, of the last complete
    /// round or the next: none leaves before it is there. With a log that was not written in this
    /// way there is none.
    pub(super) fn goes_on(&mut self) -> bool {
        let Some(own) = self.signed.found.take().filter(|_| self.signed.strict) else {
            return false;
        };
        let entered = &self.change.entered;
        let of = (own.epoch, own.members);
        let here = of == (entered.epoch, entered.members) && of == self.rounds.epoch();
        let lacking = self.blank || self.abstains || self.replaced;
        let complete = self.rounds.complete();
        if !here || lacking || own.round < complete || own.round > complete.next() {
            return false;
        }
        let fits = match own.round > complete {
            true => own.choice == self.rounds.choice(),
            false => self.rounds.find(complete, self.id, &own.digest()).is_some(),
        };
        if !fits {
            return false;
        }
        mark("§7 one that stopped went on in its epoch");
        if planted("s7-strict-forgets-own") {
            self.sent = complete;
            return true;
        }
        self.sent = own.round;
        if own.round > complete {
            let stored = self.rounds.store(own);
            debug_assert!(stored == Stored::New, "nothing else of ours is in this round");
        }
        self.remember_own();
        true
    }

    /// What has a candidate of ours and is not executed: in the order, in the last complete vector
    /// and in the last own proposal.
    fn remember_own(&mut self) {
        let order = self.change.prepared.as_ref().map_or(&self.order, |p| &p.order);
        let mut mine = order.candidates_of(self.id);
        let complete = self.rounds.complete();
        for round in [complete, complete.next()] {
            let Some(own) = self.rounds.find(round, self.id, &Digest::ZERO) else {
                continue;
            };
            let (last, named) = (own.candidates.last(), own.candidates.iter());
            self.clock.at_least(own.now.max(last.map_or(0, |c| c.clock)));
            mine.extend(named.map(|c| (c.request, c.clock)));
            let context = self.keyring.context();
            self.changes.extend(own.changes.iter().map(|c| (c.digest(&context), *c)));
        }
        mine.retain(|(request, _)| !order.is_executed(request));
        for (request, clock) in mine {
            self.mine.insert(request, clock);
        }
    }

    /// §7: after a start that goes on: the last own proposal again.
    pub(super) fn send_again(&mut self, now: Now, out: &mut Vec<Action>) {
        let own = self.rounds.find(self.sent, self.id, &Digest::ZERO).cloned();
        let goes_on = self.signed.strict && self.change.restarted.is_none() && !self.blank;
        if let Some(own) = own.filter(|_| goes_on) {
            // What the log took to be read does not make others late.
            (self.sent_at, self.change.progress) = (now.monotonic, now.monotonic);
            out.push(Action::Broadcast(own));
        }
    }
}
