//! What the key-value service answers.

use super::MAX_SCAN;
use crate::types::AgreedTime;
use crate::wire::{DecodeError, MAX_FRAME, Reader, Writer};
use bytes::Bytes;

/// Bytes of entries, overhead included, that one scan answers at most. An entry of the largest
/// size fits, so a scan always gets on.
pub const MAX_SCAN_BYTES: usize = 256 * 1024;

const MAX_ERROR: usize = 1024;

const DONE: u8 = 0;
const VALUE: u8 = 1;
const MISSING: u8 = 2;
const MISMATCH: u8 = 3;
const NUMBER: u8 = 4;
const ENTRIES: u8 = 5;
const TIME: u8 = 6;
const ERROR: u8 = 7;

/// The output of one command.
///
/// The layout is as that of [`super::Command`]: a byte for the kind, then the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// It was done.
    Done,
    /// The key's value.
    Value(Bytes),
    /// There is no such key; nothing was changed.
    Missing,
    /// The value was another than the expected one; nothing was changed.
    Mismatch {
        /// The present value; `None` if there is no such key.
        current: Option<Bytes>,
    },
    /// The new number.
    Number(i64),
    /// The entries that a scan found.
    Entries {
        /// Keys and values in the order of keys.
        entries: Vec<(Bytes, Bytes)>,
        /// Whether there are more that would have fitted the prefix.
        more: bool,
    },
    /// The agreed time at which the command was executed (rule O5).
    Time(AgreedTime),
    /// Why the command could not be executed; nothing was changed.
    Error(String),
}

impl Output {
    /// Bytes of a scan's entry besides key and value.
    pub(super) const ENTRY_OVERHEAD: usize = 8;

    /// The answer to bytes that are no command.
    pub(super) fn malformed(why: &DecodeError) -> Self {
        Self::Error(format!("malformed command: {why}"))
    }

    /// Whether it says that the command did not do what it was asked: `Missing`, `Mismatch` or
    /// `Error`.
    pub fn is_negative(&self) -> bool {
        matches!(self, Self::Missing | Self::Mismatch { .. } | Self::Error(_))
    }

    /// The output's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(match self {
            Self::Done | Self::Missing => 1,
            Self::Value(value) => 5 + value.len(),
            Self::Number(_) | Self::Time(_) => 9,
            Self::Mismatch { current } => 6 + current.as_ref().map_or(0, |c| c.len()),
            Self::Error(why) => 5 + why.len(),
            Self::Entries { entries, .. } => {
                let each = |(key, value): &(Bytes, Bytes)| 8 + key.len() + value.len();
                6 + entries.iter().map(each).sum::<usize>()
            }
        });
        match self {
            Self::Done => {
                out.u8(DONE);
            }
            Self::Value(value) => {
                out.u8(VALUE).var(value);
            }
            Self::Missing => {
                out.u8(MISSING);
            }
            Self::Mismatch { current } => {
                out.u8(MISMATCH).bool(current.is_some());
                if let Some(current) = current {
                    out.var(current);
                }
            }
            Self::Number(n) => {
                out.u8(NUMBER).raw(&n.to_le_bytes());
            }
            Self::Entries { entries, more } => {
                out.u8(ENTRIES).bool(*more).count(entries.len());
                entries.iter().for_each(|(key, value)| {
                    out.var(key).var(value);
                });
            }
            Self::Time(time) => {
                out.u8(TIME).u64(time.0);
            }
            Self::Error(why) => {
                out.u8(ERROR).var(why.as_bytes());
            }
        }
        out.into_bytes()
    }

    /// Reads an output; values are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let output = match r.u8("kind of output")? {
            DONE => Self::Done,
            VALUE => Self::Value(bytes.slice_ref(r.var(MAX_FRAME, "value")?)),
            MISSING => Self::Missing,
            MISMATCH => {
                let present = r.bool("flag of the present value")?;
                let current = if present { Some(r.var(MAX_FRAME, "present value")?) } else { None };
                Self::Mismatch { current: current.map(|c| bytes.slice_ref(c)) }
            }
            NUMBER => Self::Number(r.u64("number")?.cast_signed()),
            ENTRIES => {
                let more = r.bool("whether there are more")?;
                let n = r.count(MAX_SCAN as usize, Self::ENTRY_OVERHEAD, "entries")?;
                let mut entries = Vec::with_capacity(n);
                for _ in 0..n {
                    let key = bytes.slice_ref(r.var(MAX_FRAME, "key")?);
                    entries.push((key, bytes.slice_ref(r.var(MAX_FRAME, "value")?)));
                }
                Self::Entries { entries, more }
            }
            TIME => Self::Time(AgreedTime(r.u64("time")?)),
            ERROR => Self::Error(r.text(MAX_ERROR, "error")?.to_owned()),
            _ => return Err(DecodeError { what: "no output of the kv service", at: 0 }),
        };
        r.finish()?;
        Ok(output)
    }
}
