//! Planted bugs: one place in the code asks by name whether a known mistake should be made.
//!
//! With the feature `plant` (on in tests only) a test chooses one at run time and shows that the
//! checks catch it. Without the feature every question is the constant `false`.

#[cfg(feature = "plant")]
use std::cell::Cell;

/// Every planted bug by name, with the rule that it breaks.
pub const PLANTS: &[(&str, &str)] = &[
    ("o1-t-candidates-accept", "O1: a request is accepted with t candidates"),
    ("o1-late-candidate-counts", "O1: a second candidate of one replica replaces its first"),
    ("o2-smallest-candidate", "O2: the unique id is the smallest candidate, not the (t+1)-th"),
    ("o2-largest-candidate", "O2: the unique id is the largest candidate"),
    ("o3-no-stability", "O3: an accepted request is due at once"),
    ("o3-order-by-digest", "O3: due requests run in the order of their digests"),
    ("o3-never-overdue", "O3: rule (i) is left out, so a fake candidate holds requests back"),
    ("o5-clock-of-first-member", "O2: the agreed clock is the first member's"),
    ("o6-no-duplicate-check", "O6: a number that was executed runs again"),
    ("o6-name-used-again", "O6: a cautious opening opens what may have been evicted"),
    ("c2-withdrawal-spends-nothing", "C2: a withdrawn number is free as before"),
    ("c2-withdrawn-runs", "C2: a request runs that comes after its number was withdrawn"),
    ("r2-sign-twice", "R2: a member signs a second proposal for a round after a link came up"),
    ("r3-commit-early", "R3: a vector counts as committed when it is complete"),
    ("r4-accept-low-candidate", "R4: candidates below the sender's highest are let through"),
    ("q1-chosen-not-awaited", "Q1: a query is answered before what was chosen is executed"),
    ("q1-follower-answers", "Q1: who is no member answers queries"),
    ("q1-entering-answers", "Q1: a member that has sent nothing in its epoch answers queries"),
    ("q1-frozen-answers", "Q1: a replica that has promised a later epoch answers queries"),
    ("q1-unsynced-answers", "Q1: an answer shows what is not on the disk yet"),
    ("q1-openings-mixed", "Q1: answers of different epochs add up at the client"),
    ("e1-blame-early", "E1: a member is blamed after half of Δ, not after patience"),
    ("e1-lag-unbudgeted", "E1: a member is blamed after a usual wait, whatever its budget"),
    ("e1-lag-uncounted", "E1: what a member is waited for beyond the usual is not charged"),
    ("e1-lag-asleep", "E1: members are charged for time in which this replica did not run"),
    ("e1-lag-unsettled", "E1: who is accused otherwise was not charged for the wait"),
    ("e1-blames-stay", "E1: once a replica has blamed often in vain nobody takes its Blames"),
    ("e2-charges-go", "E2: what t + 1 blame makes room for what liars say later"),
    (
        "e2-reports-hide-rounds",
        "E2: what t + 1 blame for a Report hides what they blame for rounds",
    ),
    ("e1-blames-again", "E1: what was blamed in an epoch that is over is said again all the time"),
    ("e4-one-report-each", "E4: of two Reports of one liar only one is shown with a call"),
    ("e4-evidence-cut", "E4: where too much was blamed, some of the accused are shown without why"),
    ("e4-evidence-unbounded", "E4: a call is sent with all that was blamed, more than fits"),
    ("e2-t-blames", "E2: t blames accuse a replica"),
    ("e2-restarted-counts-nowhere", "E2: who says that it restarted is not accused by that"),
    ("e2-held-is-shown", "E2: a Report that is held counts as shown, whatever it names"),
    ("e3-cut-takes-later", "E3: an opening takes changes that came after the cut off the list"),
    ("e4-no-freeze", "E4: a replica that has taken a call goes on signing and committing"),
    ("e4-evidence-forgotten", "E4: what a promised call rests on is not taken up from the disk"),
    ("e5-report-less", "E5: a Report names a vector two rounds before the highest complete one"),
    ("e5-send-before-sync", "E5: a Report is sent before it is on disk"),
    (
        "e6-other-reports-unasked",
        "E6: Reports that others' first proposals choose are not asked for",
    ),
    ("e6-enters-at-once", "E6: the own Report need not have been out for Δ"),
    ("e6-any-list", "E6: a call of the same root with another list keeps nobody from entering"),
    ("e6-wait-stays", "E6: the end of a wait that is given up is still waited for"),
    ("e8-never-stalled", "E8: nobody ever says that a root is stalled"),
    ("e8-own-root-only", "E8: a Stalled of a later reset does not count for the one before"),
    ("s7-opening-stays", "§7: an opening that a state taken over has already waits on"),
    ("r6-gather-first", "R6: one that gathers is not woken to join a round that others started"),
    ("r6-late-twice", "R6: who lacks a round waits join_delay again once it has it"),
    ("r7-gap-not-asked", "R7: a follower that misses whole rounds does not ask for history"),
    ("r7-one-epoch-only", "R7: after one past epoch the next is not looked at"),
    ("r7-newest-only", "R7: what came before the newest snapshot goes when that is attested"),
    ("r7-no-bound", "R7: a follower takes rounds in however much waits for bodies"),
    ("r7-short-sight", "R7: a follower keeps the proposals of 16 rounds only"),
    ("r7-near-gap", "R7: a follower a few rounds behind does not ask for history"),
    ("r1-any-choice", "R1: a vector counts as complete although its proposals choose differently"),
    ("delta-offset-stays", "§3: delays are measured without taking off how clocks differ"),
    ("delta-late-untold", "§3: a message that took more than Δ is not told"),
    ("r5-lies-hide", "R5: of one proposal only two of the ones that choices name are asked for"),
    ("r5-never-ask", "R5: what is missing of a round is not asked for"),
    ("r5-ask-at-once", "R5: what is named is asked for again with every answer, not after 2Δ"),
    ("e6-propose-before-sync", "E6: the first proposal is sent before the opening is on disk"),
    ("e7-clock-not-raised", "E7: a clock is not raised to the own last in the chain"),
    ("e7-old-ids", "E7: candidates that an opening dropped are proposed with their old ids"),
    ("f1-lowest-entered", "F1: e* is the lowest epoch entered, not the highest"),
    ("f2-smallest-hash", "F2: the base is the vector with the smallest hash, whoever chose it"),
    ("f2-liars-count", "F2: Reports of proven liars speak of the base"),
    ("f3-liar-is-silent", "F3: who lied is out as if it had been silent"),
    ("s6-attests-garbage", "§6: a replica attests other outputs than it had"),
    ("s6-compares-with-t", "§6: t that agree are enough to call others the minority"),
    ("s6-quarantine-answers", "§6: one in the minority keeps its state and goes on answering"),
    ("m1-join-at-once", "M1: a Join is accepted before the wait is over"),
    ("m1-waits-for-its-call", "M1: one with a promise that nobody shares never asks to join"),
    ("m1-join-behind", "M1: what is heard before there is a state does not say who is ahead"),
    ("m4-leaving-is-free", "M4: who leaves by itself may come back at once, as often as it likes"),
    ("m4-no-doubling", "M4: the wait of one that fails often stays as it was"),
    ("o1-keep-dropped", "O1: an opening drops no candidates"),
    ("o7-nothing-is-void", "O7: requests whose bodies are lost are not void"),
    ("s7-signs-on", "§7: a restarted replica signs in the epoch that it had entered"),
    ("s7-signs-again", "§7: a restarted replica that enters its old epoch again signs in it"),
    ("o7-seen-while-read", "O7: void requests are seen again while the log is read"),
    ("o7-spent-goes", "O7: a request that can have no effect any more is not kept for its turn"),
    ("s7-legs-forgotten", "§7: openings on the way to one that was entered are not in the log"),
    ("s7-strict-sends-first", "§7, strict: a proposal leaves before it is on the disk"),
    ("s7-strict-shown-if-asked", "§7, strict: who asks gets a proposal before it is on the disk"),
    ("s7-strict-forgets-own", "§7, strict: a start goes on without the proposal in its log"),
    ("s7-strict-without-bodies", "§7, strict: a proposal's requests are not in the log with it"),
    ("s7-strict-bodies-go", "§7, strict: a snapshot takes requests that have not run off the log"),
    ("s7-promise-forgotten", "§7: a promise is not taken up from the disk"),
    ("s7-report-anew", "§7: a Report is made anew after a restart, not taken from the disk"),
    ("s7-state-unheard", "§7: what was heard before a state was taken over is not considered"),
    ("s7-last-not-kept", "§7: a snapshot that waits for attestations keeps newer ones out"),
    ("s7-frozen-follows", "§7: a snapshot's bytes are made of the present state of the service"),
    ("s6-receipt-before-sync", "§6: what was signed before the step was on the disk counts"),
    ("s6-receipt-of-others", "§6: a client is given the proof of another client's reply"),
    ("s6-weak-receipt", "§6: a client that wants a strong receipt takes any that is valid"),
    ("r6-receipts-wait", "R6: a receipt that is wanted is no reason to run rounds"),
    ("s7-forward-unsaid", "§7: a later state is thought to have all that was executed before"),
    ("s7-unknown-is-none", "§7: who does not know what it gave up says that it was nothing"),
    ("s7-reply-before-sync", "§7: replies leave before what they rest on is on disk"),
    (
        "o7-committed-only",
        "O7: a Report tells of bodies of what is committed, not of what it names",
    ),
    ("o7-void-stays-executed", "O7: what an opening voids in its base cannot be sent again"),
    ("r7-not-passed-over", "R7: one that entered an epoch alone does not see that others left it"),
    ("s7-rolled-unsaid", "§7: one that gave up what it had executed does not say so"),
    ("s7-never-undone", "§7: only the state of others helps one that is astray"),
    ("s7-undone-is-read", "§7: what was given up is read from the log nevertheless"),
    ("o7-runs-before-opening", "O7: what is void by the log runs when it is read"),
    ("s7-never-rolled-back", "§7: what is not in the history of an opening is never given up"),
    ("s7-attests-undone", "§7: a proposal attests what the opening of its epoch undoes"),
    ("s7-one-leg-only", "§7: of an opening over several epochs the vectors of one are taken up"),
    ("s7-opening-forgotten", "§7: Reports of an opening that a start cannot build are forgotten"),
    ("s7-reports-what-is-past", "§7: one that starts reports for an epoch that its state is past"),
    ("s7-members-have-a-state", "§7: no snapshot is taken for a member that has no state"),
    ("r5-past-openings-gone", "R5: Reports of openings that are committed are not shown"),
    ("r7-promise-first", "R7: the promised epoch keeps a replica from following a later one"),
    ("r7-one-history-only", "R7: a state is fetched as soon as one peer keeps no history so old"),
    ("o3-lost-gives-none", "O3: a member without its state gives no candidates"),
    ("o7-only-its-epoch", "O7: a Report knows nothing of what was accepted before its epoch"),
    ("o7-base-not-counted", "O7: a Report tells nothing of bodies of a base from the disk"),
    ("o7-checkpoint-before-void", "O7: a state that a later opening changes is a checkpoint"),
    ("o7-takes-up-between", "O7: a state is taken up between a Report and its epoch"),
    ("o7-waits-without-a-state", "O7: a state of a later epoch waits at one without a state"),
    ("o7-dead-branch-is-dumb", "O7: one that entered an epoch others passed over knows nothing"),
    ("o7-void-in-need", "O7: an opening asks for bodies that an earlier one made void"),
    ("o7-runs-too-early", "O7: what an opening may make void is executed before it"),
    ("o7-forgets-what-came-since", "O7: a void request that came again since is forgotten"),
    ("o7-restarted-has-none", "O7: one that has restarted is taken for one without any body"),
    ("c2-restarted-is-dumb", "C2: one that has restarted does not repeat what it executed since"),
    ("s7-empty-disk-starts", "§7: an empty disk is taken for a new replica's, whatever others say"),
    ("s7-replaced-disk-reports", "§7: one with a replaced disk reports before it has joined anew"),
    ("s7-rounds-unsynced", "§7: entries of the log are said to be durable before a sync"),
    ("s7-log-cut-early", "§7: the log is cut before the snapshot that replaces it is durable"),
    ("s7-epochs-unsynced", "§7: records of epochs are said to be durable before a sync"),
    ("s7-epochs-not-renewed", "§7: what a start finds in epochs.log need not be durable"),
    ("s7-snapshot-of-t", "§7: a snapshot that t replicas attest is taken up"),
    ("s7-chunk-unchecked", "§7: a chunk is taken without a look at its digest"),
    ("s7-liar-asked-again", "§7: a source that lied is asked again at once"),
    ("s7-link-takes-all", "§7: what came of a snapshot is lost with a link"),
    ("s7-one-claimant-named", "§7: of those who agreed on a wrong list one alone is put aside"),
    ("m2-leaves-too-few", "M2, E3: a Leave counts though it leaves fewer than t + 1 members"),
    ("m3-no-second-change", "M3: a replaced key goes, and the new one never comes in"),
    ("s6-signer-counts-twice", "§6: two attestations of one replica in a receipt are two"),
    ("s6-list-believed", "§6: the lists of members in a receipt say how many must have signed"),
    ("s6-index-unbound", "§6: a receipt's index need not be the place that its path shows"),
    ("s6-rounds-apart", "§6: rounds of a receipt need only rise"),
    ("s6-rolled-is-strong", "§6: who had given up something counts for a strong receipt"),
    ("s6-any-key-counts", "§6: a key of which only the receipt speaks counts"),
    ("c1-accept-t-replies", "C1: a client accepts what t replicas say"),
    ("c1-count-replica-twice", "C1: two replies of one replica are two votes"),
    ("c3-whole-unfitting", "C3: a digest is accepted with a whole result that it is not of"),
    ("c3-repeat-digested", "C3: a repeat is answered with a digest"),
    ("ch-repeats-run", "CH-U1: a repeat of an update runs again"),
    ("ch-ack-before-commit", "CH-U3: a replica acknowledges what it has, not what is committed"),
    ("ch-commit-before-durable", "CH-U4: the tail commits before the watermark covers it"),
    ("ch-reads-uncommitted-keys", "CH-Q2: a replica reads what an update on its way touches"),
    ("ch-lease-from-answer", "CH-L1: a lease runs from the answer to its renewal"),
    ("ch-serves-after-lease", "CH-L1: a replica serves after its lease"),
    ("ch-master-takes-early", "CH-L2: a member is taken out before its lease is over"),
    ("ch-head-forgets-sent", "CH-F1: a new head drops what is not committed"),
    ("ch-opens-at-once", "CH-F2: a new tail answers before it has heard from its predecessor"),
    ("ch-resume-ignored", "CH-F3: the successor's last number is ignored"),
    ("ch-resumes-before-ready", "CH-F3: what both have is found before the own history is settled"),
    ("master-takes-unwitnessed", "CH-L2: a member is taken out though no other is known to live"),
    ("master-lost-reports", "CH-F6: what a replaced disk has counts as a report"),
    ("ch-window-by-count", "chain: however long updates are, as many are sent as the window has"),
    ("ch-fresh-is-sure", "CH-F6: who begins on an empty disk says that it had nothing"),
    ("ch-append-unpaired", "CH-F4: who joins is appended before it has all that is committed"),
];

#[cfg(feature = "plant")]
thread_local! {
    static CHOSEN: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Plants a bug in everything that this thread runs from now on, or several with a `+` between
/// their names; `None` takes all out again.
///
/// # Panics
/// If [`PLANTS`] does not list it.
#[cfg(feature = "plant")]
pub fn plant(name: Option<&'static str>) {
    let known = |n: &str| PLANTS.iter().any(|(listed, _)| *listed == n);
    let all = |names: &str| names.split('+').all(known);
    assert!(name.is_none_or(all), "no planted bug is called {name:?}");
    CHOSEN.set(name);
}

/// Whether the bug of this name is planted.
#[cfg(feature = "plant")]
pub fn planted(name: &'static str) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen == name || chosen.split('+').any(|n| n == name))
}

/// Whether the bug of this name is planted: never, without the feature `plant`.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub const fn planted(_name: &'static str) -> bool {
    false
}
