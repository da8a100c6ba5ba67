//! What a replica tells people and their tools about itself.

use super::replica::Replica;
use super::{Event, FormerKey, Glance, Place, Promised, Standing, Status, Waiting, Why};
use crate::crypto::Scheme;
use crate::ordering::{self, Reason};
use crate::types::{Instant, Members, Now, ReplicaId};
use crate::wire::BlameStep;
use std::collections::BTreeMap;

/// What a replica counts besides its core.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) queries: u64,
    pub(super) receipts: u64,
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
    pub(super) bad_reports: u64,
    pub(super) over_allowance: u64,
    pub(super) evidence: u64,
    pub(super) void: u64,
    pub(super) rebuilt: u64,
    /// How often this replica found itself in the minority (§6).
    pub(super) quarantines: u64,
    /// How often too much waited for bodies, so that steps were passed over.
    pub(super) passed_over: u64,
    pub(super) snapshots_wanted: u64,
    pub(super) snapshots_taken: u64,
    pub(super) snapshots_too_large: u64,
    pub(super) snapshots_installed: u64,
    pub(super) snapshots_refused: u64,
    pub(super) snapshot_parts_sent: u64,
    pub(super) snapshot_parts_unasked: u64,
    pub(super) snapshot_bytes_sent: u64,
    pub(super) snapshot_wants_dropped: u64,
    pub(super) transfer_lies: u64,
    pub(super) replies_whole: u64,
    pub(super) replies_digested: u64,
}

impl<S: Scheme> Replica<S> {
    /// What people and their tools may see.
    pub fn status(&self, now: Now) -> Status {
        let core = &self.core;
        let numbers = |m: Members| m.iter().map(|r| r.number()).collect::<Vec<u8>>();
        let (checkpoint, state) = self.executor.checkpoint();
        Status {
            cluster: self.keyring.context().cluster.to_hex(),
            replica: self.id.number(),
            incarnation: self.incarnation,
            standing: self.standing(),
            service: self.executor.service_name().to_owned(),
            epoch: core.epoch().to_string(),
            members: numbers(core.members()),
            promised: core.promised().map(|call| Promised {
                epoch: call.number().to_string(),
                members: numbers(call.members()),
                accused: numbers(call.accused),
            }),
            standings: self.places(now.monotonic),
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
            delta: self.delta_status(now),
            client_links: self.links.client_count() as u64,
            outstanding: self.bodies.outstanding().into(),
            waiting: core.waiting().map(|(round, missing, since)| Waiting {
                round: round.0,
                missing: numbers(missing),
                since_ms: now.monotonic.since(since).as_millis() as u64,
            }),
            halted: self.executor.halted().map(str::to_owned),
            quarantined: self.quarantine.found().map(|round| round.0),
            disk_replaced: core.is_replaced(),
            transfer: self.transfer_status(),
            transfer_lies: self.transfer_lies(now),
            counters: self.counters(),
            ..Status::default()
        }
    }

    /// The little of it that whoever watches a replica closely looks at again and again.
    pub fn glance(&self) -> Glance {
        Glance {
            standing: self.standing(),
            executed_round: self.executor.position().round,
            running: self.executor.running(),
        }
    }

    fn standing(&self) -> Standing {
        let core = &self.core;
        let member = core.members().contains(self.id);
        let own = &core.standings()[self.id.index()];
        match () {
            () if self.executor.halted().is_some() => Standing::Halted,
            () if self.quarantine.is_on() => Standing::Quarantined,
            () if self.executor.is_lost() || core.is_restarted() && member => Standing::Restarted,
            () if core.promised().is_some_and(|c| c.members().contains(self.id)) => {
                Standing::Changing
            }
            () if member => Standing::Member,
            () if core.is_kept_out() => Standing::Follower,
            () if own.out != Some(Reason::Lied) && core.agreed() >= own.may_join.0 => {
                Standing::Joining
            }
            () => Standing::Follower,
        }
    }

