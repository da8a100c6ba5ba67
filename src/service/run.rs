//! Running a request's commands: the same in every mode, so that all replicas refuse alike.

use super::Service;
use super::sessions::SessionTable;
use crate::types::{AgreedTime, ClientId, OrderLimits};
use crate::wire::{CommandKind, Look, Looked, Outcome, Refusal, RequestBody};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the commands of one admitted request and gives what becomes of it.
///
/// # Errors
/// If the service panicked and its state is in doubt: nothing may be answered any more.
pub fn run_commands(
    service: &mut dyn Service,
    sessions: &SessionTable,
    limits: &OrderLimits,
    time: AgreedTime,
    client: &ClientId,
    body: &Bytes,
) -> Result<Outcome, String> {
    let fits = body.len() <= limits.max_request as usize;
    let commands = RequestBody::commands(body).ok();
    let commands = commands.filter(|c| fits && looks_are_looks(c.clone()));
    let Some(commands) = commands.filter(|c| c.len() <= limits.max_commands as usize) else {
        return Ok(Outcome::Refused(Refusal::Malformed));
    };
    let is_one = commands.len() == 1;
    let limit = limits.max_output as usize;
    let mut bytes = 0;
    let run = AssertUnwindSafe(|| {
        let mut outputs = Vec::with_capacity(commands.len());
        for (kind, command) in commands {
            // Nobody will see the outputs: what only reads need not run any more (K9).
            let output = match kind {
                CommandKind::Query | CommandKind::Look if bytes > limit => continue,
                CommandKind::Query => service.query(time, client, command),
                CommandKind::Look => look(sessions, client, command),
                CommandKind::Execute => service.execute(time, client, command),
            };
            bytes += output.len() + Outcome::OUTPUT_OVERHEAD;
            if bytes <= limit {
                outputs.push(Bytes::from(output));
            }
        }
        outputs
    });
    let outputs = match catch_unwind(run) {
        Ok(outputs) => outputs,
        // With several commands in a request the earlier ones may have changed the state.
        Err(_) if service.unchanged_after_panic() && is_one => {
            return Ok(Outcome::Refused(Refusal::ServicePanicked));
        }
        Err(_) => return Err("the service panicked and its state is in doubt".to_owned()),
    };
    if bytes > limit {
        return Ok(Outcome::Refused(Refusal::OutputTooLarge));
    }
    Ok(Outcome::Executed(outputs))
}

// What is no look is no request either.
fn looks_are_looks<'a>(commands: impl Iterator<Item = (CommandKind, &'a [u8])>) -> bool {
    let mut looks = commands.filter(|(kind, _)| *kind == CommandKind::Look);
    looks.all(|(_, bytes)| Look::parse(bytes).is_ok())
}

// C2: what the sessions know of one of the client's own requests.
fn look(sessions: &SessionTable, client: &ClientId, command: &[u8]) -> Vec<u8> {
    let looked = match Look::parse(command) {
        Ok(Look { session, number }) => sessions.look(client, session, number),
        Err(_) => Looked::Gone,
    };
    looked.to_bytes()
}

/// Runs commands that all only read, outside of any order; a panic is a refusal.
pub fn run_queries(
    service: &dyn Service,
    sessions: &SessionTable,
    limits: &OrderLimits,
    time: AgreedTime,
    client: &ClientId,
    body: &RequestBody,
) -> Outcome {
    if !looks_are_looks(body.commands.iter().map(|c| (c.kind, &c.bytes[..]))) {
        return Outcome::Refused(Refusal::Malformed);
    }
    let limit = limits.max_output as usize;
    let run = AssertUnwindSafe(|| {
        let (mut outputs, mut bytes) = (Vec::with_capacity(body.commands.len()), 0);
        for command in &body.commands {
            let output = match command.kind {
                CommandKind::Look => look(sessions, client, &command.bytes),
                _ => service.query(time, client, &command.bytes),
            };
            bytes += output.len() + Outcome::OUTPUT_OVERHEAD;
            if bytes > limit {
                return None;
            }
            outputs.push(Bytes::from(output));
        }
        Some(outputs)
    });
    match catch_unwind(run) {
        Ok(Some(outputs)) => Outcome::Executed(outputs),
        Ok(None) => Outcome::Refused(Refusal::OutputTooLarge),
        Err(_) => Outcome::Refused(Refusal::ServicePanicked),
    }
}
