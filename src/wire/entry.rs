//! What the log of rounds holds (docs/protocol.md §7): vectors, openings and bodies, in the order
//! in which a replica came by them. How entries follow each other in files, and how damage is
//! found, is the business of [`crate::storage`].

use super::layout::{get_list, put_list};
use super::{Body, DecodeError, MAX_FRAME, Message, Proposal, Reader, Report, Writer};
use crate::crypto::Unverified;
use crate::types::Round;

const MAX_MEMBERS: usize = 31;
/// Bodies in one entry at most; those of a large step are several entries.
const MAX_BODIES: usize = 1 << 16;

/// One entry of the log of rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// A complete vector (R1), in member order: it commits the one before it (R3).
    Vector(Vec<Unverified<Proposal>>),
    /// A vector that the next opening commits, in member order; it may stand in the place of one
    /// that was complete here.
    Base(Vec<Unverified<Proposal>>),
    /// A committed opening (E7): the Reports that it follows from, in member order.
    Opening(Vec<Unverified<Report>>),
    /// What a step executes needs these requests; none that is void is among them.
    Bodies {
        /// The round of the step's vector.
        round: Round,
        /// Some of its requests, in their order.
        bodies: Vec<Body>,
    },
}

impl LogEntry {
    /// Bytes of an entry of a group of `n` replicas at most.
    pub fn most(n: usize) -> usize {
        (n + 1) * MAX_FRAME
    }

    /// What an entry of bodies may hold, in bytes, before the next one is begun.
    pub const BODIES_BYTES: usize = MAX_FRAME / 2;

    /// The entry's bytes; the first is its kind.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            LogEntry::Vector(vector) => {
                out.u8(1);
                put_list(vector, &mut out);
            }
            LogEntry::Base(vector) => {
                out.u8(2);
                put_list(vector, &mut out);
            }
            LogEntry::Opening(reports) => {
                out.u8(3);
                put_list(reports, &mut out);
            }
            LogEntry::Bodies { round, bodies } => {
                out.u8(4).round(*round).count(bodies.len());
                for body in bodies {
                    let mut one = Writer::new();
                    body.encode(&mut one);
                    let bytes = one.into_bytes();
                    out.var(&bytes);
                }
            }
        }
        out.into_bytes()
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// If the bytes are not one whole entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let entry = match r.u8("kind of entry")? {
            1 => LogEntry::Vector(get_list(&mut r, MAX_MEMBERS, "vector")?),
            2 => LogEntry::Base(get_list(&mut r, MAX_MEMBERS, "base")?),
            3 => LogEntry::Opening(get_list(&mut r, MAX_MEMBERS, "reports")?),
            4 => {
                let round = r.round("round of bodies")?;
                let count = r.count(MAX_BODIES, 4 + 32, "bodies")?;
                let mut bodies = Vec::new();
                for _ in 0..count {
                    let at = r.place() + 4;
                    let body = Body::from_body(r.var(MAX_FRAME, "body")?);
                    bodies.push(body.map_err(|e| DecodeError { at: at + e.at, ..e })?);
                }
                LogEntry::Bodies { round, bodies }
            }
            _ => return Err(r.error("unknown kind of entry")),
        };
        r.finish()?;
        Ok(entry)
    }
}
