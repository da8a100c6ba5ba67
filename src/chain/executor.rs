//! Service and sessions: executes committed updates in their order.

use super::encoding::MAGIC;
use super::{Encoding, MakeService};
use crate::crypto::{Context, Domain, Hasher};
use crate::service::sessions::{Admission, Lookup, SessionLimits, SessionTable, StoredReply};
use crate::service::{Carried, Inherited, Service, Touches, run_commands, run_queries};
use crate::types::plant::planted;
use crate::types::{AgreedTime, ClientId, Digest, OrderLimits, Round};
use crate::wire::{
    ChainEntry, ChainPosition, DecodeError, Layout, MAX_FRAME, Outcome, Reader, Refusal, Request,
    RequestBody, StepPosition,
};
use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Executor {
    service: ServiceBox,
    make: MakeService,
    sessions: SessionTable,
    limits: OrderLimits,
    context: Context,
    at: ChainPosition,
    time: AgreedTime,
}

struct ServiceBox(Box<dyn Service>);

impl std::fmt::Debug for ServiceBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// What became of an update.
pub(super) struct Executed {
    /// The number under which its commands ran: this one, or an earlier one for a repeat.
    pub(super) number: u64,
    /// `None`: its client gets nothing.
    pub(super) outcome: Option<Bytes>,
    /// Whether its commands ran now.
    pub(super) fresh: bool,
}

/// What the sessions say about an update before it has a number.
pub(super) enum Known {
    /// Nothing: it may run.
    No,
    /// It ran; the reply.
    Reply(u64, Bytes),
    /// Its number is used up, and there is no reply for it.
    Taken,
}

impl Clone for Executor {
    fn clone(&self) -> Self {
        let mut service = (self.make.0)();
        service.restore(&self.service.0.snapshot()).expect("a service restores its own snapshot");
        Self {
            service: ServiceBox(service),
            make: self.make.clone(),
            sessions: self.sessions.clone(),
            limits: self.limits,
            context: self.context,
            at: self.at,
            time: self.time,
        }
    }
}

impl Executor {
    pub(super) fn new(make: MakeService, limits: OrderLimits, context: Context) -> Self {
        Self {
            service: ServiceBox((make.0)()),
            make,
            sessions: SessionTable::new(SessionLimits::of(&limits)),
            limits,
            context,
            at: ChainPosition::default(),
            time: AgreedTime(0),
        }
    }

    /// The same, with what was taken over from the cluster before this one.
    pub(super) fn inheriting(mut self, inherited: Option<Inherited>) -> Self {
        if let Some(Inherited { time, sessions }) = inherited {
            (self.time, self.sessions) = (time, sessions);
        }
        self
    }

    /// The last executed update.
    pub(super) fn at(&self) -> ChainPosition {
        self.at
    }

    /// Its time.
    pub(super) fn time(&self) -> AgreedTime {
        self.time
    }

    /// Whether an update of this client can run, or has run.
    pub(super) fn known(&self, client: &ClientId, request: &Request) -> Known {
        let Request { session, number, .. } = *request;
        if !self.sessions.is_spent(client, session, number) {
            return Known::No;
        }
        let digest = request.digest(&self.context, client);
        match self.sessions.find(client, request, &digest) {
            Lookup::Reply(reply) => Known::Reply(reply.position.round.0, reply.outcome.clone()),
            // C2: that there is no reply any more is an answer, which the order gives.
            Lookup::Nothing if request.withdraws() => Known::No,
            Lookup::Another(_) | Lookup::Nothing => Known::Taken,
        }
    }

