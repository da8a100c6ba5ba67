//! Step tables: inputs to actions, one rule each. Names carry the rule.

use super::*;
use crate::crypto::Context;
use crate::types::{
    ClientId, Digest, Ensemble, Epoch, GroupId, Instant, OrderLimits, ReplicaId, Round, SessionId,
};
use crate::voter::Verdict;
use crate::wire::{
    Command, CommandKind, Frame, FrameDecoder, GroupState, Hello, Kind, Message, Note, NoteKind,
    Outcome, PROTOCOL_VERSION, Ping, Refusal, Replies, Reply, Request, RequestBody, StepPosition,
};
use bytes::Bytes;
use std::time::Duration;

const SESSION: SessionId = SessionId(77);
const MS: u64 = 1_000_000;

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn setup(t: u8) -> Setup {
    Setup {
        mode: Mode::Vote,
        ordered: false,
        assurance: crate::types::Assurance::Majority,
        ensemble: Ensemble::new(t).unwrap(),
        roster: 2 * usize::from(t) + 1,
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

/// A caller and what it has done: time in milliseconds, sends taken apart.
struct World {
    caller: Caller,
    now: u64,
    sends: Vec<(u8, Bytes)>,
    done: Vec<(u64, Result<Answer, CallError>)>,
    closed: Vec<(u8, &'static str)>,
    receipts: Vec<(u64, Result<Box<Proven>, ReceiptTrouble>)>,
    noted: Vec<Action>,
    round: u64,
}

impl World {
    /// Nothing is up.
    fn dark(setup: Setup) -> Self {
        let caller = Caller::new(setup, Instant(0));
        let (sends, done, closed) = (vec![], vec![], vec![]);
        let (receipts, noted) = (vec![], vec![]);
        World { caller, now: 0, sends, done, closed, receipts, noted, round: 1 }
    }

    /// All links are up and the session is open.
    fn open(setup: Setup) -> Self {
        let mut w = Self::dark(setup);
        (1..=w.n()).for_each(|i| w.up(i));
        w.drained();
        w.say_all(&w.latest(), &Outcome::Opened);
        w.sends.clear();
        w
    }

    fn n(&self) -> u8 {
        self.caller.setup.ensemble.n() as u8
    }

    fn input(&mut self, input: Input) {
        let mut out = Actions::new();
        self.caller.handle(Instant(self.now * MS), input, &mut out);
        for action in out {
            match action {
                Action::Send { replica, frame } => self.sends.push((replica.number(), frame)),
                Action::Receipt { token, result } => self.receipts.push((token.0, result)),
                Action::Done { token, result } => self.done.push((token.0, result)),
                Action::Close { replica, why } => self.closed.push((replica.number(), why)),
                Action::Numbered { .. } | Action::Over { .. } => self.noted.push(action),
            }
        }
    }

    fn up(&mut self, i: u8) {
        let groups =
            vec![GroupState { group: GroupId::MAIN, promise: Epoch::GENESIS, round: Round(0) }];
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

    fn down(&mut self, i: u8) {
        self.input(Input::Down { replica: r(i) });
    }

    fn drained(&mut self) {
        self.input(Input::Drained);
    }

    fn at(&mut self, ms: u64) {
        self.now = ms;
        self.input(Input::Tick);
        self.drained();
    }

    fn queue(&mut self, token: u64, commands: &[&str], coalesce: bool) {
        let commands = commands.iter().map(|c| command(c)).collect();
        self.input(Input::Call { token: Token(token), commands, coalesce });
    }

    /// One call that travels alone; the request that it became.
    fn call(&mut self, token: u64, command: &str) -> Request {
        self.queue(token, &[command], false);
        self.drained();
        self.latest()
    }

    /// The last request sent.
    fn latest(&self) -> Request {
        requests(&self.sends.last().expect("something was sent").1).pop().unwrap()
    }

    fn frame(&mut self, i: u8, kind: Kind, body: Bytes) {
        let frame = Frame { kind, group: GroupId::MAIN, body };
        self.input(Input::Frames { replica: r(i), frames: vec![frame] });
    }

    fn say(&mut self, i: u8, request: &Request, outcome: &Outcome) {
        self.say_bytes(i, request, 0, outcome.to_bytes());
    }

    fn say_bytes(&mut self, i: u8, request: &Request, index: u32, outcome: Bytes) {
        let (session, number) = (request.session, request.number);
        let reply = Reply { session, number, index, outcome };
        self.reply(i, vec![reply]);
    }

    fn reply(&mut self, i: u8, replies: Vec<Reply>) {
        let round = Round(self.round);
        let position = StepPosition { round, vector: Digest([1; 32]) };
        let message = Replies { position, rolled: false, replies };
        self.frame(i, Kind::Replies, body_of(&message));
    }

    fn say_all(&mut self, request: &Request, outcome: &Outcome) {
        (1..=self.n()).for_each(|i| self.say(i, request, outcome));
    }

    fn note(&mut self, i: u8, request: &Request, kind: NoteKind) {
        let note = Note { session: request.session, number: request.number, kind };
        self.frame(i, Kind::Note, body_of(&note));
    }

    fn to(&self, i: u8) -> Vec<Request> {
        self.sends.iter().filter(|(to, _)| *to == i).flat_map(|(_, f)| requests(f)).collect()
    }

    fn numbers(&self, i: u8) -> Vec<u64> {
        self.to(i).iter().map(|q| q.number).collect()
    }

    fn outputs(&self, token: u64) -> Vec<&[u8]> {
        let (_, result) = self.done.iter().find(|(t, _)| *t == token).expect("the call is over");
        result.as_ref().expect("an answer").outputs.iter().map(|o| &o[..]).collect()
    }

    fn error(&self, token: u64) -> &CallError {
        let (_, result) = self.done.iter().find(|(t, _)| *t == token).expect("the call is over");
        result.as_ref().expect_err("no answer")
    }
}

fn command(text: &str) -> Command {
    Command { kind: CommandKind::Execute, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn executed(outputs: &[&str]) -> Outcome {
    let outputs = outputs.iter().map(|o| Bytes::copy_from_slice(o.as_bytes()));
    Outcome::Executed(outputs.collect())
}

fn body_of(message: &impl Message) -> Bytes {
    Frame::parse(message.to_frame(GroupId::MAIN).into()).unwrap().body
}

fn requests(bytes: &Bytes) -> Vec<Request> {
    let mut decoder = FrameDecoder::default();
    decoder.push(bytes.clone());
    let mut requests = vec![];
    while let Some(frame) = decoder.next_frame().unwrap() {
        assert_eq!((frame.kind, frame.group), (Kind::Request, GroupId::MAIN));
        requests.push(Request::from_body(&frame.body).unwrap());
    }
    assert_eq!(decoder.buffered(), 0, "whole frames only");
    requests
}

fn commands(request: &Request) -> Vec<String> {
    let body = RequestBody::parse(&request.body).unwrap();
    body.commands.iter().map(|c| String::from_utf8(c.bytes.to_vec()).unwrap()).collect()
}

// Sessions (O6).

#[test]
fn o6_the_session_is_opened_by_number_zero_before_any_other() {
    let mut w = World::dark(setup(1));
    w.queue(1, &["put"], false);
    w.drained();
    assert!(w.sends.is_empty(), "nobody to send to");
    w.up(1);
    w.up(3);
    w.drained();
    let open = Request { session: SESSION, number: 0, low: 0, body: Bytes::new() };
    assert_eq!((w.to(1), w.to(2), w.to(3)), (vec![open.clone()], vec![], vec![open.clone()]));
    w.sends.clear();
    w.say(1, &open, &Outcome::Opened);
    w.drained();
    assert!(w.sends.is_empty(), "one replica's word opens nothing");
    w.say(3, &open, &Outcome::Opened);
    w.drained();
    assert_eq!(w.numbers(1), [1]);
    assert_eq!(commands(&w.latest()), ["put"]);
    assert_eq!(w.caller.stats().sessions, 1);
}

#[test]
fn o6_numbers_rise_by_one_and_low_is_the_lowest_unanswered() {
    let mut w = World::open(setup(1));
    let sent: Vec<Request> = (1..=3).map(|i| w.call(i, "x")).collect();
    let marks = |q: &Request| (q.number, q.low);
    assert_eq!(sent.iter().map(marks).collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1)]);
    w.say_all(&sent[1], &executed(&["b"]));
    assert_eq!(marks(&w.call(4, "x")), (4, 1), "1 is still unanswered");
    w.say_all(&sent[0], &executed(&["a"]));
    assert_eq!(marks(&w.call(5, "x")), (5, 3));
}

#[test]
fn o6_the_pipeline_bounds_what_is_outstanding() {
    let mut w = World::open(setup(1));
    (1..=6).for_each(|i| w.queue(i, &["x"], false));
    w.drained();
    assert_eq!(w.numbers(2), [1, 2, 3, 4]);
    let first = w.to(2).remove(0);
    w.sends.clear();
    w.say(1, &first, &executed(&["a"]));
    w.drained();
    assert!(w.sends.is_empty(), "a slot is free on acceptance only");
    w.say(2, &first, &executed(&["a"]));
    w.drained();
    assert_eq!(w.numbers(2), [5]);
    assert_eq!((w.caller.stats().outstanding, w.caller.stats().queued), (4, 1));
}

#[test]
fn o6_numbers_never_leave_the_window_above_the_low_water_mark() {
    let mut w = World::open(setup(1));
    w.call(1, "stuck");
    for i in 2..=8 {
        let q = w.call(i, "x");
        assert_eq!(q.number, i);
        w.say_all(&q, &executed(&["a"]));
    }
    w.sends.clear();
    w.queue(9, &["x"], false);
    w.drained();
    assert!(w.sends.is_empty(), "number 9 would be beyond the window of 8 above 1");
    w.at(1000);
    assert!(matches!(w.error(1), CallError::NoMajority { .. }));
}

/// With t + 1 replicas gone for long every call fails in its own time, each one is sent, and
/// what was given up holds nothing back: neither window nor pipeline fill up for good.
#[test]
fn o6_what_is_given_up_stalls_neither_window_nor_pipeline() {
    let mut w = World::open(setup(1));
    w.down(2);
    w.down(3);
    for i in 0..40 {
        w.now = 2000 * i;
        let q = w.call(i, "x");
        assert_eq!(
            (q.number, q.low),
            (i + 1, i + 1),
            "the low-water mark passes what was given up"
        );
        w.at(2000 * i + 1000);
        assert!(matches!(w.error(i), CallError::NoMajority { .. }));
        assert_eq!(w.caller.stats().outstanding, 0);
        assert_eq!(w.caller.next_wake(), None);
    }
    w.up(2);
    let q = w.call(99, "y");
    w.say(1, &q, &executed(&["z"]));
    w.say(2, &q, &executed(&["z"]));
    assert_eq!(w.outputs(99), [b"z"]);
}

#[test]
fn o6_an_evicted_session_fails_what_is_in_it_and_resends_nothing() {
    let mut w = World::open(setup(1));
    let lost = w.call(1, "lost");
    w.call(2, "also lost");
    (3..=5).for_each(|i| w.queue(i, &["later"], false));
    w.drained();
    assert_eq!(w.numbers(1), [1, 2, 3, 4]);
    w.sends.clear();
    let refused = Outcome::Refused(Refusal::UnknownSession);
    w.say(1, &lost, &refused);
    assert!(w.done.is_empty(), "one replica evicts nobody");
    w.say(2, &lost, &refused);
    assert!(matches!(w.error(1), CallError::Refused { why: Refusal::UnknownSession, .. }));
    for token in 2..=4 {
        assert!(matches!(w.error(token), CallError::SessionLost { .. }));
        assert!(w.error(token).may_have_run());
    }
    assert_eq!(w.done.len(), 4, "5 was never sent and may go into another session");
    w.drained();
    let opening = w.latest();
    assert_eq!((opening.number, opening.session == SESSION), (0, false));
    w.say_all(&opening, &Outcome::Opened);
    w.sends.clear();
    w.drained();
    assert_eq!(w.to(1).len(), 1);
    let again = w.latest();
    assert_eq!((again.session, again.number, again.low), (opening.session, 1, 1));
    assert_eq!(commands(&again), ["later"]);
    // What still comes for the old session is of no consequence.
    w.say(1, &lost, &executed(&["a"]));
    w.say(2, &lost, &executed(&["a"]));
    assert_eq!(w.done.len(), 4);
    w.say_all(&again, &executed(&["5"]));
    assert_eq!(w.outputs(5), [b"5"]);
}

#[test]
fn o6_a_refused_opening_fails_who_waits_and_is_tried_again_on_the_next_call_only() {
    let mut w = World::dark(setup(1));
    (1..=3).for_each(|i| w.up(i));
    w.queue(1, &["x"], true);
    w.drained();
    let opening = w.latest();
    w.note(1, &opening, NoteKind::Forbidden);
    assert!(w.done.is_empty());
    w.note(2, &opening, NoteKind::Forbidden);
    assert!(matches!(w.error(1), CallError::NotTaken { why: NoteKind::Forbidden, .. }));
    w.sends.clear();
    w.at(5000);
    assert!(w.sends.is_empty());
    w.queue(2, &["x"], true);
    w.drained();
    assert_eq!(w.latest().number, 0);
    assert_ne!(w.latest().session, opening.session);
}

// Votes (C1).

#[test]
fn c1_a_call_gets_what_t_plus_one_replicas_said() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    w.now = 3;
    w.say(2, &q, &executed(&["lie"]));
    w.say(3, &q, &executed(&["truth"]));
    assert!(w.done.is_empty());
    w.now = 5;
    w.say(1, &q, &executed(&["truth"]));
    assert_eq!(w.outputs(1), [b"truth"]);
    let answer = w.done[0].1.as_ref().unwrap();
    assert_eq!(answer.position.round, Round(1));
    assert_eq!(answer.request.number, 1);
    let e = &answer.explanation;
    assert_eq!(
        (e.agreeing().to_string(), e.dissenting().to_string()),
        ("{R1,R3}".into(), "{R2}".into())
    );
    assert_eq!((e.waited, e.sends), (Duration::from_millis(5), 1));
    assert_eq!(w.caller.stats().replicas[1].dissent, 1);
}

#[test]
fn c1_the_same_output_at_another_place_is_another_value() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    w.say_bytes(1, &q, 0, executed(&["a"]).to_bytes());
    w.say_bytes(2, &q, 1, executed(&["a"]).to_bytes());
    w.round = 2;
    w.say_bytes(3, &q, 0, executed(&["a"]).to_bytes());
    assert!(w.done.is_empty());
}

#[test]
fn c1_a_replica_that_changes_its_word_counts_once() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    for i in 0..10 {
        w.say(2, &q, &executed(&[["a", "b"][i % 2]]));
    }
    assert!(w.done.is_empty());
    assert_eq!(w.caller.stats().replicas[1].changed, 9);
}

#[test]
fn c1_late_dissent_is_counted_once_a_request() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "get");
    w.say(1, &q, &executed(&["a"]));
    w.say(2, &q, &executed(&["a"]));
    for _ in 0..3 {
        w.say(3, &q, &executed(&["late lie"]));
        w.say(2, &q, &executed(&["a"]));
    }
    let dissent: Vec<u64> = w.caller.stats().replicas.iter().map(|s| s.dissent).collect();
    assert_eq!(dissent, [0, 0, 1]);
}

