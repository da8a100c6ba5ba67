use super::super::fairness::fairness;
use super::*;
use crate::types::{AgreedTime, ClientId, SessionId};

fn r(n: usize) -> ReplicaId {
    ReplicaId::from_index(n)
}

fn id(number: u64) -> RequestId {
    RequestId { client: ClientId([1; 32]), session: SessionId(1), number }
}

fn digest(number: u64) -> Digest {
    Digest([u8::try_from(number).unwrap(); 32])
}

fn entry(number: u64) -> TraceEntry {
    TraceEntry {
        index: 0,
        digest: digest(number),
        request: id(number),
        uid_clock: number,
        body: Bytes::from_static(b"body"),
        outcome: Outcome::Executed(vec![Bytes::from_static(b"a"), Bytes::new()]).to_bytes(),
        fresh: true,
    }
}

fn step(round: u64, numbers: &[u64]) -> StepTrace {
    StepTrace {
        position: StepPosition { round: Round(round), vector: digest(round) },
        time: AgreedTime(round),
        entries: (0..).zip(numbers).map(|(index, n)| TraceEntry { index, ..entry(*n) }).collect(),
        running: Digest::ZERO,
        checkpoint: None,
    }
}

/// Three replicas of which the first two are good; requests 1 to 9 were sent and received.
fn checks() -> Checks {
    let mut c = Checks::new([r(0), r(1)].into_iter().collect());
    for n in 1..10 {
        let body = Bytes::from_static(b"body");
        c.on_sent(digest(n), Sent { request: id(n), body, time: n });
        (0..3).for_each(|i| c.on_received(r(i), digest(n), n));
    }
    c
}

fn rule(checked: Checked) -> &'static str {
    checked.expect_err("must be found").rule
}

#[test]
fn equal_orders_pass_and_a_bad_replica_is_not_heard() {
    let mut c = checks();
    for s in [step(1, &[1, 2]), step(2, &[]), step(4, &[3])] {
        assert_eq!((c.on_step(r(0), &s), c.on_step(r(1), &s)), (Ok(()), Ok(())));
    }
    assert_eq!(c.on_step(r(2), &step(1, &[9])), Ok(()));
    assert_eq!((c.order().len(), c.executions().count()), (2, 3));
    assert_eq!(c.all_caught_up(), Ok(()));
}

#[test]
fn another_content_place_or_time_of_a_step_is_disagreement() {
    let mut other = step(1, &[1]);
    other.time = AgreedTime(7);
    let mut lied = step(1, &[1]);
    lied.entries[0].outcome = Outcome::Executed(vec![Bytes::new()]).to_bytes();
    for wrong in [step(1, &[2]), step(2, &[1]), step(1, &[1, 2]), other, lied] {
        let mut c = checks();
        c.on_step(r(0), &step(1, &[1])).unwrap();
        assert_eq!(rule(c.on_step(r(1), &wrong)), "agreement");
    }
}

#[test]
fn a_step_that_one_leaves_out_is_disagreement() {
    let mut c = checks();
    for s in [step(1, &[1]), step(2, &[2]), step(3, &[3])] {
        c.on_step(r(0), &s).unwrap();
    }
    c.on_step(r(1), &step(1, &[1])).unwrap();
    assert_eq!(rule(c.all_caught_up()), "liveness");
    assert_eq!(rule(c.on_step(r(1), &step(3, &[3]))), "agreement");
}

#[test]
fn a_step_again_or_out_of_order_is_found() {
    let mut c = checks();
    c.on_step(r(0), &step(2, &[1])).unwrap();
    assert_eq!(rule(c.on_step(r(0), &step(2, &[2]))), "one order");
    assert_eq!(rule(c.on_step(r(0), &step(1, &[2]))), "one order");
}

