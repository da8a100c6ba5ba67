//! What the log of rounds holds (docs/protocol.md §7): vectors, openings and bodies, in the order
//! in which a replica came by them, and what of them it has given up. How entries follow each other
//! in files, and how damage is found, is the business of [`crate::storage`].

use super::codec::USUAL;
use super::layout::{Layout, get_list, put_list};
use super::{Body, DecodeError, MAX_FRAME, Message, Proposal, Reader, Report, Request, Writer};
use crate::crypto::Unverified;
use crate::types::{ClientId, Epoch, Round};

/// The kind of an entry of bodies.
const BODIES: u8 = 4;
/// The kind of an entry that gives up others.
const UNDONE: u8 = 5;
/// The kind of an own proposal.
const OWN: u8 = 6;
/// The kind of an opening on the way to another.
const LEG: u8 = 7;
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
    /// What a step executes needs these requests; none that is void is among them. Or, with
    /// [`crate::types::Durability::Strict`], what this replica gives candidates in the proposal
    /// that follows, or had given some that were not executed at a checkpoint.
    Bodies {
        /// The round of the step's vector; of the proposal; of the checkpoint.
        round: Round,
        /// Some of its requests, in their order.
        bodies: Vec<Body>,
    },
    /// What this replica had committed from a place of the log on is not in the history that the
    /// others have gone on with: vectors and openings from there up to here are given up. Requests
    /// there are still needed, if they stand in that history as well.
    Undone {
        /// The place of the first entry that is given up.
        from: u64,
        /// The epoch that this replica was to go over to.
        epoch: Epoch,
    },
    /// A proposal that this replica has signed, before it leaves
    /// ([`crate::types::Durability::Strict`]). It is not given up with what it rests on: it may
    /// have left.
    Own(Box<Unverified<Proposal>>),
    /// An opening that the next one commits, with what comes before that: the Reports that it
    /// follows from, in member order. It counts when the next one is entered.
    Leg(Vec<Unverified<Report>>),
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
        let mut out = Writer::with_capacity(self.room());
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
                out.u8(BODIES).round(*round).count(bodies.len());
                for body in bodies {
                    out.count(body.room());
                    body.encode(&mut out);
                }
            }
            LogEntry::Undone { from, epoch } => {
                out.u8(UNDONE).u64(*from).epoch(*epoch);
            }
            LogEntry::Own(proposal) => {
                out.u8(OWN);
                proposal.encode(&mut out);
            }
            LogEntry::Leg(reports) => {
                out.u8(LEG);
                put_list(reports, &mut out);
            }
        }
        out.into_bytes()
    }

    /// The bytes of an entry of bodies, those of these requests, which need not be copied for it.
    pub fn bodies_of(round: Round, requests: &[(ClientId, &Request)]) -> Vec<u8> {
        let size = |request: &Request| size_of::<ClientId>() + request.room();
        let all: usize = requests.iter().map(|(_, request)| 4 + size(request)).sum();
        let mut out = Writer::with_capacity(all + 16);
        out.u8(BODIES).round(round).count(requests.len());
        for (client, request) in requests {
            out.count(size(request)).raw(&client.0);
            request.encode(&mut out);
        }
        out.into_bytes()
    }

    fn room(&self) -> usize {
        let parts: usize = match self {
            LogEntry::Vector(vector) | LogEntry::Base(vector) => {
                vector.iter().map(Layout::room).sum()
            }
            LogEntry::Bodies { bodies, .. } => bodies.iter().map(|body| 4 + body.room()).sum(),
            LogEntry::Own(proposal) => Layout::room(&**proposal),
            _ => USUAL,
        };
        parts + 16
    }

    /// From which place on entries are given up here, and for which epoch, if this is such an
    /// entry: to be known before the entries from there on are read.
    pub fn gives_up(bytes: &[u8]) -> Option<(u64, Epoch)> {
        match bytes.first() {
            Some(&UNDONE) => match Self::parse(bytes) {
                Ok(LogEntry::Undone { from, epoch }) => Some((from, epoch)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this is an entry of history, by its first byte: one that can be given up.
    pub fn is_history(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(1..=3))
    }

    /// Whether this is an opening, by its first byte.
    pub fn is_opening(bytes: &[u8]) -> bool {
        bytes.first() == Some(&3)
    }

    /// Whether this is an own proposal, by its first byte: then requests may come before the step
    /// that needs them.
    pub fn is_own(bytes: &[u8]) -> bool {
        bytes.first() == Some(&OWN)
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
            BODIES => {
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
            UNDONE => {
                LogEntry::Undone { from: r.u64("place")?, epoch: r.epoch("epoch given up for")? }
            }
            LEG => LogEntry::Leg(get_list(&mut r, MAX_MEMBERS, "reports on the way")?),
            OWN => LogEntry::Own(Box::new(Message::decode(&mut r)?)),
            _ => return Err(r.error("unknown kind of entry")),
        };
        r.finish()?;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;
    use bytes::Bytes;

    #[test]
    fn bodies_have_the_same_bytes_whatever_they_are_made_of() {
        let request = |number, body: &'static [u8]| Request {
            session: SessionId(number + 7),
            number,
            low: 1,
            body: Bytes::from_static(body),
        };
        let all =
            [(ClientId([1; 32]), request(1, b"")), (ClientId([2; 32]), request(2, &[9; 300]))];
        let bodies = all.iter().map(|(client, request)| {
            let mut bytes = Writer::new();
            request.encode(&mut bytes);
            assert_eq!(bytes.len(), request.room());
            Body { client: *client, request: bytes.into_bytes().into() }
        });
        let round = Round(5);
        let expected = LogEntry::Bodies { round, bodies: bodies.collect() };
        let requests: Vec<(ClientId, &Request)> = all.iter().map(|(c, r)| (*c, r)).collect();
        let bytes = LogEntry::bodies_of(round, &requests);
        assert_eq!(bytes, expected.to_bytes());
        assert_eq!(LogEntry::parse(&bytes), Ok(expected));
    }

    #[test]
    fn what_is_given_up_is_known_by_its_first_byte() {
        let epoch = Epoch { generation: 3, resets: 1, accused: 2 };
        let undone = LogEntry::Undone { from: 77, epoch };
        let bytes = undone.to_bytes();
        assert_eq!(LogEntry::parse(&bytes), Ok(undone));
        assert_eq!(LogEntry::gives_up(&bytes), Some((77, epoch)));
        assert!(!LogEntry::is_history(&bytes) && !LogEntry::is_opening(&bytes));
        for cut in 0..bytes.len() {
            assert_eq!(LogEntry::gives_up(&bytes[..cut]), None, "not a whole one");
        }
        let opening = LogEntry::Opening(Vec::new()).to_bytes();
        assert!(LogEntry::is_history(&opening) && LogEntry::is_opening(&opening));
        let bodies = LogEntry::Bodies { round: Round(1), bodies: Vec::new() }.to_bytes();
        assert!(!LogEntry::is_history(&bodies), "requests stay");
        assert_eq!(LogEntry::gives_up(&opening), None);
    }
}
