use super::*;
use crate::types::{Assurance, Digest, Members, Round};
use proptest::prelude::*;
use std::time::Duration;

fn r(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn voter(t: u8) -> Voter {
    Voter::new(Ensemble::new(t).unwrap())
}

fn value(round: u64, vector: u8, index: u32, outcome: &[u8]) -> Value {
    let position = StepPosition { round: Round(round), vector: Digest([vector; 32]) };
    Value { position, index, outcome: Bytes::copy_from_slice(outcome) }
}

fn good() -> Value {
    value(7, 1, 3, b"good")
}

const NOW: Instant = Instant(1_000);
const ACCEPTED: Heard = Heard { changed: false, accepted: true };
const COUNTED: Heard = Heard { changed: false, accepted: false };
const CHANGED: Heard = Heard { changed: true, accepted: false };

#[test]
fn c1_accepts_with_the_vote_that_makes_t_plus_one_equal() {
    let mut v = voter(2);
    assert_eq!(v.hear(r(1), NOW, good()), COUNTED);
    assert_eq!(v.hear(r(4), NOW, good()), COUNTED);
    assert_eq!(v.accepted(), None);
    assert_eq!(v.hear(r(2), NOW, good()), ACCEPTED);
    assert_eq!(v.accepted(), Some(&good()));
    assert_eq!(v.hear(r(3), NOW, good()), COUNTED, "accepted once only");
}

#[test]
fn c1_position_index_and_outcome_must_all_be_equal() {
    for other in [
        value(8, 1, 3, b"good"),
        value(7, 2, 3, b"good"),
        value(7, 1, 4, b"good"),
        value(7, 1, 3, b"goof"),
        value(7, 1, 3, b""),
    ] {
        let mut v = voter(1);
        v.hear(r(1), NOW, good());
        assert_eq!(v.hear(r(2), NOW, other), COUNTED);
        assert_eq!(v.accepted(), None);
    }
}

/// B19: t equal wrong replies come first; the voter waits past them and past each other one.
#[test]
fn c1_waits_past_any_number_of_differing_replies() {
    let mut v = voter(3);
    for i in 1..=3 {
        v.hear(r(i), NOW, value(7, 9, 3, b"wrong"));
    }
    assert_eq!(v.accepted(), None);
    for i in 4..=6 {
        assert_eq!(v.hear(r(i), NOW, good()), COUNTED);
    }
    assert_eq!(v.hear(r(7), NOW, good()), ACCEPTED);
    assert_eq!(v.dissenting().to_string(), "{R1,R2,R3}");
}

#[test]
fn c1_a_replica_never_counts_twice() {
    let mut v = voter(1);
    for _ in 0..5 {
        assert_eq!(v.hear(r(2), NOW, good()), COUNTED);
    }
    // Nor by going away and coming back.
    assert_eq!(v.hear(r(2), NOW, value(7, 9, 3, b"wrong")), CHANGED);
    assert_eq!(v.hear(r(2), NOW, good()), CHANGED);
    assert_eq!(v.accepted(), None);
    // A vote that was left behind no longer counts.
    v.hear(r(2), NOW, value(7, 9, 3, b"wrong"));
    assert_eq!(v.hear(r(1), NOW, good()), COUNTED);
    assert_eq!(v.hear(r(3), NOW, good()), ACCEPTED);
}

#[test]
fn c1_what_is_accepted_stays() {
    let mut v = voter(1);
    v.hear(r(1), NOW, good());
    v.hear(r(2), NOW, good());
    for i in 1..=3 {
        assert!(!v.hear(r(i), NOW, value(9, 9, 9, b"later")).accepted);
    }
    assert_eq!(v.accepted(), Some(&good()));
    assert_eq!(v.dissenting().len(), 3);
}

#[test]
fn notes_are_never_votes() {
    let mut v = voter(1);
    for i in 1..=3 {
        v.note(r(i), NOW, NoteKind::Forbidden);
    }
    assert_eq!((v.noted(NoteKind::Forbidden), v.noted(NoteKind::Busy)), (3, 0));
    assert_eq!((v.accepted(), v.voted()), (None, Members::NONE));
    v.hear(r(1), NOW, good());
    assert_eq!(v.noted(NoteKind::Forbidden), 2, "a vote takes the place of a note");
    v.note(r(2), NOW, NoteKind::Busy);
    assert_eq!((v.noted(NoteKind::Forbidden), v.noted(NoteKind::Busy)), (1, 1));
}

#[test]
fn replicas_outside_of_the_roster_are_ignored() {
    let mut v = voter(1);
    v.note(r(4), NOW, NoteKind::Busy);
    for i in 4..=31 {
        assert_eq!(v.hear(r(i), NOW, good()), COUNTED);
    }
    assert_eq!((v.accepted(), v.voted(), v.noted(NoteKind::Busy)), (None, Members::NONE, 0));
}

#[test]
fn c2_explains_who_said_what_and_when() {
    let mut v = voter(3);
    let at = |ms: u64| Instant(ms * 1_000_000);
    let ms = Duration::from_millis;
    v.hear(r(1), at(12), value(7, 9, 3, b"wrong"));
    v.hear(r(2), at(13), good());
    v.hear(r(2), at(19), good());
    v.hear(r(3), at(14), good());
    v.note(r(4), at(15), NoteKind::Busy);
    let link = |replica: ReplicaId| match replica.number() {
        5 => LinkState::Down(at(4)),
        6 => LinkState::Restarted,
        _ => LinkState::Up,
    };
    let e = v.explain(at(20), at(10), 2, link);
    assert_eq!((e.needed, e.waited, e.sends), (4, ms(10), 2));
    let verdicts: Vec<_> = e.ballots.iter().map(|b| (b.verdict.clone(), b.after)).collect();
    let expected = vec![
        (Verdict::Differs, Some(ms(2))),
        (Verdict::Agrees, Some(ms(3))),
        (Verdict::Agrees, Some(ms(4))),
        (Verdict::Note(NoteKind::Busy), Some(ms(5))),
        (Verdict::Silent { down_for: Some(ms(16)) }, None),
        (Verdict::Note(NoteKind::Restarted), None),
        (Verdict::Silent { down_for: None }, None),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!(e.ballots[0].outcome.as_deref(), Some(&b"wrong"[..]));
    assert_eq!(e.agreeing().to_string(), "{R2,R3}");
    assert_eq!(e.dissenting().to_string(), "{R1}");
    assert_eq!(e.silent().to_string(), "{R5,R7}");
}

/// One event of a schedule: a replica, and what it says if it is a liar.
fn events(n: usize) -> impl Strategy<Value = Vec<(usize, u8, bool)>> {
    proptest::collection::vec((0..n, 0u8..6, any::<bool>()), 0..120)
}

// Liars prefer values that nearly are the good one, and the good one itself.
fn lie(kind: u8) -> Value {
    match kind {
        0 => good(),
        1 => value(7, 1, 3, b"wrong"),
        2 => value(7, 1, 4, b"good"),
        3 => value(8, 1, 3, b"good"),
        4 => value(7, 2, 3, b"good"),
        _ => value(7, 1, 3, b""),
    }
}

proptest! {
    /// B18 and B19: at most t liars, saying anything as often as they like between the good
    /// replies, never get anything but the good value accepted; and it is accepted exactly when
    /// t + 1 replicas stand for it, so at the latest with the (t + 1)-th good reply.
    #[test]
    fn c1_only_the_good_value_and_always_the_good_value(
        t in 1u8..=3, first in 0usize..7, schedule in events(7),
    ) {
        let e = Ensemble::new(t).unwrap();
        let is_liar = |i: usize| (i + first) % e.n() < e.t();
        let mut v = Voter::new(e);
        let mut standing = vec![None; e.n()];
        let mut accepted = false;
        for (i, kind, noted) in schedule {
            let i = i % e.n();
            let replica = ReplicaId::from_index(i);
            if noted {
                v.note(replica, NOW, NoteKind::Forbidden);
                continue;
            }
            let says = if is_liar(i) { lie(kind) } else { good() };
            let heard = v.hear(replica, NOW, says.clone());
            standing[i] = Some(says);
            let count = standing.iter().flatten().filter(|s| **s == good()).count();
            prop_assert_eq!(heard.accepted, !accepted && count > e.t());
            accepted |= heard.accepted;
            prop_assert_eq!(v.accepted().cloned(), accepted.then(good));
        }
        for i in (0..e.n()).filter(|i| !is_liar(*i)) {
            v.hear(ReplicaId::from_index(i), NOW, good());
        }
        prop_assert_eq!(v.accepted(), Some(&good()));
    }
}

#[test]
fn the_planted_bugs_of_the_vote_are_caught() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 2] = [
        ("c1-accept-t-replies", c1_accepts_with_the_vote_that_makes_t_plus_one_equal),
        ("c1-count-replica-twice", c1_a_replica_never_counts_twice),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}

/// C4: 3 of 3, 4 of 5, 6 of 7, and whoever gave up an answer once is not among them.
#[test]
fn strong_answers_take_more_than_a_majority_and_nobody_who_rolled_back() {
    for (t, needed) in [(1, 3), (2, 4), (3, 6)] {
        let ensemble = Ensemble::new(t).unwrap();
        let mut v = Voter::strong(ensemble);
        assert!(!v.hear_marked(r(ensemble.n() as u8), NOW, good(), true).accepted);
        for i in 1..=ensemble.n() as u8 - 1 {
            let heard = v.hear(r(i), NOW, good());
            assert_eq!(heard.accepted, usize::from(i) == needed, "{i} of {needed}");
        }
    }
    let mut v = Voter::strong(Ensemble::new(1).unwrap());
    v.hear(r(1), NOW, good());
    v.hear(r(2), NOW, good());
    v.hear_marked(r(3), NOW, good(), true);
    assert!(v.is_hopeless(Members::NONE), "nobody is left who counts");
    let up = |_| LinkState::Up;
    assert_eq!(v.explain(NOW, NOW, 1, up).assurance(), Some(Assurance::Majority));
    // It was forgiven, and says so.
    assert!(v.hear_marked(r(3), NOW, good(), false).accepted);
    assert_eq!(v.explain(NOW, NOW, 1, up).assurance(), Some(Assurance::Strong));
}

#[test]
fn it_is_hopeless_when_nobody_is_left_who_could_make_the_vote() {
    let mut v = Voter::new(Ensemble::new(1).unwrap());
    assert!(!v.is_hopeless(Members::NONE));
    v.hear(r(1), NOW, good());
    let third = [r(3)].into_iter().collect();
    assert!(!v.is_hopeless(third), "the second may agree");
    v.note(r(2), NOW, NoteKind::NotMember);
    assert!(!v.is_hopeless(Members::NONE), "the third may agree");
    assert!(v.is_hopeless(third));
    v.hear(r(3), NOW, value(7, 9, 3, b"other"));
    assert!(v.is_hopeless(Members::NONE));
    v.hear(r(2), NOW, good());
    assert!(!v.is_hopeless(Members::NONE), "what is accepted is no matter of hope");
}

fn digest_of(outcome: &[u8], whole: u8) -> ReplyDigest {
    ReplyDigest {
        session: crate::types::SessionId(1),
        number: 1,
        index: 3,
        outcome: OutcomeDigest::of(outcome),
        whole: r(whole),
    }
}

/// The digest of an outcome in the place of [`good`].
fn tell(v: &mut Voter, from: u8, outcome: &[u8]) -> Heard {
    v.hear_digest(r(from), NOW, (good().position, &digest_of(outcome, 3)), false)
}

#[test]
fn c3_a_digest_is_a_vote_and_the_whole_comes_from_anybody() {
    // Whole first, or last, or between: the value is the same, and so is when it is accepted.
    for place in 0..3 {
        let mut v = voter(2);
        for from in 0..3 {
            let heard = match from == place {
                true => v.hear(r(from + 1), NOW, good()),
                false => tell(&mut v, from + 1, b"good"),
            };
            assert_eq!(heard.accepted, from == 2, "{from}, the whole from {place}");
        }
        assert_eq!(v.accepted(), Some(&good()));
        assert_eq!(v.accepted_digest(), Some(OutcomeDigest::of(b"good")));
        tell(&mut v, 4, b"good");
        tell(&mut v, 5, b"goof");
        assert_eq!(v.dissenting().to_string(), "{R5}");
    }
}

#[test]
fn c3_nothing_is_accepted_before_a_whole_result_that_fits() {
    let mut v = voter(1);
    assert_eq!(tell(&mut v, 1, b"good"), COUNTED);
    assert_eq!(v.lacking(), None, "one agrees with nobody");
    assert_eq!(tell(&mut v, 2, b"good"), COUNTED);
    let agree = [r(1), r(2)].into_iter().collect();
    let named = [r(3)].into_iter().collect();
    assert_eq!(v.lacking(), Some(Lacking { agree, named }));
    assert!(!v.is_hopeless([r(3)].into_iter().collect()), "it can be asked for");
    // What the third sends has its size and is another.
    assert_eq!(v.hear(r(3), NOW, value(7, 1, 3, b"goof")), COUNTED);
    assert_eq!((v.accepted(), v.lacking().is_some()), (None, true));
    // The first gives the whole when it is asked again.
    assert_eq!(v.hear(r(1), NOW, good()), ACCEPTED);
    assert_eq!((v.accepted(), v.lacking()), (Some(&good()), None));
    assert_eq!(v.dissenting().to_string(), "{R3}");
}

/// A replica that puts the outcome elsewhere, or whose word does not count, has its bytes all the
/// same.
#[test]
fn c3_the_whole_of_one_who_disagrees_on_the_place_is_as_good() {
    let elsewhere = || value(8, 2, 9, b"good");
    let mut v = voter(1);
    v.hear(r(3), NOW, elsewhere());
    assert_eq!(tell(&mut v, 1, b"good"), COUNTED);
    assert_eq!(tell(&mut v, 2, b"good"), ACCEPTED);
    assert_eq!(v.accepted(), Some(&good()));
    let mut v = voter(1);
    tell(&mut v, 1, b"good");
    tell(&mut v, 2, b"good");
    assert_eq!(v.hear(r(3), NOW, elsewhere()), ACCEPTED, "it comes last");
    assert_eq!(v.accepted(), Some(&good()));
    let mut v = Voter::strong(Ensemble::new(2).unwrap());
    assert!(!v.hear_marked(r(5), NOW, good(), true).accepted);
    for from in 1..=4 {
        assert_eq!(tell(&mut v, from, b"good").accepted, from == 4);
    }
}

#[test]
fn c3_a_digest_takes_nothing_from_a_whole_result_of_the_same() {
    let mut v = voter(1);
    v.hear(r(1), NOW, good());
    assert_eq!(tell(&mut v, 1, b"good"), COUNTED);
    assert_eq!(tell(&mut v, 2, b"good"), ACCEPTED);
    // The same size and the same replica never make two.
    let mut v = voter(1);
    tell(&mut v, 1, b"good");
    assert_eq!(v.hear(r(1), NOW, good()), COUNTED);
    assert_eq!(tell(&mut v, 1, b"goof"), CHANGED);
    assert_eq!(v.hear(r(2), NOW, good()), COUNTED, "the first has left it");
    assert_eq!(v.hear(r(3), NOW, good()), ACCEPTED);
}

#[test]
fn c3_sizes_and_places_are_part_of_a_digest() {
    let mut v = voter(1);
    v.hear(r(1), NOW, good());
    let mut longer = digest_of(b"good", 1);
    longer.outcome.bytes += 1;
    assert_eq!(v.hear_digest(r(2), NOW, (good().position, &longer), false), COUNTED);
    let mut later = digest_of(b"good", 1);
    later.index += 1;
    assert_eq!(v.hear_digest(r(3), NOW, (good().position, &later), false), COUNTED);
    assert_eq!((v.accepted(), v.lacking()), (None, None));
    assert!(v.is_hopeless(Members::NONE));
}

#[test]
fn c3_who_sent_the_whole_and_who_a_digest_is_explained() {
    let mut v = voter(2);
    tell(&mut v, 1, b"good");
    v.hear(r(2), NOW, good());
    tell(&mut v, 3, b"goof");
    let said = |v: &Voter| v.explain(NOW, NOW, 1, |_| LinkState::Up).to_string();
    let text = said(&v);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("R1 agrees after 0.0ns: digest "), "{}", lines[0]);
    assert!(lines[0].contains(" of 4 bytes (round 7"), "{}", lines[0]);
    assert!(lines[1].contains("\"good\""), "{}", lines[1]);
    assert!(lines[2].starts_with("R3 differs"), "{}", lines[2]);
    assert!(lines[2].contains("of 4 bytes, of which nobody sent the whole"), "{}", lines[2]);
    tell(&mut v, 4, b"good");
    let explanation = v.explain(NOW, NOW, 1, |_| LinkState::Up);
    assert_eq!(explanation.assurance(), Some(Assurance::Majority));
    assert_eq!(explanation.agreeing().to_string(), "{R1,R2,R4}");
}

