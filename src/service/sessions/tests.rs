use super::*;
use crate::types::Round;

const CLIENT: ClientId = ClientId([1; 32]);
const LIMITS: SessionLimits = SessionLimits { max_sessions: 3, window: 4, reply_bytes: 1 << 20 };

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn reply(round: u64, bytes: usize) -> StoredReply {
    let position = StepPosition { round: Round(round), vector: digest(9) };
    StoredReply { position, index: 0, outcome: vec![7; bytes].into() }
}

/// Admits a request, records a reply if it ran, and says what came of it in a word.
fn order(t: &mut SessionTable, session: u64, number: u64, low: u64, d: u8) -> &'static str {
    let id = SessionId(session);
    let word = match t.admit(&CLIENT, id, number, low, &digest(d)) {
        Admission::Open => "open",
        Admission::Fresh => "fresh",
        Admission::Repeat(_) => return "repeat",
        Admission::Nothing => return "nothing",
        Admission::Refused(Refusal::UnknownSession) => return "unknown",
        Admission::Refused(Refusal::BelowLowWater) => return "below",
        Admission::Refused(Refusal::BeyondWindow) => return "beyond",
        Admission::Refused(other) => panic!("{other}"),
    };
    t.record(&CLIENT, id, number, &digest(d), reply(t.uses, 10));
    word
}

#[test]
fn o6_opening_again_gives_the_same_session_and_answer() {
    let mut t = SessionTable::new(LIMITS);
    assert_eq!(order(&mut t, 5, 1, 1, 1), "unknown");
    assert_eq!(order(&mut t, 5, 0, 0, 1), "open");
    assert_eq!(order(&mut t, 5, 1, 1, 2), "fresh");
    assert_eq!(t.admit(&CLIENT, SessionId(5), 0, 9, &digest(8)), Admission::Repeat(&reply(1, 10)));
    assert_eq!(order(&mut t, 5, 1, 1, 2), "repeat");
}

#[test]
fn k1_k2_of_two_requests_with_one_number_the_first_runs_and_the_other_gets_nothing() {
    let mut t = SessionTable::new(LIMITS);
    order(&mut t, 5, 0, 0, 1);
    assert_eq!(order(&mut t, 5, 1, 1, 2), "fresh");
    assert_eq!(order(&mut t, 5, 1, 1, 3), "nothing");
    assert_eq!(t.lookup(&CLIENT, SessionId(5), 1, &digest(2)), Lookup::Reply(&reply(2, 10)));
    assert_eq!(t.lookup(&CLIENT, SessionId(5), 1, &digest(3)), Lookup::Another(&reply(2, 10)));
    // Nor does the other raise the mark.
    assert_eq!(t.low(&CLIENT, SessionId(5)), Some(1));
}

/// K11: whoever opens sessions without end takes them from itself.
#[test]
fn o6_a_client_that_opens_many_sessions_evicts_its_own() {
    let mut t = SessionTable::new(LIMITS);
    let other = ClientId([2; 32]);
    assert_eq!(t.admit(&other, SessionId(1), 0, 0, &digest(1)), Admission::Open);
    t.record(&other, SessionId(1), 0, &digest(1), reply(1, 10));
    for session in 10..30 {
        assert_eq!(order(&mut t, session, 0, 0, 1), "open");
    }
    assert!(t.knows(&other, SessionId(1)), "it is the least recently used of all");
    assert!(t.knows(&CLIENT, SessionId(29)) && t.knows(&CLIENT, SessionId(28)));
    assert_eq!((t.len(), order(&mut t, 27, 1, 1, 2)), (3, "unknown"));
}

#[test]
fn k3_gaps_regress_and_the_largest_numbers() {
    let mut t = SessionTable::new(LIMITS);
    order(&mut t, 5, 0, 0, 1);
    for (number, low, expected) in [
        (5, 1, "beyond"),
        (u64::MAX, 1, "beyond"),
        (u64::MAX, 0, "beyond"),
        (3, 4, "below"),
        (4, 1, "fresh"),
        (2, 0, "fresh"),
        (6, 3, "fresh"),
        (2, 1, "below"),
        (7, 0, "beyond"),
        (3, 1, "fresh"),
        (u64::MAX, u64::MAX, "fresh"),
        (u64::MAX, u64::MAX, "repeat"),
        (u64::MAX - 1, 1, "below"),
    ] {
        assert_eq!(order(&mut t, 5, number, low, 2), expected, "number {number}, low {low}");
    }
    assert_eq!(t.low(&CLIENT, SessionId(5)), Some(u64::MAX));
    assert_eq!(t.reply_bytes(), SessionLimits::REPLY_OVERHEAD + 10);
    let mut restored = SessionTable::new(LIMITS);
    restored.restore(&t.snapshot()).unwrap();
    assert_eq!(order(&mut restored, 5, u64::MAX, u64::MAX, 2), "repeat");
}

