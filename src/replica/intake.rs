//! What comes from clients: the only way into a candidate (§2 *seen*, O6, O8, C2, §10).

use super::bodies::{Bodies, Held};
use super::executor::Executor;
use super::links::Client;
use crate::crypto::Context;
use crate::service::sessions::{Lookup, StoredReply};
use crate::types::{Digest, LinkId, OrderLimits, Role};
use crate::wire::{Note, NoteKind, Request, RequestBody};

/// What to do with a client's request.
#[derive(Debug)]
pub(super) enum Decision {
    /// Give it a candidate; it is held.
    Admit(Digest),
    /// It was executed: here is the reply again (C2).
    Again(StoredReply),
    /// It is under way, or was executed so lately that nothing more is to be said.
    UnderWay,
    /// It completes a step that waited for this body (O7); it is held.
    WasMissing(Digest),
    /// Tell the client why not.
    Note(Note),
}

/// Decides about one request and holds its body if it is let in.
pub(super) fn decide(
    (link, client): (LinkId, Client),
    request: Request,
    context: &Context,
    limits: &OrderLimits,
    bodies: &mut Bodies,
    executor: &Executor,
    is_ordered: impl Fn(&Digest) -> bool,
) -> Decision {
    let note =
        |kind| Decision::Note(Note { session: request.session, number: request.number, kind });
    if let Err(kind) = acceptable(client.role, &request, limits) {
        return note(kind);
    }
    let digest = request.digest(context, &client.id);
    if let Some(held) = bodies.get_mut(&digest) {
        // A repeat, perhaps over a new link: the reply goes where it came from last.
        held.again |= held.origin.is_some();
        held.origin = Some(link);
        if !held.executed {
            return Decision::UnderWay;
        }
    }
    let stored = executor.stored(&client.id, &request, &digest);
    // What came of it goes before a refusal: its session may have been opened since.
    if let Lookup::Reply(stored) = stored {
        return Decision::Again(stored.clone());
    }
    if let Some(refused) = executor.refused(&digest) {
        return Decision::Again(refused.clone());
    }
    // C2: that there is no reply any more is an answer to a withdrawal, which the order gives.
    let spent = executor.is_spent(&client.id, &request) && !request.withdraws();
    if spent || matches!(stored, Lookup::Another(_)) {
        return note(NoteKind::NumberTaken);
    }
    if bodies.get(&digest).is_some() {
        return Decision::UnderWay;
    }
    let missing = executor.lacks(&digest);
    if !missing && is_ordered(&digest) {
        // It waits in a later step or has run: it gets no candidate, so nothing would release it.
        return Decision::UnderWay;
    }
    let room = bodies.has_room(&client.id, request.body.len())
        && executor.backlog() < limits.max_unexecuted as usize;
    if !missing && !room {
        return note(NoteKind::Busy);
    }
    let (client, origin) = (client.id, Some(link));
    let held = Held { client, request, origin, executed: false, logged: false, again: false };
    bodies.insert(digest, held);
    if missing { Decision::WasMissing(digest) } else { Decision::Admit(digest) }
}

/// The same verdict at every good replica, before anything is ordered (K7, O8).
fn acceptable(role: Role, request: &Request, limits: &OrderLimits) -> Result<(), NoteKind> {
    if request.number == 0 {
        // Any role may open a session: it reads nothing and writes nothing of the service.
        return if request.body.is_empty() { Ok(()) } else { Err(NoteKind::Unacceptable) };
    }
    // Nor does one who withdraws a number of its own.
    if request.withdraws() {
        return Ok(());
    }
    if request.body.len() > limits.max_request as usize {
        return Err(NoteKind::Unacceptable);
    }
    if role != Role::Read {
        return Ok(());
    }
    let parsed = RequestBody::parse(&request.body).map_err(|_| NoteKind::Unacceptable)?;
    if parsed.only_reads() { Ok(()) } else { Err(NoteKind::Forbidden) }
}
