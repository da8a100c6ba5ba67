//! Δ is measured: what comes near it is told, what exceeds it is an alarm that names who was late,
//! and the proposals of that stretch say that it did not hold.

use bytes::Bytes;
use quorate::crypto::{Keyed, Unverified};
use quorate::replica::{Standing, Status};
use quorate::simulator::{Clock, Fault, NodeId, Options, Workload, run_watched};
use quorate::wire::{Frame, Kind, Message, Proposal};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A proposal that was sent: by whom, when by its sender's wall clock, milliseconds since the world
/// began, and whether it says that Δ held.
type Said = (u8, u64, bool);

thread_local! {
    static SAID: RefCell<BTreeSet<Said>> = const { RefCell::new(BTreeSet::new()) };
}

/// No rule: it only listens.
fn listen(frame: &Frame, _: &[Bytes]) -> Result<(), String> {
    if frame.kind == Kind::Proposal {
        let proposal = Unverified::<Proposal>::from_body(&frame.body).map_err(|e| e.to_string())?;
        let p = proposal.peek();
        let at = (p.now.saturating_sub(Clock::EPOCH_US)) / 1000;
        SAID.with_borrow_mut(|said| {
            said.insert((p.replica.number(), at, p.attestation.delta_held))
        });
    }
    Ok(())
}

struct Seen {
    /// What was told of Δ: when, milliseconds, by whom and what.
    told: Vec<(u64, NodeId, String)>,
    said: BTreeSet<Said>,
    statuses: Vec<Status>,
}

impl Seen {
    /// The names of those whose lateness this replica told, from then on until then.
    fn alarms(&self, by: usize, from: u64, to: u64) -> BTreeSet<String> {
        let of = |what: &String| {
            let who = what.strip_prefix("DeltaBroken { who: ")?.split(", took").next()?;
            Some(who.to_owned())
        };
        let told = self.told.iter();
        let told =
            told.filter(|(at, node, _)| (from..to).contains(at) && *node == NodeId::replica(by));
        told.filter_map(|(_, _, what)| of(what)).collect()
    }

    /// Whether all proposals of this replica say that Δ held, from then on until then.
    fn held(&self, by: u8, from: u64, to: u64) -> bool {
        let of = self.said.iter().filter(|(who, at, _)| *who == by && (from..to).contains(at));
        let held: Vec<bool> = of.map(|(_, _, held)| *held).collect();
        assert!(held.len() > 5, "R{by} proposes all the time: {held:?}");
        held.into_iter().all(|held| held)
    }
}

/// Three replicas with work for six seconds; Δ is 20 ms, and a message takes 4 at most. Their
/// clocks begin anywhere.
fn watch(seed: u64, faults: Vec<(Duration, Fault)>) -> Seen {
    let options = Options {
        workload: Workload { calls: 240, think: ms(60), ..Workload::default() },
        time_limit: Duration::from_secs(30),
        must_finish: false,
        by_cell: true,
        faults,
        persist_rule: Some(listen),
        ..Options::named("delta")
    };
    SAID.with_borrow_mut(BTreeSet::clear);
    let mut told = Vec::new();
    let report = run_watched::<Keyed>(seed, &options, &mut |time, node, what| {
        let what = what.to_string();
        if what.starts_with("Delta") {
            told.push((time / 1_000_000, node, what));
        }
    });
    let report = report.unwrap_or_else(|failure| panic!("{failure}"));
    Seen { told, said: SAID.with_borrow(BTreeSet::clone), statuses: report.statuses }
}

fn slow(from: usize, to: usize, takes: u64) -> Fault {
    let (from, to) = (NodeId::replica(from), NodeId::replica(to));
    Fault::Edge { from, to, takes: ms(takes), below: takes < 20, lasts: ms(1500) }
}

#[test]
fn a_healthy_group_warns_of_nothing() {
    for seed in 0..4 {
        let seen = watch(seed, vec![]);
        assert!(seen.told.is_empty(), "{:?}", seen.told);
        for (number, status) in (1..).zip(&seen.statuses) {
            let delta = &status.delta;
            assert_eq!((delta.delta_us, delta.alarms.len(), delta.held), (20_000, 0, true));
            let peers: Vec<_> = delta.rows.iter().filter(|row| row.replica.is_some()).collect();
            assert_eq!(peers.len(), 2);
            for row in peers {
                assert!(row.count > 200 && row.p50_us > 0 && row.max_us < 8000, "{row:?}");
                assert!(row.unsure_us.is_some_and(|us| us < 4000), "{row:?}");
            }
            let would_do = delta.would_do_us.expect("enough was measured");
            assert!((1000..=25_000).contains(&would_do), "{would_do}");
            assert!(seen.held(number, 500, 5000));
        }
    }
}

