//! What clients and replicas say to each other.

use super::{DecodeError, Kind, MAX_FRAME, Message, Reader, StepPosition, Writer};
use crate::crypto::{Context, Domain, Hasher};
use crate::types::{ClientId, Digest, SessionId};
use bytes::Bytes;

/// Commands in one request that the layout allows; the opening's limit may be lower.
pub const MAX_COMMANDS: usize = 65_536;

/// A client's batch of one or more commands (rule O6).
///
/// With an empty body it is one of two other things. Number 0 opens the session; with a low-water
/// mark above 0 only if that is certain to be its first opening. Every other number is *withdrawn*:
/// if no request with it has run, none ever will (rule C2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The session: a nonce that the client chose.
    pub session: SessionId,
    /// The number within the session, from 1; 0 opens it.
    pub number: u64,
    /// The client's lowest unanswered number: replies below it may be forgotten.
    pub low: u64,
    /// The commands, as [`RequestBody`] lays them out; empty for number 0, and to withdraw.
    pub body: Bytes,
}

impl Request {
    /// Whether it withdraws its number (rule C2).
    pub fn withdraws(&self) -> bool {
        self.number > 0 && self.body.is_empty()
    }

    /// Names the request: covers cluster, group, client, session, number, low-water mark and body.
    pub fn digest(&self, context: &Context, client: &ClientId) -> Digest {
        let mut h = Hasher::new(Domain::Request);
        h.put(&context.cluster.0).put(&context.group.0.to_le_bytes()).put(&client.0);
        h.put_u64(self.session.0).put_u64(self.number).put_u64(self.low).put_var(&self.body);
        h.finish()
    }
}

impl Message for Request {
    const KIND: Kind = Kind::Request;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.session.0).u64(self.number).u64(self.low).var(&self.body);
    }

    /// Exactly: an entry of the log has it before the request.
    fn room(&self) -> usize {
        3 * 8 + 4 + self.body.len()
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId(r.u64("request session")?);
        let number = r.u64("request number")?;
        let low = r.u64("request low-water mark")?;
        let body = Bytes::copy_from_slice(r.var(MAX_FRAME, "request body")?);
        Ok(Self { session, number, low, body })
    }
}

/// Whether a command may change the state (rule O8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CommandKind {
    /// May change it.
    Execute = 0,
    /// Runs read-only at its position.
    Query = 1,
    /// Asks the session table, not the service, what became of a request: see [`super::Look`].
    Look = 2,
}

/// One command for the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it may do.
    pub kind: CommandKind,
    /// The service's own encoding.
    pub bytes: Bytes,
}

/// The layout of a request's body: the commands that run in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestBody {
    /// At least one.
    pub commands: Vec<Command>,
}

impl RequestBody {
    /// Bytes that a command adds to a body besides its own.
    pub const COMMAND_OVERHEAD: usize = 5;

    /// The body's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let size = |c: &Command| Self::COMMAND_OVERHEAD + c.bytes.len();
        let mut out = Writer::with_capacity(4 + self.commands.iter().map(size).sum::<usize>());
        out.count(self.commands.len());
        for c in &self.commands {
            out.u8(c.kind as u8).var(&c.bytes);
        }
        out.into_bytes().into()
    }

    /// Whether none of its commands may change the state (rule O8).
    pub fn only_reads(&self) -> bool {
        self.commands.iter().all(|c| c.kind != CommandKind::Execute)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// If it is not a list of at least one command.
    pub fn parse(body: &Bytes) -> Result<Self, DecodeError> {
        let commands = Self::commands(body)?;
        let owned = |(kind, bytes)| Command { kind, bytes: body.slice_ref(bytes) };
        Ok(Self { commands: commands.map(owned).collect() })
    }

    /// The commands of a body in their order, where they are.
    ///
    /// # Errors
    /// As [`RequestBody::parse`].
    pub fn commands(body: &[u8]) -> Result<Commands<'_>, DecodeError> {
        let mut r = Reader::new(body);
        let left = r.count(MAX_COMMANDS, Self::COMMAND_OVERHEAD, "commands")?;
        if left == 0 {
            return Err(r.error("a request without commands"));
        }
        let all = Commands { reader: r.clone(), left };
        for _ in 0..left {
            Commands::read(&mut r)?;
        }
        r.finish()?;
        Ok(all)
    }
}

