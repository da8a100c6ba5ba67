//! What the replicas measured of Δ, for people: `quorate status` shows it, `quorate doctor` judges.

use super::ask::Answer;
use super::votes::escape;
use crate::config::{Cluster, least_patience, show_duration};
use crate::replica::{DelayRow, DeltaAlarm, DeltaStatus};
use crate::types::Timing;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Something that is not well, and what to do about it.
pub(super) type Finding = (String, String);

/// Older alarms are told of no more: what was measured then is forgotten as well.
const RECENT_MS: u64 = 20 * 60_000;

/// A table: a line for each replica that answered; nothing if none did.
pub(super) fn table(cluster: &Cluster, answers: &[Answer]) -> String {
    let mut text = String::new();
    for (id, delta) in measured(cluster, answers) {
        let rows: Vec<String> = delta.rows.iter().map(row).collect();
        let _ = writeln!(text, "{id:<8} {}", rows.join("   "));
    }
    if text.is_empty() {
        return text;
    }
    let delta = show_duration(cluster.timing.delta);
    format!(
        "\ndelays with handling in ms: half / 99.9 % / all took no longer in the last 10 to 20 \
         minutes; delta is {delta}\n\n{text}"
    )
}

fn row(row: &DelayRow) -> String {
    let of = escape(row.of.as_bytes());
    match row.count {
        0 => format!("{of} -"),
        _ => format!("{of} {}/{}/{}", ms(row.p50_us), ms(row.p999_us), ms(row.max_us)),
    }
}

/// Milliseconds with as many digits as are of interest.
fn ms(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{}", us / 1000, us % 1000 / 100),
        _ => (us / 1000).to_string(),
    }
}

/// What is wrong, by what the replicas say of themselves and of each other.
pub(super) fn findings(cluster: &Cluster, answers: &[Answer]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, delta) in measured(cluster, answers) {
        let is_new = |alarm: &&DeltaAlarm| alarm.ago_ms < RECENT_MS;
        let mut latest: Vec<&DeltaAlarm> = Vec::new();
        for alarm in delta.alarms.iter().rev().filter(is_new) {
            if !latest.iter().any(|known| known.of == alarm.of) {
                latest.push(alarm);
            }
        }
        found.extend(latest.iter().map(|alarm| (exceeded(cluster, &id, alarm), remedy(delta))));
        let half = micros(cluster.timing.delta) / 2;
        let near = delta.rows.iter().filter(|row| row.p999_us > half);
        for row in near.filter(|row| !latest.iter().any(|alarm| alarm.of == row.of)) {
            let (what, took) = (whose(&row.of, row.replica), ms(row.p999_us));
            let what = format!(
                "delta is too short to be safe: {id} measured that one in a thousand of {what} \
                 takes {took} ms, more than half of it"
            );
            found.push((what, remedy(delta)));
        }
        found.extend(delta.rows.iter().filter_map(|row| unusual(cluster, &id, row)));
    }
    found
}

/// Where members have a budget for being late: messages that are usually late (E1).
fn unusual(cluster: &Cluster, id: &str, row: &DelayRow) -> Option<Finding> {
    let (lag, replica) = (cluster.timing.lag?, row.replica?);
    (row.p50_us > micros(lag.delta)).then(|| {
        let (have, what) = (show_duration(lag.delta), whose(&row.of, row.replica));
        (
            format!(
                "lag_delta, {have}, is too short: {id} measured that half of {what} take {} ms or \
                 more, so that it may blame R{replica} though nothing is wrong with it",
                ms(row.p50_us)
            ),
            "raise lag_delta, under [timers], above what one in a thousand takes (quorate status \
             shows that), or take lag_delta and lag_budget out: stop all replicas, change the file \
             everywhere, start them"
                .to_owned(),
        )
    })
}

fn exceeded(cluster: &Cluster, id: &str, alarm: &DeltaAlarm) -> String {
    let (ago, delta) = (alarm.ago_ms / 1000, show_duration(cluster.timing.delta));
    let (what, took) = (whose(&alarm.of, alarm.replica), ms(alarm.worst_us));
    match alarm.answered {
        true => format!(
            "delta, {delta}, was exceeded {ago} s ago: {id} measured {took} ms for {what}, {}x",
            alarm.times
        ),
        false => format!("{id} waited {took} ms in vain for {what} {ago} s ago; delta is {delta}"),
    }
}