proptest! {
    /// C3: whether a vote is whole or a digest changes who is believed at no time, but for the
    /// whole that has to be there.
    #[test]
    fn c3_digests_count_as_the_values_that_they_stand_for(
        t in 1u8..=2,
        schedule in proptest::collection::vec((0usize..5, 0u8..4, any::<bool>()), 0..40),
    ) {
        let e = Ensemble::new(t).unwrap();
        let outcomes = [&b"good"[..], b"goof", b"g", b""];
        let mut v = Voter::new(e);
        let (mut standing, mut accepted) = (vec![None; e.n()], None);
        for (i, kind, whole) in schedule {
            let (i, outcome) = (i % e.n(), outcomes[usize::from(kind)]);
            let had = match standing[i] {
                Some((told, was_whole)) if told == outcome => was_whole,
                _ => false,
            };
            standing[i] = Some((outcome, whole || had));
            let replica = ReplicaId::from_index(i);
            let heard = match whole {
                true => v.hear(replica, NOW, value(7, 1, 3, outcome)),
                false => v.hear_digest(
                    replica, NOW, (good().position, &digest_of(outcome, 1)), false,
                ),
            };
            let agree = |o: &[u8]| standing.iter().flatten().filter(|s| s.0 == o).count() > e.t();
            let has_whole = |o: &[u8]| standing.iter().flatten().any(|s| *s == (o, true));
            let believed = outcomes.into_iter().find(|o| agree(o) && has_whole(o));
            prop_assert_eq!(heard.accepted, accepted.is_none() && believed.is_some());
            accepted = accepted.or(believed);
            prop_assert_eq!(v.accepted().map(|a| &a.outcome[..]), accepted);
            let lacks = outcomes.into_iter().any(|o| agree(o) && !has_whole(o));
            prop_assert_eq!(v.lacking().is_some(), accepted.is_none() && lacks);
        }
    }
}

#[test]
fn a_planted_vote_with_another_whole_is_caught() {
    use crate::types::plant::plant;
    plant(Some("c3-whole-unfitting"));
    let test = c3_nothing_is_accepted_before_a_whole_result_that_fits;
    let caught = std::panic::catch_unwind(test).is_err();
    plant(None);
    assert!(caught);
}