#[test]
fn c1_an_accepted_outcome_that_does_not_fit_is_an_error() {
    let garbage = Bytes::from_static(&[77, 1, 2]);
    let cases = [
        garbage.clone(),
        executed(&["one", "too many"]).to_bytes(),
        executed(&[]).to_bytes(),
        Outcome::Opened.to_bytes(),
    ];
    for outcome in cases {
        let mut w = World::open(setup(1));
        let q = w.call(1, "get");
        w.say_bytes(1, &q, 0, outcome.clone());
        w.say_bytes(2, &q, 0, outcome);
        assert!(matches!(w.error(1), CallError::Unreadable { .. }));
        let next = w.call(2, "get");
        w.say_all(&next, &executed(&["ok"]));
        assert_eq!(w.outputs(2), [b"ok"]);
    }
    let mut w = World::dark(setup(1));
    (1..=3).for_each(|i| w.up(i));
    w.queue(1, &["x"], true);
    w.drained();
    let opening = w.latest();
    (1..=3).for_each(|i| w.say_bytes(i, &opening, 0, garbage.clone()));
    assert!(matches!(w.error(1), CallError::Unreadable { .. }));
}

#[test]
fn c1_a_refusal_by_t_plus_one_is_an_answer() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    let refused = Outcome::Refused(Refusal::ServicePanicked);
    w.say(1, &q, &refused);
    w.say(3, &q, &refused);
    assert!(matches!(w.error(1), CallError::Refused { why: Refusal::ServicePanicked, .. }));
    assert!(!w.error(1).may_have_run());
    assert_eq!(w.call(2, "x").session, SESSION, "the session goes on");
}

