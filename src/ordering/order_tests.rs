//! One test a sentence of O1 to O4, on vectors written by hand.

use super::*;
use crate::wire::{Attestation, Candidate};

const T1: u8 = 1;

fn request(n: u8) -> Digest {
    Digest([n; 32])
}

fn replica(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

/// An order and the round it is in.
struct Bench {
    order: Order,
    round: u64,
    n: usize,
}

impl Bench {
    fn new(t: u8, limits: OrderLimits) -> Self {
        let ensemble = Ensemble::new(t).unwrap();
        Self { order: Order::new(ensemble, limits, 5, Digest::ZERO), round: 0, n: ensemble.n() }
    }

    fn with_t(t: u8) -> Self {
        Self::new(t, OrderLimits::default())
    }

    /// Commits a vector: for each member its `now` and its candidates (clock, request).
    fn commit(&mut self, proposals: &[(u64, &[(u64, u8)])]) -> Step {
        assert_eq!(proposals.len(), self.n);
        self.round += 1;
        let members: Members = (0..self.n).map(ReplicaId::from_index).collect();
        let built: Vec<Proposal> = proposals
            .iter()
            .enumerate()
            .map(|(i, (now, candidates))| Proposal {
                epoch: crate::types::Epoch::GENESIS,
                members,
                round: Round(self.round),
                replica: ReplicaId::from_index(i),
                choice: vec![],
                candidates: candidates
                    .iter()
                    .map(|(clock, r)| Candidate { clock: *clock, request: request(*r) })
                    .collect(),
                changes: Vec::new(),
                now: *now,
                attestation: Attestation::default(),
            })
            .collect();
        let position = StepPosition { round: Round(self.round), vector: Digest::ZERO };
        let (hashes, changes) = (vec![Digest::ZERO; self.n], Vec::new());
        let proposals = built.iter().collect();
        self.order.commit(&Vector { position, members, proposals, hashes, changes })
    }

    fn executed(&mut self, proposals: &[(u64, &[(u64, u8)])]) -> Vec<u8> {
        self.commit(proposals).requests.iter().map(|o| o.digest.0[0]).collect()
    }
}

#[test]
fn o1_a_request_with_candidates_of_all_runs_at_once_in_the_order_of_its_ids() {
    let mut b = Bench::with_t(T1);
    let ran =
        b.executed(&[(10, &[(1, 8), (2, 7)]), (10, &[(1, 8), (3, 7)]), (10, &[(4, 7), (5, 8)])]);
    // Ids: 8 has candidates 1, 1, 5: the second smallest is 1; 7 has 2, 3, 4: it is 3.
    assert_eq!(ran, [8, 7]);
}

#[test]
fn o1_t_candidates_do_not_accept_a_request() {
    let mut b = Bench::with_t(2);
    let none: (u64, &[(u64, u8)]) = (10, &[]);
    for _ in 0..5 {
        assert!(b.executed(&[(10, &[(1, 1)]), (10, &[(1, 1)]), none, none, none]).is_empty());
    }
    // A third replica has seen it: at least one of three is good.
    b.executed(&[none, none, (11, &[(11, 1)]), none, none]);
    b.executed(&[none, none, none, none, none]);
    assert_eq!(b.executed(&[none, none, none, none, none]), [1]);
}

#[test]
fn o1_only_the_first_candidate_of_a_replica_counts() {
    let mut b = Bench::with_t(T1);
    assert!(b.executed(&[(1, &[(1, 1)]), (1, &[]), (1, &[])]).is_empty());
    assert!(b.executed(&[(17, &[(17, 1)]), (9, &[]), (9, &[])]).is_empty(), "one replica, twice");
    let step = b.commit(&[(20, &[]), (20, &[(15, 1)]), (20, &[(16, 1)])]);
    assert_eq!(step.requests[0].uid.clock(), 15, "of 1, 15, 16 and not of 17, 15, 16");
    assert_eq!(step.requests[0].holders.len(), 3);
}

#[test]
fn o2_the_agreed_clock_is_the_t_plus_first_smallest_and_never_goes_back() {
    let mut b = Bench::with_t(T1);
    assert_eq!(b.commit(&[(5, &[]), (900, &[]), (7, &[])]).time, AgreedTime(7));
    assert_eq!(b.commit(&[(6, &[]), (0, &[]), (900, &[])]).time, AgreedTime(7));
    assert_eq!(b.commit(&[(u64::MAX, &[]), (8, &[]), (9, &[])]).time, AgreedTime(9));
}

#[test]
fn o2_the_id_is_the_t_plus_first_smallest_candidate() {
    let mut b = Bench::with_t(2);
    let p = |clock: u64| (2000, vec![(clock, 1)]);
    let (a, b2, c, d, e) = (p(5), p(1), p(1000), p(7), p(6));
    let step = b.commit(&[
        (a.0, &a.1[..]),
        (b2.0, &b2.1[..]),
        (c.0, &c.1[..]),
        (d.0, &d.1[..]),
        (e.0, &e.1[..]),
    ]);
    assert_eq!(step.requests[0].uid.clock(), 6, "of 1, 5, 6, 7, 1000");
}

/// A request accepted in V(h) gets an id of at most C(h+1), so that a liar's huge candidate
/// cannot push it behind later ones.
#[test]
fn o2_from_the_next_vector_on_the_agreed_clock_caps_the_id() {
    let mut b = Bench::with_t(T1);
    assert!(b.executed(&[(10, &[(3, 1)]), (10, &[]), (999, &[(999, 1)])]).is_empty());
    let step = b.commit(&[(20, &[]), (20, &[]), (999, &[])]);
    assert!(step.requests.is_empty(), "it lacks a candidate of R2 and is not overdue");
    let step = b.commit(&[(30, &[]), (30, &[]), (999, &[])]);
    assert_eq!(step.requests[0].uid.clock(), 20, "C of the vector after the accepting one");
}

#[test]
fn o3_a_request_runs_after_two_rounds_at_the_latest() {
    let mut b = Bench::with_t(T1);
    let idle: (u64, &[(u64, u8)]) = (100, &[]);
    assert!(b.executed(&[(10, &[(3, 1)]), (10, &[(4, 1)]), idle]).is_empty());
    assert!(b.executed(&[idle, idle, idle]).is_empty());
    assert_eq!(b.executed(&[idle, idle, idle]), [1]);
    assert!(b.executed(&[idle, idle, idle]).is_empty(), "once only");
}

/// A half-seen request with a small candidate holds those after it back, since it could still
/// get an id before theirs: but for two rounds only.
#[test]
fn o3_an_earlier_request_that_not_all_have_seen_holds_later_ones_back_for_two_rounds() {
    let mut b = Bench::with_t(T1);
    let all = |c: u64| [(c, 1u8)];
    let fake = [(1, 9u8), (50, 1)];
    assert!(b.executed(&[(60, &all(50)), (60, &all(50)), (60, &fake)]).is_empty());
    let fake = [(61, 10u8)];
    assert!(b.executed(&[(70, &[]), (70, &[]), (70, &fake)]).is_empty());
    assert_eq!(b.executed(&[(80, &[]), (80, &[]), (80, &[])]), [1]);
}

#[test]
fn o3_a_half_seen_request_with_a_later_candidate_holds_nothing_back() {
    let mut b = Bench::with_t(T1);
    let fake = [(50, 1u8), (51, 9)];
    assert_eq!(b.executed(&[(60, &[(50, 1)]), (60, &[(50, 1)]), (60, &fake)]), [1]);
}

#[test]
fn o3_what_has_a_smaller_id_than_a_due_request_runs_before_it() {
    let mut b = Bench::with_t(T1);
    // 1 lacks R3's candidate and has id 6; 2 is complete with id 7 but waits for 1.
    assert!(
        b.executed(&[(9, &[(5, 1), (7, 2)]), (9, &[(6, 1), (7, 2)]), (9, &[(7, 2)])]).is_empty()
    );
    let step = b.commit(&[(19, &[]), (19, &[]), (19, &[(15, 1)])]);
    let ran: Vec<u8> = step.requests.iter().map(|o| o.digest.0[0]).collect();
    assert_eq!(ran, [1, 2]);
}

#[test]
fn o3_equal_ids_run_by_accepting_round_and_then_digest() {
    let mut b = Bench::with_t(T1);
    let ids = [(5u64, 3u8)];
    let ran = b.executed(&[(9, &ids), (9, &[(5, 2)]), (9, &[(6, 2), (7, 3)])]);
    assert!(ran.is_empty());
    let ran = b.executed(&[(9, &[(8, 2)]), (9, &[(9, 3)]), (9, &[])]);
    // 2 has 5, 6, 8 and 3 has 5, 7, 9: ids (6, R3) and (7, R3).
    assert_eq!(ran, [2, 3]);
}

#[test]
fn candidates_of_executed_requests_change_nothing() {
    let mut b = Bench::with_t(T1);
    let idle: (u64, &[(u64, u8)]) = (100, &[]);
    b.executed(&[(10, &[(3, 1)]), (10, &[(4, 1)]), idle]);
    b.executed(&[idle, idle, idle]);
    b.executed(&[idle, idle, idle]);
    let late = [(99u64, 1u8)];
    assert!(b.executed(&[idle, idle, (100, &late)]).is_empty());
    assert_eq!(b.order.unexecuted(), 0);
    assert_eq!(b.order.charged, [0, 0, 0]);
}

fn small() -> OrderLimits {
    OrderLimits { forget_after: 3, forget_time: 100, sole_quota: 2, ..OrderLimits::default() }
}

#[test]
fn o4_what_nobody_else_has_seen_is_forgotten_after_rounds_and_time() {
    let mut b = Bench::new(T1, small());
    b.commit(&[(1000, &[(1000, 1)]), (1000, &[]), (1000, &[])]);
    for _ in 0..5 {
        let step = b.commit(&[(1050, &[]), (1050, &[]), (1050, &[])]);
        assert!(step.forgotten.is_empty(), "rounds have passed, time has not");
    }
    let step = b.commit(&[(1100, &[]), (1100, &[]), (1100, &[])]);
    let holders: Members = [replica(1)].into_iter().collect();
    assert_eq!(step.forgotten, [(request(1), holders)]);
    assert_eq!((b.order.unexecuted(), b.order.partial.len()), (0, 0));
    // Seen again it is new: candidates of before are gone.
    b.commit(&[(1101, &[]), (1101, &[(1101, 1)]), (1101, &[])]);
    assert_eq!(b.order.known.get(&request(1)).unwrap().candidates.len(), 1);
}

#[test]
fn o4_a_members_quota_bounds_what_only_it_has_seen() {
    let mut b = Bench::new(T1, small());
    let many: Vec<(u64, u8)> = (1..=5).map(|n| (u64::from(n), n)).collect();
    let step = b.commit(&[(10, &many), (10, &[(1, 1)]), (10, &[])]);
    // 1 is seen by two; of the four others the two earliest fit the quota.
    assert_eq!(step.over_quota, [(replica(1), request(4)), (replica(1), request(5))]);
    assert_eq!(b.order.charged, [2, 0, 0]);
    // The quota is R1's alone.
    let step = b.commit(&[(20, &[]), (20, &[(11, 6)]), (20, &[(11, 7)])]);
    assert!(step.over_quota.is_empty());
}

/// Two liars of five cannot share requests that they made up to get around the quota.
#[test]
fn o4_what_two_liars_name_together_is_charged_to_the_first() {
    let mut b = Bench::new(2, OrderLimits { sole_quota: 2, ..OrderLimits::default() });
    let fakes: Vec<(u64, u8)> = (1..=5).map(|n| (u64::from(n), n)).collect();
    let none: (u64, &[(u64, u8)]) = (10, &[]);
    let step = b.commit(&[(10, &fakes), (10, &fakes), none, none, none]);
    assert_eq!((step.over_quota.len(), b.order.unexecuted()), (6, 2));
    assert_eq!(b.order.charged, [2, 0, 0, 0, 0]);
    // Accepted after all, they are charged to nobody.
    b.commit(&[none, none, (11, &[(11, 1), (11 + 1, 2)]), none, none]);
    assert_eq!(b.order.charged, [0; 5]);
}

#[test]
fn equal_histories_give_equal_digests_and_any_difference_shows() {
    let limits = OrderLimits { checkpoint_every: 2, ..OrderLimits::default() };
    let run = |late: u64, extra: bool| {
        let mut b = Bench::new(T1, limits);
        b.commit(&[(10, &[(3, 1)]), (10, &[(4, 1)]), (10, &[(late, 2)])]);
        let extra: &[(u64, u8)] = if extra { &[(11, 3)] } else { &[] };
        b.commit(&[(20, extra), (20, &[]), (20, &[])]).checkpoint.unwrap()
    };
    assert_eq!(run(5, false), run(5, false));
    assert_ne!(run(5, false), run(6, false));
    assert_ne!(run(5, false), run(5, true));
}

#[test]
fn the_planted_bugs_of_the_order_change_what_runs() {
    use crate::types::plant::plant;
    // Every sentence above is run against the mistake that breaks it.
    let broken: [(&'static str, fn()); 7] = [
        ("o1-t-candidates-accept", o1_t_candidates_do_not_accept_a_request),
        ("o1-late-candidate-counts", o1_only_the_first_candidate_of_a_replica_counts),
        ("o2-smallest-candidate", o2_the_id_is_the_t_plus_first_smallest_candidate),
        ("o2-largest-candidate", o2_the_id_is_the_t_plus_first_smallest_candidate),
        (
            "o5-clock-of-first-member",
            o2_the_agreed_clock_is_the_t_plus_first_smallest_and_never_goes_back,
        ),
        (
            "o3-no-stability",
            o3_an_earlier_request_that_not_all_have_seen_holds_later_ones_back_for_two_rounds,
        ),
        ("o3-never-overdue", o3_a_request_runs_after_two_rounds_at_the_latest),
    ];
    for (name, test) in broken {
        plant(Some(name));
        let caught = std::panic::catch_unwind(test).is_err();
        plant(None);
        assert!(caught, "{name} was not caught");
    }
}

#[test]
fn m4_a_wait_that_began_before_the_first_vector_counts_from_it() {
    let mut b = Bench::with_t(T1);
    let standing = &mut b.order.roster.standings[2];
    standing.out = Some(crate::ordering::Reason::Restarted);
    (standing.may_join, standing.forgiven) = (AgreedTime(1000), Some(AgreedTime(0)));
    let none: &[(u64, u8)] = &[];
    b.commit(&[(70_000, none), (70_001, none), (70_002, none)]);
    let standing = &b.order.roster.standings[2];
    let at = AgreedTime(70_001);
    assert_eq!((standing.since, standing.forgiven), (at, Some(at)));
    assert_eq!(standing.may_join, AgreedTime(71_001));
    assert_eq!(b.order.roster.standings[0].since, AgreedTime(0), "it never went");
    // Only once.
    b.commit(&[(80_000, none), (80_001, none), (80_002, none)]);
    assert_eq!(b.order.roster.standings[2].may_join, AgreedTime(71_001));
}

#[test]
fn a_state_of_no_members_or_of_strangers_is_refused() {
    let mut order = Bench::with_t(T1).order;
    let (ensemble, limits) = (order.ensemble, order.limits);
    let mut read = |list: Members, accused: Members| {
        (order.roster.call.list, order.roster.call.accused) = (list, accused);
        Order::decode(&order.encode(), ensemble, limits, 5).map(|order| order.roster.members())
    };
    let all = ensemble.all();
    assert_eq!(read(all, Members::NONE), Ok(all));
    assert_eq!(read(all, all).unwrap_err().what, "members");
    let strange = [ReplicaId::from_index(0), ReplicaId::from_index(3)].into_iter().collect();
    assert_eq!(read(strange, Members::NONE).unwrap_err().what, "members");
}