/// The commands of a request's body, which was looked through.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Commands<'a> {
    fn read(r: &mut Reader<'a>) -> Result<(CommandKind, &'a [u8]), DecodeError> {
        let kind = match r.u8("command kind")? {
            0 => CommandKind::Execute,
            1 => CommandKind::Query,
            2 => CommandKind::Look,
            _ => return Err(r.error("command kind")),
        };
        Ok((kind, r.var(MAX_FRAME, "command")?))
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = (CommandKind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Self::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Commands<'_> {}

/// What became of a request that the order executed: the bytes that clients vote on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session is open.
    Opened,
    /// One output a command.
    Executed(Vec<Bytes>),
    /// Had no effect, for this reason.
    Refused(Refusal),
    /// The number was withdrawn before any request with it had run: none ever will (rule C2).
    Withdrawn,
}

/// Why the order refused a request: a function of the order, the same at all good replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// The session was never opened or has been evicted (O6).
    #[error("the session is unknown or was evicted; open a new one")]
    UnknownSession = 0,
    /// The number is below the session's low-water mark.
    #[error("the request's number is below what its client has declared answered")]
    BelowLowWater = 1,
    /// The number is beyond the window above the session's low-water mark.
    #[error("the request's number is beyond the session's window of outstanding requests")]
    BeyondWindow = 2,
    /// The body is not a list of commands within the limits.
    #[error("the request's body is malformed")]
    Malformed = 3,
    /// The outputs together are above the limit. The commands did run.
    #[error("the outputs are larger than the cluster's max_output; the commands did run")]
    OutputTooLarge = 4,
    /// The service panicked and says that its state is unchanged.
    #[error("the service failed on this request; its state is unchanged")]
    ServicePanicked = 5,
    /// What was to be withdrawn has run, or was withdrawn before; its reply had to be given up.
    #[error("the request ran or was withdrawn, and what came of it is no longer kept")]
    ReplyGone = 6,
}

impl Refusal {
    const ALL: [Refusal; 7] = [
        Refusal::UnknownSession,
        Refusal::BelowLowWater,
        Refusal::BeyondWindow,
        Refusal::Malformed,
        Refusal::OutputTooLarge,
        Refusal::ServicePanicked,
        Refusal::ReplyGone,
    ];
}

impl Outcome {
    /// Bytes of a vote that are not output, at most, per output.
    pub const OUTPUT_OVERHEAD: usize = 4;

    /// The bytes that are hashed, voted on and stored.
    pub fn to_bytes(&self) -> Bytes {
        // Exactly: sessions keep it, and what is not used of it as well.
        let mut out = Writer::with_capacity(match self {
            Outcome::Opened | Outcome::Withdrawn => 1,
            Outcome::Executed(outputs) => {
                5 + outputs.iter().map(|o| Self::OUTPUT_OVERHEAD + o.len()).sum::<usize>()
            }
            Outcome::Refused(_) => 2,
        });
        match self {
            Outcome::Opened => {
                out.u8(0);
            }
            Outcome::Executed(outputs) => {
                out.u8(1).count(outputs.len());
                outputs.iter().for_each(|o| {
                    out.var(o);
                });
            }
            Outcome::Refused(why) => {
                out.u8(2).u8(*why as u8);
            }
            Outcome::Withdrawn => {
                out.u8(3);
            }
        }
        out.into_bytes().into()
    }

    /// Reads an outcome.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let outcome = match r.u8("outcome")? {
            0 => Outcome::Opened,
            1 => {
                let n = r.count(MAX_COMMANDS, 4, "outputs")?;
                let outputs = (0..n).map(|_| Ok(bytes.slice_ref(r.var(MAX_FRAME, "output")?)));
                Outcome::Executed(outputs.collect::<Result<_, DecodeError>>()?)
            }
            2 => {
                let code = r.u8("refusal")?;
                let why = Refusal::ALL.into_iter().find(|w| *w as u8 == code);
                Outcome::Refused(why.ok_or_else(|| r.error("refusal"))?)
            }
            3 => Outcome::Withdrawn,
            _ => return Err(r.error("outcome")),
        };
        r.finish()?;
        Ok(outcome)
    }
}

/// One reply: the outcome of a request and its index in the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The session.
    pub session: SessionId,
    /// The request's number.
    pub number: u64,
    /// The index in the step.
    pub index: u32,
    /// The outcome's bytes ([`Outcome::to_bytes`]).
    pub outcome: Bytes,
}

impl Reply {
    /// Bytes that a reply adds to a message besides its outcome.
    pub const OVERHEAD: usize = 24;
}

