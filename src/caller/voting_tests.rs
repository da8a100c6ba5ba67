//! Step tables: queries that need no ordering (Q1), and when they do.

use super::*;
use crate::caller::{Answer, CallError};
use crate::crypto::Context;
use crate::types::{ClientId, Digest, Ensemble, Epoch, GroupId, OrderLimits, ReplicaId, Round};
use crate::wire::{
    Digests, FrameDecoder, GroupState, Hello, NoteKind, Outcome, PROTOCOL_VERSION, Reply,
    ReplyDigest, Request, StepPosition, WholeQuery,
};
use std::time::Duration;

const MS: u64 = 1_000_000;
const SESSION: SessionId = SessionId(77);
const ONE: Digest = Digest([1; 32]);
const TWO: Digest = Digest([2; 32]);

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn setup() -> Setup {
    Setup {
        mode: Mode::Vote,
        ordered: false,
        assurance: crate::types::Assurance::Majority,
        ensemble: Ensemble::new(1).unwrap(),
        roster: 3,
        context: Context { cluster: Digest([9; 32]), group: GroupId::MAIN },
        client: ClientId([5; 32]),
        session: SESSION,
        limits: OrderLimits { window: 8, max_commands: 4, ..OrderLimits::default() },
        repeat_after: Duration::from_millis(100),
        repeat_cap: Duration::from_millis(300),
        timeout: Duration::from_millis(1000),
        receipts: None,
        pipeline: 4,
        gather: Duration::ZERO,
    }
}

/// Q1: an answer that comes while the other links are being made says nothing of what these will
/// say. It is ordered once they had their time.
#[test]
fn a_first_answer_waits_for_links_that_are_being_made() {
    let mut w = World::with_links(setup(), &[1]);
    w.call(1, &[CommandKind::Query]);
    let id = w.queries[0].1.id;
    w.answer(1, id, "a", ONE);
    w.at(50);
    assert!(w.requests.iter().all(|(_, request)| request.number == 0), "{:?}", w.requests);
    w.up(2);
    w.input(Input::Drained);
    assert_eq!(w.queries.last().map(|(to, query)| (*to, query.id)), Some((2, id)));
    w.answer(2, id, "a", ONE);
    assert!(matches!(&w.done[..], [(1, Ok(_))]), "{:?}", w.done);
    // Of three only one can be reached: that is soon known.
    let mut w = World::with_links(setup(), &[1]);
    w.call(1, &[CommandKind::Query]);
    let id = w.queries[0].1.id;
    w.answer(1, id, "a", ONE);
    w.at(100);
    w.at(101);
    assert!(w.caller.stats().ordered_queries == 1, "{:?}", w.caller.stats());
}

struct World {
    caller: VotingCaller,
    now: u64,
    queries: Vec<(u8, ChainQuery)>,
    /// Those that are asked again, for a whole answer.
    wholes: Vec<(u8, ChainQuery)>,
    requests: Vec<(u8, Request)>,
    done: Vec<(u64, Result<Answer, CallError>)>,
}

impl World {
    fn open(setup: Setup) -> Self {
        Self::with_links(setup, &[1, 2, 3])
    }

    fn with_links(setup: Setup, up: &[u8]) -> Self {
        let caller = VotingCaller::new(setup, Instant(0));
        let (queries, wholes, requests, done) = (vec![], vec![], vec![], vec![]);
        let mut w = World { caller, now: 0, queries, wholes, requests, done };
        up.iter().for_each(|i| w.up(*i));
        w.input(Input::Drained);
        w
    }

    fn input(&mut self, input: Input) {
        let mut out = Actions::new();
        self.caller.handle(Instant(self.now * MS), input, &mut out);
        for action in out {
            match action {
                Action::Send { replica, frame } => self.sent(replica.number(), frame),
                Action::Receipt { token, result } => panic!("{token:?}: {result:?}"),
                Action::Done { token, result } => self.done.push((token.0, result)),
                Action::Close { replica, why } => panic!("{replica}: {why}"),
                Action::Numbered { .. } | Action::Over { .. } => {}
            }
        }
    }

