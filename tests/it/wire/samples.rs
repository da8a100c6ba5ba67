//! One message of every kind with every part filled in, and its golden file.

use super::{chain, epochs, receipts};
use bytes::Bytes;
use quorate::crypto::{
    Context, Ed25519, Keyring, MerklePath, Scheme, SecretKey, Signable, Unverified, Verified, hash,
};
use quorate::types::{Assurance, SessionId};
use quorate::types::{ClientId, Digest, Ensemble, Epoch, GroupId, ReplicaId, Round};
use quorate::wire::{
    Attestation, Blame, Body, CallMessage, Candidate, ChainAnswer, ChainMessage, ChainQuery,
    ChainSession, Command, CommandKind, DecodeError, Digests, Frame, Gone, Greeting, GroupState,
    Header, Hello, Kind, LaterStep, Leaves, Look, Looked, Mark, Message, NoReceipt, Note, NoteKind,
    OPEN_FRAME, OperatorChange, Outcome, PROTOCOL_VERSION, Piece, Ping, Pong, Proposal,
    ReceiptAnswer, ReceiptProof, Refusal, Replies, Reply, ReplyDigest, Report, Request,
    RequestBody, Restarted, SignedChange, SnapshotOffer, SnapshotPart, Stalled, Stamp,
    StepPosition, Want, WantBody, WantHistory, WantLeaves, WantReceipt, WantSnapshot, WholeQuery,
};
use std::path::PathBuf;

/// The group that samples travel in: not 0, so that its bytes show.
pub const GROUP: GroupId = GroupId(7);

/// One kind of bytes with its decoder.
pub struct Sample {
    /// The golden file's name.
    pub name: &'static str,
    /// The encoding: a whole frame, or what lies inside of one or on disk.
    pub bytes: Vec<u8>,
    /// Whether `bytes` are a frame.
    pub framed: bool,
    /// Whether the message ends wherever its frame does.
    pub open_ended: bool,
    /// Whether every flipped bit must be refused (a checksum covers all).
    pub sealed: bool,
    /// Where count fields stand, counted from the start of `bytes`.
    pub counts: Vec<usize>,
    decode: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

impl Sample {
    /// A whole frame; `counts` are counted from the start of its body.
    pub fn frame(name: &'static str, bytes: Vec<u8>, counts: &[usize]) -> Self {
        let counts = counts.iter().map(|at| at + 9).collect();
        let decode = reencode_frame;
        Self { name, bytes, framed: true, open_ended: false, sealed: false, counts, decode }
    }

    /// Something that is no frame.
    pub fn part(
        name: &'static str,
        bytes: impl Into<Vec<u8>>,
        counts: &[usize],
        decode: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    ) -> Self {
        let (bytes, counts) = (bytes.into(), counts.to_vec());
        Self { name, bytes, framed: false, open_ended: false, sealed: false, counts, decode }
    }

    /// The same, with a checksum over all.
    pub fn sealed(self) -> Self {
        Self { sealed: true, ..self }
    }

    /// Decodes `bytes` as a receiver of this kind of stream would, and encodes the result.
    pub fn reencode(&self, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        (self.decode)(bytes)
    }

    /// Checks all signatures of a signed message; `None` if the bytes do not decode or nothing in
    /// them is signed as a whole.
    pub fn verify(&self, bytes: &[u8], keyring: &Keyring<Ed25519>) -> Option<bool> {
        let frame = Frame::parse(Bytes::copy_from_slice(bytes)).ok().filter(|_| self.framed)?;
        match frame.kind {
            Kind::Proposal => verify::<Proposal>(&frame, keyring),
            Kind::Blame => verify::<Blame>(&frame, keyring),
            Kind::Restarted => verify::<Restarted>(&frame, keyring),
            Kind::Stalled => verify::<Stalled>(&frame, keyring),
            Kind::Report => {
                let report = Unverified::<Report>::from_body(&frame.body).ok()?;
                Some(report.verify_ref(keyring).is_ok() && epochs::parts_verify(&report, keyring))
            }
            Kind::Change => {
                SignedChange::from_body(&frame.body).ok().map(|c| c.verify(keyring, 0).is_ok())
            }
            Kind::OperatorChange => {
                let change = OperatorChange::from_body(&frame.body).ok()?;
                Some(change.0.verify(keyring, 0).is_ok() && change.0.author == epochs::operator())
            }
            _ => None,
        }
    }