fn whose(of: &str, replica: Option<u8>) -> String {
    match (replica, of) {
        (Some(number), _) => format!("its messages with R{number}"),
        (None, "loop") => "what came to it while its process was busy or stopped".to_owned(),
        (None, "disk") => "its writes to its disk".to_owned(),
        (None, other) => escape(other.as_bytes()),
    }
}

fn remedy(delta: &DeltaStatus) -> String {
    let figure = match delta.would_do_us {
        Some(us) if us > delta.delta_us => format!(" to {} or more", shown(us)),
        _ => String::new(),
    };
    format!(
        "find out what held it up; if that can happen again, raise delta{figure} in the cluster \
         file: stop all replicas, change the file everywhere, start them"
    )
}

/// Which Δ would do, in a sentence; none before enough was measured.
pub(super) fn advice(cluster: &Cluster, answers: &[Answer]) -> Option<String> {
    let by = |(id, delta): (String, &DeltaStatus)| delta.would_do_us.map(|us| (us, id));
    let told: Vec<(u64, String)> = measured(cluster, answers).filter_map(by).collect();
    let (us, by) = told.into_iter().max_by_key(|(us, _)| *us)?;
    let (timing, have) = (cluster.timing, show_duration(cluster.timing.delta));
    let mut text = match us <= micros(timing.delta) {
        true => {
            format!("delta = \"{}\" would do, by what {by} measured; you have {have}.", shown(us))
        }
        false => format!(
            "delta = \"{}\" would leave room above all that {by} measured; you have {have}.",
            shown(us)
        ),
    };
    let least = least_patience(Duration::from_micros(us), timing.join_delay);
    let follows = timing.patience == Timing::from_delta(timing.delta).patience;
    if !follows && timing.patience < least {
        let least = shown(micros(least));
        let _ = write!(text, " With it patience, under [timers], has to be {least} or more.");
    }
    Some(text)
}

/// The same for programs.
pub(super) fn as_json(cluster: &Cluster, answers: &[Answer]) -> Value {
    let finding = |(what, remedy): Finding| json!({ "problem": what, "remedy": remedy });
    let measured: Vec<Value> = measured(cluster, answers)
        .map(|(id, delta)| json!({ "by": id, "measured": delta }))
        .collect();
    json!({
        "delta_us": micros(cluster.timing.delta),
        "advice": advice(cluster, answers),
        "problems": findings(cluster, answers).into_iter().map(finding).collect::<Vec<_>>(),
        "replicas": measured,
    })
}