#[test]
fn what_takes_more_than_half_of_the_bound_is_told_and_holds() {
    let seen = watch(1, vec![(ms(2000), slow(2, 0, 12))]);
    let near = |by: usize, of: &str| {
        let told =
            seen.told.iter().filter(|(at, node, _)| *at >= 2000 && *node == NodeId::replica(by));
        told.filter(|(_, _, what)| what.starts_with(&format!("DeltaNear {{ who: Replica({of})")))
            .count()
    };
    assert_eq!((near(0, "R3"), near(0, "R2"), near(1, "R1"), near(1, "R3")), (1, 0, 0, 0));
    assert!(seen.told.iter().all(|(_, _, what)| !what.starts_with("DeltaBroken")));
    assert!((1..=3).all(|number| seen.held(number, 500, 5000)));
}

/// Both ends see it: one by what it gets, the other by its pings. Who is not concerned does not.
#[test]
fn what_exceeds_the_bound_is_an_alarm_and_in_the_proposals_of_that_stretch() {
    for seed in 0..4 {
        let seen = watch(seed, vec![(ms(2000), slow(2, 0, 24))]);
        let names = |by| seen.alarms(by, 0, 10_000);
        assert_eq!(names(0), BTreeSet::from(["Replica(R3)".to_owned()]), "{:?}", seen.told);
        assert_eq!(names(2), BTreeSet::from(["Replica(R1)".to_owned()]), "{:?}", seen.told);
        assert_eq!(names(1), BTreeSet::new(), "{:?}", seen.told);
        assert_eq!(seen.alarms(0, 0, 2000), BTreeSet::new(), "not before");
        assert!(seen.held(1, 500, 1990) && !seen.held(1, 2050, 3500) && seen.held(1, 3600, 5000));
        assert!(seen.held(2, 500, 5000), "R2 saw nothing of it");
        let alarm = &seen.statuses[0].delta.alarms[0];
        assert_eq!((alarm.replica, alarm.answered), (Some(3), true));
        assert!((20_500..30_000).contains(&alarm.worst_us) && alarm.times > 5, "{alarm:?}");
    }
}

/// Who was stopped says that of itself, and does not name those who had to wait for it.
#[test]
fn a_replica_that_was_stopped_names_itself_and_the_others_name_it() {
    for seed in 0..4 {
        let pause = Fault::Pause(NodeId::replica(1), ms(70));
        let seen = watch(seed, vec![(ms(2000), pause)]);
        let names = |by| seen.alarms(by, 0, 10_000);
        assert_eq!(names(1), BTreeSet::from(["Driver".to_owned()]), "{:?}", seen.told);
        for other in [0, 2] {
            let named = names(other);
            // By its answer to a ping, if there was one just then; what it sent was not late.
            assert!(named.iter().all(|name| name == "Replica(R2)"), "{:?}", seen.told);
        }
        assert!(!seen.held(2, 2000, 2700) && seen.held(2, 2700, 5000));
        assert!(seen.statuses.iter().all(|status| status.standing == Standing::Member));
    }
}

/// A broken link is no late message, whoever breaks it.
#[test]
fn a_link_that_was_down_is_no_alarm() {
    let down = Fault::Break(NodeId::replica(0), NodeId::replica(2), ms(60));
    let seen = watch(3, vec![(ms(2000), down)]);
    assert!(
        seen.told.iter().all(|(_, _, what)| !what.starts_with("DeltaBroken")),
        "{:?}",
        seen.told
    );
}

#[cfg(feature = "plant")]
#[test]
fn what_is_planted_in_the_meter_is_noticed() {
    use quorate::types::plant::plant;
    let run = |name| {
        plant(name);
        let seen = watch(0, vec![(ms(2000), slow(2, 0, 24))]);
        plant(None);
        let right = seen.alarms(0, 0, 10_000) == BTreeSet::from(["Replica(R3)".to_owned()]);
        let calm = seen.statuses[0].delta.rows.iter().all(|row| row.max_us < 40_000);
        (right && !seen.held(1, 2050, 3500), calm)
    };
    assert_eq!(run(None), (true, true));
    assert!(!run(Some("delta-offset-stays")).1, "clocks begin anywhere");
    assert!(!run(Some("delta-late-untold")).0);
}