#[test]
fn a_refused_request_leaves_the_mark_where_it_is() {
    let mut t = SessionTable::new(LIMITS);
    order(&mut t, 5, 0, 0, 1);
    assert_eq!(order(&mut t, 5, 100, 50, 2), "beyond");
    assert_eq!(order(&mut t, 5, 2, 100, 2), "below");
    assert_eq!(t.low(&CLIENT, SessionId(5)), Some(1));
}

#[test]
fn k11_the_session_not_used_for_longest_is_evicted_and_then_refused() {
    let mut t = SessionTable::new(LIMITS);
    for session in [1, 2, 3] {
        assert_eq!(order(&mut t, session, 0, 0, 1), "open");
    }
    assert_eq!(order(&mut t, 1, 1, 1, 1), "fresh");
    assert_eq!(order(&mut t, 4, 0, 0, 1), "open");
    assert_eq!(order(&mut t, 2, 1, 1, 1), "unknown");
    assert!(!t.knows(&CLIENT, SessionId(2)) && t.knows(&CLIENT, SessionId(1)));
    // A look at a session is no use of it: replicas look at other times.
    assert_ne!(t.lookup(&CLIENT, SessionId(3), 0, &digest(0)), Lookup::Nothing);
    order(&mut t, 5, 0, 0, 1);
    assert!(!t.knows(&CLIENT, SessionId(3)));
    order(&mut t, 6, 0, 0, 1);
    assert!(!t.knows(&CLIENT, SessionId(1)));
    assert_eq!(t.reply_bytes(), 0, "the reply went with its session");
}

#[test]
fn large_replies_push_out_their_own_session_and_nobody_elses() {
    let mut t = SessionTable::new(SessionLimits { reply_bytes: 4096, ..LIMITS });
    order(&mut t, 1, 0, 0, 1);
    order(&mut t, 2, 0, 0, 1);
    assert_eq!(order(&mut t, 1, 1, 1, 1), "fresh");
    for number in 1..=4 {
        let id = SessionId(2);
        assert_eq!(t.admit(&CLIENT, id, number, 1, &digest(1)), Admission::Fresh);
        t.record(&CLIENT, id, number, &digest(1), reply(0, 1000));
        assert!(t.reply_bytes() <= 4096);
    }
    assert_eq!(order(&mut t, 1, 1, 1, 1), "repeat");
    // 4 of 1192 and one of 202 are above 4096, and 7/8 of that hold 2 and the one.
    assert_eq!(order(&mut t, 2, 2, 1, 1), "nothing");
    assert_eq!(order(&mut t, 2, 3, 1, 1), "repeat");
    assert!(t.is_spent(&CLIENT, SessionId(2), 1) && !t.is_spent(&CLIENT, SessionId(2), 5));
    // One that is larger than everything is not kept either.
    t.admit(&CLIENT, SessionId(1), 2, 1, &digest(1));
    t.record(&CLIENT, SessionId(1), 2, &digest(1), reply(0, 5000));
    assert_eq!(order(&mut t, 1, 2, 1, 1), "nothing");
    assert_eq!(order(&mut t, 2, 4, 1, 1), "repeat");
}

#[test]
fn digests_tell_apart_what_snapshots_tell_apart() {
    let mut t = SessionTable::new(LIMITS);
    let mut seen = vec![t.digest()];
    for (session, number) in [(1, 0), (2, 0), (1, 1), (1, 1), (1, 3), (1, 9), (3, 0), (4, 0)] {
        order(&mut t, session, number, 1, 1);
        let digest = t.digest();
        assert!(!seen.contains(&digest), "session {session}, number {number}");
        seen.push(digest);
        let mut restored = SessionTable::new(LIMITS);
        restored.restore(&t.snapshot()).unwrap();
        assert_eq!(restored.digest(), digest);
        assert_eq!(restored.snapshot(), t.snapshot());
        assert_eq!(restored.reply_bytes(), t.reply_bytes());
    }
}

#[test]
fn a_snapshot_above_the_limits_is_refused_and_changes_nothing() {
    let mut t = SessionTable::new(LIMITS);
    for (session, number) in [(1, 0), (2, 0), (1, 4), (2, 1)] {
        order(&mut t, session, number, 1, 1);
    }
    for (limits, part) in [
        (SessionLimits { max_sessions: 1, ..LIMITS }, "sessions"),
        (SessionLimits { window: 3, ..LIMITS }, "numbers"),
        (SessionLimits { reply_bytes: 300, ..LIMITS }, "bytes of replies"),
    ] {
        let mut other = SessionTable::new(limits);
        order(&mut other, 7, 0, 0, 1);
        let before = other.snapshot();
        let refused = other.restore(&t.snapshot()).unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
        assert_eq!(other.snapshot(), before);
    }
}

#[test]
fn a_digest_taken_before_a_reply_is_recorded_does_not_hide_it() {
    let mut t = SessionTable::new(LIMITS);
    for number in [0, 1] {
        t.admit(&CLIENT, SessionId(1), number, 1, &digest(1));
        let before = t.digest();
        t.record(&CLIENT, SessionId(1), number, &digest(1), reply(1, 10));
        assert_ne!(t.digest(), before, "number {number}");
    }
}
