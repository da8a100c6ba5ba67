use super::*;
use crate::crypto::Context;
use crate::service::kv::{Command as KvCommand, Kv};
use crate::types::{
    ClientId, Digest, GroupId, Instant, LinkId, Now, OrderLimits, ReplicaId, SessionId, Wall,
};
use crate::wire::{
    ChainAnswer, ChainConfig, ChainEntry, ChainGrant, ChainMember, ChainMessage, ChainPosition,
    ChainQuery, ChainRefusal, ChainRenewal, Command, CommandKind, Layout, Reader, Request,
    RequestBody,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

mod shares;
mod states;
mod withdrawals;

const CLIENT: ClientId = ClientId([7; 32]);
const LINK: LinkId = LinkId(3);

fn ms(n: u64) -> Now {
    Now { monotonic: Instant(n * 1_000_000), wall: Wall(n * 1000) }
}

fn replica(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn setup(number: u8) -> Setup {
    Setup {
        inherited: None,
        lost: false,
        unsure: false,
        trace: true,
        me: replica(number),
        incarnation: 1,
        chain: 1,
        context: Context { cluster: Digest([1; 32]), group: GroupId(1) },
        lease: Duration::from_millis(100),
        margin: Duration::from_millis(10),
        durable: true,
        reads_any: true,
        order: OrderLimits::default(),
        limits: ChainLimits { pending: 3, ..ChainLimits::default() },
        service: MakeService(Arc::new(|| Box::new(Kv::new()))),
    }
}

fn config(number: u64, members: &[u8]) -> ChainConfig {
    let member = |n: &u8| ChainMember { replica: replica(*n), incarnation: 1 };
    ChainConfig { number, members: members.iter().map(member).collect(), joining: None }
}

/// A chain whose messages wait until they are asked for, and whose writes are done when that is
/// said.
struct Line {
    chains: Vec<Chain>,
    waiting: VecDeque<(usize, usize, ChainMessage)>,
    /// The last write of each.
    written: Vec<u64>,
    out: Vec<Action>,
    now: Now,
}

/// The body of every update but the first, which opens the session.
fn put() -> Bytes {
    let command = KvCommand::put("key", "value").encode();
    let commands = vec![Command { kind: CommandKind::Execute, bytes: command.into() }];
    RequestBody { commands }.to_bytes()
}

impl Line {
    fn new(length: u8) -> Self {
        Self::with(length, setup(1).limits)
    }

    fn with(length: u8, limits: ChainLimits) -> Self {
        let start = |n| Chain::new(Setup { limits, ..setup(n) }, Found::default()).unwrap();
        Self::of((1..=length).map(start).collect())
    }

    /// A line of these, all of which are members.
    fn of(chains: Vec<Chain>) -> Self {
        let all: Vec<u8> = chains.iter().map(|c| c.member().replica.number()).collect();
        let written = vec![0; chains.len()];
        let (waiting, out) = (VecDeque::new(), Vec::new());
        let mut line = Self { chains, waiting, written, out, now: ms(1) };
        for at in 0..line.chains.len() {
            line.take(at, Input::Tick);
            for peer in all.iter().filter(|n| usize::from(**n) != at + 1) {
                line.take(at, Input::PeerUp { peer: replica(*peer) });
            }
        }
        line.configure(config(1, &all));
        line.deliver();
        line
    }

    /// All get a lease and this configuration.
    fn configure(&mut self, config: ChainConfig) {
        for at in 0..self.chains.len() {
            let grant = ChainGrant { granted: true, again: 0, config: config.clone() };
            self.take(at, Input::Renewed { serial: 1, output: grant.to_bytes().into() });
        }
    }

    fn take(&mut self, at: usize, input: Input) {
        for input in [input, Input::Drained] {
            for action in self.chains[at].handle(self.now, input) {
                match action {
                    Action::ToPeer { peer, message } => {
                        self.waiting.push_back((at, peer.index(), message));
                    }
                    Action::Append { sequence, .. } => self.written[at] = sequence,
                    Action::Save { sequence, .. } => {
                        self.written[at] = sequence;
                        self.out.push(action);
                    }
                    Action::Renew { .. } => {}
                    other => self.out.push(other),
                }
            }
        }
    }

    fn deliver_one(&mut self) {
        let (from, to, message) = self.waiting.pop_front().expect("a message waits");
        self.take(to, Input::Peer { peer: ReplicaId::from_index(from), message });
    }

    fn deliver(&mut self) {
        while !self.waiting.is_empty() {
            self.deliver_one();
        }
    }

    fn sync(&mut self, at: usize) {
        let sequence = self.written[at];
        self.take(at, Input::Synced { sequence });
    }

    fn sync_all(&mut self) {
        (0..self.chains.len()).for_each(|at| self.sync(at));
        self.deliver();
    }

    /// An update by which a session opens, or sets a key.
    fn update(&mut self, at: usize, number: u64) {
        self.update_with(at, number, if number == 0 { Bytes::new() } else { put() });
    }

    fn update_with(&mut self, at: usize, number: u64, body: Bytes) {
        let request = Request { session: SessionId(1), number, low: 0, body };
        self.take(at, Input::Update { link: LINK, client: CLIENT, request });
    }

    fn query(&mut self, at: usize, key: &str) {
        let command = KvCommand::get(key).encode();
        let commands = vec![Command { kind: CommandKind::Query, bytes: command.into() }];
        let query = ChainQuery { id: 5, body: RequestBody { commands }.to_bytes() };
        self.take(at, Input::Query { link: LINK, client: CLIENT, query });
    }

    /// Numbers of the updates that were answered since this was asked last.
    fn replies(&mut self) -> Vec<u64> {
        let replies = std::mem::take(&mut self.out).into_iter().filter_map(|action| match action {
            Action::Reply { reply, .. } => Some(reply.number),
            _ => None,
        });
        replies.collect()
    }

    /// What was answered to queries or refused since this was asked last.
    fn answers(&mut self) -> Vec<Result<u64, (ChainRefusal, u64)>> {
        let said = std::mem::take(&mut self.out).into_iter().filter_map(|action| match action {
            Action::Answer { answer: ChainAnswer::Answer { number, .. }, .. } => Some(Ok(number)),
            Action::Answer { answer: ChainAnswer::Refused { why, config, .. }, .. } => {
                Some(Err((why, config.number)))
            }
            _ => None,
        });
        said.collect()
    }
}

/// CH-U4: the tail commits what every disk has, and not before.
#[test]
fn a_reply_waits_until_the_watermark_covers_its_update() {
    let mut line = Line::new(3);
    line.update(0, 0);
    line.deliver();
    line.sync(2);
    line.sync(0);
    line.deliver();
    assert!(line.replies().is_empty(), "the middle has not synced it");
    line.sync(1);
    line.deliver();
    assert_eq!(line.replies(), [0]);
    assert!(line.chains.iter().all(|c| c.executed().number == 1), "acknowledged up the chain");
}

/// CH-U2: the next batch goes down without waiting for the last.
#[test]
fn updates_are_passed_on_while_earlier_ones_are_on_their_way() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.update(0, 1);
    let forwards: Vec<_> = line.waiting.iter().map(|(_, to, m)| (*to, m.clone())).collect();
    assert_eq!(forwards.len(), 2);
    for (number, (to, message)) in (0..).zip(forwards) {
        let ChainMessage::Forward { after, entries, .. } = message else { panic!("{message:?}") };
        assert_eq!((to, after, entries.len()), (1, number, 1));
    }
}

/// CH-U1.
#[test]
fn a_repeat_waits_for_its_commit_and_later_gets_the_stored_reply() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.update(0, 0);
    assert_eq!((line.chains[0].stats().waiting_repeats, line.chains[0].last().number), (1, 1));
    line.deliver();
    line.sync_all();
    assert_eq!(line.replies(), [0], "one reply, the tail's");
    line.update(0, 0);
    assert_eq!(line.replies(), [0]);
    assert_eq!(line.chains[0].last().number, 1);
}

