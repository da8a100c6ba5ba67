//! The session table: every request runs at most once (rule O6).
//!
//! A replica calls [`SessionTable::admit`] for each ordered request in the order, runs it if the
//! answer is [`Admission::Fresh`], and hands the reply to [`SessionTable::record`] at once. All of
//! it is a function of the order: tables that saw the same requests are equal, replies included,
//! and so are their digests and snapshots. Nothing here knows arrival times or connections.
//!
//! A session is named by its client and a nonce that the client chose. Numbers start at 1; number
//! 0 opens. Per session the table keeps
//!
//! - the *low-water mark*: the largest lowest-unanswered number that an executed request of the
//!   session carried. It never falls. Nothing below it runs any more, and replies below it are
//!   forgotten, since their client said that it has them;
//! - for each number in the *window* `low .. low + window` whether it ran, and the reply.
//!
//! # What a client that lies about its numbers can do
//!
//! Only spoil its own session. Every decision about a request looks at its own session alone.
//!
//! - Two requests with one number: the first in the order runs, the other gets nothing. If the
//!   first one *withdraws* the number, none runs, and every other one gets that as its answer.
//! - A number beyond the window or below the mark is refused and changes nothing, so no gap, jump
//!   or `u64::MAX` takes more memory than a window has.
//! - A mark above the request's own number contradicts itself and is refused as below the mark. A
//!   mark that is too high (its client forgets replies that it lacks) makes the client's own older
//!   requests refused; one that never rises ends at the window.
//! - Opening many sessions evicts, of the client that has most sessions, the one that was not used
//!   for longest: mostly its own. Who comes back to an evicted one is refused, and what ran in it
//!   never runs again.
//!
//! A client must wait until its session is open before it numbers requests in it, and must not use
//! a nonce again: a refused request was not executed, and if it were sent again under other
//! circumstances, it could be. Who cannot know whether a nonce was used before, as it follows from
//! a name, opens the session *cautiously*: with a low-water mark above 0. That opens it only if no
//! session of the same client was ever evicted, which the table remembers: then this one was never
//! open before, and nothing of it can have run.
//!
//! # Bounds
//!
//! At most `max_sessions` sessions of `window` numbers, and `reply_bytes` of replies. Above the
//! last, the session that holds the most gives up its oldest reply, and again, until an eighth is
//! free. So a session that holds no more than its share of the remaining seven eighths never loses
//! a reply to others' large ones. A number whose reply was given up counts as executed still: a
//! repeat of it gets nothing.

mod evicted;
mod session;
mod snapshot;

use crate::crypto::{Domain, Hasher, MultisetHash};
use crate::types::plant::planted;
use crate::types::{ClientId, Digest, OrderLimits, SessionId};
use crate::wire::{Looked, Refusal, Request, StepPosition};
use bytes::Bytes;
use evicted::Evicted;
use session::{Session, Slot, Stored};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

pub use snapshot::FrozenSessions;

/// Bounds of a table. They decide what is refused and evicted, so they must be the same at all
/// replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions kept; at least 1.
    pub max_sessions: u32,
    /// Numbers above the low-water mark that a session may use; at least 1.
    pub window: u32,
    /// Bytes of all stored replies; each counts [`SessionLimits::REPLY_OVERHEAD`] besides its
    /// outcome.
    pub reply_bytes: u64,
}

impl SessionLimits {
    /// What a stored reply counts for besides its outcome: about what it takes in memory.
    pub const REPLY_OVERHEAD: u64 = 192;

    /// The limits that follow from those of the order: 16 KiB of replies a session on average,
    /// and room for a few of the largest.
    pub fn of(order: &OrderLimits) -> Self {
        let shares = u64::from(order.max_sessions).saturating_mul(16 * 1024);
        let largest = u64::from(order.max_output).saturating_mul(4);
        Self {
            max_sessions: order.max_sessions,
            window: order.window,
            reply_bytes: shares.saturating_add(largest),
        }
    }
}

/// The reply to an executed request, as every repeat of it gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    /// The step that executed the request.
    pub position: StepPosition,
    /// The request's index in the step.
    pub index: u32,
    /// The outcome's bytes.
    pub outcome: Bytes,
}

