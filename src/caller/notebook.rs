//! What a client writes down of its requests, so that it knows after a restart which are open.
//!
//! The file begins with `quost/1` and a newline, the cluster's id, the client's key and a check of
//! these. Then come groups of entries: their length (4 bytes) and its complement (4), a check of
//! them (8), the entries. What is written with one sync is one group, so a write that was cut off
//! spoils the last group and nothing before it; what is in that one has never been sent.

use super::Start;
use crate::crypto::{Domain, Hasher};
use crate::types::{CallId, CallPart, ClientId, Digest, SessionId};
use crate::wire::{DecodeError, Reader, Writer};
use std::collections::{BTreeMap, VecDeque};

const MAGIC: &[u8; 8] = b"quost/1\n";
const HEADER: usize = MAGIC.len() + 32 + 32 + CHECK;
const CHECK: usize = 8;
const GROUP: usize = 8 + CHECK;
/// Open requests that are remembered; above that the oldest are forgotten.
const MOST: usize = 65_536;

const SESSION: u8 = 0;
const NUMBERED: u8 = 1;
const OVER: u8 = 2;

/// One thing that a client writes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session is in use, and its next request has this number.
    Session {
        /// Of which chain; 0 where replicas vote.
        chain: u32,
        /// Which.
        session: SessionId,
        /// The number.
        next: u64,
    },
    /// A request may leave: durable before it does.
    Numbered {
        /// The whole request.
        id: CallId,
        /// How many outputs each call in it gets.
        parts: Vec<u32>,
    },
    /// It is known what came of it.
    Over {
        /// The whole request.
        id: CallId,
    },
}

/// What stands in such a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notebook {
    sessions: BTreeMap<u32, (SessionId, u64)>,
    /// Oldest first.
    open: VecDeque<(CallId, Vec<u32>)>,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotebookError {
    /// It is none.
    #[error("it is no client's state file: give another path")]
    Other,
    /// Of another client or cluster.
    #[error("it belongs to another {0}: give each key and cluster a state file of its own")]
    Foreign(&'static str),
    /// Something before the end does not fit.
    #[error(
        "it is damaged at byte {at} ({what}): take it away, and ask for what became of the \
         requests of which you know the ids"
    )]
    Damaged {
        /// Where.
        at: usize,
        /// What.
        what: &'static str,
    },
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut h = Hasher::new(Domain::Derive);
    h.put(b"client state").put(bytes);
    let digest = h.finish();
    *digest.0.first_chunk().expect("a digest has 32 bytes")
}

/// The bytes that a file begins with.
fn header(cluster: &Digest, client: &ClientId) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &cluster.0, &client.0].concat();
    let check = check(&bytes);
    bytes.extend_from_slice(&check);
    bytes
}

/// The bytes of entries that are written together.
pub fn group(entries: &[Entry]) -> Vec<u8> {
    let mut out = Writer::new();
    for entry in entries {
        let place = |out: &mut Writer, kind, id: &CallId| {
            out.u8(kind).u32(id.chain).u64(id.session.0).u64(id.number);
        };
        match entry {
            Entry::Session { chain, session, next } => {
                out.u8(SESSION).u32(*chain).u64(session.0).u64(*next);
            }
            Entry::Numbered { id, parts } => {
                place(&mut out, NUMBERED, id);
                out.count(parts.len());
                parts.iter().for_each(|n| {
                    out.u32(*n);
                });
            }
            Entry::Over { id } => place(&mut out, OVER, id),
        }
    }
    let body = out.into_bytes();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    bytes.extend_from_slice(&check(&body));
    bytes.extend_from_slice(&body);
    bytes
}

impl Notebook {
    /// Reads a file. Gives also how much of it counts: the rest was cut off while it was written.
    ///
    /// # Errors
    /// If it is none of this client.
    pub fn read(
        bytes: &[u8],
        cluster: &Digest,
        client: &ClientId,
    ) -> Result<(Self, usize), NotebookError> {
        let mut notebook = Self::default();
        let expected = header(cluster, client);
        let Some(found) = bytes.get(..HEADER) else {
            // It was cut off when it was made.
            let is_one = expected.starts_with(bytes) || bytes.iter().all(|b| *b == 0);
            return if is_one { Ok((notebook, 0)) } else { Err(NotebookError::Other) };
        };
        if found != expected {
            return Err(match found {
                _ if !found.starts_with(MAGIC) => NotebookError::Other,
                _ if found[HEADER - CHECK..] != check(&found[..HEADER - CHECK]) => {
                    NotebookError::Damaged { at: 0, what: "its first bytes do not fit" }
                }
                _ if found[8..40] != cluster.0 => NotebookError::Foreign("cluster"),
                _ => NotebookError::Foreign("key"),
            });
        }
        let mut at = HEADER;
        while let Some(end) = notebook.read_group(bytes, at)? {
            at = end;
        }
        Ok((notebook, at))
    }

