//! What is done with an input. Nothing may panic or allocate beyond its limits, and what can be
//! read is written again as the same bytes. Each body says how much of the input was understood,
//! so that a test of the corpus can tell that it still reaches the decoders.
//!
//! Two drivers run this: the tests beside it, and libFuzzer in `fuzz/`.

use allocation_counter::measure;
use bytes::Bytes;
use quorate::crypto::{Context, Ed25519, Keyed, Keyring, Scheme, SecretKey, Unverified};
use quorate::ordering;
use quorate::proof::receipt::ReceiptFile;
use quorate::replica::OpenedSnapshot;
use quorate::service::kv::Kv;
use quorate::storage::{
    Cursor, Disk, Entry, Limits, Log, MemoryDisk, Options, Point, Position, Snapshots, Space, Step,
};
use quorate::types::{
    ClockKind, Digest, DiskState, Ensemble, GroupId, Now, OrderLimits, ReplicaId, Timing,
};
use quorate::wire::{
    Blame, Body, CallMessage, ChainAnswer, ChainMessage, ChainQuery, ChainSession, DecodeError,
    Digests, Frame, FrameDecoder, Gone, Greeting, Hello, Kind, Leaves, LogEntry, Mark, Message,
    Note, OPEN_FRAME, OperatorChange, Outcome, Ping, Pong, Proposal, Reader, Receipt,
    ReceiptAnswer, Record, Replies, Report, Request, RequestBody, Restarted, SignedChange,
    SnapshotOffer, SnapshotPart, Stalled, Stamp, Want, WantBody, WantHistory, WantLeaves,
    WantReceipt, WantSnapshot, WholeQuery,
};
use std::time::Duration;

const OWNER: Digest = Digest([7; 32]);
const SECRET: Digest = Digest([9; 32]);
const LIMITS: Limits = Limits { segment_bytes: 4096, record_bytes: 1024, reserve_bytes: 4096 };
/// The first file of a log.
const FILE: &str = "log-00000000000000000000.seg";

/// One body with its name, and how many bytes it may hold besides some times what came.
pub type Target = (&'static str, fn(&[u8]) -> usize, u64);

/// Entries, records, files of a log.
pub const LOG: Target = ("log", log, 4 << 20);
/// Snapshots that are taken up.
pub const SNAPSHOT: Target = ("snapshot", snapshot, 4 << 20);
/// Frames, and what lies in them.
pub const MESSAGES: Target = ("messages", messages, 64 << 10);

/// Runs a body within its allowance of memory.
pub fn bounded((name, body, besides): Target, input: &[u8]) -> usize {
    let mut understood = 0;
    let info = measure(|| understood = body(input));
    let most = besides + 64 * input.len() as u64;
    assert!(info.bytes_max <= most, "{name}: {} bytes for {}", info.bytes_max, input.len());
    understood
}

// --- the log -----------------------------------------------------------------------------------

/// Entries and records of a replica, and the files that they lie in. The first byte says what the
/// rest is: an entry, a record, a mark; a whole file of the log; damage to one that is good; a
/// snapshot's file.
pub fn log(data: &[u8]) -> usize {
    let Some((mode, rest)) = data.split_first() else { return 0 };
    match mode % 6 {
        0 => canonical(rest, |b| LogEntry::parse(b).map(|entry| entry.to_bytes())),
        1 => canonical(rest, |b| Record::parse(b).map(|record| record.to_bytes())),
        2 => canonical(rest, |b| Mark::parse(b).map(|mark| mark.to_bytes())),
        3 => {
            let mut disk = MemoryDisk::new();
            disk.put(FILE, rest);
            scan(disk)
        }
        4 => scan(damaged(rest)),
        _ => snapshot_file(rest),
    }
}

fn options() -> Options {
    let (first, known) = (Position(0), Position(0));
    Options { owner: OWNER, secret: SECRET, first, known, limits: LIMITS }
}

/// Changes to a log that are made at most.
const MOST_CHANGES: usize = 256;

// A good log of some records, with bytes of the input written over it: each four bytes say where
// and what.
fn damaged(input: &[u8]) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let (mut log, _) = Log::open(&mut disk, options(), &mut |_| {}).expect("an empty disk is good");
    for n in 1..40_u8 {
        let payload = vec![n; usize::from(n) * 5 + 1];
        let entry = Entry { kind: n % 5 + 1, payload: &payload };
        log.append(&mut disk, &[entry], Space::Ordinary).expect("there is room");
        log.sync(&mut disk).expect("the disk is good");
    }
    let mut names = disk.list().expect("it can be listed");
    names.sort();
    let bytes = |name: &String| disk.bytes(name).expect("it is listed").to_vec();
    let mut files: Vec<Vec<u8>> = names.iter().map(bytes).collect();
    // Each can make a file a few hundred bytes longer.
    for change in input.chunks_exact(4).take(MOST_CHANGES) {
        let place = usize::from(u16::from_le_bytes([change[1], change[2]]));
        let bytes = &mut files[usize::from(change[0]) % names.len()];
        match (change[0] / 32, bytes.len()) {
            // Cut off, or longer.
            (7, length) => bytes.truncate(place % (length + 1)),
            (6, _) => bytes.extend(std::iter::repeat_n(change[3], place % 700)),
            (_, 0) => {}
            (_, length) => bytes[place % length] ^= change[3],
        }
    }
    names.iter().zip(&files).for_each(|(name, bytes)| disk.put(name, bytes));
    disk
}