/// CH-F5.
#[test]
fn who_is_not_the_head_refuses_updates_and_says_who_is() {
    let mut line = Line::new(2);
    line.update(1, 0);
    assert_eq!(line.answers(), [Err((ChainRefusal::NotHead, 1))]);
}

#[test]
fn a_head_takes_no_more_than_its_limit() {
    let mut line = Line::new(2);
    (0..4).for_each(|number| line.update(0, number));
    assert_eq!(line.answers(), [Err((ChainRefusal::Busy, 1))]);
    line.deliver();
    line.sync_all();
    line.update(0, 3);
    assert_eq!(line.answers(), [], "there is room again");
}

/// CH-L1.
#[test]
fn without_a_lease_nothing_is_taken_committed_or_answered() {
    let mut line = Line::new(1);
    line.update(0, 0);
    line.now = ms(91);
    line.sync(0);
    assert_eq!(line.chains[0].executed().number, 0);
    line.update(0, 1);
    line.query(0, "key");
    let refused = Err((ChainRefusal::NotServing, 1));
    assert_eq!(line.answers(), [refused, refused]);
    assert_eq!(line.chains[0].stats().leases_lost, 1);
}

/// CH-Q2.
#[test]
fn a_replica_answers_what_nothing_on_its_way_touches_and_else_asks_the_tail() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.deliver();
    line.sync_all();
    line.update(0, 1);
    line.out.clear();
    line.query(0, "another key");
    assert_eq!(line.answers(), [Ok(1)]);
    line.query(0, "key");
    assert_eq!(line.answers(), []);
    line.deliver();
    assert_eq!(line.answers(), [Ok(1)], "the tail has not committed it either");
    line.query(1, "key");
    assert_eq!(line.answers(), [Ok(1)], "the tail answers from its state");
    line.sync_all();
    line.out.clear();
    line.query(0, "key");
    assert_eq!(line.answers(), [Ok(2)]);
}

