//! Tables for people.

use super::model::Op;
use super::stage::lies;
use super::story::{Story, Told, What};
use super::trick::Trick;
use super::workload::Entry;
use crate::cli::status::trouble::{names, reason};
use crate::client::{Ballot, ReplicaStats, Verdict};
use crate::config::Cluster;
use crate::service::kv::Output;
use crate::types::ReplicaId;
use crate::wire::Outcome;
use bytes::Bytes;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

/// Characters of an output that a table shows at most.
const SHOWN: usize = 32;
/// Microseconds that the figures of latency go up to: ten minutes.
const HIGHEST: u64 = 600_000_000;

/// Whether to use colours.
#[derive(Clone, Copy)]
pub(super) struct Ink(bool);

impl Ink {
    /// Colours on a terminal, unless NO_COLOR says otherwise.
    pub(super) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Who is on the stage.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) trick: Trick,
}

impl Scene<'_> {
    /// A replica's name, and what it is if it is a bad one.
    pub(super) fn name(self, id: ReplicaId) -> String {
        match lies(self.cluster, id) {
            true => format!("{id} ({})", self.trick.role()),
            false => id.to_string(),
        }
    }
}

/// One vote: what was asked, what was accepted, and who said what.
pub(super) fn vote(scene: Scene<'_>, entry: &Entry, ink: Ink) -> String {
    let ops: Vec<String> = entry.ops.iter().map(Op::to_string).collect();
    let accepted: Vec<String> = entry.answer.outputs.iter().map(output).collect();
    let (asked, accepted) = (ops.join("; "), shorten(&accepted.join("; ")));
    let mut text = format!("  {}  ->  {}\n", ink.bold(&asked), ink.bold(&accepted));
    let head = "    replica     verdict   after      round  vector    index  output\n";
    text.push_str(head);
    for ballot in &entry.answer.explanation.ballots {
        let line = ballot_line(scene, ballot);
        let line = match ballot.verdict {
            Verdict::Differs => ink.bad(&line),
            _ => line,
        };
        writeln!(text, "    {line}").expect("a string takes all");
    }
    text
}

fn ballot_line(scene: Scene<'_>, ballot: &Ballot) -> String {
    let verdict = match ballot.verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "DIFFERS",
        Verdict::Silent { .. } => "silent",
        Verdict::Note(_) => "no vote",
        // The demonstration runs clusters that vote.
        Verdict::Answers | Verdict::Refuses(_) | Verdict::Asked | Verdict::NotAsked => "-",
    };
    let after = ballot.after.map_or("-".to_owned(), milliseconds);
    let (round, vector) = ballot.position.map_or(("-".to_owned(), "-".to_owned()), |p| {
        (p.round.0.to_string(), format!("{:.8}", p.vector.to_hex()))
    });
    let index = ballot.index.map_or("-".to_owned(), |i| i.to_string());
    let said = match (&ballot.verdict, &ballot.outcome) {
        (Verdict::Note(kind), _) => kind.to_string(),
        (_, Some(outcome)) => told(outcome),
        (_, None) => ballot.digest.map_or("nothing yet".to_owned(), |d| d.to_string()),
    };
    let name = scene.name(ballot.replica);
    format!("{name:<11} {verdict:<9} {after:<10} {round:<6} {vector:<9} {index:<6} {said}")
}

// What a replica sent; a liar may send anything.
fn told(outcome: &Bytes) -> String {
    let text = match Outcome::parse(outcome) {
        Ok(Outcome::Executed(outputs)) => outputs.iter().map(output).collect::<Vec<_>>().join("; "),
        Ok(Outcome::Opened) => "session opened".to_owned(),
        Ok(Outcome::Withdrawn) => "withdrawn".to_owned(),
        Ok(Outcome::Refused(why)) => format!("refused: {why}"),
        Err(_) => format!("{:?}", outcome.escape_ascii().to_string()),
    };
    shorten(&text)
}

