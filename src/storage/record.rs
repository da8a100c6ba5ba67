//! One record: its bytes, and what is wrong with bytes that are none.

use super::Position;
use super::damage::What;
use crate::crypto::{Domain, Hasher};
use crate::types::Digest;
use crate::wire::{Reader, Writer};

/// Bytes of a record before its payload.
pub(super) const HEAD: usize = 61;

/// The kind of a mark, which takes no position; callers' kinds are the others.
pub(super) const MARK: u8 = 0;

/// What makes this log's checksums differ from those that a stranger could compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u32);

impl Seed {
    /// The checksums of one log, by what only its owner knows.
    pub(super) fn new(secret: &Digest) -> Self {
        Self(crc32c::crc32c(&secret.0))
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// The record's place in the log; a mark has that of the record that follows it.
    pub(super) position: Position,
    /// The log was known durable before this position when the record was written.
    pub(super) durable: Position,
    pub(super) kind: u8,
    /// The chain's value before this record.
    pub(super) chain: Digest,
    payload_checksum: u32,
}

impl Head {
    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        HEAD as u64 + u64::from(self.length)
    }

    /// The head in these bytes.
    ///
    /// # Errors
    /// `None` if they are too few or anything about them is wrong.
    pub(super) fn decode(seed: Seed, bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD)?;
        let mut r = Reader::new(bytes);
        let checksum = r.u32("checksum").ok()?;
        let length = r.u32("length").ok()?;
        let position = Position(r.u64("position").ok()?);
        let durable = Position(r.u64("durable").ok()?);
        let kind = r.u8("kind").ok()?;
        let chain = r.digest("chain").ok()?;
        let payload_checksum = r.u32("checksum of the payload").ok()?;
        // Positions far beyond any that can be reached would overflow what is computed with them.
        let sane = position.0 < u64::MAX / 2 && durable <= position;
        let sane = sane && (kind != MARK || length == 0);
        let whole = sane && seed.checksum(bytes.get(4..)?) == checksum;
        whole.then_some(Head { length, position, durable, kind, chain, payload_checksum })
    }

    /// Whether these bytes are its payload.
    pub(super) fn fits(&self, seed: Seed, payload: &[u8]) -> bool {
        seed.checksum(payload) == self.payload_checksum
    }

    /// The chain's value after this record.
    pub(super) fn chain_after(&self, payload: &[u8]) -> Digest {
        if self.kind == MARK {
            return self.chain;
        }
        chain_after(&self.chain, self.position, self.kind, payload)
    }

    /// The position of what follows it.
    pub(super) fn next(&self) -> Position {
        if self.kind == MARK { self.position } else { self.position.next() }
    }
}

/// The chain's value before the first record of a log that begins at this position.
pub(super) fn chain_start(owner: &Digest, first: Position) -> Digest {
    let mut h = Hasher::new(Domain::Log);
    h.put(&owner.0).put_u64(first.0);
    h.finish()
}

/// The chain's value after a record, by that before it.
///
/// It is whole and not shortened: records for a repair come from peers that may lie, and 16 bytes
/// could be made to collide with 2^64 hashes. The 16 bytes more for each record are little beside
/// what a round's certificate takes.
pub fn chain_after(before: &Digest, position: Position, kind: u8, payload: &[u8]) -> Digest {
    let mut h = Hasher::new(Domain::Log);
    h.put(&before.0).put_u64(position.0).put(&[kind]).put_var(payload);
    h.finish()
}

/// Writes a record at the end of `out` and gives the chain's value after it.
///
/// The payload must be below 4 GiB; the limits are far below.
pub(super) fn encode(
    seed: Seed,
    (position, durable): (Position, Position),
    chain: &Digest,
    (kind, payload): (u8, &[u8]),
    out: &mut Vec<u8>,
) -> Digest {
    let mut w = Writer::new();
    w.count(payload.len()).u64(position.0).u64(durable.0).u8(kind).digest(chain);
    w.u32(seed.checksum(payload));
    let head = w.into_bytes();
    out.extend_from_slice(&seed.checksum(&head).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    if kind == MARK { *chain } else { chain_after(chain, position, kind, payload) }
}

/// What stands at the place of the record at `position`, in bytes that begin there.
///
/// `bytes` must hold the whole record if the file does and the record is within the limit.
///
/// # Errors
/// What is wrong.
pub(super) fn decode(
    seed: Seed,
    bytes: &[u8],
    position: Position,
    limit: usize,
) -> Result<(Head, &[u8]), What> {
    let Some(head) = Head::decode(seed, bytes) else {
        return Err(if bytes.len() < HEAD { What::Short } else { What::Head });
    };
    if head.position != position {
        return Err(What::Misplaced { is: head.position });
    }
    let payload = payload(&head, bytes, limit)?;
    if head.fits(seed, payload) { Ok((head, payload)) } else { Err(What::Payload) }
}

/// The bytes of the payload that this head claims, as far as they are there.
///
/// # Errors
/// If it claims more than the limit or more than there is.
pub(super) fn payload<'a>(head: &Head, bytes: &'a [u8], limit: usize) -> Result<&'a [u8], What> {
    let length = usize::try_from(head.length).ok().filter(|l| *l <= limit).ok_or(What::Head)?;
    bytes.get(HEAD..HEAD + length).ok_or(What::Short)
}