    fn sent(&mut self, to: u8, frames: Bytes) {
        let mut decoder = FrameDecoder::default();
        decoder.push(frames);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match frame.kind {
                Kind::ChainQuery => {
                    self.queries.push((to, ChainQuery::from_body(&frame.body).unwrap()));
                }
                Kind::WholeQuery => {
                    self.wholes.push((to, WholeQuery::from_body(&frame.body).unwrap().0));
                }
                _ => self.requests.push((to, Request::from_body(&frame.body).unwrap())),
            }
        }
    }

    fn up(&mut self, i: u8) {
        let group = GroupId::MAIN;
        let groups = vec![GroupState { group, promise: Epoch::GENESIS, round: Round(0) }];
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: Digest([9; 32]),
            replica: r(i),
            incarnation: 1,
            restarted: false,
            fields: vec![],
            groups,
        };
        self.input(Input::Up { replica: r(i), hello });
    }

    fn at(&mut self, ms: u64) {
        self.now = ms;
        self.input(Input::Tick);
        self.input(Input::Drained);
    }

    fn call(&mut self, token: u64, kinds: &[CommandKind]) {
        let bytes = Bytes::from(format!("command {token}"));
        let commands = kinds.iter().map(|kind| Command { kind: *kind, bytes: bytes.clone() });
        let (token, commands) = (Token(token), commands.collect());
        self.input(Input::Call { token, commands, coalesce: false });
        self.input(Input::Drained);
    }

    fn frame(&mut self, from: u8, message: &impl Message) {
        let frame = Frame::parse(message.to_frame(GroupId::MAIN).into()).unwrap();
        self.input(Input::Frames { replica: r(from), frames: vec![frame] });
        self.input(Input::Drained);
    }

    fn answer(&mut self, from: u8, id: u64, text: &'static str, opening: Digest) {
        let outcome = Outcome::Executed(vec![Bytes::from_static(text.as_bytes())]).to_bytes();
        let reply = Reply { session: SessionId::QUERIES, number: id, index: 0, outcome };
        let position = StepPosition { round: Round(0), vector: opening };
        self.frame(from, &Replies { position, rolled: false, replies: vec![reply] });
    }

    fn digest(&mut self, from: u8, id: u64, text: &'static str, whole: u8) {
        let outcome = Outcome::Executed(vec![Bytes::from_static(text.as_bytes())]).to_bytes();
        let reply = Reply { session: SessionId::QUERIES, number: id, index: 0, outcome };
        let position = StepPosition { round: Round(0), vector: ONE };
        let digests = vec![ReplyDigest::of(&reply, r(whole))];
        self.frame(from, &Digests { position, rolled: false, digests });
    }

    fn refuse(&mut self, from: u8, id: u64, kind: NoteKind) {
        self.frame(from, &Note { session: SessionId::QUERIES, number: id, kind });
    }

    /// What a call was told; nothing if it waits.
    fn told(&self, token: u64) -> Option<Bytes> {
        let (_, result) = self.done.iter().find(|(t, _)| *t == token)?;
        Some(result.as_ref().unwrap().outputs[0].clone())
    }
}

const QUERY: [CommandKind; 1] = [CommandKind::Query];

#[test]
fn a_query_goes_to_all_without_a_session_and_two_equal_answers_are_believed() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    assert_eq!(
        w.queries.iter().map(|(to, q)| (*to, q.id)).collect::<Vec<_>>(),
        [(1, 1), (2, 1), (3, 1)]
    );
    assert!(w.requests.is_empty(), "nothing needs a session");
    w.answer(1, 1, "a", ONE);
    assert_eq!(w.told(1), None);
    w.answer(1, 1, "a", ONE);
    assert_eq!(w.told(1), None, "one replica is one vote");
    w.answer(3, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")));
    w.answer(2, 1, "b", ONE);
    let stats = w.caller.stats();
    assert_eq!(
        stats.replicas.iter().map(|r| r.dissent).sum::<u64>(),
        0,
        "it was asked at another time"
    );
    assert_eq!((stats.accepted, stats.ordered_queries, stats.outstanding), (1, 0, 0));
}

/// Q1: answers of two epochs do not add up: each may be right, and both together old.
#[test]
fn answers_under_different_openings_do_not_add_up() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.answer(1, 1, "a", ONE);
    w.answer(2, 1, "a", TWO);
    assert_eq!(w.told(1), None);
    w.answer(3, 1, "a", TWO);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")));
}

