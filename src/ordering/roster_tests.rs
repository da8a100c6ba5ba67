//! M1 to M4 on the roster alone.

use super::*;
use crate::types::Cuid;
use crate::wire::StepPosition;

fn r3() -> ReplicaId {
    ReplicaId::from_index(2)
}

fn limits() -> MembershipLimits {
    MembershipLimits { join_wait: 10, join_wait_cap: 35, good_service: 1000, join_lag: 8 }
}

fn roster(t: u8) -> Roster {
    Roster::new(Ensemble::new(t).unwrap(), limits())
}

fn join(round: u64) -> Change {
    let position = StepPosition { round: Round(round), vector: Digest([1; 32]) };
    Change::Join { replica: r3(), incarnation: 1, position }
}

fn id(n: u64) -> (Uid, Digest) {
    let candidate = Cuid { clock: n, replica: r3() };
    (Uid::of(candidate), Digest([n as u8; 32]))
}

fn set(places: &[usize]) -> Members {
    places.iter().map(|i| ReplicaId::from_index(*i)).collect()
}

/// Goes over to the epoch of the cut.
fn go_on(roster: &mut Roster, now: u64) {
    roster.note_cut();
    let (root, list) = roster.status_call().expect("something is pending");
    open(roster, Call { root, list, accused: Members::NONE }, now);
}

fn open(roster: &mut Roster, call: Call, now: u64) {
    let verdict = Verdict { call, liars: Members::NONE, restarted: Members::NONE };
    roster.open(&verdict, AgreedTime(now));
}

/// R3 is accused, as somebody who did this.
fn expel(roster: &mut Roster, why: Reason, now: u64) {
    let accused = set(&[2]);
    let list = roster.members();
    let root = Root { resets: roster.call.root.resets + 1, ..roster.call.root };
    let liars = if why == Reason::Lied { accused } else { Members::NONE };
    let restarted = if why == Reason::Restarted { accused } else { Members::NONE };
    let call = Call { root, list, accused };
    roster.open(&Verdict { call, liars, restarted }, AgreedTime(now));
}

fn come_back(roster: &mut Roster, now: u64) {
    roster.accept(id(now), join(100), Round(100), AgreedTime(now)).unwrap();
    go_on(roster, now);
    assert!(roster.members().contains(r3()));
}

fn verdict(roster: &Roster, change: Change, now: u64) -> Result<(), &'static str> {
    roster.effect(&change, Round(100), AgreedTime(now))
}

#[test]
fn m1_a_join_is_void_for_members_liars_stragglers_and_those_who_wait() {
    let mut r = roster(1);
    assert_eq!(verdict(&r, join(100), 0), Err("it is a member"));
    expel(&mut r, Reason::Silent, 50);
    assert_eq!(verdict(&r, join(100), 59), Err("its wait is not over"));
    assert_eq!(verdict(&r, join(100), 60), Ok(()));
    assert_eq!(verdict(&r, join(91), 60), Err("it is too far behind"));
    assert_eq!(verdict(&r, join(92), 60), Ok(()));
    come_back(&mut r, 60);
    assert_eq!(r.standings[2].out, None);
    expel(&mut r, Reason::Lied, 70);
    assert_eq!(verdict(&r, join(100), 10_000), Err("it lied: an operator must re-admit it first"));
}

#[test]
fn m2_a_leave_waits_for_the_next_generation_and_never_leaves_too_few() {
    let mut r = roster(1);
    let leave = |place| Change::Leave { replica: ReplicaId::from_index(place), stays: false };
    r.accept(id(2), leave(1), Round(5), AgreedTime(1)).unwrap();
    r.accept(id(1), leave(2), Round(5), AgreedTime(1)).unwrap();
    assert_eq!(r.members(), set(&[0, 1, 2]));
    // In the order of their ids: the second one would leave one member.
    go_on(&mut r, 2);
    assert_eq!((r.members(), r.pending.len()), (set(&[0, 1]), 0));
    assert_eq!((r.standings[2].out, r.standings[1].out), (Some(Reason::Left), None));
    assert_eq!(verdict(&r, leave(2), 3), Err("it is not a member"));
    assert_eq!(verdict(&r, join(100), 2), Ok(()), "after a Leave there is no wait");
}

