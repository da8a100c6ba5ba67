//! The caller: its inputs, its timers, and what it sends.

use super::links::Links;
use super::queue::{Part, Queue, Travel, id_of};
use super::receipts::Gathering;
use super::route::{Route, Trail};
use super::setup::{BUSY, Mode, Start};
use super::wholes::wait_no_longer;
use super::window::{Pending, Window};
use super::{Action, Actions, CallError, Input, Setup, Stats, Token};
use crate::crypto::{Domain, Hasher};
use crate::types::{CallId, Instant, ReplicaId, SessionId, Timing};
use crate::voter::Explanation;
use crate::wire::{ChainQuery, Command, Message, Request};
use bytes::Bytes;
use std::collections::BTreeSet;

/// One client's core. See the module's page.
#[derive(Debug)]
pub struct Caller {
    pub(super) setup: Setup,
    pub(super) links: Links,
    pub(super) queue: Queue,
    pub(super) session: Option<Session>,
    // The last attempt to open a session failed: the next waits for a call.
    pub(super) discouraged: bool,
    pub(super) counts: Stats,
    // In a chain: a request was repeated of which nothing at all was heard.
    pub(super) unheard: bool,
    // In a chain: requests below this number have been sent to somebody once.
    pub(super) placed: u64,
    // Queries that replicas do not answer alike, to be ordered.
    pub(super) diverted: Vec<Diverted>,
    // How the first session begins.
    pub(super) start: Start,
    // Sessions begun so far, to derive the nonce of the next.
    pub(super) begun: u64,
    // Requests of this session that were given up, of which somebody may yet want to know.
    open: BTreeSet<u64>,
    // Time never goes back, whatever the driver says.
    now: Instant,
    // When new requests were sent last, and until when others wait for more of them.
    sent: Instant,
    gathers: Option<Instant>,
    // No timer runs out before this. It may be early, so that an answer need not look for the
    // next one: they are all looked at when it has come.
    wake: Instant,
}

/// Calls of a query that has to be ordered.
#[derive(Debug)]
pub(super) struct Diverted {
    pub parts: Vec<Part>,
    /// What it carried.
    pub frame: Bytes,
}

/// The session that requests go into.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    /// Whether its opening is accepted.
    pub open: bool,
    /// The number of its first request.
    pub first: u64,
    pub window: Window,
}

const NEVER: Instant = Instant(u64::MAX);

impl Caller {
    /// A caller without links. It opens its session at the first [`Input::Drained`] that finds a
    /// link up; in a fail-stop chain at the first that finds an update. Queries have no session.
    pub fn new(setup: Setup, now: Instant) -> Self {
        let setup = setup.normalized();
        let session = (!setup.mode.has_sessions()).then(|| Session {
            id: SessionId::QUERIES,
            open: true,
            first: 1,
            // C3: whose turn it is to answer at length follows from the number, and there are
            // clients that ask once.
            window: Window::starting_at(1 + (setup.session.0 >> 32)),
        });
        Self {
            links: Links::new(setup.roster, now, Route::of(setup.mode)),
            queue: Queue::new(&setup),
            session,
            // Who only queries a chain needs no session there.
            discouraged: setup.mode == Mode::Updates,
            counts: Stats::default(),
            unheard: false,
            placed: 0,
            diverted: Vec::new(),
            start: Start::default(),
            begun: 0,
            open: BTreeSet::new(),
            now,
            sent: now,
            gathers: None,
            wake: NEVER,
            setup,
        }
    }

    /// The same, with a first session that begins in another way.
    pub fn starting(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Takes one event and appends what is to be done about it.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Actions) {
        self.now = self.now.max(now);
        let now = self.now;
        let drained = matches!(input, Input::Drained);
        match input {
            Input::Up { replica, hello } => {
                self.links.up(replica, now, hello.restarted);
                self.unplace(|to| to == replica);
                self.receipts_asked(replica);
            }
            Input::Down { replica } => {
                self.lose_link(replica, now);
                self.look_for_wholes(now);
            }
            Input::Frames { replica, frames } => self.frames(replica, &frames, now, out),
            Input::Call { token, commands, coalesce } => {
                let travel = if coalesce { Travel::Together } else { Travel::Alone };
                self.order(token, commands, travel, now, out);
            }
            Input::CallForReceipt { token, commands } => {
                self.order_for_receipt(token, commands, now, out);
            }
            Input::Withdraw { token } => {
                self.queue.push_withdrawal(token, now);
                self.wake_by(now + self.setup.timeout);
            }
            Input::Forget { token } => self.forget(token),
            Input::Tick | Input::Drained => {}
        }
        if now >= self.wake {
            self.run_timers(now, out);
        }
        if drained {
            self.flush(now, out);
        }
    }

