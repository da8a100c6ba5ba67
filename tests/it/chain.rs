//! Fail-stop chains in the fake world (docs/chain.md): seeds with faults of every kind, and all
//! orders of delivery of small chains.

use quorate::chain::Setup;
use quorate::chain::Stats;
use quorate::simulator::chain::search::{Disturbance, Seen, search};
use quorate::simulator::chain::{ChainOptions, ChainReport, run, setup};
use std::time::Duration;

/// Seeds of each kind of run; `CHAIN_SEEDS` asks for another number of them.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("CHAIN_SEEDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(usual)
}

#[track_caller]
fn all(usual: u64, options: &ChainOptions) -> Vec<ChainReport> {
    let play = |seed| run(seed, options).unwrap_or_else(|what| panic!("{what}"));
    (0..seeds(usual)).map(play).collect()
}

fn sum(reports: &[ChainReport], of: impl Fn(&Stats) -> u64) -> u64 {
    reports.iter().map(|r| of(&r.stats)).sum()
}

/// CH-U1 to CH-U4, CH-Q2.
#[test]
fn chains_of_one_two_and_three_answer_all_their_clients() {
    for length in 1..=3 {
        let reports = all(40, &ChainOptions { loss: 0, ..ChainOptions::quiet(length) });
        let out = reports.iter().position(|r| r.configs != 1);
        assert_eq!(out, None, "{length} members, this seed: nobody should be taken out");
        assert!(sum(&reports, |s| s.answered) > 0);
        assert!(length == 1 || sum(&reports, |s| s.asked) > 0, "some had to ask the tail");
    }
}

/// CH-F6: a chain that is down waits for who has lost its disk, and goes on when it is struck out,
/// with all that was committed.
#[test]
fn a_lost_disk_costs_nothing_that_another_has() {
    lose_disks(false);
}

/// The same where nobody tells a replica that its empty disk stands in for a lost one: it is no
/// member of the group that votes, which would notice.
#[test]
fn an_empty_disk_is_taken_for_a_lost_one_until_the_master_says_otherwise() {
    lose_disks(true);
}

fn lose_disks(unsure: bool) {
    let mut reports = Vec::new();
    for length in 2..=3 {
        let options = ChainOptions { unsure, ..losing(length) };
        reports.extend(all(150, &options));
    }
    let total = |of: fn(&ChainReport) -> u64| reports.iter().map(of).sum::<u64>();
    println!("{} disks lost, {} struck out", total(|r| r.losses), total(|r| r.struck));
    assert!(total(|r| r.losses) > 0 && total(|r| r.struck) > 0);
}

fn losing(length: u8) -> ChainOptions {
    ChainOptions { losses: 6, breaks: 4, jumps: 3, calls: 60, ..ChainOptions::quiet(length) }
}

/// D7, D8 and D13: a damaged state makes way for an older one, and who cannot start any more is a
/// spare on an empty disk; writes that take long, and states that are durable after what was
/// written later, only cost time.
#[test]
fn a_damaged_or_slow_disk_costs_nothing_that_another_has() {
    let mut reports = Vec::new();
    for length in 2..=3 {
        let quiet = ChainOptions::quiet(length);
        let options = ChainOptions { rots: 8, slows: 4, breaks: 2, calls: 90, ..quiet };
        reports.extend(all(150, &options));
    }
    let total = |of: fn(&ChainReport) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{} disks rotted, {} began with an older state, {} were replaced, {} struck out",
        total(|r| r.rots),
        total(|r| r.older),
        total(|r| r.replaced),
        total(|r| r.struck)
    );
    assert!(total(|r| r.rots) > total(|r| r.replaced));
    assert!(total(|r| r.older) > 0 && total(|r| r.replaced) > 0, "both has happened");
}

