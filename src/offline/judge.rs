//! What is signed in a log: whether signatures are those of the roster, and whether vectors
//! certify each other.

use crate::crypto::{Keyring, Scheme, Unverified};
use crate::ordering::Checked;
use crate::types::{Digest, Epoch, Members, ReplicaId, Round};
use crate::wire::{LogEntry, Proposal, Report};
use std::fmt;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is no entry of this version.
    Unreadable {
        /// Which part.
        what: &'static str,
        /// Where in the entry, in bytes.
        at: usize,
    },
    /// A signature that is not of the key that the roster has for its signer.
    Signature {
        /// Whose it should be.
        replica: ReplicaId,
    },
    /// Not one proposal of each member, all of one epoch and round.
    NotComplete,
    /// A proposal that does not choose the vector before it: it certifies another history.
    ChoosesOtherwise {
        /// Whose.
        replica: ReplicaId,
    },
    /// A Report whose parts do not fit (E5).
    Report {
        /// Whose.
        replica: ReplicaId,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unreadable { what, at } => write!(f, "cannot be read at byte {at}: {what}"),
            Problem::Signature { replica } => {
                write!(f, "the signature of {replica} does not fit its key in the roster")
            }
            Problem::NotComplete => f.write_str("is not one proposal of each member for one round"),
            Problem::ChoosesOtherwise { replica } => {
                write!(f, "the proposal of {replica} does not choose the vector before it")
            }
            Problem::Report { replica, why } => write!(f, "the Report of {replica}: {why}"),
        }
    }
}

/// Checks entries in the order of the log.
pub struct Judge<'a, S: Scheme> {
    keyring: &'a Keyring<S>,
    max_candidates: u32,
    /// The last vector: epoch and members, round, and the hashes of its proposals.
    last: Option<((Epoch, Members), Round, Vec<Digest>)>,
    signatures: u64,
}

impl<'a, S: Scheme> Judge<'a, S> {
    /// By these keys, of all generations that the log can hold, and this limit of the cluster.
    pub fn new(keyring: &'a Keyring<S>, max_candidates: u32) -> Self {
        Self { keyring, max_candidates, last: None, signatures: 0 }
    }

    /// Signatures that were checked.
    pub fn signatures(&self) -> u64 {
        self.signatures
    }

    /// Entries are missing here: the next vector has none to follow.
    pub fn passed_over(&mut self) {
        self.last = None;
    }

    /// What is wrong with an entry. That rounds are missing is not: a replica that took in the
    /// state of others goes on from there.
    pub fn look_at(&mut self, entry: &LogEntry) -> Vec<Problem> {
        match entry {
            LogEntry::Vector(vector) => self.vector(vector),
            // It takes the place of one that was complete here, so the next may choose it.
            LogEntry::Base(vector) => {
                self.last = None;
                self.proposals(vector).0
            }
            LogEntry::Leg(reports) => reports.iter().filter_map(|r| self.report(r)).collect(),
            LogEntry::Opening(reports) => {
                self.last = None;
                reports.iter().filter_map(|report| self.report(report)).collect()
            }
            LogEntry::Bodies { .. } => Vec::new(),
            LogEntry::Own(own) => self.signature(own).err().into_iter().collect(),
            LogEntry::Undone { .. } => {
                self.last = None;
                Vec::new()
            }
        }
    }

    fn vector(&mut self, vector: &[Unverified<Proposal>]) -> Vec<Problem> {
        let (mut problems, hashes) = self.proposals(vector);
        let Some(first) = vector.first().map(Unverified::peek) else { return problems };
        let of = (first.epoch, first.members);
        if let Some((before, round, chosen)) = &self.last
            && (*before, round.next()) == (of, first.round)
            && chosen.len() == of.1.len()
        {
            let others = vector.iter().map(Unverified::peek).filter(|p| p.choice != *chosen);
            let replica = |p: &Proposal| Problem::ChoosesOtherwise { replica: p.replica };
            problems.extend(others.map(replica));
        }
        self.last = Some((of, first.round, hashes));
        problems
    }

    // Signatures, and whether they are one of each member; with the hashes of the good ones.
    fn proposals(&mut self, vector: &[Unverified<Proposal>]) -> (Vec<Problem>, Vec<Digest>) {
        let (mut problems, mut hashes) = (Vec::new(), Vec::new());
        let Some(first) = vector.first().map(Unverified::peek) else {
            return (vec![Problem::NotComplete], hashes);
        };
        let of = |p: &Proposal| (p.epoch, p.members, p.round);
        let signers = vector.iter().map(|p| p.peek().replica);
        let is_whole = signers.eq(first.members.iter());
        if !is_whole || vector.iter().any(|p| of(p.peek()) != of(first)) {
            problems.push(Problem::NotComplete);
        }
        for proposal in vector {
            match self.signature(proposal) {
                Ok(hash) => hashes.push(hash),
                Err(problem) => problems.push(problem),
            }
        }
        (problems, hashes)
    }

    // The hash of a proposal that is signed as it should be.
    fn signature(&mut self, proposal: &Unverified<Proposal>) -> Result<Digest, Problem> {
        self.signatures += 1;
        let replica = proposal.peek().replica;
        let verified = proposal.verify_ref(self.keyring);
        verified.map(|p| p.digest()).map_err(|_| Problem::Signature { replica })
    }

    fn report(&mut self, report: &Unverified<Report>) -> Option<Problem> {
        self.signatures += 1;
        let replica = report.peek().header.replica;
        let Ok(signed) = report.verify_ref(self.keyring) else {
            return Some(Problem::Signature { replica });
        };
        let checked = Checked::new(signed, self.keyring, self.max_candidates);
        checked.err().map(|why| Problem::Report { replica, why })
    }
}