    /// When to call again at the latest, with [`Input::Tick`]; never if nothing is outstanding.
    pub fn next_wake(&self) -> Option<Instant> {
        let outstanding = self.session.as_ref().is_some_and(|s| s.window.outstanding() > 0);
        let timers = (outstanding || !self.queue.is_empty()).then_some(self.wake);
        timers.into_iter().chain(self.gathers).min()
    }

    /// Counters, and how things stand.
    pub fn stats(&self) -> Stats {
        Stats {
            outstanding: self.session.as_ref().map_or(0, |s| s.window.outstanding()),
            queued: self.queue.len(),
            replicas: self.links.stats(self.now),
            ..self.counts.clone()
        }
    }

    /// Who has said what so far of the request that carries a call (rule C2); `None` if the call
    /// is over or unknown.
    pub fn explain(&self, token: Token) -> Option<Explanation> {
        let mut pending = self.session.iter().flat_map(|s| s.window.all()).map(|(_, p)| p);
        let place = |p: &Pending| p.parts.iter().position(|part| part.token == Some(token));
        match pending.find_map(|p| Some((p, place(p)?))) {
            Some((p, place)) => {
                let id = id_of(p.id, &p.parts, place);
                Some(Explanation { id, ..explain(p, &self.links, self.now) })
            }
            None => self.queue.contains(token).then(|| self.explain_queued()),
        }
    }

    // The explanation of what was never sent: the first outstanding request is what it waits for.
    pub(super) fn explain_queued(&self) -> Explanation {
        let first = self.session.iter().flat_map(|s| s.window.all()).next();
        let explanation = match first {
            Some((_, p)) => explain(p, &self.links, self.now),
            None => {
                let voter = self.setup.voter(1);
                let said = voter.explain(self.now, self.now, 0, |r| self.links.state(r));
                self.links.overlay(said, &Trail::default(), self.now)
            }
        };
        Explanation { sends: 0, id: None, ..explanation }
    }

    /// Takes a call that came at this time, as [`Input::Call`].
    pub(super) fn order(
        &mut self,
        token: Token,
        commands: Vec<Command>,
        travel: Travel,
        since: Instant,
        out: &mut Actions,
    ) {
        match self.queue.push(token, commands, travel, since) {
            Ok(()) => self.wake_by(since + self.setup.timeout),
            Err(why) => {
                out.push(Action::Done { token, result: Err(CallError::Unacceptable(why)) });
            }
        }
    }

    fn forget(&mut self, token: Token) {
        if self.queue.forget(token) {
            return;
        }
        let pending = self.session.iter_mut().flat_map(|s| s.window.all_mut());
        let mut parts = pending.flat_map(|(_, p)| &mut p.parts);
        if let Some(part) = parts.find(|part| part.token == Some(token)) {
            part.token = None;
        }
    }

    pub(super) fn wake_by(&mut self, at: Instant) {
        self.wake = self.wake.min(at);
    }