    // The place after the group that begins here; `None` at the end, or if it was cut off.
    fn read_group(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, NotebookError> {
        let rest = &bytes[at..];
        let Some(head) = rest.get(..GROUP) else { return Ok(None) };
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| head[at + i]));
        let (length, sum) = (number(0), &head[8..]);
        if length != !number(4) {
            let what = "the length of a group does not fit";
            let is_empty = rest.iter().all(|b| *b == 0);
            return if is_empty { Ok(None) } else { Err(NotebookError::Damaged { at, what }) };
        }
        let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(GROUP);
        let Some(body) = rest.get(GROUP..end) else { return Ok(None) };
        if check(body) != *sum {
            let is_last = end == rest.len();
            let what = "a group of entries does not fit its check";
            return if is_last { Ok(None) } else { Err(NotebookError::Damaged { at, what }) };
        }
        let mut r = Reader::new(body);
        while r.remaining() > 0 {
            let entry = read_entry(&mut r);
            let entry = entry.map_err(|e| NotebookError::Damaged { at, what: e.what })?;
            self.apply(&entry);
        }
        Ok(Some(at + end))
    }

    /// Takes down an entry.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Session { chain, session, next } => {
                self.sessions.insert(*chain, (*session, *next));
            }
            Entry::Numbered { id, parts } => {
                self.sessions.insert(id.chain, (id.session, id.number.saturating_add(1)));
                self.open.push_back((*id, parts.clone()));
                if self.open.len() > MOST {
                    self.open.pop_front();
                }
            }
            Entry::Over { id } => {
                // Mostly one of the last.
                if let Some(place) = self.open.iter().rposition(|(open, _)| open == id) {
                    self.open.remove(place);
                }
            }
        }
    }

    /// All of it as the bytes of a file.
    pub fn to_bytes(&self, cluster: &Digest, client: &ClientId) -> Vec<u8> {
        let open = self.open.iter();
        let open = open.map(|(id, parts)| Entry::Numbered { id: *id, parts: parts.clone() });
        let sessions = self.sessions.iter().map(|(chain, (session, next))| Entry::Session {
            chain: *chain,
            session: *session,
            next: *next,
        });
        // The sessions last: they are where requests go on.
        let entries: Vec<Entry> = open.chain(sessions).collect();
        [header(cluster, client), group(&entries)].concat()
    }

    /// The calls of which it is not known what came of them, the oldest first.
    pub fn open(&self) -> Vec<CallId> {
        let calls = |(id, parts): &(CallId, Vec<u32>)| {
            let mut first = 0;
            let several = parts.len() > 1;
            let part = |count: &u32| {
                let part = CallPart { first, count: *count };
                first += count;
                CallId { part: several.then_some(part), ..*id }
            };
            parts.iter().map(part).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(calls).collect()
    }

    /// Where the requests of a chain go on: in the last session, with the next number, if none of
    /// that is open. Else in a new one, so that nothing is forgotten of those that are.
    pub fn start(&self, chain: u32) -> Option<(SessionId, Start)> {
        let (session, next) = *self.sessions.get(&chain)?;
        let is_open = self.open.iter().any(|(id, _)| (id.chain, id.session) == (chain, session));
        let start = Start { first: next, cautious: true, goes_on: true, ..Start::default() };
        (!is_open).then_some((session, start))
    }
}