#[test]
fn notes_of_t_plus_one_replicas_end_a_call_that_cannot_be_accepted() {
    for why in [NoteKind::Forbidden, NoteKind::Unacceptable, NoteKind::NumberTaken] {
        let mut w = World::open(setup(2));
        let q = w.call(1, "x");
        w.note(1, &q, why);
        w.note(1, &q, why);
        w.note(2, &q, why);
        w.note(4, &q, NoteKind::Busy);
        assert!(w.done.is_empty(), "t liars may say so, too");
        w.note(5, &q, why);
        match w.error(1) {
            CallError::NotTaken { why: said, explanation } => {
                assert_eq!(*said, why);
                assert_eq!(explanation.ballots[4].verdict, Verdict::Note(why));
            }
            other => panic!("{other}"),
        }
        assert_eq!(w.call(2, "x").low, 2);
    }
}

// Repeats (C2).

#[test]
fn k17_repeats_are_the_same_bytes_at_growing_distances() {
    let mut w = World::open(setup(1));
    w.call(1, "x");
    w.call(2, "y");
    let first: Vec<Bytes> =
        w.sends.iter().filter(|(to, _)| *to == 2).map(|s| s.1.clone()).collect();
    w.say_all(&w.to(2)[0].clone(), &executed(&["a"]));
    w.sends.clear();
    let mut times = vec![];
    for ms in 1..1000 {
        w.at(ms);
        for (to, frame) in w.sends.drain(..) {
            assert_eq!(
                frame, first[1],
                "the digest covers the low-water mark: not one bit changes"
            );
            if to == 2 {
                times.push(ms);
            }
        }
    }
    assert_eq!(times, [100, 300, 600, 900]);
    assert_eq!(w.caller.stats().repeats, 4);
}