    // Looks at every timer: calls whose time is over, requests to be repeated.
    fn run_timers(&mut self, now: Instant, out: &mut Actions) {
        if self.queue.deadline().is_some_and(|d| d <= now) {
            let explanation = self.explain_queued();
            while let Some((token, since)) = self.queue.expired(now) {
                let explanation = Explanation { waited: now.since(since), ..explanation.clone() };
                let result = Err(CallError::NoMajority { explanation });
                out.push(Action::Done { token, result });
                self.counts.timeouts += 1;
            }
        }
        self.wake = self.queue.deadline().unwrap_or(NEVER);
        self.run_receipts(now, out);
        let Some(session) = &mut self.session else { return };
        let (mut given_up, mut diverted) = (Vec::new(), Vec::new());
        for (number, pending) in session.window.all_mut().filter(|(_, p)| !p.is_accepted()) {
            self.counts.timeouts += expire(pending, &self.setup, &self.links, now, out);
            let deadline = pending.parts.iter().map(|p| p.since + self.setup.timeout);
            let deadline = deadline.into_iter().find(|d| *d > now);
            if deadline.is_none() && !pending.parts.is_empty() {
                given_up.push(number);
                continue;
            }
            let is_over = pending.repeat_at <= now;
            if is_over && wait_no_longer(&mut self.links, &self.setup, (number, pending), now) {
                self.counts.repeats += 1;
            } else if is_over && self.setup.mode == Mode::Reads {
                diverted.push(number);
                continue;
            } else if is_over {
                // Who refuses is there: then the distance has its own growth.
                let is_refused = pending.trail.is_refused();
                self.unheard |= !is_refused;
                if self.links.repeat(number, pending) {
                    pending.sends = pending.sends.saturating_add(1);
                    self.counts.repeats += 1;
                }
                pending.repeat_at = now + pending.backoff;
                if !is_refused {
                    pending.backoff = pending.backoff.saturating_mul(2).min(self.setup.repeat_cap);
                }
            }
            self.wake = self.wake.min(pending.repeat_at).min(deadline.unwrap_or(NEVER));
        }
        for number in given_up {
            session.window.settle(number);
            if self.start.remembers && number > 0 {
                self.open.insert(number);
            }
        }
        diverted.into_iter().for_each(|number| self.divert(number));
        // Timers close together are looked at together.
        self.wake = self.wake.max(now + Timing::TIMER_GRAIN);
    }

    // Makes requests of what waits and sends everything that is to be sent.
    fn flush(&mut self, now: Instant, out: &mut Actions) {
        self.gathers = None;
        if !self.links.can_send() {
            return self.links.flush_repeats(self.session.as_ref().map(|s| &s.window), out);
        }
        if self.session.is_none() && (!self.discouraged || !self.queue.is_empty()) {
            self.begin_session(now);
        }
        let Some(session) = &mut self.session else { return };
        // A session that was just begun has number 0 outstanding and not sent.
        let opening = session.window.pending(0).is_some_and(|p| p.sends == 0);
        let first_new = if opening { 0 } else { session.window.next() };
        // Many are under way: those that come soon after the last ones leave together, which costs
        // all sides less. Whose answer comes later for it would wait longer for processors.
        let (busy, until) = (session.window.outstanding() >= BUSY, self.sent + self.setup.gather);
        self.gathers = (busy && now < until && !self.queue.is_empty()).then_some(until);
        let leaves = session.open && self.gathers.is_none();
        while leaves && self.setup.may_send(&session.window) {
            let Some((body, parts, travel)) = self.queue.take() else { break };
            let commands = body.commands.len();
            let number = session.window.next();
            let (low, body) = match commands {
                0 => (lowest_for(number, &self.setup), Bytes::new()),
                _ => (low_mark(session, &mut self.open, &self.setup), body.to_bytes()),
            };
            let request = Request { session: session.id, number, low, body };
            let mut pending = pending(&self.setup, &request, now);
            (pending.parts, pending.commands) = (parts, commands);
            pending.receipt = (travel == Travel::Proven).then(|| Gathering::of(request).into());
            if let Some(id) = pending.id.filter(|_| self.start.numbers) {
                out.push(numbered(id, &pending.parts));
            }
            self.wake = self.wake.min(pending.repeat_at);
            session.window.push(pending);
            self.sent = now;
        }
        for (_, pending) in session.window.all_from_mut(first_new) {
            pending.sends = 1;
        }
        if self.links.route.is_some() {
            self.place(now, out);
        } else {
            self.links.flush(&session.window, first_new, out);
        }
    }

    fn begin_session(&mut self, now: Instant) {
        let id = nonce(&self.setup, self.begun);
        let start = if self.begun == 0 { self.start } else { Start::default() };
        self.begun += 1;
        self.open.clear();
        let low = u64::from(start.cautious);
        let request = Request { session: id, number: 0, low, body: Bytes::new() };
        let opening = pending(&self.setup, &request, now);
        self.wake_by(opening.repeat_at);
        let mut window = Window::default();
        window.push(opening);
        self.session = Some(Session { id, open: false, first: start.first.max(1), window });
        self.placed = 0;
        self.links.forget_repeats();
    }
}

