//! What a replica tells people and their tools about itself.

use super::replica::Replica;
use super::{Event, Standing, Status, Waiting};
use crate::crypto::Scheme;
use crate::ordering;
use crate::types::{Members, Now};
use std::collections::BTreeMap;

/// What a replica counts besides its core.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) repeats: u64,
    pub(super) busy: u64,
    pub(super) forbidden: u64,
    pub(super) unacceptable: u64,
    pub(super) malformed: u64,
    pub(super) bad_signatures: u64,
    pub(super) unknown_group: u64,
    pub(super) bodies_asked: u64,
    pub(super) bodies_sent: u64,
    pub(super) bodies_received: u64,
    pub(super) forgotten: u64,
    pub(super) over_quota: u64,
}

impl<S: Scheme> Replica<S> {
    /// What people and their tools may see.
    pub fn status(&self, now: Now) -> Status {
        let core = &self.core;
        let numbers = |m: Members| m.iter().map(|r| r.number()).collect::<Vec<u8>>();
        let (checkpoint, state) = self.executor.checkpoint();
        let standing = match () {
            () if self.executor.halted().is_some() => Standing::Halted,
            () if core.is_restarted() => Standing::Restarted,
            () => Standing::Member,
        };
        Status {
            cluster: self.keyring.context().cluster.to_hex(),
            replica: self.id.number(),
            incarnation: self.incarnation,
            standing,
            service: self.executor.service_name().to_owned(),
            epoch: core.epoch().to_string(),
            members: numbers(core.members()),
            round: core.sent().0,
            committed: core.committed().0,
            executed_round: self.executor.position().round.0,
            executed: self.executor.executed(),
            running: self.executor.running().to_hex(),
            checkpoint: checkpoint.0,
            state: state.to_hex(),
            stable: self.stable.0,
            agreed_time: core.agreed(),
            links: self.links.status(now.monotonic),
            client_links: self.links.client_count() as u64,
            outstanding: self.bodies.outstanding().into(),
            waiting: core.waiting().map(|(round, missing, since)| Waiting {
                round: round.0,
                missing: numbers(missing),
                since_ms: now.monotonic.since(since).as_millis() as u64,
            }),
            counters: self.counters(),
            ..Status::default()
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let (c, o) = (&self.counters, self.core.stats());
        let all = [
            ("requests", c.requests),
            ("repeats", c.repeats),
            ("busy", c.busy),
            ("forbidden", c.forbidden),
            ("unacceptable", c.unacceptable),
            ("malformed", c.malformed),
            ("bad_signatures", c.bad_signatures),
            ("unknown_group", c.unknown_group),
            ("bodies_asked", c.bodies_asked),
            ("bodies_sent", c.bodies_sent),
            ("bodies_received", c.bodies_received),
            ("forgotten", c.forgotten),
            ("over_quota", c.over_quota),
            ("rounds", o.rounds),
            ("candidates", o.candidates),
            ("ordered", o.executed),
            ("proposals", o.proposals),
            ("proposals_ignored", o.proposals_ignored),
            ("invalid_proposals", o.invalid),
            ("equivocations", o.equivocations),
            ("wants", o.wants),
            ("stalls", o.stalls),
            ("unexecuted", self.core.unexecuted() as u64),
            ("backlog", self.executor.backlog() as u64),
            ("diverged", self.diverged.len() as u64),
        ];
        all.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
    }
}

/// A core's event as the replica's.
pub(super) fn report(event: ordering::Event) -> Option<Event> {
    Some(match event {
        ordering::Event::Waiting { round, missing } => Event::Waiting { round, missing },
        ordering::Event::Resumed { round } => Event::Resumed { round },
        ordering::Event::Equivocation { first, .. } => {
            let (replica, epoch, round) = (first.replica, first.epoch, first.round);
            Event::Equivocation { replica, epoch, round }
        }
        ordering::Event::Invalid { proposal, why } => {
            Event::InvalidProposal { replica: proposal.replica, round: proposal.round, why }
        }
        ordering::Event::Restarted => Event::Restarted,
    })
}
