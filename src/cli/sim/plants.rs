//! `quorate sim --plants`: how soon the checkers object to each known bug.

use super::modes::Mode;
use super::play::play;
use super::pool::cpu_time;
use crate::cli::{Failure, output};
use crate::types::plant::{PLANTS, plant};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

/// Processor time at most that is spent on one bug.
const LONGEST: Duration = Duration::from_secs(20);

/// What is tried, in turn: the mode and t. Nothing in it is made for any one of the bugs.
const TRIED: [(Mode, u8); 8] = [
    (Mode::Random, 1),
    (Mode::Liars, 1),
    (Mode::Crash, 1),
    (Mode::Network, 1),
    (Mode::Fair, 1),
    (Mode::Liars, 2),
    (Mode::Random, 2),
    (Mode::Power, 1),
];

/// Bugs that no run of these modes shows in reasonable time, with the tests that find them.
const ELSEWHERE: [(&str, &str); 144] = [
    ("r5-lies-hide", "src/ordering/withheld_tests.rs r5_lies_about_a_choice_do_not_hide_the_truth"),
    (
        "r6-late-twice",
        "src/ordering/withheld_tests.rs r6_a_round_that_others_started_is_joined_in_time",
    ),
    ("r6-gather-first", "src/ordering/lag_tests.rs r6_one_that_gathers_joins_in_time"),
    ("e1-lag-unbudgeted", LAGS),
    ("e1-lag-uncounted", LAGS),
    ("e1-lag-asleep", LAG_ASLEEP),
    ("e1-lag-unsettled", LAG_LEFT),
    ("e1-blames-stay", BLAMES),
    ("e2-charges-go", BLAMES),
    ("e2-reports-hide-rounds", "src/ordering/epoch/store_tests.rs what_a_call_rests_on_is_kept"),
    ("e1-blames-again", "src/ordering/lag_tests.rs what_was_blamed_in_an_epoch_that_is_over"),
    ("e4-one-report-each", "src/ordering/convinces_tests.rs e4_two_reports_of_a_liar_are_both"),
    ("e4-evidence-cut", "src/ordering/lag_tests.rs all_of_the_accused_are_shown_with_why"),
    ("e4-evidence-unbounded", "src/ordering/lag_tests.rs what_a_call_rests_on_fits_into_a_message"),
    ("delta-offset-stays", METER),
    ("delta-late-untold", METER),
    ("s6-attests-garbage", DIVERGENCE),
    ("s6-compares-with-t", DIVERGENCE),
    ("s6-quarantine-answers", DIVERGENCE),
    ("s6-signer-counts-twice", RECEIPTS),
    ("s6-list-believed", RECEIPTS),
    ("s6-index-unbound", RECEIPTS),
    ("s6-rounds-apart", RECEIPTS),
    ("s6-rolled-is-strong", "src/proof/receipt/tests.rs a_planted_bug_in_what_is_strong_is_caught"),
    ("s6-any-key-counts", "src/proof/receipt/file_tests.rs keys_that_a_liar_made_up_do_not_count"),
    (
        "s6-receipt-before-sync",
        "src/replica/receipts_tests.rs \
         a_receipt_of_what_was_signed_before_it_was_on_the_disk_is_noticed",
    ),
    (
        "s6-receipt-of-others",
        "src/replica/receipts_tests.rs a_proof_that_is_shown_to_others_is_noticed",
    ),
    ("s6-weak-receipt", "src/caller/receipts_tests.rs a_weak_receipt_for_a_strong_one_is_noticed"),
    (
        "r6-receipts-wait",
        "src/replica/receipts_tests.rs rounds_that_are_not_run_for_a_receipt_are_noticed",
    ),
    (
        "s7-unknown-is-none",
        "src/replica/replica_tests.rs who_takes_what_it_does_not_know_for_nothing_is_noticed",
    ),
    ("o6-name-used-again", WITHDRAWALS),
    ("c2-withdrawal-spends-nothing", WITHDRAWALS),
    ("c2-withdrawn-runs", WITHDRAWALS),
    ("q1-chosen-not-awaited", READS),
    ("q1-follower-answers", READS),
    ("q1-entering-answers", READS),
    ("q1-frozen-answers", READS),
    ("q1-unsynced-answers", UNSYNCED),
    ("q1-openings-mixed", MIXED),
    ("master-takes-unwitnessed", WITNESS),
    ("master-lost-reports", MASTER),
    ("ch-repeats-run", CHAINS),
    ("ch-ack-before-commit", CHAINS),
    ("ch-commit-before-durable", CHAINS),
    ("ch-reads-uncommitted-keys", CHAINS),
    ("ch-lease-from-answer", CHAINS),
    ("ch-serves-after-lease", CHAINS),
    ("ch-master-takes-early", CHAINS),
    ("ch-head-forgets-sent", CHAINS),
    ("ch-opens-at-once", CHAINS),
    ("ch-resume-ignored", CHAINS),
    ("ch-resumes-before-ready", CHAINS),
    ("ch-window-by-count", CHAINS),
    ("ch-fresh-is-sure", CHAINS),
    ("ch-append-unpaired", CHAINS),
    ("s7-rounds-unsynced", CRASHES),
    ("s7-log-cut-early", CRASHES),
    ("s7-epochs-unsynced", CRASHES),
    ("s7-epochs-not-renewed", CRASHES),
    ("o1-late-candidate-counts", ORDER),
    ("f1-lowest-entered", OPENINGS),
    ("f2-smallest-hash", OPENINGS),
    ("f2-liars-count", OPENINGS),
    ("f3-liar-is-silent", OPENINGS),
    ("m1-join-at-once", OPENINGS),
    ("m4-no-doubling", OPENINGS),
    ("m1-join-behind", LOAD),
    ("r7-short-sight", LOAD),
    ("r7-no-bound", "tests/it/epochs.rs one_for_whom_too_much_waits_catches_up"),
    ("r7-newest-only", LOAD),
    ("o1-keep-dropped", OPENINGS),
    ("o7-nothing-is-void", OPENINGS),
    ("s7-snapshot-of-t", FETCHING),
    ("s7-chunk-unchecked", FETCHING),
    ("s7-liar-asked-again", FETCHING),
    ("s7-link-takes-all", FETCHING),
    ("s7-one-claimant-named", FETCHING),
    ("s7-frozen-follows", FROZEN),
    ("o2-largest-candidate", HUNTS),
    ("o3-no-stability", HUNTS),
    ("o5-clock-of-first-member", HUNTS),
    ("r4-accept-low-candidate", HUNTS),
    ("e2-restarted-counts-nowhere", HUNTS),
    ("m3-no-second-change", HUNTS),
    ("c1-count-replica-twice", HUNTS),
    ("c3-whole-unfitting", HUNTS),
    ("c3-repeat-digested", HUNTS),
    ("s7-reply-before-sync", SEEDS),
    ("s7-never-rolled-back", SEEDS),
    ("s7-never-undone", SEEDS),
    ("s7-rolled-unsaid", SEEDS),
    ("s7-undone-is-read", "tests/it/offline.rs what_was_given_up_is_not_executed_again"),
    ("o7-runs-before-opening", SEEDS),
    ("o7-committed-only", SEEDS),
    ("o7-void-stays-executed", SEEDS),
    ("r7-not-passed-over", SEEDS),
    ("s7-attests-undone", SEEDS),
    ("s7-one-leg-only", SEEDS),
    ("s7-opening-forgotten", SEEDS),
    ("s7-reports-what-is-past", SEEDS),
    (
        "s7-members-have-a-state",
        "src/replica/replica_tests.rs members_take_snapshots_for_one_of_them_without_a_state",
    ),
    ("r5-past-openings-gone", SEEDS),
    ("r7-promise-first", SEEDS),
    ("s7-forward-unsaid", SEEDS),
    ("m1-waits-for-its-call", SEEDS),
    ("r7-one-history-only", HISTORY),
    ("o3-lost-gives-none", "src/replica/replica_tests.rs members_without_a_state_give_candidates"),
    ("o7-only-its-epoch", SEEDS),
    ("o7-base-not-counted", SEEDS),
    ("o7-checkpoint-before-void", SEEDS),
    ("o7-takes-up-between", BETWEEN),
    ("o7-dead-branch-is-dumb", BRANCH),
    ("o7-void-in-need", SEEDS),
    ("o7-waits-without-a-state", SEEDS),
    ("o7-runs-too-early", SEEDS),
    (
        "o7-forgets-what-came-since",
        "src/cli/sim/tests.rs what_came_again_since_it_was_void_is_not_forgotten",
    ),
    ("c2-restarted-is-dumb", SEEDS),
    ("r5-never-ask", CORE),
    ("e7-old-ids", MODES),
    ("e8-own-root-only", SEEDS),
    ("r5-ask-at-once", SEEDS),
    ("r7-near-gap", SEEDS),
    ("r7-one-epoch-only", SEEDS),
    ("s7-last-not-kept", SHELF),
    (
        "s7-opening-stays",
        "src/ordering/restarts_tests.rs an_opening_is_committed_with_the_state_taken_up",
    ),
    (
        "s7-signs-again",
        "src/ordering/restarts_tests.rs one_that_restarted_signs_in_later_epochs_only",
    ),
    ("s7-state-unheard", SEEDS),
    ("e2-held-is-shown", STORIES),
    ("e3-cut-takes-later", ROSTER),
    ("m2-leaves-too-few", ROSTER),
    ("m4-leaving-is-free", ROSTER),
    ("e6-enters-at-once", ENTERING),
    ("e6-any-list", ENTERING),
    ("e6-other-reports-unasked", STORIES),
    ("o7-spent-goes", STRICT),
    ("e6-wait-stays", "src/cli/sim/tests.rs a_wait_that_is_given_up_is_over"),
    ("o7-seen-while-read", "src/cli/sim/tests.rs nothing_is_seen_while_the_log_is_read"),
    ("s7-legs-forgotten", "src/cli/sim/tests.rs openings_on_the_way_are_in_the_log"),
    ("s7-strict-sends-first", STRICT),
    ("s7-strict-shown-if-asked", STRICT),
    ("s7-strict-forgets-own", STRICT),
    ("s7-strict-without-bodies", STRICT),
    ("s7-strict-bodies-go", STRICT),
    ("e4-evidence-forgotten", STRICT),
];
const LAGS: &str = "src/ordering/lag_tests.rs planted_mistakes_about_budgets_are_noticed";
const LAG_ASLEEP: &str =
    "src/ordering/lag_tests.rs a_replica_that_did_not_run_charges_nobody_for_that";