/// The replies of one step that go to one client, together: they share the position (rule C1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// The step.
    pub position: StepPosition,
    /// Whether the replica ever rolled back something that it had answered (§7).
    pub rolled: bool,
    /// At least one.
    pub replies: Vec<Reply>,
}

impl Replies {
    /// Bytes of outcomes and overheads that go into one message at most.
    pub const MAX_BYTES: usize = MAX_FRAME - 128;

    /// The session of the first reply in the body of such a message, without looking at the rest.
    pub fn first_session(body: &[u8]) -> Option<SessionId> {
        let at = 8 + 32 + 1 + 4;
        let bytes = body.get(at..)?.first_chunk()?;
        Some(SessionId(u64::from_le_bytes(*bytes)))
    }
}

impl Message for Replies {
    const KIND: Kind = Kind::Replies;

    fn encode(&self, out: &mut Writer) {
        out.round(self.position.round).digest(&self.position.vector).bool(self.rolled);
        out.count(self.replies.len());
        for reply in &self.replies {
            out.u64(reply.session.0).u64(reply.number).u32(reply.index).var(&reply.outcome);
        }
    }

    fn room(&self) -> usize {
        let each = |reply: &Reply| Reply::OVERHEAD + reply.outcome.len();
        8 + 32 + 1 + 4 + self.replies.iter().map(each).sum::<usize>()
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position =
            StepPosition { round: r.round("reply round")?, vector: r.digest("reply vector")? };
        let rolled = r.bool("rolled")?;
        let n = r.count(MAX_COMMANDS, Reply::OVERHEAD, "replies")?;
        if n == 0 {
            return Err(r.error("replies without a reply"));
        }
        let mut replies = Vec::with_capacity(n);
        for _ in 0..n {
            let session = SessionId(r.u64("reply session")?);
            let number = r.u64("reply number")?;
            let index = r.u32("reply index")?;
            let outcome = Bytes::copy_from_slice(r.var(MAX_FRAME, "reply outcome")?);
            replies.push(Reply { session, number, index, outcome });
        }
        Ok(Self { position, rolled, replies })
    }
}

/// What a single replica says about a request outside of the order. Never counts as a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The session.
    pub session: SessionId,
    /// The request's number.
    pub number: u64,
    /// What.
    pub kind: NoteKind,
}

impl Note {
    /// The session in the body of such a message, without looking at the rest.
    pub fn session_of(body: &[u8]) -> Option<SessionId> {
        body.first_chunk().map(|bytes| SessionId(u64::from_le_bytes(*bytes)))
    }
}

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[repr(u8)]
pub enum NoteKind {
    /// A limit is reached: repeat later (§10).
    #[error("busy: a limit on outstanding requests is reached")]
    Busy = 0,
    /// The replica has restarted without its state, follows and answers nobody (§7).
    #[error("restarted without its state: it follows and answers nobody")]
    Restarted = 1,
    /// The key's role does not allow the command (O8).
    #[error("this key's role does not allow the command")]
    Forbidden = 2,
    /// The request is above the cluster's limits, or malformed.
    #[error("the request is malformed or larger than the cluster's limits")]
    Unacceptable = 3,
    /// Another request with this number has been executed (O6).
    #[error("another request with this number was executed")]
    NumberTaken = 4,
    /// The replica has stopped itself: its service failed or its state is in doubt.
    #[error("the replica has halted; its log says why")]
    Halted = 5,
    /// It is no member of the present epoch, or on its way into another: it answers no queries
    /// (Q1).
    #[error("not a member now: it answers no queries")]
    NotMember = 6,
    /// It attested what `t + 1` others do not: it answers nobody until it has their state (§6).
    #[error("quarantined: t + 1 others have other results, and it fetches their state")]
    Quarantined = 7,
}

impl NoteKind {
    const ALL: [NoteKind; 8] = [
        NoteKind::Busy,
        NoteKind::Restarted,
        NoteKind::Forbidden,
        NoteKind::Unacceptable,
        NoteKind::NumberTaken,
        NoteKind::Halted,
        NoteKind::NotMember,
        NoteKind::Quarantined,
    ];
}

impl Message for Note {
    const KIND: Kind = Kind::Note;

    fn encode(&self, out: &mut Writer) {
        out.u64(self.session.0).u64(self.number).u8(self.kind as u8);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId(r.u64("note session")?);
        let number = r.u64("note number")?;
        let code = r.u8("note kind")?;
        let kind = NoteKind::ALL.into_iter().find(|k| *k as u8 == code);
        Ok(Self { session, number, kind: kind.ok_or_else(|| r.error("note kind"))? })
    }
}