#[test]
fn m2_an_operators_leave_is_remembered_until_it_is_recalled_or_a_member_again() {
    let mut r = roster(1);
    let (leave, recall) =
        (Change::Leave { replica: r3(), stays: true }, Change::Recall { replica: r3() });
    assert_eq!(verdict(&r, recall, 0), Err("no operator keeps it out"));
    r.accept(id(1), leave, Round(5), AgreedTime(1)).unwrap();
    assert!(!r.standings[2].kept_out, "it goes on until an epoch without it holds");
    go_on(&mut r, 2);
    assert!(r.standings[2].kept_out);
    let mut recalled = r.clone();
    recalled.accept(id(2), recall, Round(6), AgreedTime(3)).unwrap();
    assert_eq!((recalled.standings[2].kept_out, recalled.status_call()), (false, None));
    // Whether it keeps to that is its own affair: one that was started again asks.
    come_back(&mut r, 4);
    assert!(!r.standings[2].kept_out);
    // A Leave that is void keeps nobody out.
    let mut r = roster(1);
    expel(&mut r, Reason::Silent, 1);
    let leave = Change::Leave { replica: ReplicaId::from_index(1), stays: true };
    r.accept(id(1), leave, Round(5), AgreedTime(1)).unwrap();
    go_on(&mut r, 2);
    assert!(r.standings.iter().all(|s| !s.kept_out));
}

#[test]
fn m3_only_who_lied_is_readmitted_and_older_proofs_are_void_then() {
    let mut r = roster(1);
    let readmit = Change::Readmit { replica: r3() };
    // A member may have rolled back (§7), which is nobody else's affair: no epoch follows.
    r.accept(id(1), readmit, Round(5), AgreedTime(1)).unwrap();
    assert!(r.pending.is_empty());
    expel(&mut r, Reason::Silent, 1);
    assert_eq!(verdict(&r, readmit, 1), Err("it was not expelled"));
    let mut r = roster(1);
    expel(&mut r, Reason::Lied, 1);
    r.accept(id(1), readmit, Round(5), AgreedTime(2)).unwrap();
    go_on(&mut r, 2);
    assert_eq!((r.standings[2].out, r.standings[2].admitted), (Some(Reason::Left), 1));
    assert_eq!(verdict(&r, join(100), 2), Ok(()));
}

#[test]
fn m4_waits_double_up_to_a_cap_until_good_service_and_one_restart_is_forgiven() {
    let mut r = roster(1);
    let mut now = 100;
    for wait in [10, 20, 35, 35] {
        expel(&mut r, Reason::Silent, now);
        assert_eq!(r.standings[2].may_join, AgreedTime(now + wait));
        now += wait;
        come_back(&mut r, now);
    }
    now += 1000;
    expel(&mut r, Reason::Silent, now);
    assert_eq!(r.standings[2].may_join, AgreedTime(now + 10), "it has served well");

    let mut r = roster(1);
    expel(&mut r, Reason::Restarted, 100);
    assert_eq!(r.standings[2].may_join, AgreedTime(100));
    come_back(&mut r, 100);
    expel(&mut r, Reason::Restarted, 200);
    assert_eq!(r.standings[2].may_join, AgreedTime(210), "the second in a short time");
    come_back(&mut r, 210);
    expel(&mut r, Reason::Restarted, 1100);
    assert_eq!(r.standings[2].may_join, AgreedTime(1100), "the first was long ago");
}

/// Each epoch gives a liar time, so that it may not bring about as many as it likes.
#[test]
fn m4_one_that_leaves_by_itself_again_and_again_waits_and_one_that_is_sent_does_not() {
    let leave = |r: &mut Roster, stays, now| {
        let leave = Change::Leave { replica: r3(), stays };
        r.accept(id(now), leave, Round(100), AgreedTime(now)).unwrap();
        go_on(r, now);
        assert_eq!(r.standings[2].out, Some(Reason::Left));
        r.standings[2].may_join.0 - now
    };
    let mut r = roster(1);
    let mut now = 100;
    for wait in [0, 10, 20, 35, 35] {
        assert_eq!(leave(&mut r, false, now), wait);
        now += wait;
        come_back(&mut r, now);
    }
    for stays in [true, true] {
        assert_eq!(leave(&mut r, stays, now), 0, "an operator's");
        come_back(&mut r, now);
    }
    // It has served well.
    now += 1000;
    for wait in [0, 10] {
        assert_eq!(leave(&mut r, false, now), wait);
        now += wait;
        come_back(&mut r, now);
    }
}

/// E3: the cut takes what is pending then, and no later one.
#[test]
fn what_is_accepted_after_the_cut_waits_for_the_generation_after() {
    let mut r = roster(2);
    let leave = |place| Change::Leave { replica: ReplicaId::from_index(place), stays: false };
    r.accept(id(1), leave(4), Round(5), AgreedTime(1)).unwrap();
    r.note_cut();
    r.accept(id(2), leave(3), Round(6), AgreedTime(1)).unwrap();
    r.note_cut();
    assert_eq!(r.status_call(), Some((Root { generation: 1, resets: 0 }, set(&[0, 1, 2, 3]))));
    // The opening of a reset takes nothing off the list.
    let root = Root { generation: 0, resets: 1 };
    let all = r.ensemble.all();
    open(&mut r, Call { root, list: all, accused: Members::NONE }, 2);
    assert_eq!((r.pending.len(), r.cut), (2, 1));
    go_on(&mut r, 3);
    assert_eq!(r.members(), set(&[0, 1, 2, 3]));
    go_on(&mut r, 4);
    assert_eq!((r.members(), r.status_call()), (set(&[0, 1, 2]), None));
}

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn replace(place: usize, n: u8) -> Change {
    Change::ReplaceKey { replica: ReplicaId::from_index(place), key: key(n) }
}

