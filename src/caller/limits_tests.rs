//! Limits, strangers' words and deadlines.

use super::*;

#[test]
fn calls_share_a_request_up_to_the_limit_and_get_their_own_outputs() {
    let mut w = World::open(setup(1));
    w.queue(1, &["a"], true);
    w.queue(2, &["b", "c"], true);
    w.queue(3, &["d"], true);
    w.queue(4, &["e"], true);
    w.queue(5, &["alone"], false);
    w.queue(6, &["f"], true);
    w.drained();
    let sent = w.to(1);
    let packed: Vec<Vec<String>> = sent.iter().map(commands).collect();
    let expected: [&[&str]; 4] = [&["a", "b", "c", "d"], &["e"], &["alone"], &["f"]];
    assert_eq!(packed, expected);
    w.say_all(&sent[0], &executed(&["1", "2", "3", "4"]));
    assert_eq!(
        (w.outputs(1), w.outputs(2), w.outputs(3)),
        (vec![&b"1"[..]], vec![&b"2"[..], b"3"], vec![&b"4"[..]])
    );
}

#[test]
fn calls_share_a_request_only_as_far_as_its_bytes_go() {
    let limits = OrderLimits { max_request: 4 + 2 * 15, ..setup(1).limits };
    let mut w = World::open(Setup { limits, ..setup(1) });
    for i in 1..=3 {
        w.queue(i, &["0123456789"], true);
    }
    w.drained();
    assert_eq!(w.to(1).iter().map(|q| q.body.len()).collect::<Vec<_>>(), [34, 19]);
}

#[test]
fn calls_that_never_fit_are_refused_at_once() {
    let limits = OrderLimits { max_request: 30, ..setup(1).limits };
    let mut w = World::open(Setup { limits, ..setup(1) });
    w.queue(1, &[], true);
    w.queue(2, &["1", "2", "3", "4", "5"], true);
    w.queue(3, &["0123456789012345678901"], true);
    w.queue(4, &["012345678901234567890"], true);
    for (token, names) in [(1, "at least one"), (2, "max_commands"), (3, "max_request")] {
        let text = w.error(token).to_string();
        assert!(text.contains(names), "{text}");
    }
    assert_eq!(w.done.len(), 3);
}

// Hostile replicas.

#[test]
fn replies_that_fit_nothing_are_counted_and_ignored() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    let outcome = executed(&["a"]).to_bytes();
    for (session, number) in [(SessionId(1), 1), (SESSION, 2), (SESSION, u64::MAX)] {
        for i in 1..=3 {
            w.reply(i, vec![Reply { session, number, index: 0, outcome: outcome.clone() }]);
            w.note(i, &Request { session, number, ..q.clone() }, NoteKind::Forbidden);
        }
    }
    assert!(w.done.is_empty() && w.closed.is_empty());
    assert!(w.caller.stats().replicas.iter().all(|s| s.strays == 6));
    w.say_all(&q, &executed(&["a"]));
    assert_eq!(w.outputs(1), [b"a"]);
}

#[test]
fn an_outcome_that_no_good_replica_sends_is_not_kept() {
    let limits = OrderLimits { max_output: 1000, ..setup(1).limits };
    let mut w = World::open(Setup { limits, ..setup(1) });
    let q = w.call(1, "x");
    w.say_bytes(1, &q, 0, executed(&["x".repeat(1000).as_str()]).to_bytes());
    assert_eq!(w.caller.explain(Token(1)).unwrap().silent().len(), 2);
    w.say_bytes(2, &q, 0, vec![0; 1100].into());
    assert_eq!(w.caller.explain(Token(1)).unwrap().silent().len(), 2);
    assert_eq!(w.caller.stats().replicas[1].strays, 1);
}

#[test]
fn a_list_of_many_replies_for_one_request_is_one_vote() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    let outcome = executed(&["a"]).to_bytes();
    let reply = Reply { session: SESSION, number: q.number, index: 0, outcome };
    w.reply(1, vec![reply; 10_000]);
    assert!(w.done.is_empty());
}

#[test]
fn what_is_no_message_closes_the_link_and_silences_it() {
    let empty = Replies { position: StepPosition::default(), rolled: false, replies: vec![] };
    let cases = [
        (Kind::Replies, Bytes::from_static(b"garbage")),
        (Kind::Replies, body_of(&empty)),
        (Kind::Note, Bytes::from_static(b"")),
        (Kind::Ping, body_of(&Ping { sent: 1, wall: 2 })),
        (
            Kind::Request,
            body_of(&Request { session: SESSION, number: 1, low: 1, body: Bytes::new() }),
        ),
    ];
    for (kind, body) in cases {
        let mut w = World::open(setup(1));
        let q = w.call(1, "x");
        w.frame(2, kind, body);
        assert_eq!(w.closed.len(), 1, "{kind:?}");
        w.say(2, &q, &executed(&["a"]));
        w.say(1, &q, &executed(&["a"]));
        assert!(w.done.is_empty(), "the closed link does not vote");
        w.up(2);
        w.say(2, &q, &executed(&["a"]));
        assert_eq!(w.outputs(1), [b"a"]);
        assert_eq!(w.caller.stats().replicas[1].closed, 1);
    }
}

