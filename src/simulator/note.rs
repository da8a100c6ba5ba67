//! What nodes tell the checkers.

use super::check::Sent;
use crate::crypto::{Context, Domain, Hasher};
use crate::proof::receipt::Judged;
use crate::replica::{Event, StepTrace};
use crate::types::{ClientId, Digest, RequestId};
use crate::wire::{Frame, Kind, Message, Request, StepPosition};
use bytes::Bytes;
use std::fmt;

/// One observation; the world adds who and when.
#[derive(Clone, Debug)]
pub enum Note {
    /// A client sent a request (its `time` is filled in by who observes).
    Sent(Digest, Sent),
    /// A replica got a request over its client's link.
    Received(Digest),
    /// A replica told a client that it does not take a request.
    Declined(RequestId),
    /// A replica executed a step, and whether it may tell clients of it.
    Step(Box<StepTrace>, bool),
    /// A replica reports something else.
    Event(Event),
    /// A replica keeps evidence that somebody lies.
    Evidence {
        /// The file's name.
        name: String,
        /// What is in it.
        bytes: Bytes,
    },
    /// A replica asks for these records to be made durable; only if somebody wants to know.
    Persists(Vec<Bytes>),
    /// A replica sends this on the protocol stream; only if somebody wants to know.
    Sends(super::NodeId, Bytes),
    /// The mark of a replica's disk says from now on that it holds what the replica has signed.
    MarkedKnown,
    /// A node closed the link to another.
    Closed(super::NodeId, String),
    /// A correct client made a call: its number and commands.
    Called(u64, Vec<crate::wire::Command>),
    /// A call has an accepted answer.
    Answered {
        /// Its number.
        call: u64,
        /// The request that carried it.
        request: RequestId,
        /// Where it was executed.
        position: StepPosition,
        /// Its index there.
        index: u32,
        /// What it gave.
        outputs: Vec<Bytes>,
    },
    /// A call ended without one.
    Failed(u64, String),
    /// A client has a receipt that it wanted, or that it made of what one replica alone said.
    Receipt(Box<Judged>),
    /// There is no receipt of a call that wanted one.
    NoReceipt(u64, String),
}

/// In a few words, for people.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Sent(digest, sent) => write!(f, "sent {} as {digest}", sent.request),
            Note::Received(digest) => write!(f, "received {digest}"),
            Note::Declined(request) => write!(f, "declined {request}"),
            Note::Step(step, told) => {
                let (round, count) = (step.position.round.0, step.entries.len());
                let untold = if *told { "" } else { " untold" };
                write!(f, "executed{untold} round {round} with {count} requests")?;
                let fresh = step.entries.iter().filter(|e| e.fresh).take(4);
                fresh.into_iter().try_for_each(|e| write!(f, " {}", e.request))
            }
            Note::Event(event) => write!(f, "{event:?}"),
            Note::Evidence { name, bytes } => {
                write!(f, "keeps {} bytes of evidence, {name}", bytes.len())
            }
            Note::Persists(records) => write!(f, "persists {} records", records.len()),
            Note::Sends(to, frame) => {
                let kind = Frame::parse(frame.clone()).map(|f| f.kind);
                write!(f, "sends {kind:?} to {to}")
            }
            Note::MarkedKnown => write!(f, "marks its disk as known"),
            Note::Closed(peer, why) => write!(f, "closed the link to {peer}: {why}"),
            Note::Called(call, commands) => {
                write!(f, "makes call {call} of {} commands", commands.len())
            }
            Note::Answered { call, request, position, index, outputs } => {
                let (round, count) = (position.round.0, outputs.len());
                write!(f, "has an answer to call {call}: {request} at {round}.{index}, ")?;
                write!(f, "{count} outputs")
            }
            Note::Failed(call, why) => write!(f, "gives up call {call}: {why}"),
            Note::Receipt(judged) => {
                let (position, assurance) = (judged.position, judged.assurance.name());
                let Judged { request, index, signers, .. } = &**judged;
                write!(f, "has a {assurance} receipt of {request} at {}", position.round.0)?;
                write!(f, ".{index} by {signers}")
            }
            Note::NoReceipt(call, why) => write!(f, "has no receipt of call {call}: {why}"),
        }
    }
}

/// The name of client number `n` of a simulation.
pub fn client_id(n: u32) -> ClientId {
    let mut h = Hasher::new(Domain::Derive);
    h.put(b"simulated client").put(&n.to_le_bytes());
    ClientId(h.finish().0)
}

/// What a request's frame is called, if it is one.
pub(super) fn name_of(
    frame: &Frame,
    context: &Context,
    client: &ClientId,
) -> Option<(Digest, Sent)> {
    if frame.kind != Kind::Request {
        return None;
    }
    let request = Request::from_body(&frame.body).ok()?;
    let digest = request.digest(context, client);
    let Request { session, number, body, .. } = request;
    let request = RequestId { client: *client, session, number };
    Some((digest, Sent { request, body, time: 0 }))
}