const LAG_LEFT: &str =
    "src/ordering/lag_tests.rs who_leaves_the_epoch_otherwise_is_charged_for_the_wait";
const BLAMES: &str =
    "src/ordering/epoch/store_tests.rs the_lowest_blames_make_room_but_for_the_highest_of_a_quorum";
const METER: &str = "tests/it/delta.rs what_is_planted_in_the_meter_is_noticed";
const DIVERGENCE: &str = "tests/it/divergence.rs planted_bugs_of_quarantines_are_noticed";
const RECEIPTS: &str = "src/proof/receipt/tests.rs planted_bugs_in_the_judging_are_caught";
const WITHDRAWALS: &str =
    "src/service/sessions/withdraw_tests.rs planted_bugs_of_withdrawals_and_names_are_caught";
const READS: &str = "src/ordering/reads_tests.rs the_planted_bugs_of_reads_are_caught";
const UNSYNCED: &str = "src/replica/reads_tests.rs an_answer_that_is_not_on_the_disk_is_noticed";
const MIXED: &str = "src/caller/voting_tests.rs answers_that_are_mixed_are_noticed";
const ROSTER: &str =
    "src/ordering/roster_tests.rs the_planted_bugs_of_the_roster_change_who_is_a_member";
const ENTERING: &str = "src/ordering/entering_tests.rs the_planted_bugs_of_entering_are_noticed";
const STRICT: &str = "src/cli/sim/tests.rs what_was_written_before_it_left_is_gone_on_from";
const BETWEEN: &str = "src/cli/sim/tests.rs a_snapshot_waits_for_the_opening_after_a_report";
const BRANCH: &str =
    "src/cli/sim/tests.rs who_entered_what_others_passed_over_knows_what_came_before";