#[test]
fn executing_twice_is_found() {
    let mut c = checks();
    c.on_step(r(0), &step(1, &[1])).unwrap();
    assert_eq!(rule(c.on_step(r(0), &step(2, &[1]))), "exactly once");
    // The same number under another digest.
    let mut c = checks();
    c.on_step(r(0), &step(1, &[1])).unwrap();
    let mut s = step(2, &[2]);
    s.entries[0].request = id(1);
    c.on_sent(digest(50), Sent { request: id(1), body: Bytes::from_static(b"body"), time: 1 });
    c.on_received(r(0), digest(50), 1);
    s.entries[0].digest = digest(50);
    assert_eq!(rule(c.on_step(r(0), &s)), "exactly once");
    // Called a repetition it may stand there, but only after a first.
    let mut c = checks();
    let mut s = step(1, &[1]);
    s.entries[0].fresh = false;
    assert_eq!(rule(c.on_step(r(0), &s)), "exactly once");
}

#[test]
fn what_nobody_sent_or_no_good_replica_received_is_invalid() {
    let mut c = checks();
    assert_eq!(rule(c.on_step(r(0), &step(1, &[77]))), "validity");
    let mut c = checks();
    let mut s = step(1, &[1]);
    s.entries[0].body = Bytes::from_static(b"another");
    assert_eq!(rule(c.on_step(r(0), &s)), "validity");
    let mut c = checks();
    c.on_sent(digest(60), Sent { request: id(60), body: Bytes::from_static(b"body"), time: 1 });
    c.on_received(r(2), digest(60), 1);
    assert_eq!(rule(c.on_step(r(0), &step(1, &[60]))), "validity");
}

#[test]
fn time_that_goes_back_and_uids_out_of_order_are_found() {
    let mut c = checks();
    c.on_step(r(0), &step(5, &[1])).unwrap();
    let mut s = step(6, &[2]);
    s.time = AgreedTime(4);
    assert_eq!(rule(c.on_step(r(0), &s)), "time");
    assert_eq!(rule(checks().on_step(r(0), &step(1, &[2, 1]))), "uid order");
}

#[test]
fn clients_accept_only_what_a_good_replica_executed() {
    let mut c = checks();
    c.on_step(r(0), &step(1, &[1, 2])).unwrap();
    let position = step(1, &[]).position;
    let outputs = vec![Bytes::new()];
    let good = Accepted { request: id(2), position, index: 1, outputs };
    assert_eq!(c.on_accepted(&good), Ok(()));
    let elsewhere = StepPosition { vector: digest(8), ..position };
    for wrong in [
        Accepted { index: 0, ..good.clone() },
        Accepted { index: 5, ..good.clone() },
        Accepted { position: elsewhere, ..good.clone() },
        Accepted { outputs: vec![Bytes::from_static(b"b")], ..good.clone() },
        Accepted { outputs: vec![], ..good.clone() },
    ] {
        assert_eq!(rule(c.on_accepted(&wrong)), "acceptance");
    }
}

#[test]
fn running_roots_of_one_round_must_be_equal() {
    let mut c = checks();
    assert_eq!(c.on_root(r(0), Round(5), digest(1)), Ok(()));
    assert_eq!(c.on_root(r(1), Round(6), digest(2)), Ok(()));
    assert_eq!(c.on_root(r(2), Round(5), digest(3)), Ok(()));
    assert_eq!(rule(c.on_root(r(1), Round(5), digest(2))), "running root");
}

/// Request `n` reaches the two good replicas at these times.
fn received(times: &[(u64, u64, u64)]) -> Checks {
    let mut c = Checks::new([r(0), r(1)].into_iter().collect());
    for &(n, first, second) in times {
        c.on_sent(digest(n), Sent { request: id(n), body: Bytes::from_static(b"body"), time: 0 });
        c.on_received(r(0), digest(n), first);
        if second > 0 {
            c.on_received(r(1), digest(n), second);
        }
    }
    c
}