#[test]
fn a_query_whose_tail_is_silent_is_refused_after_half_a_lease() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.query(0, "key");
    line.waiting.clear();
    assert_eq!(line.answers(), [Ok(0)], "an opening touches nothing");
    line.update(0, 1);
    line.query(0, "key");
    line.waiting.clear();
    line.out.clear();
    line.now = ms(51);
    assert!(line.chains[0].next_wake() <= line.now.monotonic);
    line.take(0, Input::Tick);
    assert_eq!(line.answers(), [Err((ChainRefusal::NotServing, 1))]);
}

/// CH-F1 and CH-F5: what only the old head had is gone, and a message of its time is refused with
/// the new configuration.
#[test]
fn a_new_head_refuses_what_the_old_one_sends() {
    let mut line = Line::new(3);
    line.update(0, 0);
    let old = line.waiting.pop_front().unwrap();
    line.configure(config(2, &[2, 3]));
    line.deliver();
    line.waiting.push_back(old);
    line.deliver_one();
    let told = line.waiting.iter().any(|(from, to, message)| {
        (*from, *to) == (1, 0) && matches!(message, ChainMessage::Config(c) if c.number == 2)
    });
    assert!(told, "who is behind is told");
    assert_eq!(line.chains[1].last().number, 0);
    assert_eq!(line.chains[1].stats().other_config, 1);
    line.update(1, 0);
    assert_eq!(line.chains[1].last(), ChainPosition { config: 2, number: 1 });
}

/// CH-F2: all that the new tail had passed on becomes committed.
#[test]
fn a_new_tail_commits_what_it_had_passed_on() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.sync(0);
    line.waiting.clear();
    assert!(line.replies().is_empty());
    line.configure(config(2, &[1]));
    assert_eq!(line.replies(), [0]);
    assert_eq!(line.chains[0].executed().number, 1);
}

