//! What lies on disk of epochs (docs/protocol.md §7). Each record has one layout; how records
//! follow each other in a file, and how damage is found, is the business of whoever writes them.

use super::layout::{Layout, get_list, put_list};
use super::{DecodeError, Evidence, MAX_EVIDENCE, Proposal, Reader, Report, Writer};
use crate::crypto::{KeyChange, Unverified};
use crate::types::{Call, Digest, Epoch, Members, Round};

/// Bytes of a record at most: an epoch of 31 members with reports and proposals of a whole frame
/// each fits. 64 MiB.
pub const MAX_RECORD: usize = 64 << 20;

/// Changes of replicas' keys in the life of a cluster at most.
pub const MAX_KEY_CHANGES: usize = 1024;

const MAX_MEMBERS: usize = 31;

/// What must be on disk before it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// E4: from here on nothing below this call is signed.
    Promise {
        /// The call.
        call: Call,
        /// What it rests on.
        evidence: Vec<Evidence>,
    },
    /// E5: the one report for its number, with all that it names.
    Report {
        /// The report.
        report: Box<Unverified<Report>>,
        /// The proposals of the vector that it names.
        vector: Vec<Unverified<Proposal>>,
    },
    /// E6: an epoch with what it starts from.
    Entered {
        /// The epoch.
        epoch: Epoch,
        /// Its members.
        members: Members,
        /// The hash of its opening.
        opening: Digest,
        /// `h0`: its first round.
        first: Round,
        /// The reports that open it, in the order of its members.
        reports: Vec<Unverified<Report>>,
        /// The proposals of the vector that it starts from; none if it is an opening.
        base: Vec<Unverified<Proposal>>,
    },
    /// M3: all changes of replicas' keys so far, the earliest first. Written with the entry into
    /// the first epoch in which the replaced key does not count.
    Keys(Vec<KeyChange>),
    /// §7: whether this replica gave up something that it had executed, and no operator has
    /// readmitted it since.
    Rolled {
        /// Whether that is so.
        on: bool,
        /// The last epoch for which it gave something up.
        epoch: Epoch,
    },
}

impl Layout for KeyChange {
    const LEAST: usize = 4 + 1 + 32;

    fn put(&self, out: &mut Writer) {
        out.u32(self.out).replica(self.replica).raw(&self.key.0);
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let out = r.u32("generation without a key")?;
        let replica = r.replica("replica with another key")?;
        Ok(Self { out, replica, key: r.key("new key")? })
    }
}

impl Record {
    /// The record's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Record::Promise { call, evidence } => {
                out.u8(1);
                call.put(&mut out);
                put_list(evidence, &mut out);
            }
            Record::Report { report, vector } => {
                out.u8(2);
                report.put(&mut out);
                put_list(vector, &mut out);
            }
            Record::Entered { epoch, members, opening, first, reports, base } => {
                out.u8(3).epoch(*epoch).u32(members.bits()).digest(opening).round(*first);
                put_list(reports, &mut out);
                put_list(base, &mut out);
            }
            Record::Keys(changes) => {
                out.u8(4);
                put_list(changes, &mut out);
            }
            Record::Rolled { on, epoch } => {
                out.u8(5).bool(*on).epoch(*epoch);
            }
        }
        out.into_bytes()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If the bytes are more than [`MAX_RECORD`] or not a whole record.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if bytes.len() > MAX_RECORD {
            return Err(r.error("a record is at most 64 MiB"));
        }
        let record = match r.u8("kind of record")? {
            1 => Record::Promise {
                call: Call::get(&mut r)?,
                evidence: get_list(&mut r, MAX_EVIDENCE, "evidence")?,
            },
            2 => Record::Report {
                report: Box::new(Unverified::get(&mut r)?),
                vector: get_list(&mut r, MAX_MEMBERS, "vector")?,
            },
            3 => Record::Entered {
                epoch: r.epoch("entered epoch")?,
                members: r.members("entered members")?,
                opening: r.digest("opening")?,
                first: r.round("first round")?,
                reports: get_list(&mut r, MAX_MEMBERS, "reports")?,
                base: get_list(&mut r, MAX_MEMBERS, "base")?,
            },
            4 => Record::Keys(get_list(&mut r, MAX_KEY_CHANGES, "changes of keys")?),
            5 => {
                let on = r.bool("rolled")?;
                Record::Rolled { on, epoch: r.epoch("epoch given up for")? }
            }
            _ => return Err(r.error("unknown kind of record")),
        };
        r.finish()?;
        Ok(record)
    }
}
