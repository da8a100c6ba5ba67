//! Whether this replica ever gave up what it had executed, and may have answered (docs/protocol.md
//! §7). It says so in everything that it attests and answers, until an operator has looked into it.

use super::journal::Journal;
use super::replica::Replica;
use super::{Action, Actions};
use crate::crypto::Scheme;
use crate::types::plant::planted;
use crate::types::{Epoch, Members, ReplicaId, Round};
use crate::wire::{Proposal, Record};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Rounds after one that is committed, of which proposals may be signed already.
const IN_FLIGHT: u64 = 3;

/// What is known of that, and whether it is on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Rolled {
    on: bool,
    /// The last epoch for which something was given up.
    epoch: Option<Epoch>,
    unwritten: bool,
    /// The others whose last committed proposal says it of them.
    others: Members,
    /// The last round in which each was readmitted: proposals of shortly after do not know it yet.
    readmitted: BTreeMap<ReplicaId, Round>,
}

impl Rolled {
    /// As these records say.
    pub(super) fn recorded(records: &[Bytes]) -> Self {
        let last = |record: &Bytes| match Record::parse(record) {
            Ok(Record::Rolled { on, epoch }) => Some((on, epoch)),
            _ => None,
        };
        let found = records.iter().rev().find_map(last);
        let (on, epoch) = found.map_or((false, None), |(on, epoch)| (on, Some(epoch)));
        Self { on, epoch, ..Self::default() }
    }

    /// Whether another one says it of itself.
    pub(super) fn says(&self, replica: ReplicaId) -> bool {
        self.others.contains(replica)
    }

    /// What a committed proposal says of its signer.
    pub(super) fn hear(&mut self, proposal: &Proposal) {
        let Proposal { replica, round, attestation, .. } = proposal;
        let readmitted = self.readmitted.get(replica).map_or(0, |round| round.0 + IN_FLIGHT);
        if !attestation.rolled {
            self.others.remove(*replica);
        } else if round.0 > readmitted {
            self.others.insert(*replica);
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on && !planted("s7-rolled-unsaid")
    }

    /// Something was given up for this epoch, which had been executed or not.
    pub(super) fn back(&mut self, epoch: Epoch, ran: bool) {
        self.on |= ran;
        (self.epoch, self.unwritten) = (self.epoch.max(Some(epoch)), true);
    }

    /// The log says that something was given up for this epoch, and does so at each start: it
    /// counts as executed where no record says more.
    pub(super) fn back_by_log(&mut self, epoch: Epoch) {
        if self.epoch < Some(epoch) {
            self.back(epoch, true);
        }
    }

    /// An operator has readmitted this replica.
    pub(super) fn forgive(&mut self) {
        self.unwritten |= self.on;
        self.on = false;
    }

    /// What is to be written, if anything is.
    fn write(&mut self, executed: Round, journal: &mut Journal) -> Option<Action> {
        let epoch = self.epoch.filter(|_| std::mem::take(&mut self.unwritten))?;
        let record = Record::Rolled { on: self.on, epoch }.to_bytes();
        Some(journal.persist(None, vec![record.into()], executed))
    }
}

impl<S: Scheme> Replica<S> {
    /// A replica was readmitted in this round: what it gave up is forgiven.
    pub(super) fn forgive(&mut self, replica: ReplicaId, round: Round) {
        self.rolled.readmitted.insert(replica, round);
        self.rolled.others.remove(replica);
        if replica == self.id {
            self.rolled.forgive();
            self.attest();
        }
    }

    /// Writes down whether something was given up, if that is new.
    pub(super) fn write_rolled(&mut self, out: &mut Actions) {
        let executed = self.executor.position().round;
        out.extend(self.rolled.write(executed, &mut self.journal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Durability;

    fn epoch(resets: u32) -> Epoch {
        Epoch { resets, ..Epoch::GENESIS }
    }

    fn written(rolled: &mut Rolled) -> Option<Bytes> {
        let mut journal = Journal::new(Durability::Reply, 1000);
        rolled.write(Round(5), &mut journal).map(|action| match action {
            Action::Persist { records, .. } => records[0].clone(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn it_is_said_until_it_is_forgiven_and_again_after_another_time() {
        let mut rolled = Rolled::recorded(&[]);
        assert!(!rolled.is_on() && written(&mut rolled).is_none());
        rolled.back(epoch(3), true);
        let first = written(&mut rolled).unwrap();
        assert!(rolled.is_on() && written(&mut rolled).is_none(), "once is enough");
        // The log of the next start tells the same.
        let mut again = Rolled::recorded(std::slice::from_ref(&first));
        again.back_by_log(epoch(3));
        assert!(again.is_on() && written(&mut again).is_none());
        again.forgive();
        let forgiven = written(&mut again).unwrap();
        let mut later = Rolled::recorded(&[first, forgiven]);
        later.back_by_log(epoch(3));
        assert!(!later.is_on(), "that was forgiven");
        later.back_by_log(epoch(4));
        assert!(later.is_on(), "and that was not");
        let mut never = Rolled::default();
        never.forgive();
        assert!(written(&mut never).is_none());
    }

    #[test]
    fn what_had_not_run_is_nothing_to_tell_also_at_the_next_start() {
        let mut rolled = Rolled::default();
        rolled.back(epoch(3), false);
        let record = written(&mut rolled).unwrap();
        let mut again = Rolled::recorded(&[record]);
        again.back_by_log(epoch(3));
        assert!(!rolled.is_on() && !again.is_on());
        // The same opening may still make void what has run.
        again.back(epoch(3), true);
        assert!(again.is_on() && written(&mut again).is_some());
    }
}