/// CH-F3: the successor says what it has, and gets what follows.
#[test]
fn after_a_middle_is_gone_its_successor_gets_what_it_lacks() {
    let mut line = Line::new(3);
    (0..3).for_each(|number| line.update(0, number));
    line.deliver_one();
    line.waiting.clear();
    assert_eq!([1, 2].map(|at| line.chains[at].last().number), [1, 0]);
    line.configure(config(2, &[1, 3]));
    line.deliver();
    line.sync_all();
    assert_eq!(line.chains[2].executed().number, 3);
    assert_eq!(line.replies(), [0, 1, 2]);
}

#[test]
fn what_a_link_loses_is_sent_again_over_the_next() {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.waiting.clear();
    for (at, peer) in [(0, 2), (1, 1)] {
        line.take(at, Input::PeerDown { peer: replica(peer) });
        line.take(at, Input::PeerUp { peer: replica(peer) });
    }
    line.deliver();
    line.sync_all();
    assert_eq!(line.replies(), [0]);
}

/// CH-F6: a start takes up the log; of two records with one number the later one stands.
#[test]
fn a_start_takes_up_what_the_log_has() {
    let entry = |config, number| {
        let request = Request { session: SessionId(number), number: 0, low: 0, body: Bytes::new() };
        let position = ChainPosition { config, number };
        let time = crate::types::AgreedTime(number);
        ChainEntry { position, time, client: CLIENT, request }.to_record()
    };
    let log = vec![entry(1, 1), entry(1, 2), entry(1, 3), entry(2, 2)];
    let chain = Chain::new(setup(1), Found { state: None, log }).unwrap();
    assert_eq!((chain.last(), chain.durable()), (ChainPosition { config: 2, number: 2 }, 2));
    assert_eq!(chain.executed().number, 0, "nobody has said what is committed");
    let gap = Found { state: None, log: vec![entry(1, 1), entry(1, 3)] };
    let why = Chain::new(setup(1), gap).unwrap_err();
    assert!(why.contains("number 3 follows 1"), "{why}");
    let noise = Found { state: Some(Bytes::from_static(b"noise")), log: vec![] };
    assert!(Chain::new(setup(1), noise).unwrap_err().contains("the saved state"));
}

/// In an earlier life it was a member; in this one it is not, until the master says so.
#[test]
fn who_starts_again_is_no_member_of_the_configuration_that_it_was_in() {
    let mut chain = Chain::new(Setup { incarnation: 2, ..setup(1) }, Found::default()).unwrap();
    chain.handle(ms(0), Input::Tick);
    let grant = ChainGrant { granted: true, again: 0, config: config(1, &[1]) };
    chain.handle(ms(1), Input::Renewed { serial: 1, output: grant.to_bytes().into() });
    chain.handle(ms(1), Input::Drained);
    assert!(!chain.answers(ms(1)) && !chain.is_ready());
}