#[test]
fn c2_next_wake_is_enough_to_repeat_and_to_give_up() {
    let mut w = World::open(setup(1));
    assert_eq!(w.caller.next_wake(), None);
    w.call(1, "x");
    let mut wakes = vec![];
    while let Some(at) = w.caller.next_wake() {
        assert!(at.0 > w.now * MS, "no wake in the past");
        w.at(at.0 / MS);
        wakes.push(w.now);
    }
    assert_eq!(wakes, [100, 300, 600, 900, 1000]);
    assert!(matches!(w.error(1), CallError::NoMajority { .. }));
}

#[test]
fn c2_a_repeat_goes_to_those_that_have_not_voted() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    w.say(1, &q, &executed(&["a"]));
    w.sends.clear();
    w.at(100);
    assert_eq!((w.numbers(1), w.numbers(2), w.numbers(3)), (vec![], vec![1], vec![1]));
    w.say(2, &q, &executed(&["b"]));
    w.say(3, &q, &executed(&["c"]));
    w.sends.clear();
    w.at(300);
    assert_eq!(w.sends.len(), 3, "all have voted without a majority: all are asked again");
}

#[test]
fn c2_a_replica_whose_link_comes_up_gets_everything_unanswered_in_one_send() {
    let mut w = World::open(setup(1));
    w.down(3);
    let sent: Vec<Request> = (1..=3).map(|i| w.call(i, "x")).collect();
    w.say(1, &sent[1], &executed(&["a"]));
    w.say(2, &sent[1], &executed(&["a"]));
    w.sends.clear();
    w.up(3);
    w.queue(4, &["new"], false);
    w.drained();
    assert_eq!(w.sends.iter().filter(|(to, _)| *to == 3).count(), 1);
    assert_eq!(w.numbers(3), [1, 3, 4]);
    assert_eq!(w.numbers(1), [4]);
    assert_eq!(w.to(3)[0], sent[0]);
}