/// What to do with an ordered request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<'a> {
    /// Number 0: the session is open now. [`SessionTable::record`] the reply.
    Open,
    /// Execute it and [`SessionTable::record`] the reply. If it withdraws its number there is
    /// nothing to execute, and the reply is [`crate::wire::Outcome::Withdrawn`].
    Fresh,
    /// It was executed before: this was the reply. Number 0: the session was open already. To a
    /// withdrawal: what came of the number, whichever request had it.
    Repeat(&'a StoredReply),
    /// It gets nothing: another request with this number was executed, or this one was and its
    /// reply had to be given up.
    Nothing,
    /// It has no effect; its client is told why.
    Refused(Refusal),
}

/// What is stored under a number of a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// No reply.
    Nothing,
    /// The reply to this request.
    Reply(&'a StoredReply),
    /// The reply to another request with its number.
    Another(&'a StoredReply),
}

type Key = (ClientId, SessionId);

/// The table. See the module's documentation.
#[derive(Clone, Debug)]
pub struct SessionTable {
    limits: SessionLimits,
    /// Shared with frozen tables: whoever writes to one copies it first.
    sessions: BTreeMap<Key, Arc<Session>>,
    /// The digests of the sessions, those of `dirty` ones as they were when they became dirty.
    set: MultisetHash,
    /// Those that changed since the last digest of the table.
    dirty: BTreeSet<Key>,
    /// Each client's sessions by their last use, longest ago first. Uses are counted, so no two
    /// are equal.
    by_use: BTreeMap<(ClientId, u64), SessionId>,
    /// How many sessions each client has, and the same by number.
    counts: BTreeMap<ClientId, u32>,
    by_count: BTreeSet<(u32, ClientId)>,
    /// Whose sessions were evicted.
    evicted: Evicted,
    /// Ordered requests of open sessions so far.
    uses: u64,
    /// What the stored replies count for.
    held: u64,
}

impl SessionTable {
    /// An empty table. Limits of 0 sessions or numbers count as 1.
    pub fn new(limits: SessionLimits) -> Self {
        let limits = SessionLimits {
            max_sessions: limits.max_sessions.max(1),
            window: limits.window.max(1),
            ..limits
        };
        Self {
            limits,
            sessions: BTreeMap::new(),
            set: MultisetHash::new(),
            dirty: BTreeSet::new(),
            by_use: BTreeMap::new(),
            counts: BTreeMap::new(),
            by_count: BTreeSet::new(),
            evicted: Evicted::default(),
            uses: 0,
            held: 0,
        }
    }

    /// The table's bounds.
    pub fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// What all stored replies count for together, at most [`SessionLimits::reply_bytes`].
    pub fn reply_bytes(&self) -> u64 {
        self.held
    }

    /// Stands in place of a request's digest for a reply that is given to every request with its
    /// number. No request has it.
    pub const ANY_REQUEST: Digest = Digest::ZERO;

    /// Decides about the next ordered request: [`SessionTable::admit`], or
    /// [`SessionTable::withdraw`] if it withdraws its number.
    pub fn take(&mut self, client: &ClientId, request: &Request, digest: &Digest) -> Admission<'_> {
        let Request { session, number, low, .. } = *request;
        match request.withdraws() {
            true => self.withdraw(client, session, number, low),
            false => self.admit(client, session, number, low, digest),
        }
    }

    /// Decides about the next ordered request. `low` is the client's lowest unanswered number as
    /// the request says, `digest` the request's.
    ///
    /// Number 0 opens the session, evicting another if the table is full (the least recently used
    /// one of the client that has most); if
    /// it is open, whoever asks again gets the same answer, and `low` and `digest` do not matter.
    /// If it is not, and `low` is above 0, it is refused to a client whose sessions were evicted.
    /// Whether an opening's body is empty is the caller's to check, before.
    ///
    /// After `Open` and `Fresh` call [`SessionTable::record`] before the next `admit`.
    pub fn admit(
        &mut self,
        client: &ClientId,
        session: SessionId,
        number: u64,
        low: u64,
        digest: &Digest,
    ) -> Admission<'_> {
        let key = (*client, session);
        if number == 0 && !self.sessions.contains_key(&key) {
            let may_be_known = self.evicted.has(client) && !planted("o6-name-used-again");
            if low > 0 && may_be_known {
                return Admission::Refused(Refusal::UnknownSession);
            }
            self.make_room();
            self.sessions.insert(key, Arc::new(Session::new()));
            self.count(client, 1);
        }
        let Some((entry, held)) = self.used(client, session) else {
            return Admission::Refused(Refusal::UnknownSession);
        };
        if number == 0 {
            return match &entry.opened {
                Some(opened) => Admission::Repeat(&opened.reply),
                None => Admission::Open,
            };
        }
        entry.admit(number, low, Some(digest), held)
    }

    /// Decides about an ordered request that withdraws a number, from 1 (rule C2). If a request
    /// with it has run, or it was withdrawn before, this is a repeat of that; else nothing with
    /// this number will ever run.
    ///
    /// After `Fresh` call [`SessionTable::record`], with [`SessionTable::ANY_REQUEST`] as the
    /// digest, before the next request.
    pub fn withdraw(
        &mut self,
        client: &ClientId,
        session: SessionId,
        number: u64,
        low: u64,
    ) -> Admission<'_> {
        match self.used(client, session) {
            Some((entry, held)) => entry.admit(number, low, None, held),
            None => Admission::Refused(Refusal::UnknownSession),
        }
    }

    /// An open session, for an ordered request: whatever comes of that, it is a use of it.
    fn used(&mut self, client: &ClientId, session: SessionId) -> Option<(&mut Session, Room<'_>)> {
        let key = (*client, session);
        let entry = self.sessions.get_mut(&key)?;
        let entry = to_be_changed(entry, key, &mut self.dirty);
        self.by_use.remove(&(*client, entry.last_used));
        self.uses += 1;
        entry.last_used = self.uses;
        self.by_use.insert((*client, self.uses), session);
        let window = u64::from(self.limits.window);
        Some((entry, Room { window, held: &mut self.held }))
    }

    /// Stores the reply to the request that was admitted last.
    ///
    /// A session that is not there (any more) or a number that was not admitted keeps nothing.
    pub fn record(
        &mut self,
        client: &ClientId,
        session: SessionId,
        number: u64,
        digest: &Digest,
        reply: StoredReply,
    ) {
        let key = (*client, session);
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let entry = to_be_changed(entry, key, &mut self.dirty);
        let stored = Arc::new(Stored::new(*digest, reply));
        if number == 0 {
            entry.record_opening(stored);
        } else {
            self.held = self.held.saturating_add(entry.record(number, stored));
        }
        if self.held > self.limits.reply_bytes {
            self.give_up_replies();
        }
    }

    /// What is stored for a request, as [`SessionTable::lookup`]; to one that withdraws its number
    /// everything that is stored under it is the reply.
    pub fn find(&self, client: &ClientId, request: &Request, digest: &Digest) -> Lookup<'_> {
        match self.lookup(client, request.session, request.number, digest) {
            Lookup::Another(stored) if request.withdraws() => Lookup::Reply(stored),
            found => found,
        }
    }

    /// What is stored under a number, for a request with this digest, without counting as a use.
    /// For answering repeats at once, without ordering them (C2).
    pub fn lookup(
        &self,
        client: &ClientId,
        session: SessionId,
        number: u64,
        digest: &Digest,
    ) -> Lookup<'_> {
        let Some(entry) = self.sessions.get(&(*client, session)) else { return Lookup::Nothing };
        let stored = if number == 0 { entry.opened.as_deref() } else { entry.stored(number) };
        match stored {
            None => Lookup::Nothing,
            Some(stored) if number == 0 || stored.answers(digest) => Lookup::Reply(&stored.reply),
            Some(stored) => Lookup::Another(&stored.reply),
        }
    }

    /// What is known of a request by its number, without counting as a use (rule C2). Number 0 is
    /// gone in every open session: what came of it is nobody's question.
    pub fn look(&self, client: &ClientId, session: SessionId, number: u64) -> Looked {
        let Some(entry) = self.sessions.get(&(*client, session)) else {
            return Looked::NoSession { evicted: self.evicted.has(client) };
        };
        match entry.stored(number) {
            Some(Stored { reply, .. }) => {
                let StoredReply { position, index, outcome } = reply.clone();
                Looked::Stored { position, index, outcome }
            }
            None if entry.is_spent(number) => Looked::Gone,
            None => Looked::NotYet,
        }
    }

    /// The same sessions for another cluster. Digests of requests depend on the cluster, so a
    /// stored reply answers whatever request comes with its number from now on; and it was given
    /// before the first step there.
    pub fn carried_over(&self) -> Self {
        let mut table = self.clone();
        for (key, session) in &mut table.sessions {
            to_be_changed(session, *key, &mut table.dirty).carry_over();
        }
        table
    }

    /// Whether the session is open.
    pub fn knows(&self, client: &ClientId, session: SessionId) -> bool {
        self.sessions.contains_key(&(*client, session))
    }

    /// Whether a request with this number can never run in this session as it is open now: one
    /// has run, or its client has said that it has the answer. Ordering it is of no use.
    pub fn is_spent(&self, client: &ClientId, session: SessionId, number: u64) -> bool {
        self.sessions.get(&(*client, session)).is_some_and(|s| s.is_spent(number))
    }

    /// The session's low-water mark; `None` if it is not open.
    pub fn low(&self, client: &ClientId, session: SessionId) -> Option<u64> {
        self.sessions.get(&(*client, session)).map(|s| s.low)
    }

    /// A digest of the whole table: tables are equal exactly if their digests are. Costs what the
    /// sessions take that were used since the last call, however many others there are.
    pub fn digest(&mut self) -> Digest {
        for key in std::mem::take(&mut self.dirty) {
            let session = self.sessions.get_mut(&key).expect("an evicted one is not dirty");
            let new = session.digest(&key.0, key.1);
            let session = Arc::make_mut(session);
            session.is_dirty = false;
            let old = session.in_set.replace(new);
            if old != Some(new) {
                old.iter().for_each(|old| self.set.remove(old));
                self.set.add(&new);
            }
        }
        let mut h = Hasher::new(Domain::Session);
        h.put_u64(self.uses).put_u64(self.sessions.len() as u64).put(&self.set.digest().0);
        self.evicted.hash(&mut h);
        h.finish()
    }

    /// Evicts the least recently used session of the client that has most of them: so a client
    /// that opens many takes them from itself and not from the others.
    fn make_room(&mut self) {
        while self.sessions.len() >= self.limits.max_sessions as usize {
            let Some(&(_, client)) = self.by_count.last() else { return };
            let first = self.by_use.range((client, 0)..).next();
            let (&at, &session) = first.expect("a counted session has a last use");
            self.by_use.remove(&at);
            self.count(&client, -1);
            if let Some(evicted) = self.sessions.remove(&(client, session)) {
                self.evicted.insert(client);
                self.held -= evicted.held;
                evicted.in_set.iter().for_each(|digest| self.set.remove(digest));
                self.dirty.remove(&(client, session));
            }
        }
    }

    fn count(&mut self, client: &ClientId, change: i32) {
        let count = self.counts.entry(*client).or_insert(0);
        self.by_count.remove(&(*count, *client));
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            self.counts.remove(client);
        } else {
            self.by_count.insert((*count, *client));
        }
    }

    /// Gives up replies until an eighth of the limit is free: always the one with the lowest
    /// number in the session that holds the most, of equals the one with the largest name.
    ///
    /// The eighth pays for looking at all sessions.
    fn give_up_replies(&mut self) {
        let target = self.limits.reply_bytes - self.limits.reply_bytes / 8;
        let holders = self.sessions.iter().filter(|(_, s)| s.held > 0);
        let mut by_held: BinaryHeap<(u64, Key)> = holders.map(|(k, s)| (s.held, *k)).collect();
        while self.held > target {
            let Some((_, key)) = by_held.pop() else { return };
            let session = self.sessions.get_mut(&key).expect("the heap was made from the sessions");
            let session = to_be_changed(session, key, &mut self.dirty);
            let next = by_held.peek();
            while session.held > 0
                && self.held > target
                && next.is_none_or(|next| (session.held, key) > *next)
            {
                self.held -= session.give_up_oldest();
            }
            if session.held > 0 {
                by_held.push((session.held, key));
            }
        }
    }
}

/// What a request may take up.
struct Room<'a> {
    /// Numbers above the low-water mark that a session may use.
    window: u64,
    /// What all stored replies of the table count for.
    held: &'a mut u64,
}

/// A session that is about to change.
fn to_be_changed<'a>(
    session: &'a mut Arc<Session>,
    key: Key,
    dirty: &mut BTreeSet<Key>,
) -> &'a mut Session {
    let session = Arc::make_mut(session);
    if !std::mem::replace(&mut session.is_dirty, true) {
        dirty.insert(key);
    }
    session
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod withdraw_tests;