/// CH-F6: who begins on an empty directory, and is not told whether another was lost, reports as
/// one that has lost it until the master has shown that no earlier life of it was a member.
#[test]
fn an_empty_directory_counts_only_when_the_master_knows_of_no_earlier_life() {
    let reports = |chain: &mut Chain, input: Input| -> (Vec<bool>, bool) {
        let (mut lost, mut begun) = (Vec::new(), false);
        for action in chain.handle(ms(1), input) {
            match action {
                Action::Renew { command, .. } => {
                    assert!(lost.is_empty() || begun, "noted before it is relied on");
                    let renewal = ChainRenewal::get(&mut Reader::new(&command[1..])).unwrap();
                    lost.push(renewal.lost);
                }
                Action::Begun => begun = true,
                _ => {}
            }
        }
        (lost, begun)
    };
    let renewed = |number: u64, members: &[(u8, u64)]| {
        let member = |(n, incarnation): &(u8, u64)| ChainMember {
            replica: replica(*n),
            incarnation: *incarnation,
        };
        let members = members.iter().map(member).collect();
        let config = ChainConfig { number, members, joining: None };
        let grant = ChainGrant { granted: true, again: 0, config };
        Input::Renewed { serial: 1, output: grant.to_bytes().into() }
    };
    let fresh = |unsure| {
        let setup = Setup { incarnation: 7, unsure, ..setup(1) };
        Chain::new(setup, Found::default()).unwrap()
    };
    // A chain that has not begun, one of others, and one in which it is a member in this life.
    let rows: [&[(u8, u64)]; 4] = [&[(1, 0), (2, 0)], &[(2, 3)], &[(1, 7), (2, 3)], &[]];
    for (number, members) in (0..).zip(rows) {
        let mut chain = fresh(true);
        assert_eq!(reports(&mut chain, Input::Tick), (vec![true], false));
        let (lost, begun) = reports(&mut chain, renewed(number, members));
        assert_eq!((lost, begun), (vec![false], true), "{members:?}");
    }
    // It was a member before: what it had is on another disk.
    let mut chain = fresh(true);
    reports(&mut chain, Input::Tick);
    let actions = chain.handle(ms(1), renewed(4, &[(1, 5), (2, 3)]));
    assert!(actions.contains(&Action::Event(Event::DiskLost)));
    assert!(chain.is_lost() && !actions.contains(&Action::Begun));
    assert_eq!(reports(&mut chain, renewed(5, &[(2, 3)])), (vec![], false));
    assert!(chain.is_lost() && !chain.is_unsure(), "until it is a member again");
    let (_, begun) = reports(&mut chain, renewed(6, &[(2, 3), (1, 7)]));
    assert!(begun && !chain.is_lost(), "from now on its directory has all that it had");
    // Who gets no lease may be in a life that the master takes for an older one.
    let mut chain = fresh(true);
    reports(&mut chain, Input::Tick);
    let (granted, again, config) = (false, 0, config(4, &[2]));
    let output = ChainGrant { granted, again, config }.to_bytes().into();
    assert_eq!(reports(&mut chain, Input::Renewed { serial: 1, output }), (vec![], false));
    assert!(chain.is_lost() && chain.is_unsure());
    // Who votes is told by the others of its group.
    let mut chain = fresh(false);
    assert_eq!(reports(&mut chain, Input::Tick), (vec![false], false));
}

/// D19 and CH-F4: an older image of its disk was put back. What it has is a part of the history
/// that others have, so it gets the rest; in its new life it is no member before that.
#[test]
fn who_comes_back_with_an_older_image_of_its_disk_gets_the_rest() {
    let mut line = Line::new(2);
    let mut log = Vec::new();
    for number in 0..3 {
        line.update(0, number);
        let forwarded = line.waiting.iter().find_map(|(_, _, m)| match m {
            ChainMessage::Forward { entries, .. } => entries.first().map(ChainEntry::to_record),
            _ => None,
        });
        log.extend(forwarded);
        line.deliver();
        line.sync_all();
    }
    assert_eq!((line.chains[1].executed().number, log.len()), (3, 3));
    log.truncate(1);
    line.chains[1] = line.chains[1].next_life(2, Found { state: None, log }).unwrap();
    line.take(1, Input::Tick);
    for (at, peer) in [(0, 2), (1, 1)] {
        line.take(at, Input::PeerDown { peer: replica(peer) });
        line.take(at, Input::PeerUp { peer: replica(peer) });
    }
    assert_eq!((line.chains[1].last().number, line.chains[1].answers(line.now)), (1, false));
    let joining = Some(ChainMember { replica: replica(2), incarnation: 2 });
    line.configure(ChainConfig { joining, ..config(2, &[1]) });
    line.deliver();
    assert_eq!(line.chains[1].last(), line.chains[0].last());
    line.written[1] = 1;
    line.sync_all();
    assert_eq!(line.chains[1].durable(), 3);
    let digests = [0, 1].map(|at: usize| line.chains[at].state_digest());
    assert_eq!(digests[0], digests[1]);
}