#[test]
fn chains_stay_right_whatever_goes_wrong() {
    let mut all_of_them = Vec::new();
    for length in 1..=3 {
        for reads_any in [false, true] {
            let options = ChainOptions { reads_any, ..ChainOptions::rough(length) };
            let reports = all(80, &options);
            println!(
                "{length} members: {} events, {} updates, {} queries, {} configurations, \
                 {} repeats, {:?}",
                reports.iter().map(|r| r.events).sum::<u64>(),
                reports.iter().map(|r| r.updates).sum::<u64>(),
                reports.iter().map(|r| r.queries).sum::<u64>(),
                reports.iter().map(|r| r.configs).sum::<u64>(),
                reports.iter().map(|r| r.repeats).sum::<u64>(),
                reports.last().map(|r| r.stats),
            );
            all_of_them.extend(reports);
        }
    }
    // What these runs are about has happened.
    let happened = |of: fn(&Stats) -> u64| assert!(sum(&all_of_them, of) > 0);
    happened(|s| s.leases_lost);
    happened(|s| s.states_taken);
    happened(|s| s.dropped);
    happened(|s| s.answered_repeats);
    happened(|s| s.waiting_repeats);
    happened(|s| s.other_config);
}

/// D14 and D15: clocks that run unlike, up to the margin, cost at most a lease that ends early.
#[test]
fn clocks_that_run_unlike_within_the_margin_are_right() {
    for length in 2..=3 {
        let rough = ChainOptions::rough(length);
        all(80, &ChainOptions { drift: 90, jumps: 8, cuts: 4, ..rough });
    }
}

/// A head that takes one at a time refuses the others for a while, and all are done in the end.
#[test]
fn a_full_head_pushes_back_and_loses_nothing() {
    let mut options = ChainOptions { clients: 6, ..ChainOptions::quiet(3) };
    options.limits.pending = 1;
    let reports = all(2, &options);
    assert!(sum(&reports, |s| s.busy) > 0);
}

/// D25: a link that carries little makes the chain as slow as it is. No more than a window of
/// updates is on its way over it, however much is asked; the rest waits where it came in, and
/// nobody is taken out for it.
#[test]
fn a_narrow_link_makes_a_chain_slow_and_no_more_than_a_window_waits_before_it() {
    for length in 2..=3 {
        let mut quiet = ChainOptions { clients: 1, callers: 3, ..ChainOptions::quiet(length) };
        quiet.limits.window = if length == 2 { 2 } else { 99 };
        let narrow = ChainOptions { narrows: 24, ..quiet.clone() };
        let (before, after) = (all(20, &quiet), all(20, &narrow));
        let took = |reports: &[ChainReport]| reports.iter().map(|r| r.done).sum::<u64>();
        let held = after.iter().map(|r| r.held_up).sum::<u64>();
        let most = after.iter().map(|r| r.on_the_way).max().unwrap_or_default();
        let bytes = after.iter().map(|r| r.bytes_on_the_way).max().unwrap_or_default();
        let (slow, quick) = (took(&after), took(&before));
        println!(
            "{length} members: {held} frames held up, {slow} instead of {quick} us, \
             {most} updates of {bytes} bytes on their way"
        );
        assert!(held > 0 && slow > quick);
        // That it is never more is looked at with each message.
        let full = if length == 2 { most == 2 } else { bytes > narrow.limits.window_bytes };
        assert!(full, "the window was full");
        assert!(after.iter().all(|r| r.configs == 1), "nobody is taken out for it");
    }
}