    fn places(&self, now: Instant) -> Vec<Place> {
        let all = self.keyring.ensemble().replicas().zip(self.core.standings());
        let place = |(replica, standing): (ReplicaId, &ordering::Standing)| Place {
            replica: replica.number(),
            member: standing.out.is_none(),
            why: standing.out.map(Why::from),
            since: standing.since.0,
            may_join: standing.out.filter(|r| *r != Reason::Lied).map(|_| standing.may_join.0),
            kept_out: standing.kept_out,
            rolled: match replica == self.id {
                true => self.rolled.is_on(),
                false => self.rolled.says(replica),
            },
            lag_ms: self.core.lag_of(replica, now).as_millis().try_into().unwrap_or(u64::MAX),
            ..self.keys_of(replica)
        };
        all.map(place).collect()
    }

    /// What is known of a replica's keys, for people.
    fn keys_of(&self, replica: ReplicaId) -> Place {
        let first = self.keyring.key_at(replica, 0).copied();
        let changes = self.keyring.changes().into_iter().filter(|c| c.replica == replica);
        let (mut key, mut former_keys) = (first, Vec::new());
        for change in changes {
            let until = change.out.saturating_sub(1);
            former_keys.extend(key.map(|key| FormerKey { key: key.to_inline(), until }));
            key = Some(change.key);
        }
        let here = self.core.committed_epoch().generation;
        let replacing = self.keyring.key_at(replica, here).is_none();
        let key = key.filter(|_| !replacing).map(|key| key.to_inline());
        Place { replacing, key, former_keys, ..Place::default() }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let (c, o) = (&self.counters, self.core.stats());
        let all = [
            ("requests", c.requests),
            ("queries", c.queries),
            ("queries_waiting", self.reads.len() as u64),
            ("receipts", c.receipts),
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
            ("over_allowance", c.over_allowance),
            ("snapshots_wanted", c.snapshots_wanted),
            ("snapshots_taken", c.snapshots_taken),
            ("snapshots_too_large", c.snapshots_too_large),
            ("snapshots_installed", c.snapshots_installed),
            ("snapshots_refused", c.snapshots_refused),
            ("snapshot_parts_sent", c.snapshot_parts_sent),
            ("snapshot_parts_unasked", c.snapshot_parts_unasked),
            ("snapshot_bytes_sent", c.snapshot_bytes_sent),
            ("snapshot_wants_dropped", c.snapshot_wants_dropped),
            ("transfer_lies", c.transfer_lies),
            ("replies_whole", c.replies_whole),
            ("replies_digested", c.replies_digested),
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
            ("diverged", self.quarantine.diverged.len() as u64),
            ("blames", o.blames),
            ("calls", o.calls),
            ("reports", o.reports),
            ("epochs", o.epochs),
            ("stalled", o.stalled),
            ("proofs", o.proofs),
            ("bad_proofs", o.bad_proofs),
            ("bad_reports", c.bad_reports),
            ("changes_refused", o.changes_refused),
            ("kept_statements", self.core.kept() as u64),
            ("evidence", c.evidence),
            ("void", c.void),
            ("rebuilt", c.rebuilt),
            ("quarantines", c.quarantines),
            ("passed_over", c.passed_over),
            ("log_entries", self.journal.written),
            ("durable_round", self.journal.durable().0),
            ("replies_held", self.journal.waiting() as u64),
            ("snapshots_saved", self.journal.saved),
        ];
        let all = all.into_iter().chain(self.meter.counters());
        all.map(|(name, n)| (name.to_owned(), n)).collect()
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
        ordering::Event::DiskLost => Event::DiskLost,
        ordering::Event::Restarted { .. } => Event::Restarted,
        ordering::Event::Blamed { accused, epoch, step, spent } => {
            let round = match step {
                BlameStep::Round(round) => Some(round),
                BlameStep::Report => None,
            };
            Event::Blamed { accused, epoch, round, spent }
        }
        ordering::Event::Proven { replica, epoch, .. } => Event::Proven { replica, epoch },
        ordering::Event::Called { call } => {
            Event::Called { epoch: call.number(), members: call.members(), accused: call.accused }
        }
        ordering::Event::Entered { epoch, .. } => Event::Entered { epoch },
        ordering::Event::Stalled { root } => {
            Event::Stalled { generation: root.generation, resets: root.resets }
        }
        // The replica tells of that itself.
        ordering::Event::Installed { .. } => return None,
        ordering::Event::Joining { round } => Event::Joining { round },
    })
}
