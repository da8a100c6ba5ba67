//! Parts of messages: one fixed layout each, lists of them with bounded counts, signed ones.

use super::codec::USUAL;
use super::{DecodeError, Kind, Message, Reader, Writer, frame};
use crate::crypto::{Signable, Unverified, Verified};
use crate::types::GroupId;

/// Something with one fixed layout. For a signed thing: without its signature.
pub trait Layout: Sized {
    /// Bytes that one takes at least: what bounds how many a claimed count can allocate.
    const LEAST: usize;

    /// Appends it.
    fn put(&self, out: &mut Writer);

    /// About how many bytes it takes: so many are asked of the allocator at once.
    fn room(&self) -> usize {
        USUAL
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`DecodeError`] names the part that does not fit and where it stands.
    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A signed thing that travels in a frame of its own.
pub trait Framed: Layout + Signable {
    /// Its frame kind.
    const KIND: Kind;
}

/// First the thing, then its signature.
impl<T: Layout + Signable> Layout for Unverified<T> {
    const LEAST: usize = T::LEAST + 64;

    fn put(&self, out: &mut Writer) {
        self.peek().put(out);
        out.raw(&self.signature().0);
    }

    fn room(&self) -> usize {
        self.peek().room() + 64
    }

    fn get(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let message = T::get(r)?;
        Ok(Unverified::new(message, r.signature("signature")?))
    }
}

impl<T: Framed> Message for Unverified<T> {
    const KIND: Kind = T::KIND;

    fn encode(&self, out: &mut Writer) {
        self.put(out);
    }

    fn room(&self) -> usize {
        Layout::room(self)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::get(reader)
    }
}

impl<T: Framed> Verified<T> {
    /// The frame that carries it.
    ///
    /// # Panics
    /// If it does not fit a frame; the limits of every kind keep it within.
    pub fn to_frame(&self, group: GroupId) -> Vec<u8> {
        let room = frame::HEADER + 4 + self.message().room() + 64;
        let mut out = Writer::with_capacity(room);
        frame::begin(&mut out, T::KIND, group);
        self.message().put(&mut out);
        out.raw(&self.signature().0);
        frame::end(out)
    }
}

/// Appends a count and so many things.
pub fn put_list<T: Layout>(list: &[T], out: &mut Writer) {
    out.count(list.len());
    list.iter().for_each(|item| item.put(out));
}

/// Reads a count, at most `limit`, and so many things.
pub fn get_list<T: Layout>(
    r: &mut Reader<'_>,
    limit: usize,
    what: &'static str,
) -> Result<Vec<T>, DecodeError> {
    let n = r.count(limit, T::LEAST, what)?;
    // Grown step by step: some things take more memory than bytes.
    let mut list = Vec::new();
    for _ in 0..n {
        list.push(T::get(r)?);
    }
    Ok(list)
}

/// The bytes of one thing by itself.
pub(super) fn bytes_of<T: Layout>(thing: &T) -> Vec<u8> {
    let mut out = Writer::new();
    thing.put(&mut out);
    out.into_bytes()
}