#[test]
fn other_groups_and_replicas_outside_of_the_roster_are_ignored() {
    let mut w = World::open(setup(1));
    let q = w.call(1, "x");
    for i in 4..=31 {
        w.up(i);
        w.say(i, &q, &executed(&["a"]));
        w.down(i);
    }
    let frame = Frame { kind: Kind::Replies, group: GroupId(7), body: Bytes::from_static(b"?") };
    w.input(Input::Frames { replica: r(1), frames: vec![frame] });
    assert!(w.done.is_empty() && w.closed.is_empty());
}

#[test]
fn a_restarted_replica_is_named_as_such() {
    let mut w = World::open(setup(1));
    w.down(2);
    let hello = Hello {
        version: PROTOCOL_VERSION,
        cluster: Digest([9; 32]),
        replica: r(2),
        incarnation: 2,
        restarted: true,
        fields: vec![],
        groups: vec![],
    };
    w.input(Input::Up { replica: r(2), hello });
    w.call(1, "x");
    let e = w.caller.explain(Token(1)).unwrap();
    assert_eq!(e.ballots[1].verdict, Verdict::Note(NoteKind::Restarted));
}

/// Calls in one request end each in its own time, and outputs still go to whom they belong.
#[test]
fn c2_each_call_has_its_own_deadline() {
    let mut w = World::dark(setup(1));
    w.queue(1, &["a"], true);
    w.at(400);
    w.queue(2, &["b"], true);
    (1..=3).for_each(|i| w.up(i));
    w.drained();
    w.say_all(&w.latest(), &Outcome::Opened);
    w.drained();
    let q = w.latest();
    assert_eq!(commands(&q), ["a", "b"]);
    w.at(1000);
    assert!(matches!(w.error(1), CallError::NoMajority { .. }));
    assert_eq!((w.done.len(), w.caller.stats().outstanding), (1, 1));
    w.now = 1100;
    w.say_all(&q, &executed(&["1", "2"]));
    assert_eq!(w.outputs(2), [b"2"]);
    let waited = w.done[1].1.as_ref().unwrap().explanation.waited;
    assert_eq!(waited, Duration::from_millis(700), "from the call, not from the request");
    assert_eq!((w.done.len(), w.caller.stats().timeouts), (2, 1));
}

#[test]
fn time_that_goes_back_is_ignored() {
    let mut w = World::open(setup(1));
    w.at(500);
    w.at(0);
    w.call(1, "x");
    w.at(999);
    assert!(w.done.is_empty(), "the call came at 500");
    w.at(1500);
    assert_eq!(w.done.len(), 1);
}

#[test]
fn o6_every_replacement_session_has_another_nonce() {
    let mut w = World::open(setup(1));
    let mut nonces = vec![SESSION];
    for token in 0..5 {
        let q = w.call(token, "x");
        assert_eq!((q.session, q.number), (*nonces.last().unwrap(), 1));
        w.say_all(&q, &Outcome::Refused(Refusal::UnknownSession));
        w.drained();
        let opening = w.latest();
        assert!(opening.number == 0 && !nonces.contains(&opening.session));
        nonces.push(opening.session);
        w.say_all(&opening, &Outcome::Opened);
    }
}

/// From eight outstanding requests on new ones wait for more of them, no longer than `gather` since
/// the last ones left.
#[test]
fn calls_that_come_while_many_are_outstanding_leave_together() {
    let limits = OrderLimits { window: 64, ..OrderLimits::default() };
    let gather = Duration::from_millis(2);
    let mut w = World::open(Setup { limits, pipeline: 64, gather, ..setup(1) });
    for i in 1..=8 {
        assert_eq!(w.call(i, "x").number, i, "few requests wait for nothing");
    }
    w.sends.clear();
    let left = w.now;
    for i in 9..=11 {
        w.queue(i, &["x"], true);
        w.drained();
    }
    assert!(w.sends.is_empty());
    assert_eq!(w.caller.next_wake(), Some(Instant(0) + Duration::from_millis(left + 2)));
    w.at(left + 1);
    assert!(w.sends.is_empty());
    w.at(left + 2);
    assert_eq!((w.numbers(1), commands(&w.latest()).len()), (vec![9], 3));
    // The first after a pause does not wait, and an answer may leave fewer than eight.
    w.at(left + 10);
    assert_eq!(w.call(12, "x").number, 10);
    w.queue(13, &["x"], true);
    w.drained();
    assert_eq!(w.numbers(1), [9, 10]);
    let all = w.to(1);
    w.say_all(&all[0], &executed(&["a", "b", "c"]));
    w.drained();
    assert_eq!(w.numbers(1), [9, 10], "nine are outstanding");
    w.at(left + 12);
    assert_eq!(w.numbers(1), [9, 10, 11]);
    // Without a link nothing leaves, and nobody is woken for it again and again.
    w.queue(14, &["x"], true);
    w.drained();
    (1..=3).for_each(|i| w.down(i));
    w.at(left + 20);
    assert!(w.caller.next_wake() > Some(Instant(0) + Duration::from_millis(left + 20)));
}
