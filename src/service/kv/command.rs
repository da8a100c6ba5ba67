//! What can be asked of the key-value service.

use crate::wire::{DecodeError, Reader, Writer};

/// Bytes of a key at most; a key has at least one.
pub const MAX_KEY: usize = 4096;
/// Bytes of a value at most. With a key it fits into the default limit of a request.
pub const MAX_VALUE: usize = 192 * 1024;
/// Entries that one scan can ask for at most.
pub const MAX_SCAN: u32 = 10_000;

const PUT: u8 = 1;
const GET: u8 = 2;
const DELETE: u8 = 3;
const CAS: u8 = 4;
const INCR: u8 = 5;
const SCAN: u8 = 6;
const PING: u8 = 7;

/// One command. Borrows its keys and values.
///
/// ```
/// use quorate::service::kv::Command;
///
/// let bytes = Command::put("name", "Ada").encode();
/// assert_eq!(Command::parse(&bytes), Ok(Command::put("name", "Ada")));
/// assert!(!Command::put("name", "Ada").is_read_only());
/// ```
///
/// The layout: one byte for the command, then its fields in the order in which they stand here;
/// bytes are preceded by their length as four bytes, numbers are little-endian, and an optional
/// value is preceded by a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Sets a key's value. Answers `Done`.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Reads a key. Answers `Value` or `Missing`.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Removes a key. Answers `Done` or `Missing`.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Sets a key's value if the present one is `old`. Answers `Done` or `Mismatch`.
    Cas {
        /// The key.
        key: &'a [u8],
        /// The value that must be there; `None`: there must be none.
        old: Option<&'a [u8]>,
        /// The value to set.
        new: &'a [u8],
    },
    /// Adds to a key whose value is a whole number in decimal; a missing key counts as 0.
    /// Answers `Number`, or `Error` if the value is no number or the sum does not fit.
    Incr {
        /// The key.
        key: &'a [u8],
        /// What to add; may be negative.
        by: i64,
    },
    /// Reads the entries whose keys start with `prefix`, in the order of keys. Answers `Entries`.
    Scan {
        /// What keys must start with; empty for all.
        prefix: &'a [u8],
        /// Only keys above this one; empty for all. The last key of one scan's answer is where the
        /// next goes on.
        after: &'a [u8],
        /// How many at most, `1..=MAX_SCAN`. Fewer come if they get too large together.
        limit: u32,
    },
    /// Does nothing. Answers `Time`, the agreed time at which it was executed.
    Ping {
        /// Anything, at most [`MAX_VALUE`] bytes; for measuring.
        payload: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// See [`Command::Put`].
    pub fn put<K, V>(key: &'a K, value: &'a V) -> Self
    where
        K: AsRef<[u8]> + ?Sized,
        V: AsRef<[u8]> + ?Sized,
    {
        Self::Put { key: key.as_ref(), value: value.as_ref() }
    }

    /// See [`Command::Get`].
    pub fn get<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Self {
        Self::Get { key: key.as_ref() }
    }

    /// See [`Command::Delete`].
    pub fn delete<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Self {
        Self::Delete { key: key.as_ref() }
    }

    /// See [`Command::Cas`].
    pub fn cas<K, V>(key: &'a K, old: Option<&'a [u8]>, new: &'a V) -> Self
    where
        K: AsRef<[u8]> + ?Sized,
        V: AsRef<[u8]> + ?Sized,
    {
        Self::Cas { key: key.as_ref(), old, new: new.as_ref() }
    }

    /// See [`Command::Incr`].
    pub fn incr<K: AsRef<[u8]> + ?Sized>(key: &'a K, by: i64) -> Self {
        Self::Incr { key: key.as_ref(), by }
    }

    /// See [`Command::Scan`]; from the first key on.
    pub fn scan<P: AsRef<[u8]> + ?Sized>(prefix: &'a P, limit: u32) -> Self {
        Self::Scan { prefix: prefix.as_ref(), after: b"", limit }
    }

    /// See [`Command::Scan`]; goes on after a key.
    pub fn scan_after<P, K>(prefix: &'a P, after: &'a K, limit: u32) -> Self
    where
        P: AsRef<[u8]> + ?Sized,
        K: AsRef<[u8]> + ?Sized,
    {
        Self::Scan { prefix: prefix.as_ref(), after: after.as_ref(), limit }
    }

    /// See [`Command::Ping`].
    pub fn ping<P: AsRef<[u8]> + ?Sized>(payload: &'a P) -> Self {
        Self::Ping { payload: payload.as_ref() }
    }

    /// Whether it changes nothing, so that it may go as a query.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Scan { .. } | Self::Ping { .. } => true,
            Self::Put { .. } | Self::Delete { .. } | Self::Cas { .. } | Self::Incr { .. } => false,
        }
    }

    /// Checks the limits of keys, values and scans, as the service will.
    ///
    /// # Errors
    /// Names the field that is too long, too short or too large.
    pub fn check(&self) -> Result<(), DecodeError> {
        Command::parse(&self.encode()).map(drop)
    }

    /// The command's bytes. Limits are not checked here, see [`Command::check`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match *self {
            Self::Put { key, value } => {
                out.u8(PUT).var(key).var(value);
            }
            Self::Get { key } => {
                out.u8(GET).var(key);
            }
            Self::Delete { key } => {
                out.u8(DELETE).var(key);
            }
            Self::Cas { key, old, new } => {
                out.u8(CAS).var(key).bool(old.is_some());
                if let Some(old) = old {
                    out.var(old);
                }
                out.var(new);
            }
            Self::Incr { key, by } => {
                out.u8(INCR).var(key).raw(&by.to_le_bytes());
            }
            Self::Scan { prefix, after, limit } => {
                out.u8(SCAN).var(prefix).var(after).u32(limit);
            }
            Self::Ping { payload } => {
                out.u8(PING).var(payload);
            }
        }
        out.into_bytes()
    }

    /// Reads a command.
    ///
    /// # Errors
    /// If the bytes are none, or a limit is passed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let command = match r.u8("a command cannot be empty")? {
            PUT => Self::Put { key: key(&mut r)?, value: value(&mut r)? },
            GET => Self::Get { key: key(&mut r)? },
            DELETE => Self::Delete { key: key(&mut r)? },
            CAS => {
                let key = key(&mut r)?;
                let old =
                    if r.bool("flag of the old value")? { Some(value(&mut r)?) } else { None };
                Self::Cas { key, old, new: value(&mut r)? }
            }
            INCR => {
                let key = key(&mut r)?;
                Self::Incr { key, by: r.u64("what to add")?.cast_signed() }
            }
            SCAN => {
                let prefix = r.var(MAX_KEY, "prefix (at most 4096 bytes)")?;
                let after = r.var(MAX_KEY, "key to go on after (at most 4096 bytes)")?;
                let limit = r.u32("scan limit")?;
                if !(1..=MAX_SCAN).contains(&limit) {
                    return Err(r.error("scan limit (1 to 10000)"));
                }
                Self::Scan { prefix, after, limit }
            }
            PING => Self::Ping { payload: r.var(MAX_VALUE, "payload (at most 192 KiB)")? },
            _ => return Err(DecodeError { what: "no command of the kv service", at: 0 }),
        };
        r.finish()?;
        Ok(command)
    }
}

fn key<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let key = r.var(MAX_KEY, "key (1 to 4096 bytes)")?;
    if key.is_empty() { Err(r.error("key (1 to 4096 bytes)")) } else { Ok(key) }
}

fn value<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    r.var(MAX_VALUE, "value (at most 192 KiB)")
}
