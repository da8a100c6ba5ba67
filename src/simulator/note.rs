//! What nodes tell the checkers.

use super::check::Sent;
use crate::crypto::{Context, Domain, Hasher};
use crate::replica::{Event, StepTrace};
use crate::types::{ClientId, Digest, RequestId};
use crate::wire::{Frame, Kind, Message, Request, StepPosition};
use bytes::Bytes;

/// One observation; the world adds who and when.
#[derive(Clone, Debug)]
pub enum Note {
    /// A client sent a request (its `time` is filled in by who observes).
    Sent(Digest, Sent),
    /// A replica got a request over its client's link.
    Received(Digest),
    /// A replica told a client that it does not take a request.
    Declined(RequestId),
    /// A replica executed a step.
    Step(Box<StepTrace>),
    /// A replica reports something else.
    Event(Event),
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
