//! A service that is watched: what it ran and answered, and its digest after each command.

use crate::service::{Frozen, RestoreError, Service};
use crate::types::{AgreedTime, ClientId, Digest};
use crate::wire::CommandKind;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One command that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) kind: CommandKind,
    pub(super) command: Bytes,
    pub(super) output: Bytes,
    /// The service's digest behind it, where it is asked for.
    pub(super) state: Option<Digest>,
}

/// Whether the digest of the service is taken after each command, and its snapshot's at each
/// checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// After each command. [`Service::digest`] should cost what has changed since the last time.
    pub digests: bool,
    /// At each checkpoint, where the whole state is written out for it.
    pub snapshots: bool,
}

impl Watch {
    /// Neither.
    pub const NOTHING: Watch = Watch { digests: false, snapshots: false };
    /// The digests.
    pub const DIGESTS: Watch = Watch { digests: true, snapshots: false };
    /// Both.
    pub const ALL: Watch = Watch { digests: true, snapshots: true };
}

struct Inner {
    service: Box<dyn Service>,
    digests: bool,
    ran: Vec<Ran>,
}

/// What is held on to of a service that is given away.
#[derive(Clone)]
pub(super) struct Tape(Arc<Mutex<Inner>>);

struct Watched {
    name: &'static str,
    tape: Tape,
}

/// The service to give to a replica, and what tells what it did.
pub(super) fn watched(service: Box<dyn Service>, digests: bool) -> (Box<dyn Service>, Tape) {
    let name = service.name();
    let tape = Tape(Arc::new(Mutex::new(Inner { service, digests, ran: Vec::new() })));
    (Box::new(Watched { name, tape: tape.clone() }), tape)
}

impl Tape {
    // A service that has panicked is looked at nevertheless.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ran since the last time.
    pub(super) fn take(&self) -> Vec<Ran> {
        std::mem::take(&mut self.lock().ran)
    }

    /// The service's digest now.
    pub(super) fn digest(&self) -> Digest {
        self.lock().service.digest()
    }

    /// The service's state now, as bytes.
    pub(super) fn snapshot(&self) -> Vec<u8> {
        self.lock().service.snapshot()
    }
}

impl Inner {
    fn note(&mut self, kind: CommandKind, command: &[u8], output: &[u8]) {
        let state = self.digests.then(|| self.service.digest());
        let (command, output) = (Bytes::copy_from_slice(command), Bytes::copy_from_slice(output));
        self.ran.push(Ran { kind, command, output, state });
    }
}

impl Service for Watched {
    fn name(&self) -> &'static str {
        self.name
    }

    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        let mut inner = self.tape.lock();
        let output = inner.service.execute(time, client, command);
        inner.note(CommandKind::Execute, command, &output);
        output
    }

    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8> {
        let mut inner = self.tape.lock();
        let output = inner.service.query(time, client, command);
        inner.note(CommandKind::Query, command, &output);
        output
    }

    fn snapshot(&self) -> Vec<u8> {
        self.tape.snapshot()
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.tape.lock().service.freeze()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.tape.lock().service.restore(snapshot)
    }

    fn digest(&mut self) -> Digest {
        self.tape.digest()
    }

    fn unchanged_after_panic(&self) -> bool {
        self.tape.lock().service.unchanged_after_panic()
    }
}