    /// The golden file's text.
    pub fn to_text(&self) -> String {
        let lines = self.bytes.chunks(32).map(|line| to_hex(line) + "\n");
        let header = format!("# {}: {} bytes\n", self.name, self.bytes.len());
        std::iter::once(header).chain(lines).collect()
    }
}

fn verify<T: Signable>(frame: &Frame, keyring: &Keyring<Ed25519>) -> Option<bool>
where
    Unverified<T>: Message,
{
    let message = Unverified::<T>::from_body(&frame.body).ok()?;
    Some(message.verify(keyring).is_ok())
}

/// All samples.
pub fn all() -> Vec<Sample> {
    let mut all = peer_samples();
    all.extend(epochs::samples());
    all.extend(transfer_samples());
    all.extend(client_samples());
    all.extend(receipt_samples());
    all.extend(part_samples());
    all.extend(chain::samples());
    all.extend(receipts::samples());
    all
}

/// The sample of this name.
pub fn named(name: &str) -> Sample {
    all().into_iter().find(|s| s.name == name).expect("a sample of this name")
}

/// Where golden files lie.
pub fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The golden file of a sample.
pub fn golden_path(name: &str) -> PathBuf {
    golden_dir().join(format!("{name}.hex"))
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a golden file; the error is the number of the line that is not hexadecimal.
pub fn from_text(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(l, _)| !l.starts_with('#')) {
        for pair in line.as_bytes().chunks(2) {
            let digits = std::str::from_utf8(pair).map_err(|_| number)?;
            let byte = u8::from_str_radix(digits, 16).map_err(|_| number)?;
            bytes.push(byte);
            if pair.len() != 2 {
                return Err(number);
            }
        }
    }
    Ok(bytes)
}

/// Writes a frame's length field anew after its body was cut or grown.
pub fn refit(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len() - 4).expect("samples are short");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// The roster whose second replica signed the proposal.
pub fn keyring() -> Keyring<Ed25519> {
    keyring_in(Context { cluster: digest("cluster"), group: GROUP })
}

/// The same keys in another cluster, and in another group.
pub fn foreign_keyrings() -> [Keyring<Ed25519>; 2] {
    [
        keyring_in(Context { cluster: digest("another cluster"), group: GROUP }),
        keyring_in(Context { cluster: digest("cluster"), group: GroupId::MAIN }),
    ]
}

/// Decodes whatever message the frame says it holds, and encodes it again.
pub fn reencode_frame(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let frame = Frame::parse(Bytes::copy_from_slice(bytes))?;
    match frame.kind {
        // It has no parts: it is these bytes or it is not an opening.
        Kind::Open if bytes == OPEN_FRAME => Ok(OPEN_FRAME.to_vec()),
        Kind::Open => Err(DecodeError { what: "an opening with parts", at: 0 }),
        Kind::Hello => reencode_body::<Hello>(&frame),
        Kind::Proposal => reencode_body::<Unverified<Proposal>>(&frame),
        Kind::Want => reencode_body::<Want>(&frame),
        Kind::Blame => reencode_body::<Unverified<Blame>>(&frame),
        Kind::Call => reencode_body::<CallMessage>(&frame),
        Kind::Report => reencode_body::<Unverified<Report>>(&frame),
        Kind::Restarted => reencode_body::<Unverified<Restarted>>(&frame),
        Kind::Stalled => reencode_body::<Unverified<Stalled>>(&frame),
        Kind::Change => reencode_body::<SignedChange>(&frame),
        Kind::OperatorChange => reencode_body::<OperatorChange>(&frame),
        Kind::Ping => reencode_body::<Ping>(&frame),
        Kind::Pong => reencode_body::<Pong>(&frame),
        Kind::WantBody => reencode_body::<WantBody>(&frame),
        Kind::Body => reencode_body::<Body>(&frame),
        Kind::WantHistory => reencode_body::<WantHistory>(&frame),
        Kind::Gone => reencode_body::<Gone>(&frame),
        Kind::WantLeaves => reencode_body::<WantLeaves>(&frame),
        Kind::Leaves => reencode_body::<Leaves>(&frame),
        Kind::WantSnapshot => reencode_body::<WantSnapshot>(&frame),
        Kind::SnapshotPart => reencode_body::<SnapshotPart>(&frame),
        Kind::SnapshotOffer => reencode_body::<SnapshotOffer>(&frame),
        Kind::Greeting => reencode_body::<Greeting>(&frame),
        Kind::Request => reencode_body::<Request>(&frame),
        Kind::Replies => reencode_body::<Replies>(&frame),
        Kind::Note => reencode_body::<Note>(&frame),
        Kind::Chain => reencode_body::<ChainMessage>(&frame),
        Kind::Stamp => reencode_body::<Stamp>(&frame),
        Kind::ChainQuery => reencode_body::<ChainQuery>(&frame),
        Kind::ChainAnswer => reencode_body::<ChainAnswer>(&frame),
        Kind::ChainSession => reencode_body::<ChainSession>(&frame),
        Kind::WantReceipt => reencode_body::<WantReceipt>(&frame),
        Kind::Receipt => reencode_body::<ReceiptAnswer>(&frame),
        Kind::Digests => reencode_body::<Digests>(&frame),
        Kind::WholeQuery => reencode_body::<WholeQuery>(&frame),
    }
}

fn reencode_body<M: Message>(frame: &Frame) -> Result<Vec<u8>, DecodeError> {
    M::from_body(&frame.body).map(|message| message.to_frame(frame.group))
}

/// Decodes a request's body and encodes it again.
pub fn reencode_request_body(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    RequestBody::parse(&Bytes::copy_from_slice(bytes)).map(|body| body.to_bytes().to_vec())
}

/// Decodes an outcome and encodes it again.
pub fn reencode_outcome(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Outcome::parse(&Bytes::copy_from_slice(bytes)).map(|outcome| outcome.to_bytes().to_vec())
}

/// Decodes a mark and encodes it again.
pub fn reencode_mark(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Mark::parse(bytes).map(|mark| mark.to_bytes())
}

fn peer_samples() -> Vec<Sample> {
    let replica = |number| ReplicaId::new(number).expect("a small number");
    let epoch = Epoch { generation: 1, resets: 2, accused: 3 };
    let hello = Hello {
        version: PROTOCOL_VERSION,
        cluster: digest("cluster"),
        replica: replica(3),
        incarnation: 4,
        restarted: true,
        fields: vec![("delta".to_owned(), digest("delta")), ("clock".to_owned(), digest("clock"))],
        groups: vec![GroupState { group: GROUP, promise: epoch, round: Round(99) }],
    };
    let want = Want { epoch, round: Round(17), replica: replica(2), digest: digest("proposal") };
    let want_body = WantBody { digests: vec![digest("request"), digest("another request")] };
    let body = Body { client: client(), request: Bytes::from_static(b"what the client sent") };
    let body = Sample::frame("body", body.to_frame(GROUP), &[]);
    // Numbers of the fields: after 44 bytes the count, then a name's length 4 bytes on, the
    // second name's 4 + 5 + 32 bytes later, and the count of groups as far behind that.
    let hello_counts = [44, 48, 48 + 41, 48 + 2 * 41];
    vec![
        Sample::frame("open", OPEN_FRAME.to_vec(), &[]),
        Sample::frame("hello", hello.to_frame(GROUP), &hello_counts),
        // The choice has its count after epoch, members, round and replica; two hashes and two
        // candidates on stands the count of status changes.
        Sample::frame("proposal", proposal().to_frame(GROUP), &[25, 29 + 96, 33 + 96 + 80]),
        Sample::frame("want", want.to_frame(GROUP), &[]),
        Sample::frame("ping", Ping { sent: 1_000_001, wall: 2_000_002 }.to_frame(GROUP), &[]),
        Sample::frame(
            "pong",
            Pong { sent: 1_000_001, clock: 2_000_002, answered: 3_000_003 }.to_frame(GROUP),
            &[],
        ),
        Sample::frame(
            "stamp",
            Stamp { sent: 1_000_001, echo: 2_000_002, handled: 3_000_003 }.to_frame(GROUP),
            &[],
        ),
        Sample::frame("want-body", want_body.to_frame(GROUP), &[0]),
        Sample { open_ended: true, ..body },
    ]
}

fn transfer_samples() -> Vec<Sample> {
    let header: Unverified<Header> = proposal().header().into();
    let total = 3 << 30;
    let pages = vec![digest("page 0"), digest("page 1")];
    let offer =
        SnapshotOffer { round: Round(32), total, pages, proof: vec![header.clone(), header] };
    let not_yet = SnapshotOffer::not_yet(Round(32));
    let want = |round, piece| WantSnapshot { round: Round(round), piece };
    let part = |piece, bytes: &'static [u8]| {
        SnapshotPart { round: Round(32), piece, bytes: Bytes::from_static(bytes) }.to_frame(GROUP)
    };
    let position = StepPosition { round: Round(31), vector: digest("vector") };
    let leaf = |of: &str| (digest(of), digest("output"));
    let leaves = Leaves {
        position,
        before: digest("running"),
        total: 4,
        first: 2,
        leaves: vec![leaf("one"), leaf("other")],
    };
    // A header has a count before its choice of three, and ends 206 bytes and its signature behind
    // that.
    let length = 29 + 96 + 206 + 64;
    let counts = [16, 84, 88 + 25, 88 + length + 25];
    vec![
        Sample::frame("want-history", WantHistory { after: Round(31) }.to_frame(GROUP), &[]),
        Sample::frame("gone", Gone { snapshot: Round(32) }.to_frame(GROUP), &[]),
        Sample::frame("want-snapshot-offer", want(0, Piece::Offer).to_frame(GROUP), &[]),
        Sample::frame("want-snapshot-page", want(32, Piece::Page(1)).to_frame(GROUP), &[]),
        Sample::frame("want-snapshot-chunk", want(32, Piece::Chunk(7)).to_frame(GROUP), &[]),
        Sample::frame("snapshot-offer", offer.to_frame(GROUP), &counts),
        Sample::frame("snapshot-offer-none", SnapshotOffer::none().to_frame(GROUP), &[16, 20]),
        Sample::frame("snapshot-offer-not-yet", not_yet.to_frame(GROUP), &[16, 20]),
        Sample::frame("snapshot-page", part(Piece::Page(1), b"digests"), &[13]),
        Sample::frame("snapshot-chunk", part(Piece::Chunk(7), b"the state"), &[13]),
        Sample::frame("snapshot-chunk-none", part(Piece::Chunk(7), b""), &[13]),
        Sample::frame(
            "want-leaves",
            WantLeaves { round: Round(31), first: 2 }.to_frame(GROUP),
            &[],
        ),
        Sample::frame("leaves", leaves.to_frame(GROUP), &[80]),
        Sample::frame("leaves-unknown", Leaves::unknown(Round(31)).to_frame(GROUP), &[80]),
    ]
}