#[test]
fn what_one_drained_sends_goes_in_one_action_a_replica() {
    let mut w = World::open(setup(1));
    w.call(1, "x");
    w.sends.clear();
    w.now = 100;
    (2..=3).for_each(|i| w.queue(i, &["y"], false));
    w.drained();
    assert_eq!(w.sends.len(), 3);
    assert_eq!(w.numbers(2), [1, 2, 3], "a repeat and two new ones");
}

#[test]
fn busy_is_waited_out_until_the_deadline() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    (1..=3).for_each(|i| w.note(i, &q, NoteKind::Busy));
    assert!(w.done.is_empty());
    w.sends.clear();
    w.drained();
    assert!(w.sends.is_empty(), "not at once");
    w.at(100);
    assert_eq!(w.numbers(1), [1]);
    (1..=3).for_each(|i| w.note(i, &q, NoteKind::Busy));
    w.at(999);
    assert!(w.done.is_empty());
    w.at(1000);
    match w.error(1) {
        CallError::NoMajority { explanation } => {
            assert!(explanation.ballots.iter().all(|b| b.verdict == Verdict::Note(NoteKind::Busy)));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn c2_no_majority_says_who_answered_and_who_is_silent_since_when() {
    let mut w = World::open(setup(1));
    w.at(50);
    w.down(3);
    w.at(200);
    let q = w.call(1, "x");
    w.now = 210;
    w.say(1, &q, &executed(&["a"]));
    w.at(1200);
    let error = w.error(1);
    assert_eq!(error.to_string(), "no majority in time; the request may still be executed");
    assert!(error.may_have_run());
    let e = error.explanation().unwrap();
    assert_eq!(e.waited, Duration::from_millis(1000));
    assert_eq!(e.ballots[0].after, Some(Duration::from_millis(10)));
    assert_eq!(e.ballots[1].verdict, Verdict::Silent { down_for: None });
    let down_for = Some(Duration::from_millis(1150));
    assert_eq!(e.ballots[2].verdict, Verdict::Silent { down_for });
    assert_eq!(w.caller.stats().timeouts, 1);
    // A late majority changes nothing.
    w.say(2, &q, &executed(&["a"]));
    assert_eq!(w.done.len(), 1);
}

#[test]
fn c2_a_call_that_was_never_sent_says_so() {
    let mut w = World::dark(setup(1));
    w.up(1);
    w.queue(1, &["x"], true);
    w.drained();
    w.say(1, &w.latest(), &Outcome::Opened);
    let early = w.caller.explain(Token(1)).unwrap();
    assert_eq!((early.sends, early.agreeing().to_string()), (0, "{R1}".into()));
    w.at(1000);
    let error = w.error(1);
    assert_eq!(error.to_string(), "no majority in time; the request was never sent");
    assert!(!error.may_have_run());
    assert_eq!(error.explanation().unwrap().silent().to_string(), "{R2,R3}");
    // The opening goes on: the next call finds the session open if the others come back.
    w.sends.clear();
    w.up(2);
    w.drained();
    assert_eq!(w.numbers(2), [0]);
}

#[test]
fn c2_explains_a_call_on_request() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    w.say(2, &q, &executed(&["a"]));
    let e = w.caller.explain(Token(1)).unwrap();
    assert_eq!(
        (e.agreeing().to_string(), e.silent().to_string()),
        ("{R2}".into(), "{R1,R3}".into())
    );
    w.say(1, &q, &executed(&["a"]));
    assert_eq!(w.caller.explain(Token(1)), None);
}

#[test]
fn forgotten_calls_get_no_answer_but_are_finished() {
    let mut w = World::open(setup(1));
    w.queue(1, &["a"], true);
    w.queue(2, &["b"], true);
    w.drained();
    let q = w.latest();
    w.input(Input::Forget { token: Token(1) });
    w.say_all(&q, &executed(&["1", "2"]));
    assert_eq!(w.done.len(), 1);
    assert_eq!(w.outputs(2), [b"2"]);
    w.queue(3, &["c"], true);
    w.input(Input::Forget { token: Token(3) });
    w.sends.clear();
    w.drained();
    assert!(w.sends.is_empty(), "what was not sent yet is dropped");
}

// Coalescing.

#[path = "liars_tests.rs"]
mod liars;

#[path = "outcome_tests.rs"]
mod outcome;

#[path = "limits_tests.rs"]
mod limits;

#[path = "receipts_tests.rs"]
mod receipts;
#[path = "wholes_tests.rs"]
mod wholes;