#[test]
fn who_came_clearly_first_everywhere_must_be_first() {
    let run = |mut c: Checks, margin| {
        // Request 1 has the lower uid and so stands first, whatever came first.
        c.on_step(r(0), &step(1, &[1, 2])).unwrap();
        fairness(&c, margin)
    };
    assert_eq!(rule(run(received(&[(1, 300, 200), (2, 90, 99)]), 100)), "fairness");
    assert_eq!(run(received(&[(1, 300, 200), (2, 90, 99)]), 101), Ok(()));
    assert_eq!(run(received(&[(1, 90, 200), (2, 80, 100)]), 0), Ok(()), "they overlap");
    assert_eq!(run(received(&[(1, 300, 200), (2, 90, 0)]), 0), Ok(()), "not everywhere");
    let mut declined = received(&[(1, 300, 200), (2, 90, 99)]);
    declined.on_declined(r(1), id(2));
    assert_eq!(run(declined, 0), Ok(()), "not taken by one");
}

fn accepted(round: u64, number: u64) -> Accepted {
    Accepted {
        request: id(number),
        position: step(round, &[]).position,
        index: 0,
        outputs: vec![Bytes::from_static(b"a"), Bytes::new()],
    }
}

/// §7: what only crashed replicas had, and no client has accepted, may come out otherwise.
#[test]
fn what_nobody_has_after_a_crash_may_change_unless_a_client_has_it() {
    let before = || {
        let mut c = checks();
        for s in [step(1, &[1]), step(2, &[2]), step(3, &[3])] {
            assert_eq!(c.on_step(r(0), &s), Ok(()));
        }
        assert_eq!(c.on_step(r(1), &step(1, &[1])), Ok(()));
        c
    };
    // The other one still has the first step.
    let mut c = before();
    c.on_restarted(r(0));
    assert_eq!(c.order().len(), 1);
    assert_eq!(c.on_step(r(1), &step(2, &[3, 4])), Ok(()), "what is lost may run again");
    // One of the two goes on without what it has lost: so the other has to give it up.
    assert_eq!(c.on_step(r(0), &step(1, &[5])), Ok(()));
    assert_eq!(rule(c.on_step(r(1), &step(3, &[6]))), "agreement");
    // A client has accepted something of the second.
    let mut c = before();
    assert_eq!(c.on_accepted(&accepted(2, 2)), Ok(()));
    c.on_restarted(r(0));
    c.on_restarted(r(1));
    assert_eq!(c.order().len(), 2);
    assert_eq!(c.on_step(r(1), &step(1, &[1])), Ok(()));
    assert_eq!(rule(c.on_step(r(1), &step(2, &[4]))), "agreement");
}

/// Replies of replicas that crash may reach their client after that.
#[test]
fn what_is_accepted_after_the_crash_must_come_back() {
    let crashed = || {
        let mut c = checks();
        assert_eq!(c.on_step(r(0), &step(2, &[2])), Ok(()));
        c.on_restarted(r(0));
        assert!(c.order().is_empty());
        assert_eq!(c.on_accepted(&accepted(2, 2)), Ok(()));
        assert_eq!(rule(c.nothing_accepted_is_lost()), "durability");
        c
    };
    let mut c = crashed();
    assert_eq!(c.on_step(r(1), &step(2, &[2])), Ok(()));
    assert_eq!(c.nothing_accepted_is_lost(), Ok(()));
    assert_eq!(rule(crashed().on_step(r(1), &step(2, &[3]))), "agreement");
    let mut c = crashed();
    assert_eq!(rule(c.on_accepted(&accepted(2, 3))), "acceptance", "that was never executed");
}

/// Who follows through history may execute what a later opening makes void, and gives it up.
#[test]
fn what_may_not_be_told_yet_may_differ_until_it_is() {
    let mut c = checks();
    assert_eq!(c.on_step(r(0), &step(1, &[1])), Ok(()));
    assert_eq!(c.on_step(r(0), &step(5, &[2])), Ok(()));
    assert_eq!(c.on_untold(r(1), &step(1, &[1])), Ok(()));
    assert_eq!((c.on_untold(r(1), &step(2, &[2])), c.steps_of(r(1))), (Ok(()), 1));
    assert_eq!(rule(c.on_untold(r(1), &step(2, &[]))), "one order");
    assert_eq!(c.on_root(r(1), Round(2), digest(1)), Ok(()));
    assert_eq!(c.on_root(r(0), Round(2), digest(2)), Ok(()));
    assert_eq!(rule(c.on_step(r(1), &step(3, &[]))), "agreement", "it has gone on from there");
    // Started again it has what the others have.
    c.on_restarted(r(1));
    c.on_recovered(r(1), &[step(1, &[1])], Round(4));
    assert_eq!((c.on_step(r(1), &step(5, &[2])), c.all_caught_up()), (Ok(()), Ok(())));
}