fn read_entry(r: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let kind = r.u8("kind of entry")?;
    let chain = r.u32("chain")?;
    let session = SessionId(r.u64("session")?);
    let number = r.u64("number")?;
    let id = CallId { chain, session, number, part: None };
    match kind {
        SESSION => Ok(Entry::Session { chain, session, next: number }),
        NUMBERED => {
            let n = r.count(MOST, 4, "calls in a request")?;
            let parts = (0..n).map(|_| r.u32("outputs of a call"));
            Ok(Entry::Numbered { id, parts: parts.collect::<Result<_, _>>()? })
        }
        OVER => Ok(Entry::Over { id }),
        _ => Err(r.error("kind of entry")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Digest = Digest([7; 32]);
    const CLIENT: ClientId = ClientId([9; 32]);

    fn id(session: u64, number: u64) -> CallId {
        CallId { chain: 0, session: SessionId(session), number, part: None }
    }

    fn numbered(session: u64, number: u64, parts: &[u32]) -> Entry {
        Entry::Numbered { id: id(session, number), parts: parts.to_vec() }
    }

    fn over(session: u64, number: u64) -> Entry {
        Entry::Over { id: id(session, number) }
    }

    fn file(groups: &[&[Entry]]) -> Vec<u8> {
        let groups = groups.iter().flat_map(|entries| group(entries));
        header(&CLUSTER, &CLIENT).into_iter().chain(groups).collect()
    }

    fn read(bytes: &[u8]) -> Result<(Notebook, usize), NotebookError> {
        Notebook::read(bytes, &CLUSTER, &CLIENT)
    }

    #[test]
    fn what_is_open_is_what_was_numbered_and_is_not_over() {
        let first: &[Entry] = &[numbered(5, 1, &[1]), numbered(5, 2, &[1, 2, 1])];
        let bytes = file(&[first, &[over(5, 1), numbered(5, 3, &[4])]]);
        let (notebook, length) = read(&bytes).unwrap();
        assert_eq!(length, bytes.len());
        let part = |first, count| CallId { part: Some(CallPart { first, count }), ..id(5, 2) };
        let open = vec![part(0, 1), part(1, 2), part(3, 1), id(5, 3)];
        assert_eq!(notebook.open(), open);
        assert_eq!(notebook.start(0), None, "its session waits until these are known");
        let whole = notebook.to_bytes(&CLUSTER, &CLIENT);
        assert_eq!(read(&whole), Ok((notebook.clone(), whole.len())));
        let mut notebook = notebook;
        [over(5, 2), over(5, 3), over(5, 3)].iter().for_each(|entry| notebook.apply(entry));
        let (session, start) = notebook.start(0).unwrap();
        assert_eq!((session, start.first, start.cautious), (SessionId(5), 4, true));
        assert_eq!(notebook.start(1), None);
        let whole = notebook.to_bytes(&CLUSTER, &CLIENT);
        assert_eq!(read(&whole).unwrap().0.start(0), notebook.start(0));
        assert!(whole.len() < bytes.len());
    }

    #[test]
    fn a_write_that_was_cut_off_is_cut_off_wherever_that_was() {
        let before = file(&[&[numbered(5, 1, &[1])]]);
        let whole = file(&[&[numbered(5, 1, &[1])], &[numbered(5, 2, &[1, 1])]]);
        for length in 0..whole.len() {
            let (notebook, good) = read(&whole[..length]).unwrap();
            let expected = match length {
                _ if length < HEADER => 0,
                _ if length < before.len() => HEADER,
                _ => before.len(),
            };
            assert_eq!((good, notebook.open().is_empty()), (expected, expected <= HEADER));
            // The file had its length, but not its bytes.
            let mut zeros = whole.clone();
            zeros[length..].fill(0);
            let kept = length.saturating_sub(before.len());
            if zeros != whole && (length == before.len() || kept >= GROUP) {
                assert_eq!(read(&zeros).unwrap().1, before.len(), "{length}");
            }
        }
        let mut spoilt = whole.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        assert_eq!(read(&spoilt).unwrap().1, before.len());
    }

    #[test]
    fn what_is_damaged_before_the_end_or_of_somebody_else_is_refused() {
        let whole = file(&[&[numbered(5, 1, &[1])], &[numbered(5, 2, &[1])]]);
        for at in [HEADER + 1, HEADER + 9, HEADER + GROUP, HEADER + GROUP + 20] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let refused = read(&damaged).unwrap_err();
            assert!(matches!(refused, NotebookError::Damaged { at: HEADER, .. }), "{refused}");
        }
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        assert!(matches!(read(&damaged), Err(NotebookError::Damaged { at: 0, .. })));
        damaged[0] ^= 1;
        assert_eq!(read(&damaged), Err(NotebookError::Other));
        let other = Notebook::read(&whole, &CLUSTER, &ClientId([1; 32]));
        assert_eq!(other, Err(NotebookError::Foreign("key")));
        let other = Notebook::read(&whole, &Digest([1; 32]), &CLIENT);
        assert_eq!(other, Err(NotebookError::Foreign("cluster")));
        assert_eq!(read(b"something else"), Err(NotebookError::Other));
        // A group that fits its check and has no entries that are.
        let mut strange = file(&[]);
        strange.extend_from_slice(&1u32.to_le_bytes());
        strange.extend_from_slice(&(!1u32).to_le_bytes());
        strange.extend_from_slice(&check(&[9]));
        strange.push(9);
        assert!(matches!(read(&strange), Err(NotebookError::Damaged { at: HEADER, .. })));
    }

    #[test]
    fn the_oldest_open_requests_go_when_there_are_too_many() {
        let mut notebook = Notebook::default();
        (1..=MOST as u64 + 2).for_each(|n| notebook.apply(&numbered(5, n, &[1])));
        let open = notebook.open();
        assert_eq!((open.len(), open[0]), (MOST, id(5, 3)));
    }
}