fn measured<'a>(
    cluster: &'a Cluster,
    answers: &'a [Answer],
) -> impl Iterator<Item = (String, &'a DeltaStatus)> + 'a {
    let answered = cluster.replicas.iter().zip(answers);
    answered.filter_map(|(entry, answer)| {
        let delta = &answer.as_ref().ok()?.delta;
        (!delta.rows.is_empty()).then(|| (entry.id.to_string(), delta))
    })
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

fn shown(us: u64) -> String {
    show_duration(Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::init::{InitOptions, write_cluster};
    use crate::replica::Status;
    use crate::types::Lag;

    fn cluster() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        write_cluster(&InitOptions::new(dir.path().join("c"))).unwrap().cluster
    }

    fn says(rows: Vec<DelayRow>, alarms: Vec<DeltaAlarm>, would_do_us: Option<u64>) -> Answer {
        let (delta_us, held) = (100_000, true);
        let delta = DeltaStatus { delta_us, held, would_do_us, rows, alarms };
        Ok(Status { delta, ..Status::default() })
    }

    fn to(peer: u8, p999_us: u64, max_us: u64) -> DelayRow {
        let (of, replica) = (format!("R{peer}"), Some(peer));
        DelayRow { of, replica, count: 500, p50_us: 420, p999_us, max_us, ..DelayRow::default() }
    }

    fn nobody() -> Answer {
        Err("none".to_owned())
    }

    #[test]
    fn what_fits_is_shown_and_what_would_do() {
        let c = cluster();
        let disk = DelayRow { of: "disk".to_owned(), ..DelayRow::default() };
        let answers = [says(vec![to(2, 1300, 2100), disk], vec![], Some(5000)), nobody(), nobody()];
        let text = table(&c, &answers);
        assert!(
            text.contains("delta is 100ms") && text.contains("R1       R2 0.4/1.3/2.1   disk -")
        );
        assert_eq!(findings(&c, &answers), vec![]);
        let advice = advice(&c, &answers).unwrap();
        assert_eq!(advice, "delta = \"5ms\" would do, by what R1 measured; you have 100ms.");
        assert_eq!(table(&c, &[nobody(), Ok(Status::default()), nobody()]), "", "an older one");
    }

    #[test]
    fn what_comes_near_or_is_exceeded_is_a_problem_with_a_remedy() {
        let c = cluster();
        let near = [says(vec![to(3, 60_000, 61_000)], vec![], Some(200_000))];
        let found = findings(&c, &near);
        assert!(found[0].0.contains("R1 measured that one in a thousand of its messages with R3"));
        assert!(found[0].1.contains("raise delta to 200ms or more"), "{found:?}");
        assert_eq!(
            advice(&c, &near).unwrap(),
            "delta = \"200ms\" would leave room above all that R1 measured; you have 100ms."
        );
        let alarm = |of: &str, ago_ms, answered| DeltaAlarm {
            of: of.to_owned(),
            replica: of.strip_prefix('R').and_then(|n| n.parse().ok()),
            ago_ms,
            worst_us: 340_000,
            times: 5,
            answered,
            ..DeltaAlarm::default()
        };
        let alarms = vec![
            alarm("R3", 90_000, true),
            alarm("R3", 9_000, true),
            alarm("R2", 8_000, false),
            alarm("loop", 7_000, true),
            alarm("disk", RECENT_MS, true),
        ];
        let found = findings(&c, &[says(vec![to(3, 340_000, 340_000)], alarms, None)]);
        let texts: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].contains("was exceeded 7 s ago: R1 measured 340 ms for what came to it"));
        assert!(texts[1].contains("R1 waited 340 ms in vain for its messages with R2 8 s ago"));
        assert!(texts[2].contains("exceeded 9 s ago: R1 measured 340 ms for its messages with R3"));
        assert!(found[0].1.contains("raise delta in the cluster file"), "no figure: {found:?}");
    }

    #[test]
    fn a_lag_delta_that_half_of_the_messages_exceed_is_a_problem() {
        let mut c = cluster();
        let answers = [says(vec![to(2, 1300, 2100)], vec![], None)];
        let lag = |us| Lag { delta: Duration::from_micros(us), budget: Duration::from_secs(1) };
        for (us, wrong) in [(419, true), (420, false), (5000, false)] {
            c.timing.lag = Some(lag(us));
            assert_eq!(!findings(&c, &answers).is_empty(), wrong, "{us}");
        }
        c.timing.lag = Some(lag(400));
        let (what, remedy) = &findings(&c, &answers)[0];
        assert!(what.starts_with("lag_delta, 400us, is too short: R1 measured"), "{what}");
        assert!(what.contains("its messages with R2 take 0.4 ms or more"), "{what}");
        assert!(remedy.starts_with("raise lag_delta, under [timers]"), "{remedy}");
    }

    #[test]
    fn a_patience_of_ones_own_is_thought_of() {
        let mut c = cluster();
        c.timing.patience = Duration::from_millis(500);
        let answers = [says(vec![to(2, 1, 1)], vec![], Some(200_000))];
        let text = advice(&c, &answers).unwrap();
        assert!(text.ends_with("patience, under [timers], has to be 811ms or more."), "{text}");
    }

    #[test]
    fn what_a_replica_says_cannot_change_a_terminal() {
        let c = cluster();
        let evil = DelayRow { of: "\x1b[2J".to_owned(), count: 1, p999_us: 99_000, ..to(2, 1, 1) };
        let answers = [says(vec![DelayRow { replica: None, ..evil }], vec![], Some(u64::MAX))];
        let found = findings(&c, &answers);
        let all = format!("{}{found:?}{:?}", table(&c, &answers), advice(&c, &answers));
        assert!(!all.replace('\n', "").contains(char::is_control), "{all:?}");
    }
}