const CORE: &str = "src/ordering/core_tests.rs r5_what_is_planted_is_not_asked_for";
const SHELF: &str =
    "src/replica/transfer/shelf_tests.rs a_planted_shelf_that_keeps_the_first_is_noticed";
const CRASHES: &str =
    "src/daemon/disk/tests/crash/mod.rs each_planted_mistake_is_noticed_by_a_crash_somewhere";
const HISTORY: &str =
    "src/ordering/core_tests.rs r7_one_that_asks_nobody_else_for_history_is_noticed";
const FETCHING: &str =
    "src/replica/transfer/download_tests.rs planted_bugs_of_fetching_are_noticed";
const FROZEN: &str = "src/replica/transfer/tests.rs a_planted_state_that_follows_is_noticed";
const LOAD: &str = "tests/it/epochs.rs one_that_restarts_under_load_joins_when_it_has_caught_up";
const MODES: &str = "src/cli/sim/tests.rs the_modes_find_what_is_planted_in_changes_of_the_epoch";
const SEEDS: &str = "src/cli/sim/tests.rs \
                     seeds_that_once_failed_pass_and_fail_with_the_old_mistake_only";
const STORIES: &str = "tests/it/explore.rs stories_find_what_is_planted";
const ORDER: &str = "src/ordering/order_tests.rs the_planted_bugs_of_the_order_change_what_runs";
const OPENINGS: &str = "src/ordering/epoch/opening_tests.rs \
                        the_planted_bugs_of_openings_change_who_is_a_member";
