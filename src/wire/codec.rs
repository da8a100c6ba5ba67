//! Reading and writing fixed layouts.

use crate::crypto::PublicKey;
use crate::types::{ClientId, Digest, Epoch, Members, ReplicaId, Root, Round};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct DecodeError {
    /// What does not fit.
    pub what: &'static str,
    /// How far into the body, in bytes.
    pub at: usize,
}

/// What a statement takes as a rule, in bytes: growing up to it step by step costs more than it.
pub(super) const USUAL: usize = 256;

/// Appends to a growing buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty buffer, with room for what a statement of the usual size takes.
    pub fn new() -> Self {
        Self(Vec::with_capacity(USUAL))
    }

    /// An empty buffer with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How much was written so far, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, n: u8) -> &mut Self {
        self.0.push(n);
        self
    }

    /// Two bytes.
    pub fn u16(&mut self, n: u16) -> &mut Self {
        self.raw(&n.to_le_bytes())
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self, n: u32) -> &mut Self {
        self.raw(&n.to_le_bytes())
    }

    /// Eight bytes.
    #[inline]
    pub fn u64(&mut self, n: u64) -> &mut Self {
        self.raw(&n.to_le_bytes())
    }

    /// Writes eight bytes over those that were written at `at`: a length that is known later.
    ///
    /// # Panics
    /// If there are no eight bytes from there on.
    pub fn set_u64(&mut self, at: usize, n: u64) {
        self.0[at..at + 8].copy_from_slice(&n.to_le_bytes());
    }

    /// A flag: one byte, 0 or 1.
    pub fn bool(&mut self, b: bool) -> &mut Self {
        self.u8(u8::from(b))
    }

    /// Bytes whose length the layout knows.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes preceded by their length, four bytes.
    ///
    /// # Panics
    /// If there are 4 GiB or more; limits are far below.
    #[inline]
    pub fn var(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// A count of things, four bytes.
    ///
    /// # Panics
    /// If it does not fit; limits are far below.
    #[inline]
    pub fn count(&mut self, n: usize) -> &mut Self {
        self.u32(u32::try_from(n).expect("limits keep counts far below 2^32"))
    }

    /// A digest.
    #[inline]
    pub fn digest(&mut self, d: &Digest) -> &mut Self {
        self.raw(&d.0)
    }

    /// A round.
    pub fn round(&mut self, r: Round) -> &mut Self {
        self.u64(r.0)
    }

    /// A replica's number.
    pub fn replica(&mut self, r: ReplicaId) -> &mut Self {
        self.u8(r.number())
    }

    /// An epoch's three numbers.
    pub fn epoch(&mut self, e: Epoch) -> &mut Self {
        self.u32(e.generation).u32(e.resets).u32(e.accused)
    }

    /// A root's two numbers.
    pub fn root(&mut self, root: Root) -> &mut Self {
        self.u32(root.generation).u32(root.resets)
    }
}

/// Reads from a byte string; every read is checked and knows where it stands.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, at: 0 }
    }

    /// An error at this place.
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.all.len() - self.at
    }

    /// Everything read from `start` (a place given by [`Reader::place`]) up to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.all[start..self.at]
    }

    /// The place that the next read starts at.
    pub fn place(&self) -> usize {
        self.at
    }

    /// So many bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn raw(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if len > self.remaining() {
            return Err(self.error(what));
        }
        let bytes = &self.all[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.raw(N, what)?);
        Ok(out)
    }

    /// One byte.
    ///
    /// # Errors
    /// If none is left.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A flag.
    ///
    /// # Errors
    /// If the byte is neither 0 nor 1, or none is left.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error(what)),
        }
    }

    /// A count of things of at least `each` bytes, not above `limit`. Checked against what is
    /// left, so that nobody allocates for a claim.
    ///
    /// # Errors
    /// If it is above the limit or above what the remaining bytes can hold.
    #[inline]
    pub fn count(
        &mut self,
        limit: usize,
        each: usize,
        what: &'static str,
    ) -> Result<usize, DecodeError> {
        let n = self.u32(what)? as usize;
        if n > limit || n.saturating_mul(each) > self.remaining() {
            return Err(self.error(what));
        }
        Ok(n)
    }

    /// Bytes preceded by their length, at most `limit`.
    ///
    /// # Errors
    /// If the length is above the limit or above what is left.
    #[inline]
    pub fn var(&mut self, limit: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let n = self.count(limit, 1, what)?;
        self.raw(n, what)
    }

    /// UTF-8 text preceded by its length.
    ///
    /// # Errors
    /// As [`Reader::var`], and if it is not UTF-8.
    pub fn text(&mut self, limit: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.var(limit, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.error(what))
    }

    /// A digest.
    ///
    /// # Errors
    /// If fewer than 32 bytes are left.
    #[inline]
    pub fn digest(&mut self, what: &'static str) -> Result<Digest, DecodeError> {
        self.array(what).map(Digest)
    }

    /// A client's name.
    ///
    /// # Errors
    /// If fewer than 32 bytes are left.
    pub fn client(&mut self, what: &'static str) -> Result<ClientId, DecodeError> {
        self.array(what).map(ClientId)
    }

    /// A round.
    ///
    /// # Errors
    /// If fewer than 8 bytes are left.
    pub fn round(&mut self, what: &'static str) -> Result<Round, DecodeError> {
        self.u64(what).map(Round)
    }

    /// A replica's number.
    ///
    /// # Errors
    /// If it is 0 or above 31.
    pub fn replica(&mut self, what: &'static str) -> Result<ReplicaId, DecodeError> {
        let number = self.u8(what)?;
        ReplicaId::new(number).ok_or_else(|| self.error(what))
    }

    /// An epoch.
    ///
    /// # Errors
    /// If fewer than 12 bytes are left.
    pub fn epoch(&mut self, what: &'static str) -> Result<Epoch, DecodeError> {
        let (generation, resets) = (self.u32(what)?, self.u32(what)?);
        Ok(Epoch { generation, resets, accused: self.u32(what)? })
    }

    /// A root.
    ///
    /// # Errors
    /// If fewer than 8 bytes are left.
    pub fn root(&mut self, what: &'static str) -> Result<Root, DecodeError> {
        Ok(Root { generation: self.u32(what)?, resets: self.u32(what)? })
    }

    /// A public key's 32 bytes; whether they are a usable key is not looked at.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn key(&mut self, what: &'static str) -> Result<PublicKey, DecodeError> {
        self.array(what).map(PublicKey)
    }

    /// A set of replicas.
    ///
    /// # Errors
    /// If it names a replica above 31.
    pub fn members(&mut self, what: &'static str) -> Result<Members, DecodeError> {
        let bits = self.u32(what)?;
        Members::from_bits(bits).ok_or_else(|| self.error(what))
    }

    /// A signature's 64 bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn signature(
        &mut self,
        what: &'static str,
    ) -> Result<crate::crypto::Signature, DecodeError> {
        self.array(what).map(crate::crypto::Signature)
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error("trailing bytes")) }
    }
}
