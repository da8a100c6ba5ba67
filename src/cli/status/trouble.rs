//! What is not as it should be, in sentences, with what to do.

use crate::cli::ask::{Answer, Said, most_say};
use crate::cli::delta;
use crate::cli::votes::escape;
use crate::config::{Cluster, ReplicaEntry, show_duration};
use crate::replica::{ChainStatus, Promised, Standing, Status as Condition, Waiting, Why};
use crate::types::{ClockKind, ReplicaId};
use std::fmt::Write as _;
use std::time::Duration;

/// All of it; empty if all is well.
pub(super) fn trouble(cluster: &Cluster, answers: &[Answer]) -> String {
    let mut text = String::new();
    for replica in cluster.ensemble.replicas() {
        if let Some(line) = exclusion(cluster, answers, replica) {
            let _ = writeln!(text, "{line}");
        }
    }
    for (entry, answer) in cluster.replicas.iter().zip(answers) {
        if let Ok(condition) = answer {
            of_one(cluster, entry.id, condition, &mut text);
        }
    }
    if let Some(line) = lost_disks(cluster, answers) {
        let _ = writeln!(text, "{line}");
    }
    for (what, _) in delta::findings(cluster, answers) {
        let _ = writeln!(text, "{what} (quorate doctor says what to do).");
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn of_one(cluster: &Cluster, id: ReplicaId, s: &Condition, text: &mut String) {
    if let Some(promised) = &s.promised {
        let _ = writeln!(text, "{id} {}", under_way(promised));
    }
    if let Some(waiting) = &s.waiting {
        let _ = writeln!(text, "{id} {}", waits(cluster, s, waiting));
    }
    if let Some(t) = &s.transfer {
        let from = t.from.iter().map(|r| format!("R{r}")).collect::<Vec<_>>().join(", ");
        let from = if from.is_empty() { "nobody yet" } else { &from };
        let _ = writeln!(
            text,
            "{id} fetches a snapshot from {from}: {} of {} bytes have come.",
            t.bytes, t.total
        );
    }
    for lie in &s.transfer_lies {
        let ago = lie.since_ms / 1000;
        let why = escape(lie.why.as_bytes());
        let _ = writeln!(
            text,
            "R{} lied to {id} about a snapshot {ago} s ago: {why}. It is asked for none for some \
             time; nothing of it is signed, so that is no evidence.",
            lie.replica
        );
    }
    if s.disk_replaced {
        let _ = writeln!(
            text,
            "{id} has a new disk in place of one that was lost: it takes up the state that the \
             others attest, and reports nothing before it has joined them anew."
        );
    } else if s.standing == Standing::Restarted {
        let _ = writeln!(
            text,
            "{id} restarted without its state (start {} on its disk): it signs nothing until the \
             others have gone on without it; then it joins them again by itself.",
            s.incarnation
        );
    }
    if s.file_outdated {
        let _ = writeln!(
            text,
            "{id} runs with a cluster file that is out of date: a key was replaced. Write what \
             `quorate admin replace-key` prints into the file before it is started again."
        );
    }
    if s.standings.iter().any(|place| place.replica == id.number() && place.rolled) {
        let _ = writeln!(
            text,
            "{id} gave up what it had executed: the others had not gone on with it after a power \
             cut, or had other results. Nobody who waits for t + 1 replicas was misled; whoever \
             relied on {id} alone may have been. It says so until: quorate admin readmit \
             --replica {}.",
            id.number()
        );
    }
    late(cluster, id, s, text);
    for chain in s.each_chain() {
        of_chain(id, chain, !s.chains.is_empty(), text);
    }
    divergence(id, s, text);
}

/// Members that have spent half of their budget or more (E1).
fn late(cluster: &Cluster, id: ReplicaId, s: &Condition, text: &mut String) {
    let Some(lag) = cluster.timing.lag else { return };
    for place in s.standings.iter().filter(|place| place.member) {
        let spent = Duration::from_millis(place.lag_ms);
        if spent >= lag.budget / 2 {
            let (spent, budget) = (show_duration(spent), show_duration(lag.budget));
            let _ = writeln!(
                text,
                "{id} has waited for R{} for {spent} more than is usual, of lag_budget, {budget}; \
                 with all of that spent it blames it. If that one is well, lag_delta is too short \
                 for this network, or lag_budget too small.",
                place.replica
            );
        }
    }
}

/// Who has other results than the others, or has stopped (§6).
fn divergence(id: ReplicaId, s: &Condition, text: &mut String) {
    if let Some(round) = s.quarantined {
        let _ = writeln!(
            text,
            "{id} had other results than t + 1 others (found at round {round}): its memory, disk \
             or copy of the service is broken. It answers nobody until it has the state of the \
             others, which it takes up at one of the next checkpoints by itself. The evidence: \
             quorate evidence list."
        );
    }
    if s.standing == Standing::Halted {
        let why = escape(s.halted.as_deref().unwrap_or("its log says why").as_bytes());
        let _ = writeln!(text, "{id} has halted: {why}");
    }
}

fn of_chain(id: ReplicaId, chain: &ChainStatus, several: bool, text: &mut String) {
    let (name, option) = match several {
        true => (format!("chain {}", chain.number), format!(" --chain {}", chain.number)),
        false => ("the chain".to_owned(), String::new()),
    };
    if let Some(why) = &chain.halted {
        let why = escape(why.as_bytes());
        let _ = writeln!(text, "{id} has stopped its part in {name}: {why}");
    }
    if chain.lost {
        let number = id.number();
        let _ = writeln!(
            text,
            "{id} has a new disk in place of one that was lost, and has not been a member of \
             {name} since. If the whole chain is down and that disk is gone for good, say so: \
             quorate admin chain remove{option} --replica {number}, and then add{option} \
             --replica {number}."
        );
    }
    let is_member = chain.members.contains(&id.number());
    if is_member && chain.lease_ms == 0 && chain.config > 0 {
        let _ = writeln!(
            text,
            "{id} is a member of {name} and has no lease: it serves nobody there until the \
             master's group gives it one."
        );
    }
}

/// More disks are lost than the group can do without: it does not begin a new history.
fn lost_disks(cluster: &Cluster, answers: &[Answer]) -> Option<String> {
    let lost = |(entry, answer): (&ReplicaEntry, &Answer)| {
        let is_lost = answer.as_ref().is_ok_and(|s| s.disk_replaced);
        is_lost.then_some(entry.id.number())
    };
    let lost: Vec<u8> = cluster.replicas.iter().zip(answers).filter_map(lost).collect();
    let t = cluster.ensemble.t();
    (lost.len() > t).then(|| {
        format!(
            "{} say that their disks were lost, which is more than t = {t}: what was acknowledged \
             may be on none of the others, so nothing is executed. Give one of them its old data \
             directory again; if that cannot be, make a new cluster from the state that is left \
             (quorate snapshot save, quorate init --initial-state).",
            names(&lost)
        )
    })
}

fn under_way(promised: &Promised) -> String {
    let accused = match promised.accused.is_empty() {
        true => String::new(),
        false => format!(" without {}", names(&promised.accused)),
    };
    let (epoch, members) = (escape(promised.epoch.as_bytes()), names(&promised.members));
    format!("goes over to epoch {epoch} of {members}{accused}.")
}

fn waits(cluster: &Cluster, s: &Condition, w: &Waiting) -> String {
    let left = s.members.iter().filter(|m| !w.missing.contains(m)).count();
    let needed = cluster.ensemble.majority();
    let then = match left >= needed {
        true => "the others go on without who does not answer".to_owned(),
        false => format!(
            "without them fewer than {needed} members are left, and nothing is executed until \
             they answer. Check that they run and can be reached"
        ),
    };
    let (since, missing) = (duration(w.since_ms * 1000), names(&w.missing));
    format!("has waited {since} for {missing} in round {}: {then}.", w.round)
}

/// Who is out since when, why, and when it may come back.
fn exclusion(cluster: &Cluster, answers: &[Answer], replica: ReplicaId) -> Option<String> {
    let Said { place, by: said_by } = most_say(answers, replica)?;
    let why = place.why.filter(|_| !place.member)?;
    let agreed = said_by.first().map_or(0, |(_, agreed)| *agreed);
    let logical = cluster.clock == ClockKind::Logical;
    let time = |t: u64| if logical { format!("{t} ticks") } else { duration(t) };
    let since = match place.since {
        // Before anything was executed there was no time.
        0 => "from the beginning on".to_owned(),
        since => format!("for {}", time(agreed.saturating_sub(since))),
    };
    let reason = match place.kept_out {
        _ if place.replacing => "its key is being replaced",
        true => "an operator took it out",
        false => reason(why),
    };
    let number = replica.number();
    let wait = place.may_join.unwrap_or_default().saturating_sub(agreed);
    let back = match why {
        _ if place.replacing => "A process with the new one joins by itself".to_owned(),
        Why::Lied => {
            format!("Only an operator lets it in again: quorate admin readmit --replica {number}")
        }
        Why::Left if place.kept_out => format!(
            "It stays out until it is started again, or: quorate admin join --replica {number}"
        ),
        _ if wait > 0 => format!("It may join again in {}", time(wait)),
        Why::Left | Why::Restarted | Why::Silent => {
            "It may join again, and does so by itself".to_owned()
        }
    };
    // What fewer than t + 1 say may be a lie.
    let sources = match said_by.len() >= cluster.ensemble.majority() {
        true => String::new(),
        false => {
            let who: Vec<u8> = said_by.iter().map(|(number, _)| *number).collect();
            let verb = if who.len() == 1 { "says" } else { "say" };
            format!(" (as {} {verb})", names(&who))
        }
    };
    Some(format!("{replica} has been out {since}{sources}: {reason}. {back}."))
}

/// Why a replica is out, in words.
pub(in crate::cli) fn reason(why: Why) -> &'static str {
    match why {
        Why::Left => "it or an operator asked for it",
        Why::Restarted => "it restarted",
        Why::Lied => "there is a proof that it lied (quorate evidence list)",
        Why::Silent => "it did not answer in time",
    }
}

/// As in `R1, R3`.
pub(in crate::cli) fn names(numbers: &[u8]) -> String {
    let names: Vec<String> = numbers.iter().map(|n| format!("R{n}")).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Microseconds for people: `0.6 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`.
pub(in crate::cli) fn duration(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if minutes == 0 => format!("{:.1} s", us as f64 / 1e6),
        () if hours == 0 => format!("{minutes} min {} s", seconds % 60),
        () if hours < 48 => format!("{hours} h {} min", minutes % 60),
        () => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};
    use crate::replica::Place;

    const SECOND: u64 = 1_000_000;

    fn cluster() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        write_cluster(&InitOptions::new(dir.path().join("c"))).unwrap().cluster
    }

    fn out(why: Why, may_join: Option<u64>) -> Place {
        let since = 100 * SECOND;
        Place { replica: 3, why: Some(why), since, may_join, ..Place::default() }
    }

    fn says(place: Place) -> Answer {
        let member = |replica| Place { replica, member: true, ..Place::default() };
        let standings = vec![member(1), member(2), place];
        let agreed_time = 190 * SECOND;
        Ok(Condition { members: vec![1, 2], agreed_time, standings, ..Condition::default() })
    }

    #[test]
    fn who_is_out_why_since_when_and_until_when() {
        let c = cluster();
        let told =
            |place: Place| trouble(&c, &[says(place.clone()), says(place), Err("none".to_owned())]);
        assert_eq!(
            told(out(Why::Silent, Some(194 * SECOND))),
            "\nR3 has been out for 1 min 30 s: it did not answer in time. It may join again in \
             4.0 s.\n"
        );
        let lied = told(out(Why::Lied, None));
        assert!(lied.contains("evidence list") && lied.contains("readmit --replica 3."), "{lied}");
        let restarted = told(out(Why::Restarted, Some(100 * SECOND)));
        assert!(restarted.contains("it restarted. It may join again, and does so by itself"));
        assert!(told(out(Why::Left, Some(0))).contains("asked for it. It may join again, and"));
        let replacing = told(Place { replacing: true, ..out(Why::Left, Some(0)) });
        assert!(replacing.contains("its key is being replaced. A process with"), "{replacing}");
        let behind = Condition { file_outdated: true, ..Condition::default() };
        assert!(trouble(&c, &[Ok(behind)]).contains("R1 runs with a cluster file that is out of"));
        let kept_out = told(Place { kept_out: true, ..out(Why::Left, Some(0)) });
        assert!(kept_out.contains("an operator took it out. It stays out until"), "{kept_out}");
        assert!(kept_out.ends_with("or: quorate admin join --replica 3.\n"), "{kept_out}");
        assert_eq!(told(Place { replica: 3, member: true, ..Place::default() }), "");
        let at_once = told(Place { since: 0, ..out(Why::Silent, Some(0)) });
        assert!(at_once.contains("R3 has been out from the beginning on: it did"), "{at_once}");
        let ticks = Cluster { clock: ClockKind::Logical, ..c.clone() };
        let place = out(Why::Silent, Some(190 * SECOND + 5));
        let text = trouble(&ticks, &[says(place.clone()), says(place)]);
        assert!(text.contains("out for 90000000 ticks") && text.contains("in 5 ticks"), "{text}");
    }

    #[test]
    fn who_has_spent_half_of_its_budget_is_named() {
        let mut c = cluster();
        let late = |lag_ms| {
            let place = Place { replica: 3, member: true, lag_ms, ..Place::default() };
            [says(place), Err("none".to_owned()), Err("none".to_owned())]
        };
        assert_eq!(trouble(&c, &late(600)), "");
        let ms = Duration::from_millis;
        c.timing.lag = Some(crate::types::Lag { delta: ms(5), budget: ms(500) });
        assert_eq!(trouble(&c, &late(249)), "");
        let told = trouble(&c, &late(250));
        assert!(told.contains("R1 has waited for R3 for 250ms more than is usual"), "{told}");
    }

    /// One liar must not be able to tell an operator that others are out.
    #[test]
    fn what_too_few_say_is_said_to_be_theirs() {
        let c = cluster();
        let member = || Place { replica: 3, member: true, ..Place::default() };
        let lie = || out(Why::Lied, None);
        assert_eq!(trouble(&c, &[says(lie()), says(member()), says(member())]), "");
        let down = || Err("none".to_owned());
        let alone = trouble(&c, &[down(), says(lie()), down()]);
        assert!(alone.contains("(as R2 says): there is a proof"), "{alone}");
    }

    #[test]
    fn what_is_under_way_and_whether_it_can_go_on() {
        let c = cluster();
        let mut condition = Condition { members: vec![1, 2, 3], ..Condition::default() };
        let (epoch, members, accused) = ("(0,0,1)\x07".to_owned(), vec![1, 2], vec![3]);
        condition.promised = Some(Promised { epoch, members, accused });
        condition.waiting = Some(Waiting { round: 8, missing: vec![3], since_ms: 600 });
        let text = trouble(&c, &[Ok(condition.clone())]);
        assert!(text.contains("R1 goes over to epoch (0,0,1)\\u{7} of R1, R2 without R3."));
        assert!(text.contains("R1 has waited 0.6 s for R3 in round 8: the others go on"), "{text}");
        condition.waiting = Some(Waiting { round: 8, missing: vec![2, 3], since_ms: 600 });
        let text = trouble(&c, &[Ok(condition)]);
        assert!(text.contains("fewer than 2 members are left, and nothing is executed"), "{text}");
    }

    #[test]
    fn disks_that_were_lost_are_told_and_when_they_are_too_many() {
        let c = cluster();
        let whole = || Ok(Condition { members: vec![1, 2, 3], ..Condition::default() });
        let lost = || Ok(Condition { disk_replaced: true, ..Condition::default() });
        let one = trouble(&c, &[whole(), lost(), whole()]);
        assert!(one.contains("R2 has a new disk in place of one") && !one.contains("more than t"));
        let two = trouble(&c, &[whole(), lost(), lost()]);
        assert!(two.contains("R2, R3 say that their disks were lost, which is more than t = 1"));
    }

    #[test]
    fn who_has_other_results_and_who_has_halted_is_told() {
        let c = cluster();
        let whole = || Ok(Condition { members: vec![1, 2, 3], ..Condition::default() });
        let wrong = Condition { quarantined: Some(17), ..Condition::default() };
        let text = trouble(&c, &[whole(), Ok(wrong), whole()]);
        assert!(text.contains("R2 had other results than t + 1 others (found at round 17)"));
        let halted = Some("the service\x07 is not deterministic".to_owned());
        let halted = Condition { standing: Standing::Halted, halted, ..Condition::default() };
        let text = trouble(&c, &[whole(), whole(), Ok(halted)]);
        assert!(text.contains("R3 has halted: the service\\u{7} is not deterministic"), "{text}");
    }

    #[test]
    fn durations_are_short() {
        let rows = [
            (600_000, "0.6 s"),
            (59 * SECOND, "59.0 s"),
            (125 * SECOND, "2 min 5 s"),
            (11_040 * SECOND, "3 h 4 min"),
            (183_600 * SECOND, "2 d 3 h"),
        ];
        for (us, text) in rows {
            assert_eq!(duration(us), text);
        }
    }
}