fn client_samples() -> Vec<Sample> {
    let greeting = Greeting { version: PROTOCOL_VERSION, cluster: digest("cluster") };
    let session = SessionId(0x1122_3344_5566_7788);
    let request = Request { session, number: 9, low: 5, body: request_body().to_bytes() };
    let opening = Request { session, number: 0, low: 0, body: Bytes::new() };
    let position = StepPosition { round: Round(41), vector: digest("vector") };
    let replies = Replies {
        position,
        rolled: false,
        replies: vec![
            Reply { session, number: 9, index: 0, outcome: executed().to_bytes() },
            Reply { session, number: 10, index: 3, outcome: Outcome::Opened.to_bytes() },
        ],
    };
    let whole = ReplicaId::new(3).expect("a small number");
    let digests = replies.replies.iter().map(|reply| ReplyDigest::of(reply, whole));
    let digests = Digests { position, rolled: true, digests: digests.collect() };
    let query = ChainQuery { id: 7, body: request_body().to_bytes() };
    let note = Note { session, number: 9, kind: NoteKind::NumberTaken };
    let second_outcome = 45 + 24 + executed().to_bytes().len() + 20;
    vec![
        Sample::frame("greeting", greeting.to_frame(GROUP), &[]),
        Sample::frame("request", request.to_frame(GROUP), &[24]),
        Sample::frame("request-opening", opening.to_frame(GROUP), &[24]),
        Sample::frame("replies", replies.to_frame(GROUP), &[41, 45 + 20, second_outcome]),
        Sample::frame("digests", digests.to_frame(GROUP), &[41]),
        Sample::frame("whole-query", WholeQuery(query).to_frame(GROUP), &[8]),
        Sample::frame("note", note.to_frame(GROUP), &[]),
    ]
}