#[test]
fn a_query_that_is_not_answered_alike_is_ordered_as_soon_as_that_is_known() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.answer(1, 1, "a", ONE);
    w.refuse(2, 1, NoteKind::NotMember);
    assert!(w.requests.is_empty(), "the third may agree with the first");
    w.answer(3, 1, "b", ONE);
    let opening = |requests: &[(u8, Request)]| requests.iter().all(|(_, r)| r.number == 0);
    assert!(w.requests.len() == 3 && opening(&w.requests), "the session is opened");
    let of = |w: &World, number: u64| w.requests.iter().find(|(_, r)| r.number == number).cloned();
    let reply = |w: &mut World, from, number, outcome: &Outcome| {
        let (session, outcome) = (SESSION, outcome.to_bytes());
        let position = StepPosition { round: Round(5 + number), vector: ONE };
        let replies = vec![Reply { session, number, index: 0, outcome }];
        w.frame(from, &Replies { position, rolled: false, replies });
    };
    (1..=2).for_each(|from| reply(&mut w, from, 0, &Outcome::Opened));
    let (_, request) = of(&w, 1).expect("the query is ordered");
    let body = RequestBody::parse(&request.body).unwrap();
    assert_eq!(body.commands[0].kind, CommandKind::Query);
    let outcome = Outcome::Executed(vec![Bytes::from_static(b"b")]);
    (1..=2).for_each(|from| reply(&mut w, from, 1, &outcome));
    assert_eq!(w.told(1), Some(Bytes::from_static(b"b")));
    assert_eq!(w.caller.stats().ordered_queries, 1);
    // What comes late to the query is of no use to anybody.
    w.answer(2, 1, "a", ONE);
    assert_eq!(w.done.len(), 1);
}

/// Who is down or silent does not keep others waiting: a read beside writes would take as long as
/// a repeat otherwise.
#[test]
fn a_query_waits_little_for_who_is_silent_and_not_for_who_is_down() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.now = 3;
    w.answer(1, 1, "a", ONE);
    w.answer(2, 1, "b", ONE);
    assert!(w.requests.is_empty(), "the third may agree with one of them");
    w.at(8);
    assert!(w.requests.is_empty());
    w.at(9);
    assert_eq!(w.requests.len(), 3, "twice as long as the two took");

    let mut w = World::open(setup());
    w.input(Input::Down { replica: r(3) });
    w.call(1, &QUERY);
    w.answer(1, 1, "a", ONE);
    assert!(w.requests.is_empty());
    w.answer(2, 1, "b", ONE);
    assert_eq!(w.requests.len(), 2, "at once");
}

#[test]
fn a_query_that_nobody_answers_is_ordered_after_a_while_and_its_time_goes_on() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.answer(1, 1, "a", ONE);
    w.at(99);
    assert!(w.requests.is_empty());
    w.at(100);
    assert_eq!(w.requests.len(), 3);
    w.at(999);
    assert!(w.done.is_empty());
    w.at(1001);
    assert!(matches!(w.done[..], [(1, Err(CallError::NoMajority { .. }))]), "{:?}", w.done);
}

#[test]
fn a_call_that_writes_too_is_ordered_and_so_is_all_if_that_is_asked_for() {
    let mut w = World::open(setup());
    w.call(1, &[CommandKind::Query, CommandKind::Execute]);
    assert!(w.queries.is_empty() && w.requests.len() == 3);
    let mut w = World::open(Setup { ordered: true, ..setup() });
    assert_eq!(w.requests.len(), 3, "the session is opened at once");
    w.call(1, &QUERY);
    assert!(w.queries.is_empty());
}

