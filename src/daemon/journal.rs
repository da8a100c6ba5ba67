//! Events as log lines.

use crate::ordering::Reason;
use crate::replica::{Event, Recovered};
use tracing::{debug, error, info, warn};

/// Logs an event in words that a person can act on.
pub(super) fn log(event: &Event) {
    match event {
        // What it means is the last word of the process.
        Event::DiskLost => {
            error!("the others have run rounds with this replica, whose disk is empty")
        }
        Event::Restarted => warn!(
            "this replica took part before: it says so, signs nothing in the epoch it was in, \
             follows the others and joins them again"
        ),
        Event::Recovered(found) => log_recovered(found),
        Event::Undone { after, epoch, .. } => warn!(
            after = after.0, epoch = %epoch,
            "the others have gone on from an earlier round, as their disks had not kept what came \
             then: gives up what it executed after that and starts again from its disk; nothing \
             that was accepted is lost"
        ),
        Event::Waiting { round, missing } => warn!(
            round = round.0,
            missing = %missing,
            "the group waits for proposals: check that these replicas run and can be reached"
        ),
        Event::Resumed { round } => info!(round = round.0, "the group goes on"),
        Event::Equivocation { replica, epoch, round } => error!(
            replica = %replica, epoch = %epoch, round = round.0,
            "signed two different proposals for one round: it lies"
        ),
        Event::InvalidProposal { replica, round, why } => error!(
            replica = %replica, round = round.0, why,
            "signed a proposal that the rules do not allow: it lies"
        ),
        Event::Stable { round, state } => {
            debug!(round = round.0, state = %state, "checkpoint attested by t + 1 replicas");
        }
        Event::Diverged { replica, round } => error!(
            replica = %replica, round = round.0,
            "attests other outputs than this replica has: one of the two is wrong"
        ),
        Event::SnapshotWanted => warn!(
            "the others have no history that reaches back to what this replica has: it fetches \
             a snapshot"
        ),
        Event::SnapshotInstalled { round, bytes, from } => {
            info!(
                round = round.0, bytes, from = %from,
                "took in a snapshot and goes on from it"
            );
        }
        Event::SnapshotRefused { from, why, lied: false } => {
            warn!(from = %from, why, "put aside this source of a snapshot for a while");
        }
        Event::SnapshotRefused { from, why, lied: true } => error!(
            from = %from, why,
            "lied about a snapshot: it is not asked for one for some time"
        ),
        Event::Quarantined { .. }
        | Event::Released { .. }
        | Event::Nondeterministic { .. }
        | Event::Halted { .. } => log_divergence(event),
        Event::DeltaNear { .. } | Event::DeltaBroken { .. } => log_delta(event),
        Event::Step { .. } => {}
        other => log_epochs(other),
    }
}

/// Who has other results than the others, or has stopped (docs/protocol.md §6).
fn log_divergence(event: &Event) {
    match event {
        Event::Quarantined { round, times } => error!(
            round = round.0,
            times,
            "t + 1 others attest other results than this replica: its memory, its disk or its \
             copy of the service is broken; it answers nobody until it has their state. The \
             evidence: quorate evidence list"
        ),
        Event::Released { round } => warn!(
            round = round.0,
            "this replica has the state of the others again, and answers; find out what is broken"
        ),
        Event::Nondeterministic { words } => error!(words, "all replicas have halted"),
        Event::Halted { why } => error!(why, "this replica has halted and answers nobody"),
        _ => {}
    }
}

/// What was measured of Δ.
fn log_delta(event: &Event) {
    match event {
        Event::DeltaNear { who, took } => warn!(
            of = %who, took = ?took,
            "one message in a thousand takes more than half of delta: see what `quorate doctor` \
             says of it"
        ),
        Event::DeltaBroken { who, took, answered: true } => error!(
            of = %who, took = ?took,
            "delta was exceeded: with a liar at the same time nothing is promised; see what \
             `quorate doctor` says of it"
        ),
        Event::DeltaBroken { who, took, answered: false } => warn!(
            of = %who, waited = ?took,
            "no answer within twice delta: it has stopped, is cut off, or delta is too short"
        ),
        _ => {}
    }
}

fn log_recovered(found: &Recovered) {
    let Recovered { snapshot, round, entries, damage, .. } = found;
    info!(snapshot = snapshot.0, round = round.0, entries, "took its state up from the disk");
    if let Some(what) = damage {
        error!(
            what,
            "a part of what this replica had written is damaged or missing: it answers nobody \
             until it has the state from the others; if the group stands still, since the logs of \
             others are damaged too, stop all replicas and repair each log from the others with \
             `quorate log repair`"
        );
    }
}

/// What happens to epochs and members (docs/protocol.md §5).
fn log_epochs(event: &Event) {
    match event {
        Event::Blamed { accused, epoch, round, spent } => match round {
            Some(round) if *spent => warn!(
                replica = %accused, epoch = %epoch, round = round.0,
                "was late too often and has spent its budget, lag_budget: blamed"
            ),
            Some(round) => warn!(
                replica = %accused, epoch = %epoch, round = round.0,
                "did not send its proposal in time: blamed"
            ),
            None => warn!(
                replica = %accused, epoch = %epoch,
                "did not report, or did not show what it named, in time: blamed"
            ),
        },
        Event::Proven { replica, epoch } => error!(
            replica = %replica, epoch = %epoch,
            "there is a proof that it lied; see `quorate evidence list`"
        ),
        Event::Called { epoch, members, accused } => warn!(
            epoch = %epoch, members = %members, accused = %accused,
            "goes over to another epoch"
        ),
        Event::Entered { epoch } => info!(epoch = %epoch, "entered the epoch"),
        Event::Epoch { epoch, members } => {
            info!(epoch = %epoch, members = %members, "the epoch holds");
        }
        Event::Excluded { replica, epoch, kept_out: true, .. } => warn!(
            replica = %replica, epoch = %epoch,
            "an operator took it out; it stays out until it is started again or told to come back \
             (`quorate admin join`)"
        ),
        Event::Excluded { replica, epoch, why, may_join, .. } => match why {
            Reason::Lied => error!(
                replica = %replica, epoch = %epoch,
                "excluded: it lied; only an operator lets it in again (`quorate admin readmit`)"
            ),
            _ => warn!(
                replica = %replica, epoch = %epoch, why = %why, may_join = %may_join,
                "excluded; it joins again by itself, from that agreed time on"
            ),
        },
        Event::Joined { replica, epoch } => {
            info!(replica = %replica, epoch = %epoch, "is a member again");
        }
        Event::Stalled { generation, resets } => warn!(
            generation,
            resets, "nothing gets on: asks all replicas to start an epoch with everybody"
        ),
        Event::Joining { round } => info!(round = round.0, "asks to be a member again"),
        Event::Change { replica, what, void } => match void {
            Some(why) => info!(replica = %replica, what, why, "a status change has no effect"),
            None => info!(replica = %replica, what, "a status change is accepted"),
        },
        _ => {}
    }
}
