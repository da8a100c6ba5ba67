//! What became of a request (rule C2): ids, withdrawals, sessions that begin in another's place.

use super::*;
use crate::types::{CallId, CallPart};

fn id(number: u64) -> CallId {
    CallId { chain: 0, session: SESSION, number, part: None }
}

/// All links are up, and the session is opened as the caller asks.
fn opening(start: Start) -> (World, Request) {
    let mut w = World::dark(setup(1));
    w.caller = Caller::new(setup(1), Instant(0)).starting(start);
    (1..=3).for_each(|i| w.up(i));
    w.drained();
    let opening = w.latest();
    w.sends.clear();
    (w, opening)
}

fn opened(start: Start) -> World {
    let (mut w, opening) = opening(start);
    w.say_all(&opening, &Outcome::Opened);
    w
}

fn withdraw(number: u64) -> (World, Request) {
    let mut w = opened(Start { first: number, cautious: true, ..Start::default() });
    w.input(Input::Withdraw { token: Token(1) });
    w.drained();
    let sent = w.latest();
    (w, sent)
}

fn id_of(w: &World, token: u64) -> Option<CallId> {
    let (_, result) = w.done.iter().find(|(t, _)| *t == token).expect("the call is over");
    match result {
        Ok(answer) => answer.explanation.id,
        Err(error) => error.explanation().and_then(|e| e.id),
    }
}

#[test]
fn c2_a_number_is_withdrawn_with_the_lowest_mark_that_fits() {
    for (number, low) in [(1, 1), (8, 1), (9, 2), (42, 35)] {
        let (mut w, sent) = withdraw(number);
        let expected = Request { session: SESSION, number, low, body: Bytes::new() };
        assert_eq!(sent, expected, "the window is 8");
        w.say_all(&sent, &executed(&["a", "b"]));
        assert_eq!(w.outputs(1), [b"a", b"b"]);
        assert_eq!(id_of(&w, 1), Some(id(number)));
    }
}

#[test]
fn c2_who_withdraws_is_told_what_the_order_says() {
    let (mut w, sent) = withdraw(7);
    w.say(1, &sent, &Outcome::Withdrawn);
    assert!(w.done.is_empty(), "one replica's word is none");
    w.say(2, &sent, &Outcome::Withdrawn);
    assert!(matches!(w.error(1), CallError::Withdrawn { .. }) && !w.error(1).may_have_run());
    let (mut w, sent) = withdraw(7);
    w.say_all(&sent, &Outcome::Refused(Refusal::ReplyGone));
    assert!(matches!(w.error(1), CallError::Refused { why: Refusal::ReplyGone, .. }));
    // It is repeated like everything else, with the same bytes.
    let (mut w, sent) = withdraw(7);
    w.sends.clear();
    w.at(100);
    assert_eq!((w.to(1), w.to(3)), (vec![sent.clone()], vec![sent]));
}

#[test]
fn c2_a_call_whose_number_was_withdrawn_is_told_so() {
    let mut w = World::open(setup(1));
    let sent = w.call(1, "x");
    w.say_all(&sent, &Outcome::Withdrawn);
    assert!(matches!(w.error(1), CallError::Withdrawn { .. }));
    assert_eq!(id_of(&w, 1), Some(id(1)));
}

#[test]
fn o6_a_cautious_opening_that_is_refused_fails_what_waits_unsent() {
    let (mut w, opening) = opening(Start { cautious: true, ..Start::default() });
    assert_eq!((opening.number, opening.low), (0, 1));
    w.queue(1, &["x"], false);
    w.drained();
    w.say_all(&opening, &Outcome::Refused(Refusal::UnknownSession));
    let error = w.error(1);
    assert!(matches!(error, CallError::Refused { why: Refusal::UnknownSession, .. }));
    assert_eq!(error.explanation().map(|e| (e.sends, e.id)), Some((0, None)));
}

#[test]
fn o6_who_goes_on_begins_another_session_if_its_own_was_evicted() {
    let start = Start { first: 9, cautious: true, goes_on: true, ..Start::default() };
    let (mut w, opening) = opening(start);
    w.queue(1, &["x"], false);
    w.drained();
    w.say_all(&opening, &Outcome::Refused(Refusal::UnknownSession));
    w.drained();
    let second = w.latest();
    assert_eq!((second.number, second.low), (0, 0));
    assert_ne!(second.session, SESSION);
    w.say_all(&second, &Outcome::Opened);
    w.drained();
    assert_eq!((w.latest().number, w.latest().session), (1, second.session));
    assert!(w.done.is_empty());
    // If its session is there it goes on with the next number.
    let mut w = opened(start);
    let sent = w.call(2, "y");
    assert_eq!((sent.session, sent.number, sent.low), (SESSION, 9, 9));
}

#[test]
fn c2_ids_are_told_before_requests_leave_and_name_each_call() {
    let mut w = opened(Start { numbers: true, remembers: true, ..Start::default() });
    w.queue(1, &["a"], true);
    w.queue(2, &["b", "c"], true);
    let mut out = Actions::new();
    w.caller.handle(Instant(0), Input::Drained, &mut out);
    let parts = vec![(Token(1), 1), (Token(2), 2)];
    assert_eq!(out[0], Action::Numbered { id: id(1), parts });
    assert!(matches!(out[1], Action::Send { .. }) && out.len() == 4);
    let sent = Request {
        session: SESSION,
        number: 1,
        low: 1,
        body: RequestBody { commands: ["a", "b", "c"].map(command).to_vec() }.to_bytes(),
    };
    w.say_all(&sent, &executed(&["x", "y", "z"]));
    let part = |first, count| Some(CallId { part: Some(CallPart { first, count }), ..id(1) });
    assert_eq!((id_of(&w, 1), id_of(&w, 2)), (part(0, 1), part(1, 2)));
    assert_eq!(w.noted, [Action::Over { id: id(1) }]);
    // Alone in its request it is the whole of it.
    let sent = w.call(3, "d");
    w.say_all(&sent, &executed(&["x"]));
    assert_eq!(id_of(&w, 3), Some(id(2)));
}

#[test]
fn c2_what_was_given_up_is_not_over_and_its_reply_is_asked_to_be_kept() {
    let mut w = opened(Start { numbers: true, remembers: true, ..Start::default() });
    w.call(1, "x");
    w.at(1000);
    assert!(matches!(w.error(1), CallError::NoMajority { .. }));
    assert_eq!(id_of(&w, 1), Some(id(1)), "whoever is told so can ask");
    assert!(!w.noted.contains(&Action::Over { id: id(1) }));
    let mut marks = Vec::new();
    for token in 2..=7 {
        let sent = w.call(token, "y");
        marks.push((sent.number, sent.low));
        w.say_all(&sent, &executed(&["z"]));
    }
    // Half of the window is 4.
    assert_eq!(marks, [(2, 1), (3, 1), (4, 1), (5, 1), (6, 6), (7, 7)]);
}