fn receipt_samples() -> Vec<Sample> {
    let (session, number) = (SessionId(0x1122_3344_5566_7788), 9);
    let position = |round| StepPosition { round: Round(round), vector: digest("vector") };
    let (position, index, assurance) = (position(41), 1, Assurance::Strong);
    let want = WantReceipt { session, number, position, index, assurance };
    let siblings = vec![digest("sibling 0"), digest("sibling 1")];
    let path = MerklePath { place: 1, leaves: 3, siblings };
    let later = LaterStep {
        position: StepPosition { round: Round(42), vector: digest("next vector") },
        root: digest("root"),
    };
    let (before, later) = (digest("before"), vec![later]);
    let signed = vec![proposal().header().into()];
    let proof = ReceiptProof { position, index, before, path, later, signed };
    let answer = ReceiptAnswer { session, number, result: Ok(proof) };
    let none = ReceiptAnswer { session, number, result: Err(NoReceipt::TooOld) };
    // Session, number and one byte come before the proof: position, index and running root, then
    // the path with its place and size, a step of 72 bytes, and the headers.
    let siblings = 17 + 40 + 4 + 32 + 8;
    let later = siblings + 4 + 64;
    let signed = later + 4 + 72;
    vec![
        Sample::frame("want-receipt", want.to_frame(GROUP), &[]),
        Sample::frame(
            "receipt-answer",
            answer.to_frame(GROUP),
            &[siblings, later, signed, signed + 29],
        ),
        Sample::frame("receipt-answer-none", none.to_frame(GROUP), &[]),
    ]
}