impl Setup {
    // Rule O6: the pipeline bounds how many requests are outstanding, the window how far their
    // numbers may be apart.
    fn may_send(&self, window: &Window) -> bool {
        window.outstanding() < self.pipeline
            && window.next() - window.low() < u64::from(self.limits.window)
    }
}

// The mark with which a number can be withdrawn that this client has sent at some time, and that
// makes nothing be forgotten which it had not declared answered by then.
fn lowest_for(number: u64, setup: &Setup) -> u64 {
    number.saturating_sub(u64::from(setup.limits.window) - 1).max(1)
}

// The low-water mark of the next request. What was given up is held back, but for no longer than
// half of the window.
fn low_mark(session: &Session, open: &mut BTreeSet<u64>, setup: &Setup) -> u64 {
    let half = u64::from(setup.limits.window / 2);
    *open = open.split_off(&session.window.next().saturating_sub(half));
    let low = session.window.low();
    open.first().map_or(low, |first| low.min(*first))
}

fn numbered(id: CallId, parts: &[Part]) -> Action {
    let outputs = |part: &Part| u32::try_from(part.commands).unwrap_or(u32::MAX);
    let parts = parts.iter().filter_map(|part| Some((part.token?, outputs(part))));
    Action::Numbered { id, parts: parts.collect() }
}

/// What is known of a request, counted from when it was first sent.
pub(super) fn explain(pending: &Pending, links: &Links, now: Instant) -> Explanation {
    let Pending { voter, sent, sends, trail, .. } = pending;
    let said = voter.explain(now, *sent, *sends, |r: ReplicaId| links.state(r));
    Explanation { id: pending.id, ..links.overlay(said, trail, *sent) }
}

// Tells the calls in a request whose time is over; how many.
fn expire(
    pending: &mut Pending,
    setup: &Setup,
    links: &Links,
    now: Instant,
    out: &mut Actions,
) -> u64 {
    let mut expired = 0;
    for i in 0..pending.parts.len() {
        let since = pending.parts[i].since;
        if since + setup.timeout > now {
            break;
        }
        let Some(token) = pending.parts[i].token.take() else { continue };
        let waited = now.since(since);
        let id = id_of(pending.id, &pending.parts, i);
        let explanation = Explanation { waited, id, ..explain(pending, links, now) };
        out.push(Action::Done { token, result: Err(CallError::NoMajority { explanation }) });
        expired += 1;
    }
    expired
}

fn pending(setup: &Setup, request: &Request, now: Instant) -> Pending {
    let group = setup.context.group;
    let frame = match setup.mode {
        Mode::Vote | Mode::Updates => request.to_frame(group),
        Mode::Reads | Mode::Queries { .. } => {
            ChainQuery { id: request.number, body: request.body.clone() }.to_frame(group)
        }
    };
    Pending {
        frame: frame.into(),
        parts: Vec::new(),
        commands: 0,
        voter: setup.voter(request.number),
        sent: now,
        sends: 0,
        repeat_at: now + setup.repeat_after,
        backoff: setup.repeat_after.saturating_mul(2).min(setup.repeat_cap),
        asked_again: false,
        id: id_of_request(setup, request),
        trail: Trail::default(),
        receipt: None,
    }
}

fn id_of_request(setup: &Setup, request: &Request) -> Option<CallId> {
    let chain = setup.context.group.chain().unwrap_or(0);
    let Request { session, number, .. } = *request;
    let has_one = setup.mode.has_sessions() && number > 0;
    has_one.then_some(CallId { chain, session, number, part: None })
}

// The nonces are the driver's, then such as nobody else has: the first is in each of them.
fn nonce(setup: &Setup, begun: u64) -> SessionId {
    if begun == 0 {
        return setup.session;
    }
    let mut h = Hasher::new(Domain::Derive);
    h.put(b"client session").put(&setup.client.0).put_u64(setup.session.0).put_u64(begun);
    let digest = h.finish();
    let (first, _) = digest.0.split_first_chunk::<8>().expect("a digest has 32 bytes");
    SessionId(u64::from_le_bytes(*first))
}
