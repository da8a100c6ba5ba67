//! Clients that lie, or that are two: what the K labels of `docs/testing.md` say must hold.

use quorate::adversary::{Lie, OrderingLie, ReplyLie};
use quorate::crypto::{Context, Keyed, Keyring, Scheme, SecretKey, sha256};
use quorate::replica::{Action, CloseReason, Input, Replica, Setup, Stored};
use quorate::service::kv::Kv;
use quorate::simulator::{
    AfterPanic, ClientLie, Given, Options, Report, Twins, Workload, client_id, run,
};
use quorate::types::{
    ClockKind, Ensemble, GroupId, Instant, LinkId, Now, OrderLimits, Quotas, ReplicaId, Role,
    SessionId, Timing, Wall,
};
use quorate::wire::Request;
use std::ops::Range;
use std::time::Duration;

const BOUND: Duration = Duration::from_millis(300);

/// Runs these seeds, or the one that somebody wants to see again.
fn seeds(range: Range<u64>, options: &Options) -> Vec<Report> {
    let chosen = std::env::var("QUORATE_SEED").ok().map(|s| s.parse().expect("a number"));
    let range = chosen.map_or(range, |seed: u64| seed..seed + 1);
    range.map(|seed| run(seed, options).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

/// A run in which one client tells this lie.
fn lying(name: &'static str, lie: ClientLie) -> Options {
    Options { lying_clients: vec![lie], bound: Some(BOUND), ..Options::named(name) }
}

/// All correct clients have all their answers, and not one was contradicted.
fn all_is_well(reports: &[Report]) {
    for report in reports {
        assert_eq!((report.answered, report.failed.len()), (90, 0), "{report:?}");
        assert!(report.dissent.iter().all(|d| *d == 0), "{:?}", report.dissent);
    }
}

fn refused(reports: &[Report], why: &str) -> u64 {
    reports.iter().filter_map(|r| r.refusals.get(why)).sum()
}

fn counted(reports: &[Report], counter: &str) -> u64 {
    reports.iter().flat_map(|r| &r.statuses).map(|s| s.counters[counter]).sum()
}

/// K8: where a service panics and says that its state is as before, the request is refused, by all
/// replicas alike.
#[test]
fn a_command_that_panics_is_refused_alike() {
    let panics = Some(AfterPanic::Unchanged);
    let options = lying("a_command_that_panics_is_refused_alike", ClientLie::NonsenseBodies);
    let reports = seeds(0..4, &Options { panics, ..options });
    all_is_well(&reports);
    assert!(refused(&reports, "ServicePanicked") > 0);
}

/// K8: where the state is in doubt all replicas halt before they answer, and nobody goes on with
/// another state.
#[test]
fn a_panic_that_leaves_the_state_in_doubt_halts_all_before_they_answer() {
    let options = Options {
        panics: Some(AfterPanic::InDoubt),
        must_finish: false,
        time_limit: Duration::from_secs(2),
        lying_clients: vec![ClientLie::NonsenseBodies],
        ..Options::named("a_panic_that_leaves_the_state_in_doubt_halts_all_before_they_answer")
    };
    for report in seeds(0..4, &options) {
        assert_eq!(report.events.get("halted"), Some(&3), "{report:?}");
        let places: Vec<u64> = report.statuses.iter().map(|s| s.executed_round).collect();
        assert!(places.iter().all(|p| *p == places[0]), "{places:?}");
    }
}

/// K9: how much an output is, is counted, not timed: all replicas refuse the same ones.
#[test]
fn outputs_above_the_limit_are_refused_alike() {
    let limits = OrderLimits { max_output: 4000, ..OrderLimits::default() };
    let options = lying("outputs_above_the_limit_are_refused_alike", ClientLie::LargeOutputs);
    let reports = seeds(0..10, &Options { limits, ..options });
    all_is_well(&reports);
    assert!(refused(&reports, "OutputTooLarge") > 0);
    let within = lying("outputs_above_the_limit_are_refused_alike", ClientLie::LargeOutputs);
    assert_eq!(refused(&seeds(0..10, &within), "OutputTooLarge"), 0);
}

/// K12, K17: bytes that come again, soon or late, over one link or several, run once.
#[test]
fn what_is_replayed_runs_once() {
    let reports = seeds(0..10, &lying("what_is_replayed_runs_once", ClientLie::Replay));
    all_is_well(&reports);
    assert!(counted(&reports, "repeats") > 0);
}

/// K21: whatever comes first, a request or the withdrawal of its number, and however late the other
/// one comes: what is withdrawn never runs, and all replicas agree on which that is.
#[test]
fn what_is_withdrawn_never_runs() {
    let reports = seeds(0..10, &lying("what_is_withdrawn_never_runs", ClientLie::Withdraw));
    all_is_well(&reports);
    assert!(refused(&reports, "Withdrawn") > 10, "{reports:?}");
    assert!(reports.iter().any(|r| r.executed > 95), "others of its requests run");
}

/// K13: a session's name and numbers mean nothing under another key.
#[test]
fn nobody_acts_in_another_clients_name() {
    for client_acts in [30, 120] {
        let options = lying("nobody_acts_in_another_clients_name", ClientLie::Impersonate);
        let reports = seeds(0..10, &Options { client_acts, ..options });
        all_is_well(&reports);
        assert!(reports.iter().any(|r| r.executed > 95), "its own session runs");
    }
}

/// K13: the name of a request covers whose it is, and of which cluster and group.
#[test]
fn a_digest_binds_client_cluster_and_group() {
    let body = b"any".as_slice().into();
    let request = Request { session: SessionId(1), number: 1, low: 1, body };
    let context = Context { cluster: sha256(b"a cluster"), group: GroupId::MAIN };
    let others = [
        request.digest(&Context { cluster: sha256(b"another"), ..context }, &client_id(0)),
        request.digest(&Context { group: GroupId(1), ..context }, &client_id(0)),
        request.digest(&context, &client_id(1)),
    ];
    assert!(others.iter().all(|other| *other != request.digest(&context, &client_id(0))));
}

/// K15: two processes with one key and a session each are as good as two clients.
#[test]
fn twins_with_their_own_sessions_do_not_disturb_each_other() {
    let name = "twins_with_their_own_sessions_do_not_disturb_each_other";
    let twins = Some(Twins::OtherSessions);
    let options = Options { twins, bound: Some(BOUND), ..Options::named(name) };
    all_is_well(&seeds(0..10, &options));
}

/// K15: in one session they spoil each other's calls, and nothing else: replicas stay equal, no
/// number runs twice, whatever is accepted was executed, and the third client notices nothing.
#[test]
fn twins_in_one_session_spoil_only_their_own_calls() {
    let options = Options {
        twins: Some(Twins::OneSession),
        call_timeout: Duration::from_secs(3),
        ..Options::named("twins_in_one_session_spoil_only_their_own_calls")
    };
    for report in seeds(0..15, &options) {
        assert_eq!((report.answered, report.failed.len()), (90, 0), "{report:?}");
    }
}

/// K16: what only t liars have is never executed, and what they and one other have is executed
/// everywhere, though the liars keep the bodies to themselves. Neither holds up anybody.
#[test]
fn colluding_with_liars_gains_nothing() {
    let lies = [
        Lie::Reply(ReplyLie::WrongOutput),
        Lie::Ordering(OrderingLie::ClockEarly),
        Lie::Ordering(OrderingLie::AlwaysLowest),
    ];
    for lie in lies {
        for places in [vec![1], vec![0, 3]] {
            for client in [ClientLie::Collude, ClientLie::ColludeAndOne] {
                let options = Options {
                    t: places.len() as u8,
                    liars: places.iter().map(|p| (*p, lie)).collect(),
                    bodies: Some(Given::Nothing),
                    bound: Some(if client == ClientLie::Collude { BOUND } else { 10 * BOUND }),
                    settle: Duration::from_secs(5),
                    ..lying("colluding_with_liars_gains_nothing", client)
                };
                for report in seeds(0..3, &options) {
                    assert_eq!((report.answered, report.failed.len()), (90, 0), "{report:?}");
                }
            }
        }
    }
}

/// K18: a key has so many links and no more; one that goes makes room.
#[test]
fn links_of_one_key_are_counted() {
    let quotas = Quotas { links_per_client: 2, ..Quotas::default() };
    let mut replica = replica(quotas);
    let mut input = |input| {
        let mut out = Vec::new();
        replica.handle(now(), input, &mut out);
        out
    };
    let up = |n: u64, client: u32| Input::ClientUp {
        link: LinkId(n),
        client: client_id(client),
        role: Role::Write,
    };
    let too_many = |n: u64| {
        let (link, reason) = (LinkId(n), CloseReason::TooManyLinks);
        vec![Action::CloseClient { link, reason }]
    };
    assert_eq!(input(up(1, 0)), []);
    assert_eq!(input(up(2, 0)), []);
    assert_eq!(input(up(3, 0)), too_many(3));
    assert_eq!(input(up(4, 1)), [], "another key is another matter");
    // The link that was refused has no place to give back.
    input(Input::ClientDown { link: LinkId(3) });
    assert_eq!(input(up(5, 0)), too_many(5));
    input(Input::ClientDown { link: LinkId(1) });
    assert_eq!(input(up(6, 0)), []);
}

/// K19: a query cannot write, and a flood of them meets its own client's quota.
#[test]
fn queries_that_would_write_change_nothing() {
    let quotas = Quotas { per_client: 60, ..Quotas::default() };
    let options = lying("queries_that_would_write_change_nothing", ClientLie::WritingQueries);
    // The judge's model lets no query write: a later read would show it.
    let workload = Workload { calls: 30, keys: 5, ..Workload::default() };
    let reports = seeds(0..6, &Options { quotas, workload, ..options });
    all_is_well(&reports);
    assert!(counted(&reports, "busy") > 0);
    assert!(reports.iter().all(|r| r.executed > 120), "many of them run");
}

/// K20: keys that share all but their last byte are keys like others: a service's map is ordered.
/// That clients choose no time needs no test: no message of theirs has one.
#[test]
fn keys_that_hardly_differ_cost_nobody_anything() {
    let name = "keys_that_hardly_differ_cost_nobody_anything";
    let options = Options { client_acts: 200, ..lying(name, ClientLie::HardKeys) };
    all_is_well(&seeds(0..6, &options));
}

fn replica(quotas: Quotas) -> Replica<Keyed> {
    let ensemble = Ensemble::new(1).expect("three replicas");
    let secret = |n: u8| SecretKey::from_seed([n; 32]);
    let keys = (1..=3).map(|n| Keyed::public(&Keyed::signer(&secret(n)))).collect();
    let context = Context { cluster: sha256(b"a cluster"), group: GroupId::MAIN };
    let setup = Setup {
        inherited: None,
        id: ReplicaId::from_index(0),
        keyring: Keyring::new(context, ensemble, keys).expect("usable keys"),
        signer: Keyed::signer(&secret(1)),
        genesis: sha256(b"genesis"),
        timing: Timing::from_delta(Duration::from_millis(20)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits::default(),
        quotas,
        seed: 1,
        incarnation: 1,
        disk: quorate::types::DiskState::New,
        recovered: Vec::new(),
        durability: quorate::types::Durability::None,
        stored: Stored::default(),
        fields: Vec::new(),
        encode_at_once: quorate::replica::ENCODE_AT_ONCE,
        trace: false,
    };
    Replica::new(setup, Box::new(Kv::new()), now())
}

fn now() -> Now {
    Now { monotonic: Instant(1_000_000), wall: Wall(1_000_000) }
}
