//! Calls with what they rest on, and proofs of lying (docs/protocol.md §5 and §6).

use super::Writer;
use super::layout::{Layout, bytes_of, get_list, put_list};
use super::{Blame, DecodeError, Header, Kind, Message, Reader, ReportHeader, Restarted, Stalled};
use crate::crypto::Unverified;
use crate::types::Call;

/// Evidence in one call at most: a blame of each replica by each, a restart and a word of being
/// stalled of each, a proof against each.
pub const MAX_EVIDENCE: usize = MAX_EVIDENCE_BLAMES + 2 * 31 + 31;
/// Blames among it at most.
pub const MAX_EVIDENCE_BLAMES: usize = 31 * 31;

/// Two signed things, or one, that may convict their signer of lying to anybody who has the
/// roster (§6). This is only what travels: whether it convicts is yet to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Two proposals for one round of an epoch.
    Equivocation(Unverified<Header>, Unverified<Header>),
    /// Two proposals of an epoch, of which the later goes back behind the earlier (R4).
    Backwards(Unverified<Header>, Unverified<Header>),
    /// A proposal that no chain makes valid (R4). Candidates that are out of order do not occur:
    /// such a list has no layout.
    Invalid(Unverified<Header>),
    /// Two reports for one number.
    TwoReports(Unverified<ReportHeader>, Unverified<ReportHeader>),
    /// A report that claims less than a proposal of its signer chose.
    FalseReport(Unverified<ReportHeader>, Unverified<Header>),
    /// A report that claims no complete vector of an epoch, a proposal of its signer there, and
    /// a proposal of the round before that this one chose: so it chose a vector, not an opening.
    EmptyReport(Unverified<ReportHeader>, Unverified<Header>, Box<Unverified<Header>>),
}

impl Proof {
    /// Its bytes by themselves.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes_of(self)
    }

    /// Reads one from where a reader stands.
    ///
    /// # Errors
    /// [`DecodeError`] names the part that does not fit and where it stands.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::get(r)
    }
}

impl Layout for Proof {
    const LEAST: usize = 1 + <Unverified<Header> as Layout>::LEAST;

    fn put(&self, out: &mut Writer) {
        match self {
            Proof::Equivocation(a, b) => {
                out.u8(0);
                a.put(out);
                b.put(out);
            }
            Proof::Backwards(a, b) => {
                out.u8(1);
                a.put(out);
                b.put(out);
            }
            Proof::Invalid(a) => {
                out.u8(2);
                a.put(out);
            }
            Proof::TwoReports(a, b) => {
                out.u8(3);
                a.put(out);
                b.put(out);
            }
            Proof::FalseReport(a, b) => {
                out.u8(4);
                a.put(out);
                b.put(out);
            }
            Proof::EmptyReport(a, b, c) => {
                out.u8(5);
                a.put(out);
                b.put(out);
                c.put(out);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("kind of proof")? {
            0 => Ok(Proof::Equivocation(Unverified::get(r)?, Unverified::get(r)?)),
            1 => Ok(Proof::Backwards(Unverified::get(r)?, Unverified::get(r)?)),
            2 => Ok(Proof::Invalid(Unverified::get(r)?)),
            3 => Ok(Proof::TwoReports(Unverified::get(r)?, Unverified::get(r)?)),
            4 => Ok(Proof::FalseReport(Unverified::get(r)?, Unverified::get(r)?)),
            5 => Ok(Proof::EmptyReport(
                Unverified::get(r)?,
                Unverified::get(r)?,
                Box::new(Unverified::get(r)?),
            )),
            _ => Err(r.error("unknown kind of proof")),
        }
    }
}

/// What a call rests on (E2, E3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A blame.
    Blame(Unverified<Blame>),
    /// A replica's word that it restarted.
    Restarted(Unverified<Restarted>),
    /// A replica's word that the root below cannot get on.
    Stalled(Unverified<Stalled>),
    /// A proof of lying.
    Proof(Box<Proof>),
}

impl Layout for Evidence {
    const LEAST: usize = 1 + <Unverified<Stalled> as Layout>::LEAST;

    fn put(&self, out: &mut Writer) {
        match self {
            Evidence::Blame(blame) => {
                out.u8(0);
                blame.put(out);
            }
            Evidence::Restarted(restarted) => {
                out.u8(1);
                restarted.put(out);
            }
            Evidence::Stalled(stalled) => {
                out.u8(2);
                stalled.put(out);
            }
            Evidence::Proof(proof) => {
                out.u8(3);
                proof.put(out);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("kind of evidence")? {
            0 => Unverified::get(r).map(Evidence::Blame),
            1 => Unverified::get(r).map(Evidence::Restarted),
            2 => Unverified::get(r).map(Evidence::Stalled),
            3 => Proof::get(r).map(|proof| Evidence::Proof(Box::new(proof))),
            _ => Err(r.error("unknown kind of evidence")),
        }
    }
}

impl Layout for Call {
    const LEAST: usize = 8 + 4 + 4;

    fn put(&self, out: &mut Writer) {
        out.root(self.root).u32(self.list.bits()).u32(self.accused.bits());
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let root = r.root("call root")?;
        let list = r.members("call list")?;
        let accused = r.members("call accused")?;
        if !list.includes(accused) {
            return Err(r.error("a call accuses only members of its list"));
        }
        Ok(Self { root, list, accused })
    }
}

/// A call with its evidence (E3). Not signed: the evidence proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallMessage {
    /// The call.
    pub call: Call,
    /// What it rests on, at most [`MAX_EVIDENCE`].
    pub evidence: Vec<Evidence>,
}

impl Message for CallMessage {
    const KIND: Kind = Kind::Call;

    fn encode(&self, out: &mut Writer) {
        self.call.put(out);
        put_list(&self.evidence, out);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let call = Call::get(r)?;
        Ok(Self { call, evidence: get_list(r, MAX_EVIDENCE, "evidence")? })
    }
}