/// C4: three of three, by either way, and an opening of a session needs no more than before.
#[test]
fn strong_answers_are_waited_for() {
    let assurance = crate::types::Assurance::Strong;
    let mut w = World::open(Setup { assurance, ..setup() });
    w.call(1, &QUERY);
    (1..=2).for_each(|from| w.answer(from, 1, "a", ONE));
    assert_eq!(w.told(1), None);
    w.answer(3, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")));
    let (_, result) = &w.done[0];
    let explanation = &result.as_ref().unwrap().explanation;
    assert_eq!(explanation.assurance(), Some(assurance));
    w.call(2, &QUERY);
    (1..=2).for_each(|from| w.answer(from, 2, "a", ONE));
    w.answer(3, 2, "b", ONE);
    assert!(w.requests.len() == 3, "it is ordered, since no three can agree any more");
}

#[test]
fn what_most_will_not_answer_at_all_is_told() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.refuse(1, 1, NoteKind::Unacceptable);
    assert!(w.done.is_empty());
    w.refuse(2, 1, NoteKind::Unacceptable);
    assert!(matches!(w.done[..], [(1, Err(CallError::NotTaken { .. }))]), "{:?}", w.done);
}

/// C3, Q1: who agree are asked again, and their word then takes the place of what they said before.
#[test]
fn a_large_answer_that_does_not_come_is_asked_for_once_and_then_ordered() {
    let agreed = || {
        let mut w = World::open(setup());
        w.call(1, &QUERY);
        (1..=2).for_each(|from| w.digest(from, 1, "a", 3));
        w.at(24);
        assert!(w.wholes.is_empty());
        w.at(25);
        let (first, again) = (w.queries[0].1.clone(), std::mem::take(&mut w.wholes));
        assert_eq!(again, [(1, first.clone()), (2, first)]);
        w
    };
    let mut w = agreed();
    w.answer(1, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")), "nothing was written since");
    // Something was: the first has left the two, which may complete all the same.
    let mut w = agreed();
    w.answer(1, 1, "b", ONE);
    assert_eq!(w.told(1), None);
    w.answer(2, 1, "b", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"b")));
    let mut w = agreed();
    w.answer(1, 1, "b", ONE);
    w.answer(3, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")), "the second has said it, too");
    // Nobody has more to say.
    let mut w = agreed();
    w.at(124);
    assert!(w.requests.is_empty());
    w.at(125);
    assert_eq!(w.requests.len(), 3, "it is ordered");
    assert_eq!((w.caller.stats().ordered_queries, w.wholes.len()), (1, 0));
}

/// C3: it is no reason to order a query that its large answer takes longer than the digests.
#[test]
fn a_large_answer_may_take_longer_than_the_digests_of_it() {
    let mut w = World::open(setup());
    w.call(1, &QUERY);
    w.now = 1;
    (1..=2).for_each(|from| w.digest(from, 1, "a", 3));
    w.at(20);
    w.answer(3, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")));
    assert!(w.wholes.is_empty() && w.requests.is_empty());
}

/// C3: the same where one is down, so that the two others have to agree.
#[test]
fn a_large_answer_is_waited_for_where_one_is_down() {
    let down = || {
        let mut w = World::open(setup());
        w.input(Input::Down { replica: r(3) });
        w.call(1, &QUERY);
        w.now = 1;
        w.digest(1, 1, "a", 2);
        w.at(25);
        assert!(w.requests.is_empty());
        w
    };
    let mut w = down();
    w.answer(2, 1, "a", ONE);
    assert_eq!(w.told(1), Some(Bytes::from_static(b"a")));
    let mut w = down();
    w.at(26);
    assert_eq!(w.requests.len(), 2, "it is ordered after a quarter of the time of a repeat");
    // One that is not waited for is no reason to wait.
    let mut w = World::open(setup());
    w.input(Input::Down { replica: r(3) });
    w.call(1, &QUERY);
    w.now = 1;
    w.digest(1, 1, "a", 3);
    w.at(3);
    assert_eq!(w.requests.len(), 2);
}

/// C3: clients that ask once do not all ask the same replica for the whole.
#[test]
fn the_first_query_of_a_client_has_a_number_of_its_own() {
    for (session, id) in [(77, 1), (5 << 32 | 77, 6), (u64::MAX, 1 << 32)] {
        let mut w = World::open(Setup { session: SessionId(session), ..setup() });
        w.call(1, &QUERY);
        assert_eq!(w.queries[0].1.id, id);
    }
}

#[cfg(feature = "plant")]
#[test]
fn answers_that_are_mixed_are_noticed() {
    use crate::types::plant::plant;
    plant(Some("q1-openings-mixed"));
    let test = answers_under_different_openings_do_not_add_up;
    let caught = std::panic::catch_unwind(test).is_err();
    plant(None);
    assert!(caught);
}