    /// Executes the next update.
    ///
    /// # Errors
    /// If the service's state is in doubt after it; the replica must stop then.
    pub(super) fn execute(&mut self, entry: &ChainEntry) -> Result<Executed, String> {
        let ChainEntry { position, time, client, request } = entry;
        let Request { session, number, .. } = *request;
        let withdraws = request.withdraws();
        (self.at, self.time) = (*position, *time);
        let digest = request.digest(&self.context, client);
        let gone = |number, outcome, fresh| Ok(Executed { number, outcome, fresh });
        let outcome = match self.sessions.take(client, request, &digest) {
            Admission::Repeat(_) if planted("ch-repeats-run") && number > 0 && !withdraws => {
                self.run(*time, client, request)?
            }
            Admission::Repeat(stored) => {
                return gone(stored.position.round.0, Some(stored.outcome.clone()), false);
            }
            Admission::Nothing => return gone(position.number, None, false),
            Admission::Refused(why) => {
                let outcome = Outcome::Refused(why).to_bytes();
                return gone(position.number, Some(outcome), false);
            }
            Admission::Open if !request.body.is_empty() => Outcome::Refused(Refusal::Malformed),
            Admission::Open => Outcome::Opened,
            Admission::Fresh if withdraws => Outcome::Withdrawn,
            Admission::Fresh => self.run(*time, client, request)?,
        };
        let outcome = outcome.to_bytes();
        let step = StepPosition { round: Round(position.number), vector: Digest::ZERO };
        let reply = StoredReply { position: step, index: 0, outcome: outcome.clone() };
        let name = if withdraws { SessionTable::ANY_REQUEST } else { digest };
        self.sessions.record(client, session, number, &name, reply);
        gone(position.number, Some(outcome), true)
    }

    fn run(
        &mut self,
        time: AgreedTime,
        client: &ClientId,
        request: &Request,
    ) -> Result<Outcome, String> {
        let (service, sessions) = (&mut *self.service.0, &self.sessions);
        let run = run_commands(service, sessions, &self.limits, time, client, &request.body);
        run.map_err(|why| format!("{client}.{}#{}: {why}", request.session, request.number))
    }

    /// Answers a query from the state.
    pub(super) fn query(&self, client: &ClientId, body: &RequestBody) -> Bytes {
        let (service, sessions) = (&*self.service.0, &self.sessions);
        run_queries(service, sessions, &self.limits, self.time, client, body).to_bytes()
    }

    /// What the commands of a request touch, one by one.
    pub(super) fn touches(&self, body: &RequestBody) -> Vec<Touches> {
        body.commands.iter().map(|c| self.service.0.touches(&c.bytes)).collect()
    }

    /// A digest of service and sessions: equal exactly if the states are.
    pub(super) fn digest(&mut self) -> Digest {
        let mut h = Hasher::new(Domain::State);
        h.put_u64(self.at.number).put_u64(self.time.0);
        h.put(&self.sessions.digest().0).put(&self.service.0.digest().0);
        h.finish()
    }

    /// What another cluster goes on from.
    pub(super) fn carried(&self) -> Carried {
        Carried::new(self.time, &self.sessions, self.service.0.snapshot().into())
    }

    /// The state as it is now, to be made into bytes later.
    pub(super) fn freeze(&self) -> Encoding {
        Encoding::new(self.at, self.time, self.sessions.freeze(), self.service.0.freeze())
    }

    /// Takes the place of the present state by one that [`Encoding::run`] gave.
    ///
    /// # Errors
    /// If the bytes are none; nothing is changed then.
    pub(super) fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let mut fresh = Self::new(self.make.clone(), self.limits, self.context);
        let rest = fresh.read(state).map_err(|e| e.to_string())?;
        fresh.service.0.restore(rest).map_err(|e| e.to_string())?;
        *self = fresh;
        Ok(())
    }

    fn read<'a>(&mut self, state: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let mut r = Reader::new(state);
        if r.raw(MAGIC.len(), "magic")? != MAGIC {
            return Err(DecodeError { what: "not a chain's state of this version", at: 0 });
        }
        self.at = ChainPosition::get(&mut r)?;
        self.time = AgreedTime(r.u64("time of a state")?);
        let length = usize::try_from(r.u64("length of the sessions")?).unwrap_or(usize::MAX);
        let sessions = r.raw(length, "sessions")?;
        self.sessions.restore(sessions).map_err(|_| r.error("sessions"))?;
        r.raw(r.remaining(), "state of the service")
    }

    /// Whether the body of a request may be taken.
    pub(super) fn fits(&self, request: &Request) -> bool {
        let limit = (self.limits.max_request as usize).min(MAX_FRAME / 2);
        request.body.len() <= limit
    }
}