/// D36: ten times as many clients ask, without a pause and more than the links carry, and repeat
/// what is not answered in time. Those who were there before get less meanwhile, and as much as
/// before soon after.
#[test]
fn after_a_burst_of_ten_times_as_much_a_chain_is_as_quick_as_before() {
    for length in 2..=3 {
        let quiet = ChainOptions::quiet(length);
        let within = Duration::from_secs(30);
        let (burst, keys, calls) = (30, 64, 480);
        let time_limit = 4 * within;
        let (loss, narrow) = (0, true);
        let options =
            ChainOptions { burst, keys, calls, within, time_limit, loss, narrow, ..quiet };
        let reports = all(6, &options);
        // A second after the burst all is as before.
        let between = |from: u64, to: u64| {
            let is_in = |at: &&u64| (from * 1_000_000..to * 1_000_000).contains(*at);
            let count: usize = reports.iter().map(|r| r.answers.iter().filter(is_in).count()).sum();
            1000 * count as u64 / (to - from)
        };
        let (before, during, after) = (between(1, 10), between(12, 20), between(21, 41));
        let total = |of: fn(&ChainReport) -> u64| reports.iter().map(of).sum::<u64>();
        println!(
            "{length} members: {before} answers in 1000 s of each of {} runs together, {during} in \
             the burst, {after} after it; {} repeats",
            reports.len(),
            total(|r| r.repeats)
        );
        assert!(reports.iter().all(|r| r.done > 41_000_000), "all ask as long as is looked at");
        assert!(sum(&reports, |s| s.busy) > 0 && sum(&reports, |s| s.waiting_repeats) > 0);
        assert!(during < before / 2, "it was too much");
        assert!(after >= before * 95 / 100);
        assert!(reports.iter().all(|r| r.configs == 1), "nobody is taken out for it");
    }
}

/// D37: the log does not grow with what was asked, but with the state.
#[test]
fn a_chain_that_runs_for_long_keeps_a_short_log() {
    for length in 1..=3 {
        let options = ChainOptions { calls: 1500, ..ChainOptions::quiet(length) };
        let options = ChainOptions { time_limit: Duration::from_secs(600), ..options };
        let limit = options.limits.log_bytes as usize;
        for report in all(2, &options) {
            let (updates, longest) = (report.updates, report.log_bytes);
            println!("{length} members: {updates} updates, never more than {longest} bytes of log");
            assert!(updates > 2000 && longest < 4 * limit, "of {limit} bytes is the limit");
        }
    }
}

/// Clients with the core that programs use: sessions, repeats with the same number, and answers as
/// they were executed, whatever goes wrong.
#[test]
fn callers_of_a_chain_are_answered_rightly_whatever_goes_wrong() {
    for length in 1..=3 {
        for reads_any in [false, true] {
            let rough = ChainOptions::rough(length);
            let options = ChainOptions { reads_any, clients: 1, callers: 3, ..rough };
            let reports = all(50, &options);
            let sum = |of: fn(&ChainReport) -> u64| reports.iter().map(of).sum::<u64>();
            let (answered, queries) = (sum(|r| r.answered), sum(|r| r.queries));
            let (moved, refused) = (sum(|r| r.moved), sum(|r| r.refused));
            println!(
                "{length} members, reads at any {reads_any}: {answered} updates, {queries} \
                 queries, {} repeats, {moved} moved, {refused} refused",
                sum(|r| r.repeats),
            );
            assert!(answered > 0 && queries > 0 && moved > 0 && refused > 0);
        }
    }
}

/// Without faults nobody is asked in vain once the chain is known.
#[test]
fn callers_of_a_quiet_chain_ask_the_right_replicas() {
    for length in 1..=3 {
        let options = ChainOptions { clients: 0, callers: 2, ..ChainOptions::quiet(length) };
        for report in all(20, &options) {
            assert_eq!(report.moved, 0);
            assert!(report.answered > 0 && report.queries > 0);
        }
    }
}

/// All states of a chain, its replicas in their first life.
fn searched(members: u8, updates: usize, disturbance: Disturbance) -> Result<Seen, String> {
    let options = ChainOptions::quiet(members);
    let spare = u8::from(disturbance == Disturbance::Join);
    let first = |i| Setup { incarnation: 1, ..setup(i, &options) };
    let setups = (0..members + spare).map(first).collect();
    search(setups, usize::from(members), updates, disturbance, 2_000_000)
}