/// Nonsense from a peer is dropped: nothing panics, and nothing changes.
#[test]
fn what_fits_nothing_is_dropped() {
    let mut line = Line::new(3);
    line.update(0, 0);
    line.deliver();
    line.sync_all();
    let before = line.chains[1].fingerprint();
    let (config, bytes) = (1, Bytes::from_static(b"noise"));
    let entries = Vec::new();
    for (from, message) in [
        (0, ChainMessage::Forward { config, after: 0, durable: 9, entries: entries.clone() }),
        (2, ChainMessage::Forward { config, after: 1, durable: 9, entries }),
        (0, ChainMessage::Ack { config, committed: 99 }),
        (0, ChainMessage::Snapshot { config, number: 5, size: 5, offset: 0, bytes }),
        (0, ChainMessage::More { config, number: 1, offset: u64::MAX }),
        (2, ChainMessage::More { config, number: 1, offset: u64::MAX }),
        (0, ChainMessage::Committed { config, id: 77, number: 1 }),
        (2, ChainMessage::Committed { config, id: 77, number: u64::MAX }),
    ] {
        line.take(1, Input::Peer { peer: ReplicaId::from_index(from), message });
    }
    assert!(line.waiting.is_empty(), "{:?}", line.waiting);
    assert_eq!(line.chains[1].fingerprint(), before);
    line.take(1, Input::Renewed { serial: 1, output: Bytes::from_static(b"noise") });
    line.take(1, Input::Synced { sequence: 99 });
    assert_eq!(line.chains[1].fingerprint(), before);
}

/// A service whose state is in doubt after one of its commands.
struct Fragile;

impl crate::service::Service for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn execute(&mut self, _: crate::types::AgreedTime, _: &ClientId, _: &[u8]) -> Vec<u8> {
        panic!("half done")
    }

    fn query(&self, _: crate::types::AgreedTime, _: &ClientId, _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), crate::service::RestoreError> {
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        Digest::ZERO
    }
}

/// D34: it answers nobody, says which update it was, and does nothing more.
#[test]
fn an_update_that_breaks_the_service_halts_the_replica_and_is_named() {
    let service = MakeService(Arc::new(|| Box::new(Fragile)));
    let mut chain = Chain::new(Setup { service, ..setup(1) }, Found::default()).unwrap();
    let grant = ChainGrant { granted: true, again: 0, config: config(1, &[1]) };
    let commands = vec![Command { kind: CommandKind::Execute, bytes: Bytes::new() }];
    let body = RequestBody { commands }.to_bytes();
    let update = |number, body| {
        let request = Request { session: SessionId(1), number, low: 0, body };
        Input::Update { link: LINK, client: CLIENT, request }
    };
    let mut out = Vec::new();
    for input in [
        Input::Tick,
        Input::Renewed { serial: 1, output: grant.to_bytes().into() },
        update(0, Bytes::new()),
        update(1, body),
        Input::Drained,
        Input::Synced { sequence: 1 },
        Input::Drained,
        Input::Drained,
        update(2, Bytes::new()),
    ] {
        out.extend(chain.handle(ms(1), input));
    }
    let replies = out.iter().filter(|a| matches!(a, Action::Reply { .. })).count();
    assert_eq!((replies, chain.last().number), (1, 2), "the opening is answered");
    let halts =
        |a: &&Action| matches!(a, Action::Event(Event::Halted { why }) if why.contains("update 2"));
    assert_eq!(out.iter().filter(halts).count(), 1);
    assert!(chain.halted().is_some_and(|why| why.contains("in doubt")), "{:?}", chain.halted());
}