/// M3: out of the members in one generation, the new key in the next, by itself.
#[test]
fn m3_a_key_goes_in_one_generation_and_the_new_one_comes_in_the_next() {
    let mut r = roster(1);
    expel(&mut r, Reason::Lied, 1);
    come_back_by_an_operator(&mut r);
    assert_eq!((r.call.root.generation, r.members().len()), (2, 3));
    r.accept(id(1), replace(2, 9), Round(5), AgreedTime(2)).unwrap();
    r.note_cut();
    let change = KeyChange { out: 3, replica: r3(), key: key(9) };
    assert_eq!(r.key_changes().collect::<Vec<_>>(), [change], "known from the cut on");
    go_on(&mut r, 3);
    assert_eq!((r.members(), r.standings[2].out), (set(&[0, 1]), Some(Reason::Left)));
    assert_eq!((r.keys.clone(), r.standings[2].new_key), (vec![change], Some(key(9))));
    assert_eq!(verdict(&r, join(100), 3), Err("its key is being replaced"));
    assert_eq!(verdict(&r, replace(2, 8), 3), Err("its key is being replaced"));
    assert_eq!(verdict(&r, replace(1, 8), 3), Err("another replica's key is being replaced"));
    // A reset meanwhile takes nothing off the list.
    let root = Root { resets: 1, ..r.call.root };
    open(&mut r, Call { root, list: set(&[0, 1]), accused: Members::NONE }, 4);
    assert_eq!(r.standings[2].new_key, Some(key(9)));
    // Nobody has asked for the second change.
    assert_eq!(r.status_call(), Some((Root { generation: 4, resets: 0 }, set(&[0, 1]))));
    go_on(&mut r, 5);
    assert_eq!((r.keys.len(), r.standings[2].new_key, r.status_call()), (1, None, None));
    assert_eq!(r.standings[2].admitted, 4, "proofs against the old key are void");
    assert_eq!(verdict(&r, join(100), 5), Ok(()));
    come_back(&mut r, 5);
    assert_eq!(verdict(&r, replace(2, 9), 6), Err("it has or had this key"));
    assert_eq!(verdict(&r, replace(1, 9), 6), Err("another replica has or had this key"));
}

fn come_back_by_an_operator(r: &mut Roster) {
    r.accept(id(1), Change::Readmit { replica: r3() }, Round(5), AgreedTime(2)).unwrap();
    go_on(r, 2);
    come_back(r, 2);
}

/// M3: thresholds stay as they are, and what the old key asked for is void with it.
#[test]
fn m3_a_key_is_not_replaced_where_too_few_would_be_left_and_its_join_goes_with_it() {
    let mut r = roster(1);
    expel(&mut r, Reason::Silent, 1);
    let few = "without it fewer than t + 1 members would be left";
    assert_eq!(verdict(&r, replace(1, 9), 20), Err(few));
    // Accepted before the others leave, and void at the cut.
    let mut late = roster(1);
    let leave = |place| Change::Leave { replica: ReplicaId::from_index(place), stays: false };
    late.accept(id(1), leave(0), Round(5), AgreedTime(1)).unwrap();
    late.accept(id(2), replace(1, 9), Round(5), AgreedTime(1)).unwrap();
    go_on(&mut late, 2);
    assert_eq!((late.members(), late.keys.len()), (set(&[1, 2]), 0));
    assert_eq!(late.status_call(), None);
    // One that is out may get a key; its Join was by the one that goes.
    r.accept(id(1), join(100), Round(100), AgreedTime(20)).unwrap();
    r.accept(id(2), replace(2, 9), Round(100), AgreedTime(20)).unwrap();
    go_on(&mut r, 21);
    assert_eq!((r.members(), r.standings[2].new_key), (set(&[0, 1]), Some(key(9))));
}

#[cfg(feature = "plant")]
#[test]
fn the_planted_bugs_of_the_roster_change_who_is_a_member() {
    use crate::types::plant::plant;
    let broken: [(&'static str, fn()); 3] = [
        ("e3-cut-takes-later", what_is_accepted_after_the_cut_waits_for_the_generation_after),
        (
            "m4-leaving-is-free",
            m4_one_that_leaves_by_itself_again_and_again_waits_and_one_that_is_sent_does_not,
        ),
        ("m2-leaves-too-few", m2_a_leave_waits_for_the_next_generation_and_never_leaves_too_few),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}