const WITNESS: &str = "src/master/tests.rs one_that_is_taken_out_unwitnessed_is_noticed";
const MASTER: &str = "src/master/tests.rs a_replaced_disk_that_reports_is_noticed";
/// Runs that are made for the bug.
const CHAINS: &str = "tests/it/chain.rs every_planted_bug_of_the_chain_is_noticed";
const HUNTS: &str = "tests/it/planted.rs every_planted_bug_is_noticed";

struct Found {
    mode: Mode,
    t: u8,
    what: String,
}

/// One bug, and how it was hunted.
struct Row {
    name: &'static str,
    found: Option<Found>,
    runs: u64,
    cpu: Duration,
}

/// Whether all these are names of planted bugs.
///
/// # Errors
/// The one that is none.
pub(super) fn known(names: &str) -> Result<String, String> {
    let is = |n: &&str| PLANTS.iter().any(|(listed, _)| listed == n);
    match names.split('+').find(|n| !is(n)) {
        Some(none) => Err(format!("no planted bug is called {none:?}; --plants lists them")),
        None => Ok(names.to_owned()),
    }
}

/// Plants these in every run from now on.
pub(super) fn plant_in_all(names: Option<String>) {
    if let Some(names) = names {
        // Once in the life of a process.
        let _ = IN_ALL.set(names);
    }
}

/// Plants in this thread what is planted in all runs.
pub(super) fn plant_here() {
    if let Some(names) = IN_ALL.get() {
        plant(Some(names));
    }
}

static IN_ALL: OnceLock<String> = OnceLock::new();

/// Hunts all of them from a seed on, each with so many seeds at most.
///
/// # Errors
/// If a bug is neither found nor known to be found elsewhere.
pub(super) fn hunt(first: u64, seeds: Option<u64>) -> anyhow::Result<ExitCode> {
    output::print("found by          runs  CPU s  plant, and what was seen\n")?;
    let mut rows = Vec::new();
    let wanted = PLANTS.iter().filter(|(name, _)| !is_elsewhere(name));
    for (name, rule) in wanted {
        let row = one(name, first, seeds.unwrap_or(u64::MAX));
        let (by, what) = match &row.found {
            Some(found) => (format!("{} t={}", found.mode, found.t), short(&found.what)),
            None => ("nothing".to_owned(), String::new()),
        };
        let (runs, cpu) = (row.runs, row.cpu.as_secs_f64());
        output::print(&format!("{by:<15} {runs:>6} {cpu:>6.2}  {name} ({rule})\n{what}"))?;
        rows.push(row);
    }
    output::print(&summary(&rows))?;
    let missed: Vec<&str> = rows.iter().filter(|r| r.found.is_none()).map(|r| r.name).collect();
    match missed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => {
            let message = format!("not found: {}", missed.join(", "));
            Err(Failure { code: 1, message }.into())
        }
    }
}

fn is_elsewhere(name: &str) -> bool {
    ELSEWHERE.iter().any(|(other, _)| *other == name)
}

fn one(name: &'static str, first: u64, seeds: u64) -> Row {
    let (began, mut runs) = (cpu_time().unwrap_or_default(), 0);
    let spent = || cpu_time().unwrap_or_default().saturating_sub(began);
    plant(Some(name));
    let mut found = None;
    'seeds: for seed in (first..=u64::MAX).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        for (mode, t) in TRIED {
            if spent() >= LONGEST {
                break 'seeds;
            }
            runs += 1;
            let options = mode.options(seed, t, None);
            if let Err(broken) = play(seed, &options, &mut |_, _, _| {}) {
                found = Some(Found { mode, t, what: broken.what });
                break 'seeds;
            }
        }
    }
    plant(None);
    Row { name, found, runs, cpu: spent() }
}

// The first words of what was seen.
fn short(what: &str) -> String {
    let line: String = what.lines().next().unwrap_or("").chars().take(100).collect();
    format!("{:>31}{line}\n", "")
}

fn summary(rows: &[Row]) -> String {
    let mut found: Vec<&Row> = rows.iter().filter(|r| r.found.is_some()).collect();
    found.sort_by_key(|r| r.cpu);
    let mut out = format!("\n{} of {} bugs found by simulation", found.len(), PLANTS.len());
    if let (Some(median), Some(worst)) = (found.get(found.len() / 2), found.last()) {
        let (median, of) = (median.cpu.as_secs_f64(), worst.name);
        let worst = worst.cpu.as_secs_f64();
        out += &format!("; CPU seconds: median {median:.2}, worst {worst:.2} ({of})");
    }
    out += "\nby other tests:\n";
    for (name, test) in ELSEWHERE {
        out += &format!("  {name}: {test}\n");
    }
    out
}