// Opens a log of any files and reads all of it. Then it must go on, and open again as it was.
fn scan(mut disk: MemoryDisk) -> usize {
    let Ok((mut log, found)) = Log::open(&mut disk, options(), &mut |_| {}) else { return 0 };
    let read = read_all(&mut log, &mut disk, found.first);
    let entry = Entry { kind: 1, payload: b"more" };
    let appended = log.append(&mut disk, &[entry], Space::Ordinary);
    let synced = appended.is_ok() && log.sync(&mut disk).is_ok();
    let mut after = disk.without_power(&mut |_| 0);
    let (mut log, found) =
        Log::open(&mut after, options(), &mut |_| {}).expect("what was opened opens again");
    let mut again = read_all(&mut log, &mut after, found.first);
    if synced {
        let last = again.pop().expect("what was synced is there");
        assert_eq!(last.1, b"more", "the last record is what was appended last");
    }
    assert_eq!(again, read, "another opening finds the same");
    read.len()
}

fn read_all(log: &mut Log, disk: &mut MemoryDisk, from: Position) -> Vec<(Position, Vec<u8>)> {
    let (mut cursor, mut read) = (Cursor::new(from), Vec::new());
    loop {
        match log.read(disk, &mut cursor).expect("a disk in memory is read") {
            Step::Record(stored) => {
                assert!(stored.payload.len() <= LIMITS.record_bytes, "a record beyond the limit");
                read.push((stored.position, stored.payload));
            }
            Step::End => return read,
            Step::Damaged(_) | Step::Dropped(_) => {}
        }
    }
}

fn snapshot_file(bytes: &[u8]) -> usize {
    const NAME: &str = "snap-00000000000000000003.snap";
    let mut disk = MemoryDisk::new();
    if bytes.first() == Some(&b'Q') {
        disk.put(NAME, bytes);
    } else {
        let mut snapshots = Snapshots::open(&mut disk, OWNER, 64).expect("an empty disk is good");
        let chunks = [&[1; 64][..], &[2; 30]];
        snapshots.save(&mut disk, 3, chunks).expect("there is room");
        let mut whole = disk.bytes(NAME).expect("it was saved").to_vec();
        for change in bytes.chunks_exact(2) {
            let length = whole.len();
            whole[usize::from(change[0]) % length] ^= change[1];
        }
        disk.put(NAME, &whole);
    }
    let Ok(mut snapshots) = Snapshots::open(&mut disk, OWNER, 64) else { return 0 };
    let read = snapshots.newest(&mut disk).map_or(0, |newest| usize::from(newest.whole.is_some()));
    // Whatever it is, a whole one can take its place.
    let saved = snapshots.save(&mut disk, 3, [b"whole"]).expect("there is room");
    assert_eq!(snapshots.check(&mut disk, 3).ok(), Some(saved));
    // Point names are for faults; nothing here asks for any.
    assert!(disk.counts().contains_key(&Point::SnapshotRename));
    read
}

// --- snapshots ---------------------------------------------------------------------------------

/// A snapshot of a state, as it comes from a peer, a disk or a backup: two bytes with the length
/// of what attests it, that, and the state.
pub fn snapshot(data: &[u8]) -> usize {
    let Some((length, rest)) = data.split_first_chunk() else { return 0 };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (head, state) = (Bytes::copy_from_slice(&rest[..length]), &rest[length..]);
    let state = Bytes::copy_from_slice(state);
    // The parts alone, too: behind a head that fits nothing would be tried.
    let mut understood = usize::from(take_up_order(&state));
    let Ok(opened) = OpenedSnapshot::parse(&head, &state) else { return understood };
    let sizes = opened.sizes();
    assert!(sizes.0 + sizes.1 + sizes.2 <= state.len(), "parts are of what came");
    let limits = OrderLimits::default();
    let sessions = opened.sessions(&limits);
    let restored = opened.gives(&Digest([0; 32]), Box::new(Kv::new()), limits);
    let why = restored.expect_err("no state has a digest of zeros");
    assert_ne!(why, "the service panicked over it");
    understood += 1 + usize::from(sessions.is_some());
    let proven = opened.proven(&keyring());
    understood += usize::from(proven.is_ok());
    if let Ok(digest) = proven {
        // Of what t + 1 have signed there is one state only.
        understood += usize::from(opened.gives(&digest, Box::new(Kv::new()), limits).is_ok());
    }
    understood + usize::from(take_up_order(&state.slice(ordering_of(&state, sizes.0))))
}

// Where the order's part of a snapshot stands.
fn ordering_of(state: &Bytes, length: usize) -> std::ops::Range<usize> {
    let start = (8 + 8 + 32 + 32 + 8 + 8 + 8).min(state.len());
    start..(start + length).min(state.len())
}