fn output(bytes: &Bytes) -> String {
    let quoted = |b: &Bytes| format!("\"{}\"", b.escape_ascii());
    match Output::parse(bytes) {
        Ok(Output::Done) => "done".to_owned(),
        Ok(Output::Value(value)) => quoted(&value),
        Ok(Output::Missing) => "no such key".to_owned(),
        Ok(Output::Mismatch { current: Some(current) }) => format!("is {}", quoted(&current)),
        Ok(Output::Mismatch { current: None }) => "is not there".to_owned(),
        Ok(Output::Number(n)) => n.to_string(),
        Ok(Output::Entries { entries, .. }) => format!("{} entries", entries.len()),
        Ok(Output::Time(time)) => format!("time {}", time.0),
        Ok(Output::Error(_)) => "an error".to_owned(),
        Err(_) => format!("no output: {}", quoted(bytes)),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Latencies in one line.
pub(super) fn latency(entries: &[Entry]) -> String {
    let took = entries.iter().map(|e| e.completed.saturating_duration_since(e.invoked));
    percentiles(took)
}

fn percentiles(all: impl Iterator<Item = Duration>) -> String {
    let mut histogram: Histogram<u64> = Histogram::new_with_bounds(1, HIGHEST, 3)
        .expect("three digits are within the histogram's bounds");
    for took in all {
        histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(HIGHEST));
    }
    let at = |q| milliseconds(Duration::from_micros(histogram.value_at_quantile(q)));
    format!("p50 {}, p99 {}, max {}", at(0.5), at(0.99), at(1.0))
}

/// With two digits.
pub(super) fn milliseconds(d: Duration) -> String {
    format!("{:.2} ms", d.as_secs_f64() * 1000.0)
}

/// Who was caught at what, one line a replica.
pub(super) fn replicas(scene: Scene<'_>, counts: &[ReplicaStats], ink: Ink) -> String {
    let mut text = "    replica     replies   lies seen\n".to_owned();
    for (entry, count) in scene.cluster.replicas.iter().zip(counts) {
        let name = scene.name(entry.id);
        let silent = if count.replies == 0 { "  it never answered" } else { "" };
        let line = format!("{name:<11} {:<9} {}{silent}", count.replies, count.dissent);
        let guilty = count.dissent > 0 || count.replies == 0;
        let line = if guilty { ink.bad(&line) } else { line };
        writeln!(text, "    {line}").expect("a string takes all");
    }
    text
}

/// What happened to the replicas, one line each.
pub(super) fn story(story: &Story, trick: Trick) -> String {
    let line = |told: &Told| {
        let (after, id) = (told.after.as_secs_f64(), told.replica);
        let what = match &told.what {
            What::Fell if trick == Trick::Stop => "is stopped (SIGSTOP)".to_owned(),
            What::Fell => "is killed (kill -9)".to_owned(),
            What::Rose if trick == Trick::Stop => "goes on (SIGCONT)".to_owned(),
            What::Rose => "is started again".to_owned(),
            What::Out { why, epoch, members } => format!(
                "is out: {}. Epoch {epoch} of {} goes on without it",
                reason(*why),
                names(members)
            ),
            What::Back { epoch, members } => {
                format!("is a member again: epoch {epoch} of {}", names(members))
            }
        };
        format!("    {after:>6.2} s  {id} {what}\n")
    };
    story.told.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_recorded() {
        let text = percentiles((1..=100).map(Duration::from_millis));
        assert_eq!(text, "p50 50.01 ms, p99 99.01 ms, max 100.03 ms");
        let hour = percentiles(std::iter::once(Duration::from_secs(3600)));
        assert!(hour.starts_with("p50 60"), "{hour}");
    }

    #[test]
    fn what_a_liar_sends_is_shortened_and_escaped() {
        let bytes = |b: &[u8]| Bytes::copy_from_slice(b);
        assert_eq!(told(&bytes(b"\x1b[2J")), r#""\\x1b[2J""#);
        let long = Outcome::Executed(vec![Output::Value("x".repeat(99).into()).encode().into()]);
        assert_eq!(told(&long.to_bytes()), format!("\"{}...", "x".repeat(31)));
        let odd = Outcome::Executed(vec![bytes(b"\x07\n")]);
        assert_eq!(told(&odd.to_bytes()), r#"no output: "\x07\n""#);
        assert_eq!(shorten(&"ä".repeat(40)), format!("{}...", "ä".repeat(32)));
    }
}