fn part_samples() -> Vec<Sample> {
    let refused = Outcome::Refused(Refusal::BeyondWindow);
    let mark = Mark {
        cluster: digest("cluster"),
        replica: ReplicaId::new(2).expect("a small number"),
        incarnation: 3,
        disk: quorate::types::DiskState::Replaced,
    };
    let body = request_body().to_bytes();
    vec![
        Sample::part("request-body", body, &[0, 5, 5 + 4 + 3 + 1], reencode_request_body),
        Sample::part("outcome-opened", Outcome::Opened.to_bytes(), &[], reencode_outcome),
        Sample::part("outcome-executed", executed().to_bytes(), &[1, 5, 11], reencode_outcome),
        Sample::part("outcome-refused", refused.to_bytes(), &[], reencode_outcome),
        Sample::part("outcome-withdrawn", Outcome::Withdrawn.to_bytes(), &[], reencode_outcome),
        Sample::part("request-body-look", look_body(), &[0, 5], reencode_request_body),
        Sample::part("looked", looked().to_bytes(), &[45], reencode_looked),
        Sample::part("mark", mark.to_bytes(), &[], reencode_mark).sealed(),
    ]
}

/// Decodes what a look shows and encodes it again.
pub fn reencode_looked(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Looked::parse(bytes).map(|looked| looked.to_bytes())
}

fn look_body() -> Bytes {
    let look = Look { session: SessionId(0x1122_3344_5566_7788), number: 9 };
    RequestBody { commands: vec![look.to_command()] }.to_bytes()
}

fn looked() -> Looked {
    let position = StepPosition { round: Round(70), vector: digest("vector") };
    Looked::Stored { position, index: 3, outcome: executed().to_bytes() }
}

fn request_body() -> RequestBody {
    let command = |kind, bytes| Command { kind, bytes: Bytes::from_static(bytes) };
    let commands =
        vec![command(CommandKind::Execute, b"put"), command(CommandKind::Query, b"get it")];
    RequestBody { commands }
}

fn executed() -> Outcome {
    Outcome::Executed(vec![Bytes::from_static(b"ok"), Bytes::new()])
}

fn proposal() -> Verified<Proposal> {
    let signer = Ed25519::signer(&secret(1));
    Verified::sign(unsigned_proposal(), &keyring(), &signer)
}

/// The proposal of the golden file, before it was signed.
pub fn unsigned_proposal() -> Proposal {
    Proposal {
        epoch: Epoch { generation: 0, resets: 1, accused: 0 },
        members: ensemble().all(),
        round: Round(42),
        replica: ReplicaId::from_index(1),
        choice: vec![digest("P1"), digest("P2"), digest("P3")],
        candidates: vec![
            Candidate { clock: 1_700_000_000_000_000, request: digest("request") },
            Candidate { clock: 1_700_000_000_000_001, request: digest("another request") },
        ],
        changes: Vec::new(),
        now: 1_700_000_000_000_002,
        attestation: Attestation {
            position: StepPosition { round: Round(40), vector: digest("V40") },
            running: digest("running"),
            checkpoint: Round(32),
            state: digest("state"),
            rolled: false,
            delta_held: true,
        },
    }
}

fn keyring_in(context: Context) -> Keyring<Ed25519> {
    let keys = (0..3).map(|i| secret(i).public()).collect();
    Keyring::new(context, ensemble(), keys).expect("seeds give usable keys")
}

/// A secret key from a seed.
pub fn secret(index: u8) -> SecretKey {
    SecretKey::from_seed([0x51 + index; 32])
}

/// Three replicas.
pub fn ensemble() -> Ensemble {
    Ensemble::new(1).expect("one fault is configurable")
}

fn client() -> ClientId {
    ClientId(secret(9).public().0)
}

/// A digest of some text.
pub fn digest(of: &str) -> Digest {
    hash(quorate::crypto::Domain::Entry, of.as_bytes())
}