fn take_up_order(state: &[u8]) -> bool {
    let setup = ordering::Setup::<Keyed> {
        id: ReplicaId::from_index(0),
        keyring: keyring(),
        signer: Keyed::signer(&secret(0)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits { checkpoint_every: 4, ..OrderLimits::default() },
        seed: 1,
        disk: DiskState::Known,
        recovered: Vec::new(),
        strict: false,
        replays: true,
        incarnation: 2,
    };
    let mut core = ordering::Core::new(setup, Now::default());
    let taken = core.replay_state(Now::default(), state, &mut Vec::new()).is_ok();
    if taken {
        let mut out = Vec::new();
        core.recovered();
        core.handle(Now::default(), ordering::Input::Tick, &mut out);
    }
    taken
}

fn secret(index: usize) -> SecretKey {
    SecretKey::from_seed([index as u8 + 1; 32])
}

/// The keys with which what is in the corpus was signed.
fn keyring() -> Keyring<Keyed> {
    let cluster = quorate::crypto::sha256(b"a cluster");
    let context = Context { cluster, group: GroupId::MAIN };
    let keys = (0..3).map(|i| Keyed::public(&Keyed::signer(&secret(i)))).collect();
    let ensemble = Ensemble::new(1).expect("three replicas");
    Keyring::new(context, ensemble, keys).expect("three usable keys")
}

// --- messages ----------------------------------------------------------------------------------

macro_rules! messages {
    ($($message:ty,)*) => {
        /// The kinds of frames whose bodies are read here: all but that which has none.
        pub const KINDS: &[Kind] = &[$(<$message as Message>::KIND,)*];

        fn read_body(frame: &Frame) -> Option<Result<Vec<u8>, DecodeError>> {
            $(if frame.kind == <$message as Message>::KIND {
                let read = <$message as Message>::from_body(&frame.body);
                return Some(read.map(|message| message.to_frame(frame.group)));
            })*
            None
        }
    };
}

messages! {
    Hello, Unverified<Proposal>, Want, Ping, Pong, Stamp, WantBody, Body, Unverified<Blame>,
    CallMessage, Unverified<Report>, Unverified<Restarted>, Unverified<Stalled>, SignedChange,
    WantHistory, Gone, WantSnapshot, SnapshotPart, SnapshotOffer, Greeting, Request, Replies,
    Note, OperatorChange, ChainMessage, ChainQuery, ChainAnswer, ChainSession, WantReceipt,
    ReceiptAnswer, Digests, WholeQuery, WantLeaves, Leaves,
}

/// A stream of frames of any kind, transfer and changes of the epoch among them, which comes in
/// pieces; what lies inside of messages; and receipts. The first byte says which, and how large
/// pieces are.
pub fn messages(data: &[u8]) -> usize {
    let Some((mode, rest)) = data.split_first() else { return 0 };
    let bytes = Bytes::copy_from_slice(rest);
    match mode % 6 {
        0 => canonical(rest, |_| RequestBody::parse(&bytes).map(|b| b.to_bytes().to_vec())),
        1 => canonical(rest, |_| Outcome::parse(&bytes).map(|o| o.to_bytes().to_vec())),
        4 => canonical(rest, |bytes| {
            let mut r = Reader::new(bytes);
            let receipt = Receipt::read(&mut r)?;
            r.finish().map(|()| receipt.to_bytes())
        }),
        5 => receipt_file(rest),
        _ => stream(&bytes, usize::from(*mode) + 1),
    }
}

// A receipt's file, judged by the keys that it names itself.
fn receipt_file(bytes: &[u8]) -> usize {
    let Ok(file) = ReceiptFile::parse(bytes) else { return 0 };
    assert_eq!(file.to_bytes(), bytes, "two encodings of one receipt");
    let judged = file.roster::<Ed25519>().and_then(|roster| file.judge_by_hash::<Ed25519>(&roster));
    1 + usize::from(judged.is_ok())
}

fn stream(bytes: &Bytes, piece: usize) -> usize {
    let (mut decoder, mut understood, mut consumed) = (FrameDecoder::default(), 0, 0);
    for start in (0..bytes.len()).step_by(piece) {
        decoder.push(bytes.slice(start..bytes.len().min(start + piece)));
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return understood,
            };
            // Length, kind and group are in front of the body.
            let whole = consumed..consumed + 9 + frame.body.len();
            let whole = &bytes[std::mem::replace(&mut consumed, whole.end)..whole.end];
            match read_body(&frame) {
                Some(Ok(again)) => {
                    assert_eq!(again, whole, "{:?} has two encodings", frame.kind);
                    understood += 1;
                }
                Some(Err(_)) => {}
                None => understood += usize::from(whole == OPEN_FRAME),
            }
        }
        assert!(decoder.buffered() <= bytes.len() - consumed, "it holds more than came");
    }
    understood
}

// What can be read is written again as the same bytes.
fn canonical(bytes: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, DecodeError>) -> usize {
    match again(bytes) {
        Ok(again) => {
            assert_eq!(again, bytes, "two encodings of one thing");
            1
        }
        Err(_) => 0,
    }
}