/// Two have executed a step that nobody was told of; one of them loses it and goes on with others.
#[test]
fn a_minority_gives_up_what_the_others_have_lost() {
    let gone_on = || {
        let mut c = Checks::new((0..3).map(r).collect());
        let body = Bytes::from_static(b"body");
        for n in 1..5 {
            c.on_sent(digest(n), Sent { request: id(n), body: body.clone(), time: n });
            c.on_received(r(0), digest(n), n);
        }
        assert_eq!(
            (c.on_step(r(0), &step(1, &[1])), c.on_step(r(1), &step(1, &[1]))),
            (Ok(()), Ok(()))
        );
        c.on_restarted(r(1));
        assert_eq!(c.on_step(r(1), &step(2, &[2])), Ok(()));
        c
    };
    let mut c = gone_on();
    assert_eq!(rule(c.on_step(r(0), &step(3, &[3]))), "agreement", "it goes on with it");
    assert_eq!(rule(gone_on().all_caught_up()), "liveness", "it has not given it up");
    c = gone_on();
    assert_eq!(c.on_accepted(&accepted(1, 1)), Ok(()), "it was executed");
    assert_eq!(rule(c.nothing_accepted_is_lost()), "durability");
    // With the others' state it goes on as they do.
    c = gone_on();
    assert_eq!(c.on_step(r(0), &step(2, &[2])), Ok(()));
    assert_eq!(c.on_step(r(0), &step(3, &[3])), Ok(()));
    c = gone_on();
    c.on_restarted(r(0));
    assert_eq!(
        (c.on_step(r(0), &step(2, &[2])), c.on_step(r(2), &step(2, &[2]))),
        (Ok(()), Ok(()))
    );
    assert_eq!(c.all_caught_up(), Ok(()));
    // What a client has accepted stays, and so does what a majority has.
    c = gone_on();
    assert_eq!(c.on_accepted(&accepted(2, 2)), Ok(()));
    assert_eq!(rule(c.on_step(r(2), &step(1, &[1]))), "agreement");
    c = gone_on();
    assert_eq!(c.on_step(r(2), &step(2, &[2])), Ok(()));
    c.on_restarted(r(0));
    assert_eq!(rule(c.on_step(r(0), &step(1, &[1]))), "agreement");
}

#[test]
fn who_installs_another_state_goes_on_from_there() {
    let mut c = checks();
    for s in [step(1, &[1]), step(2, &[2]), step(4, &[3])] {
        assert_eq!(c.on_step(r(0), &s), Ok(()));
    }
    c.on_restarted(r(1));
    c.on_taken_up(r(1), Round(3));
    assert_eq!(c.steps_of(r(1)), 2);
    assert_eq!(rule(c.on_step(r(1), &step(3, &[4]))), "one order");
    assert_eq!(c.on_step(r(1), &step(4, &[3])), Ok(()));
    assert_eq!(c.all_caught_up(), Ok(()));
    // Whoever it came from may have lost it since.
    let mut c = checks();
    assert_eq!(c.on_step(r(0), &step(1, &[1])), Ok(()));
    c.on_restarted(r(0));
    assert!(c.order().is_empty());
    c.on_taken_up(r(1), Round(1));
    assert_eq!(c.steps_of(r(1)), 1);
    c.on_recovered(r(0), &[step(1, &[1])], Round(1));
    assert_eq!(c.on_step(r(0), &step(2, &[2])), Ok(()));
    assert_eq!(c.on_step(r(1), &step(2, &[2])), Ok(()));
}