#[track_caller]
fn explored(members: u8, updates: usize, disturbance: Disturbance) -> Seen {
    let seen = searched(members, updates, disturbance);
    let seen = seen.unwrap_or_else(|what| panic!("{members}, {updates}, {disturbance:?}: {what}"));
    println!("{members} members, {updates} updates, {disturbance:?}: {seen:?}");
    seen
}

/// CH-F1, CH-F2, CH-F3, CH-F6 and turned orders.
#[test]
fn a_chain_of_two_is_right_in_every_order_of_delivery() {
    for disturbance in [
        Disturbance::None,
        Disturbance::Stop(0),
        Disturbance::Stop(1),
        Disturbance::Expire(0),
        Disturbance::Expire(1),
        Disturbance::Break(0),
        Disturbance::Turn,
        Disturbance::Join,
        Disturbance::Outage,
    ] {
        let seen = explored(2, 1, disturbance);
        assert!(seen.ends > 0);
    }
    explored(2, 2, Disturbance::None);
}

/// CH-U1 to CH-U3, CH-F1, CH-F3 with two on their way.
#[test]
fn two_updates_and_a_stop_are_right_in_every_order_of_delivery() {
    for disturbance in [Disturbance::Stop(0), Disturbance::Stop(1), Disturbance::Outage] {
        explored(2, 2, disturbance);
    }
}

/// CH-F1 to CH-F3: head, middle and tail.
#[test]
fn a_chain_of_three_is_right_in_every_order_of_delivery() {
    for disturbance in [
        Disturbance::None,
        Disturbance::Stop(0),
        Disturbance::Stop(1),
        Disturbance::Stop(2),
        Disturbance::Expire(1),
        Disturbance::Expire(2),
        Disturbance::Break(1),
        Disturbance::Turn,
        Disturbance::Outage,
    ] {
        explored(3, 1, disturbance);
    }
}

/// What goes wrong in the run that hunts a bug, beside what it is about.
#[cfg(feature = "plant")]
fn hunt(name: &str) -> ChainOptions {
    let rough = ChainOptions::rough(3);
    let quiet = ChainOptions::quiet(3);
    match name {
        "ch-repeats-run" | "ch-ack-before-commit" | "ch-commit-before-durable" => quiet,
        "ch-reads-uncommitted-keys" => ChainOptions { calls: 60, ..quiet },
        // Who is cut off or stands still goes on with a lease that is over.
        "ch-lease-from-answer" | "ch-serves-after-lease" | "ch-master-takes-early" => {
            let (margin, master_delay) = (Duration::ZERO, Duration::from_millis(150));
            let quiet = ChainOptions::quiet(2);
            ChainOptions { cuts: 10, margin, master_delay, drift: 0, calls: 60, ..quiet }
        }
        "ch-opens-at-once" => ChainOptions { reorders: 12, calls: 60, ..quiet },
        "ch-window-by-count" => ChainOptions { callers: 4, narrows: 24, ..quiet },
        "ch-fresh-is-sure" => ChainOptions { unsure: true, ..losing(2) },
        "ch-append-unpaired" => ChainOptions { crashes: 6, calls: 60, ..quiet },
        _ => rough,
    }
}

#[cfg(feature = "plant")]
#[test]
fn every_planted_bug_of_the_chain_is_noticed() {
    use quorate::types::plant::{PLANTS, plant};
    let mut missed = Vec::new();
    for (name, rule) in PLANTS.iter().filter(|(name, _)| name.starts_with("ch-")) {
        plant(Some(name));
        let found = match *name {
            "ch-resume-ignored" => searched(3, 1, Disturbance::Stop(1)).err(),
            "ch-resumes-before-ready" => searched(3, 1, Disturbance::Turn).err(),
            other => (0..40).find_map(|seed| run(seed, &hunt(other)).err()),
        };
        plant(None);
        match found {
            Some(what) => println!("{name}: {}", what.lines().next().unwrap_or_default()),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}
